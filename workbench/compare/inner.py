"""Inside of layers that are compared together: which of their tensors is wrong first, and what is wrong with it.

A conversion fuses layers, or writes one as many, and only what comes out of the group has a counterpart. Inside it, two
things are tried. One node of the target is another, or is left out: that the target then gives the reference's tensor
shows that this node is the fault. And a tensor in the target stands in a simple relation to one of the reference's:
that the reference, with that tensor in its place, gives what the target gives shows that it is all that is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.compare.fits import LIMIT, Fit, local, structural
from workbench.compare.replay import Replay
from workbench.compare.variants.activation import activation
from workbench.compare.variants.kit import becoming

Array = np.ndarray[Any, Any]
Distance = Callable[[Array], float | None]

NODES = 200
"""A target's group of more is not looked into."""
_FEWEST = 16
_LEFT = 0.03
_ENDING = ("Clip", "Min", "Max")
_ADDED = ("Relu", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "Elu", "Gelu", "HardSigmoid", "HardSwish", "Softplus", "Neg")


def changed_target(target: Replay, distance: Distance, seconds: float) -> Iterator[Fit]:
    """The target with one of its nodes being another, or left out.

    Args:
        target: its part.
        distance: how far what the changed part gives is from the reference's tensor.
        seconds: after so long no more is tried.
    """
    start = time.monotonic()
    for place, node in list(target.nodes())[:NODES]:
        for kind, text, change in _changes(node):
            if time.monotonic() - start > seconds:
                return
            found = target.run(place, change)
            left = None if found is None else distance(found)
            if left is not None:
                yield Fit(kind, text, left, ("undone, the target gives the reference's tensor",))


def _changes(node: ir.Node) -> Iterator[tuple[str, str, Callable[[ir.Node], None]]]:
    if node.domain:
        return
    if node.op_type in _ENDING:
        yield "saturated", f"{_named(node)} ends the values", becoming("Identity")
    elif node.op_type in _ADDED:
        kind = "sign" if node.op_type == "Neg" else "activation added"
        yield kind, f"there is {_named(node)}", becoming("Identity")
        for variant in activation(node):
            if variant.kind == "other activation":
                wanted = variant.text.split(" instead of ")[0]
                yield variant.kind, f"{_named(node)} instead of {wanted}", variant.change


def _named(node: ir.Node) -> str:
    return f"{node.op_type} {node.name!r}" if node.name else node.op_type


def wrong_tensor(
    reference: Replay, target: Replay, distance: Distance, relative: float, limit: float, seconds: float
) -> Fit | None:
    """The first tensor inside of the target that explains the difference.

    Args:
        reference: its part; ``target`` likewise.
        distance: how far what the changed reference gives is from the target's tensor.
        relative: difference of two tensors, as a share of the reference's, that is no fault.
        limit: distance that counts as none.
        seconds: after so long no more is tried.
    """
    start = time.monotonic()
    known, others = _floats(reference.tensors()), _floats(target.tensors())
    for name, own in others.items():
        like = [(wanted, x) for wanted, array in known.items() if (x := _shaped(array, own.shape)) is not None]
        y = own.astype(np.float64)
        if any(_difference(x, y) <= relative * _norm(x) for _, x in like):
            continue  # it is right
        for wanted, x in like:
            if time.monotonic() - start > seconds:
                return None
            fit = _simple(x.astype(np.float64), y, _difference(x, y), relative * _norm(x))
            found = reference.with_tensor(wanted, own.reshape(known[wanted].shape)) if fit is not None else None
            left = None if found is None else distance(found)
            if fit is not None and left is not None and left <= limit:
                return Fit(fit.kind, fit.text, left, (*fit.evidence, f"in the tensor {name!r} inside of the layer"))
    return None


def _floats(tensors: Mapping[str, Any]) -> dict[str, Array]:
    """Those that say enough, and are finite."""
    return {
        name: array
        for name, array in tensors.items()
        if isinstance(array, np.ndarray)
        and array.dtype.kind == "f"
        and _FEWEST <= array.size <= LIMIT
        and bool(np.isfinite(array).all())
    }


def _shaped(array: Array, shape: tuple[int, ...]) -> Array | None:
    """The array in a shape that differs by dimensions of one."""
    sizes = [[size for size in dims if size != 1] for dims in (array.shape, shape)]
    return array.reshape(shape) if sizes[0] == sizes[1] else None


def _norm(x: Array) -> float:
    return float(np.linalg.norm(x.reshape(-1)))


def _difference(x: Array, y: Array) -> float:
    return _norm(y - x)


def _simple(x: Array, y: Array, difference: float, allowed: float) -> Fit | None:
    scale = min(difference, _norm(y))
    for relations in (structural, local):
        good = [fit for fit in relations(x, y, allowed) if fit.left <= max(allowed, _LEFT * scale)]
        if good:
            return min(good, key=lambda fit: max(fit.left, allowed))
    return None
