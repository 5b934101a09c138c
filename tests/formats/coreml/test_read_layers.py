"""MIL convolutions, pools, products, normalisations, recurrent layers and resizing against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.formats.coreml.reading import Case, check, palette_convolution
from workbench.errors import ConversionError

torch = pytest.importorskip("torch")
F = torch.nn.functional

RNG = np.random.default_rng(11)


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.normal(size=shape).astype(np.float32)


def tensor(array: Any) -> Any:
    return torch.from_numpy(np.ascontiguousarray(array))


X1, X2, X3 = floats(2, 4, 11), floats(2, 4, 9, 10), floats(1, 2, 5, 6, 7)
W1, W2, W3 = floats(6, 4, 3), floats(6, 4, 3, 2), floats(3, 2, 2, 3, 2)
B = floats(6)


def same(x: Any, kernel: tuple[int, ...], strides: tuple[int, ...], lower: bool = False) -> Any:
    """Pad so that the output is ceil(size / stride), the odd element behind (or before)."""
    pads: list[int] = []
    for size, k, s in zip(x.shape[2:], kernel, strides, strict=True):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        small, large = total // 2, total - total // 2
        pads = [*((large, small) if lower else (small, large)), *pads]
    return F.pad(tensor(x), pads)


CONV = [
    Case(
        "conv1d", lambda mb, x: mb.conv(x=x, weight=W1, bias=B), {"x": X1},
        lambda x: F.conv1d(tensor(x), tensor(W1), tensor(B)),
    ),
    Case(
        "conv2d-custom-pads",
        lambda mb, x: mb.conv(x=x, weight=W2, pad_type="custom", pad=[1, 0, 2, 1], strides=[2, 1], dilations=[1, 2]),
        {"x": X2},
        lambda x: F.conv2d(F.pad(tensor(x), [2, 1, 1, 0]), tensor(W2), stride=(2, 1), dilation=(1, 2)),
    ),
    Case(
        "conv2d-same", lambda mb, x: mb.conv(x=x, weight=W2, pad_type="same", strides=[2, 3]), {"x": X2},
        lambda x: F.conv2d(same(x, (3, 2), (2, 3)), tensor(W2), stride=(2, 3)),
    ),
    Case(
        "conv2d-same-lower", lambda mb, x: mb.conv(x=x, weight=W2, pad_type="same_lower", strides=[2, 3]), {"x": X2},
        lambda x: F.conv2d(same(x, (3, 2), (2, 3), lower=True), tensor(W2), stride=(2, 3)), release=16,
    ),
    Case(
        "conv2d-groups", lambda mb, x: mb.conv(x=x, weight=W2[:, :2], groups=2), {"x": X2},
        lambda x: F.conv2d(tensor(x), tensor(W2[:, :2]), groups=2),
    ),
    Case("conv3d", lambda mb, x: mb.conv(x=x, weight=W3), {"x": X3}, lambda x: F.conv3d(tensor(x), tensor(W3))),
    Case(
        "conv2d-computed-weight", lambda mb, x, w: mb.conv(x=x, weight=w), {"x": X2, "w": W2},
        lambda x, w: F.conv2d(tensor(x), tensor(w)),
    ),
    Case(
        "conv_transpose", lambda mb, x: mb.conv_transpose(x=x, weight=W2[:4, :3], strides=[2, 3]), {"x": X2},
        lambda x: F.conv_transpose2d(tensor(x), tensor(W2[:4, :3]), stride=(2, 3)),
    ),
    Case(
        "conv_transpose-custom-groups-dilation",
        lambda mb, x: mb.conv_transpose(
            x=x, weight=W2[:4, :2], strides=[2, 1], pad_type="custom", pad=[1, 1, 1, 1], groups=2, dilations=[1, 2],
            bias=B[:4],
        ),
        {"x": X2},
        lambda x: F.conv_transpose2d(
            tensor(x), tensor(W2[:4, :2]), tensor(B[:4]), stride=(2, 1), padding=1, groups=2, dilation=(1, 2)
        ),
    ),
    Case(
        "conv_transpose-output-shape",
        lambda mb, x: mb.conv_transpose(
            x=x, weight=W1[:4, :3], strides=[2], pad_type="custom", pad=[1, 1], output_shape=[2, 3, 22]
        ),
        {"x": X1},
        lambda x: F.conv_transpose1d(tensor(x), tensor(W1[:4, :3]), stride=2, padding=1, output_padding=1),
    ),
    Case(
        "conv_transpose-same",  # the output has size * stride elements: kernel - stride are cut off, the odd one behind
        lambda mb, x: mb.conv_transpose(x=x, weight=W2[:4, :3], strides=[2, 1], pad_type="same"),
        {"x": X2},
        lambda x: F.conv_transpose2d(tensor(x), tensor(W2[:4, :3]), stride=(2, 1))[:, :, :-1, :-1],
    ),
]  # fmt: skip


def pool(kind: str, name: str, expect: Any, x: np.ndarray[Any, Any] = X2, release: int = 15, **parameters: Any) -> Case:
    return Case(f"{kind}-{name}", lambda mb, x: getattr(mb, kind)(x=x, **parameters), {"x": x}, expect, release)


POOLS = [
    pool(
        "max_pool", "1d", lambda x: F.max_pool1d(tensor(x), 3, 2), X1,
        kernel_sizes=[3], strides=[2], pad_type="valid",
    ),
    pool(
        "max_pool", "3d", lambda x: F.max_pool3d(tensor(x), 2), X3,
        kernel_sizes=[2] * 3, strides=[2] * 3, pad_type="valid",
    ),
    pool(
        "max_pool", "same", lambda x: F.max_pool2d(F.pad(tensor(x), [0, 1, 1, 1], value=-np.inf), (3, 2), (1, 1)),
        kernel_sizes=[3, 2], strides=[1, 1], pad_type="same",
    ),
    pool(
        "max_pool", "ceil", lambda x: F.max_pool2d(tensor(x), 3, 2, 1, ceil_mode=True),
        kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1], ceil_mode=True,
    ),
    *(
        pool(
            "avg_pool", f"pads-{exclude}-{ceil}",
            lambda x, exclude=exclude, ceil=ceil: F.avg_pool2d(
                tensor(x), 3, 2, 1, ceil_mode=ceil, count_include_pad=not exclude
            ),
            kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1], ceil_mode=ceil,
            exclude_padding_from_average=exclude,
        )
        for exclude in (False, True)
        for ceil in (False, True)
    ),
    pool(
        "avg_pool", "valid-ceil", lambda x: F.avg_pool2d(tensor(x), 2, 2, ceil_mode=True),
        kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid", ceil_mode=True,
    ),
    pool(
        "l2_pool", "valid", lambda x: F.lp_pool2d(tensor(x), 2, 2, 2),
        kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid",
    ),
]  # fmt: skip

A, C = floats(2, 3, 4), floats(2, 4, 5)
LINEAR = [
    Case("matmul", lambda mb, x, y: mb.matmul(x=x, y=y), {"x": A, "y": C}),
    Case(
        "matmul-transposed",
        lambda mb, x, y: mb.matmul(x=x, y=y, transpose_x=True, transpose_y=True),
        {"x": A.transpose(0, 2, 1), "y": C.transpose(0, 2, 1)},
    ),
    Case("linear", lambda mb, x: mb.linear(x=x, weight=W1[:, :, 0], bias=B), {"x": A}, lambda x: x @ W1[:, :, 0].T + B),
    Case(
        "linear-2d",
        lambda mb, x: mb.linear(x=x, weight=W1[:, :, 0], bias=B),
        {"x": A[0]},
        lambda x: x @ W1[:, :, 0].T + B,
    ),
    Case(
        "einsum",
        lambda mb, x, y: mb.einsum(values=(x, y), equation="abcd,adce->abce"),
        {"x": X2, "y": floats(2, 10, 9, 3)},
        lambda x, y: np.einsum("abcd,adce->abce", x, y),
    ),
    Case(
        "einsum-broadcast",
        lambda mb, x, y: mb.einsum(values=(x, y), equation="abcd,adce->abce"),
        {"x": floats(1, 3, 4, 5), "y": floats(2, 5, 1, 6)},
        lambda x, y: np.einsum("abcd,adce->abce", x.repeat(2, 0), y.repeat(4, 2)),
    ),
    Case(
        "matmul-integer-constant",
        lambda mb, x: mb.matmul(x=x, y=np.arange(15, dtype=np.int32).reshape(5, 3)),
        {"x": floats(4, 5)},
        lambda x: x @ np.arange(15).reshape(5, 3).astype(np.float32),
        release=17,
    ),
    Case(
        "matmul-integer-tensor",
        lambda mb, x: mb.matmul(x=np.float32([[1, 2, 3]]), y=x),
        {"x": np.arange(6, dtype=np.int32).reshape(3, 2)},
        lambda x: np.asarray([[1, 2, 3]], np.int32) @ x,
        release=17,
    ),
    Case(
        "linear-integer-weight",
        lambda mb, x: mb.linear(x=x, weight=np.int32([[1, 2], [3, 4]]), bias=np.int32([5, 6])),
        {"x": floats(1, 3, 2)},
        lambda x: x @ np.float32([[1, 3], [2, 4]]) + np.float32([5, 6]),
        release=17,
    ),
    Case(
        "attention-unknown-sizes",
        lambda mb, q, k, v: mb.scaled_dot_product_attention(query=q, key=k, value=v),
        {"q": floats(2, 3, 4, 5), "k": floats(2, 3, 6, 5), "v": floats(2, 3, 6, 7)},
        lambda q, k, v: F.scaled_dot_product_attention(tensor(q), tensor(k), tensor(v)),
        release=18,
        dynamic=True,
        atol=1e-5,
    ),
    *(
        Case(
            f"attention-{kind}",
            lambda mb, q, k, v, mask=mask: mb.scaled_dot_product_attention(query=q, key=k, value=v, attn_mask=mask),
            {"q": floats(1, 2, 3, 4), "k": floats(1, 2, 5, 4), "v": floats(1, 2, 5, 6)},
            lambda q, k, v, mask=mask: F.scaled_dot_product_attention(
                tensor(q), tensor(k), tensor(v), None if mask is None else tensor(mask)
            ),
            release=18,
        )
        for kind, mask in (("plain", None), ("float", floats(1, 1, 3, 5)), ("bool", RNG.random((1, 1, 3, 5)) < 0.7))
    ),
]

SCALE, SHIFT, MEAN, VARIANCE = floats(4), floats(4), floats(4), np.abs(floats(4)) + 0.1
NORMS = [
    Case(
        "batch_norm",
        lambda mb, x: mb.batch_norm(x=x, mean=MEAN, variance=VARIANCE, gamma=SCALE, beta=SHIFT, epsilon=1e-3),
        {"x": X2},
        lambda x: F.batch_norm(
            tensor(x), tensor(MEAN), tensor(VARIANCE), tensor(SCALE), tensor(SHIFT), training=False, eps=1e-3
        ),
    ),
    Case(
        "batch_norm-plain", lambda mb, x: mb.batch_norm(x=x, mean=MEAN, variance=VARIANCE), {"x": X1},
        lambda x: F.batch_norm(tensor(x), tensor(MEAN), tensor(VARIANCE), training=False),
    ),
    Case(
        "instance_norm", lambda mb, x: mb.instance_norm(x=x, gamma=SCALE, beta=SHIFT, epsilon=1e-2), {"x": X2},
        lambda x: F.instance_norm(tensor(x), weight=tensor(SCALE), bias=tensor(SHIFT), eps=1e-2),
    ),
    Case(
        "layer_norm-last", lambda mb, x: mb.layer_norm(x=x, axes=[-1], epsilon=1e-2), {"x": X2},
        lambda x: F.layer_norm(tensor(x), (10,), eps=1e-2), atol=1e-5,
    ),
    Case(
        "layer_norm-affine", lambda mb, x: mb.layer_norm(x=x, axes=[2, 3], gamma=X2[0, 0], beta=X2[0, 1]), {"x": X2},
        lambda x: F.layer_norm(tensor(x), (9, 10), tensor(X2[0, 0]), tensor(X2[0, 1])), atol=1e-5,
    ),
    Case(
        "layer_norm-channels", lambda mb, x: mb.layer_norm(x=x, axes=[1], gamma=SCALE, beta=SHIFT), {"x": X2}, atol=1e-5
    ),
    Case("l2_norm", lambda mb, x: mb.l2_norm(x=x, epsilon=0.1), {"x": X2}),
    Case(
        "local_response_norm", lambda mb, x: mb.local_response_norm(x=x, size=3, alpha=0.1, beta=0.5, k=2.0), {"x": X2},
        lambda x: F.local_response_norm(tensor(x), 3, alpha=0.1, beta=0.5, k=2.0),
    ),
    *(
        Case(
            f"local_response_norm-even-{size}",
            lambda mb, x, size=size: mb.local_response_norm(x=x, size=size, alpha=0.9),
            {"x": X2}, lambda x, size=size: F.local_response_norm(tensor(x), size, alpha=0.9), release=16,
        )
        for size in (2, 4)
    ),
    *(
        Case(  # the channels are the first dimension: see the lowering
            f"local_response_norm-rank3-{size}",
            lambda mb, x, size=size: mb.local_response_norm(x=x, size=size, alpha=0.9, beta=0.6, k=1.5),
            {"x": floats(5, 3, 4)},
            lambda x, size=size: F.local_response_norm(tensor(x[None]), size, alpha=0.9, beta=0.6, k=1.5)[0],
        )
        for size in (2, 3)
    ),
    *(
        Case(  # as coremltools' layer of the older form: the channels are the last but two, before them is batch
            f"local_response_norm-rank5-{size}",
            lambda mb, x, size=size: mb.local_response_norm(x=x, size=size, alpha=0.9, beta=0.6, k=1.5),
            {"x": floats(2, 3, 5, 3, 4)},
            lambda x, size=size: F.local_response_norm(
                tensor(x.reshape(6, 5, 3, 4)), size, alpha=0.9, beta=0.6, k=1.5
            ).reshape(2, 3, 5, 3, 4),
        )
        for size in (2, 3)
    ),
]  # fmt: skip


# -- recurrent layers: torch's gates are (input, forget, cell, output) and (reset, update, new) ------------------------

S, N, D, H = 5, 2, 3, 4
SEQUENCE, H0, C0 = floats(S, N, D), floats(N, H), floats(N, H)
RNN_IH, RNN_HH, RNN_B = floats(H, D), floats(H, H), floats(H)
LSTM_IH, LSTM_HH, LSTM_B = floats(4 * H, D), floats(4 * H, H), floats(4 * H)
BACK_IH, BACK_HH, BACK_B = floats(4 * H, D), floats(4 * H, H), floats(4 * H)
GRU_IH, GRU_HH, GRU_B, GRU_BI = floats(3 * H, D), floats(3 * H, H), floats(3 * H), floats(3 * H)


def reordered(array: np.ndarray[Any, Any], order: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.concatenate([np.split(array, len(order))[index] for index in order])


TO_TORCH = (0, 1, 3, 2)  # Core ML: input, forget, output, cell


def lstm_by_torch(x: Any, h: Any, c: Any, *, bidirectional: bool = False) -> tuple[Any, Any, Any]:
    layer = torch.nn.LSTM(D, H, bidirectional=bidirectional)
    weights = [(LSTM_IH, LSTM_HH, LSTM_B), (BACK_IH, BACK_HH, BACK_B)][: 2 if bidirectional else 1]
    flat = [part for ih, hh, b in weights for part in (ih, hh, b, np.zeros_like(b))]
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), flat, strict=True):
            parameter.copy_(tensor(reordered(value, TO_TORCH)))
        split = [tensor(np.stack(np.split(state, len(weights), axis=1))) for state in (h, c)]
        y, (hn, cn) = layer(tensor(x), tuple(split))
    joined = [np.concatenate(list(state.numpy()), axis=1) for state in (hn, cn)]
    return y.numpy(), joined[0], joined[1]


def gru_by_formula(x: Any, h: Any, *, after: bool, bias_in: Any = None) -> tuple[Any, Any]:
    """Gates in Core ML's order: reset, output, update."""
    outputs = []
    bias_in = np.zeros_like(GRU_B) if bias_in is None else bias_in
    for step in x:
        ri, oi, zi = np.split(step @ GRU_IH.T + bias_in, 3, axis=1)
        w_r, w_o, w_z = np.split(GRU_HH, 3)
        b_r, b_o, b_z = np.split(GRU_B, 3)
        r = 1 / (1 + np.exp(-(ri + h @ w_r.T + b_r)))
        z = 1 / (1 + np.exp(-(zi + h @ w_z.T + b_z)))
        o = np.tanh(oi + (r * (h @ w_o.T + b_o) if after else (r * h) @ w_o.T + b_o))
        h = (1 - z) * o + z * h
        outputs.append(h)
    return np.stack(outputs), h


