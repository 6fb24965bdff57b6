"use strict";
// Draws the graph and its panel. Every text of the model goes through textContent or setAttribute, never through HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { report, nodes, edges, groups, ports } = data;
  const SVG = "http://www.w3.org/2000/svg";
  const PRODUCTS = /^(Conv|ConvTranspose|MatMul|Gemm|Einsum|Fused(Conv|MatMul|Gemm)|LSTM|GRU|Attention)$/;
  const $ = (id) => document.getElementById(id);
  const graph = $("graph"), view = $("view"), map = $("map"), panel = $("panel"), stage = $("stage");
  const state = { open: new Set(), quiet: false, chosen: null, hits: [], hit: -1, scale: 1, x: 0, y: 0, size: { width: 0, height: 0 } };
  let boxes = [], links = [], elementOf = new Map();
  for (const node of nodes) node.find = [node.name, node.op, ...node.reads, ...node.makes].join("\n").toLowerCase();

  const el = (tag, attrs = {}, ...children) => fill(document.createElement(tag), attrs, children);
  const svg = (tag, attrs = {}, ...children) => fill(document.createElementNS(SVG, tag), attrs, children);
  function fill(node, attrs, children) {
    for (const [key, value] of Object.entries(attrs)) {
      if (key === "onclick") node.addEventListener("click", value);
      else if (value !== null && value !== undefined) node.setAttribute(key, value);
    }
    for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
    return node;
  }
  const cut = (text, length) => (text.length <= length ? text : text.slice(0, length / 2 - 1) + "…" + text.slice(text.length - length / 2));
  function short(number) {
    const units = ["", " k", " M", " G", " T", " P"];
    let at = 0;
    while (Math.abs(number) >= 999.5 && at < 5) { number /= 1000; at++; }
    return (at === 0 ? String(number) : number.toPrecision(3)) + units[at];
  }

  // What is drawn now: an open block's nodes, or a closed block as one box.
  function collect() {
    boxes = []; elementOf = new Map();
    const byGroup = new Map();
    nodes.forEach((node, i) => {
      if (node.quiet && !state.quiet) return;
      const closed = node.group >= 0 && !state.open.has(node.group);
      if (!closed) return void add({ kind: "node", node: i, rank: i }, i);
      let box = byGroup.get(node.group);
      if (box === undefined) { box = boxes.length; byGroup.set(node.group, box); boxes.push({ kind: "group", group: node.group, rank: i }); }
      elementOf.set(i, box);
    });
    const seen = new Set();
    links = [];
    for (const [from, to] of edges) {
      const a = elementOf.get(from), b = elementOf.get(to);
      if (a === undefined || b === undefined || a === b || seen.has(a * 1e6 + b)) continue;
      seen.add(a * 1e6 + b);
      links.push([a, b]);
    }
    boxes.forEach(measure);
    const reading = new Set(links.map((link) => link[1]));
    boxes.forEach((box, i) => { box.anchor = box.kind === "node" && nodes[box.node].op === "" && !reading.has(i); });
  }
  function add(box, node) { elementOf.set(node, boxes.length); boxes.push(box); }
  function measure(box) {
    [box.title, box.sub] = box.kind === "group" ? groupText(groups[box.group]) : nodeText(nodes[box.node]);
    box.w = Math.max(box.kind === "group" ? 150 : 64, box.title.length * 7.4 + 24, box.sub.length * 5.6 + 20);
    box.h = box.sub ? (box.kind === "group" ? 46 : 38) : 26;
  }
  function groupText(group) { return [group.id, cut(group.text, 46)]; }
  function nodeText(node) { return [cut(node.op === "" ? node.name : node.op, 30), cut(node.type, 34)]; }

  function classes(box) {
    if (box.kind === "group") { const g = groups[box.group]; return `box block k-${g.kind}${g.state === "near" ? " near" : ""}`; }
    const node = nodes[box.node], list = ["box"];
    if (node.op === "") list.push("port");
    if (node.quiet) list.push("quiet");
    if (PRODUCTS.test(node.op.split(".").pop())) list.push("product");
    if (node.group >= 0) list.push("in-block", `k-${groups[node.group].kind}`);
    return list.join(" ");
  }

  function draw() {
    collect();
    const result = layout(boxes, links);
    state.size = result;
    view.replaceChildren();
    result.paths.forEach((points, i) => {
      const path = svg("path", { class: "edge", d: curve(points), "marker-end": "url(#tip)" });
      links[i].path = path;
      view.append(path);
    });
    boxes.forEach((box) => { box.el = element(box); view.append(box.el); });
    paintMap();
    mark();
  }
  function element(box) {
    const g = svg("g", { class: classes(box), transform: `translate(${box.x},${box.y})` });
    const size = { x: -box.w / 2, y: -box.h / 2, width: box.w, height: box.h, rx: box.kind === "group" ? 9 : 6 };
    g.append(svg("title", {}, hint(box)), svg("rect", size));
    if (box.kind === "group" && groups[box.group].state === "near") g.append(svg("rect", { ...size, class: "hatch" }));
    g.append(svg("text", { y: box.sub ? -3 : 4 }, box.title));
    if (box.sub) g.append(svg("text", { y: box.kind === "group" ? 13 : 11, class: "sub" }, box.sub));
    g.addEventListener("click", () => choose(box));
    g.addEventListener("dblclick", () => toggle(box));
    return g;
  }
  function hint(box) {
    if (box.kind === "node") { const n = nodes[box.node]; return `${n.name}\n${n.op} ${n.type}`; }
    const g = groups[box.group];
    return `${g.id}: ${g.text}\n${g.reason ? `not replaced: ${g.reason}\n` : ""}${g.count} nodes, double-click to open`;
  }
  function curve(points) {
    let [x, y, half] = points[0];
    const down = points[points.length - 1][1] >= y;
    y += down ? half : -half;
    let d = `M${x.toFixed(1)} ${y.toFixed(1)}`;
    for (let i = 1; i < points.length; i++) {
      const [nx, cy, h] = points[i], ny = cy + (down ? -h : h), bend = (ny - y) / 2;
      d += `C${x.toFixed(1)} ${(y + bend).toFixed(1)} ${nx.toFixed(1)} ${(ny - bend).toFixed(1)} ${nx.toFixed(1)} ${ny.toFixed(1)}`;
      [x, y] = [nx, ny];
    }
    return d;
  }

  // Choosing, opening, finding.
  function choose(box) { state.chosen = box.kind === "group" ? { group: box.group } : { node: box.node }; mark(); describe(); }
  function toggle(box) {
    const group = box.kind === "group" ? box.group : nodes[box.node].group;
    if (group >= 0) flip(group);
  }
  function flip(group) {
    state.open.has(group) ? state.open.delete(group) : state.open.add(group);
    redraw({ group });
  }
  // Draws anew and keeps the target where it was on the screen.
  function redraw(target) {
    const before = find(target);
    const anchor = before && [before.x * state.scale + state.x, before.y * state.scale + state.y];
    draw();
    const after = find(target);
    if (anchor && after) { state.x = anchor[0] - after.x * state.scale; state.y = anchor[1] - after.y * state.scale; }
    move(); describe();
  }
  function find(target) {
    if (!target) return undefined;
    if (target.node !== undefined) return boxes[elementOf.get(target.node)];
    const own = boxes.find((box) => box.kind === "group" ? box.group === target.group : nodes[box.node].group === target.group);
    return own ?? boxes[elementOf.get(groups[target.group].at)];
  }
  function focus(target) {
    state.chosen = target;
    if (target.node !== undefined && !elementOf.has(target.node) && nodes[target.node].quiet) { state.quiet = true; $("quiet").setAttribute("aria-pressed", true); draw(); }
    const box = find(target);
    if (box) {
      state.scale = Math.max(state.scale, 0.8);
      state.x = stage.clientWidth / 2 - box.x * state.scale;
      state.y = stage.clientHeight / 2 - box.y * state.scale;
    }
    move(); mark(); describe();
  }
  function mark() {
    const chosen = find(state.chosen), hits = new Set(state.hits.map((i) => elementOf.get(i)));
    boxes.forEach((box, i) => {
      const own = box === chosen || (state.chosen?.group !== undefined && box.kind === "node" && nodes[box.node].group === state.chosen.group);
      box.el.classList.toggle("on", own);
      box.el.classList.toggle("hit", hits.has(i));
    });
    links.forEach((link) => link.path.classList.toggle("on", boxes[link[0]] === chosen || boxes[link[1]] === chosen));
    panel.querySelectorAll("button.row").forEach((row) => row.classList.toggle("on", state.chosen?.group !== undefined && row.dataset.group === String(state.chosen.group)));
  }
  function seek(text) {
    const wanted = text.trim().toLowerCase();
    state.hits = wanted === "" ? [] : nodes.flatMap((n, i) => (n.find.includes(wanted) ? [i] : []));
    state.hit = -1;
    $("matches").textContent = wanted === "" ? "" : `${state.hits.length} found`;
    mark();
  }
  function step(back) {
    if (!state.hits.length) return;
    state.hit = (state.hit + (back ? -1 : 1) + state.hits.length) % state.hits.length;
    $("matches").textContent = `${state.hit + 1} of ${state.hits.length}`;
    focus({ node: state.hits[state.hit] });
  }

  // Moving.
  function move() { view.setAttribute("transform", `translate(${state.x},${state.y}) scale(${state.scale})`); paintMap(); }
  function zoom(factor, cx = stage.clientWidth / 2, cy = stage.clientHeight / 2) {
    const scale = Math.min(3, Math.max(0.02, state.scale * factor)), ratio = scale / state.scale;
    state.x = cx - (cx - state.x) * ratio; state.y = cy - (cy - state.y) * ratio; state.scale = scale;
    move();
  }
  function fit(whole) {
    const { width, height } = state.size, w = stage.clientWidth - 150, h = stage.clientHeight - 60;
    const across = w / Math.max(1, width), along = h / Math.max(1, height);
    state.scale = Math.min(1.1, whole ? Math.max(0.12, Math.min(across, along)) : Math.max(Math.min(across, along), Math.min(across, 0.75)));
    state.x = (stage.clientWidth - 96 - width * state.scale) / 2;
    state.y = Math.max(30, whole || along >= state.scale ? (stage.clientHeight - height * state.scale) / 2 : 30);
    move();
  }
  function mapScale() { return Math.min((map.clientWidth - 12) / Math.max(1, state.size.width), (map.clientHeight - 12) / Math.max(1, state.size.height)); }
  function paintMap() {
    const ratio = window.devicePixelRatio || 1, cx = map.getContext("2d"), s = mapScale();
    map.width = map.clientWidth * ratio; map.height = map.clientHeight * ratio;
    cx.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement), left = (map.clientWidth - state.size.width * s) / 2, top = 6;
    for (const box of boxes) {
      const group = box.kind === "group" ? groups[box.group] : groups[nodes[box.node].group];
      cx.fillStyle = style.getPropertyValue(group ? `--${group.kind}` : "--edge");
      cx.fillRect(left + (box.x - box.w / 2) * s, top + (box.y - box.h / 2) * s, Math.max(1, box.w * s), Math.max(1, box.h * s));
    }
    cx.strokeStyle = style.getPropertyValue("--accent"); cx.lineWidth = 1.5;
    cx.strokeRect(left - (state.x / state.scale) * s, top - (state.y / state.scale) * s, (stage.clientWidth / state.scale) * s, (stage.clientHeight / state.scale) * s);
    map.dataset.left = left;
  }
  function jump(event) {
    const s = mapScale(), x = (event.offsetX - map.dataset.left) / s, y = (event.offsetY - 6) / s;
    state.x = stage.clientWidth / 2 - x * state.scale; state.y = stage.clientHeight / 2 - y * state.scale;
    move();
  }

  // The panel.
  const title = (text) => el("h2", {}, text);
  function row(group, label, value, note) {
    const g = groups[group], swatch = el("span", { class: `swatch k-${g.kind}${g.state === "near" ? " near" : ""}` });
    const parts = [swatch, el("span", { class: "label" }, label), el("span", { class: "value" }, value), note ? el("span", { class: "note" }, note) : null];
    return el("button", { class: "row", "data-group": group, onclick: () => focus({ group }) }, parts);
  }
  function rows(name, wanted) {
    const found = groups.flatMap((g, i) => (g.state === wanted ? [row(i, g.id, g.value, g.reason || g.text)] : []));
    return found.length ? [title(`${name} (${found.length})`), el("div", { class: "list" }, found)] : [];
  }
  function describe() {
    const old = panel.querySelector(".chosen");
    if (old) old.remove();
    const t = state.chosen;
    if (!t) return;
    const box = el("section", { class: "chosen" }), list = el("dl");
    const item = (key, value) => { if (value) list.append(el("dt", {}, key), el("dd", {}, value)); };
    const group = t.group ?? nodes[t.node].group;
    if (t.node !== undefined) {
      const n = nodes[t.node];
      box.append(el("h3", {}, n.name));
      item("operator", n.op); item("reads", n.reads.join(", ")); item("makes", n.makes.join(", "));
      item("in", group >= 0 ? groups[group].id : "");
    } else {
      const g = groups[group];
      box.append(el("h3", {}, g.id));
      item("what", g.text); item("parameters", g.value); item("reads", g.input); item("makes", g.output); item("nodes", String(g.count)); item("not replaced", g.reason);
    }
    box.append(list);
    if (group >= 0) box.append(el("button", { onclick: () => flip(group) }, state.open.has(group) ? "Close block" : "Open block"));
    panel.querySelector(".tiles").after(box);
  }
  function fillPanel() {
    const m = report.model, opset = Object.entries(m.opset).map(([domain, version]) => `${domain || "ONNX"} ${version}`).join(", ");
    const tile = (value, name) => el("div", { class: "tile" }, el("b", {}, value), el("span", {}, name));
    const port = (p) => el("div", { class: "row" }, el("span"), el("span", { class: "label" }, p.name), el("span", { class: "value" }, p.text));
    const most = Math.max(1, ...Object.values(report.ops));
    const ops = Object.entries(report.ops).sort((a, b) => b[1] - a[1]).map(([name, n]) =>
      el("button", { class: "row", onclick: () => { $("search").value = name; seek(name); step(false); } }, el("span"), el("span", { class: "label" }, name), el("span", { class: "value" }, String(n)), el("span", { class: "bar", style: `width:${Math.max(1, (100 * n) / most)}%` })));
    panel.append(
      el("h1", {}, m.path), el("p", { class: "about" }, [m.producer, opset, `IR ${m.ir_version}`].filter(Boolean).join(" · ")),
      el("div", { class: "tiles" }, tile(short(m.parameters), "parameters"), tile(short(m.macs), "multiply-adds"), tile(`${short(m.bytes)}B`.replace(/(\d)B/, "$1 B"), "on disk"), tile(String(m.nodes), "nodes")),
      ...(data.command ? [title("Next"), el("code", {}, ...data.command.split(" ").flatMap(word => [el("span", { class: "word" }, word), " "]))] : []),
      ...rows("Blocks that Han layers can replace", "good"), ...rows("Near misses", "near"), ...rows("Han layers", "han"),
      title("Inputs and outputs"), el("div", { class: "list" }, ports.map(port)), title("Operators"), el("div", { class: "list" }, ops));
  }
  function fillLegend() {
    const kinds = [...new Set(groups.map((g) => `${g.kind} ${g.state === "near" ? "near" : ""}`))].sort();
    $("legend").append(...kinds.map((key) => {
      const [kind, near] = key.split(" ");
      return el("span", {}, el("span", { class: `swatch k-${kind} ${near}` }), kind + (near ? " (near miss)" : ""));
    }));
  }

  // Events.
  let drag = null;
  graph.addEventListener("pointerdown", (e) => { drag = { x: e.clientX - state.x, y: e.clientY - state.y }; });
  window.addEventListener("pointermove", (e) => { if (drag) { state.x = e.clientX - drag.x; state.y = e.clientY - drag.y; graph.classList.add("drag"); move(); } });
  window.addEventListener("pointerup", () => { drag = null; graph.classList.remove("drag"); });
  graph.addEventListener("wheel", (e) => { e.preventDefault(); zoom(Math.exp(-e.deltaY * 0.0015), e.offsetX, e.offsetY); }, { passive: false });
  map.addEventListener("pointerdown", jump);
  map.addEventListener("pointermove", (e) => { if (e.buttons) jump(e); });
  window.addEventListener("resize", move);
  window.addEventListener("keydown", (e) => {
    if (e.target instanceof HTMLInputElement) return;
    if (e.key === "+") zoom(1.25); else if (e.key === "-") zoom(0.8); else if (e.key === "0") fit(true); else if (e.key === "/") { e.preventDefault(); $("search").focus(); }
  });
  $("search").addEventListener("input", (e) => seek(e.target.value));
  $("search").addEventListener("keydown", (e) => { if (e.key === "Enter") step(e.shiftKey); });
  $("in").onclick = () => zoom(1.25); $("out").onclick = () => zoom(0.8); $("fit").onclick = () => fit(true);
  $("quiet").onclick = (e) => { state.quiet = !state.quiet; e.target.setAttribute("aria-pressed", state.quiet); redraw(state.chosen); };
  $("expand").onclick = (e) => {
    state.open = state.open.size ? new Set() : new Set(groups.keys());
    e.target.textContent = state.open.size ? "Close blocks" : "Open blocks";
    redraw(state.chosen);
  };
  const theme = (dark) => { document.documentElement.dataset.theme = dark ? "dark" : "light"; };
  theme(matchMedia("(prefers-color-scheme: dark)").matches);
  $("theme").onclick = () => { theme(document.documentElement.dataset.theme !== "dark"); paintMap(); };

  fillPanel(); fillLegend();
  if (data.omitted) { $("empty").hidden = false; $("empty").textContent = data.omitted; }
  draw(); fit(false);
})();
