"""NNEF → hub → NNEF: the same operations but where the hub has none of that kind, the same labels, the same bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.nnef import khronos
from tests.formats.nnef.test_graphs import NETS, write_net
from tests.formats.nnef.test_operations import CASES, graph_of, write_case
from workbench import Model, compare, load, samples

WRITTEN_IN_PARTS = {
    "the hub has no such operation, and says it in parts": (
        "sqr silu selu log2 rsqr rsqrt gelu softabs ne add_n copy_n stack unstack separable_conv separable_deconv box "
        "debox avg_unpool rms_pool sample desample max_unpool nearest_downsample area_downsample nearest_upsample "
        "multilinear_upsample moments local_response_normalization local_mean_normalization "
        "local_variance_normalization local_contrast_normalization l1_normalization l2_normalization linear_quantize "
        "min_max_linear_quantize zero_point_linear_quantize logarithmic_quantize any_reduce all_reduce "
        "avg_roi_pool max_roi_pool roi_resample avg_roi_align max_roi_align"
    ),
    "a border other than zeros is a pad of its own in the hub": "conv max_pool avg_pool pad",
    "the hub aligns shapes on the right": "mul sub or select clamp",
    "several axes, or axes in front, are moved to where the hub computes": "softmax argmax_reduce max_pool avg_pool",
    "a constant is a variable of one file": "constant",
    "indices may be negative in the hub": "gather",
    "the hub transposes, leaves out a bias, or a mean, in another way": "matmul linear sum_reduce max_reduce",
    "parameters that are numbers are computed with": "batch_normalization",
    "levels that are known are an operation of their own": "add",
}
"""Why an operation may come back as others, which compute the same."""

ANY = {operation for operations in WRITTEN_IN_PARTS.values() for operation in operations.split()}


def operations(model: Model) -> list[str]:
    """The operations in order, but declarations of tensors."""
    graph = model.document.contents.graph  # type: ignore[attr-defined]
    return [operation.name for operation in graph.operations if operation.name not in ("external", "variable")]


def test_reasons_are_needed(tmp_path: Path) -> None:
    """Every operation that may come back as others does so in a case, and no other operation does."""
    found = set()
    for index, (name, case) in enumerate(CASES.items()):
        write_case(case, tmp_path / str(index))
        model = load(tmp_path / str(index))
        before, after = operations(model), operations(model.convert("nnef"))
        if before != after:
            changed = ANY.intersection(before)
            assert changed, (name, before, after)
            found |= changed
    assert found == ANY


@pytest.mark.parametrize("name", ["conv", "batch_normalization", "softmax", "lt", "concat", "deconv", "linear"])
def test_an_operation_that_the_hub_has_comes_back_with_its_arguments(name: str, tmp_path: Path) -> None:
    write_case(CASES[name], tmp_path / "m")
    model = load(tmp_path / "m")
    graphs = [each.document.contents.graph for each in (model, model.convert("nnef"))]  # type: ignore[attr-defined]
    mine, again = ([o for o in graph.operations if o.name not in ("external", "variable")] for graph in graphs)
    for one, other in zip(mine, again, strict=True):
        assert one.results == other.results
        given = {key: value for key, value in one.arguments.items() if value not in ([], None)}
        assert {key: other.arguments[key] for key in given} == given


# labels


def labels(model: Model) -> set[str]:
    """The labels of a model's variables."""
    return {variable.label for variable in model.document.contents.variables.values()}  # type: ignore[attr-defined]


def trained(folder: Path) -> Model:
    """A net whose variables have labels that are no identifiers."""
    feeds = write_net(NETS["plain convolutions (AlexNet, VGG)"], folder)
    assert feeds
    text = (folder / "graph.nnef").read_text()
    (folder / "features.0").mkdir()
    for path in list(folder.glob("*.dat")):
        path.rename(folder / "features.0" / f"{path.stem}-weight.dat")
        text = text.replace(f"label = '{path.stem}'", f"label = 'features.0/{path.stem}-weight'")
    (folder / "graph.nnef").write_text(text)
    return load(folder)


ROUTES = {"nnef": (), "onnx": ("onnx",), "coreml": ("coreml",), "onnx, coreml": ("onnx", "coreml")}
SUFFIXES = {"onnx": ".onnx", "coreml": ".mlpackage", "nnef": ".nnef.tgz"}


