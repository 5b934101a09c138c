"""Every standard operation: read, lowered to the hub, run by onnxruntime, against nnef_tools' interpreter.

Where the interpreter has no such operation, or computes another one, a case states its result in numpy and says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.formats.nnef import interpreter, khronos
from workbench import load
from workbench.errors import ConversionError
from workbench.formats.nnef.binding import standard_operations
from workbench.formats.nnef.tensors import write_tensor

Array = NDArray[Any]
SHAPE = (2, 3, 8, 6)


@dataclass(frozen=True)
class Case:
    """A graph of one operation (mostly).

    ``inputs`` maps names to (kind, shape); kinds are ``x`` normal, ``p`` positive, ``u`` within ±0.9, ``i`` small
    indices, ``l`` logical, ``r`` regions, ``b`` the pictures that they are of. ``numpy`` replaces the oracle, for the
    reason in ``why``.
    """

    body: str
    inputs: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=lambda: {"x": ("x", SHAPE)})
    variables: dict[str, Array] = field(default_factory=dict)
    outputs: str = "y"
    decomposed: tuple[str, ...] = ()
    numpy: Callable[..., Any] | None = None
    why: str = ""
    quant: str = ""


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def weights(*shape: int) -> Array:
    return rng().normal(size=shape).astype(np.float32)


def two(kind: str = "x", a: tuple[int, ...] = SHAPE, b: tuple[int, ...] = SHAPE) -> dict[str, Any]:
    return {"x": (kind, a), "z": (kind, b)}


def mean_window(x: Array, size: tuple[int, ...]) -> Array:
    """The mean over a window padded with zeros to keep the extents, as the standard library's ``box`` gives it."""
    pads = [((k - 1) // 2, k - 1 - (k - 1) // 2) for k in size]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, pads), size)
    return windows.mean(axis=tuple(range(x.ndim, 2 * x.ndim)))


def halfway(x: Array, axis: int) -> Array:
    """Each element along an axis, and the mean of it and the next one; behind the last is zero."""
    after = np.concatenate([np.take(x, range(1, x.shape[axis]), axis), np.zeros_like(np.take(x, [0], axis))], axis)
    return np.stack([x, (x + after) / 2], axis + 1).reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])


