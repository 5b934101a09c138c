"""What a Core ML model takes beyond arrays: states, functions, pictures, flexible shapes, defaults; and float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import workbench as wb
from workbench.formats.coreml import toolkit

Array = np.ndarray[Any, Any]


def saved(path: Path, build: Callable[..., Any], specs: Callable[[Any, Any], list[Any]], **options: Any) -> Path:
    """A program of the builder's, converted by coremltools in float32 and saved."""
    with toolkit.session():
        ct, mil = toolkit.coremltools(), toolkit.mil()
        types = toolkit.submodule("converters.mil.mil.types")
        target = options.pop("minimum_deployment_target", ct.target.iOS18)
        program = mil.Builder.program(input_specs=specs(mil.Builder, types), opset_version=target)(build)
        model = ct.convert(
            program,
            minimum_deployment_target=target,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
            **options,
        )
        model.save(str(path))
    return path


# states


@pytest.fixture(scope="module")
def accumulator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``acc += x; twice = 2 acc``, the state read before and after."""

    def build(x: Any, acc: Any) -> Any:
        mb = toolkit.mil().Builder
        before = mb.read_state(input=acc)
        after = mb.coreml_update_state(state=acc, value=mb.add(x=x, y=before, name="sum"), name="updated")
        return mb.mul(x=after, y=np.float16(2), name="twice"), mb.identity(x=before, name="before")

    return saved(
        tmp_path_factory.mktemp("state") / "acc.mlpackage",
        build,
        lambda mb, types: [mb.TensorSpec((2,), types.fp16), mb.StateTensorSpec((2,), types.fp16)],
    )


X = np.asarray([1, 2], np.float16)


def stateful(path: Path, build: Callable[[Any, Any, Any], Any]) -> wb.Model:
    """A model of an input x and a state acc; ``build(mb, x, acc)``."""
    return wb.load(
        saved(
            path,
            lambda x, acc: build(toolkit.mil().Builder, x, acc),
            lambda mb, types: [mb.TensorSpec((2,), types.fp16), mb.StateTensorSpec((2,), types.fp16)],
        )
    )


def test_a_state_that_one_branch_writes(tmp_path: Path) -> None:
    def build(mb: Any, x: Any, acc: Any) -> Any:
        def yes() -> Any:
            mb.coreml_update_state(state=acc, value=mb.add(x=mb.read_state(input=acc), y=x))
            return mb.mul(x=x, y=np.float16(2))

        positive = mb.greater(x=mb.reduce_max(x=x, axes=[0], keep_dims=False), y=np.float16(0))
        y = mb.cond(pred=positive, _true_fn=yes, _false_fn=lambda: mb.identity(x=x))
        return mb.identity(x=y, name="y"), mb.identity(x=mb.read_state(input=acc), name="after")

    model = stateful(tmp_path / "cond.mlpackage", build)
    state, total = model.new_state(), np.zeros(2, np.float16)
    for factor in (1, -1, 3):
        x = np.float16(factor) * X
        total = total + x if factor > 0 else total
        results = model.run({"x": x}, state=state)
        np.testing.assert_array_equal(results["y"], x * 2 if factor > 0 else x)
        np.testing.assert_array_equal(results["after"], total)
        np.testing.assert_array_equal(state["acc"], total)


def test_a_state_that_a_loop_writes(tmp_path: Path) -> None:
    """``while max(acc) < 10: acc += x`` with a branch in the body; condition and body read what was written last."""

    def build(mb: Any, x: Any, acc: Any) -> Any:
        def small(n: Any) -> Any:
            return mb.less(x=mb.reduce_max(x=mb.read_state(input=acc), axes=[0], keep_dims=False), y=np.float16(10))

        def body(n: Any) -> Any:
            def add() -> Any:
                mb.coreml_update_state(state=acc, value=mb.add(x=mb.read_state(input=acc), y=x))
                return mb.identity(x=n)

            first = mb.less(x=n, y=np.float16(3))
            same = mb.cond(pred=first, _true_fn=add, _false_fn=lambda: (add(), add())[1])
            return (mb.add(x=same, y=np.float16(1)),)

        n = mb.while_loop(_cond=small, _body=body, loop_vars=(np.float16(0),))
        count = n[0] if isinstance(n, list | tuple) else n
        return mb.identity(x=mb.expand_dims(x=count, axes=[0]), name="n"), mb.read_state(input=acc, name="after")

    model = stateful(tmp_path / "loop.mlpackage", build)
    state = model.new_state()
    results = model.run({"x": X}, state=state)  # three times 2, then twice 4: 6, 10
    assert results["n"].tolist() == [4]
    np.testing.assert_array_equal(state["acc"], np.asarray([5, 10], np.float16))
    assert model.run({"x": X}, state=state)["n"].tolist() == [0]
    np.testing.assert_array_equal(state["acc"], np.asarray([5, 10], np.float16))


@pytest.mark.parametrize("target", ["onnx", "nnef"])
def test_a_state_stays_one_in_other_formats(accumulator: Path, target: str, tmp_path: Path) -> None:
    """In ONNX by our record, in NNEF as a variable that is updated; it begins with zeros, as here."""
    model = wb.load(accumulator)
    made = wb.load(model.convert(target).save(tmp_path / f"m.{target}"))
    assert dict(made.states) == {"acc": "acc_out"}
    assert wb.compare(model, made).ok
    state, other = model.new_state(), made.new_state()
    np.testing.assert_array_equal(other["acc"], np.zeros(2, np.float16))
    for _ in range(3):
        expected, found = model.run({"x": X}, state=state), made.run({"x": X}, state=other)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(other["acc"], state["acc"])


def test_a_state_is_carried_from_run_to_run(accumulator: Path) -> None:
    model = wb.load(accumulator)
    assert dict(model.states) == {"acc": "acc_out"}
    state = model.new_state()
    for count in (1, 2, 3):
        results = model.run({"x": X}, state=state)
        assert list(results) == ["twice", "before"]
        np.testing.assert_array_equal(results["before"], X * (count - 1))
        np.testing.assert_array_equal(results["twice"], X * 2 * count)
        np.testing.assert_array_equal(state["acc"], X * count)


def test_without_a_state_it_begins_anew_and_is_returned(accumulator: Path) -> None:
    model = wb.load(accumulator)
    for _ in range(2):
        results = model.run({"x": X})
        np.testing.assert_array_equal(results["acc_out"], X)
    np.testing.assert_array_equal(model.run({"x": X, "acc": 3 * X})["acc_out"], 4 * X)


def test_a_stateful_model_is_converted_and_compared_with_its_states_as_tensors(accumulator: Path) -> None:
    model = wb.load(accumulator)
    converted = model.convert("onnx")
    assert [spec.name for spec in converted.inputs] == ["x", "acc"]
    np.testing.assert_array_equal(converted.run({"x": X, "acc": X})["acc_out"], 2 * X)
    assert wb.compare(model, converted).ok


def test_a_state_that_does_not_fit_is_refused(accumulator: Path) -> None:
    model = wb.load(accumulator)
    with pytest.raises(wb.ExecutionError, match=r"new_state\(\)"):
        model.run({"x": X}, state={"other": X})
    with pytest.raises(wb.ExecutionError, match="in the state too"):
        model.run({"x": X, "acc": X}, state=model.new_state())
    with pytest.raises(wb.ExecutionError, match="acc"):
        model.run({"x": X}, state={"acc": np.zeros(3, np.float16)})


def test_apple_s_runtime_is_not_asked_for_what_it_takes_otherwise(accumulator: Path, functions: Path) -> None:
    from workbench.executors.coreml_native import predictor_of

    assert predictor_of(wb.load(functions).document) is not None
    assert predictor_of(wb.load(functions, function="negate").document) is None
    assert predictor_of(wb.load(accumulator).document) is None


# functions


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with the functions ``double`` (the default) and ``negate``."""
    folder = tmp_path_factory.mktemp("functions")
    factors = {"double": 2.0, "negate": -1.0}
    for name in factors:

        def build(x: Any) -> Any:
            return toolkit.mil().Builder.mul(x=x, y=np.float32(factors[name]), name="y")  # noqa: B023  # called at once

        saved(folder / f"{name}.mlpackage", build, lambda mb, types: [mb.TensorSpec((3,), types.fp32)])
    with toolkit.session():
        utils = toolkit.coremltools().utils
        description = utils.MultiFunctionDescriptor()
        for name in factors:
            description.add_function(str(folder / f"{name}.mlpackage"), "main", name)
        description.default_function_name = "double"
        utils.save_multifunction(description, str(folder / "both.mlpackage"))
    return folder / "both.mlpackage"


