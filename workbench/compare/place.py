"""Which tensors stand in the same place of two networks, when their numbers no longer tell: what a fault has changed.

From the inputs on, and from the tensors that are paired already, the same operator on the same tensors makes the same
tensor; and from the outputs back, it was made of the same one. Layouts do not count: what only moves or casts the
elements (Transpose, Identity, Cast) is looked through, and the permutation is carried along. Where two could be meant,
none is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from workbench.compare.pairs import Matching, Pair, kind_of_dtype
from workbench.hub import dims_of, dtype_name

Perm = tuple[int, ...] | None
"""A permutation of axes; ``None`` leaves them as they are."""

_Place = tuple[str, tuple[str, ...]]
"""An operator and the names of what it reads."""

_UNKNOWN = "?"


def by_place(
    known: Sequence[Pair],
    found: Matching,
    graphs: tuple[ir.Graph, ir.Graph],
    nodes: tuple[Sequence[ir.Node], Sequence[ir.Node]],
) -> list[Pair]:
    """The pairs that follow from known ones.

    Args:
        known: the pairs so far.
        found: says which inputs take the same values.
        graphs: of the reference and the target; ``nodes``: theirs that depend on the inputs, in topological order.
    """
    places = _Places(known, found, graphs, nodes)
    places.forward()
    places.outputs()
    places.backward()
    places.forward()  # what was found from below may be read elsewhere
    return places.found


@dataclass(frozen=True)
class _Read:
    """A tensor as it is read: ``root`` permuted by ``perm``."""

    root: ir.Value
    perm: Perm


class _Places:
    """The state of the search: which roots are paired, and how."""

    def __init__(
        self,
        known: Sequence[Pair],
        found: Matching,
        graphs: tuple[ir.Graph, ir.Graph],
        nodes: tuple[Sequence[ir.Node], Sequence[ir.Node]],
    ) -> None:
        self.found: list[Pair] = []
        self.graphs, self.nodes = graphs, nodes
        self.values = [_values(graph, own) for graph, own in zip(graphs, nodes, strict=True)]
        self.paired = {pair.reference for pair in known}, {pair.target for pair in known}
        self.roots: dict[ir.Value, tuple[ir.Value, Perm]] = {}
        """Root of the target → the reference's, and the permutation that makes the one of the other."""
        for reference, target in found.inputs:
            self._relate(reference, target, None, found.perms.get(target))
        for pair in known:
            self._relate(pair.reference, pair.target, pair.reference_perm, pair.target_perm)
        self.readers = [_readers(own, values) for own, values in zip(nodes, self.values, strict=True)]

    def _relate(self, reference: str, target: str, reference_perm: Perm, target_perm: Perm) -> None:
        """Note what a pair says of its roots: ``reference.transpose(…) == target.transpose(…)``."""
        first, second = self.values[0].get(reference), self.values[1].get(target)
        if first is None or second is None:
            return
        own, other = _climb(first), _climb(second)
        there = _then(_then(other.perm, target_perm), _inverse(reference_perm))
        self.roots.setdefault(other.root, (own.root, _then(there, _inverse(own.perm))))

    def _add(self, value: ir.Value, own: ir.Value, perms: Iterable[Perm]) -> None:
        """Pair two roots by the first of the permutations that their types allow."""
        names = value.name or "", own.name or ""
        if not all(names) or names[0] in self.paired[0] or names[1] in self.paired[1]:
            return
        for perm in perms:
            if _could_be(value, own, perm):
                self.found.append(Pair(names[0], names[1], None, perm, "place"))
                for paired, name in zip(self.paired, names, strict=True):
                    paired.add(name)
                self.roots.setdefault(own, (value, perm))
                return

    def forward(self) -> None:
        """The only nodes with one operator on tensors that are paired."""
        for node in self.nodes[1]:
            reads = _reads(node, self.values[1])
            if not reads or _moves(node) or self._is_done(node, 1):
                continue  # nothing to go by, or nothing to find
            known = [self.roots[read.root][0].name or "" if read.root in self.roots else _UNKNOWN for read in reads]
            rivals = [other for other in self.readers[1][_place(node, reads)] if not self._is_done(other, 1)]
            others = [
                other
                for other in self.readers[0].get((node.op_type, tuple(sorted(known))), [])
                if not self._is_done(other, 0)
            ]
            if len(others) == len(rivals) == 1 and len(others[0].outputs) >= len(node.outputs):
                perms = self._carried(others[0], reads)
                for value, own in zip(others[0].outputs, node.outputs, strict=False):
                    self._add(value, own, perms)

    def backward(self) -> None:
        """What two nodes with one operator read, if each reads one tensor and their results are paired."""
        for node in reversed(self.nodes[1]):
            made = next((value for value in node.outputs if value in self.roots), None)
            reads = _reads(node, self.values[1])
            if made is None or len(reads) != 1 or _moves(node):
                continue
            value, perm = self.roots[made]
            other = value.producer()
            others = [] if other is None else _reads(other, self.values[0])
            if other is None or other.op_type != node.op_type or len(others) != 1:
                continue
            if reads[0].root not in self.roots:
                carried = [_then(_then(reads[0].perm, way), _inverse(others[0].perm)) for way in (perm, None)]
                self._add(others[0].root, reads[0].root, carried)

    def outputs(self) -> None:
        """The outputs that can be no other: the only ones of their type that are left, made by the same operator."""
        left = [
            [value for value in graph.outputs if value.name and value.name not in paired]
            for graph, paired in zip(self.graphs, self.paired, strict=True)
        ]
        for own in left[1]:
            values = [value for value in left[0] if _could_be(value, own, None)]
            if len(values) != 1 or sum(_could_be(values[0], other, None) for other in left[1]) != 1:
                continue
            makers = [_climb(value).root.producer() for value in (values[0], own)]
            if makers[0] is not None and makers[1] is not None and makers[0].op_type == makers[1].op_type:
                self._relate(values[0].name or "", own.name or "", None, None)
                self._add(values[0], own, (None,))

    def _is_done(self, node: ir.Node, side: int) -> bool:
        return any(value.name in self.paired[side] for value in node.outputs)

    def _carried(self, other: ir.Node, reads: Sequence[_Read]) -> list[Perm]:
        """How the results may be permuted: as what is read is, if all of that is in one way; else not at all."""
        own = {read.root: read for read in _reads(other, self.values[0])}
        ways: set[Perm] = set()
        for read in reads:
            if read.root in self.roots:
                root, perm = self.roots[read.root]
                ways.add(_then(_then(_inverse(read.perm), perm), own[root].perm))
        return [*ways, None] if len(ways) == 1 else [None]


