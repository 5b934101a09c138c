"""Names that no one expects are kept, escaped where they are shown, and never become names of files or markup."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import workbench as wb
from tests.hostile.corpus.onnx_files import model_of
from workbench.cli import main
from workbench.words import lines, one_line

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


def proto_named(name: str) -> onnx.ModelProto:
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
    return proto


def named(name: str) -> wb.Model:
    return wb.load(proto_named(name))


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


OBEYED = "a\x1b]0;title\x07\x1b[2J\x9b31m\b\r\u202eb\u2028"
"""Sets a terminal's title, clears it, changes colours, goes back, turns the direction of writing."""
POWERFUL = set(OBEYED) - set("ab]0;title[2J31m")


def _powerless(text: str) -> None:
    assert "title" in text, "the name is not in it: this tests nothing"
    assert not POWERFUL & set(text), repr(text)


def test_what_a_terminal_would_obey_is_spelled_out() -> None:
    assert one_line(OBEYED + "\n\ud800ü重") == (
        "a\\x1b]0;title\\x07\\x1b[2J\\x9b31m\\x08\\x0d\\u202eb\\u2028\\x0a\\ud800ü重"
    )
    assert lines("a\nb\x1b") == "a\nb\\x1b"
    _powerless(str(wb.ModelError(f"{OBEYED}: no such file.")))
    _powerless(str(wb.ConversionError([_refusal(OBEYED)], OBEYED)))
    assert str(wb.ConversionError([_refusal(f"{OBEYED}\nrefused: forged")])).count("\n") == 1


def _refusal(name: str) -> wb.Refusal:
    return wb.Refusal("onnx", "nnef", name, name, f"it reads {name}", f"rename {name}")


def test_what_is_printed_of_a_model_has_no_power_over_the_terminal() -> None:
    model = named(OBEYED)
    plan = model.plan("nnef")
    report = wb.compare(model, model.convert("nnef"))
    for shown in (model, plan, report, model.inputs[0], wb.Session(model).open(model), *model.layers):
        _powerless(repr(shown))
    _powerless(str(plan))
    _powerless(str(report))
    _powerless(str(model.inputs[0]))


def test_what_the_command_line_prints_has_no_power_over_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, feeds = tmp_path / "model.onnx", tmp_path / "feeds.npz"
    proto = proto_named(OBEYED)
    proto.metadata_props.add(key=OBEYED, value=OBEYED)
    path.write_bytes(proto.SerializeToString())
    np.savez(feeds, **{f"{OBEYED} x": np.zeros(2, np.float32)})
    commands = {
        ("inspect", str(path)): 0,
        ("plan", str(path), "--to", "coreml"): 0,
        ("run", str(path), "--feeds", str(feeds)): 0,
        ("convert", str(path), str(tmp_path / "out.nnef")): 0,
        ("compare", str(path), str(path)): 0,
        ("run", str(path), "--feeds", OBEYED): 2,
        ("inspect", str(tmp_path / OBEYED)): 2,
    }
    for command, code in commands.items():
        assert main(command) == code
        printed = capsys.readouterr()
        _powerless(printed.out + printed.err)
