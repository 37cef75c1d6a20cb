"use strict";
/* The values: a list that can be searched, of which only what is in sight is in the document, and the chosen value below it. */
const Values = (() => {
  const { command, el, fill, quoted, svg, time } = Page;
  const ROW = 32; // pixels
  const STATES = ["live", "delayed", "taken", "dead", "retracted", "removed"];

  class List {
    constructor(element) {
      this.element = element;
      this.query = "";
      this.state = "";
      this.queue = "";
      this.chosen = null; // the id of the value that is shown
      this.view = null; // the name of the view that the reader chose last
      this.search = el("input", { type: "search", id: "value-search", placeholder: "text, name or attempt  ( / )", input: () => { this.later(); Page.address(this.search.value && `search=${this.search.value}`); } });
      this.stateChoice = el("select", { id: "value-state", change: () => this.filter() });
      this.queueChoice = el("select", { id: "value-queue", change: () => this.filter() });
      this.count = el("span", { class: "quiet", role: "status" });
      this.sizer = el("div", { class: "rows", role: "rowgroup" });
      this.body = el("div", {
        class: "value-list", role: "grid", tabindex: "0", "aria-label": "Values: the arrow keys choose one",
        scroll: () => this.render(), keydown: (event) => this.onKey(event),
      }, this.sizer);
      this.detail = el("div", { class: "value-detail", id: "value-detail" });
      element.append(
        el("div", { class: "tools" },
          el("label", { for: "value-search" }, "Search "), this.search,
          el("label", { for: "value-queue" }, "Queue "), this.queueChoice,
          el("label", { for: "value-state" }, "State "), this.stateChoice, this.count),
        el("div", { class: "value-box" },
          el("div", { class: "value-row value-head", "aria-hidden": "true" },
            ["Value", "State", "Content", "Type", "Size", "Pushed by", "Taken by"].map((name) => el("span", {}, name))),
          this.body),
        this.detail);
      new ResizeObserver(() => this.render(true)).observe(this.body);
      Page.on("select", (id) => { if (id !== this.chosen) this.reveal(id); });
      const [kind, ...asked] = Page.addressed().split("=");
      if (kind === "search") this.search.value = asked.join("=");
      this.asked = kind === "value" ? asked.join("=") : null;
      Page.onSlash(() => {
        this.search.scrollIntoView({ block: "center" });
        this.search.focus({ preventScroll: true });
      });
    }

    update(description) {
      this.description = description;
      const queues = Object.entries(description.queues);
      this.all = queues.flatMap(([, queue]) => queue.values);
      this.byId = new Map(this.all.map((value) => [value.id, value]));
      this.choices(this.queueChoice, "all", queues.map(([name]) => name));
      this.choices(this.stateChoice, "any", STATES.filter((state) => this.all.some((value) => value.state === state)));
      this.filter();
      if (this.chosen) this.show();
      if (this.byId.has(this.asked)) {
        this.reveal(this.asked);
        this.element.scrollIntoView();
      }
      this.asked = null;
    }

    choices(choice, all, names) {
      const before = choice.value;
      fill(choice, el("option", { value: "" }, all), names.map((name) => el("option", { value: "=" + name }, name)));
      choice.value = [...choice.options].some((each) => each.value === before) ? before : "";
    }

    later() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.filter(), this.all.length > 5000 ? 150 : 0);
    }

    filter() {
      const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const prefix = this.queueChoice.value && Page.printable(this.queueChoice.value.slice(1));
      const state = this.stateChoice.value.slice(1);
      this.found = this.all.filter((value) => {
        if (state && value.state !== state) return false;
        if (prefix && Page.printable(queueOf(value)) !== prefix) return false;
        return !words.length || words.every((word) => searched(value).includes(word));
      });
      const all = this.all.length.toLocaleString("en");
      this.count.textContent = this.found.length === this.all.length ? Page.counted(this.all.length, "value")
        : `${this.found.length.toLocaleString("en")} of ${all} values`;
      this.body.setAttribute("aria-rowcount", this.found.length);
      this.sizer.style.height = `${this.found.length * ROW}px`;
      this.render(true);
    }

    render(isFresh = false) {
      if (!this.found) return;
      const first = Math.max(0, Math.floor(this.body.scrollTop / ROW) - 8);
      const last = Math.min(this.found.length, Math.ceil((this.body.scrollTop + this.body.clientHeight) / ROW) + 8);
      if (!isFresh && this.range && this.range[0] === first && this.range[1] === last) return;
      this.range = [first, last];
      this.sizer.replaceChildren(...this.found.slice(first, last).map((value, place) => this.row(value, first + place)));
      const chosen = this.sizer.querySelector("[aria-selected=true]");
      if (chosen) this.body.setAttribute("aria-activedescendant", chosen.id); else this.body.removeAttribute("aria-activedescendant");
    }

    row(value, place) {
      const cells = [
        el("span", { class: "mono name" }, value.id.slice(this.description.name.length + 1)),
        el("span", { class: "status", "data-status": value.state }, value.state),
        el("span", { class: "mono text" }, spark(value), preview(value)),
        el("span", { class: "mono" }, value.type),
        el("span", { class: "number" }, value.size),
        el("span", { class: "mono" }, Lives.pusher(value) || "-"),
        el("span", { class: "mono" }, Lives.taker(value) || "-"),
      ];
      for (const cell of cells) cell.setAttribute("role", "gridcell");
      return el("div", {
        class: "value-row", role: "row", id: `value-${place}`, "aria-rowindex": place + 1,
        "aria-selected": String(value.id === this.chosen), click: () => this.choose(place),
        style: { top: `${place * ROW}px` },
      }, cells);
    }

    onKey(event) {
      const page = Math.max(1, Math.floor(this.body.clientHeight / ROW) - 1);
      const moves = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page, Home: -Infinity, End: Infinity };
      if (!(event.key in moves) || !this.found.length) return;
      event.preventDefault();
      const place = this.found.findIndex((value) => value.id === this.chosen);
      const next = place < 0 ? 0 : place + moves[event.key];
      this.choose(Math.min(this.found.length - 1, Math.max(0, next)));
    }

    choose(place) {
      this.chosen = this.found[place].id;
      const top = place * ROW, bottom = top + ROW;
      if (top < this.body.scrollTop) this.body.scrollTop = top;
      if (bottom > this.body.scrollTop + this.body.clientHeight) this.body.scrollTop = bottom - this.body.clientHeight;
      this.render(true);
      this.show();
      Page.select(this.chosen);
      Page.address(`value=${this.chosen}`);
    }

    /** Show a value that was selected elsewhere. */
    reveal(id) {
      if (!this.byId.has(id)) return;
      if (!this.found.some((value) => value.id === id)) {
        this.search.value = this.queueChoice.value = this.stateChoice.value = "";
        this.filter();
      }
      this.choose(this.found.findIndex((value) => value.id === id));
    }

    show() {
      const value = this.byId.get(this.chosen);
      if (!value) { fill(this.detail); return; }
      const views = Views.of(value);
      const content = el("div", { class: "value-content" });
      const buttons = views.map((view) => el("button", { type: "button", "aria-pressed": "false", click: () => { this.view = view.name; open(view); } }, view.name));
      const open = (view) => {
        buttons.forEach((button, place) => button.setAttribute("aria-pressed", String(views[place] === view)));
        fill(content);
        view.draw(content);
      };
      const { program, name } = this.description;
      const get = `${program} get ${name} ${quoted(queueOf(value))} --seq ${value.seq}`;
      fill(this.detail,
        el("h3", {}, el("span", { class: "mono" }, value.id), " ", el("span", { class: "status", "data-status": value.state }, value.state)),
        el("p", { class: "quiet" }, el("span", { class: "mono" }, value.type), `, ${value.size}. Whole value: `, command(get)),
        el("div", { class: "views", role: "group", "aria-label": "How the value is shown" }, buttons), content,
        el("table", { class: "life" },
          el("caption", {}, "Its life"),
          el("tbody", {}, Lives.life(Lives.read(this.description), value).map((each) => el("tr", {},
            el("td", { class: "quiet" }, time(each.at, "exact")), el("th", { scope: "row" }, each.event),
            el("td", { class: "mono" }, each.by), el("td", { class: "text" }, each.note))))));
      open(views.find((view) => view.name === this.view) || views[0]);
    }
  }

  const queueOf = (value) => value.id.slice(value.id.indexOf("/") + 1, value.id.lastIndexOf("#"));

  const preview = (value) => "beginning" in value ? `${value.beginning.slice(0, 200)} […]` : Readable.readable(value.value, 200);

  /** Return a small plot of a list of numbers; null for other values. */
  function spark(value) {
    const items = "beginning" in value ? null : Readable.items(value.value);
    if (!items || items.length < 3) return null;
    const numbers = items.map(Readable.number);
    if (numbers.includes(null)) return null;
    const step = Math.ceil(numbers.length / 60), shown = numbers.filter((_, place) => place % step === 0);
    const least = Math.min(...shown), room = Math.max(...shown) - least || 1;
    const points = shown.map((each, place) => `${place},${(14 - ((each - least) / room) * 12).toFixed(1)}`).join(" ");
    return svg("svg", { class: "spark", viewBox: `0 0 ${shown.length - 1} 16`, width: 60, height: 16, preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("polyline", { points }));
  }

  function searched(value) {
    if (value.searched === undefined) {
      const content = "beginning" in value ? value.beginning : typeof value.value === "string" ? value.value : JSON.stringify(value.value);
      Object.defineProperty(value, "searched", {
        value: [value.id, value.state, value.type, Lives.pusher(value),
          Lives.taker(value), content].join(" ").toLowerCase(),
      });
    }
    return value.searched;
  }

  return { draw: Page.part(List, (description) => Object.keys(description.queues).length) };
})();
