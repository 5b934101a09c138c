// Groups of layers, from their names: what shares a path is together.

/** `/encoder/layer.0/MatMul` → `["/encoder", "/encoder/layer.0"]`: the groups that it is in, the outermost first. */
function pathsOf(name) {
  const paths = [];
  for (let at = name.indexOf("/", 1); at > 0; at = name.indexOf("/", at + 1)) paths.push(name.slice(0, at));
  return paths;
}

/** Which nodes are in which group; a group of one, or of the same nodes as the one around it, is none. */
function groupsOf(names, count) {
  const members = new Map();
  for (let node = 0; node < count; node += 1) {
    for (const path of pathsOf(names[node])) {
      if (!members.has(path)) members.set(path, []);
      members.get(path).push(node);
    }
  }
  const inside = Array.from({ length: names.length }, () => []);
  for (const [path, nodes] of members) {
    const around = members.get(path.slice(0, path.lastIndexOf("/")));
    if (nodes.length < 2 || nodes.length === count || around?.length === nodes.length) members.delete(path);
    else for (const node of nodes) inside[node].push(path);
  }
  for (const paths of inside) paths.sort((a, b) => a.length - b.length);
  return { members, inside };
}