@pytest.mark.parametrize("route", ROUTES)
def test_labels_survive(route: str, tmp_path: Path) -> None:
    """Through files, so that nothing is remembered but what they say."""
    if "coreml" in route:
        pytest.importorskip("coremltools")
    model = trained(tmp_path / "m")
    assert len(labels(model)) == 4
    on = model
    for step, target in enumerate((*ROUTES[route], "nnef")):
        on = load(on.convert(target).save(tmp_path / f"{step}{SUFFIXES[target]}"))
    assert labels(on) == labels(model)
    report = compare(model, on)
    assert report.ok, str(report)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("route", ["nnef", "onnx"])
def test_a_network_of_pytorch_keeps_the_names_of_its_parameters(route: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5, bias=False), nn.Linear(5, 2)
    ).eval()
    x = torch.randn(1, 3, 8, 8)
    model = load(module, example_inputs=(x,))
    on = load(model.convert("onnx").save(tmp_path / "m.onnx")) if route == "onnx" else model
    nnef = load(on.convert("nnef").save(tmp_path / "m.nnef"))
    assert labels(nnef) >= {name for name, _ in module.named_parameters()}
    feeds = {nnef.inputs[0].name: x.numpy()}
    np.testing.assert_allclose(next(iter(nnef.run(feeds).values())), module(x).detach().numpy(), rtol=1e-4, atol=1e-5)


# bytes


def test_files_are_the_same_in_every_process(tmp_path: Path) -> None:
    """Operations of many kinds, as folder and archives, written in processes with other hash seeds."""
    names = list(CASES)[::16]
    for index, name in enumerate(names):
        write_case(CASES[name], tmp_path / str(index))
    script = (
        "import sys, pathlib, workbench as wb\n"
        "root, out = map(pathlib.Path, sys.argv[1:])\n"
        f"for index in range({len(names)}):\n"
        "    model = wb.load(root / str(index)).convert('nnef')\n"
        "    for suffix in ('', '.nnef.tgz', '.zip'):\n"
        "        model.save(out / f'{index}{suffix}')\n"
    )
    digests = []
    for seed in ("1", "77"):
        (tmp_path / f"seed{seed}").mkdir()
        command = [sys.executable, "-c", script, str(tmp_path), str(tmp_path / f"seed{seed}")]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, timeout=240)
        digests.append(digest(tmp_path / f"seed{seed}"))
    assert digests[0] == digests[1]
    assert len(digests[0]) > 3 * len(names)


def digest(root: Path) -> dict[str, Any]:
    """Every file below a folder → its hash."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_what_is_written_is_read_by_the_reference_parser_as_it_is_here(tmp_path: Path) -> None:
    """Every operation's case once more, as our own text."""
    from tests.formats.nnef.test_text import described, numbered

    models = {}
    for index, name in enumerate(CASES):
        write_case(CASES[name], tmp_path / f"in{index}")
        models[name] = load(tmp_path / f"in{index}").convert("nnef")
        models[name].save(tmp_path / str(index))
    requests = [{"path": str(tmp_path / str(index)), "shapes": True, "variables": True} for index in range(len(models))]
    for (name, model), found in zip(models.items(), khronos.parse(requests), strict=True):
        assert "error" not in found, (name, found, graph_of(CASES[name]))
        graph = model.document.contents.graph  # type: ignore[attr-defined]
        assert numbered(described(graph)) == numbered(found["operations"]), name


@pytest.mark.parametrize("dialect", ["khronos", "tract"])
def test_a_classifier_keeps_its_classes_and_what_is_said_of_it(dialect: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"shapes": {"image": (1, 1, 8, 8)}, "names": {"probabilities": "p"}}
    words = {"author": "A. Maker", "license": "MIT"}
    source = load(samples.digits()).convert("coreml", labels=list("0123456789"), metadata=words, **options)
    path = source.convert("nnef", dialect=dialect).save(tmp_path / "classifier.nnef.tgz")
    model = load(path)
    assert model.labels == tuple("0123456789")
    assert words.items() <= model.metadata.items()
    feeds = {"image": np.random.default_rng(0).random((1, 1, 8, 8), dtype=np.float32) * 16}
    assert model.run(feeds)["classLabel"] == source.run(feeds)["classLabel"]
    again = model.convert("coreml")
    assert (again.labels, again.metadata["author"]) == (model.labels, "A. Maker")
    assert compare(model, again).ok
