"""NNEF folders that reach outside, contradict themselves, or expand without end."""

# ruff: noqa: E501  (a crafted file is one line of a table)

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from tests.hostile.corpus.case import ESCAPES, WAYS, Escape, Hostile, outside_of
from workbench.formats.nnef.tensors import write_tensor

HEAD = "version 1.0;\nextension KHR_enable_fragment_definitions, KHR_enable_operator_expressions;\n"


def folder_of(text: str | bytes, tensors: Mapping[str, tuple[int, ...]] | None = None) -> Callable[[Path], Path]:
    """Writes a folder with the text, and tensors of ones by label."""

    def make(folder: Path) -> Path:
        (folder / "graph.nnef").write_bytes(text if isinstance(text, bytes) else text.encode())
        for label, shape in (tensors or {}).items():
            write_tensor(folder / f"{label}.dat", np.ones(shape, np.float32))
        return folder

    return make


def graph(body: str, inputs: str = "x", outputs: str = "y") -> str:
    """A graph with an input of shape [2, 3]."""
    return f"{HEAD}graph g({inputs}) -> ({outputs})\n{{\n    x = external<scalar>(shape = [2, 3]);\n    {body}\n}}\n"


def variable(label: str, shape: str = "[2, 3]") -> str:
    """A graph with a variable of that label."""
    return graph(f"w = variable<scalar>(shape = {shape}, label = '{label}');\n    y = add(x, w);")


def _escaping(escape: Escape, *, quoted: bool = False) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        escape.prepare(folder)
        for name in ("link", "hard", "pipe", "zero"):  # a label has no suffix
            if (folder / name).is_symlink() or (folder / name).exists():
                (folder / name).rename(folder / f"{name}.dat")
        secret = outside_of(folder)
        if not secret.with_suffix(".dat").exists():
            secret.with_suffix(".dat").hardlink_to(secret)
        return folder_of(variable(escape.text(folder).replace("\\", "\\\\") if quoted else escape.text(folder)))(folder)

    return make


