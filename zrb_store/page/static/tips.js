"use strict";
/* A tooltip beside whatever has `data-tip`, while it is pointed at or has the focus. It moves along when the page is scrolled. */
(() => {
  const EDGE = 8; // pixels
  const tip = Page.el("div", { class: "tip", role: "tooltip", hidden: true });
  let marked = null; // what the tooltip is beside

  function show({ target }) {
    marked = target.closest?.("[data-tip]");
    if (marked) Page.fill(tip, marked.dataset.tip.split("\n").map((line) => Page.el("p", {}, line)));
    tip.hidden = !marked;
    place();
  }

  function place() {
    if (tip.hidden || !marked.isConnected) { hide(); return; }
    const at = marked.getBoundingClientRect(), own = tip.getBoundingClientRect();
    const left = Math.min(Math.max(EDGE, at.left + at.width / 2 - own.width / 2), document.documentElement.clientWidth - own.width - EDGE);
    const above = at.top - own.height - EDGE;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 0 ? above : at.bottom + EDGE}px`;
  }

  function hide() { tip.hidden = true; }

  document.body.append(tip);
  addEventListener("pointerover", show);
  addEventListener("focusin", show);
  addEventListener("scroll", place, { capture: true, passive: true });
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
})();
