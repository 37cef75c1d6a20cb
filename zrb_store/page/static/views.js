"use strict";
/* The ways to look at a value: as text, as a tree, as a table if it is a list of records, as a plot if it is one of numbers. */
const Views = (() => {
  const { el } = Page;
  const MOST_ROWS = 500, MOST_COLUMNS = 40, MOST_CHILDREN = 200;

  /** Return the views that a value has, the most telling one first: [{name, draw(element)}]. */
  function of(value) {
    if ("beginning" in value) return [{ name: "Text", draw: (element) => drawText(element, value.beginning + " […]") }];
    const tree = value.value, found = [];
    const items = Readable.items(tree);
    const records = items && items.length ? items.map(Readable.fields) : [];
    const numbers = items && items.length > 1 ? items.map(Readable.number) : [];
    if (numbers.length && numbers.every((each) => each !== null)) found.push({ name: "Plot", draw: (element) => drawPlot(element, numbers) });
    if (records.length && records.every((each) => each !== null)) found.push({ name: "Table", draw: (element) => drawTable(element, records) });
    const isText = Readable.single(tree) !== null;
    const text = { name: "Text", draw: (element) => drawText(element, textOf(tree)) };
    const isNested = tree !== null && typeof tree === "object" && !isText;
    if (isNested) found.push({ name: "Tree", draw: (element) => element.append(branch(null, tree, true)) });
    return found.concat(text);
  }

  function textOf(tree) {
    const single = Readable.single(tree);
    if (single !== null) return single;
    try {
      return Readable.json(tree);
    } catch { // nested deeper than the stack allows
      return "It is nested too deep to be shown here.";
    }
  }

  function drawText(element, text) {
    element.append(el("pre", { class: "value-text text", tabindex: "0", "aria-label": "The value as text" }, text));
  }

  /** Return a node of the tree, whose children are made when it is opened. */
  function branch(name, tree, isOpen = false) {
    const key = name === null ? null : el("span", { class: "tree-key mono" }, name, ": ");
    const children = childrenOf(tree);
    if (!children || !children.length) {
      return el("div", { class: "leaf" }, key, el("span", { class: `mono text tree-${kindOf(tree)}` }, Readable.readable(tree, 2000)));
    }
    const details = el("details", { class: "branch", open: isOpen },
      el("summary", {}, key, el("span", { class: "mono text quiet" }, Readable.readable(tree, 80)), " ",
        el("span", { class: "quiet count" }, String(children.length))));
    const inner = el("div", { class: "children" });
    details.append(inner);
    const open = () => { if (!inner.firstChild) more(inner, children, 0); };
    details.addEventListener("toggle", open);
    if (isOpen) open();
    return details;
  }

  function more(inner, children, from) {
    const to = Math.min(children.length, from + MOST_CHILDREN);
    inner.append(...children.slice(from, to).map(([name, child]) => branch(name, child)));
    if (to === children.length) return;
    const button = el("button", { type: "button", click: () => { button.remove(); more(inner, children, to); } },
      `${(children.length - to).toLocaleString("en")} more`);
    inner.append(button);
  }

  function childrenOf(tree) {
    const items = Readable.items(tree);
    if (items) return items.map((item, place) => [String(place), item]);
    const fields = Readable.fields(tree);
    if (fields) return Object.entries(fields);
    if (tree?.as?.[1] && Array.isArray(tree.as)) return tree.v.map(([key, item]) => [Readable.readable(key, 80), item]);
    return tree?.as?.[1] === null ? childrenOf(tree.v) : null;
  }

  function kindOf(tree) {
    if (tree === null) return "null";
    if (typeof tree === "object") return Readable.number(tree) === null ? "other" : "number";
    return typeof tree;
  }

  function drawTable(element, records) {
    const columns = [...new Set(records.flatMap((record) => Object.keys(record)))];
    const shown = columns.slice(0, MOST_COLUMNS);
    const isNumber = (column) => records.every((record) => !Object.hasOwn(record, column) || Readable.number(record[column]) !== null);
    const numeric = new Set(shown.filter(isNumber));
    const head = el("tr", {}, el("th", { scope: "col", class: "number" }, "#"),
      shown.map((column) => el("th", { scope: "col", class: numeric.has(column) ? "mono number" : "mono" }, column)));
    const body = el("tbody", {});
    const add = (from) => {
      const to = Math.min(records.length, from + MOST_ROWS);
      body.append(...records.slice(from, to).map((record, place) => el("tr", {},
        el("th", { scope: "row", class: "number quiet" }, String(from + place)),
        shown.map((column) => el("td", { class: numeric.has(column) ? "mono number" : "mono text" },
          Object.hasOwn(record, column) ? cell(record[column]) : "")))));
      return to;
    };
    let to = add(0);
    element.append(el("div", { class: "scroll records", tabindex: "0", role: "region", "aria-label": "The value as a table" },
      el("table", {}, el("thead", {}, head), body)));
    if (columns.length > shown.length) element.append(el("p", { class: "quiet" }, Page.counted(columns.length - shown.length, "more column")));
    if (to < records.length) {
      const button = el("button", { type: "button", click: () => {
        to = add(to);
        button.textContent = `${(records.length - to).toLocaleString("en")} more rows`;
        if (to === records.length) button.remove();
      } }, `${(records.length - to).toLocaleString("en")} more rows`);
      element.append(button);
    }
  }

  const cell = (tree) => typeof tree === "string" ? tree.slice(0, 500) : Readable.readable(tree, 200);

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function drawPlot(element, numbers) {
    const least = Math.min(...numbers), most = Math.max(...numbers);
    const mean = numbers.reduce((sum, each) => sum + each, 0) / numbers.length;
    const summary = `${numbers.length.toLocaleString("en")} numbers from ${least} to ${most}, mean ${Number(mean.toPrecision(6))}`;
    const place = el("div", { class: "plot", role: "img", "aria-label": `A plot of ${summary}` });
    element.append(place, el("p", { class: "quiet" }, summary));
    let plot = null;
    const axis = () => ({ stroke: color("--quiet"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line") }, font: "12px system-ui" });
    const draw = () => {
      if (plot) plot.destroy();
      plot = new uPlot({
        width: Math.max(200, place.clientWidth), height: 220, legend: { show: false }, scales: { x: { time: false } },
        cursor: { drag: { x: true, y: false } },
        axes: [axis(), { ...axis(), size: 70 }],
        series: [{}, { stroke: color("--accent"), width: 1.5, points: { show: numbers.length < 100 } }],
      }, [numbers.map((_, index) => index), numbers], place);
    };
    let width = 0;
    new ResizeObserver(() => {
      if (!place.isConnected || place.clientWidth === width) return;
      width = place.clientWidth;
      draw();
    }).observe(place);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => { if (place.isConnected) draw(); });
  }

  return { of };
})();
