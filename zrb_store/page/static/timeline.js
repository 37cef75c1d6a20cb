"use strict";
/* The timeline: a lane for each task, with its attempts as bars on the time at which the session worked.

   Lanes outside of what is scrolled to are not in the document. One bar is reached by the tab key; the arrow keys go from
   bar to bar. A press tells the other parts which moment it means. */
const Timeline = (() => {
  const { counted, duration, el, fill, time } = Page;
  const { Scale, joined, counts, label, tip } = Bars;
  const NARROW = 600; // pixels; below that, a lane's label stands above it
  const MARGIN = 12; // pixels beside the lanes

  const NICE = [1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 1.5e7, 3e7, 6e7, 1.2e8, 3e8, 6e8, 9e8,
    1.8e9, 3.6e9, 7.2e9, 1.08e10, 2.16e10, 4.32e10, 8.64e10, 1.728e11, 6.048e11];
  const LABEL = 60; // pixels that a label of the axis needs; with less, it would run out of the frame

  class Chart {
    constructor(element) {
      this.open = new Set();
      this.focused = null; // the name of the first attempt of the bar that the tab key reaches
      this.legend = el("p", { class: "legend", "aria-hidden": "true" });
      this.axis = el("div", { class: "axis", "aria-hidden": "true", click: (event) => this.press(event) });
      this.sizer = el("div", { class: "lanes" });
      this.body = el("div", {
        class: "timeline-body", role: "group", tabindex: "-1",
        "aria-label": "Attempts over time: the arrow keys move from bar to bar, Enter shows the queues at the bar's beginning",
        scroll: () => this.render(), keydown: (event) => this.onKey(event), click: (event) => this.press(event),
      }, this.sizer);
      this.detail = el("div", { class: "detail", "aria-live": "polite" });
      element.append(this.legend, el("div", { class: "timeline" }, this.axis, this.body), this.detail);
      new ResizeObserver(() => this.layout()).observe(this.body);
      addEventListener("beforeprint", () => this.render(true, true)); // paper does not scroll
      addEventListener("afterprint", () => this.render(true));
      Page.on("moment", (at) => { this.moment = at; this.markMoment(); });
    }

    update(description) {
      this.description = description;
      this.scale = new Scale(description.work);
      this.output = new Map(description.logged.attempts.map((each) => [each.attempt, each]));
      this.layout();
      this.show(this.shown || this.pinned || this.addressed() || null);
    }

    /** Return the bar of the attempt that the page's address names. */
    addressed() {
      const [kind, ...name] = Page.addressed().split("-");
      if (kind !== "attempt") return null;
      const found = this.lanes.flatMap((lane) => this.clusters(lane)).find(({ bars }) => bars.some((each) => each.name === name.join("-")));
      this.pinned = found || null;
      return this.pinned;
    }

    layout() {
      if (!this.description) return;
      const width = this.body.clientWidth;
      this.isNarrow = width < NARROW;
      this.rowHeight = this.isNarrow ? 46 : 30;
      this.labelWidth = this.isNarrow ? 0 : Math.min(240, width * 0.3);
      this.width = width - this.labelWidth - MARGIN;
      this.body.classList.toggle("narrow", this.isNarrow);
      this.before = this.labelWidth + (this.isNarrow ? MARGIN / 2 : 0);
      this.axis.style.marginLeft = `${this.before}px`;
      this.axis.style.marginRight = `${this.labelWidth + MARGIN - this.before}px`;
      this.lanes = Bars.lanes(this.description, this.open);
      for (const lane of this.lanes) lane.clusters = null;
      this.sizer.style.height = `${this.lanes.length * this.rowHeight}px`;
      this.drawLegend();
      this.drawAxis();
      this.render(true);
    }

    clusters(lane) {
      lane.clusters = lane.clusters || joined(lane.bars, this.scale, this.width);
      return lane.clusters;
    }

    drawLegend() {
      const present = new Set(this.lanes.flatMap((lane) => [...lane.bars, ...(lane.inSteps || [])].map((each) => each.status)));
      this.legend.replaceChildren(...[...present].map((status) =>
        el("span", { class: "key" }, el("span", { class: "bar", "data-status": status }), ` ${status}`)));
    }

    drawAxis() {
      const marks = [];
      this.scale.spans.forEach((span, place) => {
        const left = span.left * this.width, room = (span.right - span.left) * this.width, length = span.ended_at - span.started_at;
        const start = el("span", { class: "tick first", style: { left: this.share(left) } }, time(span.started_at, "clock"));
        if (room > LABEL || place === 0) marks.push(start);
        const step = NICE.find((each) => (each / Math.max(1, length)) * room > 80);
        for (let at = step, count = 0; step && at < length && count < 30; at += step, count++) {
          const x = this.scale.at(span.started_at + at) * this.width;
          if (x - left < 75 || left + room - x < LABEL) continue;
          marks.push(el("span", { class: "tick", style: { left: this.share(x) } }, `+${duration(at)}`));
        }
        if (place) {
          const style = { left: `${((this.scale.spans[place - 1].right + span.left) / 2) * 100}%` };
          marks.push(el("span", { class: "fold", title: `a pause of ${span.pause}`, style }, this.scale.spans.length < 8 ? span.pause : ""));
        }
      });
      this.axis.replaceChildren(...marks);
    }

    /** Put the lanes that are in sight into the document. */
    render(isFresh = false, isWhole = false) {
      if (!this.lanes) return;
      const height = this.rowHeight, extra = 4;
      const first = isWhole ? 0 : Math.max(0, Math.floor(this.body.scrollTop / height) - extra);
      const seen = Math.ceil((this.body.scrollTop + this.body.clientHeight) / height) + extra;
      const last = Math.min(this.lanes.length, isWhole ? Infinity : seen);
      if (!isFresh && this.range && this.range[0] === first && this.range[1] === last) return;
      const hadFocus = this.body.contains(document.activeElement) ? document.activeElement.dataset.name : null;
      this.range = [first, last];
      if (!this.focused || !this.lanes.some((lane) => lane.bars.some((each) => each.name === this.focused))) {
        const lane = this.lanes.find((each) => each.bars.length);
        this.focused = lane ? this.clusters(lane)[0].bars[0].name : null;
      }
      this.sizer.replaceChildren(...this.folds(), ...this.lanes.slice(first, last).map((lane, place) => this.lane(lane, first + place)));
      this.markMoment();
      if (hadFocus) {
        const again = this.sizer.querySelector(`[data-name="${CSS.escape(hadFocus)}"]`);
        if (again) again.focus({ preventScroll: true });
      }
    }

    folds() {
      return this.scale.spans.slice(1).map((span, place) => {
        const { right } = this.scale.spans[place], width = `calc((100% - ${this.labelWidth + MARGIN}px) * ${span.left - right})`;
        const style = { left: this.across(right), width };
        return el("div", { class: "fold-line", "aria-hidden": "true", style });
      });
    }

    /** Return the share of the width that pixels are: on paper the width is another one. */
    share(pixels) {
      return `${(pixels / this.width) * 100}%`;
    }

    /** Return where a place of the scale, from 0 to 1, stands among the lanes. */
    across(place) {
      return `calc(${this.before}px + (100% - ${this.labelWidth + MARGIN}px) * ${place})`;
    }

    lane(lane, place) {
      const toggle = lane.steps ? el("button", {
        type: "button", class: "toggle", "aria-expanded": String(lane.isOpen), "data-name": `toggle ${lane.name}`,
        "aria-label": `Steps of ${lane.name}: ${lane.steps}`, click: () => this.toggle(lane.name),
      }, lane.isOpen ? "▾" : "▸", ` ${counted(lane.steps, "step")}`) : null;
      const name = el("span", { class: "lane-name", style: { width: this.isNarrow ? "" : `${this.labelWidth}px` } },
        el("span", { class: "mono", title: lane.name }, lane.name), toggle,
        lane.bars.length && lane.status !== "given back" ? null : el("span", { class: "status", "data-status": lane.status }, lane.status));
      const inSteps = lane.inSteps && !lane.isOpen ? joined(lane.inSteps, this.scale, this.width) : [];
      const track = el("span", { class: "track" }, this.clusters(lane).map((cluster) => this.bar(cluster)), inSteps.map((cluster) =>
        el("span", { class: "bar thin", "data-status": cluster.status, "aria-hidden": "true", style: this.place(cluster) })));
      const style = { top: `${place * this.rowHeight}px`, height: `${this.rowHeight}px` };
      return el("div", { class: lane.isStep ? "lane step" : "lane", style }, name, track);
    }

    place({ left, right }) {
      return { left: this.share(left), width: this.share(right - left) };
    }

    bar(cluster) {
      const [{ name }] = cluster.bars;
      const many = cluster.bars.length > 1;
      return el("button", {
        type: "button", class: `bar${many ? " many" : ""}${cluster.isFaded ? " faded" : ""}`, "data-status": cluster.status, "data-name": name,
        tabindex: name === this.focused ? "0" : "-1", "aria-label": label(cluster), "data-tip": tip(cluster), style: this.place(cluster),
        focus: () => this.focus(cluster), click: (event) => this.choose(cluster, event),
        pointerenter: () => this.show(cluster), pointerleave: () => this.show(this.pinned || null),
      });
    }

    focus(cluster) {
      this.pinned = cluster;
      this.focused = cluster.bars[0].name;
      for (const each of this.sizer.querySelectorAll("button.bar")) each.tabIndex = each.dataset.name === this.focused ? 0 : -1;
      this.show(cluster);
    }

    /** Show a bar, and go to a moment of it: the one that was pressed, or with the keyboard its beginning. */
    choose(cluster, event) {
      this.focus(cluster);
      event.stopPropagation();
      const [{ start }] = cluster.bars, end = Math.max(...cluster.bars.map((each) => each.end));
      Page.emit("seek", event.detail ? Math.min(end, Math.max(start, this.timeOf(event))) : start);
      Page.address(`attempt-${cluster.bars[0].name}`);
    }

    press(event) {
      if (event.target.closest(".lane-name") || !this.scale.spans.length) return;
      Page.emit("seek", this.timeOf(event));
      Page.emit("rest", null);
    }

    timeOf(event) {
      const { left, width } = this.axis.getBoundingClientRect();
      return this.scale.time((event.clientX - left) / width);
    }

    toggle(name) {
      if (!this.open.delete(name)) this.open.add(name);
      this.layout();
    }

    onKey(event) {
      const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -Infinity], End: [0, Infinity] };
      const move = moves[event.key];
      if (!move || !event.target.classList.contains("bar")) return;
      event.preventDefault();
      let place = this.lanes.findIndex((lane) => this.clusters(lane).some((each) => each.bars[0].name === this.focused));
      if (place < 0) return;
      let row = this.clusters(this.lanes[place]);
      let column = row.findIndex((each) => each.bars[0].name === this.focused);
      if (move[0]) {
        const { left } = row[column];
        do place += move[0]; while (this.lanes[place] && !this.lanes[place].bars.length);
        if (!this.lanes[place]) return;
        row = this.clusters(this.lanes[place]);
        column = row.reduce((best, each, at) => Math.abs(each.left - left) < Math.abs(row[best].left - left) ? at : best, 0);
      } else {
        column = Math.min(row.length - 1, Math.max(0, column + move[1]));
      }
      this.goTo(place, row[column]);
    }

    goTo(place, cluster) {
      this.focused = cluster.bars[0].name;
      const top = place * this.rowHeight, bottom = top + this.rowHeight;
      if (top < this.body.scrollTop) this.body.scrollTop = top;
      if (bottom > this.body.scrollTop + this.body.clientHeight) this.body.scrollTop = bottom - this.body.clientHeight;
      this.render();
      const mark = this.sizer.querySelector(`button.bar[data-name="${CSS.escape(this.focused)}"]`);
      if (mark) mark.focus({ preventScroll: true });
    }

    /** Show what is known of a bar below the chart. */
    show(cluster) {
      this.shown = cluster;
      if (!cluster) {
        fill(this.detail, el("p", { class: "quiet hint" }, "Point at a bar, or move to one with the Tab and arrow keys. Click the timeline to see the queues of that moment."));
        return;
      }
      const [first] = cluster.bars, { attempt } = first;
      if (cluster.bars.length > 1) {
        const last = cluster.bars[cluster.bars.length - 1];
        fill(this.detail,
          el("p", {}, el("strong", { class: "mono" }, first.name), " to ", el("strong", { class: "mono" }, last.name),
            ` are drawn as one bar: ${counts(cluster.bars)}.`),
          el("p", { class: "quiet" }, `From ${time(first.start, "exact")} to ${time(Math.max(...cluster.bars.map((one) => one.end)), "exact")}`));
        return;
      }
      const logged = this.output.get(first.name);
      const lines = logged && logged.output ? logged.output.lines.slice(-5) : [];
      fill(this.detail,
        el("p", {}, el("span", { class: "status", "data-status": attempt.status }, attempt.status), " ",
          el("strong", { class: "mono" }, first.name), first.step ? ` (${first.step})` : "",
          el("span", { class: "quiet" }, attempt.run === null ? "" : ` in run ${attempt.run}`), ", ", attempt.took),
        el("p", { class: "quiet" }, `Started ${time(attempt.started_at, "exact")}`,
          attempt.ended_at && attempt.status !== "lost" ? `, ended ${time(attempt.ended_at, "exact")}` : "",
          attempt.inputs && `, ${attempt.inputs}`),
        attempt.error ? el("p", { class: "error text" }, attempt.error) : null,
        lines.length ? el("pre", { class: "output" }, lines.map((line) => `${time(line.at, "clock")} ${line.text}\n`)) : null,
        logged ? el("button", { type: "button", click: () => this.openLogged(first.name) }, "Full log") : null);
    }

    openLogged(name) {
      const details = document.querySelector(`details[data-attempt="${CSS.escape(Page.printable(name))}"]`);
      if (!details) return;
      details.open = true;
      const earlier = details.closest("details.earlier");
      if (earlier) earlier.open = true;
      details.scrollIntoView({ block: "start" });
      details.querySelector("summary").focus({ preventScroll: true });
    }

    markMoment() {
      if (this.line) this.line.remove();
      if (this.moment === undefined || this.moment === null || !this.scale) return;
      const style = { left: this.across(this.scale.at(this.moment)) };
      this.line = el("div", { class: "moment-line", "aria-hidden": "true", style });
      this.sizer.append(this.line);
    }
  }

  return { draw: Page.part(Chart, (description) => description.tasks.length) };
})();
