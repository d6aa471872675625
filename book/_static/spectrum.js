/* Zoom and read-out for the drawings of spectral_lens.figures.interactive, which stand still without it.
   Places along x are in tenths of an Angstrom, the unit of the drawing's paths; pixels count from the panels' left. */
"use strict";

for (const figure of document.querySelectorAll(".lens-spectrum")) {
  const svg = figure.querySelector("svg"), [names, ticks] = svg.querySelectorAll(".names, .ticks");
  const stripes = svg.querySelector(".bands"), plots = svg.querySelectorAll(".bands, .panel");
  const [top, height] = ["y", "height"].map(key => Number(stripes.getAttribute(key)));
  const bands = [...stripes.children].map(rect => {
    const name = rect.textContent, [low, width] = ["x", "width"].map(key => Number(rect.getAttribute(key)));
    rect.replaceChildren(); // the title: the read-out takes the place of the browser's own tip
    return { name, low, high: low + width };
  }).sort((a, b) => a.low - b.low || a.high - b.high);
  const wave = [];
  const panels = [...svg.querySelectorAll(".panel")].map((plot, k) => {
    const path = plot.firstElementChild, [, start, strokes] = path.getAttribute("d").match(/^M(\d+) 0(.*)/);
    const values = [...strokes.matchAll(/m(\d+)[- ](\d+)/g)].map(([, along, up], j) => {
      wave[j] = (j ? wave[j - 1] : Number(start)) + Number(along);
      return up / 1000;
    });
    return { name: svg.querySelectorAll(".setting")[k].textContent, y: Number(plot.getAttribute("y")), path, values };
  });
  const { x: first, width: whole } = stripes.viewBox.baseVal;
  const least = Math.min(8 * whole / wave.length, whole);
  let low = first, high = first + whole;

  const add = (parent, tag, attributes, text = "") => {
    const made = parent.appendChild(document.createElementNS(parent.namespaceURI, tag));
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    made.textContent = text;
    return made;
  };
  const angstrom = at => `${(at / 10).toFixed(1)}\u00a0Å`;
  const box = () => svg.getBoundingClientRect();
  const pixel = at => (at - low) / (high - low) * box().width;
  const place = event => low + (event.clientX - box().left) / box().width * (high - low);
  const highest = (from, to, height) => wave.reduce(
    (best, at, k) => at < from || at > to || (best >= 0 && height(k) <= height(best)) ? best : k, -1);

  const bar = document.createElement("p");
  bar.className = "lens-look";
  const list = add(add(bar, "label", {}, "Show "), "select");
  for (const name of ["the whole spectrum", ...bands.map(band => band.name)]) add(list, "option", {}, name);
  const other = add(list, "option", { hidden: "" }, "another part");
  const help = "Drag across to zoom in, double-click to see all. After a click: wheel, + and − zoom, arrows move.";
  add(bar, "small", {}, help);
  figure.prepend(bar);
  const status = add(figure, "p", { class: "lens-look", "aria-live": "polite" });
  const tip = add(figure, "div", { class: "lens-tip", hidden: "" });
  const look = { "fill-opacity": 0.2, stroke: "currentColor", "pointer-events": "none" };
  const mark = add(svg, "rect", { y: top, height, ...look });

  /* Shows what lies between two places: no more than there is, no less than a few wavelengths. */
  function show(from, to) {
    const width = Math.min(Math.max(to - from, least), whole), pixels = box().width;
    low = Math.min(Math.max((from + to - width) / 2, first), first + whole - width);
    high = low + width;
    for (const { viewBox } of plots) [viewBox.baseVal.x, viewBox.baseVal.width] = [low, width];
    const stroke = Math.min(Math.max(0.6 * pixels * whole / width / wave.length, 1.25), 8);
    for (const { path } of panels) path.setAttribute("stroke-width", stroke);

    ticks.replaceChildren();
    const rough = width / 10 * 70 / pixels, power = 10 ** Math.floor(Math.log10(rough)); // Angstrom in 70 pixels
    const step = power * [1, 2, 5, 10].find(factor => factor * power >= rough);
    for (let k = Math.ceil(low / 10 / step); k * step <= high / 10; k++) {
      const text = String(Number((k * step).toFixed(3)));
      add(ticks, "text", { x: pixel(10 * k * step), y: top + height + 16, "text-anchor": "middle" }, text);
    }
    names.replaceChildren();
    let room = 0;
    for (const band of bands) {
      const begins = pixel(Math.max(band.low, low));
      if (band.high < low || band.low > high || begins < room) continue;
      const same = bands.filter(each => each.low === band.low && each.high === band.high).map(each => each.name);
      add(names, "text", { transform: `translate(${begins} ${top - 4}) rotate(-60)` }, same.join(", "));
      room = begins + 16;
    }
    const found = panels.map(({ name, values }) => [name, values, highest(low, high, k => values[k])]);
    status.textContent = `${angstrom(Math.max(low, wave[0]))} to ${angstrom(Math.min(high, wave.at(-1)))}, highest: `
      + found.map(([name, values, k]) => `${name} ${k < 0 ? "none"
        : `${values[k].toFixed(3)}${values[k] ? ` at ${angstrom(wave[k])}` : ""}`}`).join("; ");
    forget();
  }
  function choose(from, to) {
    show(from, to);
    if (high - low < whole) other.selected = true; else list.selectedIndex = 0;
  }
  const all = () => choose(first, first + whole);
  const zoom = (factor, at) => choose(at - factor * (at - low), at + factor * (high - at));
  const forget = () => { tip.hidden = true; mark.setAttribute("visibility", "hidden"); };
  const cover = (from, to) => {
    mark.setAttribute("x", pixel(from));
    mark.setAttribute("width", Math.max(pixel(to) - pixel(from), 0.1)); // a rectangle without width is not drawn
    mark.setAttribute("visibility", "visible");
  };

  /* Reads the panel under the pointer where it is highest within 4 pixels: a stroke may be thinner than a pixel. */
  function read(event) {
    const at = place(event), reach = Math.max(4 * (high - low) / box().width, whole / wave.length / 2);
    const panel = panels.findLast(({ y }) => event.clientY > box().top + y - 20) ?? panels[0];
    const k = highest(at - reach, at + reach, j => panel.values[j] - 1e-9 * Math.abs(wave[j] - at)); // or the nearest
    if (k < 0) return forget();
    const inside = bands.filter(band => band.low <= wave[k] && wave[k] <= band.high).map(band => band.name);
    tip.textContent = [`${angstrom(wave[k])}, ${inside.join(", ") || "no band"}`,
                       ...panels.map(({ name, values }) => `${name}: ${values[k].toFixed(3)}`)].join("\n");
    tip.hidden = false;
    const x = pixel(wave[k]), origin = figure.getBoundingClientRect();
    tip.style.left = `${box().left - origin.left + x + (x > box().width / 2 ? -12 - tip.offsetWidth : 12)}px`;
    tip.style.top = `${Math.min(event.clientY - origin.top + 14, origin.height - tip.offsetHeight)}px`;
    cover(wave[k], wave[k]);
  }

  let from = null, awake = false; // where a drag began; whether the wheel zooms: before a click it scrolls the page
  svg.addEventListener("pointerdown", event => {
    if (event.button || !event.isPrimary) return;
    [from, awake] = [place(event), true];
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", event => {
    if (from === null) return read(event);
    tip.hidden = true;
    cover(Math.min(from, place(event)), Math.max(from, place(event)));
  });
  svg.addEventListener("pointerup", event => {
    const ends = [from ?? place(event), place(event)].sort((a, b) => a - b);
    from = null;
    if (pixel(ends[1]) - pixel(ends[0]) > 4) choose(...ends); else read(event);
  });
  svg.addEventListener("pointercancel", () => { from = null; forget(); });
  svg.addEventListener("pointerleave", () => { awake = false; forget(); });
  svg.addEventListener("dblclick", all);
  svg.addEventListener("wheel", event => {
    if (!(awake || event.ctrlKey) || (event.deltaY > 0 && high - low >= whole)) return;
    event.preventDefault();
    zoom(Math.exp(event.deltaY * (event.deltaMode ? 20 : 1) / 500), place(event));
  }, { passive: false });
  figure.addEventListener("keydown", event => {
    const shift = (high - low) / 4, middle = (low + high) / 2;
    const act = { "+": () => zoom(0.5, middle), "-": () => zoom(2, middle), Escape: all,
                  ArrowLeft: () => choose(low - shift, high - shift),
                  ArrowRight: () => choose(low + shift, high + shift) }[event.key];
    if (!act || event.target === list || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
  list.addEventListener("change", () => {
    const band = bands[list.selectedIndex - 1], margin = band && band.high - band.low;
    if (band) show(band.low - margin, band.high + margin); else all();
  });
  new ResizeObserver(() => show(low, high)).observe(svg);
  for (const [key, value] of [["tabindex", 0], ["role", "group"], ["aria-label", "Relevance over wavelength"]])
    figure.setAttribute(key, value);
}
