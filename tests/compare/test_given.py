"""What a user may hand over as feeds, and the random ones that fit a model's first layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import workbench as wb
from tests.compare.support import build, source
from workbench.compare import Images, compare
from workbench.compare.feeds import Feeder
from workbench.compare.given import samples_of
from workbench.compare.match import match
from workbench.errors import ExecutionError, OptionError
from workbench.hub import Emitter
from workbench.model import Model

X = np.arange(8, dtype=np.float32).reshape(2, 4)


def doubled(emitter: Emitter) -> list[Any]:
    x = emitter.input("x", "float32", ["n", 4])
    with emitter.layer(["double"]):
        return [emitter.rename(emitter.op("Add", x, x), "y")]


def joined(emitter: Emitter) -> list[Any]:
    inputs = [emitter.input(name, "float32", [2, 4]) for name in "ab"]
    with emitter.layer(["join"]):
        return [emitter.rename(emitter.op("Add", *inputs), "y")]


def _folder(path: Path) -> Path:
    (path / "some").mkdir()
    for index in (1, 0, 2):
        np.save(path / "some" / f"{index}.npy", X + index)
    return path / "some"


def _file(path: Path) -> Path:
    np.save(path / "x.npy", X)
    return path / "x.npy"


def _batches() -> Iterator[Any]:
    yield X
    yield {"x": X}
    yield (X,)


@dataclass(frozen=True)
class Case:
    name: str
    give: Callable[[Path], Any]
    samples: int = 1

    def __str__(self) -> str:
        return self.name


GIVEN = [
    Case("mapping", lambda path: {"x": X}),
    Case("array of the only input", lambda path: X),
    Case("list of mappings", lambda path: [{"x": X}, {"x": X + 1}], 2),
    Case("iterator of arrays, mappings and tuples", lambda path: _batches(), 3),
    Case("function that returns a sample", lambda path: lambda: {"x": X}),
    Case("generator function", lambda path: _batches, 3),
    Case("npy file", _file),
    Case("npy file by its text", lambda path: str(_file(path))),
    Case("folder of npy files", _folder, 3),
    Case("range of samples whose number is not known", lambda path: ({"x": X + i} for i in range(4)), 4),
]


@pytest.mark.parametrize("case", GIVEN, ids=str)
def test_everything_that_may_be_given(case: Case, tmp_path: Path) -> None:
    model = source(build(doubled))
    report = compare(model, model, feeds=case.give(tmp_path))
    assert report.ok
    assert report.samples == case.samples
    assert report.rows[0].shape == (2, 4)


def test_a_folder_is_taken_in_the_order_of_its_names(tmp_path: Path) -> None:
    model = source(build(doubled))
    samples, count = samples_of(_folder(tmp_path), model.inputs, model.document)
    assert count == 3
    assert [float(sample["x"][0, 0]) for sample in samples] == [0, 1, 2]


def test_a_sample_that_does_not_fit_is_named_by_its_file(tmp_path: Path) -> None:
    model = source(build(doubled))
    folder = _folder(tmp_path)
    np.save(folder / "1.npy", X.astype(np.float64))
    with pytest.raises(ExecutionError, match=r"1\.npy: the feeds do not fit the model: the feed 'x' is float64"):
        compare(model, model, feeds=folder)


def test_tensors_of_other_libraries_are_arrays() -> None:
    torch = pytest.importorskip("torch")
    model = source(build(joined))
    loader = [(torch.from_numpy(X), torch.from_numpy(X))]
    assert compare(model, model, feeds=loader).ok


def _raise() -> Any:
    raise KeyError("no data")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "3 is no feed"),
        (X, "of type ndarray without a name, but the inputs are a: float32"),
        ([(X,)], "a sample has 1 array, the inputs are a: float32"),
        (_raise, "the function raised KeyError"),
        ([3], "of type int without a name"),
    ],
)
def test_what_is_no_feed_is_named(given: Any, message: str) -> None:
    model = source(build(joined))
    with pytest.raises(ExecutionError, match=message):
        compare(model, model, feeds=given)


def _stopping() -> Iterator[Any]:
    yield {"x": X}
    raise RuntimeError("the disk is gone")


def _made(name: str, *files: str) -> Callable[[Path], Path]:
    """A folder with empty files, or a file that is not there."""

    def make(path: Path) -> Path:
        if files:
            (path / name).mkdir()
            for file in files:
                (path / name / file).touch()
        return path / name

    return make


def _archive(path: Path, **arrays: Any) -> Path:
    np.savez(path / "samples.npz", **arrays)
    return path / "samples.npz"


WRONG: list[tuple[str, Callable[[Path], Any], str]] = [
    (
        "missing file",
        _made("no.npz"),
        r"no\.npz: no such file or folder; numpy\.savez\(path, \*\*\{'x': array\}\)",
    ),
    ("missing picture", _made("no.png"), r"no\.png: no such file or folder; numpy\.savez"),
    ("file of a near name", lambda path: _archive(path, x=X).with_name("sample.npz"), r"did you mean 'samples\.npz'\?"),
    ("missing folder", lambda path: path / "no" / "x.npz", r"x\.npz: no such .* \(there is no folder '.*no'\)"),
    ("empty path", lambda path: "", "the path is empty; numpy.savez"),
    ("folder without samples", _made("texts", "a.txt"), "no pictures, .npz or .npy files are in it .* give a folder"),
    ("folder of two kinds", _made("both", "a.npy", "b.png"), r"pictures and arrays.*wb\.Images\(folder\)"),
    ("missing pictures", lambda path: Images(path / "no"), "no such file or folder; give one picture or a folder"),
    (
        "another name",
        lambda path: _archive(path, y=X),
        r"samples\.npz.*neither model has an input 'y'.*takes x: fl",
    ),
    ("a name nearly right", lambda path: {"xx": X}, "Did you mean 'x'"),
    ("no name", lambda path: _archive(path), r"nothing is known for the input x.*add it to the feeds: \{'x': array\}"),
    ("objects", lambda path: _archive(path, x=np.array([{}])), "holds Python objects, which are not read, since"),
    ("texts", lambda path: {"x": np.array(["a"])}, "'x' is text, the input takes float32; the feed"),
    ("nothing", lambda path: {"x": None}, "'x' is made of Python objects, the input takes float32; the feed"),
    ("second sample", lambda path: [{"x": X}, {"x": X[:, 1:]}], r"sample 1 \(counted from 0\).*has the shape \[2, 3\]"),
    ("iterator that fails", lambda path: _stopping(), "after 1 samples what gives them raised RuntimeError: the disk"),
]


@pytest.mark.parametrize(("give", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_what_is_wrong_is_said_with_its_place_and_a_way_out(
    give: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    model = source(build(doubled))
    with pytest.raises(ExecutionError, match=message):
        compare(model, model, feeds=give(tmp_path))


def test_nan_in_the_feeds_is_noted() -> None:
    model = source(build(doubled))
    notes = compare(model, model, feeds={"x": X * np.float32("nan")}).notes
    assert any("the feed 'x' has NaN" in note for note in notes)
    assert not any("NaN" in note for note in compare(model, model, feeds={"x": X}).notes)


def test_a_lone_array_needs_a_lone_input(tmp_path: Path) -> None:
    model = source(build(joined))
    with pytest.raises(ExecutionError, match=r"x\.npy: one array without a name"):
        compare(model, model, feeds=_file(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExecutionError, match="no pictures"):
        compare(model, model, feeds=tmp_path / "empty")


# -- pictures -----------------------------------------------------------------------------------------------------


def pictured(shape: list[int | str], dtype: str = "float32") -> Model:
    def emit(emitter: Emitter) -> list[Any]:
        x = emitter.input("photo", dtype, shape)
        with emitter.layer(["same"]):
            return [emitter.rename(emitter.op("Identity", x), "y")]

    return source(build(emit))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, name in enumerate(["b.png", "a.jpg", "c.bmp"]):
        pixels = np.zeros((4, 6, 3), np.uint8)
        pixels[..., 0], pixels[..., 2] = 255, 51 * index
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


LAYOUTS = [
    ([1, 3, 4, 6], "float32", (1, 3, 4, 6), 1.0),
    ([1, 4, 6, 3], "float32", (1, 4, 6, 3), 1.0),
    ([4, 6, 3], "uint8", (4, 6, 3), 255),
    (["n", 3, "h", "w"], "float16", (1, 3, 4, 6), 1.0),
    ([1, 1, 4, 6], "float32", (1, 1, 4, 6), 0.299),
]


@pytest.mark.parametrize(("shape", "dtype", "expected", "red"), LAYOUTS)
def test_pictures_come_in_the_inputs_layout(shape: Any, dtype: str, expected: Any, red: float, photos: Path) -> None:
    model = pictured(shape, dtype)
    samples, count = samples_of(photos, model.inputs, model.document)
    found = [sample["photo"] for sample in samples]
    assert count == len(found) == 3
    assert {(array.shape, array.dtype.name) for array in found} == {(expected, dtype)}
    assert float(found[1].reshape(-1)[0]) == pytest.approx(red, abs=0.01)
    assert compare(model, model, feeds=photos).samples == 3


def test_pictures_of_another_size_are_refused_until_resizing_is_asked_for(photos: Path) -> None:
    model = pictured([1, 3, 8, 8])
    with pytest.raises(ExecutionError, match=r"4 pixels high and 6 wide.*size=\(8, 8\)"):
        compare(model, model, feeds=photos)
    assert compare(model, model, feeds=Images(photos, size=(8, 8))).samples == 3


def test_scale_bias_and_colours_are_the_users(photos: Path) -> None:
    model = pictured([1, 3, 4, 6])
    images = Images(photos / "b.png", scale=(1, 2, 3), bias=-1.0, colours="BGR")
    samples, count = samples_of(images, model.inputs, model.document)
    pixels = next(iter(samples))["photo"]
    assert count == 1
    assert pixels[0, :, 0, 0].tolist() == [-1, -1, 3 * 255 - 1]
    with pytest.raises(OptionError, match="RGB"):
        Images(photos, colours="HSV")
    with pytest.raises(ExecutionError, match="takes 0 to 255"):
        compare(pictured([1, 3, 4, 6], "uint8"), pictured([1, 3, 4, 6], "uint8"), feeds=Images(photos, bias=9))


def test_pictures_need_an_input_that_takes_them(photos: Path) -> None:
    model = source(build(joined))
    with pytest.raises(ExecutionError, match="none can take pictures"):
        compare(model, model, feeds=photos)
    (photos / "broken.png").write_bytes(b"no picture")
    picture = pictured([1, 3, 4, 6])
    with pytest.raises(ExecutionError, match=r"broken\.png: cannot be read as a picture"):
        compare(picture, picture, feeds=photos)


def test_a_model_that_takes_pictures_gets_them_as_they_are(tmp_path: Path) -> None:
    digits = wb.load(wb.samples.digits())
    options = {"images": {"image": {"colours": "GRAYSCALE", "scale": 1 / 16}}, "shapes": {"image": (1, 1, 8, 8)}}
    package = digits.convert("coreml", **options)
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "digit.png")
    report = compare(package, package, feeds=tmp_path)
    assert report.ok
    with pytest.raises(OptionError, match="the model's own"):
        compare(package, package, feeds=Images(tmp_path, scale=2.0))


# -- random -------------------------------------------------------------------------------------------------------

TABLE = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)


def _model(nodes: list[Any], inputs: list[Any], constants: dict[str, Any], output: Any = None) -> Model:
    graph = helper.make_graph(
        nodes,
        "g",
        inputs,
        [output or helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return wb.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def _info(name: str, kind: int, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _random(model: Model) -> dict[str, np.ndarray[Any, Any]]:
    return Feeder(model, model, match(model, model)).random().reference


IDS = _info("ids", TensorProto.INT64, [400])


def test_token_ids_cover_the_table_and_no_more() -> None:
    nodes = [
        helper.make_node("Unsqueeze", ["ids", "axis"], ["u"]),
        helper.make_node("Cast", ["u"], ["c"], to=TensorProto.INT32),
        helper.make_node("Gather", ["table", "c"], ["y"]),
    ]
    ids = _random(_model(nodes, [IDS], {"table": TABLE, "axis": np.array([0])}))["ids"]
    assert ids.min() >= 0
    assert 40 <= ids.max() < 50


def test_an_offset_before_the_table_is_counted_in() -> None:
    nodes = [helper.make_node("Add", ["ids", "two"], ["p"]), helper.make_node("Gather", ["table", "p"], ["y"])]
    model = _model(nodes, [IDS], {"table": TABLE, "two": np.int64(2)})
    ids = _random(model)["ids"]
    assert ids.min() >= -2
    assert ids.max() < 48
    assert compare(model, model).ok


def test_a_sampling_rate_is_one_that_the_model_knows() -> None:
    nodes = [
        helper.make_node("Equal", ["sr", "high"], ["h"]),
        helper.make_node("Equal", ["sr", "low"], ["l"]),
        helper.make_node("Or", ["h", "l"], ["y"]),
    ]
    constants = {"high": np.int64(16000), "low": np.int64(8000)}
    output = _info("y", TensorProto.BOOL, [])
    model = _model(nodes, [_info("sr", TensorProto.INT64, [])], constants, output)
    assert int(_random(model)["sr"]) in (8000, 16000)


def test_masks_show_the_beginning_of_each_row() -> None:
    nodes = [helper.make_node("Cast", ["attention_mask"], ["y"], to=TensorProto.FLOAT)]
    mask = _random(_model(nodes, [_info("attention_mask", TensorProto.INT64, [3, 10])], {}))["attention_mask"]
    assert (mask[:, :5] == 1).all()
    assert (np.diff(mask, axis=1) <= 0).all()


def test_lengths_of_sequences_are_within_the_sequence() -> None:
    nodes = [helper.make_node("ReverseSequence", ["x", "lengths"], ["y"], time_axis=0, batch_axis=1)]
    inputs = [_info("x", TensorProto.FLOAT, [5, 200]), _info("lengths", TensorProto.INT64, [200])]
    lengths = _random(_model(nodes, inputs, {}))["lengths"]
    assert set(np.unique(lengths)) == {1, 2, 3, 4, 5}


def test_one_hot_depth_bounds_the_classes() -> None:
    nodes = [helper.make_node("OneHot", ["ids", "depth", "values"], ["y"])]
    constants = {"depth": np.int64(3), "values": np.array([0, 1], np.float32)}
    assert set(np.unique(_random(_model(nodes, [IDS], constants))["ids"])) == {0, 1, 2}


def test_onnx_is_not_changed_by_looking(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gather", ["table", "ids"], ["y"])]
    model = _model(nodes, [IDS], {"table": TABLE})
    model.save(tmp_path / "before.onnx")
    _random(model)
    model.save(tmp_path / "after.onnx")
    assert (tmp_path / "before.onnx").read_bytes() == (tmp_path / "after.onnx").read_bytes()
    assert onnx.load(tmp_path / "after.onnx").graph.node[0].op_type == "Gather"
