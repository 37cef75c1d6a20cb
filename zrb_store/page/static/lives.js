"use strict";
/* The life of every value of a session, and what its queues were at any moment.

   `Lives.read` makes columns of the shapes of values, which 100,000 of them need. `Lives.stateAt` follows the rules of
   `show --at` (zrb_store/inspect/moments.py). Times are microseconds since 1970. */
const Lives = (() => {
  const SECOND = 1e6;

  /** Write microseconds as a time of the store, such as 2026-11-24T03:12:45.120000Z. */
  function iso(at) {
    const seconds = Math.floor(at / SECOND);
    return new Date(seconds * 1000).toISOString().slice(0, 20) + String(at - seconds * SECOND).padStart(6, "0") + "Z";
  }

  function readQueue(name, shape, place) {
    const { values } = shape;
    const queue = {
      name,
      place,
      limit: shape.limit,
      leftOut: shape.left_out || 0,
      count: values.length,
      values,
      seq: Float64Array.from(values, (value) => value.seq),
      pushedAt: Float64Array.from(values, (value) => value.pushed_at),
      endedAt: Float64Array.from(values, (value) => value.ended_at ?? Infinity),
      undoneAt: Float64Array.from(values, (value) => value.undone_at ?? Infinity),
      continuedAs: new Map(), // places of values by the number of the value that they continue
    };
    values.forEach((value, index) => {
      if (value.moved_from === null) return;
      if (!queue.continuedAs.has(value.moved_from)) queue.continuedAs.set(value.moved_from, []);
      queue.continuedAs.get(value.moved_from).push(index);
    });
    return queue;
  }

  function readAttempts(description) {
    const attempts = new Map();
    const add = (task, step, attempt) => {
      const name = `${task}#${attempt.number}`;
      const { run, status, error, started_at: start, ended_at: end } = attempt;
      attempts.set(name, { name, task, step, run, status, error, start, end });
    };
    for (const task of description.tasks) {
      for (const attempt of task.attempts) add(task.task, null, attempt);
      for (const step of task.steps || []) for (const attempt of step.attempts) add(step.id, step.name, attempt);
    }
    return attempts;
  }

  const known = new WeakMap();

  /** Return what the parts of the page need of a description's values, attempts and runs; read once for all of them. */
  function read(description) {
    if (!known.has(description)) known.set(description, readAll(description));
    return known.get(description);
  }

  function readAll(description) {
    const queues = Object.entries(description.queues).map(([name, shape], place) => readQueue(name, shape, place));
    return {
      session: description.name,
      readAt: description.read_at,
      queues,
      results: new Set(queues.filter(({ name }) => description.results.includes(name))), // those that are folded
      attempts: readAttempts(description),
      steps: description.steps,
      runs: description.runs,
    };
  }

  function failedDeliveriesAt(value, moment) {
    const counts = value.replaced.map((each) => ({ at: each.replaced_at, before: each.failed_deliveries, after: 0 }));
    for (const { returned_at: at, failed_deliveries: after } of value.returns) {
      if (after !== null) counts.push({ at, before: after ? after - 1 : 1, after });
    }
    if (!counts.length) return value.failed_deliveries;
    counts.sort((one, other) => one.at - other.at);
    const past = counts.filter((each) => each.at <= moment);
    return past.length ? past[past.length - 1].after : counts[0].before;
  }

  /** Return until when a value is delayed that is in its queue at a moment. */
  function dueAt(value, moment) {
    const later = value.returns.filter((each) => each.taken_at > moment);
    const next = later.reduce((one, other) => (other.taken_at < one.taken_at ? other : one), later[0] || value);
    return next.due_at ?? -Infinity;
  }

  /** Return the state of a value at a moment as `show --at` has it, or null if it was pushed later. */
  function stateAt(queue, index, moment) {
    if (queue.pushedAt[index] > moment) return null;
    const value = queue.values[index];
    const [endedAt, undoneAt] = [queue.endedAt[index], queue.undoneAt[index]];
    const held = value.returns.find((each) => each.taken_at <= moment && moment < each.returned_at);
    let { state, orphaned, taken_by: takenBy, taken_from: takenFrom } = value;
    let takenAt = endedAt;
    if (held) {
      state = held.failed_deliveries === 0 ? "dead" : "taken";
      [takenAt, takenBy] = [held.taken_at, held.taken_by];
    } else if (endedAt > moment) {
      [state, orphaned, takenBy] = [dueAt(value, moment) > moment ? "delayed" : "live", false, null];
    } else if (state === "retracted" && undoneAt > moment) {
      state = "dead"; // it was retracted after its death
    }
    const isTaken = state === "taken" || state === "removed";
    if (isTaken) orphaned = (value.orphaned || value.state === "retracted") && undoneAt <= moment;
    if (!isTaken || takenBy !== null || takenAt !== endedAt) takenFrom = null;
    return {
      state,
      takenAt: isTaken ? takenAt : null,
      takenBy,
      takenFrom,
      orphaned,
      failedDeliveries: failedDeliveriesAt(value, moment),
      returns: value.returns.filter((each) => each.returned_at <= moment).length,
    };
  }

  /** Return the place of a value by its number, or -1. */
  function indexOf(queue, seq) {
    const place = Page.upTo(queue.seq, seq) - 1;
    return queue.seq[place] === seq ? place : -1;
  }

  /** Return the queue and place of a value by its full name, or null. */
  function find(lives, id) {
    const hash = id.lastIndexOf("#");
    const name = id.slice(id.indexOf("/") + 1, hash);
    const queue = lives.queues.find((each) => each.name === name);
    const index = queue && id.startsWith(`${lives.session}/`) ? indexOf(queue, Number(id.slice(hash + 1))) : -1;
    return index < 0 ? null : { queue, index };
  }

  /** Return the places of a value, of those that it continues, and of those that continue it: one thing, moved. */
  function chain(queue, index) {
    const found = new Set([index]);
    for (const each of found) {
      const from = queue.values[each].moved_from;
      const before = from === null ? -1 : indexOf(queue, from);
      if (before >= 0) found.add(before);
      for (const next of queue.continuedAs.get(queue.seq[each]) || []) found.add(next);
    }
    return [...found];
  }

  /** Return the beginning of a text on one line. */
  function short(text, most = 28) {
    const line = text.slice(0, most * 8).replace(/\s+/g, " ").trim();
    const points = Array.from(line);
    return points.length > most ? `${points.slice(0, most - 1).join("")}…` : line;
  }

  /** Return a value in a few characters. */
  function label(queue, index, most = 28) {
    const { value, beginning } = queue.values[index];
    const text = beginning ?? Readable.single(value) ?? Readable.readable(value, most);
    return short(text, most) || '""';
  }

  /** Name who did something from a shell. */
  const person = (from) => from && from.by;

  /** Name who pushed a value, and who took it: an attempt, a process of a shell, or null. */
  const pusher = (value) => value.pushed_by || person(value.pushed_from);
  const taker = (value) => value.taken_by || person(value.taken_from);

  /** Return what happened to a value, in order, as `trace` tells it: [{at, event, by, note}]. */
  function life({ attempts, steps }, value) {
    const named = (by) => {
      const step = attempts.get(by)?.step || steps[by];
      return step ? `${by} (${step})` : by || "-";
    };
    const pushed = { at: value.pushed_at, event: "pushed", by: named(pusher(value)), note: "" };
    const taken = { at: value.taken_at, event: "taken", by: named(taker(value)), note: "" };
    return value.events || (value.state === "taken" ? [pushed, taken] : [pushed]);
  }

  /** Return how a person ended the death that a return ends, as its reason begins: requeued, replaced or dropped. */
  const endedDeath = (returned) => (returned.failed_deliveries === 0 ? returned.reason.split(" ")[0] : null);

  return { endedDeath, read, iso, stateAt, indexOf, find, chain, short, label, life, person, pusher, taker, SECOND };
})();
