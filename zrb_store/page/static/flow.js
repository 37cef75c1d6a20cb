"use strict";
/* The data flow: those who push and take at the sides of queues, and each value, or group of values, a line between. */
const Flow = (() => {
  const { svg } = Page;
  const CHAR = 7.9; // width of a character of the monospaced text
  const SMALL = 6.6;
  const ROW = 24;
  const HEAD = 30;
  const LONGEST = 26; // characters of a name
  const LEAST_SCALE = 0.8;
  const OUTSIDE = "somebody outside any task";
  const HINT = "Point at a value to read its life; select it to highlight its whole way on this page.";

  const short = (text) => Lives.short(text, LONGEST);
  const number = (count) => count.toLocaleString("en");

  function textOf(row) {
    return row.count === 1 ? Lives.label(row.queue, row.index, LONGEST) : `${number(row.count)} values`;
  }

  function sizeOfActor(node) {
    const width = Math.max(short(node.title).length * CHAR + (node.status ? 18 : 0), node.detail.length * SMALL) + 26;
    return { width: Math.max(84, width), height: node.detail ? 48 : 34 };
  }

  function sizeOfQueue({ queue, rows, rest }) {
    const texts = rows.map((row) => textOf(row).length * CHAR + 34 + (row.state === "live" || row.state === "taken" ? 0 : 16));
    const width = Math.max(short(queue.name).length * CHAR + 60, 96, ...texts);
    return { width: width + 20, height: HEAD + (rows.length + (rest ? 1 : 0)) * ROW + 6 };
  }

  /** Place the nodes with dagre, from left to right. */
  function layout(graph) {
    const dag = new dagre.graphlib.Graph();
    dag.setGraph({ rankdir: "LR", nodesep: 22, ranksep: 76, edgesep: 10, marginx: 8, marginy: 10 });
    dag.setDefaultEdgeLabel(() => ({}));
    for (const node of graph.actors) dag.setNode(node.id, sizeOfActor(node));
    for (const each of graph.queues) dag.setNode(each.id, sizeOfQueue(each));
    for (const link of graph.links) dag.setEdge(link.from, link.to, { weight: 1 + Math.log10(link.count) });
    dagre.layout(dag);
    return dag;
  }

  /** Return a path through points whose pieces leave and arrive horizontally. */
  function curve(points) {
    let path = `M${points[0].x.toFixed(1)} ${points[0].y.toFixed(1)}`;
    for (let place = 1; place < points.length; place += 1) {
      const [from, to] = [points[place - 1], points[place]];
      const bend = Math.max(24, Math.abs(to.x - from.x) / 2) * (from.out ?? Math.sign(to.x - from.x || 1));
      const into = Math.max(24, Math.abs(to.x - from.x) / 2) * (to.out ?? -Math.sign(to.x - from.x || 1));
      path += `C${(from.x + bend).toFixed(1)} ${from.y.toFixed(1)} ${(to.x + into).toFixed(1)} ${to.y.toFixed(1)} ${to.x.toFixed(1)} ${to.y.toFixed(1)}`;
    }
    return path;
  }

  /** Where the points lie that keep a long line off other nodes. */
  function between(dag, from, to) {
    const points = (dag.edge(from, to) || { points: [] }).points;
    return points.length > 3 ? points.slice(1, -1) : [];
  }

  /** The drawing of one graph. */
  class Drawing {
    constructor(view, graph) {
      [this.view, this.graph] = [view, graph];
      this.dag = layout(graph);
      this.lines = svg("g", { class: "lines" });
      this.boxes = svg("g", {});
      this.rows = []; // {row, element, lines, ends} in the order of the keyboard
      this.actors = new Map();
      const { width, height } = this.dag.graph();
      [this.width, this.height] = [width || 1, height || 1];
      for (const node of graph.actors) this._actor(node);
      const inOrder = [...graph.queues].sort((one, other) => this.dag.node(one.id).x - this.dag.node(other.id).x || this.dag.node(one.id).y - this.dag.node(other.id).y);
      for (const each of inOrder) this._queue(each);
      this.element = svg("svg", { class: "graph", viewBox: `0 0 ${this.width} ${this.height}`, width: this.width, height: this.height, role: "group", "aria-label": "Data flow: each row of a queue is a value, or several that went the same way" },
        this._arrows(), this.lines, this.boxes);
    }

    _arrows() {
      const arrow = (id, kind) => svg("marker", { id, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, markerUnits: "userSpaceOnUse", orient: "auto-start-reverse" },
        svg("path", { class: `arrow ${kind}`, d: "M0 0.5L8 4L0 7.5Z" }));
      return svg("defs", {}, arrow("flow-to", "to"), arrow("flow-back", "back"));
    }

    _actor(node) {
      const { x, y, width, height } = this.dag.node(node.id);
      const left = x - width / 2;
      const top = y - height / 2;
      const line = node.detail ? top + 20 : y + 5;
      const dot = node.status ? svg("circle", { class: "dot", cx: left + 14, cy: line - 4.5, r: 4 }) : null;
      const group = svg("g", { class: `actor ${node.kind}`, "data-status": node.status },
        svg("title", {}, [node.kind === "outside" ? "outside any task" : `${node.kind} ${node.title}`, node.status, node.detail].filter(Boolean).join(", ")),
        svg("rect", { x: left, y: top, width, height, rx: node.kind === "task" ? 8 : height / 2 }),
        dot,
        svg("text", { class: "name", x: left + (dot ? 24 : 13), y: line }, short(node.title)),
        node.detail ? svg("text", { class: "detail", x: left + 13, y: top + 38 }, node.detail) : null);
      this.boxes.append(group);
      this.actors.set(node.id, group);
    }

    _queue({ id, queue, rows, rest }) {
      const { x, y, width, height } = this.dag.node(id);
      const [left, top] = [x - width / 2, y - height / 2];
      this.boxes.append(svg("g", { class: "queue" },
        svg("title", {}, `queue ${queue.name}`),
        svg("rect", { x: left, y: top, width, height, rx: 4 }),
        svg("path", { class: "head", d: `M${left} ${top + HEAD - 2}h${width}` }),
        svg("text", { class: "name", x: left + 12, y: top + 19 }, short(queue.name)),
        svg("text", { class: "detail", x: left + width - 12, y: top + 19, "text-anchor": "end" }, number(queue.count + queue.leftOut)),
        rest ? svg("text", { class: "detail", x: left + 12, y: top + HEAD + rows.length * ROW + 16 }, `${number(rest)} more`) : null));
      rows.forEach((row, place) => this._row(id, row, { left, width, y: top + HEAD + place * ROW, shift: place - rows.length / 2 }));
    }

    _row(queueId, row, at) {
      const middle = at.y + ROW / 2;
      const mark = { dead: "✕", retracted: "↶", removed: "–" }[row.state];
      const element = svg("g", { class: "row", role: "button", tabindex: -1, "data-state": row.state, "aria-pressed": "false", "aria-label": this.view.say(row) },
        svg("rect", { x: at.left + 5, y: at.y + 1, width: at.width - 10, height: ROW - 2, rx: 4 }),
        svg("circle", { class: "dot", cx: at.left + 16, cy: middle, r: 3.5 }),
        svg("text", { class: "value", x: at.left + 27, y: middle + 4.5 }, textOf(row)),
        mark ? svg("text", { class: "mark", x: at.left + at.width - 14, y: middle + 4.5, "text-anchor": "end" }, mark) : null);
      const lines = [];
      const draw = (kind, actor, marker, offset) => {
        const line = this._line(queueId, actor, kind === "push", at, middle + offset);
        const width = (1.25 + 0.6 * Math.log10(row.count)).toFixed(2);
        lines.push(svg("path", { class: `line ${kind}`, "data-state": row.state, d: curve(line), "stroke-width": width, ...marker }));
      };
      draw("push", row.pusher, { "marker-end": "url(#flow-to)" }, 0);
      if (row.taker !== null) draw("take", row.taker, { "marker-end": "url(#flow-to)" }, -2);
      for (const actor of row.back) draw("back", actor, { "marker-start": "url(#flow-back)", "marker-end": "url(#flow-back)" }, 4);
      this.lines.append(...lines);
      this.boxes.append(element);
      this.rows.push({ row, element, lines, ends: new Set([row.pusher, row.taker, ...row.back]) });
    }

    /** Return the points of a line between an actor and a row; the first one is where the arrow does not point. */
    _line(queueId, actorId, isPush, at, y) {
      const actor = this.dag.node(actorId);
      const isLeft = actor.x <= at.left + at.width / 2;
      const spread = Math.max(-actor.height / 2 + 6, Math.min(actor.height / 2 - 6, at.shift * 5));
      const atActor = { x: actor.x + ((isLeft ? 1 : -1) * actor.width) / 2, y: actor.y + spread, out: isLeft ? 1 : -1 };
      const atRow = { x: isLeft ? at.left : at.left + at.width, y, out: isLeft ? -1 : 1 };
      const forth = isPush ? between(this.dag, actorId, queueId) : between(this.dag, queueId, actorId);
      const bends = forth.map((point) => ({ x: point.x, y: Math.min(this.height - 5, Math.max(5, point.y + at.shift * 4)) }));
      return isPush ? [atActor, ...bends, atRow] : [atRow, ...bends, atActor];
    }

    /** Light some rows with their whole ways, and dim the rest; all are equal if none is given. */
    light(chosen) {
      const ends = new Set();
      for (const { row, element, lines, ends: own } of this.rows) {
        const isLit = chosen.has(row.key);
        element.classList.toggle("lit", isLit);
        element.setAttribute("aria-pressed", String(isLit));
        for (const line of lines) line.classList.toggle("lit", isLit);
        if (isLit) own.forEach((end) => ends.add(end));
      }
      for (const [id, group] of this.actors) group.classList.toggle("lit", ends.has(id));
      this.element.classList.toggle("choosing", chosen.size > 0);
    }
  }

  class View {
    constructor(element) {
      this.group = null;
      this.said = Page.el("p", { class: "flow-said", "aria-live": "polite" });
      this.more = Page.el("p", { class: "quiet small", hidden: true });
      this.scroll = Page.el("div", { class: "scroll flow", keydown: (event) => this.key(event) });
      const way = (kind, text) => Page.el("span", {}, svg("svg", { viewBox: "0 0 34 10", width: 34, height: 10, "aria-hidden": "true" },
        svg("path", { class: `line ${kind}`, d: "M1 5H33", "stroke-width": 2, "data-state": kind === "push" ? "retracted" : "taken" })), text);
      element.append(this.scroll, this.more, this.said, Page.el("p", { class: "legend flow-legend" },
        way("take", "taken"), way("back", "taken and given back"), way("push", "retracted: its push was undone"),
        Page.el("span", {}, "✕ dead, – removed")));
      Page.on("select", () => this.light(true));
      addEventListener("resize", () => this.fit());
    }

    update(description) {
      const focused = this.focused();
      this.lives = Lives.read(description);
      const graph = FlowGraph.of(description, this.lives);
      if (!graph.queues.length) {
        this.said.textContent = this.lives.results.size ? `${Page.counted(this.lives.results.size, "result")}, and no other queue.` : "No value was pushed.";
        return;
      }
      const { size } = this.lives.results;
      this.more.hidden = !graph.notDrawn && !size;
      this.more.textContent = !graph.notDrawn ? `${Page.counted(size, "result")}, which no task took, ${size === 1 ? "is" : "are"} not drawn.` : `${Page.counted(graph.notDrawn, "more queue")} with fewer taken values ${graph.notDrawn === 1 ? "is" : "are"} not drawn.`;
      this.drawing = new Drawing(this, graph);
      for (const each of this.drawing.rows) {
        const { element, row } = each;
        element.addEventListener("click", () => this.choose(row));
        element.addEventListener("mouseenter", () => this.tell(row));
        element.addEventListener("mouseleave", () => this.tell(null));
        element.addEventListener("focus", () => this.tell(row));
      }
      const { scrollLeft, scrollTop } = this.scroll;
      this.scroll.replaceChildren(this.drawing.element);
      [this.scroll.scrollLeft, this.scroll.scrollTop] = [scrollLeft, scrollTop];
      const first = this.drawing.rows.find(({ row }) => row.key === focused) || this.drawing.rows[0];
      first.element.setAttribute("tabindex", 0);
      if (focused === first.row.key) first.element.focus();
      this.fit();
      this.light(false);
    }

    focused() {
      const active = document.activeElement;
      const found = this.drawing && this.drawing.rows.find(({ element }) => element === active);
      return found ? found.row.key : null;
    }

    /** Let the drawing be a little smaller, if it then needs no scrolling. */
    fit() {
      if (!this.drawing) return;
      const { element, width, height } = this.drawing;
      const room = this.scroll.clientWidth;
      const scale = room && room < width && room >= width * LEAST_SCALE ? room / width : 1;
      element.setAttribute("width", width * scale);
      element.setAttribute("height", height * scale);
    }

    choose(row) {
      if (row.count === 1) {
        const { id } = row.queue.values[row.index];
        this.group = null;
        Page.select(Page.selected === id ? null : id);
      } else {
        this.group = this.group === row.key ? null : row.key;
        Page.select(null);
      }
      this.light(false);
    }

    /** Return the keys of the rows that are lit: those of the selected value and of what it was moved from and to. */
    lit() {
      if (this.group !== null) return new Set([this.group]);
      const found = Page.selected === null ? null : Lives.find(this.lives, Page.selected);
      if (found === null) return new Set();
      const drawn = this.drawing.graph.queues.find(({ queue }) => queue === found.queue);
      return new Set(drawn ? Lives.chain(found.queue, found.index).map((index) => drawn.rowOf[index].key) : []);
    }

    light(isNew) {
      if (!this.drawing) return;
      if (isNew && Page.selected !== null) this.group = null;
      this.drawing.light(this.lit());
      this.tell(null);
    }

    /** Say the life of a row that is pointed at, or of the one that is chosen. */
    tell(row) {
      const chosen = Page.selected === null ? null : Lives.find(this.lives, Page.selected);
      const grouped = this.group && this.drawing.rows.find((each) => each.row.key === this.group);
      if (row) this.said.textContent = this.say(row);
      else if (grouped) this.said.textContent = this.say(grouped.row);
      else if (chosen) this.said.textContent = this.life(chosen.queue, chosen.index);
      else this.said.textContent = HINT;
      this.said.classList.toggle("hint", this.said.textContent === HINT);
    }

    say(row) {
      if (row.count === 1) return this.life(row.queue, row.index);
      const parts = [`${number(row.count)} values of ${row.queue.name}`, `pushed by ${nodeName(row.pusher)}`];
      if (row.back.length) parts.push(`given back by ${row.back.map(nodeName).join(" and ")}`);
      parts.push(row.taker === null ? row.state : `${row.state} by ${nodeName(row.taker)}`);
      return Page.printable(parts.join(", "));
    }

    /** Return the life of one value in one sentence. */
    life(queue, index) {
      const value = queue.values[index];
      const told = Lives.life(this.lives, value).map(({ event, by, note }) => {
        const actor = by !== "-" ? ` by ${by}` : event === "pushed" || event === "taken" ? ` by ${OUTSIDE}` : "";
        return `${event}${actor}${note && ` (${Lives.short(note, 60)})`}`;
      });
      if (value.state === "live" || value.state === "delayed") told.push(value.state);
      return Page.printable([`${Lives.label(queue, index, 60)} (${queue.name}#${value.seq})`, ...told].join(", "));
    }

    key(event) {
      const rows = this.drawing ? this.drawing.rows : [];
      const place = rows.findIndex(({ element }) => element === document.activeElement);
      if (place < 0) return;
      if (event.key === "Enter" || event.key === " ") this.choose(rows[place].row);
      else {
        const next = this.next(rows, place, event.key);
        if (!next) return;
        rows[place].element.setAttribute("tabindex", -1);
        next.element.setAttribute("tabindex", 0);
        next.element.focus();
      }
      event.preventDefault();
    }

    /** Return the row that a key goes to: up and down through all rows, left and right from queue to queue. */
    next(rows, place, key) {
      const queue = rows[place].row.queue;
      const others = { ArrowLeft: rows.slice(0, place).reverse(), ArrowRight: rows.slice(place) }[key];
      if (others) {
        const found = others.find(({ row }) => row.queue !== queue);
        return found && rows.find(({ row }) => row.queue === found.row.queue);
      }
      return { ArrowUp: rows[place - 1], ArrowDown: rows[place + 1], Home: rows[0], End: rows[rows.length - 1] }[key];
    }
  }

  const nodeName = (id) => id.slice(id.indexOf(" ") + 1);

  return { draw: Page.part(View) };
})();