@pytest.mark.parametrize(("function", "factor"), [(None, 2), ("double", 2), ("negate", -1)])
def test_a_function_is_chosen_by_name(functions: Path, function: str | None, factor: int) -> None:
    model = wb.load(functions) if function is None else wb.load(functions, function=function)
    x = np.arange(3, dtype=np.float32)
    np.testing.assert_array_equal(model.run({"x": x})["y"], factor * x)


def test_an_unknown_function_and_an_unknown_option_are_refused(functions: Path, tmp_path: Path) -> None:
    with pytest.raises(wb.OptionError, match="no function 'halve'; it has double, negate"):
        wb.load(functions, function="halve")
    with pytest.raises(wb.OptionError, match="takes function"):
        wb.load(functions, functions="double")
    with pytest.raises(wb.OptionError, match="takes none"):
        wb.load(wb.samples.digits(), function="main")


# pictures


def image_model(folder: Path, layout: str, shape: tuple[int, ...]) -> wb.Model:
    with toolkit.session():
        ct = toolkit.coremltools()
        options = {"inputs": [ct.ImageType(name="x", shape=shape, color_layout=getattr(ct.colorlayout, layout))]}
    return wb.load(
        saved(
            folder / f"{layout}.mlpackage",
            lambda x: toolkit.mil().Builder.identity(x=x, name="y"),
            lambda mb, types: [mb.TensorSpec(shape, types.fp32)],
            **options,
        )
    )


