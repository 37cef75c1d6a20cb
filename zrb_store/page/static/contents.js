"use strict";
/* The contents of queues at a moment that moves.

   Every change of every value is put in order once. To go to another moment, only the changes between are applied. */
const Contents = (() => {
  // What is drawn of a value. A held value may come back to its place: its taker has not completed, or will give it back.
  const ABSENT = 0;
  const LIVE = 1;
  const HELD = 2;
  const TAKEN = 3;
  const REMOVED = 4;
  const RETRACTED = 5;
  const DEAD = 6;
  const DELAYED = 7;
  const WORDS = ["absent", "live", "held", "taken", "removed", "retracted", "dead", "delayed"];
  const SEEN = [LIVE, HELD, DEAD, DELAYED];

  const isSeen = (code) => SEEN.includes(code);

  /** Return how long an attempt keeps what it took in its hands: until it completes; not at all if it is not known. */
  function heldUntil(lives, name) {
    const attempt = name === null ? undefined : lives.attempts.get(name);
    if (attempt === undefined) return -Infinity;
    return attempt.status === "completed" ? attempt.end : Infinity;
  }

  function codeAt(lives, queue, index, moment) {
    const state = Lives.stateAt(queue, index, moment);
    if (state === null) return ABSENT;
    if (state.state !== "taken") return WORDS.indexOf(state.state);
    const comesBack = queue.values[index].returns.some((each) => each.taken_at <= moment && moment < each.returned_at);
    return comesBack || heldUntil(lives, state.takenBy) > moment ? HELD : TAKEN;
  }

  /** Call `add(at, code)` for each change of a value, in order. */
  function eachChange(lives, queue, index, add) {
    const value = queue.values[index];
    const endedAt = queue.endedAt[index];
    const until = value.state === "taken" ? heldUntil(lives, value.taken_by) : -Infinity;
    if (!value.returns.length && !value.replaced.length && queue.undoneAt[index] === Infinity && value.due_at === null) {
      add(queue.pushedAt[index], LIVE);
      if (endedAt === Infinity) return;
      if (until > endedAt) add(endedAt, HELD);
      else add(endedAt, WORDS.indexOf(value.state));
      if (until > endedAt && until !== Infinity) add(until, TAKEN);
      return;
    }
    const times = [queue.pushedAt[index], endedAt, queue.undoneAt[index], until];
    for (const each of value.returns) times.push(each.taken_at, each.returned_at);
    for (const { due_at: at } of [value, ...value.returns]) if (at !== null && at <= lives.readAt) times.push(at);
    const replacedAt = value.replaced.map((each) => each.replaced_at);
    times.push(...replacedAt);
    let last = ABSENT;
    let marked = false;
    for (const at of [...new Set(times)].sort((one, other) => one - other)) {
      if (at === Infinity || at < queue.pushedAt[index]) continue;
      const code = codeAt(lives, queue, index, at);
      const isMarked = Lives.stateAt(queue, index, at).orphaned;
      // A value may be taken again within the microsecond in which it came back, and a change of its mark is one too.
      const again = code === last && (times.filter((each) => each === at).length > 1 || replacedAt.includes(at));
      if (code !== last || again || isMarked !== marked) add(at, code);
      [last, marked] = [code, isMarked];
    }
  }

  /** Return all changes of all values, in the order of their times. */
  function changesOf(lives) {
    const found = { at: [], queue: [], index: [], code: [], was: [] };
    for (const queue of lives.queues) {
      for (let index = 0; index < queue.count; index += 1) {
        let was = ABSENT;
        eachChange(lives, queue, index, (at, code) => {
          const last = found.at.length - 1;
          if (was !== ABSENT && found.at[last] === at) {
            was = found.code[last] = code; // one change for each moment
            return;
          }
          found.at.push(at);
          found.queue.push(queue.place);
          found.index.push(index);
          found.code.push(code);
          found.was.push(was);
          was = code;
        });
      }
    }
    const order = [...found.at.keys()].sort((one, other) => found.at[one] - found.at[other]);
    const pick = (column, Kind) => Kind.from(order, (place) => column[place]);
    return {
      count: order.length,
      at: pick(found.at, Float64Array),
      queue: pick(found.queue, Uint32Array),
      index: pick(found.index, Uint32Array),
      code: pick(found.code, Uint8Array),
      was: pick(found.was, Uint8Array),
    };
  }

  /** The contents of all queues at `moment`, which `seek` moves. It begins before everything. */
  class Player {
    constructor(lives) {
      this.lives = lives;
      this.changes = changesOf(lives);
      this.codes = lives.queues.map((queue) => new Uint8Array(queue.count));
      this.counts = lives.queues.map(() => new Int32Array(WORDS.length));
      this.next = 0; // the first change that has not happened
      this.moment = -Infinity;
    }

    seek(moment) {
      const end = Page.upTo(this.changes.at, moment);
      for (; this.next < end; this.next += 1) this._set(this.next, this.changes.code[this.next]);
      while (this.next > end) {
        this.next -= 1;
        this._set(this.next, this.changes.was[this.next]);
      }
      this.moment = moment;
    }

    _set(change, code) {
      const queue = this.changes.queue[change];
      const index = this.changes.index[change];
      const was = this.codes[queue][index];
      this.counts[queue][was] -= 1;
      this.counts[queue][code] += 1;
      this.codes[queue][index] = code;
    }

    count(queue, code) {
      return this.counts[queue.place][code];
    }

    /**
     * Return what is seen of a queue: all of it, or its ends and the values that are taken next.
     *
     * @returns {Array<number|{between: number}>} places of values in order; `between` counts those that are not shown
     */
    ends(queue, { held, next, last }) {
      const codes = this.codes[queue.place], seen = [];
      for (let index = 0; index < queue.count; index += 1) if (isSeen(codes[index])) seen.push(index);
      const nextLive = Math.max(0, seen.findIndex((index) => codes[index] === LIVE));
      const stretches = [[0, held], [nextLive, nextLive + next], [seen.length - last, seen.length]];
      const found = [];
      let shown = 0;
      for (let [from, to] of stretches) {
        [from, to] = [Math.max(from, shown), Math.min(to, seen.length)];
        if (from === shown + 1) from = shown; // rather than say that there is one
        if (from > shown) found.push({ between: from - shown });
        for (let rank = from; rank < to; rank += 1) found.push(seen[rank]);
        shown = Math.max(shown, to);
      }
      return found;
    }
  }

  return { Player, eachChange, WORDS, SEEN, DELAYED, ABSENT, LIVE, HELD, TAKEN, REMOVED, RETRACTED, DEAD };
})();
