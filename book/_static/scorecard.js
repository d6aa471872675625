/* The scorecard's filter by paper, kind, verdict and text; without it all claims are shown. */
"use strict";

for (const card of document.querySelectorAll(".lens-scorecard")) {
  const list = card.querySelector(".lens-list"), claims = [...list.querySelectorAll("tbody[data-verdict]")];
  const texts = claims.map(claim => claim.textContent.toLowerCase());
  const add = (parent, tag, attributes = {}, text = "") => {
    const made = parent.appendChild(document.createElement(tag));
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    made.textContent = text;
    return made;
  };
  const distinct = values => [...new Set(values)];
  const titles = Object.fromEntries([...list.querySelectorAll("section")].map(
    section => [section.dataset.paper, section.querySelector("h2").textContent.split(":")[0]]));
  const order = distinct([...card.querySelectorAll(".lens-counts tbody th .lens-verdict")].map(e => e.textContent));

  const form = document.createElement("form");
  form.className = "lens-filter";
  form.setAttribute("role", "search");
  form.setAttribute("aria-label", "Filter the claims");
  const field = (key, label, tag, attributes) => {
    const box = add(form, "div"), id = `${card.id}-by-${key}`;
    add(box, "label", { for: id }, label);
    return add(box, tag, { id, name: key, ...attributes });
  };
  const choice = (key, label, all, options) => {
    const box = field(key, label, "select");
    add(box, "option", { value: "" }, all);
    for (const [value, text] of options) add(box, "option", { value }, text);
  };
  choice("paper", "Paper", "all papers", Object.entries(titles));
  choice("kind", "Kind", "all kinds", [["measurement", "measurements"], ["theorem", "theorems"]]);
  choice("verdict", "Verdict", "all verdicts", order.map(verdict => [verdict, verdict]));
  field("text", "Text", "input", { type: "search", autocomplete: "off" });
  add(form, "button", { type: "reset" }, "Show all");
  const status = add(form, "p", { "aria-live": "polite" });
  list.before(form);
  const fields = ["paper", "kind", "verdict", "text"].map(key => form.elements[key]);

  function show() {
    const wanted = Object.fromEntries(fields.map(field => [field.name, field.value]));
    const words = wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    claims.forEach((claim, k) => {
      const fits = ["paper", "kind", "verdict"].every(key => !wanted[key] || claim.dataset[key] === wanted[key])
        && words.every(word => texts[k].includes(word));
      claim.hidden = !fits;
      shown += fits;
    });
    for (const part of list.querySelectorAll("table, section"))
      part.hidden = !part.querySelector("tbody[data-verdict]:not([hidden])");
    status.textContent = `${shown} of ${claims.length} claims${shown ? "" : ": none fits"}`;
  }
  /* The address keeps what is chosen, so that a link leads to the same list. */
  function keep() {
    const chosen = new URLSearchParams(fields.filter(field => field.value).map(field => [field.name, field.value]));
    history.replaceState(null, "", String(chosen) ? `#${chosen}` : location.pathname + location.search);
    show();
  }
  function choose(wanted) {
    for (const field of fields) {
      field.value = wanted[field.name] ?? "";
      if (field.selectedIndex < 0) field.value = ""; // the address asks for what there is not
    }
  }
  function arrive() {
    const hash = location.hash.slice(1);
    if (hash.includes("=")) choose(Object.fromEntries(new URLSearchParams(hash)));
    show();
  }
  form.addEventListener("input", keep);
  form.addEventListener("reset", () => setTimeout(keep));
  form.addEventListener("submit", event => event.preventDefault());
  for (const link of card.querySelectorAll(".lens-counts a")) link.addEventListener("click", event => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    choose(link.dataset);
    keep();
    form.scrollIntoView();
    fields[0].focus({ preventScroll: true });
  });
  addEventListener("hashchange", arrive);
  arrive();

  /* On paper everything is shown, and opened. */
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...list.querySelectorAll("details:not([open])")];
    for (const each of closed) each.open = true;
  });
  addEventListener("afterprint", () => { for (const each of closed) each.open = false; });
}
