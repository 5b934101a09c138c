"""NNEF text: what is accepted, what it means (against the Khronos parser), what is refused and how."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import pytest

from tests.formats.nnef import khronos
from workbench import limits
from workbench.errors import LimitError, ModelError
from workbench.formats.nnef.binding import standard_operations
from workbench.formats.nnef.expand import expand
from workbench.formats.nnef.graph import NnefGraph, TensorRef
from workbench.formats.nnef.parser import parse_document
from workbench.formats.nnef.printer import format_float, print_document, print_graph

ENABLED = "version 1.0;\nextension KHR_enable_fragment_definitions, KHR_enable_operator_expressions;\n"


def graph_text(body: str, outputs: str = "y", fragments: str = "") -> str:
    return f"{ENABLED}{fragments}graph g(x) -> ({outputs}) {{ x = external(shape = [2, 4, 6]); {body} }}"


# name → (text, fragments that the oracle shall expand)
ACCEPTED: dict[str, tuple[str, tuple[str, ...]]] = {
    "flat": (graph_text("y = relu(x);"), ()),
    "no extensions": ("version 1.0; graph g(x)->(y) { x = external<scalar>(shape=[1]); y = relu(x); }", ()),
    "comments and space": (
        "version 1.0; # first\n#second\r\ngraph g ( x ) ->(y){\n\tx=external ( shape=[] ) ; # end\n y = relu ( x ) ;}",
        (),
    ),
    "named arguments in any order": (graph_text("y = reshape(shape = [2, 24], input = x);"), ()),
    "defaults": (graph_text("y = slice(x, axes = [1], begin = [0], end = [0]);"), ()),
    "tuples in arrays": (graph_text("y = pad(x, padding = [(0, 0), (1, 2), (3, 4)], border = 'reflect');"), ()),
    "negative numbers": (graph_text("y = leaky_relu(x, alpha = -0.25);"), ()),
    "exponents": (graph_text("y = leaky_relu(x, alpha = 1e-3);"), ()),
    "several results": (graph_text("m, y = moments(x, axes = [1, 2]);"), ()),
    "results in parentheses": (graph_text("(m, y) = moments(x, axes = [1, 2]);"), ()),
    "array of results": (graph_text("[y, z] = split(x, axis = 1, ratios = [1, 3]);", "y, z"), ()),
    "array arguments": (graph_text("y = concat([x, x], axis = 0);"), ()),
    "variable": (graph_text("v = variable(shape = [1, 4], label = 'layer/v'); y = add(x, v);"), ()),
    "logical constant": (
        graph_text("c = constant<logical>(shape = [1], value = [true]); y = select(c, x, 0.0);"),
        (),
    ),
    "integer constant": (
        graph_text("c = constant<integer>(shape = [2], value = [0, 1]); y = gather(x, c, axis = 1);"),
        (),
    ),
    "cast": (graph_text("y = cast<integer>(x);"), ()),
    "operators": (graph_text("y = x * 2.0 + 1.0;"), ()),
    "precedence": (graph_text("y = x + x * x ^ 2.0 - x / 3.0;"), ()),
    "comparison": (graph_text("y = select(x < 0.0, x, x * x);"), ()),
    "parentheses": (graph_text("y = (x + 1.0) * (x - 1.0);"), ()),
    "unary": (graph_text("y = x * (-x);"), ()),
    "literals on the left": (graph_text("y = 1.0 / x;"), ()),
    "nested invocations": (graph_text("y = relu(sigmoid(tanh(x)));"), ()),
    "fragment": (
        graph_text(
            "y = twice(x);", fragments="fragment twice(a: tensor<scalar>) -> (b: tensor<scalar>) { b = a + a; }\n"
        ),
        ("twice",),
    ),
    "fragment with attributes": (
        graph_text(
            "y = scaled(x, n = 3);",
            fragments="fragment scaled(a: tensor<scalar>, n: integer = 1) -> (b: tensor<scalar>) "
            "{ b = a * scalar(n ^ 2 - 1) if n > 1 else a; }\n",
        ),
        ("scaled",),
    ),
    "fragment with comprehension": (
        graph_text(
            "y = spread(x, w = [1, 2, 3]);",
            fragments="fragment spread(a: tensor<scalar>, w: integer[]) -> (b: tensor<scalar>) "
            "{ b = concat([for i in w, j in range_of(w) if i > 1 yield a * scalar(i + j)], "
            "axis = length_of(w) - 3); }\n",
        ),
        ("spread",),
    ),
    "fragment with several results": (
        graph_text(
            "y, z = pair(x);",
            "y, z",
            fragments="fragment pair(a: tensor<scalar>) -> (b: tensor<scalar>, c: tensor<scalar>) "
            "{ t = a + 1.0; b = relu(t); c = tanh(t); }\n",
        ),
        ("pair",),
    ),
    "generic fragment": (
        graph_text(
            "y = same(x);",
            fragments="fragment same<?>(a: tensor<?>) -> (b: tensor<?>) { b = transpose(a, axes = [1, 0]); }\n",
        ),
        ("same",),
    ),
    "fragment in fragment": (
        graph_text(
            "y = outer(x);",
            fragments="fragment inner(a: tensor<scalar>) -> (b: tensor<scalar>) { b = relu(a); }\n"
            "fragment outer(a: tensor<scalar>) -> (b: tensor<scalar>) { b = inner(inner(a)); }\n",
        ),
        ("inner", "outer"),
    ),
    "array arithmetic": (
        graph_text(
            "y = shuffled(x);",
            fragments="fragment shuffled(a: tensor<scalar>) -> (b: tensor<scalar>) "
            "{ s = [1, 0] + [2]; b = transpose(a, axes = s[0:2] + [2] * 1); }\n",
        ),
        ("shuffled",),
    ),
    "terminating recursion": (
        graph_text(
            "y = power(x, n = 3);",
            fragments="fragment power(a: tensor<scalar>, n: integer) -> (b: tensor<scalar>) "
            "{ b = a * power(a, n = n - 1) if n > 1 else relu(a); }\n",
        ),
        ("power",),
    ),
    "fragment without body": (
        graph_text(
            "y = custom(x, n = 2);",
            fragments="fragment custom(a: tensor<scalar>, n: integer) -> (b: tensor<scalar>);\n",
        ),
        (),
    ),
}


@pytest.fixture(scope="module")
def oracle() -> dict[str, dict[str, Any]]:
    found = khronos.parse([{"text": text, "lowered": list(lowered)} for text, lowered in ACCEPTED.values()])
    return dict(zip(ACCEPTED, found, strict=True))


def plain(value: Any) -> Any:
    if isinstance(value, TensorRef):
        return {"tensor": value.name}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return pytest.approx(value, rel=1e-6) if isinstance(value, float) else value


def described(graph: NnefGraph) -> list[dict[str, Any]]:
    return [
        {"name": op.name, "arguments": plain_dict(op.arguments), "results": plain_dict(op.results), "dtype": op.dtype}
        for op in graph.operations
    ]


def plain_dict(values: dict[str, Any]) -> dict[str, Any]:
    return {name: plain(value) for name, value in values.items()}


@pytest.mark.parametrize("name", ACCEPTED)
def test_means_what_the_reference_parser_says(name: str, oracle: dict[str, dict[str, Any]]) -> None:
    text, _ = ACCEPTED[name]
    expected = oracle[name]
    assert "error" not in expected, expected
    graph = expand(parse_document(text))
    assert list(graph.inputs) == expected["inputs"]
    assert list(graph.outputs) == expected["outputs"]
    ours = described(graph)
    assert numbered(ours) == numbered(expected["operations"])


def numbered(operations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The operations with tensors numbered as they appear: names that an expansion makes up are its own."""
    numbers: dict[str, int] = {}

    def number(value: Any) -> Any:
        if isinstance(value, dict) and value.keys() == {"tensor"}:
            return {"tensor": numbers.setdefault(value["tensor"], len(numbers))}
        if isinstance(value, dict):
            return {key: number(item) for key, item in value.items()}
        return [number(item) for item in value] if isinstance(value, list) else value

    keys = ("name", "arguments", "results", "dtype")
    return [{key: number(operation[key]) for key in keys} for operation in operations]


