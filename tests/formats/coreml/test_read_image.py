"""Sampling of images and choice of boxes against PyTorch's grid_sample and against loops over the stated formulas."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.coreml.reading import Case, check, package, run
from workbench.errors import ConversionError
from workbench.formats.coreml.read import read

torch = pytest.importorskip("torch")
F = torch.nn.functional
Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(29)
X = RNG.normal(size=(2, 3, 5, 7)).astype(np.float32)
COORDINATES = RNG.uniform(-2.7, 2.7, size=(2, 4, 6, 2)).astype(np.float32)
COORDINATES[0, 0, 0] = [-1, 1]
SIZES = np.asarray([7, 5], np.float32)  # width and height, as coordinates have them


def tensor(array: Any) -> Any:
    return torch.from_numpy(np.ascontiguousarray(array))


def normalized(mode: str, aligned: bool, coordinates: Array) -> Array:
    """The coordinates as PyTorch wants them with ``align_corners`` as given: -1 … 1."""
    if mode == "normalized_minus_one_to_one":
        return coordinates
    if mode == "normalized_zero_to_one":
        return 2 * coordinates - 1
    return 2 * coordinates / (SIZES - 1) - 1 if aligned else (2 * coordinates + 1) / SIZES - 1


def resampled(nearest: bool, padding: str, mode: str, aligned: bool) -> Any:
    """PyTorch's padding ``reflection`` is at the pixels' centres with align_corners, else at their edges: symmetric."""

    def expect(x: Array, coordinates: Array) -> Array:
        names = {"constant": "zeros", "border": "border", "reflection": "reflection", "symmetric": "reflection"}
        centred = padding == "reflection" or (padding != "symmetric" and aligned)
        grid = normalized(mode, aligned, coordinates.astype(np.float64))
        if centred and not aligned and mode != "unnormalized":  # from PyTorch's edges to its centres
            grid = (((grid + 1) * SIZES - 1) / 2) / (SIZES - 1) * 2 - 1
        elif mode == "unnormalized":
            grid = normalized(mode, centred, coordinates.astype(np.float64))
        elif aligned and not centred:
            grid = ((grid + 1) / 2 * (SIZES - 1) * 2 + 1) / SIZES - 1
        found: Array = F.grid_sample(
            tensor(x.astype(np.float64)), tensor(grid), "nearest" if nearest else "bilinear", names[padding], centred
        ).numpy()
        return found

    return expect


def resample(
    nearest: bool, padding: str, mode: str, aligned: bool, coordinates: Array = COORDINATES, **options: Any
) -> Case:
    pixels = coordinates * 4 if mode == "unnormalized" else coordinates
    pixels = pixels + 0.003 if nearest else pixels  # no ties: the oracle's detour over other corners rounds them
    return Case(
        f"resample-{'nearest' if nearest else 'bilinear'}-{padding}-{mode}-{aligned}",
        lambda mb, x, coordinates: mb.resample(
            x=x, coordinates=coordinates, sampling_mode="nearest" if nearest else "bilinear", padding_mode=padding,
            padding_value=0.0, coordinates_mode=mode, align_corners=aligned,
        ),
        {"x": X, "coordinates": pixels.astype(coordinates.dtype)}, resampled(nearest, padding, mode, aligned),
        atol=2e-5, **options,
    )  # fmt: skip


MODES = ("normalized_minus_one_to_one", "normalized_zero_to_one", "unnormalized")


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", ["constant", "border", "reflection", "symmetric"])
@pytest.mark.parametrize("nearest", [False, True])
def test_resample(nearest: bool, padding: str, mode: str, aligned: bool) -> None:
    check(resample(nearest, padding, mode, aligned))


def padded_image(fill: float, aligned: bool = True) -> Any:
    """Interpolation in an image that is padded with a value: PyTorch of the image without it, and back."""
    inner = resampled(False, "constant", MODES[0], aligned)
    return lambda x, coordinates: inner(x.astype(np.float64) - fill, coordinates) + fill


RESAMPLES = [
    Case(
        "resample-padding-value",
        lambda mb, x, coordinates: mb.resample(
            x=x, coordinates=coordinates, sampling_mode="bilinear", padding_mode="constant", padding_value=6.17,
            coordinates_mode=MODES[0], align_corners=True,
        ),
        {"x": X, "coordinates": COORDINATES}, padded_image(6.17), atol=2e-5,
    ),
    Case(  # far outside, where a pixel's number does not fit any integer
        "resample-infinite",
        lambda mb, x, coordinates: mb.resample(
            x=x, coordinates=coordinates, sampling_mode="bilinear", padding_mode="constant", padding_value=2.5,
            coordinates_mode="unnormalized", align_corners=True,
        ),
        {"x": X, "coordinates": np.where(COORDINATES > 0, np.float32(np.inf), np.float32(-1e30))},
        lambda x, coordinates: np.full((2, 3, 4, 6), 2.5, np.float32),
    ),
    resample(False, "constant", "unnormalized", True, np.round(COORDINATES).astype(np.int32)),
    resample(False, "border", "unnormalized", True, np.round(COORDINATES).astype(np.int16), release=17),
    Case(
        "resample-one-pixel",
        lambda mb, x, coordinates: mb.resample(
            x=x, coordinates=coordinates, sampling_mode="bilinear", padding_mode="reflection", padding_value=0.0,
            coordinates_mode="unnormalized", align_corners=True,
        ),
        {"x": X[:, :, :1, :1], "coordinates": COORDINATES}, lambda x, coordinates: np.broadcast_to(x, (2, 3, 4, 6)),
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", RESAMPLES, ids=str)
def test_resample_edge(case: Case) -> None:
    check(case)


def test_resample_half() -> None:
    """float16: calculated in float32 of the rounded inputs, the result rounded once."""
    build = lambda mb, x, coordinates: mb.resample(  # noqa: E731
        x=x, coordinates=coordinates, sampling_mode="bilinear", padding_mode="border", padding_value=np.float16(0),
        coordinates_mode=MODES[0], align_corners=True,
    )  # fmt: skip
    expect = lambda x, c: resampled(False, "border", MODES[0], True)(x, c).astype(np.float16)  # noqa: E731
    half = {"x": X.astype(np.float16), "coordinates": COORDINATES.astype(np.float16)}
    check(Case("half", build, half, expect, release=16, rtol=1e-3, atol=1e-4))


# -- affine ------------------------------------------------------------------------------------------------------------


def affine(mb: Any, x: Any, matrix: Any, height: int = 4, width: int = 6) -> Any:
    return mb.affine(
        x=x, transform_matrix=matrix, output_height=height, output_width=width, sampling_mode="bilinear",
        padding_mode="constant", padding_value=0.0, coordinates_mode="normalized_minus_one_to_one", align_corners=True,
    )  # fmt: skip


def affine_by_torch(x: Array, matrix: Array, size: tuple[int, int] = (4, 6)) -> Array:
    theta = tensor(np.broadcast_to(matrix, (2, 6)).reshape(2, 2, 3).astype(np.float64))
    points = F.affine_grid(theta, [2, 3, *size], align_corners=True)
    found: Array = F.grid_sample(tensor(x.astype(np.float64)), points, align_corners=True).numpy()
    return found


@pytest.mark.parametrize("count", [1, 2])
def test_affine(count: int) -> None:
    matrix = RNG.normal(size=(count, 6)).astype(np.float32) * np.float32(0.7)
    check(Case("affine", affine, {"x": X, "matrix": matrix}, affine_by_torch, atol=1e-5))


@pytest.mark.filterwarnings("ignore:Since version 1.3.0")
@pytest.mark.parametrize("size", [(1, 6), (4, 1), (1, 1)])
def test_affine_of_one_row_or_column(size: tuple[int, int]) -> None:
    """It is at 0, between the edges: the operator is made of PyTorch's ``affine_grid``."""
    feeds = {"x": X, "matrix": RNG.normal(size=(1, 6)).astype(np.float32) * np.float32(0.7)}
    expect = lambda x, matrix: affine_by_torch(x, matrix, size)  # noqa: E731
    check(Case("row", lambda mb, x, matrix: affine(mb, x, matrix, *size), feeds, expect, atol=1e-5))


