"use strict";
const Flow = (() => {
  /** Draw the part, at first or with a newer description; what the user has opened stays open. */
  function draw(element, description, page) {
    if (!element.firstChild) element.append(page.el("p", { class: "quiet" }, "Nothing is drawn here yet."));
  }
  return { draw };
})();