_TEXTS: dict[str, tuple[str | bytes, str]] = {
    "no text": (b"", "load"),
    "no version": ("graph g(x) -> (y) { x = external(shape = [1]); y = relu(x); }", "load"),
    "a version 9.9": (graph("y = relu(x);").replace("version 1.0", "version 9.9"), "load"),
    "no left side": (graph("relu(x);\n    y = neg(x);"), "load"),
    "a division by zero": (graph("y = reshape(x, shape = [4 / 0]);"), "load"),
    "a power that overflows": (graph("y = reshape(x, shape = [2 ^ 9999999999]);"), "load"),
    "a string of 2^60": (graph("w = variable<scalar>(shape = [1], label = 'a' * 1152921504606846976);\n    y = add(x, w);"), "load"),
    "an array of 2^60": (graph("y = reshape(x, shape = [1] * 1152921504606846976);"), "load"),
    "range_of an array that doubles": (graph("y = reshape(x, shape = [for i in range_of([1] * 300000) yield 1]);"), "load"),
    "brackets 20,000 deep": (graph(f"y = reshape(x, shape = {'[' * 20_000}1{']' * 20_000});"), "load"),
    "parentheses 20,000 deep": (graph(f"y = add(x, {'(' * 20_000}1.0{')' * 20_000});"), "load"),
    "a sum of 20,000 terms": (graph(f"y = add(x, {' + '.join(['1.0'] * 20_000)});"), "load"),
    "calls 5,000 deep": (graph(f"y = {'relu(' * 5_000}x{')' * 5_000};"), "load"),
    "bytes that are no UTF-8": (graph("y = relu(x);").encode().replace(b"relu", b"re\xff\xfe"), "load"),
    "a label that is no UTF-8": (variable("abc").encode().replace(b"abc", b"\xff\xfe"), "load"),
    "a NUL": (graph("y = relu(x);").encode().replace(b"relu", b"re\0lu"), "load"),
    "UTF-16": (graph("y = relu(x);").encode("utf-16"), "load"),
    "a string without an end": (variable("abc").replace("abc'", "abc"), "load"),
    "an unknown operation": (graph("y = frobnicate(x);"), "hub"),
    "an unknown argument": (graph("y = relu(x, evil = 1);"), "load"),
    "a missing argument": (graph("y = add(x);"), "load"),
    "an argument twice": (graph("y = pad(x, padding = [(0, 0)], padding = [(1, 1)]);"), "load"),
    "arguments of another type": (graph("y = relu('text');"), "load"),
    "an integer for a scalar": (graph("y = add(x, 1);"), "load"),
    "a tensor made twice": (graph("y = relu(x);\n    y = neg(x);"), "load"),
    "a tensor nobody makes": (graph("y = relu(z);"), "load"),
    "a cycle": (graph("y = relu(z);\n    z = relu(y);"), "load"),
    "an output nobody makes": (graph("z = relu(x);"), "load"),
    "an input that is no external": (graph("y = relu(x);", inputs="x, z"), "load"),
    "an external of a negative size": (graph("y = relu(x);").replace("[2, 3]", "[2, -3]"), "load"),
    "a reshape to a negative size": (graph("y = reshape(x, shape = [-6]);"), "load"),
    "a reshape to two open sizes": (graph("y = reshape(x, shape = [-1, -1]);"), "load"),
    "an external of 2^62 elements": (graph("y = relu(x);").replace("[2, 3]", "[2147483648, 2147483648]"), "load"),
    "a size that does not fit 64 bits": (graph("y = relu(x);").replace("[2, 3]", "[99999999999999999999]"), "load"),
    "an axis of 2^40": (graph("y = softmax(x, axes = [1099511627776]);"), "load"),
    "an axis of -1": (graph("y = softmax(x, axes = [-1]);"), "load"),
    "axes twice": (graph("y = transpose(x, axes = [1, 1]);"), "load"),
    "a stride of 0": (graph("y = slice(x, axes = [0], begin = [0], end = [2], stride = [0]);"), "load"),
    "a slice backwards": (graph("y = slice(x, axes = [0], begin = [2], end = [1]);"), "load"),
    "a tile by 2^40": (graph("y = tile(x, repeats = [1099511627776, 1]);"), "load"),
    "a tile by -1": (graph("y = tile(x, repeats = [-1, 1]);"), "load"),
    "a pad by 2^40": (graph("y = pad(x, padding = [(0, 0), (0, 1099511627776)]);"), "load"),
    "a pad by -9": (graph("y = pad(x, padding = [(0, 0), (-9, 0)]);"), "load"),
    "a split into 10^9": (graph("[y] = split(x, axis = 1, ratios = [1] * 1000000000);"), "load"),
    "copies 10^9": (graph("[y] = copy_n(x, times = 1000000000);"), "load"),
    "copies -1": (graph("[y, z] = copy_n(x, times = -1);"), "load"),
    "a constant of too few values": (graph("k = constant<scalar>(shape = [3], value = [1.0, 2.0]);\n    y = add(x, k);"), "load"),
    "a constant of 2^40": (graph("k = constant<scalar>(shape = [1099511627776], value = [1.0]);\n    y = add(x, k);"), "load"),
    "a fragment that calls itself": (
        graph("y = f(x);").replace("graph", "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y = f(x); }\ngraph", 1), "load",
    ),
    "fragments that call one another": (
        graph("y = f(x);").replace("graph", "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y = h(x); }\n"
                                   "fragment h(x: tensor<scalar>) -> (y: tensor<scalar>) { y = f(x); }\ngraph", 1), "load",
    ),
    "a fragment twice": (
        graph("y = f(x);").replace("graph", "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y = relu(x); }\n" * 2
                                   + "graph", 1), "load",
    ),
    "a fragment of a standard name": (
        graph("y = relu(x);").replace("graph", "fragment relu(x: tensor<scalar>) -> (y: tensor<scalar>) { y = neg(x); }\ngraph",
                                      1), "load",
    ),
    "an operation named as a fragment of 1 MB": (graph(f"y = {'f' * (1 << 20)}(x);"), "hub"),
    "two graphs": (graph("y = relu(x);") + "graph h(x) -> (x) { x = external(shape = [1]); }", "load"),
    "a comprehension of comprehensions": (
        graph("y = reshape(x, shape = [for a in [1] * 1000, b in [1] * 1000 yield [for c in [1] * 1000 yield 1]]);"), "load",
    ),
}  # fmt: skip