# -- crop_resize -------------------------------------------------------------------------------------------------------


def grid_point(start: float, end: float, index: int, count: int, mode: str) -> float:
    """The formulas of resize_bilinear for an input that is the box, one point."""
    size = end - start + 1
    if mode in ("ALIGN_CORNERS", "STRICT_ALIGN_CORNERS"):
        if count == 1:
            return (start + end) / 2 if mode == "ALIGN_CORNERS" else start
        return start + index * (end - start) / (count - 1)
    if mode == "DEFAULT":
        place = index * ((size - size / count) / (count - 1) if count > 1 else 0)
    elif mode == "UNALIGN_CORNERS":
        place = index * size / count + 0.5 * size / count - 0.5
    else:
        delta = max(1, size - 1) / count
        place = 0.5 * delta + index * delta
    return start + min(size - 1, max(0, place))


def pixel(image: Array, y: float, x: float, fill: float) -> Array:
    height, width = image.shape[1:]
    if not (0 <= y <= height - 1 and 0 <= x <= width - 1):
        return np.full(image.shape[0], fill)
    top, left = int(min(np.floor(y), height - 2)), int(min(np.floor(x), width - 2))
    dy, dx = y - top, x - left
    upper = image[:, top, left] * (1 - dx) + image[:, top, left + 1] * dx
    lower = image[:, top + 1, left] * (1 - dx) + image[:, top + 1, left + 1] * dx
    found: Array = upper * (1 - dy) + lower * dy
    return found