CASES: dict[str, Case] = {
    **{
        op: Case(f"y = {op}(x);")
        for op in "neg exp sin cos tan sinh cosh tanh asinh atan abs sign floor ceil round sqr copy relu sigmoid "
        "softplus silu selu softmax rcp".split()
    },
    **{op: Case(f"y = {op}(x);", {"x": ("p", SHAPE)}) for op in "log log2 sqrt rsqr rsqrt".split()},
    **{op: Case(f"y = {op}(x);", {"x": ("u", SHAPE)}) for op in "asin acos atanh".split()},
    "acosh": Case("t = add(x, 1.0); y = acosh(t);", {"x": ("p", SHAPE)}),
    "elu": Case("y = elu(x, alpha = 0.7);"),
    "gelu": Case("y = gelu(x);", decomposed=("gelu",)),
    "softabs": Case("y = softabs(x, epsilon = 0.1);"),
    "leaky_relu": Case("y = leaky_relu(x, alpha = 0.2);"),
    "prelu": Case("y = prelu(x, a);", variables={"a": weights(1, 3)}, decomposed=("prelu",)),
    "softmax two axes": Case(
        "y = softmax(x, axes = [2, 3]);",
        numpy=lambda x: np.exp(x) / np.exp(x).sum((2, 3), keepdims=True),
        why="the interpreter divides by the sum of x",
    ),
    **{op: Case(f"y = {op}(x, z);", two()) for op in "add sub mul div min max".split()},
    **{op: Case(f"y = {op}(x, z);", two()) for op in "lt gt le ge eq ne".split()},
    "pow": Case("y = pow(x, z);", two("p")),
    "broadcast left": Case("y = mul(x, z);", two(b=(2, 3))),
    "broadcast left, first operand": Case("y = sub(x, z);", two(a=(1, 3), b=SHAPE)),
    "literal operand": Case("y = div(2.0, x);", {"x": ("p", SHAPE)}),
    "and": Case("y = and(x, z);", two("l")),
    "or": Case("y = or(x, z);", two("l", b=(2,))),
    "not": Case("y = not(x);", {"x": ("l", SHAPE)}),
    "select": Case("y = select(c, x, z);", {"c": ("l", (2, 3)), **two()}),
    "clamp": Case("y = clamp(x, -0.5, 0.5);"),
    "clamp tensors": Case("y = clamp(x, a, b);", {"x": ("x", SHAPE), "a": ("x", (2,)), "b": ("p", (2, 3))}),
    "add_n": Case("y = add_n([x, z, x]);", two(), decomposed=("add_n",)),
    "copy_n": Case("[y, z] = copy_n(x, times = 2);", outputs="y, z"),
    "cast": Case("y = cast<integer>(x);", numpy=lambda x: np.trunc(x).astype(np.int64), why="dtype names"),
    "cast logical": Case(
        "l = gt(x, 0.0); y = cast<scalar>(l);", numpy=lambda x: (x > 0).astype("f4"), why="dtype names"
    ),
    "constant": Case("c = constant(shape = [1, 3], value = [1.0, 2.0, 3.0]); y = add(x, c);"),
    "constant filled": Case("c = constant(shape = [1, 3], value = [0.5]); y = add(x, c);"),
    "variable": Case("y = add(x, a);", variables={"a": weights(1, 3)}),
    "reshape": Case("y = reshape(x, shape = [0, -1, 6]);"),
    "reshape part": Case("y = reshape(x, shape = [4, 2], axis_start = 2, axis_count = 1);"),
    "transpose": Case("y = transpose(x, axes = [1, 0]);"),
    "concat": Case("y = concat([x, z], axis = 1);", two(b=(2, 5, 8, 6))),
    "stack": Case("y = stack([x, z], axis = 2);", two()),
    "split": Case("[y, z] = split(x, axis = 2, ratios = [1, 3]);", outputs="y, z"),
    "unstack": Case("[y, z] = unstack(x, axis = 0);", outputs="y, z"),
    "slice": Case("y = slice(x, axes = [2, 3], begin = [1, -4], end = [0, -1]);"),
    "slice strided": Case("y = slice(x, axes = [2, 3], begin = [1, 0], end = [8, 5], stride = [3, 2]);"),
    "slice backwards": Case("y = slice(x, axes = [2, 3], begin = [6, 5], end = [1, -7], stride = [-2, -1]);"),
    "squeeze": Case("y = squeeze(x, axes = [1]);", {"x": ("x", (2, 1, 3))}),
    "unsqueeze": Case("y = unsqueeze(x, axes = [0, 2]);", {"x": ("x", (2, 3))}),
    "tile": Case("y = tile(x, repeats = [1, 2, 1, 3]);"),
    "gather": Case("y = gather(x, i, axis = 1);", {"x": ("x", SHAPE), "i": ("i", (2, 2))}),
    "pad": Case("y = pad(x, padding = [(0, 0), (0, 0), (1, 2), (0, 3)], value = 0.5);"),
    "pad reflect": Case("y = pad(x, padding = [(0, 0), (0, 0), (1, 2), (0, 3)], border = 'reflect');"),
    "pad replicate": Case("y = pad(x, padding = [(0, 0), (0, 0), (1, 2), (0, 3)], border = 'replicate');"),
    "pad reflect-even": Case(
        "y = pad(x, padding = [(0, 0), (0, 0), (2, 2), (0, 3)], border = 'reflect-even');",
        numpy=lambda x: np.pad(x, [(0, 0), (0, 0), (2, 2), (0, 3)], mode="symmetric"),
        why="the interpreter mirrors one element at most",
    ),
    "pad batch": Case(
        "y = pad(x, padding = [(1, 0), (0, 2), (0, 0), (0, 0)]);",
        numpy=lambda x: np.pad(x, [(1, 0), (0, 2), (0, 0), (0, 0)]),
        why="the interpreter pads spatial axes only",
    ),
    "matmul": Case("y = matmul(x, z);", two(a=(2, 1, 4, 5), b=(1, 3, 5, 6))),
    "matmul transposed": Case("y = matmul(x, z, transposeA = true, transposeB = true);", two(a=(5, 4), b=(6, 5))),
    "linear": Case("y = linear(x, w, b);", {"x": ("x", (4, 5))}, {"w": weights(3, 5), "b": weights(1, 3)}),
    "linear without bias": Case("y = linear(x, w);", {"x": ("x", (4, 5))}, {"w": weights(3, 5)}),
    "conv": Case(
        "y = conv(x, w, b, padding = [(1, 0), (2, 1)], stride = [2, 1], dilation = [1, 2]);",
        variables={"w": weights(4, 3, 3, 2), "b": weights(1, 4)},
    ),
    "conv auto padding": Case("y = conv(x, w, 0.25, stride = [3, 2]);", variables={"w": weights(4, 3, 4, 3)}),
    "conv groups": Case("y = conv(x, w, groups = 3);", variables={"w": weights(6, 1, 3, 3)}),
    "conv planewise": Case("y = conv(x, w, groups = 0);", variables={"w": weights(3, 1, 3, 3)}),
    "conv replicate": Case("y = conv(x, w, border = 'replicate');", variables={"w": weights(4, 3, 3, 3)}),
    "conv reflect": Case(
        "y = conv(x, w, border = 'reflect', padding = [(1, 1), (2, 0)]);", variables={"w": weights(4, 3, 3, 3)}
    ),
    "conv 1d": Case("y = conv(x, w);", {"x": ("x", (2, 3, 9))}, {"w": weights(4, 3, 4)}),
    "conv 3d": Case(
        "y = conv(x, w, stride = [1, 2, 2]);", {"x": ("x", (1, 2, 4, 5, 6))}, {"w": weights(3, 2, 2, 3, 3)}
    ),
    "deconv": Case(
        "y = deconv(x, w, b, padding = [(1, 0), (0, 1)], stride = [2, 1], dilation = [1, 2]);",
        variables={"w": weights(3, 4, 3, 2), "b": weights(1, 4)},
    ),
    "deconv auto padding": Case("y = deconv(x, w, stride = [2, 3]);", variables={"w": weights(3, 2, 4, 3)}),
    "deconv small filter": Case("y = deconv(x, w, stride = [3, 3]);", variables={"w": weights(3, 2, 2, 2)}),
    "deconv output shape": Case(
        "y = deconv(x, w, stride = [2, 2], padding = [(1, 1), (1, 1)], output_shape = [2, 2, 16, 12]);",
        variables={"w": weights(3, 2, 3, 3)},
    ),
    "deconv groups": Case(
        "y = deconv(x, w, stride = [2, 2], padding = [(0, 1), (1, 0)], groups = 3);",
        variables={"w": weights(3, 2, 3, 3)},
    ),
    "deconv planewise": Case("y = deconv(x, w, groups = 0);", variables={"w": weights(3, 1, 3, 3)}),
    "separable_conv": Case(
        "y = separable_conv(x, p, q, b, stride = [2, 2]);",
        variables={"p": weights(3, 1, 3, 3), "q": weights(5, 3, 1, 1), "b": weights(1, 5)},
    ),
    "separable_deconv": Case(
        "y = separable_deconv(x, p, q, b, stride = [2, 2], padding = [(1, 0), (0, 1)]);",
        variables={"p": weights(4, 1, 3, 3), "q": weights(3, 4, 1, 1), "b": weights(1, 4)},
    ),
    **{
        f"{op} {border}": Case(
            f"y = {op}(x, size = [1, 1, 3, 2], border = '{border}', padding = [(0, 0), (0, 0), (1, 1), (1, 0)], "
            f"stride = [1, 1, 2, 1]);"
        )
        for op in ("max_pool", "avg_pool", "rms_pool", "box")
        for border in ("constant", "ignore", "replicate", "reflect")
    },
    "max_pool auto padding": Case("y = max_pool(x, size = [1, 1, 3, 3], stride = [1, 1, 2, 2]);"),
    "max_pool dilated": Case("y = max_pool(x, size = [1, 1, 2, 2], dilation = [1, 1, 2, 3], border = 'ignore');"),
    "max_pool channels": Case("y = max_pool(x, size = [1, 3, 1, 1], stride = [1, 3, 1, 1]);"),
    "avg_pool batch and width": Case("y = avg_pool(x, size = [2, 1, 1, 3], border = 'ignore');"),
    "avg_pool channels last": Case(
        "y = avg_pool(x, size = [1, 2, 2, 1], stride = [1, 2, 2, 1], padding = [(0,0),(0,1),(0,0),(0,0)]);"
    ),
    "box normalized": Case("y = box(x, size = [1, 1, 3, 3], normalize = true);"),
    "box of matrix": Case("y = box(x, size = [2, 3]);", {"x": ("x", (5, 6))}),
    "debox": Case("y = debox(x, size = [1, 1, 3, 2], stride = [1, 1, 2, 2], padding = [(0,0),(0,0),(1,0),(0,0)]);"),
    "debox normalized": Case("y = debox(x, size = [1, 1, 2, 2], stride = [1, 1, 2, 2], normalize = true);"),
    "avg_unpool": Case(
        "y = avg_unpool(x, size = [1, 1, 2, 2], stride = [1, 1, 2, 2]);",
        numpy=lambda x: x.repeat(2, 2).repeat(2, 3) / 4,
        why="not in the interpreter",
    ),
    "max_pool_with_index": Case(
        "y, i = max_pool_with_index(x, size = [1,1,2,2], stride = [1,1,2,2], padding = [(0,0),(0,0),(0,0),(0,0)]);",
        outputs="y, i",
    ),
    "argmax_pool": Case(
        "y = argmax_pool(x, size = [1, 1, 2, 3], stride = [1, 1, 2, 3], padding = [(0,0),(0,0),(0,0),(0,0)]);"
    ),
    "sample": Case(
        "i = argmax_pool(x, size = [1, 1, 2, 2], padding = [(0,0),(0,0),(0,0),(0,0)]); "
        "y = sample(x, i, size = [1, 1, 2, 2], padding = [(0,0),(0,0),(0,0),(0,0)]);",
        numpy=lambda x: np.lib.stride_tricks.sliding_window_view(x, (2, 2), (2, 3)).max((4, 5)),
        why="not in the interpreter",
    ),
    "desample": Case(
        "v, i = max_pool_with_index(x, size = [1,1,2,2], stride = [1,1,2,2], padding = [(0,0),(0,0),(0,0),(0,0)]); "
        "y = desample(v, i, size = [1,1,2,2], stride = [1,1,2,2], padding = [(0,0),(0,0),(0,0),(0,0)]);"
    ),
    "max_unpool": Case(
        "v, i = max_pool_with_index(x, size = [1,1,2,2], stride = [1,1,2,2], padding = [(0,0),(0,0),(0,0),(0,0)]); "
        "u = max_unpool(v, i, size = [1,1,2,2], stride = [1,1,2,2], padding = [(0,0),(0,0),(0,0),(0,0)]); "
        "y = max_pool(u, size = [1,1,2,2], stride = [1,1,2,2], padding = [(0,0),(0,0),(0,0),(0,0)]);",
        {"x": ("p", SHAPE)},
        numpy=lambda x: x.reshape(2, 3, 4, 2, 3, 2).max((3, 5)),
        why="not in the interpreter",
    ),
    "nearest_downsample": Case("y = nearest_downsample(x, factor = [2, 3]);"),
    "area_downsample": Case("y = area_downsample(x, factor = [2, 3]);"),
    "nearest_upsample": Case("y = nearest_upsample(x, factor = [2, 3]);"),
    "multilinear_upsample": Case("y = multilinear_upsample(x, factor = [2, 3]);"),
    "multilinear_upsample aligned": Case("y = multilinear_upsample(x, factor = [3, 2], method = 'aligned');"),
    "multilinear_upsample constant": Case("y = multilinear_upsample(x, factor = [2, 2], border = 'constant');"),
    "multilinear_upsample asymmetric": Case(
        "y = multilinear_upsample(x, factor = [2, 2], method = 'asymmetric', border = 'constant');",
        numpy=lambda x: halfway(halfway(x, 2), 3),
        why="numpy 2 breaks it in the interpreter; Khronos' own runtime has it (test_graphs.py)",
    ),
    **{op: Case(f"y = {op}(x, axes = [1, 3]);") for op in "sum_reduce max_reduce min_reduce mean_reduce".split()},
    "sum_reduce normalized": Case("y = sum_reduce(x, axes = [2], normalize = true);"),
    "reduce over nothing": Case("y = max_reduce(x, axes = []);"),
    **{op: Case(f"y = {op}(x, axes = [2]);") for op in ("argmax_reduce", "argmin_reduce")},
    "argmax_reduce two axes": Case("y = argmax_reduce(x, axes = [1, 2]);"),
    **{op: Case(f"y = {op}(x, axes = [1, 2]);", {"x": ("l", SHAPE)}) for op in ("any_reduce", "all_reduce")},
    "moments": Case("y, v = moments(x, axes = [0, 2, 3]);", outputs="y, v"),
    "batch_normalization": Case(
        "y = batch_normalization(x, m, v, o, s, epsilon = 0.001);",
        variables={"m": weights(1, 3), "v": abs(weights(1, 3)), "o": weights(1, 3), "s": weights(1, 3)},
    ),
    "batch_normalization with numbers": Case(
        "y = batch_normalization(x, m, v, 0.0, 1.0, epsilon = 0.001);",
        variables={"m": weights(1, 3), "v": abs(weights(1, 3))},
        decomposed=("batch_normalization",),
    ),
    "local_response_normalization": Case(
        "y = local_response_normalization(x, size = [1, 3, 1, 1], alpha = 0.5, beta = 0.75, bias = 2.0);"
    ),
    "local_response_normalization plane": Case("y = local_response_normalization(x, size = [1, 1, 3, 2]);"),
    "local_mean_normalization": Case("y = local_mean_normalization(x, size = [1, 1, 3, 3]);"),
    "local_variance_normalization": Case(
        "y = local_variance_normalization(x, size = [1, 1, 3, 3], bias = 0.1, epsilon = 0.5);"
    ),
    "local_contrast_normalization": Case(
        "y = local_contrast_normalization(x, size = [1, 2, 3, 3], bias = 0.1, epsilon = 0.5);",
        numpy=lambda x: (
            (x - mean_window(x, (1, 2, 3, 3)))
            / np.maximum(np.sqrt(mean_window((x - mean_window(x, (1, 2, 3, 3))) ** 2, (1, 2, 3, 3))) + 0.1, 0.5)
        ),
        why="an oracle of its own: windows over channels and plane at once",
    ),
    "l1_normalization": Case("y = l1_normalization(x, axes = [1], bias = 0.1, epsilon = 2.0);"),
    "l2_normalization": Case("y = l2_normalization(x, axes = [1, 2], epsilon = 0.001);"),
    "linear_quantize": Case(
        "y = linear_quantize(x, -1.0, 1.5, bits = 4);",
        decomposed=("linear_quantize", "min_max_linear_quantize"),
    ),
    "min_max_linear_quantize": Case(
        "y = min_max_linear_quantize(x, -1.0, 1.5, bits = 4, signed = true, symmetric = true);"
    ),
    "zero_point_linear_quantize": Case(
        "y = zero_point_linear_quantize(x, 3, 0.25, bits = 4, signed = true, symmetric = false);",
        numpy=lambda x: (np.clip(np.round(x / 0.25) + 3, -8, 7) - 3) * np.float32(0.25),
        why="the interpreter wants its zero point as an array",
    ),
    "logarithmic_quantize": Case("y = logarithmic_quantize(x, 4.0, bits = 3);"),
    "quantized variable": Case(
        "y = add(x, q);",
        variables={"q": np.asarray([[-3, 0, 100]], np.int8)},
        quant='"q": zero_point_linear_quantize(zero_point=2, scale=0.5, bits=8, signed=true, symmetric=false);',
        numpy=lambda x: x + ((np.asarray([-3, 0, 100]) - 2) * 0.5).reshape(1, 3, 1, 1),
        why="numpy 2 breaks quantised variables in the interpreter",
    ),
    "quantized activation": Case(
        "y = add(x, 0.0);",
        quant='"y": zero_point_linear_quantize(zero_point=0, scale=0.5, bits=4, signed=true, symmetric=false);',
        numpy=lambda x: np.clip(np.round(x / 0.5), -8, 7) * 0.5,
        why="numpy 2 breaks quantised tensors in the interpreter",
    ),
}

