"""Layers that coremltools' own tests were needed for: deconvolutions, LRN, boxes, random numbers; custom layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.formats.coreml.networks import document_of
from tests.formats.coreml.reading import compare, run
from workbench.errors import ConversionError

torch = pytest.importorskip("torch")
F = torch.nn.functional
Array = np.ndarray[Any, Any]


def floats(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X = floats(1, 2, 4, 6, 8)


@pytest.mark.parametrize("size", [2, 4, 5])
def test_lrn(size: int) -> None:
    """Of an even number of channels PyTorch takes one more before."""
    found = run(
        document_of(lambda nn: nn.add_lrn("n", "x", "y", alpha=0.3, beta=0.5, local_size=size, k=2.0), {"x": X}),
        {"x": X},
    )
    compare(found, [F.local_response_norm(torch.from_numpy(X), size, 0.3, 0.5, 2.0).numpy()], 1e-4, 1e-5)


def test_a_dilated_deconvolution() -> None:
    weight = floats(2, 4, 3, 3, 2)
    found = run(
        document_of(
            lambda nn: nn.add_convolution(
                "c", 4, 3, 3, 2, 2, 1, "valid", 1, weight.transpose(2, 3, 0, 1), None, False, is_deconv=True,
                input_name="x", output_name="y", dilation_factors=[2, 3],
            ),
            {"x": X},
        ),
        {"x": X},
    )  # fmt: skip
    expected = F.conv_transpose2d(torch.from_numpy(X), torch.from_numpy(weight), stride=(2, 1), dilation=(2, 3))
    compare(found, [expected.numpy()], 1e-4, 1e-5)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("wanted", [None, (7, 5, 9)])
def test_a_deconvolution_of_volumes(groups: int, wanted: tuple[int, ...] | None) -> None:
    """A given shape cuts half of what is too much off each end, the odd one behind."""
    x, weight = floats(3, 2, 4, 4, 3, 5), floats(4, 4, 3, 3, 2, 2)
    found = run(
        document_of(
            lambda nn: nn.add_convolution3d(
                "c", 4, 3 * groups, 3, 2, 2, weight.transpose(1, 0, 2, 3, 4), None, False, groups, 2, 2, 2,
                padding_mode="valid", is_deconv=True, output_shape=wanted, input_name="x", output_name="y",
            ),
            {"x": x},
        ),
        {"x": x},
    )  # fmt: skip
    full = F.conv_transpose3d(torch.from_numpy(x), torch.from_numpy(weight), stride=2, groups=groups).numpy()
    if wanted:
        starts = [(whole - size) // 2 for whole, size in zip(full.shape[2:], wanted, strict=True)]
        (d, h, w), (a, b, c) = starts, wanted
        full = full[:, :, d : d + a, h : h + b, w : w + c]
    compare(found, [full], 1e-4, 1e-5)


def test_crop_resize_at_whole_pixels() -> None:
    """Boxes (image, top, left, bottom, right) whose grid points are pixels."""
    x = X[None]
    boxes = np.float32([[1, 0, 1, 2, 3], [0, 3, 4, 5, 6]]).reshape(2, 1, 5, 1, 1)
    inputs = {"x": x, "r": boxes}
    found = run(
        document_of(
            lambda nn: nn.add_crop_resize(
                "c", ["x", "r"], "y", 3, 3, "STRICT_ALIGN_ENDPOINTS_MODE", False, "CORNERS_HEIGHT_FIRST", 1.0
            ),
            inputs,
        ),
        inputs,
    )
    compare(found, [np.stack([X[1, :, 0:3, 1:4], X[0, :, 3:6, 4:7]])[:, None]], 1e-5, 1e-5)


def test_non_maximum_suppression() -> None:
    """Boxes (centre, size): the second overlaps the first and has the lower score; the last is below the threshold."""
    boxes = np.float32([[[1, 1, 2, 2], [1.1, 1, 2, 2], [5, 5, 1, 1], [9, 9, 1, 1]]])
    scores = np.float32([0.9, 0.8, 0.95, 0.1]).reshape(1, 4, 1)
    inputs = {"b": boxes, "s": scores}
    names = ["ob", "os", "oi", "on"]
    found = run(document_of(lambda nn: nn.add_nms("n", ["b", "s"], names, 0.5, 0.3, 3), inputs, names), inputs)
    chosen = [2, 0]
    padded = [np.concatenate([rows[:, chosen], np.zeros_like(rows[:, :1])], 1) for rows in (boxes, scores)]
    compare(found, [*padded, np.float32([[2, 0, -1]]), np.float32([2])], 1e-6, 1e-6)


@pytest.mark.parametrize("most", [1, 3])
def test_non_maximum_suppression_by_computed_numbers(most: int) -> None:
    boxes = np.float32([[[1, 1, 2, 2], [1.1, 1, 2, 2], [5, 5, 1, 1], [9, 9, 1, 1]]])
    scores = np.float32([0.9, 0.8, 0.95, 0.1]).reshape(1, 4, 1)
    inputs = {"b": boxes, "s": scores, "iou": np.float32([0.5]), "least": np.float32([0.3]), "n": np.float32([most])}
    names = ["ob", "os", "oi", "on"]
    found = run(document_of(lambda nn: nn.add_nms("n", list(inputs), names), inputs, names), inputs)
    places = [2, 0, -1][:most]
    padded = [
        np.concatenate([rows, np.zeros_like(rows[:, :1])], 1)[:, places] for rows in (boxes, scores)
    ]  # fmt: skip
    compare(found, [*padded, np.float32([places]), np.float32([min(most, 2)])], 1e-6, 1e-6)


@pytest.mark.parametrize("size", [3, 5])
def test_one_hot_of_a_computed_size(size: int) -> None:
    inputs = {"i": np.float32([2, 0, 1]), "n": np.float32([size])}
    found = run(document_of(lambda nn: nn.add_one_hot("o", ["i", "n"], "y"), inputs), inputs)
    compare(found, [np.eye(size, dtype=np.float32)[[2, 0, 1]]], 0, 0)


@pytest.mark.parametrize("form", ["static", "dynamic", "like"])
@pytest.mark.parametrize("kind", ["uniform", "normal", "bernoulli"])
def test_random_numbers(kind: str, form: str) -> None:
    given: dict[str, dict[str, float]] = {
        "uniform": {"minval": 2.0, "maxval": 5.0}, "normal": {"mean": 3.0, "stddev": 2.0}, "bernoulli": {"prob": 0.3}
    }  # fmt: skip
    shape = (40, 50)
    more: dict[str, Any] = {"static": {"output_shape": list(shape)}}.get(form, {})
    x = np.zeros(shape, np.float32) if form == "like" else np.float32(shape)
    names: dict[str, Any] = {"like": {"input_name": "x"}, "dynamic": {"input_names": ["x"]}}.get(form, {})

    def add(nn: Any) -> None:
        method = getattr(nn, f"add_random_{kind}_{form}")
        method("r", output_name="y", seed=7, **names, **more, **given[kind])
        nn.add_copy("keep", "x", "z")

    (y, _) = run(document_of(add, {"x": x}, ["y", "z"]), {"x": x})
    assert y.shape == shape
    mean, deviation = {"uniform": (3.5, 0.866), "normal": (3.0, 2.0), "bernoulli": (0.3, 0.458)}[kind]
    assert abs(float(y.mean()) - mean) < 0.15
    assert abs(float(y.std()) - deviation) < 0.1
    if kind == "uniform":
        assert y.min() >= 2
        assert y.max() < 5


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_categories(temperature: float) -> None:
    x = np.log(np.float32([[0.2, 0.8], [0.5, 0.5]]))
    (y,) = run(
        document_of(
            lambda nn: nn.add_categorical_distribution("c", "x", "y", 4000, temperature=temperature, seed=3), {"x": x}
        ),
        {"x": x},
    )
    sharper = np.exp(x / temperature)
    np.testing.assert_allclose(y.mean(1), (sharper / sharper.sum(1, keepdims=True))[:, 1], atol=0.04)


def test_custom_layers_are_refused_by_their_class() -> None:
    def add(nn: Any) -> None:
        nn.add_copy("c", "x", "y")
        nn.spec.neuralNetwork.layers[0].custom.className = "MyLayer"

    with pytest.raises(ConversionError, match="'MyLayer'"):
        document_of(add, {"x": X}).hub()
