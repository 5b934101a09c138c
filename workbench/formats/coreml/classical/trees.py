"""Tree ensembles: every tree is followed from its root to a leaf, and the leaves' values are added up.

https://apple.github.io/coremltools/mlmodel/Format/TreeEnsemble.html

The trees become tables of their nodes (feature, threshold, the two successors), and all trees are descended at once, a
level at a time: plain gathers and comparisons in float64. ai.onnx.ml has operators of its own for trees, but those with
several values at a leaf return float32 only, and none of them says what becomes of a missing value at every kind of
branch; and no other format has them.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from workbench import limits
from workbench.formats.coreml.classical.table import Array, Kind, class_labels, doubles, kinds, two_classes
from workbench.hub import Emitter, dims_of
from workbench.lowering import Refused

_LESS_EQUAL, _LESS, _GREATER_EQUAL, _GREATER, _EQUAL, _NOT_EQUAL, _LEAF = range(7)
_SWAPPED = (_GREATER_EQUAL, _GREATER, _NOT_EQUAL)  # the opposites of the other three
_INCLUSIVE = (_LESS_EQUAL, _GREATER)  # they tell what is at most the threshold from the rest, others what is below it
_NO_TRANSFORM, _SOFTMAX, _LOGISTIC, _SOFTMAX_ZERO = range(4)


@kinds.lowers("treeEnsembleRegressor")
def tree_ensemble_regressor(kind: Kind, emit: Emitter) -> ir.Value:
    """The sum of the leaves' values and the base value, transformed; ``[dimensions]``."""
    return _transformed(kind, emit, _sums(kind, emit))


@kinds.lowers("treeEnsembleClassifier")
def tree_ensemble_classifier(kind: Kind, emit: Emitter) -> ir.Value:
    """The probabilities of K classes: K transformed sums, or of two classes one, the second's probability."""
    count = len(class_labels(kind.parameters)) or max(2, kind.parameters.treeEnsemble.numPredictionDimensions)
    dimensions = int(kind.parameters.treeEnsemble.numPredictionDimensions)
    if dimensions != count and (dimensions, count) != (1, 2):
        raise kind.error(f"{count} classes do not go with {dimensions} values a leaf")
    found = _transformed(kind, emit, _sums(kind, emit))
    return two_classes(emit, found) if dimensions == 1 else found


def _transformed(kind: Kind, emit: Emitter, sums: ir.Value) -> ir.Value:
    transform = kind.parameters.postEvaluationTransform
    single = kind.parameters.treeEnsemble.numPredictionDimensions == 1
    if transform == _NO_TRANSFORM:
        return sums
    if transform == _LOGISTIC or (transform == _SOFTMAX_ZERO and single):  # the softmax of 0 and x: x is logistic
        return emit.op("Sigmoid", sums)
    if transform == _SOFTMAX and not single:
        return emit.op("Softmax", sums, axis=0)
    if transform not in (_SOFTMAX, _SOFTMAX_ZERO):
        raise kind.error(f"postEvaluationTransform is {transform}, which Core ML does not know")
    raise Refused(
        "the softmax of one value is 1, whatever the trees say"
        if single
        else "Core ML does not say which of several values Classification_SoftMaxWithZeroClassReference takes for zero"
    )


def _sums(kind: Kind, emit: Emitter) -> ir.Value:
    """The base values and the values of the leaves that are reached, added up; ``[dimensions]``."""
    ensemble = kind.parameters.treeEnsemble
    base = np.asarray(ensemble.basePredictionValue, dtype=np.float64)
    dimensions = int(ensemble.numPredictionDimensions)
    if not dimensions or (base.size and base.size != dimensions):
        raise kind.error(f"{dimensions} values a leaf, {base.size} base values")
    kind.bounded(dimensions, "the values of a leaf")
    vector = kind.vector(emit)
    if not len(ensemble.nodes):
        return doubles(emit, base if base.size else np.zeros(dimensions))
    forest = _Builder(kind, dimensions).forest()
    dims = dims_of(vector)
    if dims is not None and isinstance(dims[0], int) and forest.feature.max() >= dims[0]:
        raise kind.error(f"a node reads the feature {int(forest.feature.max())}, the inputs have {dims[0]}")
    reached = _descended(emit, forest, vector)
    leaves = emit.op("Gather", doubles(emit, forest.values), reached, axis=0)  # [trees, dimensions]
    total = emit.op("ReduceSum", leaves, emit.const([0]), keepdims=0)
    return emit.op("Add", total, doubles(emit, base)) if base.any() else total


