// Draws the taste explorer from the JSON in the page. Titles enter as text, never as markup.
(() => {
  const root = document.getElementById("explorer");
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const sets = Object.keys(data).filter((name) => data[name].viewers.length);
  const colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#F0E442"];

  const make = (tag, parent, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== null && text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (parent) parent.append(element);
    return element;
  };
  const draw = (tag, parent, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    parent.append(element);
    return element;
  };

  root.replaceChildren();
  if (!sets.length) {
    make("p", root, "No Mixture-LSTM is recorded yet.");
    return;
  }
  const controls = make("div", root, null, { class: "explorer-controls" });
  const labelled = (text, tag, attributes) => make(tag, make("label", controls, text), null, attributes);
  const set = labelled("Data set ", "select");
  for (const name of sets) make("option", set, data[name].title, { value: name });
  const who = labelled("Viewer ", "select");
  const step = labelled("Items seen ", "input", { type: "range", min: 0, value: 0 });
  const said = make("output", controls);
  const name = make("p", root, null, { class: "explorer-name" });
  const chart = make("div", root, null, { class: "explorer-chart" });
  const columns = make("div", root, null, { class: "explorer-columns" });
  const history = make("div", columns);
  const tastes = make("div", columns, null, { class: "explorer-tastes" });

  const current = () => ({ of: data[set.value], viewer: data[set.value].viewers[who.value], t: Number(step.value) });

  function show() {
    const { of, viewer, t } = current();
    const n = viewer.items.length, m = viewer.weights[0].length;
    said.textContent = `${t} of ${n}`;

    chart.replaceChildren();
    const width = Math.min(chart.clientWidth || 640, 736) - 60, height = 150; // one unit is one pixel, so that text is as large on a phone
    const svg = draw("svg", chart, { viewBox: `-52 -8 ${width + 60} ${height + 50}`, role: "img",
      "aria-label": "Weight of each taste after each item: " + viewer.weights[t].map((w, k) => `taste ${k + 1} ${Math.round(100 * w)}%`).join(", ") });
    const write = (text, x, y, more) => { draw("text", svg, { x, y, fill: "currentColor", "font-size": 12, ...more }).textContent = text; };
    const x = (i) => (i * width) / n;
    let floor = new Array(n + 1).fill(0);
    for (let k = 0; k < m; k++) {
      const top = viewer.weights.map((w, i) => floor[i] + w[k]);
      const edge = [...top.map((v, i) => [x(i), height * (1 - v)]), ...floor.map((v, i) => [x(i), height * (1 - v)]).reverse()];
      draw("polygon", svg, { points: edge.map((p) => p.map((v) => v.toFixed(1)).join(",")).join(" "), fill: colours[k % colours.length], "fill-opacity": 0.85 });
      floor = top;
    }
    draw("line", svg, { x1: x(t), x2: x(t), y1: -4, y2: height + 4, stroke: "currentColor", "stroke-width": 2.5 });
    for (let i = 0; i <= n; i += Math.ceil((24 * n) / width)) write(i, x(i), height + 18, { "text-anchor": "middle" });
    write("items seen", width / 2, height + 36, { "text-anchor": "middle" });
    for (const share of [0, 50, 100]) write(`${share}%`, -5, height * (1 - share / 100) + 4, { "text-anchor": "end" });
    write("share of the attention", 0, 0, { "text-anchor": "middle", transform: `translate(-42 ${height / 2}) rotate(-90)` });

    history.querySelectorAll("button").forEach((button, i) => { button.className = i < t ? "seen" : "unseen"; });

    tastes.replaceChildren();
    make("h3", tastes, t ? `Tastes after ${t} item${t > 1 ? "s" : ""}` : "Tastes before the first item");
    const order = viewer.weights[t].map((w, k) => k).sort((a, b) => viewer.weights[t][b] - viewer.weights[t][a]);
    for (const k of order) {
      const card = make("section", tastes);
      card.style.borderLeftColor = colours[k % colours.length];
      make("b", card, `Taste ${k + 1}: ${Math.round(100 * viewer.weights[t][k])}%`);
      const best = make("div", card);
      viewer.best[t][k].forEach((item, i) => {
        if (i) best.append("; ");
        make("bdi", best, of.titles[item]); // each in its own direction
      });
    }
  }

  function fill() {
    const { viewers } = data[set.value];
    who.replaceChildren();
    viewers.forEach((viewer, i) => make("option", who, viewer.name, { value: i }));
    restart();
  }

  function restart() {
    const { of, viewer } = current();
    step.max = viewer.items.length;
    step.value = step.max;
    name.textContent = viewer.name;
    history.replaceChildren();
    make("h3", history, "History");
    const list = make("ol", history);
    viewer.items.forEach((item, i) => {
      const button = make("button", make("li", list), of.titles[item], { type: "button" });
      button.addEventListener("click", () => { step.value = i + 1; show(); });
    });
    show();
  }

  set.addEventListener("change", fill);
  who.addEventListener("change", restart);
  step.addEventListener("input", show);
  window.addEventListener("resize", show);
  fill();
})();
