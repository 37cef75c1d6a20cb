"use strict";
/* The data flow as a graph: who pushed and took, queues, and rows of values between them. Nothing here draws. */
const FlowGraph = (() => {
  const MOST_SINGLE = 8; // a queue with more values shows groups of them
  const MOST_ROWS = 12; // of one queue
  const MOST_QUEUES = 100; // dagre takes seconds for a thousand
  const MOST_SESSIONS = 8; // more than these other sessions, or steps of a task, are one node
  const MOST_STEPS = 6;
  const FROM_OUTSIDE = "from outside";
  const TO_OUTSIDE = "to outside";

  const taskOf = (name) => name.slice(0, name.lastIndexOf("#"));

  /** Names of attempts, such as load#1, as the nodes that they belong to. */
  class Actors {
    constructor(description, lives) {
      this.tasks = new Map(description.tasks.map((task) => [task.task, task]));
      this.steps = new Map();
      for (const task of description.tasks) {
        for (const step of task.steps || []) this.steps.set(step.id, { name: step.name, status: step.status, task: task.task });
      }
      this.nodes = new Map();
      this.others = new Set(); // the other sessions that pushed or took values
      this.stepsOf = new Map(); // how many steps of each task did
      const names = new Set();
      for (const { values } of lives.queues) {
        for (const value of values) for (const each of [value.pushed_by, value.taken_by, ...value.returns.map((one) => one.taken_by)]) names.add(each);
      }
      names.delete(null);
      for (const task of new Set([...names].map(taskOf))) {
        const around = this._around(task);
        if (this.tasks.has(task)) continue;
        if (around === null) this.others.add(task.slice(0, task.indexOf("/")));
        else this.stepsOf.set(around, (this.stepsOf.get(around) || 0) + 1);
      }
    }

    /** Return the task of a step's id, or null for a task of another session. */
    _around(task) {
      const step = this.steps.get(task);
      if (step) return step.task;
      const around = task.slice(0, task.lastIndexOf("/"));
      return /\/\d+$/.test(task) && this.tasks.has(around) ? around : null;
    }

    /** Return the id of the node of an attempt, which is made if there is none; null becomes `outside`. */
    of(name, outside) {
      if (name === null) return outside === null ? null : this._node({ id: outside, kind: "outside", title: outside });
      return this._node(this._made(taskOf(name)));
    }

    _made(task) {
      const own = this.tasks.get(task);
      if (own) return { id: `task ${task}`, kind: "task", title: task, status: own.status, detail: attemptsOf(own) };
      const around = this._around(task);
      if (around === null) {
        if (this.others.size > MOST_SESSIONS) {
          return { id: "sessions", kind: "session", title: `${this.others.size.toLocaleString("en")} other sessions` };
        }
        const session = task.slice(0, task.indexOf("/"));
        return { id: `session ${session}`, kind: "session", title: session, detail: "another session" };
      }
      if (this.stepsOf.get(around) > MOST_STEPS) {
        const title = `${this.stepsOf.get(around).toLocaleString("en")} steps of ${around}`;
        return { id: `steps ${around}`, kind: "step", title };
      }
      const step = this.steps.get(task);
      return { id: `step ${task}`, kind: "step", title: step ? step.name : task, status: step && step.status, detail: `step of ${around}` };
    }

    _node(node) {
      if (!this.nodes.has(node.id)) this.nodes.set(node.id, { detail: "", status: null, ...node });
      return node.id;
    }
  }

  function attemptsOf(task) {
    const count = task.attempts.length + (task.attempts_left_out || 0);
    return count === 1 ? "" : `${count.toLocaleString("en")} attempts`;
  }

  /** Return who holds a value now: the id of a node, or null if it lies in its queue or is gone. */
  function takerOf(value, actors) {
    const isTaken = value.state === "taken" || value.state === "removed";
    return isTaken ? actors.of(value.taken_by, TO_OUTSIDE) : null;
  }

  /** Whether two values went the same way for sure: neighbours often did. */
  function sameWay(one, other) {
    return one.state === other.state && one.pushed_by === other.pushed_by && one.taken_by === other.taken_by &&
      !one.returns.length && !other.returns.length;
  }

  /**
   * Return the rows of a queue: single values if they are few, else groups of those with the same way and end.
   *
   * `rowOf` has the row of each value, and `rest` counts the values without a row.
   */
  function rowsOf(queue, actors) {
    const rows = new Map();
    const rowOf = new Array(queue.count);
    const isSingle = queue.count <= MOST_SINGLE;
    const rowFor = (value, index) => {
      const pusher = actors.of(value.pushed_by, FROM_OUTSIDE);
      const taker = takerOf(value, actors);
      const back = [...new Set(value.returns.filter((each) => each.failed_deliveries !== 0)
        .map((each) => actors.of(each.taken_by, null)).filter((id) => id !== null))].sort();
      const way = isSingle ? `#${value.seq}` : [pusher, value.state, taker, ...back].join("\n");
      if (!rows.has(way)) rows.set(way, { key: `${queue.name}\n${way}`, queue, index, count: 0, pusher, taker, back, state: value.state });
      return rows.get(way);
    };
    let row = null;
    let before = null;
    for (let index = 0; index < queue.count; index += 1) {
      const value = queue.values[index];
      if (!before || isSingle || !sameWay(before, value)) row = rowFor(value, index);
      rowOf[index] = row;
      row.count += 1;
      before = value;
    }
    const found = [...rows.values()];
    if (found.length > MOST_ROWS) found.sort((one, other) => other.count - one.count);
    const rest = found.slice(MOST_ROWS).reduce((sum, row) => sum + row.count, 0);
    return { rows: found.slice(0, MOST_ROWS), rowOf, rest };
  }

  /** Return the queues that are drawn, which have values: all, or those of which most values were taken. */
  function drawn(lives) {
    const used = lives.queues.filter((queue) => queue.count && !lives.results.has(queue));
    if (used.length <= MOST_QUEUES) return used;
    const taken = new Map(used.map((queue) => [queue, queue.values.filter((value) => value.taken_by || value.returns.length).length]));
    const chosen = new Set([...used].sort((one, other) => taken.get(other) - taken.get(one)).slice(0, MOST_QUEUES));
    return used.filter((queue) => chosen.has(queue));
  }

  /** Return the graph: nodes of those who push and take, queues with their rows, and links between the two. */
  function of(description, lives) {
    const actors = new Actors(description, lives);
    const queues = drawn(lives).map((queue) => ({ queue, id: `queue ${queue.name}`, ...rowsOf(queue, actors) }));
    const notDrawn = lives.queues.filter((queue) => queue.count && !lives.results.has(queue)).length - queues.length;
    const links = new Map();
    const link = (from, to, row) => {
      const key = `${from}\n${to}`;
      if (!links.has(key)) links.set(key, { from, to, count: 0 });
      links.get(key).count += row.count;
    };
    for (const { id, rows } of queues) {
      for (const row of rows) {
        link(row.pusher, id, row);
        if (row.taker !== null) link(id, row.taker, row);
        for (const actor of row.back) link(id, actor, row);
      }
    }
    const used = new Set([...links.values()].flatMap(({ from, to }) => [from, to]));
    return { actors: [...actors.nodes.values()].filter((node) => used.has(node.id)), queues, links: [...links.values()], notDrawn };
  }

  return { of };
})();
