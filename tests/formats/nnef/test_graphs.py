"""Whole graphs in NNEF, run by onnxruntime, and back to NNEF: against nnef_tools' interpreter and Khronos' runtime.

The blocks that networks are made of, each small; and the standard operations once more, in Khronos' runtime.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.formats.nnef import interpreter
from tests.formats.nnef.test_operations import CASES, sample, write_case
from workbench import load
from workbench.formats.nnef.tensors import write_tensor

Array = NDArray[Any]


@dataclass(frozen=True)
class Net:
    """A graph's body; ``w(name, shape)`` in it declares a variable of random weights, ``p(…)`` one of positive ones."""

    body: str
    inputs: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=lambda: {"x": ("x", (2, 4, 8, 8))})
    outputs: str = "y"
    fragments: str = ""
    decomposed: tuple[str, ...] = ()


NETS = {
    "plain convolutions (AlexNet, VGG)": Net(
        """k1 = w(8, 4, 3, 3); b1 = w(1, 8); c1 = conv(x, k1, b1, padding = [(1, 1), (1, 1)]); r1 = relu(c1);
        n1 = local_response_normalization(r1, size = [1, 5, 1, 1], alpha = 0.0001, beta = 0.75, bias = 1.0);
        p1 = max_pool(n1, size = [1, 1, 3, 3], stride = [1, 1, 2, 2], padding = [(0, 0), (0, 0), (0, 0), (0, 0)]);
        f1 = reshape(p1, shape = [0, -1]); k2 = w(5, 72); b2 = w(1, 5); l1 = linear(f1, k2, b2); y = softmax(l1);"""
    ),
    "residual": Net(
        """k1 = w(4, 4, 3, 3); c1 = conv(x, k1); m = w(1, 4); v = p(1, 4); o = w(1, 4); s = w(1, 4);
        n1 = batch_normalization(c1, m, v, o, s, epsilon = 0.001); r1 = relu(n1); k2 = w(4, 4, 3, 3);
        c2 = conv(r1, k2); a = add(c2, x); r = relu(a);
        g = mean_reduce(r, axes = [2, 3]); y = squeeze(g, axes = [2, 3]);"""
    ),
    "parallel branches (Inception)": Net(
        """k1 = w(3, 4, 1, 1); a = conv(x, k1); k2 = w(2, 4, 1, 1); b0 = conv(x, k2); k3 = w(4, 2, 3, 3);
        b = conv(b0, k3); p = max_pool(x, size = [1, 1, 3, 3], border = 'ignore'); k4 = w(2, 4, 1, 1);
        c = conv(p, k4); y = concat([a, b, c], axis = 1);"""
    ),
    "channel by channel (MobileNet)": Net(
        """k1 = w(4, 1, 3, 3); d = conv(x, k1, stride = [2, 2], groups = 0); e = clamp(d, 0.0, 6.0);
        k2 = w(6, 4, 1, 1); f = conv(e, k2); k3 = w(6, 1, 3, 3); k4 = w(5, 6, 1, 1); b = w(1, 5);
        y = separable_conv(f, k3, k4, b);"""
    ),
    "shuffled channels (ShuffleNet)": Net(
        """k1 = w(6, 2, 1, 1); c = conv(x, k1, groups = 2);
        r = reshape(c, shape = [2, 3], axis_start = 1, axis_count = 1);
        t = transpose(r, axes = [0, 2, 1]); s = reshape(t, shape = [6], axis_start = 1, axis_count = 2);
        [a, b] = split(s, axis = 1, ratios = [1, 2]); y = concat([b, a], axis = 1);"""
    ),
    "squeeze and excitation": Net(
        """g = avg_pool(x, size = [1, 1, 8, 8], stride = [1, 1, 8, 8], padding = [(0, 0), (0, 0), (0, 0), (0, 0)]);
        k1 = w(2, 4, 1, 1); a = conv(g, k1); b = silu(a); k2 = w(4, 2, 1, 1); c = conv(b, k2); s = sigmoid(c);
        y = mul(x, s);"""
    ),
    "down and up again (U-Net)": Net(
        """p = max_pool(x, size = [1, 1, 2, 2], stride = [1, 1, 2, 2], padding = [(0, 0), (0, 0), (0, 0), (0, 0)]);
        k1 = w(4, 3, 2, 2); u = deconv(p, k1, stride = [2, 2], padding = [(0, 0), (0, 0)]);
        n = nearest_upsample(p, factor = [2, 2]); m = multilinear_upsample(p, factor = [2, 2]);
        y = concat([x, u, n, m], axis = 1);"""
    ),
    "remembered maxima (SegNet)": Net(
        """v, i = max_pool_with_index(x, size = [1, 1, 2, 2], stride = [1, 1, 2, 2],
        padding = [(0, 0), (0, 0), (0, 0), (0, 0)]); s = sqr(v);
        y = desample(s, i, size = [1, 1, 2, 2], stride = [1, 1, 2, 2], padding = [(0, 0), (0, 0), (0, 0), (0, 0)]);"""
    ),
    "attention": Net(
        """wq = w(1, 6, 6); wk = w(1, 6, 6); wv = w(1, 6, 6); q = matmul(x, wq); k = matmul(x, wk); v = matmul(x, wv);
        s = matmul(q, k, transposeB = true); t = mul(s, 0.408248); u = select(m, t, -10000.0);
        a = softmax(u, axes = [2]); y = matmul(a, v);""",
        {"x": ("x", (2, 5, 6)), "m": ("l", (1, 5, 5))},
    ),
    "layer normalisation": Net(
        """m, v = moments(x, axes = [2]); c = sub(x, m); e = add(v, 0.00001); r = rsqrt(e); n = mul(c, r);
        s = w(1, 1, 6); b = w(1, 1, 6); t = mul(n, s); y = add(t, b);""",
        {"x": ("x", (2, 5, 6))},
    ),
    "a step of an LSTM": Net(
        """k = w(16, 7); b = w(1, 16); xh = concat([x, h], axis = 1); g = linear(xh, k, b);
        [i, f, o, n] = split(g, axis = 1, ratios = [1, 1, 1, 1]); si = sigmoid(i); sf = sigmoid(f); so = sigmoid(o);
        tn = tanh(n); kept = mul(sf, c); made = mul(si, tn); y = add(kept, made); t = tanh(y); z = mul(so, t);""",
        {"x": ("x", (2, 3)), "h": ("x", (2, 4)), "c": ("x", (2, 4))},
        outputs="y, z",
    ),
    "words": Net(
        """t = w(9, 5); e = gather(t, i, axis = 0); m = mean_reduce(e, axes = [1]); y = squeeze(m, axes = [1]);""",
        {"i": ("i", (2, 6))},
    ),
    "decisions": Net(
        """a = gt(x, 0.5); b = lt(x, -0.5); c = or(a, b); d = not(c); any = any_reduce(d, axes = [1]);
        all = all_reduce(c, axes = [2, 3]); e = and(any, d); y = select(e, x, 0.0); z = select(all, 1.0, y);""",
        outputs="y, z",
    ),
    "slices and stacks": Net(
        """a = slice(x, axes = [2, 3], begin = [1, -5], end = [0, -1]); [b, c, d, e] = unstack(a, axis = 1);
        f = stack([b, d], axis = 1); g = tile(f, repeats = [1, 2, 1, 1]); h = unsqueeze(c, axes = [1]);
        y = concat([g, h], axis = 1); z = add_n([b, c, d, e]);""",
        outputs="y, z",
        decomposed=("add_n",),
    ),
    "normalisations": Net(
        """a = l1_normalization(x, axes = [1], epsilon = 0.01); b = l2_normalization(a, axes = [1, 2, 3], bias = 0.1);
        c = local_mean_normalization(b, size = [1, 1, 3, 3]);
        d = local_variance_normalization(c, size = [1, 1, 3, 3], bias = 0.5, epsilon = 0.01);
        y = local_contrast_normalization(d, size = [1, 1, 5, 5], bias = 0.5, epsilon = 0.01);""",
    ),
    "activations": Net(
        """a = elu(x, alpha = 0.5); b = leaky_relu(a, alpha = 0.1); k = w(1, 4); c = prelu(b, k); d = softplus(c);
        e = softabs(d, epsilon = 0.1); f = selu(e); y = tanh(f);""",
        decomposed=("prelu",),
    ),
    "fragments of one's own": Net(
        "y = block(block(x, w(4, 4, 3, 3)), w(4, 4, 3, 3), slope = 0.2) * 0.5 + x;",
        fragments="""fragment block(input: tensor<scalar>, kernel: tensor<scalar>, slope: scalar = 0.0)
        -> (output: tensor<scalar>)
        { c = conv(input, kernel); output = leaky_relu(c, alpha = slope) if slope > 0.0 else relu(c); }
        """,
        decomposed=("block",),
    ),
    "expressions": Net(
        "m = mean_reduce(x, axes = [2, 3]); y = (x - m) / (1.0 + (x - m) ^ 2.0); z = select(x < m, x, m * 2.0);",
        outputs="y, z",
    ),
}
EXTENSIONS = "extension KHR_enable_fragment_definitions, KHR_enable_operator_expressions;\n"