def corners(box: Array, mode: str) -> tuple[float, float, float, float]:
    a, b, c, d = (float(item) for item in box)
    if mode == "CORNERS_HEIGHT_FIRST":
        return a, b, c, d
    if mode == "CORNERS_WIDTH_FIRST":
        return b, a, d, c
    y, x, height, width = (a, b, c, d) if mode == "CENTER_SIZE_HEIGHT_FIRST" else (b, a, d, c)
    return y - height / 2, x - width / 2, y + height / 2, x + width / 2


def cropped(
    image: Array, box: Array, target: tuple[int, int], box_mode: str, sampling: str, normal: bool, scale: float,
    fill: float,
) -> Array:  # fmt: skip
    factors = np.asarray([image.shape[1] - 1, image.shape[2] - 1] * 2) if normal else np.ones(4)
    top, left, bottom, right = np.asarray(corners(box.astype(np.float64), box_mode)) * scale * factors
    found = np.zeros((image.shape[0], *target))
    for i in range(target[0]):
        for j in range(target[1]):
            y = grid_point(top, bottom, i, target[0], sampling)
            x = grid_point(left, right, j, target[1], sampling)
            found[:, i, j] = pixel(image.astype(np.float64), y, x, fill)
    return found


BOXES = np.asarray([[0.1, 0.3, 1.3, 1.0], [0.05, 0.2, 0.5, 0.61], [0.0, 0.4, 0.6, 0.7]], np.float32)
SAMPLING = ("ALIGN_CORNERS", "STRICT_ALIGN_CORNERS", "DEFAULT", "UNALIGN_CORNERS", "OFFSET_CORNERS")
BOX_MODES = ("CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST", "CENTER_SIZE_WIDTH_FIRST")


@pytest.mark.parametrize("target", [(3, 4), (1, 2)])
@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize("box_mode", BOX_MODES)
def test_crop_resize_17(target: tuple[int, int], sampling: str, box_mode: str) -> None:
    """Boxes of chosen images, in and out of bounds."""
    indices = np.asarray([1, 0, 1], np.int32)
    build = lambda mb, x, boxes, box_indices: mb.crop_resize(  # noqa: E731
        x=x, boxes=boxes, box_indices=box_indices, target_height=target[0], target_width=target[1], pad_value=4.5,
        normalized_coordinates=True, box_coordinate_mode=box_mode, sampling_mode=sampling,
    )  # fmt: skip
    expect = lambda x, boxes, numbers: np.stack([  # noqa: E731
        cropped(x[number], box, target, box_mode, sampling, True, 1.0, 4.5)
        for box, number in zip(boxes, numbers, strict=True)
    ])  # fmt: skip
    feeds = {"x": X, "boxes": BOXES, "box_indices": indices}
    check(Case("crop", build, feeds, expect, release=17, atol=2e-5))