@pytest.mark.parametrize("layout", ["RGB", "BGR", "GRAYSCALE"])
def test_pictures_become_tensors_in_the_colour_layout_of_the_model(layout: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    picture = Image.fromarray(pixels)
    planes = {
        "RGB": pixels.transpose(2, 0, 1),
        "BGR": pixels[..., ::-1].transpose(2, 0, 1),
        "GRAYSCALE": np.asarray(picture.convert("L"))[np.newaxis],
    }[layout]
    model = image_model(tmp_path, layout, (1, len(planes), 4, 5))
    expected = planes[np.newaxis].astype(np.float32)
    np.testing.assert_array_equal(model.run({"x": picture})["y"], expected)
    np.testing.assert_array_equal(model.run({"x": expected})["y"], expected)
    with pytest.raises(wb.ExecutionError, match="shape"):
        model.run({"x": picture.resize((7, 7))})


def test_a_picture_for_an_array_is_refused(functions: Path) -> None:
    with pytest.raises(wb.ExecutionError, match="takes an array, not a picture"):
        wb.load(functions).run({"x": Image.new("L", (3, 1))})


# flexible shapes and optional inputs


def flexible(folder: Path, shape: Callable[[Any], Any], default: Array | None = None) -> wb.Model:
    """``y = x + z`` with ``x`` of the shape that coremltools makes of it."""
    with toolkit.session():
        ct = toolkit.coremltools()
        sizes = shape(ct)
        arguments = {} if default is None else {"default_value": default}
        options = {"inputs": [ct.TensorType(name="x", shape=sizes, **arguments), ct.TensorType(name="z", shape=(1,))]}
        dims = sizes if isinstance(sizes, tuple) else (None, None)
        declared = tuple(size if isinstance(size, int) else toolkit.mil().get_new_symbol() for size in dims)
    return wb.load(
        saved(
            folder / "flexible.mlpackage",
            lambda x, z: toolkit.mil().Builder.add(x=x, y=z, name="y"),
            lambda mb, types: [mb.TensorSpec(declared, types.fp32), mb.TensorSpec((1,), types.fp32)],
            **options,
        )
    )


Z = np.ones(1, np.float32)


def test_a_range_of_sizes_is_enforced(tmp_path: Path) -> None:
    model = flexible(tmp_path, lambda ct: (2, ct.RangeDim(3, 5, 4)))
    for size in (3, 5):
        assert model.run({"x": np.zeros((2, size), np.float32), "z": Z})["y"].shape == (2, size)
    for size in (2, 6):
        with pytest.raises(wb.ExecutionError, match=r"takes \[2, 3 to 5\]"):
            model.run({"x": np.zeros((2, size), np.float32), "z": Z})


def test_enumerated_shapes_are_enforced(tmp_path: Path) -> None:
    model = flexible(tmp_path, lambda ct: ct.EnumeratedShapes([(1, 4), (2, 8)]))
    assert model.run({"x": np.zeros((2, 8), np.float32), "z": Z})["y"].shape == (2, 8)
    with pytest.raises(wb.ExecutionError, match=r"takes \[1, 4\] or \[2, 8\]"):
        model.run({"x": np.zeros((2, 4), np.float32), "z": Z})


def test_an_optional_input_has_its_default(tmp_path: Path) -> None:
    model = flexible(tmp_path, lambda ct: (2, 3), np.full((2, 3), 7, np.float32))
    np.testing.assert_array_equal(model.run({"z": Z})["y"], np.full((2, 3), 8, np.float32))
    with pytest.raises(wb.ExecutionError, match="has no feed"):
        model.run({"x": np.zeros((2, 3), np.float32)})


# float16 taken for float32


def test_a_program_can_be_calculated_in_float32_to_find_faults_of_precision(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        mb = toolkit.mil().Builder
        return mb.log(x=mb.exp(x=mb.add(x=x, y=np.float16(2), name="shifted"), name="exp"), name="log")

    path = saved(tmp_path / "half.mlpackage", build, lambda mb, types: [mb.TensorSpec((3,), types.fp16)])
    half, wide = wb.load(path), wb.load(path, precision="fp32")
    x = np.asarray([0, 1, 10], np.float16)
    assert np.isinf(half.run({"x": x})["log"][2])
    ((name, values),) = wide.run({"x": x}).items()
    assert (name, values.dtype) == ("log", np.float32)
    np.testing.assert_allclose(values, [2, 3, 12], rtol=1e-6)
    report = wb.compare(half, wide, {"x": x})
    failing = [row.layers for row in report.rows if row.status == "failing" and row.blame == "own"]
    assert failing == [("exp",)]
    with pytest.raises(wb.SaveError, match="without precision"):
        wide.save(tmp_path / "wide.mlpackage")
    assert wide.convert("onnx").outputs[0].dtype == "float32"
    with pytest.raises(wb.OptionError, match="'stored' or 'fp32'"):
        wb.load(path, precision="fp64")


# weights


def test_weights_are_read_by_name_compressed_ones_too(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)

    def build(x: Any) -> Any:
        return toolkit.mil().Builder.linear(x=x, weight=weight, name="y")

    path = saved(tmp_path / "w.mlpackage", build, lambda mb, types: [mb.TensorSpec((1, 64), types.fp32)])
    weights = wb.load(path).weights
    (name,) = (name for name in weights if weights[name].shape == weight.shape)
    np.testing.assert_array_equal(weights[name], weight)
    with toolkit.session():
        ct = toolkit.coremltools()
        optimize = toolkit.submodule("optimize.coreml")
        config = optimize.OptimizationConfig(optimize.OpLinearQuantizerConfig(weight_threshold=0))
        small = optimize.linear_quantize_weights(ct.models.MLModel(str(path), skip_model_load=True), config)
        small.save(str(tmp_path / "small.mlpackage"))
    found = wb.load(tmp_path / "small.mlpackage").weights
    decompressed = [array for array in found.values() if array.dtype == np.float32 and array.shape == weight.shape]
    np.testing.assert_allclose(decompressed[0], weight, atol=float(np.abs(weight).max()) / 127)
    assert repr(weights) == f"Weights({len(weights)} tensors)"


def test_the_weights_of_an_onnx_model_are_its_initializers() -> None:
    weights = wb.load(wb.samples.digits()).weights
    assert all(isinstance(array, np.ndarray) for array in weights.values())
    assert len(weights) > 2


def test_a_session_and_the_command_line_know_the_function(functions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from workbench.cli import main
    from workbench.session import Session

    for session in (Session(wb.load(functions, function="negate")), Session()):
        if session.model is None:
            session.open(functions, function="negate")
        assert f"wb.load({str(functions)!r}, function='negate')" in session.code()
    assert main(["inspect", str(functions), "--function", "negate"]) == 0
    assert main(["inspect", str(functions), "--function", "halve"]) == 2
    assert "it has double, negate" in capsys.readouterr().err
