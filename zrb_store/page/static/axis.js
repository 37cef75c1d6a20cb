"use strict";
/* The time axis of "queues at a moment": gaps in which nothing worked are folded, and each event has a tick. */
const Axis = (() => {
  const SHORT = 20; // a gap of a twentieth of the work is as long as it was, as in `show --timeline`
  const MOST_GAP = 0.05; // of the work, for each folded gap
  const ALL_GAPS = 0.6; // and for all of them together
  const BINS = 1000;

  /** Join spans that overlap, or between which there is little in comparison with all of them. */
  function merged(spans) {
    const join = (found, short) => {
      const joined = [];
      for (const [start, end] of found) {
        const last = joined[joined.length - 1];
        if (last && start - last[1] <= short) last[1] = Math.max(last[1], end);
        else joined.push([start, end]);
      }
      return joined;
    };
    const whole = join(spans.sort((one, other) => one[0] - other[0]), 0);
    const work = whole.reduce((sum, [start, end]) => sum + end - start, 0);
    return join(whole, Math.max(Lives.SECOND, work / SHORT));
  }

  /** Times as positions from 0 to 1. */
  class Fold {
    constructor(spans) {
      this.spans = merged(spans);
      const work = this.spans.reduce((sum, [start, end]) => sum + end - start, 0);
      const gaps = this.spans.length - 1;
      this.gap = work ? Math.min(work * MOST_GAP, (work * ALL_GAPS) / Math.max(gaps, 1)) : 1;
      this.whole = work + gaps * this.gap || 1;
      let from = 0;
      this.starts = this.spans.map(([start, end]) => {
        const at = from;
        from += end - start + this.gap;
        return at;
      });
    }

    _span(key, columns) {
      return Math.max(0, Page.upTo(columns, key) - 1);
    }

    position(at) {
      if (!this.spans.length) return 0;
      this.firsts ||= this.spans.map((span) => span[0]);
      const place = this._span(at, this.firsts);
      const [start, end] = this.spans[place];
      let inside = Math.max(0, at - start);
      if (at > end) {
        const next = this.spans[place + 1];
        inside = end - start + (next ? ((at - end) / (next[0] - end)) * this.gap : 0);
      }
      return Math.min(1, (this.starts[place] + inside) / this.whole);
    }

    at(position) {
      if (!this.spans.length) return 0;
      const place = this._span(position * this.whole, this.starts);
      const [start, end] = this.spans[place];
      const inside = position * this.whole - this.starts[place];
      if (inside <= end - start) return start + Math.round(inside);
      const next = this.spans[place + 1];
      return next ? Math.round(end + ((inside - (end - start)) / this.gap) * (next[0] - end)) : end;
    }

    /** Return the folded gaps: from and to as positions, and how long each is. */
    gaps() {
      return this.spans.slice(1).map(([start], place) => {
        const end = this.spans[place][1];
        return { from: this.position(end), to: this.position(start), length: start - end };
      });
    }
  }

  /** Return whether an attempt failed or died, or something came back, died or was retracted, for each event. */
  function troubles(events) {
    const { changes } = events;
    const found = new Uint8Array(events.count);
    for (const [at, marks] of events.marks) {
      const hasFailed = ({ attempt, begins }) => attempt && !begins && (attempt.status === "failed" || attempt.status === "lost");
      if (marks.some(hasFailed)) found[events.placeOf(at)] = 1;
    }
    let event = 0;
    for (let change = 0; change < changes.count; change += 1) {
      while (events.at[event] < changes.at[change]) event += 1;
      const code = changes.code[change];
      const isBack = [Contents.LIVE, Contents.DELAYED].includes(code) && ![Contents.ABSENT, Contents.DELAYED].includes(changes.was[change]);
      if (isBack || code === Contents.DEAD || code === Contents.RETRACTED) found[event] = 1;
    }
    return found;
  }

  /** Return the path of ticks: the more events are at one place, the longer is its tick. */
  function ticks(fold, events, chosen, height) {
    const bins = new Int32Array(BINS + 1);
    for (let event = 0; event < events.count; event += 1) {
      if (chosen(event)) bins[Math.round(fold.position(events.at[event]) * BINS)] += 1;
    }
    let path = "";
    bins.forEach((count, bin) => {
      if (!count) return;
      const length = Math.min(height, height * (0.45 + 0.14 * Math.log2(count)));
      path += `M${bin} ${height}v${-length.toFixed(1)}`;
    });
    return path;
  }

  /** Draw the axis: runs, folded gaps and ticks, in an SVG of 1000 by 46 that is stretched to its place. */
  function draw(lives, events, fold, isTrouble) {
    const x = (at) => fold.position(at) * BINS;
    const runs = lives.runs.filter((run) => run.origin !== "reclaim").map((run) => {
      const width = Math.max(2, x(run.worked_until) - x(run.started_at));
      return Page.svg("rect", { class: "run", x: x(run.started_at), y: 34, width, height: 4, rx: 1, "data-status": run.status || "running" },
        Page.svg("title", {}, `run ${run.number}`));
    });
    const gaps = fold.gaps().map(({ from, to, length }) =>
      Page.svg("rect", { class: "gap", x: from * BINS, y: 0, width: Math.max(0, (to - from) * BINS), height: 46 },
        Page.svg("title", {}, `${Page.duration(length)} in which nothing happened`)));
    return [
      ...gaps,
      ...runs,
      Page.svg("path", { class: "ticks", d: ticks(fold, events, (event) => !isTrouble[event], 30) }),
      Page.svg("path", { class: "ticks trouble", d: ticks(fold, events, (event) => isTrouble[event], 30) }),
    ];
  }

  /** Say how long each folded gap is, if there is room for that. */
  function lengths(fold) {
    return fold.gaps().filter(({ from, to }) => to - from > 0.035).map(({ from, to, length }) =>
      Page.el("span", { class: "gap-length", style: { left: `${(from + to) * 50}%` } }, Page.duration(length)));
  }

  /** Draw the life of a value and of what it was moved from and to: a bar for each time in a queue, or in hands. */
  function life(lives, fold, { queue, index }) {
    const bars = [];
    for (const each of Lives.chain(queue, index)) {
      const changes = [];
      Contents.eachChange(lives, queue, each, (at, code) => changes.push([at, code]));
      changes.forEach(([at, code], place) => {
        if (!Contents.SEEN.includes(code)) return;
        const until = place + 1 < changes.length ? changes[place + 1][0] : fold.at(1);
        const from = fold.position(at) * BINS;
        const width = Math.max(1.5, fold.position(until) * BINS - from);
        bars.push(Page.svg("rect", { class: "life", "data-state": Contents.WORDS[code], x: from, y: 40, width, height: 6 }));
      });
    }
    return bars;
  }

  /** Return the axis of a session: what lies between its work and its events is folded. */
  function of(description, events) {
    const spans = description.work.map((span) => [span.started_at, Math.max(span.started_at, span.ended_at)]);
    for (const at of events.at) spans.push([at, at]);
    return new Fold(spans);
  }

  return { of, troubles, draw, lengths, life };
})();
