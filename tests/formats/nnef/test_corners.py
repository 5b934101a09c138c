"""Corners of operators, in both dialects: each is what the reference says, or refused with its cause.

onnxruntime runs the source as it is; what is written is read back and run here, and in tract's dialect by tract too.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper

from tests.formats.nnef.test_lowerings import Case as Node
from tests.formats.nnef.tract import Tract
from tests.runtime import serialized
from tests.single_node import model_around
from workbench import ConversionError, load

Array = NDArray[Any]
DIALECTS = ["khronos", "tract"]
RANDOM = np.random.default_rng(11)


def image(height: int, width: int) -> Array:
    return RANDOM.standard_normal((1, 2, height, width)).astype(np.float32)


@dataclass(frozen=True)
class Case(Node):
    """A node that can be run, too."""

    def model(self) -> tuple[onnx.ModelProto, dict[str, Array]]:
        feeds = {f"x{index}": array for index, array in enumerate(self.inputs)}
        constants = {f"c{index}": array for index, array in enumerate(self.constants) if array is not None}
        names = [*feeds, *("" if array is None else f"c{index}" for index, array in enumerate(self.constants))]
        outputs = [f"y{index}" for index in range(self.outputs)]
        node = helper.make_node(self.operator, names, outputs, **self.attributes)
        return model_around(node, feeds, constants, opset=21), feeds


def aspect(policy: str, extents: tuple[int, int], sizes: tuple[int, int], mode: str = "linear", **more: Any) -> Case:
    constants = (None, None, np.asarray(sizes, np.int64))
    attributes = {"mode": mode, "axes": [2, 3], "keep_aspect_ratio_policy": policy, **more}
    return Case("Resize", (image(*extents),), constants, attributes)


def antialiased(mode: str, extents: tuple[int, int], scales: tuple[float, float], **more: Any) -> Case:
    constants = (None, np.asarray((1, 1, *scales), np.float32))
    return Case("Resize", (image(*extents),), constants, {"mode": mode, "antialias": 1, **more})


def pooled(dtype: str, outputs: int = 1, **attributes: Any) -> Case:
    info = np.iinfo(dtype)
    numbers = RANDOM.integers(info.min, info.max, (1, 2, 6, 5), dtype, endpoint=True)
    return Case("MaxPool", (numbers,), (), {"kernel_shape": [3, 2], **attributes}, outputs)


WHOLE = {"not_larger": (2, 9), "not_smaller": (2, 3)}  # of a picture of 4 × 6: times 1/2 in both
GROWN = {"not_larger": (8, 99), "not_smaller": (8, 7)}  # times 2

CASES: dict[str, Case] = {
    **{
        f"Resize {mode}, {policy}, {'down' if sizes is WHOLE else 'up'}": aspect(policy, (4, 6), sizes[policy], mode)
        for mode, policy, sizes in itertools.product(
            ("nearest", "linear", "cubic"), ("not_larger", "not_smaller"), (WHOLE, GROWN)
        )
    },
    "Resize keeps the aspect of one axis": Case(
        "Resize",
        (image(4, 6),),
        (None, None, np.asarray([9], np.int64)),
        {"mode": "linear", "axes": [3], "keep_aspect_ratio_policy": "not_larger"},
    ),
    **{
        f"Resize {mode}, antialias, {scales}": antialiased(mode, (8, 9), scales)
        for mode, scales in itertools.product(("linear", "cubic"), ((0.5, 0.34), (0.6, 1.0), (0.5, 2.0)))
    },
    "Resize cubic, antialias, nothing from outside": antialiased("cubic", (8, 9), (0.6, 0.6), exclude_outside=1),
    "Resize linear, antialias, corners aligned": antialiased(
        "linear", (8, 9), (0.5, 1.0), coordinate_transformation_mode="align_corners"
    ),
    **{f"MaxPool of {dtype}": pooled(dtype) for dtype in ("int8", "uint8")},
    "MaxPool of int8, padded": pooled("int8", pads=[1, 1, 1, 0], strides=[2, 1]),
    "MaxPool of uint8, rounded up": pooled("uint8", strides=[2, 2], ceil_mode=1),
    "MaxPool of int8, dilated": pooled("int8", dilations=[2, 1]),
    "MaxPool of int8 at its least, padded": Case(
        "MaxPool", (np.full((1, 1, 3, 3), -128, np.int8),), (), {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1]}
    ),
    **{f"GlobalLpPool, p = {p}": Case("GlobalLpPool", (image(4, 3),), (), {"p": p}) for p in (1, 2, 3)},
    "GlobalLpPool over one axis": Case("GlobalLpPool", (image(4, 3)[0],)),
    "ConstantOfShape of a known shape": Case(
        "ConstantOfShape", (), (np.asarray([2, 3], np.int64),), {"value": helper.make_tensor("v", 7, [1], [2**40 + 1])}
    ),
}

REFUSED: dict[str, tuple[Case, str]] = {
    "an aspect that gives no whole extents": (aspect("not_larger", (4, 6), (3, 4)), "gives no whole extents"),
    "a shape that is fed": (
        Case("ConstantOfShape", (np.asarray([2, 3], np.int64),)),
        "depends on values at run time",
    ),
}


@pytest.fixture(scope="module")
def tract() -> Any:
    pytest.importorskip("tract")
    with Tract() as found:
        yield found


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", CASES)
def test_corner(name: str, dialect: str, tmp_path: Path, tract: Tract) -> None:
    proto, feeds = CASES[name].model()
    expected = onnxruntime.InferenceSession(serialized(proto)).run(None, feeds)
    path = load(proto).convert("nnef", dialect=dialect).save(tmp_path / "m.nnef")
    found = list(load(path).run(feeds).values())
    if dialect == "tract":
        given = {spec.name: feeds[spec.name] for spec in load(path).inputs}
        by_tract = tract.run(path, given)
        assert not isinstance(by_tract, str), by_tract
        found += by_tract
    for mine, other in zip(found, expected * (2 if dialect == "tract" else 1), strict=True):
        assert mine.shape == other.shape
        np.testing.assert_allclose(mine.astype(other.dtype), other, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", REFUSED)
def test_refused_corner(name: str, dialect: str) -> None:
    case, words = REFUSED[name]
    proto, _ = case.model()
    with pytest.raises(ConversionError, match=words):
        load(proto).convert("nnef", dialect=dialect)
