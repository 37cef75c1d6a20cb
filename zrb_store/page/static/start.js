"use strict";
(async () => {
  const description = await Page.read(document.getElementById("description"));
  document.documentElement.classList.add("scripted");
  // On paper nothing opens: the text, which is complete, is printed with the drawings.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open], .earlier, .earlier *)")];
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => { for (const details of opened) details.open = false; });
  Page.draw(description, { Timeline, Flow, Moment, Values });
})();
