"use strict";
/* What all parts of a page share: elements, times, the description of a session, and which value is selected.

   Everything that comes from the store is text: `el` makes text nodes, and nothing here or in any part sets innerHTML. */
const Page = (() => {
  // What Python's str.isprintable() is false for, but for newlines and tabs. Lone surrogates are of \p{C}, too. Joiners
  // between letters, marks and symbols stay: see masking.py.
  const JOINED = "(?!\\p{ASCII})[\\p{L}\\p{M}\\p{S}]";
  const JOINER = `(?<=${JOINED})[\\u200c\\u200d](?=${JOINED})`;
  const UNPRINTABLE = new RegExp(`(?!${JOINER})(?:(?![\\n\\t])[\\p{C}\\p{Zl}\\p{Zp}]|(?! )\\p{Zs})`, "gu");

  /** Return a text in which each invisible or control character is shown by its escape. */
  function printable(text) {
    return String(text).replace(UNPRINTABLE, (found) => {
      const code = found.codePointAt(0);
      if (code < 0x100) return "\\x" + code.toString(16).padStart(2, "0");
      return code < 0x10000 ? "\\u" + code.toString(16).padStart(4, "0") : "\\U" + code.toString(16).padStart(8, "0");
    });
  }

  function made(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "style") Object.assign(node.style, value);
      else if (typeof value === "function") node.addEventListener(name, value);
      else node.setAttribute(name, value === true ? "" : printable(value));
    }
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      node.append(child instanceof Node ? child : document.createTextNode(printable(child)));
    }
    return node;
  }

  /** Make an element: el("button", {type: "button", style: {left: "3px"}, click: () => ...}, "text", otherElement). */
  const el = (tag, attributes, ...children) => made(document.createElement(tag), attributes, children);

  /** Make an SVG element. */
  const svg = (tag, attributes, ...children) =>
    made(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  /** Replace the children of an element, by the rules of `el`. */
  function fill(element, ...children) {
    element.replaceChildren();
    return made(element, {}, children);
  }

  /** Parse an ISO 8601 time of the store; return microseconds since 1970, which a number holds exactly. */
  function micros(iso) {
    if (iso === null || iso === undefined) return null;
    return Date.parse(iso.slice(0, 19) + "Z") * 1000 + Number(iso.slice(20, 26));
  }

  const pad = (number, length = 2) => String(number).padStart(length, "0");
  const zone = () => {
    const parts = new Intl.DateTimeFormat("en", { timeZoneName: "short" }).formatToParts(new Date());
    return (parts.find((part) => part.type === "timeZoneName") || { value: "" }).value;
  };
  const ZONE = zone();

  /** Format a time in the reader's zone: how is "full" (date, time, zone), "ago", "clock" or "exact". */
  function time(at, how = "full") {
    if (at === null || at === undefined) return "-";
    const date = new Date(at / 1000);
    const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
    const clock = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
    if (how === "clock") return clock;
    if (how === "ago") return ago(Date.now() * 1000 - at) || `${day} ${clock}`;
    if (how === "exact") return `${day} ${clock}.${pad(((at % 1e6) + 1e6) % 1e6, 6)} ${ZONE}`;
    return `${day} ${clock} ${ZONE}`;
  }

  /** Say how long ago something was, in one unit; an empty text for what was more than a month ago, or will be. */
  function ago(length) {
    const seconds = Math.floor(length / 1e6);
    if (seconds < -60 || seconds >= 30 * 86400) return "";
    if (seconds < 60) return "just now";
    const [unit, name] = [[86400, "d"], [3600, "h"], [60, "min"]].find(([unit]) => seconds >= unit);
    return `${Math.floor(seconds / unit)} ${name} ago`;
  }

  /** Format microseconds in their two largest units, as the command line does. Python formats all that does not depend on the width or on a chosen moment. */
  function duration(length) {
    if (length === null || length === undefined) return "-";
    if (length < 1e6) return `${Math.floor(length / 1000)} ms`;
    if (length < 60e6) return `${(length / 1e6).toFixed(1)} s`;
    const whole = Math.floor(length / 1e6);
    for (const [unit, name, part, partName] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
      if (whole >= unit) {
        const rest = Math.floor((whole % unit) / part);
        return `${Math.floor(whole / unit)} ${name}` + (rest ? ` ${rest} ${partName}` : "");
      }
    }
    return `${whole} s`;
  }

  const counted = (count, noun) => `${count.toLocaleString("en")} ${count === 1 ? noun : `${noun}s`.replace("rys", "ries")}`;

  /** Return how many of some numbers, which are in order, are at most a limit. */
  function upTo(numbers, limit) {
    let [low, high] = [0, numbers.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (numbers[middle] <= limit) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Quote a word for a shell, so that a command can be copied. */
  const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\"'\"'") + "'");

  /** Return an element with a command, which can be copied. */
  const command = (text) => el("code", { class: "command" }, text);

  /** Return a button that copies a text, which it asks for when it is pressed. */
  function copier(text, what) {
    const button = el("button", { type: "button", class: "copy", title: `Copy the ${what}`, "aria-label": `Copy the ${what}`, click: async () => {
      const copied = await navigator.clipboard.writeText(text()).then(() => true, () => false);
      button.classList.toggle("copied", copied);
      button.setAttribute("aria-label", copied ? "Copied" : `Select the ${what} to copy it`);
      setTimeout(() => button.classList.remove("copied"), 1500);
    } }, svg("svg", { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true" },
      svg("path", { d: "M5.5 5.5V2.5h8v8h-3M2.5 5.5h8v8h-8z" })));
    return button;
  }

  /** Give each command a button that copies it. */
  function copyable() {
    for (const code of document.querySelectorAll("code.command")) {
      if (!code.nextElementSibling?.matches(".copy")) code.after(copier(() => code.textContent, "command"));
    }
  }

  /** Let the key `/` do something, unless somebody is typing. */
  function onSlash(go) {
    addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea")) return;
      event.preventDefault();
      go();
    });
  }

  /** Write into the page's address what is looked at, so that it can be sent. */
  function address(text) {
    try {
      history.replaceState(history.state, "", `#${encodeURIComponent(text).replaceAll("%3A", ":").replaceAll("%3D", "=").replaceAll("%2F", "/")}`);
    } catch (_) {
      // A page without an address of its own, such as one in a mail, has no links to its parts either.
    }
  }

  /** Return what the page's address names. */
  function addressed() {
    try {
      return decodeURIComponent(location.hash.slice(1));
    } catch (_) {
      return "";
    }
  }

  /** Open what the page's address leads to, and all that it is in. */
  function follow() {
    const target = document.getElementById(addressed());
    for (let each = target; each; each = each.parentElement?.closest("details")) if (each.matches("details")) each.open = true;
    target?.scrollIntoView();
  }
  addEventListener("hashchange", follow);
  addEventListener("click", ({ target }) => { if (target.dataset?.leads) location.hash = encodeURIComponent(target.dataset.leads); });

  const TIMES = ["at", "created_at", "read_at", "started_at", "ended_at", "given_back_at", "pushed_at",
    "taken_at", "undone_at", "returned_at", "replaced_at", "due_at", "worked_until"];

  function withTimes(shape) {
    for (const name of TIMES) if (typeof shape[name] === "string") shape[name] = micros(shape[name]);
    return shape;
  }

  /** Parse the description of a session: all times become microseconds since 1970, as numbers. */
  function parse(text) {
    const description = withTimes(JSON.parse(text));
    description.runs.forEach(withTimes);
    description.work.forEach(withTimes);
    for (const task of description.tasks) {
      task.attempts.forEach(withTimes);
      for (const step of task.steps || []) step.attempts.forEach(withTimes);
    }
    for (const queue of Object.values(description.queues)) {
      for (const value of queue.values) [...value.returns, ...value.replaced].forEach(withTimes); // its own are numbers
    }
    for (const attempt of description.logged.attempts) {
      withTimes(attempt);
      if (attempt.output) attempt.output.lines.forEach(withTimes);
    }
    description.changes.forEach(withTimes);
    return description;
  }

  /** Read the description in an element, which is base64 of gzip. */
  async function read(element) {
    const bytes = Uint8Array.from(atob(element.textContent), (char) => char.charCodeAt(0));
    return parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text());
  }

  const events = new EventTarget();
  let selected = null;

  /** Select a value by its id (SESSION/QUEUE#SEQ), or none (null): all parts light it up. Event "select". */
  function select(id) {
    if (id === selected) return;
    selected = id;
    events.dispatchEvent(new CustomEvent("select", { detail: id }));
  }

  /** Call a function at each event of a name: on("select", (id) => ...). */
  const on = (name, handler) => events.addEventListener(name, (event) => handler(event.detail));

  /** Tell others of an event: emit("moment", micros). */
  const emit = (name, detail) => events.dispatchEvent(new CustomEvent(name, { detail }));

  /** Draw all parts of the page, at first or with a newer description. */
  function draw(description, parts) {
    for (const section of document.querySelectorAll("section[data-part]")) {
      const part = parts[section.dataset.part];
      const drawing = section.querySelector(".drawing");
      if (!part || !drawing) continue;
      const first = drawing.hidden;
      const text = section.querySelector(".as-text");
      try {
        part.draw(drawing, description);
      } catch (error) { // the other parts, and the text of this one, are still there
        console.error(error);
        drawing.hidden = true;
        continue;
      }
      if (first && text) text.open = false;
    }
    localTimes();
    copyable();
    if (!isFollowed) follow();
    isFollowed = true;
  }
  let isFollowed = false;

  /** Return a function that draws a part of the page, at first or with a newer description, by the class of its view. */
  function part(View, isDrawn = () => true) {
    const views = new WeakMap();
    return (element, description) => {
      element.hidden = !isDrawn(description);
      if (element.hidden) return;
      if (!views.has(element)) views.set(element, new View(element));
      views.get(element).update(description);
    };
  }

  /** Rewrite the times of the text in the reader's zone; the title keeps UTC. */
  function localTimes() {
    for (const element of document.querySelectorAll("[datetime]:not([title])")) {
      const at = micros(element.getAttribute("datetime"));
      element.setAttribute("title", element.dataset.how === "ago" ? `${time(at)}, ${element.textContent} UTC` : element.textContent);
      element.textContent = time(at, element.dataset.how);
    }
    for (const element of document.querySelectorAll(".zone")) element.textContent = ZONE;
  }

  setInterval(() => { // what was a minute ago is two minutes ago
    for (const element of document.querySelectorAll('[data-how="ago"][title]')) {
      element.textContent = time(micros(element.getAttribute("datetime")), "ago");
    }
  }, 30_000);

  const page = {
    el, svg, fill, printable, micros, time, duration, counted, upTo, quoted, command, copier, onSlash, address, addressed, read, draw, part, select, on, emit, ZONE,
    get selected() { return selected; },
  };
  return page;
})();
