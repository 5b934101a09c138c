"""Random graphs of NNSmith's (https://github.com/ise-uiuc/nnsmith), where it is installed; see ``differential``.

It solves for shapes and attributes that fit together, over some seventy operators and eight element types, and makes
PyTorch modules of them, which PyTorch writes as ONNX. Nothing in the repository needs it: ``pip install nnsmith``.
"""

from __future__ import annotations

import functools
import importlib
import random
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import onnx

from tests.hostile import graphs

Array = np.ndarray[Any, Any]

ELEMENTS = 4096
"""Most of one tensor."""

ROUNDINGS = {onnx.TensorProto.FLOAT16: 2.0**-9, onnx.TensorProto.FLOAT: 2.0**-20, onnx.TensorProto.DOUBLE: 2.0**-20}
"""What a few roundings do to a number, relatively; Core ML has float32 for float64."""


def installed() -> bool:
    """Whether NNSmith and PyTorch are there."""
    return find_spec("nnsmith") is not None and find_spec("torch") is not None


def models(count: int, seed: int, most: int = 8) -> Iterator[tuple[int, onnx.ModelProto, dict[str, Array]]]:
    """Graphs that could be made: the seed of each, the model, and feeds for which NNSmith found all values finite."""
    torch = importlib.import_module("torch")
    # The newer exporter follows what NNSmith looks up in the values of a module, and refuses every one of its modules.
    torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)
    kind = importlib.import_module("nnsmith.materialize").Model.init("onnx", backend_target="cpu")
    operators = importlib.import_module("nnsmith.narrow_spec").auto_opset(kind, None)
    importlib.import_module("nnsmith.abstract.extension").activate_ext(opset=operators, factory=None)
    generate = importlib.import_module("nnsmith.graph_gen").model_gen
    for number in range(seed * 1_000_000, seed * 1_000_000 + count):
        random.seed(number)
        np.random.seed(number % 2**32)
        torch.manual_seed(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            options = {"method": "symbolic-cinit", "max_nodes": most, "max_elem_per_tensor": ELEMENTS}
            try:
                made = kind.from_gir(generate(opset=operators, seed=number, **options).make_concrete())
                made.refine_weights()
                feeds = made.make_oracle().input
            except Exception as error:  # of many classes: the exporter knows less than the generator
                print(f"NNSmith {number}: not made: {type(error).__name__}", flush=True)
                continue
        yield number, made.native_model, feeds


def computed(proto: onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array] | None:
    """What onnxruntime computes of a model as it stands, by name; ``None`` where it cannot."""
    found = graphs.computed(proto, feeds)
    return None if found is None else dict(zip((value.name for value in proto.graph.output), found, strict=True))


def spread(proto: onnx.ModelProto, feeds: dict[str, Array], expected: dict[str, Array]) -> dict[str, float]:
    """Output → how far it moves when everything that a node reads is moved by roundings, up, down and at random."""
    found = dict.fromkeys(expected, 0.0)
    rng = np.random.default_rng(0)
    for make in (lambda: 1.0, lambda: -1.0, *[lambda: float(rng.choice([-1.0, 1.0]))] * 6):
        moved = computed(_disturbed(proto, make), feeds)
        for name, array in (moved or {}).items():
            if array.shape == expected[name].shape:
                there = np.nan_to_num(array.astype(np.float64), nan=np.inf)
                found[name] = max(found[name], 2 * float(np.abs(there - expected[name]).max(initial=0)))
    return found


def _disturbed(proto: onnx.ModelProto, direction: Callable[[], float]) -> onnx.ModelProto:
    """The model with each floating-point tensor that a node reads multiplied by a number near one."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in _inferred(proto)}
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    del made.graph.node[:]
    for index, node in enumerate(proto.graph.node):
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        for place, name in enumerate(node.input):
            kind = kinds.get(name, 0)
            if kind in ROUNDINGS:
                by = onnx.helper.make_tensor("by", kind, [], [1 + direction() * ROUNDINGS[kind]])
                scaled = f"disturbed/{index}/{place}"
                made.graph.node.append(onnx.helper.make_node("Constant", [], [f"{scaled}/by"], value=by))
                made.graph.node.append(onnx.helper.make_node("Mul", [name, f"{scaled}/by"], [scaled]))
                copied.input[place] = scaled
        made.graph.node.append(copied)
    return made


def _inferred(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    graph = onnx.shape_inference.infer_shapes(proto).graph
    weights = [onnx.helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in graph.initializer]
    return [*graph.value_info, *graph.input, *graph.output, *weights]
