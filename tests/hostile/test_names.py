"""Names that no one expects are kept, escaped where they are shown, and never become names of files or markup."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from tests.hostile.corpus.onnx_files import model_of

NAMES = {
    "markup": "<img src=x onerror=alert(1)>",
    "quotes": "\"'`${7*7}{{7*7}}",
    "a path": "../../outside/secret",
    "an absolute path": "/etc/passwd",
    "newlines": "a\nb\r\nc\x1b[31m",
    "a NUL": "a\0b",
    "of other scripts": "重み/γ‮abc",
    "of 1 MB": "n" * (1 << 20),
    "nothing but space": "   ",
}
TARGETS = {"onnx": "model.onnx", "nnef": "model.nnef", "coreml": "model.mlpackage"}


def named(name: str) -> wb.Model:
    """A model whose input, weight, inner tensor, layer, output and graph have names made of the name."""
    proto = model_of("g (float[2] x) => (float[2] y) <float[2] w = {1.0, 2.0}> { a = Add(x, w)  y = Relu(a) }")
    graph = proto.graph
    names = {"x": f"{name} x", "w": f"{name} w", "a": f"{name} a", "y": f"{name} y"}
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names[value.name]
    for node in graph.node:
        node.name = f"{name} layer of {node.op_type}"
        node.input[:] = [names[read] for read in node.input]
        node.output[:] = [names[made] for made in node.output]
    graph.name = proto.doc_string = name
    return wb.load(proto)


@pytest.mark.parametrize("title", NAMES)
@pytest.mark.parametrize("target", TARGETS)
def test_a_model_with_such_names_is_converted_and_keeps_them(title: str, target: str, tmp_path: Path) -> None:
    model = named(NAMES[title])
    feeds = {f"{NAMES[title]} x": np.float32([-3, 3])}
    converted = model.convert(target)
    (tmp_path / "model").mkdir()
    written = converted.save(tmp_path / "model" / TARGETS[target])
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    back = wb.load(written)
    np.testing.assert_array_equal(next(iter(back.run(feeds).values())), np.float32([0, 5]))
    assert back.provenance is not None
    assert {source for layers in back.provenance.layers.values() for source in layers} <= {
        layer.name for layer in model.layers
    }
    for file in written.rglob("*"):
        assert len(file.name) < 256


@pytest.mark.parametrize("title", ["markup", "quotes", "of other scripts"])
def test_what_is_shown_holds_no_markup_of_the_model(title: str, tmp_path: Path) -> None:
    model = named(NAMES[title])
    converted = model.convert("nnef")
    report = wb.compare(model, converted)
    report.to_html(tmp_path / "report.html")
    shown = [
        model._repr_html_(),
        model.plan("nnef")._repr_html_(),
        report._repr_html_(),
        (tmp_path / "report.html").read_text(encoding="utf-8"),
    ]
    for page in shown:
        assert "<img src=x" not in page
