"use strict";
/* Queues as lanes of tokens. Values come in from the right, leave at the top when they are taken and
   at the bottom when they are retracted, and come back to their old place. */
const Lanes = (() => {
  const { ABSENT, LIVE, HELD, TAKEN, REMOVED, RETRACTED, SEEN, WORDS } = Contents;
  const MOST_LANES = 40;
  const WIDE = { held: 4, next: 9, last: 4 };
  const NARROW = { held: 2, next: 4, last: 2 };

  const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
  const wide = () => matchMedia("(min-width: 46rem)").matches;

  /** Return what a screen reader says of a token. */
  function describe(queue, index, state, code) {
    const parts = [`${Lives.label(queue, index, 60)}, ${queue.name}#${queue.seq[index]}, ${WORDS[code]}`];
    if (code === HELD) parts.push(`by ${state.takenBy || "a deleted attempt"}`);
    if (state.orphaned) parts.push("will not come back: its push was undone");
    if (state.failedDeliveries) parts.push(Page.counted(state.failedDeliveries, "delivery"));
    return parts.join(", ");
  }

  /** One queue. */
  class Lane {
    constructor(queue) {
      this.tokens = new Map(); // by the number of the value: its element, and what it shows
      this.counts = Page.el("span", { class: "tallies" });
      this.list = Page.el("ol", { class: "tokens", "aria-label": `values in ${queue.name}`, keydown: (event) => this._move(event) });
      this.limit = Page.el("span", { class: "limit" });
      this.leftOut = Page.el("p", { class: "quiet small" });
      this.element = Page.el("li", { class: "queue-lane" },
        Page.el("h3", {}, Page.el("span", { class: "mono" }, queue.name), this.counts, this.limit),
        this.list, this.leftOut);
    }

    /** Show the queue as the player has it. `motion` is the length of motions in ms, 0 for none. */
    show(queue, player, motion, selected) {
      const shown = player.ends(queue, wide() ? WIDE : NARROW);
      const before = motion ? this._places() : null;
      const kept = new Set(shown.map((each) => queue.seq[each]));
      for (const [seq, token] of this.tokens) if (!kept.has(seq)) this._leave(queue, seq, token, player, motion, before);
      const items = shown.map((each) =>
        typeof each === "number" ? this._token(queue, each, player, selected).item : this._between(queue, player, shown, each));
      const isThere = player.counts[queue.place].some((count, code) => count && code !== ABSENT);
      if (!items.length && !this.tokens.size) items.push(Page.el("li", { class: "nothing" }, isThere ? "empty" : "not there yet"));
      this._put(items);
      this._say(queue, player);
      if (motion) this._animate(before, motion);
    }

    _put(items) {
      const leaving = [...this.list.children].filter((item) => item.dataset.leaving !== undefined);
      const inOrder = [...items, ...leaving];
      inOrder.forEach((item, place) => {
        if (this.list.children[place] !== item) this.list.insertBefore(item, this.list.children[place] || null);
      });
      while (this.list.children.length > inOrder.length) this.list.lastChild.remove();
      const buttons = this.list.querySelectorAll("li:not([data-leaving]) > button");
      const focused = [...buttons].find((button) => button === document.activeElement);
      buttons.forEach((button, place) => { button.tabIndex = (focused ? button === focused : place === 0) ? 0 : -1; });
    }

    _token(queue, index, player, selected) {
      const seq = queue.seq[index];
      const code = player.codes[queue.place][index];
      const state = Lives.stateAt(queue, index, player.moment);
      let token = this.tokens.get(seq);
      if (!token) {
        const label = Page.el("span", { class: "label" }, Lives.label(queue, index));
        const holder = Page.el("span", { class: "holder" });
        const button = Page.el("button", { type: "button", class: "token", click: () => {
          Page.select(Page.selected === button.dataset.id ? null : button.dataset.id);
        } }, label, holder);
        token = { item: Page.el("li", {}, button), button, holder, code: null };
        this.tokens.set(seq, token);
        token.isNew = true;
      }
      const { button } = token;
      button.dataset.id = queue.values[index].id;
      token.came = token.code !== null && token.code !== code && code === LIVE;
      token.code = code;
      button.dataset.state = WORDS[code];
      button.classList.toggle("orphaned", state.orphaned);
      button.title = Page.printable(describe(queue, index, state, code));
      button.setAttribute("aria-label", button.title);
      const by = code === HELD ? `→ ${Lives.short(state.takenBy || "?", 24)}` : "";
      const tries = state.failedDeliveries && code !== HELD ? `×${state.failedDeliveries}` : "";
      token.holder.textContent = Page.printable(by || tries);
      button.setAttribute("aria-pressed", String(selected.has(button.dataset.id)));
      return token;
    }

    /** Say how many values lie between, and what they are, if all that are not shown lie there. */
    _between(queue, player, shown, { between }) {
      const isOnly = shown.filter((each) => typeof each !== "number").length === 1;
      const counts = isOnly ? SEEN.map((code) => {
        const drawn = shown.filter((index) => player.codes[queue.place][index] === code).length;
        return [player.count(queue, code) - drawn, WORDS[code]];
      }).filter(([count]) => count) : [[between, "more"]];
      const text = counts.map(([count, word]) => `${count.toLocaleString("en")} ${word}`).join(", ");
      return Page.el("li", { class: "between" }, `… ${text} …`);
    }

    _say(queue, player) {
      const { limit, leftOut } = queue;
      this.limit.textContent = limit;
      this.leftOut.hidden = !leftOut;
      this.leftOut.textContent = `Not on this page: ${Page.counted(leftOut, "earlier value")}.`;
      const seen = SEEN.map((code) => [player.count(queue, code), code]).filter(([count, code]) => count || code === LIVE);
      const gone = [TAKEN, REMOVED, RETRACTED].map((code) => [player.count(queue, code), code]).filter(([count]) => count);
      this.counts.replaceChildren(
        ...seen.map(([count, code]) => Page.el("span", { class: "tally", "data-state": count ? WORDS[code] : null }, `${count.toLocaleString("en")} ${WORDS[code]}`)),
        ...gone.map(([count, code]) => Page.el("span", { class: "tally" }, `${count.toLocaleString("en")} ${WORDS[code]}`)),
      );
    }

    _places() {
      const places = new Map();
      for (const [seq, { item }] of this.tokens) places.set(seq, [item.offsetLeft, item.offsetTop]);
      return places;
    }

    _leave(queue, seq, token, player, motion, before) {
      this.tokens.delete(seq);
      const { item, button } = token;
      if (document.activeElement === button) {
        const next = item.nextElementSibling || item.previousElementSibling;
        (next && next.querySelector("button"))?.focus();
      }
      const index = Lives.indexOf(queue, seq);
      const code = index < 0 ? TAKEN : player.codes[queue.place][index];
      if (!motion || SEEN.includes(code)) {
        item.remove();
        return;
      }
      const [left, top] = before.get(seq);
      item.dataset.leaving = "";
      button.tabIndex = -1;
      button.dataset.state = WORDS[code];
      [item.style.left, item.style.top] = [`${left}px`, `${top}px`];
      const to = { taken: "translate(-6px, -26px)", absent: "translate(26px, 0)" }[WORDS[code]] || "translateY(24px)";
      item.animate([{ opacity: 1 }, { opacity: 0, transform: to }], { duration: motion * 0.6, easing: "ease-in", fill: "forwards" })
        .finished.finally(() => item.remove());
    }

    _animate(before, motion) {
      for (const [seq, token] of this.tokens) {
        const { item } = token;
        const was = before.get(seq);
        if (token.isNew) {
          const from = token.code === LIVE ? "translateX(28px)" : "scale(0.8)";
          item.animate([{ opacity: 0, transform: from }, { opacity: 1, transform: "none" }], { duration: motion, easing: "ease-out" });
        } else if (token.came) {
          item.animate(["translateY(-18px)", "translateY(2px)", "none"].map((transform) => ({ transform })), { duration: motion, easing: "ease-out" });
        } else if (was) {
          const [x, y] = [was[0] - item.offsetLeft, was[1] - item.offsetTop];
          if (x || y) item.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: motion, easing: "ease-out" });
        }
        token.isNew = false;
      }
    }

    _move(event) {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      const buttons = [...this.list.querySelectorAll("li:not([data-leaving]) > button")];
      const next = buttons[buttons.indexOf(document.activeElement) + step];
      if (!next) return;
      event.preventDefault();
      buttons.forEach((button) => { button.tabIndex = button === next ? 0 : -1; });
      next.focus();
    }
  }

  /** All queues of a session. */
  class Stage {
    constructor() {
      this.lanes = new Map();
      this.element = Page.el("ul", { class: "queues" });
      this.more = Page.el("p", { class: "quiet small", hidden: true });
      this.results = Page.el("button", { type: "button", class: "results", "aria-expanded": "false", hidden: true, click: () => {
        this.areOpen = !this.areOpen;
        Page.emit("results", null);
      } });
      this.element.append(Page.el("li", { class: "queue-lane folded" }, this.results));
    }

    show(lives, player, motion, selected) {
      const shown = shownQueues(lives, player);
      this.results.parentElement.hidden = this.results.hidden = !lives.results.size;
      this.results.textContent = `${this.areOpen ? "▾" : "▸"} ${Page.counted(lives.results.size, "result")}`;
      this.results.setAttribute("aria-expanded", String(Boolean(this.areOpen)));
      if (!this.areOpen) for (const { place } of lives.results) shown.delete(place);
      for (const queue of lives.queues) {
        const isShown = shown.has(queue.place);
        if (isShown && !this.lanes.has(queue.name)) this._add(queue);
        const lane = this.lanes.get(queue.name);
        if (lane) lane.element.hidden = !isShown;
        if (isShown) lane.show(queue, player, still() ? 0 : motion, selected);
      }
      const folded = this.areOpen ? 0 : lives.results.size;
      this.more.hidden = lives.queues.length <= shown.size + folded;
      this.more.textContent = `Only the last changed queues are drawn; ${(lives.queues.length - shown.size - folded).toLocaleString("en")} more are not.`;
    }

    /** Add the lane of a queue; lanes are in the order of their queues' first pushes. */
    _add(queue) {
      const lane = new Lane(queue);
      lane.place = queue.place;
      const next = [...this.lanes.values()].filter((each) => each.place > queue.place).sort((a, b) => a.place - b.place)[0];
      this.element.insertBefore(lane.element, next ? next.element : this.results.parentElement);
      this.lanes.set(queue.name, lane);
    }
  }

  /** Return the places of the queues that are drawn: all, or those that changed last before the moment. */
  function shownQueues(lives, player) {
    const { queue: queues } = player.changes;
    const shown = new Set();
    if (lives.queues.length <= MOST_LANES) for (const { place } of lives.queues) shown.add(place);
    for (let change = player.next - 1; change >= 0 && shown.size < MOST_LANES; change -= 1) shown.add(queues[change]);
    for (const { place } of lives.queues) if (shown.size < MOST_LANES) shown.add(place);
    return shown;
  }

  return { Stage };
})();
