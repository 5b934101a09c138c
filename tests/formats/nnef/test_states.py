"""Variables that a graph updates: inputs and outputs of the model, which begin with what the file holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.formats.nnef import khronos
from workbench import Model, ModelError, OptionError, StateWarning, compare, load
from workbench.formats.nnef.tensors import write_tensor
from workbench.hub.on_disk import OnDisk

Array = NDArray[Any]

SWAP = """version 1.0;
graph swap(a) -> (y)
{
    a = external<scalar>(shape = [2]);
    x = variable<scalar>(shape = [2], label = 'x');
    z = variable<scalar>(shape = [2], label = 'z');
    new_x = update(x, z);
    new_z = update(z, x);
    y = add(a, new_x);
}
"""
X, Z = np.asarray([1.0, 2.0], np.float32), np.asarray([10.0, 20.0], np.float32)


def model(folder: Path, text: str = SWAP) -> Model:
    folder.mkdir()
    (folder / "graph.nnef").write_text(text)
    for name, array in (("x", X), ("z", Z)):
        write_tensor(folder / f"{name}.dat", array)
    return load(folder)


def test_variables_that_are_updated_are_states(tmp_path: Path) -> None:
    """The example of the specification: two variables change their places."""
    swap = model(tmp_path / "m")
    assert swap.states == {"x": "x_out", "z": "z_out"}
    assert [spec.name for spec in swap.inputs] == ["a", "x", "z"]
    assert [spec.name for spec in swap.outputs] == ["y", "x_out", "z_out"]
    a = np.asarray([0.5, 0.5], np.float32)
    once = swap.run({"a": a})
    np.testing.assert_array_equal(once["y"], a + Z)
    np.testing.assert_array_equal(once["x_out"], Z)
    np.testing.assert_array_equal(once["z_out"], X)


def test_a_state_is_carried_from_run_to_run(tmp_path: Path) -> None:
    swap = model(tmp_path / "m")
    state = swap.new_state()
    a = np.zeros(2, np.float32)
    for expected in (Z, X, Z, X):
        results = swap.run({"a": a}, state=state)
        assert list(results) == ["y"]
        np.testing.assert_array_equal(results["y"], expected)
    np.testing.assert_array_equal(swap.new_state()["x"], X)


def test_the_result_of_an_update_may_be_an_output_and_names_are_not_taken_twice(tmp_path: Path) -> None:
    text = SWAP.replace("-> (y)", "-> (new_x)").replace("y = add(a, new_x)", "x_out = add(a, new_x)")
    swap = model(tmp_path / "m", text)
    assert swap.states == {"x": "x_out_", "z": "z_out"}
    results = swap.run({"a": X})
    np.testing.assert_array_equal(results["new_x"], Z)
    np.testing.assert_array_equal(results["x_out_"], Z)


FORMS: dict[str, dict[str, Any]] = {"onnx": {}, "nnef": {}, "tract": {"dialect": "tract"}, "coreml": {}}
SUFFIXES = {"onnx": ".onnx", "nnef": ".nnef", "tract": ".nnef.tgz", "coreml": ".mlpackage"}


@pytest.fixture(autouse=True)
def _nothing_is_lost_without_a_word(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    """A state whose beginning is lost is expected where a test says so."""
    yield
    assert not [entry for entry in recwarn if issubclass(entry.category, StateWarning)]


def converted(source: Model, form: str, folder: Path, **options: Any) -> Model:
    """Through a file, so that nothing is remembered but what it says."""
    target = "nnef" if form == "tract" else form
    return load(source.convert(target, **FORMS[form], **options).save(folder / f"made{SUFFIXES[form]}"))


@pytest.mark.parametrize("form", FORMS)
def test_a_converted_state_is_an_input_and_an_output(form: str, tmp_path: Path) -> None:
    """In every format, whether or not it has states of its own."""
    if form == "coreml":
        pytest.importorskip("coremltools")
    swap = model(tmp_path / "m")
    lost: Any = pytest.warns(StateWarning, match="'x', 'z'") if form in ("tract", "coreml") else nullcontext()
    with lost:
        made = converted(swap, form, tmp_path)
    assert sorted(spec.name for spec in made.inputs) == ["a", "x", "z"]
    assert compare(swap, made).ok
    np.testing.assert_array_equal(made.run({"a": X, "x": X, "z": Z})["z_out"], X)
    assert made.states == ({"x": "x_out", "z": "z_out"} if form in ("onnx", "nnef") else {})


SGD = """version 1.0;
graph sgd(x, t) -> (loss)
{
    x = external<scalar>(shape = [4, 3]);
    t = external<scalar>(shape = [4, 2]);
    m = variable<scalar>(shape = [2, 3], label = 'slots/momentum');
    w = variable<scalar>(shape = [2, 3], label = 'dense.0/kernel');
    f = variable<scalar>(shape = [1, 2], label = 'dense.0/bias');
    n = variable<integer>(shape = [1], label = 'step');
    b = variable<logical>(shape = [1], label = 'seen');
    p = matmul(x, w, transposeB = true);
    q = add(p, f);
    e = sub(q, t);
    s = sqr(e);
    loss = mean_reduce(s, axes = [0, 1]);
    g = matmul(e, x, transposeA = true);
    k = mul(m, 0.5);
    v = add(k, g);
    m_new = update(m, v);
    d = mul(m_new, 0.125);
    r = sub(w, d);
    w_new = update(w, r);
    n_new = update(n, n);
    b_new = update(b, b);
}
"""
STATES = {name: f"{name}_out" for name in "mwnb"}
LABELS = {"m": "slots/momentum", "w": "dense.0/kernel", "n": "step", "b": "seen"}


def training(folder: Path) -> Model:
    """A step of gradient descent with momentum: labels that are no identifiers, one variable that is not trained."""
    folder.mkdir()
    (folder / "graph.nnef").write_text(SGD)
    (folder / "slots").mkdir()
    (folder / "dense.0").mkdir()
    random = np.random.default_rng(7)
    for label, shape in (("slots/momentum", (2, 3)), ("dense.0/kernel", (2, 3)), ("dense.0/bias", (1, 2))):
        write_tensor(folder / f"{label}.dat", random.integers(-8, 9, shape).astype(np.float32) / 4)
    write_tensor(folder / "step.dat", np.asarray([2**40 + 1]))
    write_tensor(folder / "seen.dat", np.asarray([True]))
    return load(folder)


def batches(count: int) -> list[dict[str, Array]]:
    random = np.random.default_rng(8)
    return [
        {"x": random.normal(size=(4, 3)).astype(np.float32), "t": random.normal(size=(4, 2)).astype(np.float32)}
        for _ in range(count)
    ]


def labels(found: Model) -> dict[str, str]:
    """Variable → its label."""
    return {name: variable.label for name, variable in found.document.contents.variables.items()}  # type: ignore[attr-defined]


def text(found: Model) -> str:
    written: str = found.document.contents.text  # type: ignore[attr-defined]
    return written


ROUTES = {"nnef": (), "onnx": ("onnx",), "onnx, onnx": ("onnx", "onnx"), "nnef, onnx": ("nnef", "onnx")}


@pytest.mark.parametrize("route", ROUTES)
def test_training_is_not_lost(route: str, tmp_path: Path) -> None:
    """Updates, what the variables begin with, and their labels; and the training goes the same way from there."""
    source = on = training(tmp_path / "m")
    for step, form in enumerate((*ROUTES[route], "nnef")):
        (tmp_path / str(step)).mkdir()
        on = converted(on, form, tmp_path / str(step))
        assert on.states == STATES
        for name, start in source.new_state().items():
            np.testing.assert_array_equal(on.new_state()[name], start, strict=True)
    assert text(on).count(" = update(") == 4
    assert {name: labels(on)[name] for name in LABELS} == LABELS
    assert "dense.0/bias" in labels(on).values()
    assert compare(source, on).ok
    one, other = source.new_state(), on.new_state()
    for batch in batches(3):
        np.testing.assert_array_equal(on.run(batch, state=other)["loss"], source.run(batch, state=one)["loss"])
    for name in STATES:
        np.testing.assert_array_equal(other[name], one[name])
    assert not np.array_equal(one["w"], source.new_state()["w"])


def test_what_was_written_once_is_written_the_same_again(tmp_path: Path) -> None:
    """From NNEF, from what that gave, and through ONNX: the same text, and the same bytes in the archive."""
    source = training(tmp_path / "m")
    first = source.convert("nnef")
    assert text(first.convert("nnef")) == text(first)
    through = converted(source, "onnx", tmp_path).convert("nnef")
    assert text(through) == text(first).replace("f = var", "dense_0_bias = var").replace(" f)", " dense_0_bias)")
    one, other = (source.convert("nnef").save(tmp_path / f"{name}.nnef.tgz").read_bytes() for name in "ab")
    assert one == other
    assert labels(source)["w"] == "dense.0/kernel"  # which writing ONNX, where it has another name, leaves alone
    assert text(source.convert("nnef")) == text(first)


def test_every_layer_is_followed_through_an_update(tmp_path: Path) -> None:
    source = training(tmp_path / "m")
    report = compare(source, source.convert("nnef"))
    assert report.ok
    assert {row.tensor for row in report.rows if row.status != "ok"} == set()
    made = {row.tensor: row.target_tensor for row in report.rows}
    assert {made[f"{name}_new"] for name in "mwnb"} == {f"{name}_updated" for name in "mwnb"}


def test_others_run_the_onnx_model_without_feeding_the_state(tmp_path: Path) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    source = training(tmp_path / "m")
    path = source.convert("onnx").save(tmp_path / "m.onnx")
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path))
    assert {given.name for given in session.get_inputs()} == {"x", "t"}
    (batch,) = batches(1)
    names = [given.name for given in session.get_outputs()]
    for name, found in zip(names, session.run(None, batch), strict=True):
        np.testing.assert_array_equal(found, source.run(batch)[name])


@pytest.mark.parametrize(
    "record",
    ["7", "{", "[1]", '{"x": 1}', '{"x": ["y"]}', '{"nothing": ["z_out", null]}', '{"a": ["nothing", null]}', "{}"],
)
def test_a_record_of_states_that_is_not_true_is_not_believed(record: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = model(tmp_path / "m").convert("onnx").save(tmp_path / "m.onnx")
    proto = onnx.load(str(path))
    for entry in proto.metadata_props:
        if entry.key == "workbench.states":
            entry.value = record
    made = load(proto)
    assert made.states == {}
    assert [spec.name for spec in made.inputs] == ["a"]  # the others have values
    np.testing.assert_array_equal(made.run({"a": X})["y"], X + Z)


@pytest.mark.parametrize("start", [np.zeros(3, np.float32), np.zeros(2, np.int64)])
def test_a_default_of_another_type_is_no_start(start: Array, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    proto = onnx.load(str(model(tmp_path / "m").convert("onnx").save(tmp_path / "m.onnx")))
    for tensor in proto.graph.initializer:
        if tensor.name == "x":
            tensor.CopyFrom(onnx.numpy_helper.from_array(start, "x"))
    assert load(proto).states == {"z": "z_out"}


def test_a_state_with_a_value_for_good_is_a_constant(tmp_path: Path) -> None:
    swap = model(tmp_path / "m")
    made = swap.convert("nnef", constants={"x": X})
    assert made.states == {"z": "z_out"}
    np.testing.assert_array_equal(made.run({"a": X})["z_out"], X)


def test_large_variables_stay_in_their_files(tmp_path: Path) -> None:
    """Beyond the size from which an ONNX file is walked: what a state begins with is copied from file to file."""
    count = 2_200_000
    (tmp_path / "m" / "deep").mkdir(parents=True)
    (tmp_path / "m" / "graph.nnef").write_text(f"""version 1.0;
