"use strict";
/* Loaded by the pages of zrb's own web server: adds a link to the stored sessions to their navigation. */
(() => {
  const list = document.querySelector("nav ul");
  if (!list || location.pathname.startsWith("/login")) return;
  const link = document.createElement("a");
  link.href = "/xcom/";
  link.textContent = "📦 Stored sessions";
  const item = document.createElement("li");
  item.append(link);
  list.append(item);
})();