@pytest.mark.parametrize("name", ACCEPTED)
def test_text_is_printed_back(name: str) -> None:
    document = parse_document(ACCEPTED[name][0])
    assert parse_document(print_document(document)) == document


@pytest.mark.parametrize("name", [name for name in ACCEPTED if name != "fragment without body"])
def test_flat_graph_is_printed_back(name: str) -> None:
    graph = expand(parse_document(ACCEPTED[name][0]))
    flat = print_graph(graph)
    again = expand(parse_document(flat))
    assert (again.operations, again.dtypes) == (graph.operations, graph.dtypes)
    assert print_graph(again) == flat


def test_standard_operations_are_those_of_the_reference() -> None:
    assert standard_operations().keys() == khronos.signatures().keys()


def _example(name: str, kind: str) -> str:
    samples = {
        "tensor<scalar>": "x",
        "tensor<?>": "x",
        "tensor<>": "x",
        "tensor<logical>": "l",
        "tensor<integer>": "i",
        "tensor<scalar>[]": "[x, x]",
        "tensor<?>[]": "[x, x]",
        "integer[]": "[1, 1]",
        "(integer, integer)[]": "[(0, 0), (0, 0)]",
        "integer": "2" if name == "copy_n" else "1",
        "scalar": "0.5",
        "logical": "true",
        "string": "'constant'",
        "?[]": "[1.0]",
    }
    return samples[kind]


