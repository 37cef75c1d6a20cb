"use strict";
/* Values as a person reads them: `24.90` for a Decimal, `(1, 2)` for a tuple, `Order(id=7)` for a dataclass.

   It says the same as render/readable.py, which has the tags of docs/reference/types.md. */
const Readable = (() => {
  const TEXTS = new Set(["Decimal", "UUID", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "ZoneInfo",
    "date", "float", "int", "number"]); // a number that JavaScript cannot write as Python does has the tag `number`

  const isTagged = (tree) => tree !== null && typeof tree === "object" && !Array.isArray(tree) && "$" in tree;
  const className = (tree) => String(tree.type).split(".").pop();
  const text = (tree) => { if (typeof tree !== "string") throw new TypeError("no text"); return tree; };

  /** Return the text of a value that is written as one (a str, a path, a date, a command's output), else null. */
  function single(tree) {
    if (typeof tree === "string") return tree;
    if (!isTagged(tree)) return null;
    if (tree.$ === "CmdResult" && tree.v && typeof tree.v === "object") return single(tree.v.output);
    if (tree.$ === "str" && Array.isArray(tree.v)) return tree.v.join("");
    if (tree.$ === "number") return null;
    if ((TEXTS.has(tree.$) || tree.$ === "datetime" || tree.$ === "time") && typeof tree.v === "string") return tree.v;
    return null;
  }

  /** Return about the first `length` characters of a value on one line. */
  function readable(tree, length = 300) {
    const written = { text: "", room: length };
    write(tree, written);
    return written.text.length > length ? written.text.slice(0, length) + " […]" : written.text;
  }

  function add(written, piece) { written.text += piece; }

  function list(opening, items, closing, written) {
    add(written, opening);
    let first = true;
    for (const item of items) {
      if (written.text.length > written.room) return;
      if (!first) add(written, ", ");
      first = false;
      item(written);
    }
    add(written, closing);
  }

  const part = (tree) => (written) => write(tree, written);
  const pair = (name, joint, tree) => (written) => { name(written); add(written, joint); write(tree, written); };
  const word = (piece) => (written) => add(written, piece);

  function write(tree, written) {
    if (written.text.length > written.room) return;
    if (typeof tree === "string") add(written, JSON.stringify(tree.slice(0, written.room)));
    else if (Array.isArray(tree)) list("[", tree.map(part), "]", written);
    else if (tree === null || typeof tree !== "object") add(written, JSON.stringify(tree));
    else if (!("$" in tree)) list("{", Object.entries(tree).map(([key, item]) => pair(word(JSON.stringify(key)), ": ", item)), "}", written);
    else {
      const before = written.text;
      try {
        tagged(tree, written);
      } catch { // a damaged value, or one of a later version
        written.text = before + JSON.stringify(tree).slice(0, written.room);
      }
    }
  }

  function tagged(tree, written) {
    const v = tree.v;
    if (TEXTS.has(tree.$)) return add(written, text(v));
    switch (tree.$) {
      case "datetime": case "time":
        add(written, text(v).replace("T", " "));
        if ("tz" in tree) { add(written, " "); write(tree.tz, written); }
        if ("fold" in tree) add(written, " (the second time)");
        return;
      case "str": return add(written, JSON.stringify(v.join("")));
      case "tuple": return list("(", v.map(part), v.length === 1 ? ",)" : ")", written);
      case "set": case "frozenset": {
        const [opening, closing] = v.length ? ["{", "}"] : ["", ""];
        if (tree.$ === "set" && v.length) return list(opening, v.map(part), closing, written);
        return list(`${tree.$}(${opening}`, v.map(part), `${closing})`, written);
      }
      case "dict": case "OrderedDict":
        return list("{", v.map(([key, item]) => pair(part(key), ": ", item)), "}", written);
      case "bytes": return add(written, bytes(text(v), written.room));
      case "bytearray": return add(written, `bytearray(${bytes(text(v), written.room)})`);
      case "timedelta": return add(written, length(v));
      case "timezone": return add(written, v.length > 1 ? text(v[1]) : offset(v[0]));
      case "enum":
        if (tree.name !== null) return add(written, `${className(tree)}.${text(tree.name)}`);
        return list(`${className(tree)}(`, [part(v)], ")", written);
      case "dataclass":
        return list(`${className(tree)}(`, Object.entries(v).map(([name, item]) => pair(word(name), "=", item)), ")", written);
      case "object": return list(`${className(tree)}(`, [part(v)], ")", written);
      case "CmdResult": return write(v.output, written);
      case "opaque": return add(written, text(tree.repr));
      case "undecodable": return add(written, `undecodable: ${text(tree.raw)}`);
      default: throw new TypeError("not known");
    }
  }

  const pad = (number, digits = 2) => String(number).padStart(digits, "0");

  /** Write a length of time, [days, seconds, microseconds], as Python's str does. */
  function length([days, seconds, micros]) {
    if (days < 0) { // as the negative of a positive one
      const rest = micros ? [86400 - seconds - 1, 1e6 - micros] : [86400 - seconds, 0];
      const whole = -days - 1 + Math.floor(rest[0] / 86400);
      return "-" + length([whole, rest[0] % 86400, rest[1]]);
    }
    const clock = `${Math.floor(seconds / 3600)}:${pad(Math.floor(seconds / 60) % 60)}:${pad(seconds % 60)}`;
    return (days ? `${days} day${days === 1 ? "" : "s"}, ` : "") + clock + (micros ? "." + pad(micros, 6) : "");
  }

  function offset([days, seconds]) {
    const whole = days * 86400 + seconds, size = Math.abs(whole);
    const rest = size % 60 ? ":" + pad(size % 60) : "";
    return `UTC${whole < 0 ? "-" : "+"}${pad(Math.floor(size / 3600))}:${pad(Math.floor(size / 60) % 60)}${rest}`;
  }

  function bytes(base64, room) {
    const raw = atob(base64.slice(0, 4 * room));
    const quote = raw.includes("'") && !raw.includes('"') ? '"' : "'";
    const named = { "\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\", [quote]: "\\" + quote };
    const shown = [...raw].map((char) =>
      named[char] || (/[ -~]/.test(char) ? char : "\\x" + pad(char.charCodeAt(0).toString(16))));
    return `b${quote}${shown.join("")}${quote}`;
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
    const entries = Object.entries(tree);
    if (!entries.length) return "{}";
    return `{\n${entries.map(([key, item]) => `${deeper}${JSON.stringify(key)}: ${json(item, deeper)}`).join(",\n")}\n${indent}}`;
  }

  /** Return the items of a list, a tuple or a set; null for anything else. */
  function items(tree) {
    if (Array.isArray(tree)) return tree;
    return isTagged(tree) && ["tuple", "set", "frozenset"].includes(tree.$) && Array.isArray(tree.v) ? tree.v : null;
  }

  /** Return the fields of a dict with text keys or of a dataclass, as an object; null for anything else. */
  function fields(tree) {
    if (tree === null || typeof tree !== "object" || Array.isArray(tree)) return null;
    if (!("$" in tree)) return tree;
    if (tree.$ === "dataclass" && tree.v && typeof tree.v === "object") return tree.v;
    if ((tree.$ === "dict" || tree.$ === "OrderedDict") && Array.isArray(tree.v) && tree.v.every((each) => Array.isArray(each) && typeof each[0] === "string")) {
      return Object.fromEntries(tree.v);
    }
    return null;
  }

  /** Return a number, also of a Decimal or a large int; null for what is none that can be drawn. */
  function number(tree) {
    if (typeof tree === "number") return Number.isFinite(tree) ? tree : null;
    if (isTagged(tree) && ["Decimal", "int", "float", "number"].includes(tree.$)) {
      const found = Number(tree.v);
      return Number.isFinite(found) ? found : null;
    }
    return null;
  }

  return { readable, single, json, items, fields, number };
})();
