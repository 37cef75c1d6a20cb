"use strict";
/* A list and its filters; of sessions two can be ticked, no more. */
(() => {
  const form = document.getElementById("sessions");
  const ticked = () => [...document.querySelectorAll('#sessions input[name="session"]:checked')];
  const order = [];

  function update() {
    const button = document.getElementById("compare");
    if (!button) return;
    const count = ticked().length;
    button.disabled = count !== 2;
    button.textContent = count === 1 ? "Tick one more to compare" : "Compare the two ticked";
  }

  document.addEventListener("change", (event) => {
    if (event.target.name !== "session") return;
    if (event.target.checked) order.push(event.target);
    while (ticked().length > 2) order.shift().checked = false;
    update();
  });
  // An address tells only what is asked for.
  const filters = document.querySelector("form.filters");
  filters.addEventListener("formdata", (event) => {
    for (const [name, text] of [...event.formData]) if (!text) event.formData.delete(name);
  });
  for (const select of filters.querySelectorAll("select, input[type=checkbox]")) select.addEventListener("change", () => filters.requestSubmit());

  Page.onSlash(() => filters.querySelector("input").focus());
  Page.on("fresh", update);
  if (form) update();
})();
