"""Compiled models: what is read of one is what its package says; saved again it is a package."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench as wb
from tests.formats.coreml.miltext import compiled, message_of
from tests.formats.coreml.reading import outcome
from workbench.formats.coreml import FORMAT, toolkit
from workbench.formats.coreml.package import open_package

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(11)
WEIGHT = RNG.normal(size=(8, 12)).astype(np.float32)
KERNEL = RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)
LABELS = ['a "quoted" one', "back\\slash", "two\nlines", "größer", "", "{", "]", "tensor<fp32, []>"]


@dataclass(frozen=True)
class Made:
    """One program of the builder's.

    Attributes:
        build: emits the operations; its parameters are the inputs.
        inputs: the shape of each; an open size is a string.
        release: the iOS release whose operator set is used.
        types: the dtype of the inputs that are not float32; ``state`` is one of float16.
        options: what is passed to coremltools' conversion.
        half: convert to float16.
    """

    name: str
    build: Callable[..., Any]
    inputs: Mapping[str, tuple[int | str, ...]]
    release: int = 15
    types: Mapping[str, str] = field(default_factory=dict)
    options: Callable[[Any], dict[str, Any]] = lambda ct: {}
    half: bool = False

    def __str__(self) -> str:
        return self.name

    def save(self, folder: Path) -> Path:
        """The package."""
        path = folder / f"{self.name}.mlpackage"
        with toolkit.session():
            ct, mil = toolkit.coremltools(), toolkit.mil()
            target = getattr(ct.target, f"iOS{self.release}")
            program = mil.Builder.program(input_specs=self._specs(), opset_version=target)(self.build)
            ct.convert(
                program, convert_to="mlprogram", minimum_deployment_target=target, skip_model_load=True,
                compute_precision=ct.precision.FLOAT16 if self.half else ct.precision.FLOAT32, **self.options(ct),
            ).save(str(path))  # fmt: skip
        return path

    def _specs(self) -> list[Any]:
        mil, types = toolkit.mil(), toolkit.submodule("converters.mil.mil.types")
        found = []
        for name, shape in self.inputs.items():
            sizes = tuple(mil.get_new_symbol(size) if isinstance(size, str) else size for size in shape)
            kind = self.types.get(name, "fp32")
            spec = mil.Builder.StateTensorSpec if kind == "state" else mil.Builder.TensorSpec
            found.append(spec(sizes, getattr(types, "fp16" if kind == "state" else kind)))
        return found


def _mb() -> Any:
    return toolkit.mil().Builder


def _linear(x: Any) -> Any:
    return _mb().linear(x=x, weight=WEIGHT, bias=WEIGHT[:, 0], name="y")


def _convolution(image: Any) -> Any:
    return _mb().relu(x=_mb().conv(x=image, weight=KERNEL, pad_type="same", strides=[2, 1]), name="y")


def _several(x: Any, indices: Any) -> Any:
    parts = _mb().split(x=x, num_splits=3, axis=1)
    taken = _mb().gather(x=parts[2], indices=indices, axis=1)
    values, places = _mb().topk(x=_mb().concat(values=[parts[1], taken, parts[0]], axis=1), k=2, axis=-1)
    return values, _mb().identity(x=places, name="places")


def _numbers(x: Any) -> Any:
    """Constants at the ends of their ranges: an infinity and no number, one below the normal ones, a negative zero."""
    special = np.asarray([np.inf, -np.inf, np.nan, 1e-45, -0.0, 3.4028235e38, 0.1, 1.0], np.float32)
    half = np.asarray([65504, 6e-8, -0.0, 0.1, np.inf, np.nan, 1, 2], np.float16)
    whole = np.asarray([2**31 - 1, -(2**31), 0, 1, 2, 3, 4, -5], np.int32)
    total = _mb().add(x=x, y=special)
    total = _mb().add(x=total, y=_mb().cast(x=_mb().const(val=half), dtype="fp32"))
    return total, _mb().add(x=_mb().cast(x=x, dtype="int32"), y=whole), _mb().identity(x=whole)


def _palette(x: Any) -> Any:
    lut = np.asarray([-1.5, 0.25, 0.5, 3], np.float32)
    weight = _mb().constexpr_lut_to_dense(lut=lut, indices=np.asarray([228, 27, 99], np.uint8), shape=np.uint32([3, 4]))
    return _mb().linear(x=x, weight=weight, name="y")


def _affine(x: Any) -> Any:
    weight = _mb().constexpr_affine_dequantize(
        quantized_data=np.arange(-6, 6, dtype=np.int8).reshape(3, 4), zero_point=np.int8([1, -2, 3]),
        scale=np.float32([0.5, 0.25, 2]), axis=np.int32(0),
    )  # fmt: skip
    mask = np.asarray([0b10110101, 0b00001101], np.uint8)
    sparse = _mb().constexpr_sparse_to_dense(
        nonzero_data=np.arange(8, dtype=np.float32), mask=mask, shape=np.uint32([3, 4])
    )
    return _mb().add(x=_mb().linear(x=x, weight=weight), y=_mb().linear(x=x, weight=sparse), name="y")


def _blockwise(x: Any) -> Any:
    types = toolkit.submodule("converters.mil.mil.types")
    four = types.np_uint4_dtype
    data = np.arange(12).reshape(3, 4).astype(four)
    weight = _mb().constexpr_blockwise_shift_scale(
        data=data, scale=np.asarray([[0.5, 2], [1, 3], [0.25, 1]], np.float32), offset=np.full((3, 2), 3).astype(four)
    )
    lut = RNG.normal(size=(1, 1, 4, 1)).astype(np.float32)
    indices = RNG.integers(0, 4, size=(3, 4)).astype(types.np_uint2_dtype)
    palette = _mb().constexpr_lut_to_dense(indices=indices, lut=lut)
    return _mb().add(x=_mb().linear(x=x, weight=weight), y=_mb().linear(x=x, weight=palette), name="y")


def _branches(x: Any) -> Any:
    positive = _mb().greater(x=_mb().reduce_sum(x=x, axes=[0], keep_dims=False), y=0.0)
    return _mb().cond(
        pred=positive, _true_fn=lambda: _mb().mul(x=x, y=2.0), _false_fn=lambda: _mb().exp(x=x, name="e"), name="y"
    )


def _loop(x: Any) -> Any:
    return _mb().while_loop(
        _cond=lambda total, count: _mb().less(x=_mb().reduce_sum(x=total, axes=[0], keep_dims=False), y=100.0),
        _body=lambda total, count: (_mb().add(x=_mb().mul(x=total, y=total), y=1.0), _mb().add(x=count, y=1)),
        loop_vars=(x, np.int32(0)),
        name="loop",
    )


def _state(x: Any, acc: Any) -> Any:
    after = _mb().coreml_update_state(state=acc, value=_mb().add(x=x, y=_mb().read_state(input=acc)))
    return _mb().mul(x=after, y=np.float16(2), name="twice")


def _recurrent(x: Any) -> Any:
    weights = {"weight_ih": RNG.normal(size=(8, 3)), "weight_hh": RNG.normal(size=(8, 2)), "bias": RNG.normal(size=8)}
    zeros = np.zeros((1, 2), np.float32)
    return _mb().lstm(
        x=x, initial_h=zeros, initial_c=zeros, output_sequence=True, direction="forward", name="lstm",
        **{name: value.astype(np.float32) for name, value in weights.items()},
    )  # fmt: skip


def _probabilities(x: Any) -> Any:
    return _mb().softmax(x=x, axis=-1, name="p")


MADE = [
    Made("linear", _linear, {"x": (2, 12)}),
    Made("convolution in float16", _convolution, {"image": (1, 3, 8, 6)}, release=16, half=True),
    Made("several outputs", _several, {"x": (2, 6), "indices": (3,)}, release=17, types={"indices": "int32"}),
    Made("several outputs in float16", _several, {"x": (2, 6), "indices": (3,)}, release=17,
         types={"x": "fp16", "indices": "int32"}, half=True),
    Made("numbers", _numbers, {"x": (8,)}),
    Made("palette", _palette, {"x": (2, 4)}, release=16),
    Made("affine and sparse", _affine, {"x": (2, 4)}, release=16),
    Made("blocks of four bits", _blockwise, {"x": (2, 4)}, release=18),
    Made("branches", _branches, {"x": (3,)}),
    Made("loop", _loop, {"x": (3,)}, release=17),
    Made("state", _state, {"x": (2,), "acc": (2,)}, release=18, types={"x": "fp16", "acc": "state"}),
    Made("recurrent", _recurrent, {"x": (4, 1, 3)}, release=17),
    Made("a range of shapes", _probabilities, {"x": ("a", 8)},
         options=lambda ct: {"inputs": [ct.TensorType("x", (ct.RangeDim(1, 9, 3), 8))]}),
    Made("some shapes", _probabilities, {"x": ("a", "b")}, release=17,
         options=lambda ct: {"inputs": [ct.TensorType("x", ct.EnumeratedShapes([(1, 8), (4, 8), (2, 6)]))]}),
    Made("pictures", lambda image: _mb().mul(x=image, y=0.5, name="dark"), {"image": (1, 3, 4, 6)},
         options=lambda ct: {"inputs": [ct.ImageType("image", (1, 3, 4, 6), color_layout=ct.colorlayout.BGR)],
                             "outputs": [ct.ImageType("dark", color_layout=ct.colorlayout.RGB)]}),
    Made("classes", _probabilities, {"x": (1, 8)}, release=16,
         options=lambda ct: {"classifier_config": ct.ClassifierConfig(LABELS)}),
]  # fmt: skip


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Made], Path]:
    """The package of a case, made once."""
    found: dict[str, Path] = {}

    def make(case: Made) -> Path:
        if case.name not in found:
            found[case.name] = case.save(tmp_path_factory.mktemp("made"))
        return found[case.name]

    return make


def feeds_of(model: wb.Model) -> dict[str, Array]:
    """Values for every input; an open size is the default one."""
    shapes = model.document.default_shapes  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    found = {}
    for spec in model.inputs:
        shape = shapes.get(spec.name, spec.shape)
        high = 2 if spec.dtype == "int32" else 255
        found[spec.name] = (rng.integers(0, high, size=shape) / (1 if high == 2 else 100)).astype(spec.dtype)
    return found


def check_same(found: wb.Model, wanted: wb.Model) -> None:
    """The same layers, interface and results."""
    assert found.layers == wanted.layers
    assert found.inputs == wanted.inputs
    assert found.outputs == wanted.outputs
    for name in ("interface", "default_shapes", "specification"):
        assert getattr(found.document, name) == getattr(wanted.document, name), name
    feeds = feeds_of(wanted)
    results, expected = found.run(feeds), wanted.run(feeds)
    assert list(results) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(results[name], array, err_msg=name)


@pytest.mark.parametrize("case", MADE, ids=str)
def test_a_compiled_model_is_its_package(case: Made, package: Callable[[Made], Path], tmp_path: Path) -> None:
    wanted = message_of(package(case))
    for style in ("1.0", "1.3"):
        folder = compiled(package(case), tmp_path / f"made{style}.mlmodelc", style)
        found = toolkit.model_pb2().Model.FromString(open_package(folder).spec)
        assert found.description == wanted.description
        for name, function in wanted.mlProgram.functions.items():
            blocks = function.block_specializations, found.mlProgram.functions[name].block_specializations
            assert set(blocks[0]) == set(blocks[1])
            for opset in blocks[0]:  # as bytes: a message with a number that is none is not equal to itself
                assert len({block[opset].SerializeToString(deterministic=True) for block in blocks}) == 1
    check_same(wb.load(folder), wb.load(package(case)))


NAMED = {str(case): case for case in MADE}


@pytest.mark.parametrize("name", ["several outputs in float16", "a range of shapes", "some shapes", "state", "classes"])
def test_without_metadata_the_functions_say_the_interface(
    name: str, package: Callable[[Made], Path], tmp_path: Path
) -> None:
    source = package(NAMED[name])
    found = wb.load(compiled(source, tmp_path / "made.mlmodelc", metadata=False))
    wanted = wb.load(source)
    assert {(spec.name, spec.dtype, spec.shape) for spec in found.inputs} == {
        (spec.name, spec.dtype, spec.shape) for spec in wanted.inputs
    }
    assert found.outputs == wanted.outputs
    assert found.document.default_shapes == wanted.document.default_shapes  # type: ignore[attr-defined]
    shapes = [{feature.name: feature.describe_shapes() for feature in model.document.interface.inputs}  # type: ignore[attr-defined]
              for model in (found, wanted)]  # fmt: skip
    assert shapes[0] == shapes[1]
    feeds = feeds_of(wanted)
    for key, array in wanted.run(feeds).items():
        np.testing.assert_array_equal(found.run(feeds)[key], array)


@pytest.mark.parametrize("metadata", [True, False])
def test_functions_are_chosen_by_name(metadata: bool, tmp_path: Path) -> None:
    factors = {"double": 2.0, "negate": -1.0}
    for name, factor in factors.items():
        Made(name, lambda x: _mb().mul(x=x, y=np.float32(factor), name="y"), {"x": (3,)}, 18).save(tmp_path)  # noqa: B023
    with toolkit.session():
        utils = toolkit.coremltools().utils
        description = utils.MultiFunctionDescriptor()
        for name in factors:
            description.add_function(str(tmp_path / f"{name}.mlpackage"), "main", name)
        description.default_function_name = "negate"
        utils.save_multifunction(description, str(tmp_path / "both.mlpackage"))
    folder = compiled(tmp_path / "both.mlpackage", tmp_path / "both.mlmodelc", metadata=metadata)
    x = np.arange(3, dtype=np.float32)
    for name, factor in {**factors, "": -1.0 if metadata else 2.0}.items():  # the default is in the metadata only
        model = wb.load(folder, function=name) if name else wb.load(folder)
        np.testing.assert_array_equal(model.run({"x": x})["y"], factor * x)


@pytest.mark.parametrize("name", ["linear", "palette", "loop", "state", "some shapes", "classes"])
def test_saved_as_a_package_coremltools_reads_it(name: str, package: Callable[[Made], Path], tmp_path: Path) -> None:
    folder = compiled(package(NAMED[name]), tmp_path / "made.mlmodelc", "1.0")
    with pytest.raises(wb.SaveError, match=r"only Apple's coremlc compiles"):
        wb.load(folder).save(tmp_path / "again.mlmodelc")
    wb.load(folder).save(tmp_path / "again.mlpackage")
    with toolkit.session():
        model = toolkit.coremltools().models.MLModel(str(tmp_path / "again.mlpackage"), skip_model_load=True)
        load = toolkit.submodule("converters.mil.frontend.milproto.load").load
        program = load(model.get_spec(), model.get_spec().specificationVersion, model.weights_dir)
    assert list(program.functions) == ["main"]
    assert model.get_spec().description == message_of(package(NAMED[name])).description
    check_same(wb.load(tmp_path / "again.mlpackage"), wb.load(folder))


@pytest.mark.parametrize("below", ["", "made.mlmodelc/", "models/made.mlmodelc/"])
def test_zipped(below: str, package: Callable[[Made], Path], tmp_path: Path) -> None:
    folder = compiled(package(NAMED["linear"]), tmp_path / "made.mlmodelc")
    (folder / "analytics").mkdir()
    (folder / "analytics/coremldata.bin").write_bytes(b"of no use here")
    archive = tmp_path / "made.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for file in sorted(folder.rglob("*")):
            out.write(file, below + file.relative_to(folder).as_posix())
    assert FORMAT.claims(archive)
    check_same(wb.load(archive), wb.load(folder))


@pytest.mark.parametrize("name", ["numbers", "loop", "some shapes"])
def test_mutated_texts_raise_typed_errors_only(name: str, package: Callable[[Made], Path], tmp_path: Path) -> None:
    """80 texts of each with a few bytes changed, lost or doubled: read, or refused with one of our own errors."""
    folder = compiled(package(NAMED[name]), tmp_path / "made.mlmodelc", metadata=False)
    original = (folder / "model.mil").read_bytes()
    rng = np.random.default_rng(7)
    outcomes = set()
    for _ in range(80):
        (folder / "model.mil").write_bytes(mutated(original, rng))
        outcomes.add(outcome(folder))
    assert {"read", "ModelError"} <= outcomes


def mutated(original: bytes, rng: np.random.Generator) -> bytes:
    """The text with one to three spots changed."""
    data = bytearray(original)
    for _ in range(rng.integers(1, 4)):
        place, length = int(rng.integers(0, len(data))), int(rng.integers(1, 12))
        kind = rng.integers(0, 3)
        if kind == 0:
            data[place] = int(rng.integers(0, 256)) if rng.integers(0, 2) else int(rng.choice(list(b'()[]{}<>,;="0x-')))
        elif kind == 1:
            del data[place : place + length]
        else:
            data[place:place] = data[place : place + length]
    return bytes(data)