def test_signatures_and_defaults_are_those_of_the_reference() -> None:
    """Every operation invoked with its required arguments only: both parsers fill in the same defaults."""
    names = [n for n in standard_operations() if n not in ("external", "update", "unstack", "max_unpool", "avg_unpool")]
    texts = []
    for name in names:
        declaration = standard_operations()[name]
        required = [p for p in declaration.parameters if p.default is None]
        arguments = ", ".join(f"{p.name} = {_example(name, str(p.type))}" for p in required)
        arrays = any(str(result.type).endswith("[]") for result in declaration.results)
        targets = "[y, z]" if arrays else ", ".join(["y", "z"][: len(declaration.results)])
        dtype = "<scalar>" if declaration.generic and not any("?" in str(p.type) for p in required) else ""
        texts.append(
            "version 1.0; graph g(x, i, l) -> (y) { x = external(shape = [1]); i = external<integer>(shape = [1]); "
            f"l = external<logical>(shape = [1]); {targets} = {name}{dtype}({arguments}); }}"
        )
    for name, text, expected in zip(names, texts, khronos.parse([{"text": text} for text in texts]), strict=True):
        assert "error" not in expected, (name, expected)
        mine = described(expand(parse_document(text)))[-1]
        assert mine == expected["operations"][-1], name


