"use strict";
/* The contents of queues at a moment that moves.

   Every change of every value is put in order once. To go to another moment, only the changes between are applied, and
   each queue counts its values by place, so that its ends are found without a look at what lies between them. */
const Contents = (() => {
  // What is drawn of a value. A held value may come back to its place: its taker has not completed, or will give it back.
  const ABSENT = 0;
  const LIVE = 1;
  const HELD = 2;
  const TAKEN = 3;
  const REMOVED = 4;
  const RETRACTED = 5;
  const DEAD = 6;
  const DAMAGED = 7;
  const DELAYED = 8;
  const WORDS = ["absent", "live", "held", "taken", "removed", "retracted", "dead", "damaged", "delayed"];
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

  /** Return the places of times in their order; equal ones stay as they are. Comparing them one by one takes far longer. */
  function orderOf(times) {
    const sorted = Float64Array.from(times).sort().filter((at, place, all) => place === 0 || at !== all[place - 1]);
    const ranks = new Uint32Array(times.length);
    const next = new Uint32Array(sorted.length + 1);
    times.forEach((at, place) => {
      let [low, high] = [0, sorted.length - 1];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (sorted[middle] < at) low = middle + 1;
        else high = middle;
      }
      ranks[place] = low;
      next[low + 1] += 1;
    });
    for (let rank = 1; rank < next.length; rank += 1) next[rank] += next[rank - 1];
    const order = new Uint32Array(times.length);
    ranks.forEach((rank, place) => { order[next[rank]++] = place; });
    return order;
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
    const order = orderOf(found.at);
    const pick = (column, Kind) => {
      const picked = new Kind(order.length);
      for (let place = 0; place < picked.length; place += 1) picked[place] = column[order[place]];
      return picked;
    };
    return {
      count: order.length,
      at: pick(found.at, Float64Array),
      queue: pick(found.queue, Uint32Array),
      index: pick(found.index, Uint32Array),
      code: pick(found.code, Uint8Array),
      was: pick(found.was, Uint8Array),
    };
  }

  /** Counts of what is seen at each place of a queue, with sums over any beginning (a Fenwick tree). */
  class Places {
    constructor(count) {
      this.sums = new Int32Array(count + 1);
      this.total = 0;
      this.top = 1;
      while (this.top * 2 <= count) this.top *= 2;
    }

    add(index, difference) {
      this.total += difference;
      for (let at = index + 1; at < this.sums.length; at += at & -at) this.sums[at] += difference;
    }

    /** Return the place of the value of a rank, from 0. */
    select(rank) {
      let at = 0;
      for (let step = this.top; step > 0; step >>= 1) {
        if (at + step < this.sums.length && this.sums[at + step] <= rank) {
          at += step;
          rank -= this.sums[at];
        }
      }
      return at;
    }

    /** Return how many lie before a place. */
    before(index) {
      let sum = 0;
      for (let at = index; at > 0; at -= at & -at) sum += this.sums[at];
      return sum;
    }
  }

  /** The contents of all queues at `moment`, which `seek` moves. It begins before everything. */
  class Player {
    constructor(lives) {
      this.lives = lives;
      this.changes = changesOf(lives);
      this.codes = lives.queues.map((queue) => new Uint8Array(queue.count));
      this.counts = lives.queues.map(() => new Int32Array(WORDS.length));
      this.places = lives.queues.map((queue) => new Places(queue.count)); // of what is seen
      this.live = lives.queues.map((queue) => new Places(queue.count));
      this.next = 0; // the first change that has not happened
      this.moment = -Infinity;
    }

    /** Return the place of the first change later than a moment. */
    after(moment) {
      let [low, high] = [0, this.changes.count];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (this.changes.at[middle] <= moment) low = middle + 1;
        else high = middle;
      }
      return low;
    }

    seek(moment) {
      const end = this.after(moment);
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
      if (isSeen(code) !== isSeen(was)) this.places[queue].add(index, isSeen(code) ? 1 : -1);
      if ((code === LIVE) !== (was === LIVE)) this.live[queue].add(index, code === LIVE ? 1 : -1);
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
      const places = this.places[queue.place];
      const live = this.live[queue.place];
      const nextLive = live.total ? places.before(live.select(0)) : 0;
      const stretches = [[0, held], [nextLive, nextLive + next], [places.total - last, places.total]];
      const found = [];
      let shown = 0;
      for (let [from, to] of stretches) {
        [from, to] = [Math.max(from, shown), Math.min(to, places.total)];
        if (from === shown + 1) from = shown; // rather than say that there is one
        if (from > shown) found.push({ between: from - shown });
        for (let rank = from; rank < to; rank += 1) found.push(places.select(rank));
        shown = Math.max(shown, to);
      }
      return found;
    }
  }

  return { Player, eachChange, WORDS, SEEN, DELAYED, ABSENT, LIVE, HELD, TAKEN, REMOVED, RETRACTED, DEAD, DAMAGED };
})();
