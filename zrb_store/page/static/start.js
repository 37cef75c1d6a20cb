"use strict";
(() => {
  const description = Page.parse(document.getElementById("description").textContent);
  document.documentElement.classList.add("scripted");
  Page.draw(description, { Timeline, Flow, Moment, Values });
})();
