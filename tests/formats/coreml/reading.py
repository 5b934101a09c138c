"""One MIL operation through the reader, against oracles that share no code with it.

A case builds the operation with coremltools' builder twice: with its inputs as placeholders, written as a package that
our reader lowers and onnxruntime runs; and with its inputs as constants, which coremltools' own numpy value inference
computes. Where it has none, the case brings a function (numpy or PyTorch) that says what has to come out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime

from tests.runtime import serialized
from workbench.errors import WorkbenchError
from workbench.formats.coreml import toolkit
from workbench.formats.coreml.package import write_package
from workbench.formats.coreml.read import CoreMLDocument, read

Array = np.ndarray[Any, Any]
SPECIFICATIONS = {15: 6, 16: 7, 17: 8, 18: 9}


@dataclass(frozen=True)
class Case:
    """One operation.

    Attributes:
        build: ``build(mb, **inputs)`` emits the operation.
        inputs: what is fed, by name.
        expect: the oracle, called with the inputs' arrays in their order; ``None`` for coremltools' value inference.
        release: the iOS release whose operator set is used.
        fixed: inputs of ``build`` that are constants of the program.
        dynamic: declare every size of the inputs beyond the first two as known at run time only.
    """

    name: str
    build: Callable[..., Any]
    inputs: Mapping[str, Array]
    expect: Callable[..., Any] | None = None
    release: int = 15
    rtol: float = 1e-5
    atol: float = 1e-6
    fixed: Mapping[str, Any] = field(default_factory=dict)
    dynamic: bool = False

    def __str__(self) -> str:
        return self.name


def palette_convolution(mb: Any, x: Any) -> Any:
    """An operation that the reader refuses; x: [1, C, H, W] → the same shape."""
    channels = x.shape[1]
    return mb.conv_quantized(
        x=x, weight=np.ones((channels, channels, 1, 1), np.uint8), quantization_type="lut",
        quant_scale=np.float32(1), quant_bias=np.float32(0),
    )  # fmt: skip


def package(case: Case, folder: Path) -> Path:
    """The operation alone in a package: all inputs are the function's."""
    with toolkit.session():
        mil = toolkit.mil()
        target = getattr(toolkit.coremltools().target, f"iOS{case.release}")
        types = toolkit.submodule("converters.mil.mil.types")
        placeholders = {
            name: mil.Builder.placeholder(
                _declared(case, array), dtype=types.numpy_type_to_builtin_type(_outside(array.dtype))
            )
            for name, array in case.inputs.items()
        }
        with mil.Function(placeholders, opset_version=target) as function:
            values = {
                name: value if _outside(case.inputs[name].dtype) == case.inputs[name].dtype
                else mil.Builder.cast(x=value, dtype=str(case.inputs[name].dtype))
                for name, value in function.inputs.items()
            }  # fmt: skip
            made = case.build(mil.Builder, **{**values, **case.fixed})
            made = list(made) if isinstance(made, list | tuple) else [made]
            narrow = [types.nptype_from_builtin(var.dtype) for var in made]
            function.set_outputs([
                var if _outside(np.dtype(dtype)) == dtype else mil.Builder.cast(x=var, dtype="int32")
                for var, dtype in zip(made, narrow, strict=True)
            ])  # fmt: skip
        program = mil.Program()
        program.add_function("main", function)
        weights = folder / "weights"
        weights.mkdir()
        load = toolkit.submodule("converters.mil.backend.mil.load").load
        message = load(program, str(weights), specification_version=SPECIFICATIONS[case.release])
        blob = weights / "weight.bin"
        write_package(
            folder / "case.mlpackage", message.SerializeToString(deterministic=True), blob if blob.exists() else None
        )
    return folder / "case.mlpackage"


def _declared(case: Case, array: Array) -> tuple[Any, ...]:
    """The declared shape of an input."""
    if not case.dynamic:
        return array.shape
    return (*array.shape[:2], *(toolkit.mil().get_new_symbol() for _ in array.shape[2:]))


def _outside(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that an interface can have: anything but floats and int32 is cast inside the program."""
    return dtype if dtype in (np.float16, np.float32, np.float64, np.int32) else np.dtype(np.int32)


def inferred(case: Case) -> list[Array]:
    """What coremltools computes of the operation, its inputs being constants."""
    with toolkit.session():
        mil = toolkit.mil()
        target = getattr(toolkit.coremltools().target, f"iOS{case.release}")
        with mil.Function({}, opset_version=target):
            constants = {name: mil.Builder.const(val=array) for name, array in case.inputs.items()}
            made = case.build(mil.Builder, **{**constants, **case.fixed})
        values = [var.val for var in (made if isinstance(made, list | tuple) else [made])]
    assert all(value is not None for value in values), (
        "coremltools has no value inference here: give the case an oracle"
    )
    return [np.asarray(value) for value in values]


def run(document: CoreMLDocument, feeds: Mapping[str, Array], optimize: bool = False) -> list[Array]:
    """The document's hub graph in onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    proto = ir.to_proto(document.hub())
    feeds = {name: array.astype(_outside(array.dtype)) for name, array in feeds.items()}
    session = onnxruntime.InferenceSession(serialized(proto), sess_options=options, providers=["CPUExecutionProvider"])
    found: list[Array] = session.run(None, dict(feeds))
    return found


def check(case: Case, *, optimize: bool = False) -> CoreMLDocument:
    """Compare the lowered operation with the case's oracle: values, shapes, declared dtypes and names."""
    with tempfile.TemporaryDirectory() as folder:
        document = read(package(case, Path(folder)))
        results = run(document, case.inputs, optimize)
        compare(results, _expected(case), case.rtol, case.atol)
        for spec, result in zip(document.outputs, results, strict=True):
            assert result.dtype.name == spec.dtype, spec
            if spec.shape is not None:
                assert tuple(
                    dim if dim is not None else n for dim, n in zip(spec.shape, result.shape, strict=True)
                ) == (result.shape), spec
    return document


def _expected(case: Case) -> Sequence[Array]:
    if case.expect is None:
        return inferred(case)
    found = case.expect(*case.inputs.values())
    return [np.asarray(item) for item in (found if isinstance(found, list | tuple) else [found])]


def compare(results: Sequence[Array], expected: Sequence[Array], rtol: float, atol: float) -> None:
    """Shapes, and values with NaN and infinities in the same places."""
    assert len(results) == len(expected)
    for result, wanted in zip(results, expected, strict=True):
        assert result.shape == wanted.shape
        if wanted.dtype.kind in "biu":
            np.testing.assert_array_equal(result, wanted)
        else:
            np.testing.assert_allclose(result.astype(np.float64), wanted.astype(np.float64), rtol=rtol, atol=atol)


def outcome(path: Path) -> str:
    """What becomes of a file that may be damaged: ``read``, or the class of our own error; any other is raised."""
    try:
        read(path).hub()
    except WorkbenchError as error:
        return type(error).__name__
    return "read"