def crop_15(mb: Any, x: Any, roi: Any) -> Any:
    return mb.crop_resize(
        x=x, roi=roi, target_height=2, target_width=3, spatial_scale=0.5, sampling_mode="OFFSET_CORNERS",
        box_coordinate_mode="CORNERS_WIDTH_FIRST",
    )  # fmt: skip


def test_crop_resize_of_every_image() -> None:
    def expect(x: Array, roi: Array) -> Array:
        boxes = roi.reshape(-1, 4)
        rest = ((2, 3), "CORNERS_WIDTH_FIRST", "OFFSET_CORNERS", False, 0.5, 0.0)
        return np.stack([np.stack([cropped(image, box, *rest) for image in x]) for box in boxes])

    roi = (BOXES * np.float32(9)).reshape(3, 1, 4, 1, 1)
    check(Case("every", crop_15, {"x": X, "roi": roi}, expect, atol=2e-5))


def test_crop_resize_of_chosen_images() -> None:
    """The box begins with the image's number."""
    roi = np.concatenate([np.zeros((3, 1), np.float32), BOXES * np.float32(9)], axis=1).reshape(3, 1, 5, 1, 1)
    rest = ((2, 3), "CORNERS_WIDTH_FIRST", "OFFSET_CORNERS", False, 0.5, 0.0)
    expect = lambda x, roi: np.stack([cropped(x[0], box, *rest)[None] for box in roi.reshape(-1, 5)[:, 1:]])  # noqa: E731
    check(Case("chosen", crop_15, {"x": X[:1], "roi": roi}, expect, atol=2e-5))


def test_inverted_boxes() -> None:
    """Aligned corners mirror; where the size of the box decides the step, it is not defined."""
    boxes = np.asarray([[3, 5, 1, 2]], np.float32)

    def case(sampling: str) -> Case:
        build = lambda mb, x: mb.crop_resize(  # noqa: E731
            x=x, boxes=boxes, target_height=3, target_width=4, sampling_mode=sampling
        )
        rest = ((3, 4), "CORNERS_HEIGHT_FIRST", sampling, False, 1.0, 0.0)
        return Case("inverted", build, {"x": X[:1]}, lambda x: cropped(x[0], boxes[0], *rest)[None], 17, atol=2e-5)

    check(case("ALIGN_CORNERS"))
    with pytest.raises(ConversionError, match="ends before it starts"):
        check(case("UNALIGN_CORNERS"))


# -- resize, iOS 17 ----------------------------------------------------------------------------------------------------


def resize_at_run_time(interpolation: str, sampling: str = "DEFAULT") -> Any:
    return lambda mb, x, shape: mb.resize(
        x=x, shape=shape, resized_dims=np.uint32(2), interpolation_mode=interpolation, sampling_mode=sampling
    )


@pytest.mark.parametrize("shape", [[4, 11], [10, 0], [0, 3]])
def test_resize_at_run_time(shape: list[int]) -> None:
    sizes = [new or old for new, old in zip(shape, (5, 7), strict=True)]
    feeds = {"x": X, "shape": np.asarray(shape, np.int32)}
    centres = lambda x, _: F.interpolate(tensor(x), size=sizes, mode="nearest-exact")  # noqa: E731
    check(Case("nearest", resize_at_run_time("NEAREST_NEIGHBOR"), feeds, centres, release=17))
    linear = lambda x, _: F.interpolate(tensor(x), size=sizes, mode="bilinear")  # noqa: E731
    check(Case("linear", resize_at_run_time("LINEAR", "UNALIGN_CORNERS"), feeds, linear, release=17, atol=1e-5))