def write_net(net: Net, folder: Path) -> dict[str, Array]:
    """The folder of a net; returns feeds, which lie in it too."""
    folder.mkdir()
    kinds = {"i": "integer", "l": "logical"}
    lines = [f"{n} = external<{kinds.get(k, 'scalar')}>(shape = {list(s)});" for n, (k, s) in net.inputs.items()]
    generator = np.random.default_rng(7)

    def declared(name: str, kind: str, shape: str) -> str:
        extents = [int(extent) for extent in shape.split(",")]
        weights = generator.normal(size=extents) / max(float(np.prod(extents[1:])) ** 0.5, 1.0)
        write_tensor(folder / f"{name}.dat", (weights if kind == "w" else 0.5 + weights**2).astype(np.float32))
        lines.append(f"{name} = variable<scalar>(shape = {extents}, label = '{name}');")
        return name

    body = re.sub(
        r"(\w+) = ([wp])\(([^)]*)\);", lambda found: declared(*found.groups()) and "", " ".join(net.body.split())
    )
    body = re.sub(r"\b([wp])\(([^)]*)\)", lambda found: declared(f"own{len(lines)}", *found.groups()), body)
    text = f"graph net({', '.join(net.inputs)}) -> ({net.outputs}) {{ {' '.join(lines)} {body} }}"
    extended = net.fragments or any(sign in body for sign in "*^/<")
    (folder / "graph.nnef").write_text(f"version 1.0;\n{EXTENSIONS if extended else ''}{net.fragments}{text}\n")
    feeds = {name: sample(kind, shape, seed) for seed, (name, (kind, shape)) in enumerate(net.inputs.items())}
    np.savez(folder / "feeds.npz", **feeds)  # type: ignore[arg-type]
    return feeds


