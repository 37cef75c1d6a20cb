"use strict";
/* Queues at a moment: a slider over time shows each queue as it was then, with play. */
const Moment = (() => {
  const { el, svg } = Page;
  const SLIDER = 100_000; // positions of the slider
  const SPEEDS = [0.25, 0.5, 1, 2, 4, 16];
  const PACE = 900; // ms for an event at speed 1
  const LONGEST = 60_000; // ms for all events at speed 1
  const MOTION = 320; // ms
  const PAGE = 10; // events that PageUp and PageDown pass over, or a tenth of all
  const SPOKEN = 400; // with less time for an event, not every event is read aloud
  const MOST_WORKING = 6;

  class View {
    constructor(element) {
      this.event = null;
      this.exact = null; // a moment between two events, from a link
      this.timer = null;
      this.build(element);
      Page.on("select", () => this.select());
      Page.on("seek", (at) => { this.stop(); clearTimeout(this.resting); this.goTo(at); });
      Page.on("rest", () => this.note());
      Page.on("results", () => this.show(0));
      addEventListener("hashchange", () => this.follow());
      addEventListener("resize", () => this.lives && this.show(0));
    }

    build(element) {
      const button = (name, text, click) => el("button", { type: "button", "aria-label": name, title: name, click }, text);
      this.play = button("Play", "▶", () => this.toggle());
      this.play.classList.add("play");
      this.speed = el("select", { "aria-label": "Speed" },
        SPEEDS.map((speed) => el("option", { value: speed, selected: speed === 1 }, `${speed}×`)));
      this.clock = el("output", { class: "clock" });
      this.place = el("span", { class: "quiet place" });
      this.said = el("p", { class: "said", "aria-live": "polite" });
      this.working = el("p", { class: "working" });
      this.axis = svg("g", {});
      this.band = svg("g", {});
      this.gaps = el("div", { class: "gap-lengths", "aria-hidden": "true" });
      this.cursor = svg("path", { class: "cursor", d: "M0 0V46" });
      this.slider = el("input", { type: "range", min: 0, max: SLIDER, step: 1, "aria-label": "Moment", input: () => this.drag(), keydown: (event) => this.key(event) });
      this.stage = new Lanes.Stage();
      this.command = el("code", { class: "command" });
      element.append(
        el("div", { class: "player" },
          el("div", { class: "buttons" },
            button("Previous event", "‹", () => this.user(this.event - 1)), this.play,
            button("Next event", "›", () => this.user(this.event + 1)), this.speed),
          this.clock, this.place),
        this.said,
        el("div", { class: "track" },
          svg("svg", { viewBox: "0 0 1000 46", preserveAspectRatio: "none", "aria-hidden": "true" }, this.axis, this.band, this.cursor),
          this.gaps, this.slider),
        this.working,
        this.stage.element, this.stage.more, this.legend(),
        el("div", { class: "commands" }, this.command,
          Page.copier(() => this.command.textContent, "command"),
          el("span", { class: "quiet hint" }, "Link to this moment"), Page.copier(() => this.link(), "link")));
    }

    legend() {
      const each = (state, text) => el("span", {}, el("span", { class: "token", "data-state": state }, state), text);
      return el("p", { class: "legend flow-legend" }, el("span", {}, "The first live value is taken next."),
        each("live", "in its queue"),
        each("held", "taken; returns to this place if its taker does not complete"),
        each("dead", "given back too often"),
        each("delayed", "in its place, but not due yet"));
    }

    /** Take a newer description, and stay at the moment that is shown, or at the end. */
    update(description) {
      const wasLast = this.event === null || this.event === this.events.count - 1;
      const at = this.lives && this.at();
      this.program = description.program || "zrb-store";
      this.lives = Lives.read(description);
      this.player = new Contents.Player(this.lives);
      this.events = new Happenings.Events(this.lives, this.player);
      this.fold = Axis.of(description, this.events);
      this.troubles = Axis.troubles(this.events);
      this.axis.replaceChildren(...Axis.draw(this.lives, this.events, this.fold, this.troubles));
      this.gaps.replaceChildren(...Axis.lengths(this.fold));
      this.event = wasLast ? this.events.count - 1 : Math.max(0, this.events.placeOf(at));
      this.drawn = null;
      if (!this.follow()) this.show(0);
      this.select();
    }

    at() {
      return this.exact ?? (this.event < 0 ? 0 : this.events.at[this.event]);
    }

    /** Go to the moment of the page's address (#at=2026-11-24T03:12:45.120000Z), if there is one. */
    follow() {
      const found = /^#at=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?)Z$/.exec(location.hash);
      if (!found || found[0] === this.followed) return false;
      this.followed = found[0];
      const [seconds, part = ""] = found[1].split(".");
      const at = Page.micros(`${seconds}.${part.padEnd(6, "0")}Z`);
      if (!Number.isFinite(at)) return false;
      this.stop();
      this.goTo(at);
      this.stage.element.closest("section")?.scrollIntoView();
      return true;
    }

    goTo(at) {
      const place = this.events.placeOf(at);
      this.event = Math.max(0, place);
      this.exact = place >= 0 && at !== this.events.at[place] ? at : null;
      this.show(0);
    }

    /** Go to an event because the user asked for it. */
    user(event) {
      this.stop();
      this.go(event);
      this.note();
    }

    go(event, motion = MOTION) {
      const next = Math.min(this.events.count - 1, Math.max(0, event));
      const isNear = Math.abs(next - this.event) <= PAGE;
      [this.event, this.exact] = [next, null];
      this.show(isNear ? motion : 0);
    }

    drag() {
      this.stop();
      const at = this.fold.at(Number(this.slider.value) / SLIDER);
      this.go(this.events.placeOf(at));
      this.note();
    }

    key(event) {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const page = Math.max(PAGE, Math.round(this.events.count / 10));
      const places = {
        ArrowLeft: this.event - 1, ArrowDown: this.event - 1, ArrowRight: this.event + 1, ArrowUp: this.event + 1,
        PageUp: this.event + page, PageDown: this.event - page, Home: 0, End: this.events.count - 1,
      };
      if (event.key === " ") this.toggle();
      else if (event.key in places) this.user(places[event.key]);
      else return;
      event.preventDefault();
    }

    toggle() {
      if (this.timer !== null) {
        this.stop();
        this.note();
        return;
      }
      if (!this.events.count) return;
      if (this.event >= this.events.count - 1) this.go(0);
      this.label("Pause", "‖");
      let last = performance.now();
      let due = 0;
      const frame = (now) => {
        const pace = Math.min(PACE, LONGEST / this.events.count) / Number(this.speed.value);
        due += (now - last) / pace;
        last = now;
        if (due >= 1) {
          const step = Math.floor(due);
          due -= step;
          this.said.setAttribute("aria-live", pace < SPOKEN ? "off" : "polite");
          this.go(this.event + step, pace < 60 ? 0 : Math.min(MOTION, pace * 0.8));
        }
        if (this.event >= this.events.count - 1) {
          this.stop();
          this.note();
        } else this.timer = requestAnimationFrame(frame);
      };
      this.timer = requestAnimationFrame(frame);
    }

    stop() {
      if (this.timer === null) return;
      cancelAnimationFrame(this.timer);
      this.timer = null;
      this.label("Play", "▶");
      this.said.setAttribute("aria-live", "polite");
    }

    label(name, text) {
      [this.play.title, this.play.textContent] = [name, text];
      this.play.setAttribute("aria-label", name);
    }

    /** Write the moment into the page's address, when the user has rested there. */
    note() {
      clearTimeout(this.resting);
      this.resting = setTimeout(() => {
        this.followed = `#at=${Lives.iso(this.at())}`;
        Page.address(this.followed.slice(1));
      }, 300);
    }

    link() {
      return `${location.href.split("#")[0]}#at=${Lives.iso(this.at())}`;
    }

    show(motion) {
      const { events } = this;
      if (!events.count) {
        this.said.textContent = "Nothing has happened yet.";
        this.slider.disabled = this.play.disabled = true;
        return;
      }
      this.slider.disabled = this.play.disabled = false;
      const at = this.at();
      this.player.seek(at);
      this.stage.show(this.lives, this.player, motion, this.selected || new Set());
      const position = this.fold.position(at);
      if (document.activeElement !== this.slider || this.timer !== null || Math.abs(this.slider.value / SLIDER - position) > 1 / SLIDER) {
        this.slider.value = Math.round(position * SLIDER);
      }
      this.cursor.setAttribute("d", `M${position * 1000} 0V46`);
      const time = Page.time(at, "exact");
      this.clock.textContent = time;
      this.place.textContent = `event ${(this.event + 1).toLocaleString("en")} of ${events.count.toLocaleString("en")}`;
      this.slider.setAttribute("aria-valuetext", `${time}, ${this.place.textContent}`);
      this.said.textContent = Page.printable(this.sentence(at));
      this.said.classList.toggle("trouble", this.exact === null && this.troubles[this.event] === 1);
      this.working.replaceChildren(...this.work(at));
      this.command.textContent = `${this.program} show ${Page.quoted(this.lives.session)} --at ${Lives.iso(at)}`;
      Page.emit("moment", at);
    }

    sentence(at) {
      const text = this.events.text(this.event) || "nothing changed";
      return this.exact === null ? text : `${Page.duration(at - this.events.at[this.event])} after: ${text}`;
    }

    /** Return what works at a moment. */
    work(at) {
      const found = [];
      let count = 0;
      for (const attempt of this.lives.attempts.values()) {
        if (attempt.start > at || (attempt.end !== null && attempt.end <= at)) continue;
        count += 1;
        if (found.length < MOST_WORKING) found.push(attempt);
      }
      if (!count) return [el("span", { class: "quiet" }, "No task is at work.")];
      const chips = found.map((each) => el("span", { class: "chip mono" }, each.step ? `${each.name} ${Lives.short(each.step, 30)}` : each.name));
      return [el("span", { class: "quiet" }, "At work "), ...chips, count > found.length ? el("span", { class: "quiet" }, `and ${count - found.length} more`) : ""];
    }

    /** Light the selected value, and what it was moved from and to. */
    select() {
      if (!this.lives) return;
      const found = Page.selected === null ? null : Lives.find(this.lives, Page.selected);
      const ids = found ? Lives.chain(found.queue, found.index).map((each) => found.queue.values[each].id) : [];
      this.selected = new Set(ids);
      this.band.replaceChildren(...(found ? Axis.life(this.lives, this.fold, found) : []));
      this.stage.show(this.lives, this.player, 0, this.selected);
    }
  }

  return { draw: Page.part(View) };
})();
