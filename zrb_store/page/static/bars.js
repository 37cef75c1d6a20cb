"use strict";
/* The bars of the timeline: what is in each lane, where that stands on the time at which the session worked, and what is
   said of it. Pauses between runs are folded, and bars too narrow to be told apart are one. */
const Bars = (() => {
  const STATUSES = ["failed", "lost", "interrupted", "running", "waiting", "completed"]; // the worst first
  const LEAST = 5; // pixels of a bar

  /** Where times stand, in shares of the width, as page/scale.py has placed the work of the session. */
  class Scale {
    constructor(work) {
      this.spans = work.map((each) => ({ ...each, left: each.left / 1e6, right: each.right / 1e6 }));
    }

    /** Return where a time stands, from 0 to 1. */
    at(time) {
      const span = this.spans.findLast((each) => each.started_at <= time) || this.spans[0];
      if (!span) return 0;
      const share = (time - span.started_at) / Math.max(1, span.ended_at - span.started_at);
      return span.left + (span.right - span.left) * Math.min(1, Math.max(0, share));
    }

    /** Return the time that stands at a place, from 0 to 1; in a pause that is where work ended before, or began after. */
    time(place) {
      const span = this.spans.find(({ right }, at) => at === this.spans.length - 1 || place <= (right + this.spans[at + 1].left) / 2);
      const share = Math.min(1, Math.max(0, (place - span.left) / (span.right - span.left)));
      return Math.round(span.started_at + share * (span.ended_at - span.started_at));
    }
  }

  /** Return the lanes: of each task, those that have not completed first, and of each step of the tasks that are open. */
  function lanes(description, open) {
    const found = [];
    const rank = ({ status }) => (STATUSES.indexOf(status) + STATUSES.length) % STATUSES.length;
    for (const task of [...description.tasks].sort((one, other) => Math.min(rank(one), 4) - Math.min(rank(other), 4))) {
      const bars = task.attempts.map((attempt) => bar(`${task.task}#${attempt.number}`, attempt));
      const steps = task.steps || [];
      const inSteps = steps.flatMap(stepBars);
      found.push({ name: task.task, status: task.status, bars, inSteps, steps: steps.length, isOpen: open.has(task.task) });
      if (open.has(task.task)) {
        for (const step of steps) {
          found.push({ name: step.name, id: step.id, status: step.status, bars: stepBars(step), isStep: true });
        }
      }
    }
    return found;
  }

  const stepBars = (step) =>
    step.attempts.map((attempt) => ({ ...bar(`${step.id}#${attempt.number}`, attempt), step: step.name, of: step }));

  const bar = (name, attempt) => ({ name, attempt, status: attempt.status, start: attempt.started_at, end: attempt.worked_until ?? attempt.ended_at });

  /** Join bars that would cover each other because they are narrow; return [{bars, left, width, status}] in pixels. */
  function joined(bars, scale, width) {
    const found = [];
    for (const each of [...bars].sort((a, b) => a.start - b.start)) {
      const left = scale.at(each.start) * width;
      const right = Math.max(left + LEAST, scale.at(each.end) * width);
      const last = found[found.length - 1];
      const isNarrow = right - left < 2 * LEAST;
      if (last && isNarrow && last.isNarrow && left < last.right) {
        last.bars.push(each);
        last.right = Math.max(last.right, right);
      } else {
        found.push({ bars: [each], left, right, isNarrow });
      }
    }
    for (const each of found) {
      const final = each.bars.filter(({ attempt }) => !attempt.retried);
      const told = final.length ? final : each.bars; // attempts that were tried again count only if there are no others
      each.isFaded = !final.length;
      each.status = STATUSES.find((status) => told.some((one) => one.status === status)) || told[0].status;
    }
    return found;
  }

  function counts(bars) {
    const found = new Map();
    for (const { status } of bars) found.set(status, (found.get(status) || 0) + 1);
    return [...found].map(([status, count]) => `${count.toLocaleString("en")} ${status}`).join(", ");
  }

  /** Return what bars are in a few words, as above the output of an attempt and in the picture of the card. */
  function title({ bars }) {
    const [{ attempt, name, step }] = bars;
    if (bars.length > 1) return `${bars.length} attempts from ${name}: ${counts(bars)}`;
    return `${step ? `${name} (${step})` : name} ${attempt.status}, ${attempt.took}`;
  }

  function label(cluster) {
    const [{ attempt }] = cluster.bars, parts = [title(cluster)];
    if (cluster.bars.length > 1) return parts[0];
    if (attempt.run !== null) parts.push(`run ${attempt.run}`);
    parts.push(`started ${Page.time(attempt.started_at)}`);
    if (attempt.error) parts.push(attempt.error.slice(0, 200));
    return parts.join(", ");
  }

  /** Return what a tooltip says of bars: what they are, then the first line of an error, or what a step was called with and gave. */
  function tip(cluster) {
    const [{ attempt, of }] = cluster.bars, lines = [title(cluster)];
    if (cluster.bars.length > 1) return lines[0];
    if (attempt.error) lines.push(attempt.error.split("\n")[0].slice(0, 300));
    if (of && (of.note || of.tokens)) lines.push(of.note || Page.counted(of.tokens, "token"));
    if (of && !of.tokens && of.result !== null) lines.push(`= ${Readable.readable(of.result, 200)}`);
    return lines.join("\n");
  }

  return { Scale, lanes, joined, counts, label, tip };
})();