@dataclass(frozen=True)
class _Forest:
    """All trees as tables over nodes; the first nodes are the leaves, each its own successor.

    Attributes:
        feature: which feature a node compares, int64 ``[N]``.
        threshold: what it compares it with, float64 ``[N]`` (a leaf has NaN, which nothing is below).
        inclusive: whether what equals the threshold counts as below it, bool ``[N]``.
        below: the successor if it is below; ``above`` if not; ``missing`` if it is NaN.
        values: float64 ``[leaves, dimensions]``.
        roots: int64 ``[trees]``.
        depth: comparisons from a root to the farthest leaf.
    """

    feature: Array
    threshold: Array
    inclusive: Array
    below: Array
    above: Array
    missing: Array
    values: Array
    roots: Array
    depth: int


def _descended(emit: Emitter, forest: _Forest, vector: ir.Value) -> ir.Value:
    """The leaf that each tree ends at, int64 ``[trees]``."""
    tables = {name: emit.const(table) for name, table in vars(forest).items() if isinstance(table, np.ndarray)}
    follows_missing = not np.array_equal(forest.missing, forest.above)  # NaN is not below anything
    place = emit.const(forest.roots)
    for _ in range(forest.depth):
        value = emit.op("Gather", vector, emit.op("Gather", tables["feature"], place))
        below, above = (emit.op("Gather", tables[name], place) for name in ("below", "above"))
        following = emit.op("Where", _is_below(emit, value, forest, tables, place), below, above)
        if follows_missing:
            missing = emit.op("Gather", tables["missing"], place)
            following = emit.op("Where", emit.op("IsNaN", value), missing, following)
        place = following
    return place


def _is_below(
    emit: Emitter, value: ir.Value, forest: _Forest, tables: Mapping[str, ir.Value], place: ir.Value
) -> ir.Value:
    threshold = emit.op("Gather", tables["threshold"], place)
    if forest.inclusive.all() or not forest.inclusive.any():
        return emit.op("LessOrEqual" if forest.inclusive.all() else "Less", value, threshold)
    counts = emit.op("And", emit.op("Equal", value, threshold), emit.op("Gather", tables["inclusive"], place))
    return emit.op("Or", emit.op("Less", value, threshold), counts)


