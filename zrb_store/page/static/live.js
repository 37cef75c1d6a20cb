"use strict";
/* Follow the store: when the server says that something has changed, fetch this page again and put in what differs.

   What people have done stays: what is open, typed, ticked, focused and scrolled. Elements of class `drawing` belong to
   their scripts, which draw the newer data themselves; elements with `data-kept` stay as they are. */
(() => {
  const { root, mark, every } = document.currentScript.dataset;
  const state = document.getElementById("live-state");
  const AGAIN = 5000; // milliseconds: that a process has died is committed nowhere
  const LEAST = 100;
  const EVERY = Number(every || 0); // what takes long to read is read more seldom
  let tag = null;
  let isBusy = false;
  let isWanted = false;
  let took = 0;
  let last = -Infinity;
  let timer = null;

  function say(name, text) {
    if (state.dataset.state === name && state.textContent === text) return;
    state.dataset.state = name;
    state.textContent = text;
  }

  const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.key || null : null);
  const isAlike = (one, other) => one.nodeName === other.nodeName && keyOf(one) === keyOf(other);

  /** Make an element's children and attributes those of another one, and keep what is there as far as possible. */
  function morph(old, next) {
    if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== next.data) old.data = next.data;
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE || old.classList.contains("drawing") || "kept" in old.dataset) return;
    if (old.localName === "time") {
      if (old.getAttribute("datetime") === next.getAttribute("datetime")) return;
      old.removeAttribute("title");
    }
    for (const { name, value } of next.attributes) {
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (!["open", "title", "style"].includes(name) && !next.hasAttribute(name)) old.removeAttribute(name);
    }
    const keyed = new Map([...old.childNodes].filter(keyOf).map((child) => [keyOf(child), child]));
    let place = old.firstChild;
    for (const child of next.childNodes) {
      const key = keyOf(child);
      let mine = key === null ? place : keyed.get(key);
      if (key === null) while (mine && keyOf(mine) !== null) mine = mine.nextSibling;
      if (mine && isAlike(mine, child)) {
        if (mine === place) place = place.nextSibling;
        else old.insertBefore(mine, place);
        morph(mine, child);
      } else {
        const made = document.importNode(child, true);
        if (key !== null) made.classList.add("fresh");
        // As `Page.draw` does it at first: what is drawn too is not shown as text, unless somebody opens it.
        if (made.nodeType === Node.ELEMENT_NODE && made.matches("details.as-text")) made.open = false;
        old.insertBefore(made, place);
      }
    }
    while (place) {
      const following = place.nextSibling;
      place.remove();
      place = following;
    }
  }

  async function put(text) {
    const next = new DOMParser().parseFromString(text, "text/html");
    document.title = next.title;
    for (const selector of ["header.session", "main", "body > footer"]) {
      const [old, newer] = [document.querySelector(selector), next.querySelector(selector)];
      if (old && newer) morph(old, newer);
    }
    for (const newer of next.querySelectorAll("script[type]")) {
      const old = document.getElementById(newer.id);
      if (old && old.textContent !== newer.textContent) old.textContent = newer.textContent;
    }
    Page.emit("fresh", null);
    const description = document.getElementById("description");
    if (description) Page.draw(await Page.read(description), { Timeline, Flow, Moment, Values });
    else Page.draw(null, {});
  }

  async function refresh() {
    timer = null;
    if (isBusy || document.hidden) {
      isWanted = true;
      return;
    }
    isBusy = true;
    isWanted = false;
    const began = performance.now();
    last = began;
    try {
      const answer = await fetch(location.href, { cache: "no-store", headers: tag ? { "If-None-Match": tag } : {} });
      if (answer.status !== 304) {
        const text = await answer.text();
        if (answer.ok) {
          await put(text);
          tag = answer.headers.get("ETag");
        } else {
          const problem = new DOMParser().parseFromString(text, "text/html").getElementById("problem");
          say("problem", problem ? problem.textContent : "This page cannot be shown any more.");
        }
      }
      if (answer.ok || answer.status === 304) say("live", "live");
    } catch {
      say("problem", "The server does not answer.");
    }
    took = performance.now() - began;
    isBusy = false;
    if (isWanted) later();
  }

  /** Fetch the page soon, but not so often that fetching is most of what is done. */
  function later() {
    if (timer === null) timer = setTimeout(refresh, Math.max(LEAST, 2 * took, last + EVERY - performance.now()));
  }

  function isRunning() {
    return document.querySelector('[data-status="running"], [data-status="stale"]') !== null;
  }

  if (!document.getElementById("description")) Page.draw(null, {}); // else start.js draws
  const events = new EventSource(`${root}events?after=${encodeURIComponent(mark)}`);
  events.addEventListener("open", () => say("live", "live"));
  events.addEventListener("changed", later);
  events.addEventListener("error", () => say("problem", "The server does not answer."));
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && isWanted) refresh();
  });
  setInterval(() => {
    if (state.dataset.state !== "live" || isRunning()) later();
  }, AGAIN);
  addEventListener("pagehide", () => events.close());
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
})();