REFUSED = {
    "no left side": (graph_text("relu(x);"), "found '('"),
    "division by zero": (graph_text("y = reshape(x, shape = [4 / 0]);"), "4 / 0 has no value"),
    "integer overflow": (graph_text("y = reshape(x, shape = [2 ^ 63]);"), "64 bits"),
    "huge literal": (graph_text("y = reshape(x, shape = [99999999999999999999]);"), "64 bits"),
    "many digits": (graph_text(f"y = reshape(x, shape = [{'9' * 10_000}]);"), "64 bits"),
    "nesting": (graph_text(f"y = {'(' * 13_000}x{')' * 13_000};"), "nesting = 200"),
    "signs": (graph_text(f"y = x * {'-' * 13_000}x;"), "nesting = 200"),
    "chain of sums": (graph_text(f"y = x{'+ x' * 13_000};"), "nesting = 200"),
    "chain of conditions": (graph_text(f"y = x{' if true else x' * 13_000};"), "nesting = 200"),
    "not UTF-8": (graph_text("y = relu(x);").encode() + b"\xff\xfe", "not UTF-8"),
    "recursion": (
        graph_text("y = f(x);", fragments="fragment f(a: tensor<scalar>) -> (b: tensor<scalar>) { b = f(a); }\n"),
        "nesting = 200",
    ),
    "doubling recursion": (
        graph_text("y = f(x);", fragments="fragment f(a: tensor<scalar>) -> (b: tensor<scalar>) { b = f(f(a)); }\n"),
        "nesting = 200",
    ),
    "doubling fragments": (
        graph_text(
            "y = f30(x);",
            fragments="fragment f0(a: tensor<scalar>) -> (b: tensor<scalar>) { b = relu(a); }\n"
            + "".join(
                f"fragment f{i + 1}(a: tensor<scalar>) -> (b: tensor<scalar>) {{ b = f{i}(f{i}(a)); }}\n"
                for i in range(30)
            ),
        ),
        "nodes = 200,000",
    ),
    "negative shape": (
        "version 1.0; graph g(x) -> (y) { x = external(shape = [1, -3]); y = relu(x); }",
        "must not be negative",
    ),
    "enormous shape": (
        f"version 1.0; graph g(x) -> (y) {{ x = external(shape = [{2**40}]); y = relu(x); }}",
        "tensor_elements",
    ),
    "array bomb": (graph_text("y = reshape(x, shape = [1] * 1000000000);"), "nodes = 200,000"),
    "string bomb": (graph_text("y = pad(x, padding = [(0,0)], border = 'ab' * 1000000000);"), "nodes = 200,000"),
    "unknown operation": (graph_text("y = einsum(x);"), "einsum is neither standard nor declared"),
    "unknown extension": ("version 1.0; extension vendor_thing a b; graph g(x) -> (y) { y = x; }", "vendor_thing a b"),
    "unknown name": (graph_text("y = relu(z);"), "'z' is not defined"),
    "unknown parameter": (graph_text("y = relu(x, slope = 1.0);"), "no parameter 'slope'"),
    "missing argument": (graph_text("y = softabs(x);"), "lacks the argument 'epsilon'"),
    "given twice": (graph_text("y = relu(x, x = x);"), "given twice"),
    "integer for scalar": (graph_text("y = leaky_relu(x, alpha = 1);"), "decimal point"),
    "wrong tensor type": (graph_text("y = not(x);"), "expected tensor<logical>"),
    "mixed arithmetic": (graph_text("y = reshape(x, shape = [1 + 2.0]);"), "does not apply to integer and scalar"),
    "assigned twice": (graph_text("y = relu(x); y = relu(x);"), "'y' is assigned twice"),
    "output missing": (graph_text("z = relu(x);"), "output 'y'"),
    "input missing": ("version 1.0; graph g(x) -> (y) { y = constant(shape = [1], value = [1.0]); }", "input 'x'"),
    "external that is no input": (graph_text("e = external(shape = [1]); y = relu(x);"), "no graph input"),
    "variable in fragment": (
        graph_text(
            "y = f(x);",
            fragments="fragment f(a: tensor<scalar>) -> (b: tensor<scalar>) "
            "{ v = variable(shape = [1], label = 'v'); b = a + v; }\n",
        ),
        "not allowed inside a fragment",
    ),
    "too few names": (graph_text("[y] = split(x, axis = 1, ratios = [1, 1]);"), "makes 2 tensors"),
    "index": (graph_text("y = reshape(x, shape = [[1, 2][5]]);"), "index 5"),
    "version": ("version 2.0; graph g(x) -> (y) { y = x; }", "must be 1.0"),
    "shape_of": (graph_text("y = reshape(x, shape = shape_of(x));"), "deprecated"),
    "stray character": (graph_text("y = $;"), "found character '$'"),
    "open string": (graph_text("y = pad(x, border = 'abc);"), "found character"),
    "empty": ("", "expected 'version'"),
    "cut off": (graph_text("y = relu(x);")[:-2], "the end of the file"),
    "constant of wrong length": (graph_text("y = constant(shape = [3], value = [1.0, 2.0]);"), "2 values"),
    "declared twice": (
        graph_text("y = relu(x);", fragments="fragment relu(a: tensor<scalar>) -> (b: tensor<scalar>);\n"),
        "already declared",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_place_and_cause(name: str) -> None:
    text, cause = REFUSED[name]
    started = time.process_time()
    with pytest.raises(ModelError) as caught:
        expand(parse_document(text, "model/graph.nnef"), "model/graph.nnef")
    assert time.process_time() - started < 4, "a bound for a slow machine; 2 s is the aim"
    assert cause in str(caught.value)
    assert len(str(caught.value)) < 1000
    if not isinstance(caught.value, LimitError):
        assert str(caught.value).startswith("model/graph.nnef:")


def test_syntax_error_names_line_column_and_expectation() -> None:
    with pytest.raises(ModelError, match=r"^g\.nnef:3:9: expected .*; found ';'\.$"):
        parse_document("version 1.0;\ngraph g(x) -> (y) {\n  y = 1 ;;\n}".replace("1 ;;", "1+;"), "g.nnef")


def test_limits_can_be_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    text = graph_text(f"y = x{'+ x' * 250};")
    with pytest.raises(LimitError):
        parse_document(text)
    monkeypatch.setattr(limits, "current", limits.Limits(nesting=300))
    assert len(expand(parse_document(text)).operations) == 251


def test_unary_minus_binds_tighter_than_the_reference_parser_has_it() -> None:
    """The specification's precedence; the reference parser negates the sum."""
    names = [operation.name for operation in expand(parse_document(graph_text("y = -x + 1.0;"))).operations]
    assert names == ["external", "neg", "add"]


def test_mutations_give_typed_errors_only() -> None:
    rng = random.Random(7)
    texts = [text for text, _ in ACCEPTED.values()]
    for _ in range(400):
        text = list(rng.choice(texts))
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(text))
            text[place : place + rng.randint(0, 3)] = rng.choice("()[]{}<>=,;:'x1.0-+*^?! \n\0é")
        try:
            expand(parse_document("".join(text)))
        except ModelError:
            continue


@pytest.mark.parametrize("value", [0.1, 1.0, -2.5e-30, 3e38, 1e16, 1e22, float("inf"), float("-inf"), 5e-324])
def test_floats_survive_text(value: float) -> None:
    text = graph_text(f"y = leaky_relu(x, alpha = {format_float(value)});")
    assert expand(parse_document(text)).operations[-1].arguments["alpha"] == value


def test_what_the_reference_parser_accepts_is_accepted_here_and_the_same() -> None:
    """A fixed sample of what ``python -m tests.conformance.nnef_parser`` goes through."""
    from tests.conformance import nnef_parser

    if not hasattr(os, "fork"):
        pytest.skip("each text is parsed in a process that is forked")
    texts = nnef_parser.corpus()
    counts, failures = nnef_parser.outcomes([*texts, *nnef_parser.mutated(texts, 300, seed=1)])
    assert not failures, failures[:3]
    assert counts["accepted"] > len(texts)
    assert counts["refused"] > 200