class _Builder:
    """Checks the trees and builds their tables.

    Every branch is brought to the form "below the threshold", the threshold itself included or not: opposites have
    their successors exchanged, and a comparison for equality becomes two branches.
    """

    def __init__(self, kind: Kind, dimensions: int) -> None:
        self.kind = kind
        self.dimensions = dimensions
        nodes = self.nodes = kind.parameters.treeEnsemble.nodes
        self.names = [(node.treeId, node.nodeId) for node in nodes]
        self.behaviour = np.asarray([node.nodeBehavior for node in nodes])
        self.branches = np.flatnonzero(self.behaviour != _LEAF)
        self.leaves = np.flatnonzero(self.behaviour == _LEAF)
        inner = [nodes[number] for number in self.branches.tolist()]
        self.threshold = np.asarray([node.branchFeatureValue for node in inner], dtype=np.float64)
        self.feature = self._features([node.branchFeatureIndex for node in inner])
        self.tracks = np.asarray([node.missingValueTracksTrueChild for node in inner], dtype=np.bool_)
        self._check_branches()
        index = {name: number for number, name in enumerate(self.names)}
        if len(index) != len(nodes):
            (tree, number), _ = collections.Counter(self.names).most_common(1)[0]
            raise kind.error(f"two nodes of tree {tree} have the number {number}")
        self.holds = self._followed(index, [(node.treeId, node.trueChildNodeId) for node in inner])
        self.fails = self._followed(index, [(node.treeId, node.falseChildNodeId) for node in inner])
        self.roots = self._roots()
        self._check_connected()

    def forest(self) -> _Forest:
        """The tables.

        Raises:
            ModelError: a leaf has a value for a dimension that is not there.
            LimitError: the leaves hold too much.
        """
        branches, count = self.branches, len(self.nodes)
        behaviour = self.behaviour[branches]
        places = np.empty(count, np.int64)
        places[np.concatenate([self.leaves, branches])] = np.arange(count)
        holds, fails = places[self.holds], places[self.fails]
        missing = np.where(self.tracks, holds, fails)
        swapped = np.isin(behaviour, _SWAPPED)
        holds, fails = np.where(swapped, fails, holds), np.where(swapped, holds, fails)
        double = np.flatnonzero(np.isin(behaviour, (_EQUAL, _NOT_EQUAL)))
        rows = np.concatenate([places[branches], count + np.arange(double.size)])
        source = np.concatenate([np.arange(branches.size), double])  # which branch a row is of
        below, above = holds[source], fails[source]
        # At most the threshold: go on; and below it: the comparison fails, as it does above.
        below[double], below[branches.size :], above[branches.size :] = (
            rows[branches.size :],
            fails[double],
            holds[double],
        )
        size = count + double.size
        feature, threshold = np.zeros(size, np.int64), np.full(size, np.nan)
        feature[rows], threshold[rows] = self.feature[source], self.threshold[source]
        counts = np.isin(behaviour, (*_INCLUSIVE, _EQUAL, _NOT_EQUAL))[source]
        counts[branches.size :] = False
        inclusive = np.full(size, bool(counts.any()))
        inclusive[rows] = counts
        successors = np.tile(np.arange(size), (3, 1))
        successors[:, rows] = below, above, missing[source]
        roots = places[self.roots]
        depth = _depth(successors, roots)
        below, above, missing = successors
        return _Forest(feature, threshold, inclusive, below, above, missing, self._values(), roots, depth)

    def _label(self, number: int) -> str:
        tree, node = self.names[number]
        return f"the node {node} of tree {tree}"

    def _features(self, given: list[int]) -> Array:
        if given and max(given) > np.iinfo(np.int32).max:
            raise self.kind.error(f"a node reads the feature {max(given)}")
        return np.asarray(given, dtype=np.int64)

    def _check_branches(self) -> None:
        for wrong, cause in (
            ((self.behaviour < _LESS_EQUAL) | (self.behaviour > _LEAF), "has a behaviour that is not known"),
            (self._of_branches(np.isnan(self.threshold)), "compares with NaN"),
        ):
            if wrong.any():
                raise self.kind.error(f"{self._label(int(wrong.argmax()))} {cause}")

    def _of_branches(self, flags: Array) -> Array:
        found = np.zeros(len(self.nodes), np.bool_)
        found[self.branches] = flags
        return found

    def _followed(self, index: Mapping[tuple[int, int], int], names: list[tuple[int, int]]) -> Array:
        """The nodes of these names, one for each branch."""
        found = np.asarray([index.get(name, -1) for name in names], dtype=np.int64)
        if (found < 0).any():
            first = int((found < 0).argmax())
            label = self._label(int(self.branches[first]))
            raise self.kind.error(f"{label} has the successor {names[first][1]}, which is not there")
        return found

    def _roots(self) -> Array:
        """The one node of each tree that no other leads to."""
        parents = np.bincount(np.concatenate([self.holds, self.fails]), minlength=len(self.nodes))
        if (parents > 1).any():
            shared = int(parents.argmax())
            raise self.kind.error(f"{parents[shared]} branches lead to {self._label(shared)}; that is no tree")
        roots = np.flatnonzero(parents == 0)
        trees = collections.Counter(self.names[number][0] for number in roots.tolist())
        tree, count = trees.most_common(1)[0] if trees else (0, 1)
        if count > 1:
            raise self.kind.error(f"the tree {tree} has several roots: {count} of its nodes no branch leads to")
        return roots

    def _check_connected(self) -> None:
        """Every node has one way to it at most, so what no root leads to lies on a cycle."""
        row = np.full(len(self.nodes), -1)
        row[self.branches] = np.arange(self.branches.size)
        level, reached, depth = self.roots, 0, 0
        while level.size:
            limits.check("nesting", depth, "the depth of the trees")
            reached, depth = reached + level.size, depth + 1
            rows = row[level]
            rows = rows[rows >= 0]
            level = np.concatenate([self.holds[rows], self.fails[rows]])
        if reached != len(self.nodes):
            raise self.kind.error(f"{len(self.nodes) - reached} nodes lie on a cycle or behind one")

    def _values(self) -> Array:
        self.kind.bounded(self.leaves.size * self.dimensions, "the values of the leaves")
        values = np.zeros((self.leaves.size, self.dimensions))
        for row, number in enumerate(self.leaves.tolist()):
            for entry in self.nodes[number].evaluationInfo:
                if entry.evaluationIndex >= self.dimensions:
                    raise self.kind.error(
                        f"{self._label(number)} has a value for dimension {entry.evaluationIndex} of {self.dimensions}"
                    )
                values[row, entry.evaluationIndex] += entry.evaluationValue
        return values


def _depth(successors: Array, roots: Array) -> int:
    """Steps until every tree stands at a leaf, whatever is chosen on the way."""
    branches = np.any(successors != np.arange(successors.shape[1]), axis=0)
    depth, level = 0, roots[branches[roots]]
    while level.size:
        following = np.unique(successors[:, level])
        depth, level = depth + 1, following[branches[following]]
    return depth
