"""NNEF models as documents: interface, layers, record of origin, containment, writing; and the way back to NNEF."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.formats.nnef import interpreter, khronos
from tests.formats.nnef.test_operations import CASES, REFUSED, write_case
from tests.real_models import ONNX, RealModel
from workbench import ConversionError, LimitError, ModelError, OptionError, load
from workbench.formats import format_of
from workbench.formats.nnef.tensors import write_tensor

TEXT = """version 1.0;
graph net(x) -> (y, z)
{
    x = external<scalar>(shape = [1, 3, 4, 4]);
    w = variable<scalar>(shape = [2, 3, 1, 1], label = 'block/conv.weight');
    c = conv(x, w, 0.5);
    y = relu(c);
    z = argmax_reduce(y, axes = [1]);
}
"""


def model_folder(root: Path, text: str = TEXT, label: str = "block/conv.weight") -> Path:
    root.mkdir(parents=True)
    (root / "graph.nnef").write_text(text)
    target = root / f"{label}.dat"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_tensor(target, np.random.default_rng(5).normal(size=(2, 3, 1, 1)).astype(np.float32))
    return root


def feeds() -> dict[str, Any]:
    return {"x": np.random.default_rng(6).normal(size=(1, 3, 4, 4)).astype(np.float32)}


def test_interface_and_layers(tmp_path: Path) -> None:
    model = load(model_folder(tmp_path / "m"))
    assert model.format == "nnef"
    assert [str(spec) for spec in model.inputs] == ["x: float32[1, 3, 4, 4]"]
    assert [str(spec) for spec in model.outputs] == ["y: float32[1, 2, 4, 4]", "z: int64[1, 1, 4, 4]"]
    assert [(layer.name, layer.operator, layer.parameters) for layer in model.layers] == [
        ("c", "conv", 6),
        ("y", "relu", 0),
        ("z", "argmax_reduce", 0),
    ]
    assert model.layers[0].attributes["groups"] == 1
    assert list(model.run(feeds(), taps="all")) == ["y", "z", "c"]


@pytest.mark.parametrize("form", ["folder", "graph.nnef", ".tgz", ".zip", ".tar"])
def test_every_form_is_recognised(form: str, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    path = {"folder": folder, "graph.nnef": folder / "graph.nnef"}.get(form)
    if path is None:
        path = load(folder).save(tmp_path / f"packed{form}")
        path = path.rename(tmp_path / "no_suffix")
    assert format_of(path).name == "nnef"
    np.testing.assert_array_equal(load(path).run(feeds())["y"], load(folder).run(feeds())["y"])


def test_an_archive_outlives_the_model_that_was_read_from_it(tmp_path: Path) -> None:
    expected = load(model_folder(tmp_path / "m")).run(feeds())
    packed = load(tmp_path / "m").save(tmp_path / "m.tgz")
    converted = load(packed).convert("onnx")
    gc.collect()
    for mine, other in zip(converted.run(feeds()).values(), expected.values(), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_written_files_are_the_same_in_every_process(tmp_path: Path) -> None:
    model_folder(tmp_path / "m")
    script = (
        "import sys, workbench as wb; m = wb.load(sys.argv[1]).convert('onnx').convert('nnef'); "
        "m.save(sys.argv[2] + '.tgz'); m.save(sys.argv[2] + '.zip')"
    )
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        arguments = [sys.executable, "-c", script, str(tmp_path / "m"), str(tmp_path / seed)]
        subprocess.run(arguments, env=environment, check=True, timeout=120)
    for suffix in (".tgz", ".zip"):
        assert (tmp_path / f"1{suffix}").read_bytes() == (tmp_path / f"2{suffix}").read_bytes()


def test_the_record_of_origin_is_kept(tmp_path: Path) -> None:
    source = load(model_folder(tmp_path / "m")).convert("onnx")
    written = load(source.convert("nnef").save(tmp_path / "n"))
    record = written.provenance
    assert record is not None
    assert (record.source_format, list(record.inputs), list(record.outputs)) == ("onnx", ["x"], ["y", "z"])
    assert {name for layers in record.layers.values() for name in layers} <= {layer.name for layer in source.layers}
    assert record.tensors["y"].source == "y"
    data = json.loads((tmp_path / "n" / "workbench.json").read_text())
    assert data["scalar"] == "float32"


_WORDS = '{"classifier": ["label", "nowhere", ["a"]], "metadata": {"author": 7}}'


@pytest.mark.parametrize(
    "sidecar", ["", "{}", "[1]", '{"provenance": 3}', "[" * 5000, "\x00", '{"scalar": "int8"}', _WORDS]
)
def test_a_broken_record_does_not_matter(sidecar: str, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / "workbench.json").write_text(sidecar)
    model = load(folder)
    assert model.provenance is None
    assert model.run(feeds())["y"].shape == (1, 2, 4, 4)


def test_labels_and_names_survive_the_way_through_the_hub(tmp_path: Path) -> None:
    model = load(model_folder(tmp_path / "m"))
    again = load(model.convert("nnef").save(tmp_path / "n"))
    assert (tmp_path / "n" / "block" / "conv.weight.dat").is_file()
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    third = again.convert("nnef").save(tmp_path / "o")
    assert (third / "graph.nnef").read_text() == (tmp_path / "n" / "graph.nnef").read_text()


# indices of maxima and their inverse take operators that have no NNEF counterpart one by one
ONE_WAY: set[str] = set()


@pytest.mark.parametrize("name", CASES)
def test_every_operation_comes_back_to_nnef(name: str, tmp_path: Path) -> None:
    values = write_case(CASES[name], tmp_path / "m")
    model = load(tmp_path / "m")
    if name in ONE_WAY:
        with pytest.raises(ConversionError):
            model.convert("nnef")
        return
    again = load(model.convert("nnef").save(tmp_path / "n"))
    for mine, other in zip(again.run(values).values(), model.run(values).values(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6, strict=True)


def test_unknown_extents_wait_for_shapes(tmp_path: Path) -> None:
    text = "version 1.0; graph g(x) -> (y) { x = external(shape = [0, 3]); y = softmax(x); }"
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "graph.nnef").write_text(text)
    model = load(folder)
    assert model.inputs[0].shape == (None, 3)
    array = np.ones((5, 3), np.float32)
    np.testing.assert_allclose(model.run({"x": array})["y"], array / 3, rtol=1e-6)
    with pytest.raises(ConversionError, match="shapes="):
        model.convert("nnef")
    assert model.convert("nnef", shapes={"x": (5, 3)}).outputs[0].shape == (5, 3)


def test_dialect_option(tmp_path: Path) -> None:
    model = load(model_folder(tmp_path / "m")).convert("onnx")
    assert model.convert("nnef", dialect="khronos").format == "nnef"
    written = model.convert("nnef", dialect="tract").save(tmp_path / "tract.nnef")
    assert "extension tract_registry tract_core;" in (written / "graph.nnef").read_text()
    with pytest.raises(OptionError, match="dialect='mars': it is one of 'khronos', 'tract'"):
        model.convert("nnef", dialect="mars")


# hostile content

VARIABLE = (
    "version 1.0; graph g(x) -> (y) {{ x = external(shape = [2, 3, 1, 1]); "
    "w = variable(shape = {shape}, label = '{label}'); y = add(x, w); }}"
)


@pytest.mark.parametrize(
    "label", ["../secret", "/../secret", "a/../../secret", "..\\secret", "C:/secret", "a\x00b", ""]
)
def test_labels_stay_inside_the_folder(label: str, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m", VARIABLE.format(label=label, shape="[2, 3, 1, 1]"))
    write_tensor(tmp_path / "secret.dat", np.zeros((2, 3, 1, 1), np.float32))
    with pytest.raises(ModelError):
        load(folder)


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "folder", "fifo"])
def test_tensor_files_are_plain_files(kind: str, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m", VARIABLE.format(label="w", shape="[2, 3, 1, 1]"))
    outside = tmp_path / "outside.dat"
    write_tensor(outside, np.zeros((2, 3, 1, 1), np.float32))
    target = folder / "w.dat"
    if kind == "symlink":
        target.symlink_to(outside)
    elif kind == "hardlink":
        target.hardlink_to(outside)
    elif kind == "folder":
        target.mkdir()
    else:
        os.mkfifo(target)
    with pytest.raises(ModelError, match=r"w\.dat"):
        load(folder)


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ("[2, 3, 1, 2]", "f4", "declared as"),
        ("[2, 3, 1, 1]", "i4", "holds int32"),
        ("[2, 3, 1, 1]", "?", "holds bool"),
    ],
)
def test_variables_must_be_what_their_files_hold(shape: str, dtype: str, words: str, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m", VARIABLE.format(label="w", shape=shape))
    write_tensor(folder / "w.dat", np.zeros((2, 3, 1, 1), dtype))
    with pytest.raises(ModelError, match=words):
        load(folder)


def test_missing_graph_and_missing_tensor(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m", VARIABLE.format(label="nowhere", shape="[1]"))
    with pytest.raises(ModelError, match=r"nowhere\.dat"):
        load(folder)
    (folder / "graph.nnef").unlink()
    with pytest.raises(ModelError):
        load(folder)


def test_shapes_that_contradict_are_found_on_reading(tmp_path: Path) -> None:
    text = TEXT.replace("[1, 3, 4, 4]", "[1, 5, 4, 4]")
    with pytest.raises(ModelError, match=r"graph\.nnef:6:\d+: conv 'c': conv of"):
        load(model_folder(tmp_path / "m", text))


@pytest.mark.parametrize(
    "body",
    [
        "y = pad(x, padding = [(0, 0), (2, 99999999), (0, 99999999)], border = 'reflect-even');",
        "y = tile(x, repeats = [65536, 65536, 65536]);",
        "y = nearest_upsample(x, factor = [2147483647]);",
        "y = debox(x, size = [1, 1, 99999999], stride = [1, 1, 99999999]);",
        "c = constant(shape = [99999999, 9], value = [1.0]); y = mul(c, 2.0);",
    ],
)
def test_enormous_results_are_refused_before_they_are_made(body: str, tmp_path: Path) -> None:
    text = f"version 1.0; graph g(x) -> (y) {{ x = external(shape = [1, 3, 8]); {body} }}"
    with pytest.raises(LimitError, match=r"tensor_elements|folded_elements"):
        load(model_folder(tmp_path / "m", text)).graph  # noqa: B018  # lowered when it is asked for


def test_all_refusals_at_once(tmp_path: Path) -> None:
    cases = [REFUSED[name][0] for name in ("index over the border", "asymmetric")]
    write_case(cases[0], tmp_path / "m")
    text = (tmp_path / "m" / "graph.nnef").read_text()
    second = cases[1].body.replace("y =", "z =")
    (tmp_path / "m" / "graph.nnef").write_text(text.replace("-> (y)", "-> (y, z)").replace(" }", f" {second} }}"))
    with pytest.raises(ConversionError) as caught:
        load(tmp_path / "m").graph  # noqa: B018  # the lowering happens when it is asked for
    assert [refusal.operator for refusal in caught.value.refusals] == ["argmax_pool", "multilinear_upsample"]


# names that ONNX allows and NNEF does not


def test_names_become_identifiers_and_safe_labels(tmp_path: Path) -> None:
    names = ["../../etc/passwd", "graph", "relu", "a.b/c:0", "A.B/C:0", "1st", "con", "ä\n<b>", "x" * 5000]
    nodes, previous = [], "in put"
    initializers = []
    for index, name in enumerate(names):
        initializers.append(numpy_helper.from_array(np.full((2,), float(index), np.float32), name))
        nodes.append(helper.make_node("Add", [previous, name], [f"sum/{index}"]))
        previous = f"sum/{index}"
    graph = helper.make_graph(
        nodes,
        "names",
        [helper.make_tensor_value_info("in put", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info(previous, TensorProto.FLOAT, [2])],
        initializers,
    )
    proto: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    (tmp_path / "deep").mkdir()
    folder = load(proto).convert("nnef").save(tmp_path / "deep" / "m")
    written = [path.relative_to(folder).as_posix() for path in folder.rglob("*.dat")]
    assert len({name.lower() for name in written}) == len(names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep"]
    assert "error" not in khronos.parse([{"path": str(folder), "shapes": True, "variables": True}])[0]
    total = float(sum(range(len(names))))
    array = np.asarray([1.0, 2.0], np.float32)
    (result,) = load(folder).run({"in put": array}).values()
    np.testing.assert_allclose(result, array + total)


# real models, read by others


@pytest.mark.parametrize("real", ONNX, ids=str)
def test_real_models_are_read_by_others(real: RealModel, tmp_path: Path) -> None:
    source = load(real.source)
    converted = source.convert("nnef", shapes=real.shapes)
    folder = converted.save(tmp_path / "model")
    found = khronos.parse([{"path": str(folder), "shapes": True, "variables": True}])[0]
    assert "error" not in found, found
    assert [found["shapes"][spec.name] for spec in converted.outputs] == [
        list(s.shape or ()) for s in converted.outputs
    ]
    values = real.feeds(source)
    np.savez(folder / "feeds.npz", **converted.adapt_feeds(values))
    theirs = interpreter.run_all({folder: ["prelu"]})[folder]
    assert isinstance(theirs, dict), theirs
    for mine, other in zip(source.run(values).values(), theirs.values(), strict=True):
        scale = max(float(np.abs(mine).max()), 0.1)
        np.testing.assert_allclose(other.reshape(mine.shape), mine, rtol=0, atol=1e-4 * scale)