def rnn_by_formula(x: Any, h: Any) -> tuple[Any, Any]:
    outputs = []
    for step in x:
        h = np.tanh(step @ RNN_IH.T + h @ RNN_HH.T + RNN_B)
        outputs.append(h)
    return np.stack(outputs), h


def lstm(name: str, expect: Any, wide: bool = False, **parameters: Any) -> Case:
    states = {"h": H0, "c": C0} if not wide else {"h": floats(N, 2 * H), "c": floats(N, 2 * H)}
    given = {"weight_ih": LSTM_IH, "weight_hh": LSTM_HH, "bias": LSTM_B, **parameters}
    return Case(
        f"lstm-{name}",
        lambda mb, x, h, c: mb.lstm(x=x, initial_h=h, initial_c=c, **given),
        {"x": SEQUENCE, **states},
        expect,
        atol=1e-5,
    )


def last(found: tuple[Any, ...]) -> tuple[Any, ...]:
    return (found[1][None], *found[1:])


RECURRENT = [
    lstm("sequence", lstm_by_torch, output_sequence=True),
    lstm("last", lambda x, h, c: last(lstm_by_torch(x, h, c))),
    lstm("reverse", lambda x, h, c: lstm_by_torch(x[::-1], h, c), output_sequence=True, direction="reverse"),
    lstm(
        "bidirectional", lambda x, h, c: lstm_by_torch(x, h, c, bidirectional=True), wide=True, output_sequence=True,
        direction="bidirectional", weight_ih_back=BACK_IH, weight_hh_back=BACK_HH, bias_back=BACK_B,
    ),
    *(
        Case(
            f"gru-{direction}",
            lambda mb, x, h, direction=direction: mb.gru(
                x=x, initial_h=h, weight_ih=GRU_IH, weight_hh=GRU_HH, bias=GRU_B, output_sequence=True,
                direction=direction,
            ),
            {"x": SEQUENCE, "h": H0},
            lambda x, h, step=step: gru_by_formula(x[::step], h, after=False),
            atol=1e-5,
        )
        for direction, step in (("forward", 1), ("reverse", -1))
    ),
    Case(
        "gru-reset-after",
        lambda mb, x, h: mb.gru(
            x=x, initial_h=h, weight_ih=GRU_IH, weight_hh=GRU_HH, bias=GRU_B, input_bias=GRU_BI, reset_after=True
        ),
        {"x": SEQUENCE, "h": H0},
        lambda x, h: last(gru_by_formula(x, h, after=True, bias_in=GRU_BI)),
        release=18,
        atol=1e-5,
    ),
    Case(
        "rnn",
        lambda mb, x, h: mb.rnn(x=x, initial_h=h, weight_ih=RNN_IH, weight_hh=RNN_HH, bias=RNN_B, output_sequence=True),
        {"x": SEQUENCE, "h": H0},
        rnn_by_formula,
        atol=1e-5,
    ),
]  # fmt: skip