@pytest.fixture(scope="module")
def oracles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What interpreter and runtime make of every net."""
    root = tmp_path_factory.mktemp("nets")
    folders = {name: root / str(index) for index, name in enumerate(NETS)}
    for name, folder in folders.items():
        write_net(NETS[name], folder)
    wanted = {folder: [*NETS[name].decomposed, "gelu"] for name, folder in folders.items()}
    lowered = {folder: [*LOWERED, *NETS[name].decomposed] for name, folder in folders.items()}
    found = {"interpreter": interpreter.run_all(wanted), "runtime": interpreter.run_in_runtime(lowered)}
    return {oracle: {name: results[folder] for name, folder in folders.items()} for oracle, results in found.items()}


LOWERED = (
    "rms_pool clamp prelu leaky_relu separable_conv separable_deconv local_response_normalization "
    "local_mean_normalization local_variance_normalization local_contrast_normalization l1_normalization "
    "l2_normalization batch_normalization nearest_downsample nearest_upsample area_downsample moments add_n softabs "
    "min_max_linear_quantize zero_point_linear_quantize linear_quantize logarithmic_quantize"
).split()
"""Standard operations that the runtime takes apart as the standard library defines them."""

NOT_IN_RUNTIME = {
    "remembered maxima (SegNet)": "it has no indices of maxima",
    "attention": "a number for a tensor of select ends its process",
    "decisions": "a number for a tensor of select ends its process",
}


@pytest.mark.parametrize("name", NETS)
def test_a_graph_computes_what_the_others_make_of_it(name: str, oracles: Any, tmp_path: Path) -> None:
    feeds = write_net(NETS[name], tmp_path / "m")
    mine = load(tmp_path / "m").run(feeds)
    for oracle, results in oracles.items():
        theirs = results[name]
        if oracle == "runtime" and name in NOT_IN_RUNTIME:
            assert isinstance(theirs, str)
            continue
        assert isinstance(theirs, dict), (oracle, theirs)
        for key, value in mine.items():
            np.testing.assert_allclose(value, theirs[key], rtol=2e-4, atol=2e-5, err_msg=oracle)


@pytest.mark.parametrize("name", NETS)
def test_a_graph_comes_back_the_same(name: str, tmp_path: Path) -> None:
    feeds = write_net(NETS[name], tmp_path / "m")
    model = load(tmp_path / "m")
    onnx = load(model.convert("onnx").save(tmp_path / "m.onnx"))
    for way in (model, onnx):
        again = load(way.convert("nnef").save(tmp_path / f"{way.format}.nnef"))
        for mine, other in zip(again.run(feeds).values(), model.run(feeds).values(), strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6, strict=True)
        assert again.outputs == model.outputs


OTHERWISE_IN_RUNTIME = {
    "matmul": "it does not broadcast leading axes",
    "debox normalized": "it does not divide by the volume",
    "zero_point_linear_quantize": "it reads the bits of an integer zero point as a scalar",
    "quantized variable": "it knows no graph.quant",
    "quantized activation": "it knows no graph.quant",
}
REFUSED_BY_RUNTIME = {
    "softmax two axes": "multiple axes",
    "copy_n": "not implemented",
    **{
        f"{op} {border}": "border"
        for op in ("max_pool", "avg_pool", "rms_pool", "box")
        for border in ("replicate", "reflect")
    },
    **{f"conv {border}": "border" for border in ("replicate", "reflect")},
    "avg_unpool": "undefined operation",
    **dict.fromkeys(("max_pool_with_index", "argmax_pool", "desample"), "not implemented"),
    "max_unpool": "undefined operation",
    "sample": "index shape",
    **{f"multilinear_upsample{method}": "not implemented" for method in ("", " aligned")},
    "argmax_reduce two axes": "multiple axes",
    **{name: "not implemented" for name, case in CASES.items() if "_roi_" in case.body},
    **{name: "Shape error" for name, case in CASES.items() if "= roi_resample(" in case.body},
}


def test_the_operations_are_those_of_the_runtime(tmp_path: Path) -> None:
    """Khronos' runtime has other ways to be wrong than the interpreter; what it refuses or mistakes is known."""
    folders = {name: tmp_path / str(index) for index, name in enumerate(CASES)}
    feeds = {name: write_case(CASES[name], folder) for name, folder in folders.items()}
    found = interpreter.run_in_runtime(dict.fromkeys(folders.values(), LOWERED))
    other = set()
    for name, folder in folders.items():
        theirs = found[folder]
        assert isinstance(theirs, str) == (name in REFUSED_BY_RUNTIME), (name, theirs)
        if isinstance(theirs, str):
            assert REFUSED_BY_RUNTIME[name] in theirs
            continue
        for key, value in load(folder).run(feeds[name]).items():
            if value.shape != theirs[key].shape or not np.allclose(value, theirs[key], rtol=1e-4, atol=1e-5):
                other.add(name)
    assert other == set(OTHERWISE_IN_RUNTIME)
