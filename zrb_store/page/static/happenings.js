"use strict";
/* What happened at each moment, in one line of text: the events that the slider stops at. */
const Happenings = (() => {
  const { ABSENT, LIVE, REMOVED, RETRACTED, DEAD, DELAYED } = Contents;
  const NAMED = 3; // more values than these are counted

  /** The events of a session in order, each with what happened in it. */
  class Events {
    /** Take what Lives.read returned, and the Contents.Player whose changes are told. */
    constructor(lives, player) {
      this.lives = lives;
      this.changes = player.changes;
      this.marks = new Map(); // what attempts and runs did, by time
      const mark = (at, text) => {
        if (at === null) return;
        if (!this.marks.has(at)) this.marks.set(at, []);
        this.marks.get(at).push(text);
      };
      for (const run of lives.runs) {
        if (run.origin !== "reclaim") mark(run.started_at, { run, begins: true });
        mark(run.ended_at, { run, begins: false });
      }
      for (const attempt of lives.attempts.values()) {
        mark(attempt.start, { attempt, begins: true });
        mark(attempt.end, { attempt, begins: false });
      }
      const times = new Float64Array(this.changes.count + this.marks.size);
      times.set(this.changes.at);
      times.set([...this.marks.keys()], this.changes.count);
      times.sort();
      this.at = times.filter((at, place) => place === 0 || at !== times[place - 1]);
      this.count = this.at.length;
    }

    /** Return the number of the last event at or before a moment; -1 before the first. */
    placeOf(moment) {
      return Page.upTo(this.at, moment) - 1;
    }

    /** Return what happened in an event, in one line of text. */
    text(event) {
      const marks = (this.marks.get(this.at[event]) || []).map((each) => ({ ...each }));
      const said = this._changes(event, marks);
      const before = [];
      const after = [];
      for (const mark of marks) {
        if (mark.run) (mark.begins ? before : after).push(this._ofRun(mark));
        else if (!mark.isTold) (mark.begins ? after : before).push(ofAttempt(mark));
      }
      return [...before, ...said, ...after].join("; ");
    }

    _ofRun({ run, begins }) {
      if (begins) return `run ${run.number} began`;
      return run.status === "lost" ? `run ${run.number} was found dead` : `run ${run.number} ended: ${run.status}`;
    }

    _changes(event, marks) {
      const groups = new Map();
      const [first, last] = [this.at[event] - 1, this.at[event]].map((at) => Page.upTo(this.changes.at, at));
      const put = (key, group, index) => {
        if (!groups.has(key)) groups.set(key, { ...group, indexes: [], count: 0 });
        const found = groups.get(key);
        found.count += 1;
        if (found.indexes.length < NAMED) found.indexes.push(index);
      };
      for (let change = first; change < last; change += 1) {
        const queue = this.lives.queues[this.changes.queue[change]];
        const index = this.changes.index[change];
        for (const each of this._happened(queue, index, this.changes.at[change], change)) {
          put(`${each.kind} ${queue.place} ${each.by} ${each.why} ${each.failedDeliveries}`, { ...each, queue }, index);
        }
      }
      const rank = (group) => (["return", "die"].includes(group.kind) ? 0 : 1); // what came back, then what follows
      const inOrder = [...groups.values()].sort((one, other) => rank(one) - rank(other));
      return inOrder.map((group) => this._tell(group, marks));
    }

    /** Return what happened to a value at a moment: kind, by whom, and why. */
    _happened(queue, index, at, change) {
      const happened = [];
      const value = queue.values[index];
      const now = Lives.stateAt(queue, index, at);
      const [was, code] = [this.changes.was[change], this.changes.code[change]];
      const isMoved = (queue.continuedAs.get(value.seq) || []).some((each) => queue.pushedAt[each] === at);
      if (queue.pushedAt[index] === at && was === ABSENT) {
        happened.push({ kind: value.moved_from === null ? "push" : "move", by: value.pushed_by, who: value.pushed_from });
      }
      for (const each of value.returns) {
        if (each.taken_at === at && each.failed_deliveries !== 0 && !isMoved) happened.push({ kind: "take", by: each.taken_by });
        if (each.returned_at !== at) continue;
        if (Lives.endedDeath(each) === "requeued") happened.push({ kind: "requeue", by: null });
        else if (each.failed_deliveries === 0) continue; // a replacement or a drop tells it
        else if (code === DEAD) happened.push({ kind: "die", by: each.taken_by, why: each.reason, failedDeliveries: now.failedDeliveries });
        else if (code !== RETRACTED) happened.push({ kind: "return", by: each.taken_by, why: each.reason });
      }
      for (const each of value.replaced) {
        if (each.replaced_at === at) happened.push({ kind: "replace", by: null, who: each.replaced_by });
      }
      const ends = queue.endedAt[index] === at;
      if (ends && value.state === "taken") happened.push({ kind: "take", by: now.takenBy, who: now.takenFrom });
      else if (ends && code === REMOVED && !isMoved) happened.push({ kind: "remove", by: now.takenBy, who: now.takenFrom });
      else if (code === RETRACTED && was !== RETRACTED) happened.push({ kind: "retract", by: value.pushed_by });
      if (now.orphaned && queue.undoneAt[index] === at) happened.push({ kind: "orphan", by: value.pushed_by });
      if (code === LIVE && was === DELAYED && !happened.length) happened.push({ kind: "due", by: null });
      if (code === DEAD && !happened.length) happened.push({ kind: "dead", by: null, failedDeliveries: now.failedDeliveries });
      return happened;
    }

    /** Return one sentence about values of one queue to which the same happened; null if another one says it. */
    _tell({ kind, by, who, why, failedDeliveries, queue, indexes, count }, marks) {
      const names = this._names(queue, indexes, count);
      const plural = count > 1;
      const was = plural ? "were" : "was";
      const to = `${plural ? "their places" : "its place"} in ${queue.name}`;
      const delivered = Page.counted(failedDeliveries || 0, "delivery");
      const outside = who ? `by ${Lives.person(who)}` : "outside any task";
      switch (kind) {
        case "push":
          return by ? `${by} pushed ${names} to ${queue.name}` : `${names} ${was} pushed to ${queue.name} ${outside}`;
        case "move":
          return `${by || "somebody"} moved ${names} within ${queue.name}`;
        case "take":
          return by ? `${by} took ${names} from ${queue.name}` : `${names} ${was} taken from ${queue.name} ${outside}`;
        case "remove":
          return by ? `${by} removed ${names} from ${queue.name}` : `${names} ${was} ${who ? "dropped" : "removed"} from ${queue.name} ${outside}`;
        case "replace":
          return `${names} ${was} replaced in ${queue.name} by ${Lives.person(who) || "somebody"}`;
        case "return":
          return `${this._undone(by, why, marks)}: ${names} came back to ${to}`;
        case "due":
          return `${names} became due in ${queue.name}`;
        case "requeue":
          return `${names} ${was} requeued: back to ${to}`;
        case "die":
          return `${this._undone(by, why, marks)}: ${names} died in ${queue.name} after ${delivered}`;
        case "dead":
          return `${names} died in ${queue.name} after ${delivered}`;
        case "retract":
          return `${names} of ${by || "a deleted attempt"} ${was} retracted from ${queue.name}`;
        case "orphan":
          return `${by} was undone: ${names}, taken before, will not come back to ${queue.name}`;
        default:
          throw new Error(`nothing is called ${kind}`);
      }
    }

    /** Return why an attempt gave values back, and note that its end is told. */
    _undone(by, why, marks) {
      const end = marks.find((mark) => mark.attempt && !mark.begins && mark.attempt.name === by);
      if (end) end.isTold = true;
      const attempt = end ? end.attempt : this.lives.attempts.get(by);
      const name = by || "a deleted attempt";
      if (end && attempt.status === "failed") return `${name} failed${reasonOf(attempt)}`;
      if (why === "failed" || why === "interrupted" || why === "lost") {
        const word = { failed: "failed", interrupted: "was interrupted", lost: "died" }[why];
        return end || !attempt ? `${name} ${word}` : `${name} ${word} and was given back`;
      }
      return `${name} was given back (${Lives.short(why, 60)})`;
    }

    _names(queue, indexes, count) {
      if (count > NAMED) return `${count.toLocaleString("en")} values`;
      const name = (index) => (isText(queue.values[index]) ? `“${Lives.label(queue, index)}”` : Lives.label(queue, index));
      return indexes.map(name).join(", ");
    }
  }

  const isText = (value) => typeof value.value === "string";

  function reasonOf(attempt) {
    return attempt.error ? ` (${Lives.short(attempt.error, 160)})` : "";
  }

  function ofAttempt({ attempt, begins }) {
    const name = attempt.step ? `step ${Lives.short(attempt.step, 40)} (${attempt.name})` : attempt.name;
    if (begins) return `${name} began`;
    if (attempt.status === "lost") return `${name} was found dead`;
    if (attempt.status === "interrupted") return `${name} was interrupted`;
    return `${name} ${attempt.status}${attempt.status === "failed" ? reasonOf(attempt) : ""}`;
  }

  return { Events };
})();
