"use strict";
/* Values as a person reads them: `24.90` for a Decimal, `(1, 2)` for a tuple, `Order(id=7)` for a dataclass.

   How a part with a tag reads stands in it, under `as`: render/readable.py says that. Here parts are put together, since only
   the reader knows which of them are opened, and how much room there is. */
const Readable = (() => {
  const NUMBERS = new Set(["Decimal", "int", "float", "number"]); // a number that JavaScript cannot write as Python does has the tag `number`

  const isTagged = (tree) => tree !== null && typeof tree === "object" && !Array.isArray(tree) && "$" in tree;

  /** Return the text of a value that is written as one (a str, a path, a date, a command's output), else null. */
  function single(tree) {
    if (typeof tree === "string") return tree;
    if (!isTagged(tree)) return null;
    if (tree.$ === "CmdResult") return single(tree.v?.output);
    if (tree.$ === "str" && Array.isArray(tree.v)) return tree.v.join("");
    const isText = tree.as === undefined || tree.$ === "datetime" || tree.$ === "time";
    return isText && tree.$ !== "number" && typeof tree.v === "string" ? tree.v : null;
  }

  /** Return about the first `length` characters of a value on one line. */
  function readable(tree, length = 300) {
    const written = { text: "", room: length };
    write(tree, written);
    return written.text.length > length ? written.text.slice(0, length) + " […]" : written.text;
  }

  function write(tree, written) {
    if (written.text.length > written.room) return;
    if (typeof tree === "string") written.text += JSON.stringify(tree.slice(0, written.room));
    else if (Array.isArray(tree)) list(["[", "", "]"], tree, written);
    else if (tree === null || typeof tree !== "object") written.text += JSON.stringify(tree);
    else if (!("$" in tree)) list(["{", ": ", "}"], Object.entries(tree), written);
    else if (!Array.isArray(tree.as)) written.text += tree.as ?? tree.v;
    else if (tree.as[1] === null) list(tree.as, [tree.v], written);
    else if (Array.isArray(tree.v)) list(tree.as, tree.v, written);
    else list(tree.as, Object.entries(tree.v).map(([name, item]) => [{ $: "name", v: name }, item]), written);
  }

  function list([opening, joint, closing], items, written) {
    written.text += opening;
    for (const [place, item] of items.entries()) {
      if (written.text.length > written.room) return;
      if (place) written.text += ", ";
      if (joint) {
        write(item[0], written);
        written.text += joint;
      }
      write(joint ? item[1] : item, written);
    }
    written.text += closing;
  }

  /** Return a value as indented JSON; a number is written as Python writes it. */
  function json(tree, indent = "") {
    if (tree === null || typeof tree !== "object") return JSON.stringify(tree);
    const deeper = indent + "  ";
    if (Array.isArray(tree)) {
      if (!tree.length) return "[]";
      return `[\n${tree.map((item) => deeper + json(item, deeper)).join(",\n")}\n${indent}]`;
    }
    if (tree.$ === "number") return tree.v;
    const entries = Object.entries(tree).filter(([key]) => !("$" in tree) || key !== "as");
    if (!entries.length) return "{}";
    return `{\n${entries.map(([key, item]) => `${deeper}${JSON.stringify(key)}: ${json(item, deeper)}`).join(",\n")}\n${indent}}`;
  }

  /** Return the items of a list, a tuple or a set; null for anything else. */
  const items = (tree) => Array.isArray(tree) ? tree : isTagged(tree) && tree.as?.[1] === "" ? tree.v : null;

  /** Return the fields of a dict with text keys or of a dataclass, as an object; null for anything else. */
  function fields(tree) {
    if (tree === null || typeof tree !== "object" || Array.isArray(tree)) return null;
    if (!("$" in tree)) return tree;
    if (!Array.isArray(tree.as) || !tree.as[1]) return null;
    if (!Array.isArray(tree.v)) return tree.v;
    return tree.v.every(([key]) => typeof key === "string") ? Object.fromEntries(tree.v) : null;
  }

  /** Return a number, also of a Decimal or a large int; null for what is none that can be drawn. */
  function number(tree) {
    if (typeof tree === "number") return Number.isFinite(tree) ? tree : null;
    if (isTagged(tree) && NUMBERS.has(tree.$)) {
      const found = Number(tree.v);
      return Number.isFinite(found) ? found : null;
    }
    return null;
  }

  return { readable, single, json, items, fields, number };
})();