@pytest.mark.parametrize("mode", ["OFFSET_CORNERS", "ALIGN_CORNERS"])
@pytest.mark.parametrize("shape", [[4, 11], [10, 0], [1, 1], [1, 12]])
def test_modes_that_onnx_has_not_at_run_time(mode: str, shape: list[int]) -> None:
    """What the same sizes give where they are known; its test has the formulas."""
    fixed = Case(
        "fixed", lambda mb, x: resize_at_run_time("LINEAR", mode)(mb, x, np.asarray(shape, np.int32)), {"x": X},
        release=17,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        expected = run(read(package(fixed, Path(folder))), fixed.inputs)[0]
    feeds = {"x": X, "shape": np.asarray(shape, np.int32)}
    check(Case("computed", resize_at_run_time("LINEAR", mode), feeds, lambda *_: expected, release=17, atol=1e-5))


# -- non-maximum suppression -------------------------------------------------------------------------------------------


def overlap(one: Array, other: Array) -> float:
    (x, y, w, h), (u, v, p, q) = one, other
    width = min(x + w / 2, u + p / 2) - max(x - w / 2, u - p / 2)
    height = min(y + h / 2, v + q / 2) - max(y - h / 2, v - q / 2)
    common = max(0.0, width) * max(0.0, height)
    return float(common / (w * h + p * q - common))


def chosen(boxes: Array, scores: Array, limit: float, least: float, per_class: bool) -> list[int]:
    best, classes = scores.max(-1), scores.argmax(-1)
    found: list[int] = []
    for box in sorted(range(len(boxes)), key=lambda index: -best[index]):
        rivals = [other for other in found if not per_class or classes[other] == classes[box]]
        if best[box] >= least and all(overlap(boxes[box], boxes[other]) <= limit for other in rivals):
            found.append(box)
    return found or [int(best.argmax())]


def suppressed(limit: float, least: float, most: int, per_class: bool) -> Any:
    def expect(boxes: Array, scores: Array) -> list[Array]:
        count, _, classes = scores.shape
        places, numbers = np.zeros((count, most, 4)), np.zeros((count, most, classes))
        indices, counts = np.full((count, most), -1, np.int32), np.zeros(count, np.int32)
        for n in range(count):
            found = chosen(boxes[n].astype(np.float64), scores[n], limit, least, per_class)[:most]
            places[n, : len(found)], numbers[n, : len(found)] = boxes[n, found], scores[n, found]
            indices[n, : len(found)], counts[n] = found, len(found)
        return [places, numbers, indices, counts]

    return expect


NMS = {
    "boxes": np.concatenate([RNG.uniform(0, 50, (3, 30, 2)), RNG.uniform(5, 40, (3, 30, 2))], -1).astype(np.float32),
    "scores": RNG.permutation(np.arange(3 * 30 * 4) / np.float32(8)).reshape(3, 30, 4).astype(np.float32),
}


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize(
    ("limit", "least", "most"), [(0.3, 20.0, 9), (0.05, 0.0, 40), (0.6, 37.25, 5), (1.5, 0.0, 12), (0.3, 1e4, 4)]
)
def test_suppression(limit: float, least: float, most: int, per_class: bool) -> None:
    """Places left over, fewer places than boxes, no box above the threshold, a threshold that no overlap exceeds."""
    build = lambda mb, boxes, scores: mb.non_maximum_suppression(  # noqa: E731
        boxes=boxes, scores=scores, iou_threshold=limit, score_threshold=least, max_boxes=most,
        per_class_suppression=per_class,
    )  # fmt: skip
    check(Case("nms", build, NMS, suppressed(limit, least, most, per_class)))


def test_a_score_at_the_threshold_is_kept() -> None:
    """ "Below this threshold are rejected": one that equals it is not."""
    boxes = np.asarray([[[0, 0, 2, 2], [10, 10, 2, 2], [20, 20, 2, 2]]], np.float32)
    scores = np.asarray([[[0.5], [0.25], [0.125]]], np.float32)
    build = lambda mb, boxes, scores: mb.non_maximum_suppression(  # noqa: E731
        boxes=boxes, scores=scores, iou_threshold=0.5, score_threshold=0.25, max_boxes=3
    )
    check(Case("nms", build, {"boxes": boxes, "scores": scores}, suppressed(0.5, 0.25, 3, False)))


def test_suppression_17() -> None:
    def expect(boxes: Array, scores: Array) -> list[Array]:
        found = suppressed(0.4, -np.inf, 8, True)(boxes.transpose(0, 2, 1), scores.transpose(0, 2, 1))
        return [found[0].transpose(0, 2, 1), found[1].transpose(0, 2, 1), found[2]]

    build = lambda mb, boxes, scores: mb.non_maximum_suppression(  # noqa: E731
        boxes=boxes, scores=scores, iou_threshold=0.4, max_boxes=8, per_class_suppression=True
    )
    feeds = {name: np.ascontiguousarray(array.transpose(0, 2, 1)) for name, array in NMS.items()}
    check(Case("nms", build, feeds, expect, release=17))