REGIONS = np.asarray(
    [[0.0, 1.0, 4.0, 5.0], [2.2, 0.4, 8.0, 5.8], [3.0, 2.0, 6.0, 3.0], [0.0, 0.0, 8.0, 6.0]], np.float32
)
OF_BATCH = np.asarray([1, 0, 1, 0])
NO_REGIONS = "the interpreter has no operations on regions"


def region_pool(reduce: Callable[..., Any], size: tuple[int, int]) -> Callable[..., Array]:
    """Section 4.6.1 in loops; the begin of a cell is counted from that of its region."""

    def pooled(x: Array, rois: Array, owner: Array) -> Array:
        found = np.zeros((len(rois), x.shape[1], *size), np.float32)
        for n, c, i, j in np.ndindex(found.shape):
            y0, x0, y1, x1 = (round(float(corner)) for corner in rois[n])
            crop = x[int(owner[n]), c, y0:y1, x0:x1]
            (h, w), (p, q) = crop.shape, size
            y, z = i * (h // p), j * (w // q)
            found[n, c, i, j] = reduce(crop[y : y + int(np.ceil(h / p)), z : z + int(np.ceil(w / q))])
        return found

    return pooled


def region_samples(size: tuple[int, int], method: str) -> Callable[..., Array]:
    """Section 4.6.2 in loops: where the sample ``i`` of ``p`` lies in a region from ``a`` to ``b``."""
    places: dict[str, Callable[[float, float, int, int], float]] = {
        "symmetric": lambda a, b, i, p: a + (i + 0.5) * (b - a) / p - 0.5,
        "asymmetric": lambda a, b, i, p: a + i * (b - a) / p,
        "aligned": lambda a, b, i, p: a + i * (b - 1 - a) / (p - 1),
    }

    def between(line: Array, place: float) -> Any:
        place = min(max(place, 0.0), len(line) - 1.0)
        low = min(int(place), len(line) - 2)
        return line[low] * (low + 1 - place) + line[low + 1] * (place - low)

    def sampled(x: Array, rois: Array, owner: Array) -> Array:
        found = np.zeros((len(rois), x.shape[1], *size), np.float32)
        for n, c, i, j in np.ndindex(found.shape):
            y0, x0, y1, x1 = map(float, rois[n])
            line = between(x[int(owner[n]), c], places[method](y0, y1, i, size[0]))
            found[n, c, i, j] = between(line, places[method](x0, x1, j, size[1]))
        return found

    return sampled


def of_samples(reduce: Callable[..., Any], rate: tuple[int, int], method: str) -> Callable[..., Array]:
    """Reduced over blocks of ``rate`` samples; two by two blocks are wanted."""

    def aligned(*given: Array) -> Array:
        fine = region_samples((2 * rate[0], 2 * rate[1]), method)(*given)
        return np.asarray(reduce(fine.reshape(*fine.shape[:2], 2, rate[0], 2, rate[1]), axis=(3, 5)))

    return aligned


def region(operation: str, expected: Callable[..., Any], more: str = "", index: Array = OF_BATCH) -> Case:
    body = f"y = {operation}(x, r, i, output_size = [2, 2]{more});"
    inputs = {"x": ("x", SHAPE), "r": ("r", REGIONS.shape), "i": ("b", index.shape)}
    return Case(body, inputs, numpy=expected, why=NO_REGIONS)


CASES |= {
    "avg_roi_pool": region("avg_roi_pool", region_pool(np.mean, (2, 2))),
    "max_roi_pool": region("max_roi_pool", region_pool(np.max, (2, 2))),
    "avg_roi_pool, wide": Case(
        "y = avg_roi_pool(x, r, i, output_size = [3, 4]);",
        {"x": ("x", SHAPE), "r": ("r", REGIONS.shape), "i": ("b", OF_BATCH.shape)},
        numpy=region_pool(np.mean, (3, 4)),
        why=NO_REGIONS,
    ),
    **{
        f"roi_resample, {method}": region("roi_resample", region_samples((2, 2), method), f", method = '{method}'")
        for method in ("symmetric", "asymmetric", "aligned")
    },
    **{
        f"{name}_roi_align, {method}": region(
            f"{name}_roi_align",
            of_samples(reduce, (3, 2), method),
            f", sampling_rate = [3, 2], resize_method = '{method}'",
        )
        for name, reduce in (("avg", np.mean), ("max", np.max))
        for method in ("symmetric", "asymmetric")
    },
}

REFUSED: dict[str, tuple[Case, str]] = {
    "one aligned sample": (
        Case(
            "y = roi_resample(x, r, i, output_size = [1, 2], method = 'aligned');",
            {"x": ("x", SHAPE), "r": ("r", REGIONS.shape), "i": ("b", OF_BATCH.shape)},
        ),
        "one sample",
    ),
    "bits": (Case("y = logarithmic_quantize(x, 4.0, bits = 2147483648);"), "outside of 1 to 32"),
    "index over the border": (Case("y = argmax_pool(x, size = [1, 1, 2, 2]);"), "over the border"),
    "asymmetric": (Case("y = multilinear_upsample(x, factor = [2, 2], method = 'asymmetric');"), "asymmetric"),
    "asymmetric, factor 3": (
        Case("y = multilinear_upsample(x, factor = [3, 1], method = 'asymmetric', border = 'constant');"),
        "asymmetric",
    ),
}


def sample(kind: str, shape: tuple[int, ...], seed: int) -> Array:
    generator = np.random.default_rng(seed)
    if kind == "i":
        return generator.integers(0, 3, shape)
    if kind == "l":
        return generator.random(shape) > 0.5
    if kind == "r":
        return REGIONS
    if kind == "b":
        return OF_BATCH.reshape(shape)
    if kind == "p":
        return generator.uniform(0.5, 2.0, shape).astype(np.float32)
    if kind == "u":
        return generator.uniform(-0.9, 0.9, shape).astype(np.float32)
    return generator.normal(size=shape).astype(np.float32)


def graph_of(case: Case) -> str:
    """The text of ``graph.nnef``."""
    dtypes = {"i": "integer", "b": "integer", "l": "logical"}
    lines = [
        f"{name} = external<{dtypes.get(kind, 'scalar')}>(shape = {list(shape)});"
        for name, (kind, shape) in case.inputs.items()
    ]
    for name, array in case.variables.items():
        lines.append(f"{name} = variable<scalar>(shape = {list(array.shape)}, label = 'weights/{name}');")
    text = f"graph case({', '.join(case.inputs)}) -> ({case.outputs}) {{ {' '.join(lines)} {case.body} }}"
    return f"version 1.0;\n{text}\n"


def write_case(case: Case, folder: Path) -> dict[str, Array]:
    """The folder of a case; returns feeds, which lie in it too."""
    folder.mkdir()
    for name, array in case.variables.items():
        target = folder / f"weights/{name}.dat"
        target.parent.mkdir(exist_ok=True)
        write_tensor(target, array, quantized=array.dtype.kind == "i")
    (folder / "graph.nnef").write_text(graph_of(case))
    if case.quant:
        (folder / "graph.quant").write_text(case.quant)
    feeds = {name: sample(kind, shape, seed) for seed, (name, (kind, shape)) in enumerate(case.inputs.items())}
    np.savez(folder / "feeds.npz", **feeds)  # type: ignore[arg-type]
    return feeds


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("oracle")
    folders: dict[str, Path] = {}
    for index, (name, case) in enumerate(CASES.items()):
        if case.numpy is None:
            folders[name] = root / str(index)
            write_case(case, folders[name])
    results = interpreter.run_all({folder: list(CASES[name].decomposed) for name, folder in folders.items()})
    return {name: results[folder] for name, folder in folders.items()}


@pytest.mark.parametrize("name", CASES)
def test_operation(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    case = CASES[name]
    feeds = write_case(case, tmp_path / "model")
    results = load(tmp_path / "model").run(feeds)
    if case.numpy is not None:
        assert case.why, "a case without the oracle says why"
        expected = {"y": case.numpy(*feeds.values())}
    else:
        expected = request.getfixturevalue("oracle")[name]
        assert isinstance(expected, dict), expected
    assert list(results) == case.outputs.split(", ")
    for key, value in results.items():
        assert value.shape == np.shape(expected[key])
        assert value.dtype.kind == np.asarray(expected[key]).dtype.kind
        np.testing.assert_allclose(value, expected[key], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_operation(name: str, tmp_path: Path) -> None:
    case, words = REFUSED[name]
    feeds = write_case(case, tmp_path / "model")
    model = load(tmp_path / "model")
    with pytest.raises(ConversionError, match=words):
        model.run(feeds)


def test_the_pictures_of_regions_may_be_a_column(tmp_path: Path) -> None:
    """The specification says so, Khronos' parser refuses it."""
    results = []
    for name, shape in (("row", (4,)), ("column", (4, 1))):
        inputs = {"x": ("x", SHAPE), "r": ("r", REGIONS.shape), "i": ("b", shape)}
        feeds = write_case(Case("y = roi_resample(x, r, i, output_size = [2, 3]);", inputs), tmp_path / name)
        results.append(load(tmp_path / name).run(feeds)["y"])
    np.testing.assert_array_equal(*results)


def test_every_standard_operation_has_a_case() -> None:
    texts = " ".join(case.body for case in [*CASES.values(), *(case for case, _ in REFUSED.values())])
    missing = [name for name in standard_operations() if f"{name}(" not in texts and f"{name}<" not in texts]
    assert missing == ["external", "variable", "update"], "the first two write_case writes; the last: test_states.py"


def test_shapes_are_those_of_the_reference(tmp_path: Path) -> None:
    names = [name for name in CASES if name not in ("sample", "avg_unpool", "max_unpool")]
    for index, name in enumerate(names):
        write_case(CASES[name], tmp_path / str(index))
    requests = [{"path": str(tmp_path / str(index)), "shapes": True} for index in range(len(names))]
    for index, (name, found) in enumerate(zip(names, khronos.parse(requests), strict=True)):
        assert "error" not in found, (name, found)
        model = load(tmp_path / str(index))
        for spec in (*model.outputs, *(spec for layer in model.layers for spec in layer.outputs)):
            assert list(spec.shape or ()) == found["shapes"][spec.name], (name, spec)
