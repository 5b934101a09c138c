"""Layers of the older form, built with coremltools' own builder, against numpy and PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.formats.coreml.reading import compare, run
from workbench.errors import ConversionError, ModelError
from workbench.formats.coreml import FORMAT, toolkit
from workbench.formats.coreml.neuralnetwork.weights import weight_array
from workbench.formats.coreml.read import CoreMLDocument, read

torch = pytest.importorskip("torch")
F = torch.nn.functional
Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(13)


def floats(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def tensor(array: Any) -> Any:
    return torch.from_numpy(np.ascontiguousarray(array))


@dataclass(frozen=True)
class Layer:
    """One layer: ``add(builder)`` adds it, reading the inputs by name and writing ``y`` (``y0``, ``y1``, …).

    Attributes:
        rank5: whether the network uses the legacy mapping of arrays to five dimensions.
        shape: declared shape of the output.
    """

    name: str
    add: Callable[[Any], Any]
    inputs: Mapping[str, Array]
    expect: Callable[..., Any]
    outputs: int = 1
    rank5: bool = False
    shape: Sequence[int] | None = None
    atol: float = 1e-5

    def __str__(self) -> str:
        return self.name


def network(layer: Layer) -> Any:
    """The layer alone in a ``Model`` message."""
    datatypes = toolkit.submodule("models.datatypes")
    names = ["y"] if layer.outputs == 1 else [f"y{index}" for index in range(layer.outputs)]
    with toolkit.session():
        builder = toolkit.submodule("models.neural_network").NeuralNetworkBuilder(
            [(name, datatypes.Array(*array.shape)) for name, array in layer.inputs.items()],
            [(name, datatypes.Array(*layer.shape) if layer.shape else None) for name in names],
            disable_rank5_shape_mapping=not layer.rank5,
            use_float_arraytype=True,
        )
        layer.add(builder)
    return builder.spec


X, Y = floats(2, 4, 6, 8), floats(2, 4, 6, 8)
W, B = floats(6, 4, 3, 2), floats(6)
VECTOR = floats(4)
IDS = np.asarray([2, 0, 1], dtype=np.float32)


def last_first(weight: Array) -> Array:
    """The builder takes [kH, kW, C_in / groups, C_out]."""
    return weight.transpose(2, 3, 1, 0)


def convolution(name: str, expect: Any, inputs: Any = None, rank5: bool = False, **given: Any) -> Layer:
    parameters = {
        "kernel_channels": 4, "output_channels": 6, "height": 3, "width": 2, "stride_height": 1, "stride_width": 1,
        "border_mode": "valid", "groups": 1, "W": last_first(W), "b": B, "has_bias": True, **given,
    }  # fmt: skip
    return Layer(
        f"convolution-{name}",
        lambda nn: nn.add_convolution("c", input_name="x", output_name="y", **parameters),
        inputs or {"x": X},
        expect,
        rank5=rank5,
    )


def pooling(name: str, expect: Any, kind: str, padding: str = "VALID", **given: Any) -> Layer:
    return Layer(
        f"pooling-{name}",
        lambda nn: nn.add_pooling("p", 3, 3, 2, 2, kind, padding, input_name="x", output_name="y", **given),
        {"x": X},
        expect,
    )


CONVOLUTIONS = [
    convolution(
        "pads", lambda x: F.conv2d(F.pad(tensor(x), [0, 1, 2, 0]), tensor(W), tensor(B), (2, 1), 0, (1, 2)),
        padding_top=2, padding_right=1, stride_height=2, dilation_factors=[1, 2],
    ),
    convolution("same", lambda x: F.conv2d(F.pad(tensor(x), [0, 1, 1, 1]), tensor(W), tensor(B)), border_mode="same"),
    convolution(
        "same-top-left", lambda x: F.conv2d(F.pad(tensor(x), [1, 0, 1, 1]), tensor(W), tensor(B)), border_mode="same",
        same_padding_asymmetry_mode="TOP_LEFT_HEAVY",
    ),
    convolution(
        "groups", lambda x: F.conv2d(tensor(x), tensor(W[:, :2]), groups=2), kernel_channels=2, groups=2,
        W=last_first(W[:, :2]), b=None, has_bias=False,
    ),
    convolution(
        "five-dimensions",
        lambda x: F.conv2d(tensor(x.reshape(4, 4, 6, 4)), tensor(W), tensor(B)).reshape(2, 2, 6, 4, 3),
        {"x": X.reshape(2, 2, 4, 6, 4)},
    ),
    convolution(
        "deconvolution", lambda x: F.conv_transpose2d(tensor(x), tensor(W[:4, :3]), tensor(B[:3]), (2, 3)),
        is_deconv=True, stride_height=2, stride_width=3, W=W[:4, :3].transpose(2, 3, 0, 1), b=B[:3], output_channels=3,
    ),
    convolution("rank5", lambda x: F.conv2d(tensor(x)[None], tensor(W), tensor(B))[0], {"x": X[0]}, rank5=True),
]  # fmt: skip

POOLS = [
    pooling("max", lambda x: F.max_pool2d(tensor(x), 3, 2), "MAX"),
    pooling(
        "average-padded", lambda x: F.avg_pool2d(tensor(x), 3, 2, 1), "AVERAGE", exclude_pad_area=False, padding_top=1,
        padding_bottom=1, padding_left=1, padding_right=1,
    ),
    pooling(
        "last-pixel", lambda x: F.avg_pool2d(tensor(x), 3, 2, 1, ceil_mode=True, count_include_pad=False), "AVERAGE",
        "INCLUDE_LAST_PIXEL", padding_top=1, padding_bottom=1, padding_left=1, padding_right=1,
    ),
    pooling("global", lambda x: tensor(x).mean((2, 3), keepdim=True), "AVERAGE", is_global=True),
    pooling("global-l2", lambda x: tensor(x).square().sum((2, 3), keepdim=True).sqrt(), "L2", is_global=True),
]  # fmt: skip


def activation(kind: str, expect: Any, params: Any = None) -> Layer:
    return Layer(f"activation-{kind}", lambda nn: nn.add_activation("a", kind, "x", "y", params), {"x": X}, expect)


C = VECTOR.reshape(-1, 1, 1)
ACTIVATIONS = [
    activation("RELU", lambda x: np.maximum(x, 0)),
    activation("SIGMOID", lambda x: 1 / (1 + np.exp(-x))),
    activation("TANH", np.tanh),
    activation("SCALED_TANH", lambda x: 1.5 * np.tanh(0.5 * x), [1.5, 0.5]),
    activation("SOFTPLUS", lambda x: np.log1p(np.exp(x))),
    activation("SOFTSIGN", lambda x: x / (1 + np.abs(x))),
    activation("SIGMOID_HARD", lambda x: np.clip(0.3 * x + 0.4, 0, 1), [0.3, 0.4]),
    activation("LEAKYRELU", lambda x: np.where(x > 0, x, 0.3 * x), [0.3]),
    activation("PRELU", lambda x: np.where(x > 0, x, C * x), VECTOR),
    activation("ELU", lambda x: np.where(x > 0, x, 0.7 * np.expm1(x)), 0.7),
    activation("PARAMETRICSOFTPLUS", lambda x: C * np.log1p(np.exp(C * x)), [VECTOR, VECTOR]),
    activation("THRESHOLDEDRELU", lambda x: np.where(x >= 0.5, x, 0), 0.5),
    activation("LINEAR", lambda x: 2 * x - 1, [2.0, -1.0]),
]


def one(name: str, expect: Any, x: Array = X, **given: Any) -> Layer:
    """``builder.add_<name before the dash>("l", input_name="x", output_name="y", …)``"""
    method = f"add_{name.split('-')[0]}"
    return Layer(name, lambda nn: getattr(nn, method)("l", input_name="x", output_name="y", **given), {"x": x}, expect)


def many(name: str, expect: Any, inputs: Mapping[str, Array], **given: Any) -> Layer:
    method = f"add_{name.split('-')[0]}"
    names = list(inputs)
    return Layer(name, lambda nn: getattr(nn, method)("l", input_names=names, output_name="y", **given), inputs, expect)


def normalised(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


MATRIX = floats(5, 4)


def of_the_batch(nn: Any) -> None:
    """A normalisation by the whole batch, which the builder does not make although the format has it."""
    nn.add_batchnorm(
        "l", 4, VECTOR, np.ones(4, np.float32), input_name="x", output_name="y", compute_mean_var=True,
        instance_normalization=True, epsilon=1e-3,
    )  # fmt: skip
    nn.spec.neuralNetwork.layers[0].batchnorm.instanceNormalization = False


COMMON = [
    one(
        "inner_product",
        lambda x: x @ MATRIX.T + 1,
        floats(3, 4),
        W=MATRIX,
        b=np.ones(5, np.float32),
        input_channels=4,
        output_channels=5,
        has_bias=True,
    ),
    one(
        "inner_product-spatial",
        lambda x: (x.reshape(2, 4) @ MATRIX.T)[..., None, None],
        floats(2, 4, 1, 1),
        W=MATRIX,
        b=None,
        input_channels=4,
        output_channels=5,
        has_bias=False,
    ),
    many("batched_mat_mul", lambda a, b: a @ b.swapaxes(-1, -2), {"a": X, "b": Y}, transpose_b=True),
    many(
        "batched_mat_mul-weights",
        lambda a: a @ MATRIX.T + 1,
        {"a": floats(2, 3, 4)},
        weight_matrix_rows=4,
        weight_matrix_columns=5,
        W=MATRIX.T,
        bias=np.ones(5, np.float32),
    ),
    one("embedding_nd", lambda x: MATRIX.T[IDS.astype(int)], IDS[:, None], vocab_size=4, embedding_size=5, W=MATRIX),
    one(
        "batchnorm",
        lambda x: C * (x - C) / np.sqrt(np.abs(C) + 1e-3) + 1,
        channels=4,
        gamma=VECTOR,
        beta=np.ones(4, np.float32),
        mean=VECTOR,
        variance=np.abs(VECTOR),
        epsilon=1e-3,
    ),
    Layer("batchnorm-batch", of_the_batch, {"x": X}, lambda x: C * normalised(x, (0, 2, 3), 1e-3) + 1),
    one(
        "batchnorm-instance",
        lambda x: C * normalised(x, (2, 3), 1e-3),
        channels=4,
        gamma=VECTOR,
        beta=np.zeros(4, np.float32),
        compute_mean_var=True,
        instance_normalization=True,
        epsilon=1e-3,
    ),
    one("mvn", lambda x: normalised(x, (1, 2, 3), 1e-3), across_channels=True, normalize_variance=True, epsilon=1e-3),
    one("l2_normalize", lambda x: x / np.sqrt((x * x).sum((1, 2, 3), keepdims=True) + 1e-2), epsilon=1e-2),
    one("lrn", lambda x: F.local_response_norm(tensor(x), 3, 0.1, 0.5, 2.0), alpha=0.1, beta=0.5, local_size=3, k=2.0),
    one(
        "layer_normalization",
        lambda x: F.layer_norm(tensor(x), (8,), tensor(Y[0, 0, 0]), tensor(Y[0, 0, 1]), 1e-3),
        normalized_shape=[8],
        gamma=Y[0, 0, 0],
        beta=Y[0, 0, 1],
        eps=1e-3,
    ),
    one("softmax", lambda x: torch.softmax(tensor(x), -3)),
    one("softmax_nd", lambda x: torch.softmax(tensor(x), 2), axis=2),
    one(
        "scale",
        lambda x: x * C + 2,
        W=VECTOR,
        b=2 * np.ones(4, np.float32),
        has_bias=True,
        shape_scale=[4],
        shape_bias=[4],
    ),
    one("bias", lambda x: x + C, b=VECTOR, shape_bias=[4]),
    *(
        one(f"unary-{mode}", expect, np.abs(X) + 0.1, mode=mode, alpha=0.7, scale=2.0, shift=0.5, epsilon=1e-3)
        for mode, expect in (
            ("sqrt", lambda x: np.sqrt(2 * x + 0.5)),
            ("rsqrt", lambda x: 1 / np.sqrt(2 * x + 0.501)),
            ("inverse", lambda x: 1 / (2 * x + 0.501)),
            ("power", lambda x: (2 * x + 0.5) ** 0.7),
            ("exp", lambda x: np.exp(2 * x + 0.5)),
            ("log", lambda x: np.log(2 * x + 0.501)),
            ("abs", lambda x: 2 * x + 0.5),
            ("threshold", lambda x: np.maximum(2 * x + 0.5, 0.7)),
        )
    ),
    *(
        many(f"elementwise-{mode}", expect, {"a": X, "b": Y}, mode=mode)
        for mode, expect in (
            ("ADD", np.add),
            ("MULTIPLY", np.multiply),
            ("MAX", np.maximum),
            ("MIN", np.minimum),
            ("AVE", lambda a, b: (a + b) / 2),
            ("DOT", lambda a, b: (a * b).sum(1, keepdims=True)),
            (
                "COS",
                lambda a, b: (
                    (a * b).sum(1, keepdims=True)
                    / np.sqrt((a * a).sum(1, keepdims=True) * (b * b).sum(1, keepdims=True))
                ),
            ),
        )
    ),
    many("elementwise-alpha", lambda a: a * 0.5, {"a": X}, mode="MULTIPLY", alpha=0.5),
    *(
        many(f"{name}_broadcastable", expect, {"a": X, "b": Y[:1, :, :1]})
        for name, expect in (
            ("add", np.add),
            ("subtract", np.subtract),
            ("multiply", np.multiply),
            ("divide", np.divide),
            ("max", np.maximum),
            ("min", np.minimum),
            ("mod", np.mod),
            ("floor_div", np.floor_divide),
        )
    ),
    many("greater_than", lambda a, b: (a > b).astype(np.float32), {"a": X, "b": Y}),
    many("less_than-alpha", lambda a: (a <= 0.5).astype(np.float32), {"a": X}, use_less_than_equal=True, alpha=0.5),
    many("logical", lambda a, b: np.logical_xor(a, b).astype(np.float32), {"a": IDS, "b": IDS[::-1]}, mode="XOR"),
    many(
        "where_broadcastable",
        lambda c, a, b: np.where(c != 0, a, b),
        {"c": np.float32([0, 1, 2, 0, 0, 1, 1, 0]), "a": X, "b": Y},
    ),
    one("clip", lambda x: np.clip(x, -0.5, 0.7), min_value=-0.5, max_value=0.7),
    one("reshape_static", lambda x: x.reshape(8, 48), output_shape=(8, -1)),
    one("rank_preserving_reshape", lambda x: x.reshape(2, 8, 3, 8), output_shape=(0, 8, -1, 8)),
    many("reshape_dynamic", lambda x, s: x.reshape(8, 48), {"x": X, "s": np.float32([8, 48])}),
    one("flatten", lambda x: x.transpose(0, 2, 3, 1).reshape(2, -1, 1, 1), mode=1),
    one("flatten_to_2d", lambda x: x.reshape(8, 48), axis=2),
    one("transpose", lambda x: x.transpose(0, 2, 3, 1), axes=(0, 2, 3, 1)),
    one("squeeze", lambda x: x[:, 0], X[:, :1], axes=(1,)),
    one("squeeze-all", lambda x: x.reshape(1), floats(1, 1), squeeze_all=True),
    one("expand_dims", lambda x: x[:, None], axes=(1,)),
    one("get_shape", lambda x: np.float32(x.shape)),
    many("concat_nd", lambda a, b: np.concatenate([a, b], 2), {"a": X, "b": Y}, axis=2),
    many(
        "concat_nd-interleaved",
        lambda a, b: np.stack([a, b], 2).reshape(2, 8, 6, 8),
        {"a": X, "b": Y},
        axis=1,
        interleave=True,
    ),
    many("stack", lambda a, b: np.stack([a, b], -2), {"a": X, "b": Y}, axis=-2),
    one("tile", lambda x: np.tile(x, (1, 1, 2, 3)), reps=[2, 3]),
    one("reverse", lambda x: x[:, ::-1, :, ::-1], reverse_dim=[False, True, False, True]),
    one("slice", lambda x: x[:, :, 1:-1:2], axis="height", start_index=1, end_index=-1, stride=2),
    one(
        "slice_static",
        lambda x: x[1, 1:, ::-2, :3],
        begin_ids=[1, 1, 0, 5],
        end_ids=[0, 0, 0, 3],
        strides=[1, 1, -2, 1],
        begin_masks=[False, False, True, True],
        end_masks=[False, True, True, False],
        squeeze_masks=[True, False, False, False],
    ),
    many("crop", lambda a: a[:, :, 1:-2, 2:], {"a": X}, left=2, right=0, top=1, bottom=2, offset=None),
    many(
        "crop-like",
        lambda a, b: a[:, :, 1:4, 2:6],
        {"a": X, "b": Y[:, :, :3, :4]},
        left=0,
        right=0,
        top=0,
        bottom=0,
        offset=[1, 2],
    ),
    one(
        "padding",
        lambda x: np.pad(x, [(0, 0), (0, 0), (2, 1), (1, 3)], "edge"),
        left=1,
        right=3,
        top=2,
        bottom=1,
        padding_type="replication",
    ),
    one(
        "padding-constant",
        lambda x: np.pad(x, [(0, 0), (0, 0), (2, 1), (1, 3)], constant_values=3),
        left=1,
        right=3,
        top=2,
        bottom=1,
        value=3,
    ),
    many(
        "constant_pad",
        lambda x: np.pad(x, [(0, 0), (0, 2), (1, 0), (0, 0)]),
        {"x": X},
        pad_amounts=[0, 0, 0, 2, 1, 0, 0, 0],
    ),
    many(
        "constant_pad-to-size",
        lambda x: np.pad(x, [(0, 0), (0, 3), (0, 0), (2, 0)]),
        {"x": X},
        pad_amounts=[0, 0, 0, 7, 0, 3, 10, 0],
        pad_to_given_output_size_mode=True,
    ),
    one("upsample", lambda x: x.repeat(2, 2).repeat(3, 3), scaling_factor_h=2, scaling_factor_w=3),
    one(
        "upsample-aligned",
        lambda x: F.interpolate(tensor(x), scale_factor=(2, 3), mode="bilinear", align_corners=True),
        scaling_factor_h=2,
        scaling_factor_w=3,
        mode="BILINEAR",
        linear_upsample_mode="ALIGN_CORNERS_TRUE",
    ),
    one(
        "resize_bilinear",
        lambda x: F.interpolate(tensor(x), size=(4, 9), mode="bilinear", align_corners=True),
        target_height=4,
        target_width=9,
        mode="STRICT_ALIGN_ENDPOINTS_MODE",
    ),
    one("reorganize_data", lambda x: F.pixel_shuffle(tensor(x), 2), mode="PIXEL_SHUFFLE", block_size=2),
    one("reduce", lambda x: (x * x).sum((1, 2, 3), keepdims=True), axis="CHW", mode="sumsquare"),
    one("reduce-argmax", lambda x: np.float32(x.argmax(1)[:, None]), axis="C", mode="argmax"),
    *(
        one(f"reduce_{name}", expect, np.abs(X), axes=[1, 3], keepdims=False)
        for name, expect in (
            ("sum", lambda x: x.sum((1, 3))),
            ("max", lambda x: x.max((1, 3))),
            ("mean", lambda x: x.mean((1, 3))),
            ("l2", lambda x: np.sqrt((x * x).sum((1, 3)))),
            ("logsumexp", lambda x: np.log(np.exp(x).sum((1, 3)))),
        )
    ),
    one("argmax", lambda x: np.float32(x.argmax(2)), axis=2, keepdims=False),
    one("argsort", lambda x: np.float32(np.argsort(-x, 1)), axis=1, descending=True),
    many("cumsum", lambda x: np.cumsum(x[:, :, ::-1], 2)[:, :, ::-1], {"x": X}, axis=2, reverse=True),
    many("gather", lambda x, i: x[:, i.astype(int)], {"x": X, "i": IDS}, axis=1),
    many(
        "gather_nd",
        lambda x, i: x[i.astype(int)[:, 0], i.astype(int)[:, 1]],
        {"x": X, "i": np.float32([[1, 2], [0, 3]])},
    ),
    many("scatter", lambda x, i, u: replaced(x, i, u), {"x": X, "i": IDS, "u": Y[:, :3]}, axis=1, mode="UPDATE"),
    one("where_nonzero", lambda x: np.float32(np.argwhere(x)), IDS),
    one("matrix_band_part", lambda x: np.triu(np.tril(x, 2), -1), num_lower=1, num_upper=2),
    one("upper_triangular", lambda x: np.triu(x, 1), k=1),
    one(
        "sliding_windows", lambda x: np.stack([x[..., :3], x[..., 2:5], x[..., 4:7]], 3), axis=3, window_size=3, step=2
    ),
    many(
        "one_hot",
        lambda i: np.eye(3, dtype=np.float32)[i.astype(int)].T * 2,
        {"i": IDS},
        one_hot_vector_size=3,
        axis=0,
        on_value=2.0,
    ),
    Layer(
        "split_nd",
        lambda nn: nn.add_split_nd("l", "x", ["y0", "y1"], axis=3, split_sizes=[3, 5]),
        {"x": X},
        lambda x: (x[..., :3], x[..., 3:]),
        outputs=2,
    ),
    Layer(
        "topk",
        lambda nn: nn.add_topk("l", ["x"], ["y0", "y1"], k=2, axis=1),
        {"x": X},
        lambda x: [np.asarray(part, np.float32) for part in torch.topk(tensor(x), 2, 1)],
        outputs=2,
    ),
    Layer(
        "permute-rank5",
        lambda nn: nn.add_permute("l", (0, 2, 3, 1), "x", "y"),
        {"x": X[0]},
        lambda x: x.transpose(1, 2, 0),
        rank5=True,
    ),
    Layer(
        "reshape-rank5",
        lambda nn: nn.add_reshape("l", "x", "y", (6, 8, 4), 1),
        {"x": X[0]},
        lambda x: x.transpose(1, 2, 0).reshape(8, 4, 6).transpose(2, 0, 1),
        rank5=True,
    ),
    Layer(
        "inner-product-rank5",
        lambda nn: nn.add_inner_product("l", MATRIX, None, 4, 5, False, "x", "y"),
        {"x": VECTOR},
        lambda x: MATRIX @ x,
        rank5=True,
        shape=[5],
    ),
]


CUBE, CUBE_W = floats(1, 2, 5, 6, 7), floats(3, 2, 2, 3, 2)
VOLUMES = [
    one(
        "convolution3d",
        lambda x: F.conv3d(F.pad(tensor(x), [0, 1, 1, 1, 0, 1]), tensor(CUBE_W), tensor(B[:3]), (2, 1, 1)), CUBE,
        input_channels=2, output_channels=3, depth=2, height=3, width=2, W=CUBE_W, b=B[:3], has_bias=True,
        stride_depth=2, padding_mode="same",
    ),
    one(
        "pooling3d", lambda x: F.avg_pool3d(tensor(x), 3, 2, 1), CUBE, pooling_type="AVERAGE", kernel_depth=3,
        kernel_height=3, kernel_width=3, stride_depth=2, stride_height=2, stride_width=2, padding_mode="custom",
        **{f"custom_padding_{edge}": 1 for edge in ("front", "back", "top", "bottom", "left", "right")},
    ),
    one("global_pooling3d", lambda x: x.max((2, 3, 4), keepdims=True), CUBE, pooling_type="MAX"),
    many(
        "reverse_sequence", lambda x, n: np.stack([np.concatenate([x[0, :3][::-1], x[0, 3:]]), x[1]]),
        {"x": floats(2, 4), "n": np.float32([3, 0])}, batch_axis=0, seq_axis=1,
    ),
]  # fmt: skip


def replaced(x: Array, i: Array, u: Array) -> Array:
    y = x.copy()
    y[:, i.astype(int)] = u
    return y


def results(message: Any, inputs: Mapping[str, Array]) -> tuple[CoreMLDocument, list[Array]]:
    document = read(message)
    return document, run(document, inputs)


@pytest.mark.parametrize("layer", CONVOLUTIONS + POOLS + ACTIVATIONS + COMMON + VOLUMES, ids=str)
def test_layer(layer: Layer) -> None:
    document, found = results(network(layer), layer.inputs)
    expected = layer.expect(*layer.inputs.values())
    wanted = [np.asarray(item) for item in (expected if isinstance(expected, list | tuple) else [expected])]
    assert all(array.dtype == np.float32 for array in found), "this form knows float32 only"
    compare(found, [array.astype(np.float32) for array in wanted], rtol=1e-5, atol=layer.atol)
    assert len(document.layers) == 1


# -- weights, interfaces, contradictions -------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 4, 5, 8])
@pytest.mark.parametrize("kind", ["linear", "table"])
def test_quantised_weights(bits: int, kind: str) -> None:
    """Codes packed by coremltools, which also made scales and biases; a table of our own."""
    utils = toolkit.submodule("models.neural_network.quantization_utils")
    message = toolkit.submodule("proto.NeuralNetwork_pb2").WeightParams()
    message.quantization.numberOfBits = bits
    if kind == "linear":
        codes, scale, bias = utils._quantize_channelwise_linear(floats(3, 7), bits, 0, False)
        message.quantization.linearQuantization.scale.extend(scale.reshape(-1))
        message.quantization.linearQuantization.bias.extend(bias.reshape(-1))
        expected = codes.reshape(3, 7) * scale.reshape(-1, 1) + bias.reshape(-1, 1)
    else:
        codes, table = RNG.integers(0, 1 << bits, size=(3, 7)), floats(1 << bits)
        message.quantization.lookupTableQuantization.floatValue.extend(table)
        expected = table[codes]
    message.rawValue = utils._convert_array_to_nbit_quantized_bytes(codes.flatten().astype(np.uint8), bits).tobytes()
    np.testing.assert_allclose(weight_array(message, [3, 7], "w"), expected, rtol=1e-6, atol=1e-6)


def test_half_float_weights() -> None:
    message = network(CONVOLUTIONS[0])
    weights = message.neuralNetwork.layers[0].convolution.weights
    weights.float16Value = np.asarray(weights.floatValue, np.float16).tobytes()
    weights.ClearField("floatValue")
    _, found = results(message, {"x": X})
    compare(found, [np.asarray(CONVOLUTIONS[0].expect(X))], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("colours", "order"), [("RGB", ("red", "green", "blue")), ("BGR", ("blue", "green", "red"))])
def test_images_are_arrays_of_pixels(colours: str, order: tuple[str, ...]) -> None:
    """[1, C, H, W] in the declared order of channels; scale and biases become part of the graph."""
    message = network(Layer("copy", lambda nn: nn.add_copy("l", "x", "y"), {"x": X[0, :3]}, lambda x: x, rank5=True))
    image = message.description.input[0].type
    image.imageType.width, image.imageType.height = 8, 6
    image.imageType.colorSpace = {"RGB": 20, "BGR": 30}[colours]
    scaler = message.neuralNetwork.preprocessing.add().scaler
    scaler.channelScale, scaler.redBias, scaler.greenBias, scaler.blueBias = 0.5, 1, 2, 3
    pixels = RNG.integers(0, 256, size=(1, 3, 6, 8)).astype(np.float32)
    document, found = results(message, {"x": pixels})
    assert document.inputs[0].describe() == "float32[1, 3, 6, 8]"
    assert document.interface.inputs[0].colours == colours
    bias = np.asarray([{"red": 1, "green": 2, "blue": 3}[name] for name in order]).reshape(3, 1, 1)
    compare(found, [(pixels[0] * 0.5 + bias)], rtol=1e-6, atol=1e-6)


def test_a_classifier_gives_its_probabilities() -> None:
    with toolkit.session():
        datatypes = toolkit.submodule("models.datatypes")
        builder = toolkit.submodule("models.neural_network").NeuralNetworkBuilder(
            [("x", datatypes.Array(4))], [("scores", datatypes.Array(5))], mode="classifier"
        )
        builder.add_inner_product("fc", MATRIX, None, 4, 5, False, "x", "logits")
        builder.add_softmax("softmax", "logits", "scores")
        builder.set_class_labels(["a", "b", "c", "d", "e"], predicted_feature_name="label", prediction_blob="scores")
    document, found = results(builder.spec, {"x": VECTOR.astype(np.float64)})
    assert document.classifier.classes == ("a", "b", "c", "d", "e")
    logits = MATRIX @ VECTOR
    compare(found, [np.exp(logits) / np.exp(logits).sum()], rtol=1e-5, atol=1e-6)
    assert [spec.name for spec in document.outputs] == ["scores"]


def test_a_blob_may_be_written_twice() -> None:
    """Old converters let an activation overwrite its input."""

    def add(nn: Any) -> None:
        nn.add_activation("first", "LINEAR", "x", "y", [2.0, 0.0])
        nn.add_activation("second", "LINEAR", "y", "y", [3.0, 1.0])

    message = network(Layer("twice", add, {"x": X}, np.copy))
    message.neuralNetwork.layers[1].name = "first"
    document, found = results(message, {"x": X})
    compare(found, [X * 6 + 1], rtol=1e-6, atol=1e-6)
    assert len({layer.name for layer in document.layers}) == 2
    assert document.layers[-1].outputs[0].name == "y"


def test_refusals_and_contradictions() -> None:
    def add(nn: Any) -> None:
        nn.add_custom("first", ["x"], ["n"])
        nn.add_custom("own", ["n"], ["y"])

    with pytest.raises(ConversionError) as caught:
        read(network(Layer("two", add, {"x": X}, np.copy))).hub()
    assert [(item.operator, item.layer) for item in caught.value.refusals] == [
        ("custom", "first"), ("custom", "own")
    ]  # fmt: skip
    short = network(CONVOLUTIONS[0])
    del short.neuralNetwork.layers[0].convolution.weights.floatValue[-1]
    with pytest.raises(ModelError, match=r"convolution 'c'.*'weights' have 143 elements"):
        read(short).hub()
    dangling = network(Layer("copy", lambda nn: nn.add_copy("l", "z", "y"), {"x": X}, np.copy))
    with pytest.raises(ModelError, match="reads 'z'"):
        read(dangling).hub()


def test_a_network_is_saved_as_single_file_too(tmp_path: Any) -> None:
    document = read(network(CONVOLUTIONS[0]))
    document.write(tmp_path / "net.mlmodel")
    again = read(tmp_path / "net.mlmodel")
    compare(run(again, {"x": X}), run(document, {"x": X}), rtol=0, atol=0)
    assert FORMAT.claims(tmp_path / "net.mlmodel")


def test_one_number_is_of_rank_one() -> None:
    """The older form has no rank 0: what is squeezed or reduced to one number can be joined and made a shape of."""

    def add(nn: Any) -> None:
        nn.add_get_shape("shape", "x", "s")
        for axis in (0, 1):
            nn.add_slice_static(f"size{axis}", "s", f"s{axis}", [axis], [0], [1], [False], [False], [True])
        nn.add_reduce_prod("product", "s", "p", reduce_all=True, keepdims=False)
        nn.add_concat_nd("joined", ["p", "s0", "s1"], "y", axis=0)

    x = np.zeros((2, 3), np.float32)
    compare(run(read(network(Layer("numbers", add, {"x": x}, np.copy))), {"x": x}), [np.float32([6, 2, 3])], 0, 0)