graph large(x) -> (y)
{{
    x = external<scalar>(shape = [{count}]);
    w = variable<scalar>(shape = [{count}], label = 'deep/w');
    y = add(x, w);
    n = update(w, y);
}}
""")
    write_tensor(tmp_path / "m" / "deep" / "w.dat", np.random.default_rng(9).normal(size=count).astype(np.float32))
    through = converted(load(tmp_path / "m"), "onnx", tmp_path)
    assert type(through.document.start("w")) is OnDisk
    made = converted(through, "nnef", tmp_path)
    assert labels(made) == {"w": "deep/w"}
    one, other = (tmp_path / folder / "deep" / "w.dat" for folder in ("m", "made.nnef"))
    assert one.read_bytes() == other.read_bytes()
    again = through.save(tmp_path / "again.onnx")
    assert again.read_bytes() == (tmp_path / "made.onnx").read_bytes()


def test_a_model_of_nothing_but_states_has_no_input(tmp_path: Path) -> None:
    counter = """version 1.0;
graph count(a) -> (y)
{
    a = external<scalar>(shape = [2]);
    x = variable<scalar>(shape = [2], label = 'x');
    y = add(x, 1.0);
    n = update(x, y);
}
"""
    source = model(tmp_path / "m", counter)
    made = load(source.convert("nnef", constants={"a": X}).save(tmp_path / "made.nnef"))
    assert [spec.name for spec in made.inputs] == ["x"]
    state = made.new_state()
    for count in (1, 2, 3):
        np.testing.assert_array_equal(made.run({}, state=state)["y"], X + count)


def test_a_state_of_core_ml_begins_with_zeros(tmp_path: Path) -> None:
    pytest.importorskip("coremltools")
    source = training(tmp_path / "m")
    with pytest.raises(OptionError, match="'w' begins with numbers that the model holds"):
        source.convert("coreml", states={"w": "w_out"}, target="iOS18")


def test_a_saved_model_keeps_its_variables(tmp_path: Path) -> None:
    again = load(model(tmp_path / "m").save(tmp_path / "again.nnef"))
    assert again.states == {"x": "x_out", "z": "z_out"}
    np.testing.assert_array_equal(again.new_state()["z"], Z)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("new_z = update(x, x);", "'x' is updated a second time"),
        ("new_z = update(new_x, x);", "'new_x' is no variable"),
        ("new_z = update(a, x);", "'a' is no variable"),
    ],
)
def test_what_cannot_be_updated_is_an_error_with_its_line(line: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"graph\.nnef:8.*{words}"):
        model(tmp_path / "m", SWAP.replace("new_z = update(z, x);", line))


def test_khronos_parser_takes_it(tmp_path: Path) -> None:
    model(tmp_path / "m")
    (found,) = khronos.parse([{"path": str(tmp_path / "m"), "shapes": True}])
    assert "error" not in found, found
