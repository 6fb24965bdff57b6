"use strict";
// Layered drawing: layers by longest path, order by barycentres, places by least squares with minimal distances.
// boxes: [{w, h, rank, anchor}], edges: [[from, to]]; sets x and y (centres) and returns {width, height, paths}.
function layout(boxes, edges) {
  const GAP_X = 22, GAP_Y = 26, DUMMY_LIMIT = 30000;
  const count = boxes.length;
  const below = boxes.map(() => []), above = boxes.map(() => []);
  const layer = layers(boxes, edges, below, above);
  const items = boxes.map((box, i) => ({ w: box.w, h: box.h, layer: layer[i], rank: box.rank, up: [], down: [], weight: 1 }));
  const chains = chain(items, edges, DUMMY_LIMIT);
  const rows = [];
  items.forEach((item, i) => { item.id = i; (rows[item.layer] ||= []).push(item); });
  for (let i = 0; i < rows.length; i++) rows[i] ||= [];
  order(rows, items);
  place(rows, items, GAP_X);
  const height = stack(rows, GAP_Y);
  let left = Infinity, right = -Infinity;
  for (const item of items) { left = Math.min(left, item.x - item.w / 2); right = Math.max(right, item.x + item.w / 2); }
  for (let i = 0; i < count; i++) { boxes[i].x = items[i].x - left; boxes[i].y = items[i].y; }
  const paths = chains.map((chain) => chain.map((i) => [items[i].x - left, items[i].y, items[i].h / 2]));
  return { width: Math.max(0, right - left), height, paths };
}

// The longest path from a source to each box; a cycle (a block that is left and entered again) is cut at its first box.
function layers(boxes, edges, below, above) {
  const waits = boxes.map(() => 0), layer = boxes.map(() => 0), done = boxes.map(() => false);
  for (const [from, to] of edges) { below[from].push(to); above[to].push(from); waits[to]++; }
  const byRank = boxes.map((_, i) => i).sort((a, b) => boxes[a].rank - boxes[b].rank);
  const open = byRank.filter((i) => waits[i] === 0);
  let next = 0;
  for (let head = 0; ; head++) {
    while (head === open.length && next < byRank.length) { const i = byRank[next++]; if (!done[i]) open.push(i); }
    if (head >= open.length) break;
    const i = open[head];
    if (done[i]) continue;
    done[i] = true;
    for (const to of below[i]) {
      if (done[to]) continue;
      layer[to] = Math.max(layer[to], layer[i] + 1);
      if (--waits[to] === 0) open.push(to);
    }
  }
  // What no input of the graph feeds stands right above its first reader.
  const fed = boxes.map((box) => box.anchor), down = [...new Set(open)];
  for (const i of down) if (fed[i]) for (const to of below[i]) fed[to] = true;
  for (const i of down.reverse()) {
    if (!fed[i] && below[i].length > 0) layer[i] = Math.max(layer[i], below[i].reduce((min, to) => Math.min(min, layer[to]), Infinity) - 1);
  }
  return layer;
}

// Splits edges over several layers at invisible items; returns the items along each edge.
function chain(items, edges, limit) {
  let budget = limit;
  return edges.map(([from, to]) => {
    const start = items[from].layer, end = items[to].layer, step = end > start ? 1 : -1, path = [from];
    if (Math.abs(end - start) > 1 && Math.abs(end - start) < budget) {
      for (let at = start + step; at !== end; at += step) {
        budget--;
        items.push({ w: 8, h: 0, layer: at, rank: items[from].rank + 0.5, up: [], down: [], weight: 3 });
        path.push(items.length - 1);
      }
    }
    path.push(to);
    for (let i = 1; i < path.length; i++) {
      const [a, b] = step > 0 ? [path[i - 1], path[i]] : [path[i], path[i - 1]];
      items[a].down.push(b); items[b].up.push(a);
    }
    return path;
  });
}

// Orders each layer by the mean place of its neighbours, down and up a few times.
function order(rows, items) {
  for (const row of rows) row.sort((a, b) => a.rank - b.rank).forEach((item, i) => { item.at = i; });
  for (let sweep = 0; sweep < 10; sweep++) {
    const down = sweep % 2 === 0, side = down ? "up" : "down";
    for (const row of down ? rows : [...rows].reverse()) {
      for (const item of row) {
        const near = item[side];
        item.key = near.length ? near.reduce((sum, i) => sum + items[i].at, 0) / near.length : item.at;
      }
      row.sort((a, b) => a.key - b.key || a.rank - b.rank).forEach((item, i) => { item.at = i; });
    }
  }
}

// Moves items to the mean of their neighbours, keeping order and distances.
function place(rows, items, gap) {
  for (const row of rows) {
    let x = 0;
    for (const item of row) { item.x = x + item.w / 2; x += item.w + gap; }
    for (const item of row) item.x -= x / 2;
  }
  const sweeps = items.length < 3000 ? 40 : 12;
  for (let sweep = 0; sweep < sweeps; sweep++) {
    const down = sweep % 2 === 0;
    for (const row of down ? rows : [...rows].reverse()) {
      for (const item of row) {
        const near = sweep < sweeps - 4 ? (down ? item.up : item.down) : item.up.concat(item.down);
        let sum = 0, mass = 0;
        for (const i of near) { const m = items[i].weight * item.weight; sum += items[i].x * m; mass += m; }
        item.want = mass ? sum / mass : item.x;
      }
      settle(row, gap);
    }
  }
}

// Least squares under x[i+1] - x[i] >= distance: pools adjacent violators.
function settle(row, gap) {
  const pools = [];
  let offset = 0;
  row.forEach((item, i) => {
    if (i > 0) offset += (row[i - 1].w + item.w) / 2 + gap;
    item.offset = offset;
    let pool = { sum: (item.want - offset) * item.weight, mass: item.weight, size: 1 };
    while (pools.length && pools[pools.length - 1].sum / pools[pools.length - 1].mass > pool.sum / pool.mass) {
      const last = pools.pop();
      pool = { sum: last.sum + pool.sum, mass: last.mass + pool.mass, size: last.size + pool.size };
    }
    pools.push(pool);
  });
  let i = 0;
  for (const pool of pools) for (let k = 0; k < pool.size; k++, i++) row[i].x = pool.sum / pool.mass + row[i].offset;
}

function stack(rows, gap) {
  let y = 0;
  for (const row of rows) {
    const height = row.reduce((max, item) => Math.max(max, item.h), 0);
    for (const item of row) item.y = y + height / 2;
    y += height + gap;
  }
  return Math.max(0, y - gap);
}