# -- resizing ----------------------------------------------------------------------------------------------------------


def by_grid(x: np.ndarray[Any, Any], target: tuple[int, int], mode: str) -> np.ndarray[Any, Any]:
    """Linear interpolation at the grid points that the operator reference gives, one dimension after the other."""
    for axis, new in zip((-2, -1), target, strict=True):
        size = x.shape[axis]
        steps = np.arange(new)
        if mode == "DEFAULT":
            points = steps * (size / new)
        elif mode == "UNALIGN_CORNERS":
            points = (steps + 0.5) * size / new - 0.5
        elif mode == "OFFSET_CORNERS":
            points = (steps + 0.5) * max(1, size - 1) / new
        elif new == 1:
            points = np.asarray([0.0 if mode == "STRICT_ALIGN_CORNERS" else (size - 1) / 2])
        else:
            points = steps * (size - 1) / (new - 1)
        points = np.clip(points, 0, size - 1)
        x = np.apply_along_axis(lambda row, points=points: np.interp(points, np.arange(len(row)), row), axis, x)
    return x


MODES = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS")
RESIZES = [
    *(
        Case(
            f"resize_bilinear-{mode}-{height}x{width}",
            lambda mb, x, mode=mode, height=height, width=width: mb.resize_bilinear(
                x=x, target_size_height=height, target_size_width=width, sampling_mode=mode
            ),
            {"x": X2},
            lambda x, mode=mode, height=height, width=width: by_grid(x, (height, width), mode),
            atol=1e-5,
        )
        for mode in MODES
        for height, width in ((18, 7), (1, 5))
    ),
    *(
        Case(
            f"upsample_bilinear-{aligned}",
            lambda mb, x, aligned=aligned: mb.upsample_bilinear(
                x=x, scale_factor_height=2, scale_factor_width=3, align_corners=aligned
            ),
            {"x": X2},
            lambda x, aligned=aligned: F.interpolate(
                tensor(x), scale_factor=(2, 3), mode="bilinear", align_corners=aligned
            ),
            atol=1e-5,
        )
        for aligned in (True, False)
    ),
    Case(
        "upsample_nearest-fraction", lambda mb, x: mb.upsample_nearest_neighbor(
            x=x, scale_factor_height=1.5, scale_factor_width=2.0
        ), {"x": X2}, lambda x: F.interpolate(tensor(x), size=(13, 20), mode="nearest"),
    ),
    Case(
        "resize_nearest", lambda mb, x: mb.resize_nearest_neighbor(x=x, target_size_height=6, target_size_width=15),
        {"x": X2}, lambda x: F.interpolate(tensor(x), size=(6, 15), mode="nearest"),
    ),
    Case(
        "resize-iOS17",
        lambda mb, x: mb.resize(
            x=x, shape=[4, 0], resized_dims=np.uint32(2), interpolation_mode="LINEAR", sampling_mode="UNALIGN_CORNERS"
        ),
        {"x": X2}, lambda x: by_grid(x, (4, 10), "UNALIGN_CORNERS"), release=17, atol=1e-5,
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CONV + POOLS + LINEAR + NORMS + RECURRENT + RESIZES, ids=str)
def test_layer(case: Case) -> None:
    check(case)


def refusal(build: Any, inputs: dict[str, np.ndarray[Any, Any]], release: int = 15) -> str:
    with pytest.raises(ConversionError) as caught:
        check(Case("refused", build, inputs, release=release))
    (found,) = caught.value.refusals
    assert (found.source_format, found.target_format) == ("coreml", "onnx")
    return str(found)


def test_a_window_outside_the_tensor_is_refused() -> None:
    """PyTorch drops that window, Core ML's size formula keeps it; what it holds is not specified."""
    text = refusal(
        lambda mb, x: mb.avg_pool(x=x, kernel_sizes=[2, 2], strides=[3, 3], pad_type="valid", ceil_mode=True), {"x": X2}
    )
    assert "iOS15.avg_pool" in text
    assert "outside the tensor" in text


def test_a_constant_that_the_dtype_of_a_product_cannot_hold_is_refused() -> None:
    """The result is of the dtype of the tensor; whether 0.5 is cut off or rounded then is not specified."""
    text = refusal(lambda mb, x: mb.matmul(x=np.float32([[0.5, 2]]), y=x), {"x": np.ones((2, 2), np.int32)}, release=17)
    assert "elements that are no int32" in text


def test_every_refusal_is_reported() -> None:
    """Two operations without counterpart, and one between them that has one."""

    def build(mb: Any, x: Any) -> Any:
        first = palette_convolution(mb, x)
        return palette_convolution(mb, mb.relu(x=first))

    with pytest.raises(ConversionError) as caught:
        check(Case("two", build, {"x": np.ones((1, 2, 3, 4), np.float32)}, np.copy))
    assert [item.operator for item in caught.value.refusals] == ["iOS15.conv_quantized"] * 2