def _values(graph: ir.Graph, nodes: Sequence[ir.Node]) -> Mapping[str, ir.Value]:
    """What can be read that depends on the inputs: these, and what the nodes make."""
    made = (value for node in nodes for value in node.outputs)
    return {value.name: value for value in (*graph.inputs, *made) if value.name}


def _readers(
    nodes: Sequence[ir.Node], values: Mapping[str, ir.Value]
) -> dict[tuple[str, tuple[str, ...]], list[ir.Node]]:
    found = defaultdict(list)
    for node in nodes:
        found[_place(node, _reads(node, values))].append(node)
    return found


def _place(node: ir.Node, reads: Iterable[_Read]) -> _Place:
    """The operator and the roots of what it reads."""
    return node.op_type, tuple(sorted(read.root.name or "" for read in reads))


def _reads(node: ir.Node, values: Mapping[str, ir.Value]) -> list[_Read]:
    return [_climb(value) for value in node.inputs if value is not None and value.name in values]


def _moves(node: ir.Node) -> bool:
    """Whether it leaves the elements what they are."""
    if node.domain or node.op_type not in ("Transpose", "Identity", "Cast") or node.inputs[0] is None:
        return False
    return node.op_type != "Cast" or all(_kind(value) == "float" for value in (node.inputs[0], node.outputs[0]))


def _climb(value: ir.Value) -> _Read:
    """The tensor that the value is a permutation of, and which."""
    perm: Perm = None
    node = value.producer()
    while node is not None and _moves(node) and node.inputs[0] is not None:
        if node.op_type == "Transpose":
            attribute, rank = node.attributes.get("perm"), len(dims_of(value) or ())
            own = tuple(attribute.as_ints()) if attribute is not None else tuple(reversed(range(rank)))
            perm = _then(own, perm)
        value = node.inputs[0]
        node = value.producer()
    return _Read(value, perm)


def _then(first: Perm, second: Perm) -> Perm:
    """``x.transpose(first).transpose(second)`` in one; of two ranks, the elements' order only."""
    if first is None or second is None:
        return second if first is None else first
    if len(first) != len(second):
        return None
    both = tuple(first[axis] for axis in second)
    return None if both == tuple(range(len(both))) else both


def _inverse(perm: Perm) -> Perm:
    return None if perm is None else tuple(int(axis) for axis in np.argsort(perm))


def _kind(value: ir.Value) -> str:
    return kind_of_dtype(dtype_name(value.dtype))


def _could_be(value: ir.Value, own: ir.Value, perm: Perm) -> bool:
    """Whether the types allow the one to be the other, permuted."""
    if _kind(value) != _kind(own):
        return False
    shape, other = dims_of(value), dims_of(own)
    if shape is None or other is None:
        return perm is None
    if perm is not None:
        if len(perm) != len(other):
            return False
        other = tuple(other[axis] for axis in perm)
    sizes = [[dim for dim in dims if dim != 1] for dims in (shape, other)]
    return len(sizes[0]) == len(sizes[1]) and all(
        a == b or not (isinstance(a, int) and isinstance(b, int)) for a, b in zip(*sizes, strict=True)
    )