def doubling(levels: int = 40) -> str:
    """Fragments that call the next one twice: 2**40 operations."""
    parts = [
        f"fragment f{level}(x: tensor<scalar>) -> (y: tensor<scalar>) {{ y = f{level + 1}(f{level + 1}(x)); }}"
        for level in range(levels)
    ]
    parts.append(f"fragment f{levels}(x: tensor<scalar>) -> (y: tensor<scalar>) {{ y = relu(x); }}")
    return graph("y = f0(x);").replace("graph", "\n".join([*parts, "graph"]), 1)


def _header(offset: int, data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        folder_of(variable("w"), {"w": (2, 3)})(folder)
        changed = bytearray((folder / "w.dat").read_bytes())
        changed[offset : offset + len(data)] = data
        (folder / "w.dat").write_bytes(changed)
        return folder

    return make


def _sized(size: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        folder_of(variable("w"), {"w": (2, 3)})(folder)
        data = (folder / "w.dat").read_bytes()
        (folder / "w.dat").write_bytes((data + bytes(64))[:size])
        return folder

    return make


_HEADERS = {
    "without its magic number": (0, b"XX"),
    "of version 255": (2, b"\xff\xff"),
    "of another length": (4, struct.pack("<I", 7)),
    "of length 2^32 - 1": (4, struct.pack("<I", (1 << 32) - 1)),
    "of rank 9": (8, struct.pack("<I", 9)),
    "of rank 2^31": (8, struct.pack("<I", 1 << 31)),
    "of sizes whose product wraps": (8, struct.pack("<5I", 4, 1 << 31, 1 << 31, 1 << 31, 1 << 31)),
    "of another shape": (12, struct.pack("<2I", 3, 2)),
    "of 7 bits": (44, struct.pack("<I", 7)),
    "of 0 bits": (44, struct.pack("<I", 0)),
    "of an unknown type": (48, struct.pack("<I", 99)),
    "of quantised items without a record": (44, struct.pack("<2I", 8, 3)),
}


def _linked(name: str) -> Callable[[Path], Path]:
    """A file of the folder is a link to the secret."""

    def make(folder: Path) -> Path:
        folder_of(variable("w"), {"w": (2, 3)})(folder)
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(outside_of(folder))
        return folder

    return make


_QUANT = {
    "for a tensor that is not there": '"z": linear_quantize(min = 0.0, max = 1.0, bits = 8);',
    "by an operation that is none": '"w": frobnicate(bits = 8);',
    "with 2^31 bits": '"w": linear_quantize(min = 0.0, max = 1.0, bits = 2147483648);',
    "with 0 bits": '"w": linear_quantize(min = 0.0, max = 1.0, bits = 0);',
    "that is nested": '"w": linear_quantize(min = ' + "(" * 5000 + "0.0" + ")" * 5000 + ");",
    "twice": '"w": linear_quantize(min = 0.0, max = 1.0, bits = 8);\n' * 2,
    "of no text": "\xff\xfe",
}


def _quantized(text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        folder_of(variable("w"), {"w": (2, 3)})(folder)
        (folder / "graph.quant").write_bytes(text.encode("latin-1"))
        return folder

    return make


def cases() -> Iterator[Hostile]:
    """All of them."""
    for escape in ESCAPES:
        for way in WAYS:
            yield Hostile(f"nnef: a label {escape.title}, by {way}", _escaping(escape), way=way)
    for title, (text, refused) in _TEXTS.items():
        yield Hostile(f"nnef: {title}", folder_of(text), refused)
    yield Hostile("nnef: fragments that double forty times", folder_of(doubling()))
    yield Hostile("nnef: fragments 300 deep", folder_of(doubling(300).replace("(f", "(g").replace("gf", "f")), "hub")
    for title, (offset, data) in _HEADERS.items():
        yield Hostile(f"nnef: a tensor file {title}", _header(offset, data))
    for size in (0, 1, 127, 128, 140, 160):
        yield Hostile(f"nnef: a tensor file of {size} bytes", _sized(size))
    for name in ("graph.nnef", "graph.quant", "w.dat", "workbench.json"):
        yield Hostile(f"nnef: {name} is a symbolic link", _linked(name))
    for title, text in _QUANT.items():
        yield Hostile(f"nnef: a quantisation {title}", _quantized(text))
