"""What a user hands over to be fed to models, made into samples: arrays, files, folders of pictures, callables."""

from __future__ import annotations

import difflib
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from workbench.document import Document, TensorSpec
from workbench.errors import ExecutionError, OptionError, WorkbenchError
from workbench.npz import DAMAGES, read_npy_file, read_npz

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Array = np.ndarray[Any, Any]
Sample = Mapping[str, Any]
Source: TypeAlias = "Sample | Images | str | os.PathLike[str] | Iterable[Any]"
Given: TypeAlias = "Source | Callable[[], Source] | None"

PICTURES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
"""Suffixes of the files that a folder of pictures is made of; others in it are left alone."""

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class FromFile(dict[str, Any]):
    """A sample that was read from a file."""

    def __init__(self, path: Path, arrays: Mapping[str, Any]) -> None:
        super().__init__(arrays)
        self.path = path


@dataclass(frozen=True)
class Images:
    """Pictures as feeds: one sample each, in the order of the files' names.

    Attributes:
        path: a folder of pictures, or one picture.
        size: (height, width) that they are resized to, bilinear, without regard to their proportions; ``None`` takes
            pictures of the input's size only. Nothing is ever resized without being asked for.
        scale: a number, or one for each channel; ``bias`` likewise: the input gets ``scale · pixels + bias``, pixels
            from 0 to 255. ``None`` brings them to 0 … 1 for an input of floats and leaves them for one of integers. An
            input that takes pictures itself (Core ML has such) gets the picture, whose scale is the model's own.
        colours: ``"RGB"`` or ``"BGR"``.
        input: the input that they are for; ``""`` is the only one that can take pictures.
    """

    path: str | os.PathLike[str]
    size: tuple[int, int] | None = None
    scale: float | Sequence[float] | None = None
    bias: float | Sequence[float] = 0.0
    colours: str = "RGB"
    input: str = ""

    def __post_init__(self) -> None:
        if self.colours not in ("RGB", "BGR"):
            raise OptionError(f"Images: the colours are 'RGB' or 'BGR', not {self.colours!r}.")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise OptionError(f"Images: size is (height, width), not {self.size!r}.")


def samples_of(
    given: Source | Callable[[], Source], inputs: Sequence[TensorSpec], document: Document
) -> tuple[Iterator[Sample], int | None]:
    """The samples, made one after the other, and how many there are if that is known.

    Args:
        given: a mapping of input names to arrays; a path (``.npz``: arrays by input name; ``.npy`` or a picture: the
            only input; a folder: one sample for each file of those kinds in it, by name); :class:`Images`; an iterable
            of samples, each a mapping, an array of the only input, or a tuple of arrays in the order of the inputs;
            or a function without arguments that returns any of these.
        inputs: of the model that samples without names are for, those that have to be given.
        document: that model.

    Raises:
        ExecutionError: here or when a sample is taken: a file that cannot be read or does not fit.
    """
    if isinstance(given, Mapping):
        return iter([given]), 1
    if isinstance(given, Images):
        return _pictures(given, inputs, document)
    if isinstance(given, str | os.PathLike):
        return _from_path(_existing(given, inputs), inputs, document)
    if _is_array(given):
        return iter([_named(given, inputs)]), 1
    if callable(given) and not isinstance(given, Iterable):
        return samples_of(_called(given), inputs, document)
    if not isinstance(given, Iterable):
        raise ExecutionError(
            f"feeds: {given!r:.40} is no feed; give a mapping of input names to arrays, a path, wb.Images, "
            "an iterable of samples, or a function that returns one of them."
        )
    count = len(given) if isinstance(given, list | tuple) else None
    return _each(given, inputs), count


def _each(given: Iterable[Any], inputs: Sequence[TensorSpec]) -> Iterator[Sample]:
    """The samples of the user's own iterable."""
    samples, done = iter(given), 0
    while True:
        try:
            sample = next(samples)
        except StopIteration:
            return
        except WorkbenchError:
            raise
        except Exception as error:  # the user's own code
            raise ExecutionError(
                f"feeds: after {done} samples what gives them raised {type(error).__name__}: {error}"
            ) from error
        yield _named(sample, inputs)
        done += 1


def _called(given: Callable[[], Source]) -> Source:
    try:
        return given()
    except WorkbenchError:
        raise
    except Exception as error:  # the user's own function
        raise ExecutionError(f"feeds: the function raised {type(error).__name__}: {error}") from error


def _named(sample: Any, inputs: Sequence[TensorSpec]) -> Sample:
    """A sample by input names; what has none is for the inputs in their order."""
    if isinstance(sample, Mapping):
        return {name: _as_array(value) for name, value in sample.items()}
    if isinstance(sample, tuple | list) and all(map(_is_array, sample)):
        if len(sample) != len(inputs):
            raise ExecutionError(
                f"feeds: a sample has {len(sample)} array{'s' if len(sample) != 1 else ''}, the inputs are "
                f"{_listed(inputs)}; give one array for each, or a mapping with their names."
            )
        return {spec.name: _as_array(value) for spec, value in zip(inputs, sample, strict=True)}
    if len(inputs) == 1:
        return {inputs[0].name: _as_array(sample)}
    raise ExecutionError(
        f"feeds: something of type {type(sample).__name__} without a name, but the inputs are {_listed(inputs)}; "
        "give a mapping of their names to arrays."
    )


def _is_array(value: object) -> bool:
    return hasattr(value, "__array__")


def _as_array(value: Any) -> Any:
    """Tensors of other libraries become arrays; whatever else it is, the model says whether it takes it."""
    if isinstance(value, np.ndarray) or not _is_array(value) or hasattr(value, "convert"):  # a PIL picture stays one
        return value
    return np.asarray(value)


def _listed(inputs: Sequence[TensorSpec]) -> str:
    return ", ".join(map(str, inputs)) or "none"


# -- files --------------------------------------------------------------------------------------------------------


def _existing(given: str | os.PathLike[str], inputs: Sequence[TensorSpec]) -> Path:
    """The path that was given.

    Raises:
        ExecutionError: there is nothing.
    """
    path = Path(os.path.expanduser(given))
    if not os.fspath(given):
        raise ExecutionError(f"feeds: the path is empty; {ways(inputs)}.")
    if not path.exists():
        raise ExecutionError(f"{path}: no such file or folder{near(path)}; {ways(inputs)}.")
    return path


def near(path: Path) -> str:
    """What a path that does not exist may have meant: ``, did you mean 'samples.npz'?``; or why it cannot exist."""
    if not path.parent.is_dir():
        return f" (there is no folder {os.fspath(path.parent)!r})"
    found = difflib.get_close_matches(path.name, [item.name for item in path.parent.iterdir()], n=1)
    return f", did you mean {found[0]!r}?" if found else ""


def ways(inputs: Sequence[TensorSpec]) -> str:
    """How feeds are made, or done without."""
    arrays = ", ".join(f"{spec.name!r}: array" for spec in inputs[:2]) + (", …" if len(inputs) > 2 else "")
    return f"numpy.savez(path, **{{{arrays}}}) writes one, and without feeds the samples are random"


def _from_path(path: Path, inputs: Sequence[TensorSpec], document: Document) -> tuple[Iterator[Sample], int | None]:
    if path.is_dir():
        files = _files_in(path)
        if all(file.suffix.lower() in PICTURES for file in files):
            return _pictures(Images(path), inputs, document)
        return (_one(file, inputs) for file in files), len(files)
    if path.suffix.lower() in PICTURES:
        return _pictures(Images(path), inputs, document)
    return iter([_one(path, inputs)]), 1


def _files_in(folder: Path) -> list[Path]:
    """The samples of a folder, all of one kind.

    Raises:
        ExecutionError: there are none, or pictures beside arrays.
    """
    kinds = PICTURES | {".npz", ".npy"}
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in kinds and file.is_file())
    if not files:
        raise ExecutionError(
            f"{folder}: no pictures, .npz or .npy files are in it (folders in it are not looked into); give a folder "
            "that has some."
        )
    if len({file.suffix.lower() in PICTURES for file in files}) > 1:
        raise ExecutionError(
            f"{folder}: pictures and arrays are in it, and which of them are meant is not said; move one kind to a "
            "folder of its own, or give wb.Images(folder), which takes the pictures."
        )
    return files


def _one(path: Path, inputs: Sequence[TensorSpec]) -> Sample:
    if path.suffix.lower() != ".npy":
        return FromFile(path, load_feeds(path))
    if len(inputs) != 1:
        raise ExecutionError(
            f"{path}: one array without a name, but the inputs are {_listed(inputs)}; "
            "write an .npz with numpy.savez(path, NAME=array)."
        )
    return FromFile(path, {inputs[0].name: _array(path)})


def _array(path: Path) -> Array:
    try:
        if zipfile.is_zipfile(path):
            raise ExecutionError(f"{path}: several arrays, although its name ends in .npy; call it .npz.")
        return read_npy_file(path)
    except DAMAGES as error:
        raise ExecutionError(f"{path}: cannot be read as an .npy array: {error}") from error


def load_feeds(path: Path) -> dict[str, Array]:
    """The arrays of an ``.npz`` file by name; pickled objects are refused.

    Raises:
        ExecutionError: there is no such file, or it is something else.
        LimitError: it is beyond the limits.
    """
    if not path.exists():
        raise ExecutionError(
            f"{path}: no such file{near(path)}; numpy.savez(path, NAME=array) writes one, an array for each input."
        )
    try:
        return read_npz(path)
    except DAMAGES as error:
        raise ExecutionError(
            f"{path}: cannot be read as .npz feeds, which numpy.savez(path, NAME=array) writes: {error}"
        ) from error


# -- pictures -----------------------------------------------------------------------------------------------------


def _pictures(images: Images, inputs: Sequence[TensorSpec], document: Document) -> tuple[Iterator[Sample], int]:
    path = Path(os.path.expanduser(images.path))
    files = [path] if path.is_file() else _pictures_in(path)
    spec = _pictured(images, inputs)
    if not document.takes_pictures(spec.name):
        return (FromFile(file, {spec.name: _pixels(_drawn(file, images, spec), images, spec)}) for file in files), len(
            files
        )
    if images.scale is not None or images.bias != 0.0 or images.colours != "RGB":
        raise OptionError(
            f"wb.Images: the input {spec} takes pictures; the scale of their pixels and the order of their colours "
            "are the model's own; leave scale, bias and colours out."
        )
    return (FromFile(file, {spec.name: _drawn(file, images, spec)}) for file in files), len(files)


def _pictures_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ExecutionError(f"{folder}: no such file or folder{near(folder)}; give one picture or a folder of them.")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES and file.is_file())
    if not files:
        raise ExecutionError(f"{folder}: no pictures are in it ({', '.join(sorted(PICTURES))}).")
    return files


def _pictured(images: Images, inputs: Sequence[TensorSpec]) -> TensorSpec:
    """The input that takes the pictures."""
    able = [spec for spec in inputs if _layout(spec) is not None and images.input in ("", spec.name)]
    if len(able) != 1 or (len(inputs) > 1 and not images.input):
        how = (
            "which of them is meant has to be said with wb.Images(…, input=NAME)"
            if able
            else "none can take pictures, which needs 3 or 4 axes with 1, 3 or 4 channels; give arrays (.npz)"
        )
        raise ExecutionError(f"{os.fspath(images.path)}: pictures for the inputs {_listed(inputs)}: {how}.")
    return able[0]


def _layout(spec: TensorSpec) -> tuple[int, int, int] | None:
    """Axes of channels, height and width, of an input of rank 3 or 4 that has 1, 3 or 4 channels."""
    dims = spec.shape
    if dims is None or len(dims) not in (3, 4) or spec.dtype == "bool":
        return None
    first, last = len(dims) - 3, len(dims) - 1
    channels = [axis for count in ((1, 3), (4,)) for axis in (first, last) if dims[axis] in count]
    if not channels:
        return None
    return (first, first + 1, last) if channels[0] == first else (last, first, first + 1)


def _drawn(file: Path, images: Images, spec: TensorSpec) -> Picture:
    """One picture in as many colours as the input has channels.

    Raises:
        ExecutionError: it cannot be read, or is not of the input's size.
    """
    from PIL import Image

    (channels, *place), dims = _layout(spec) or (0, 0, 0), spec.shape or ()
    try:
        with Image.open(file) as picture:
            drawn: Picture = picture.convert(_MODES[int(dims[channels] or 1)])
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise ExecutionError(f"{file}: cannot be read as a picture: {error}") from error
    if images.size is not None:
        drawn = drawn.resize(images.size[::-1], Image.Resampling.BILINEAR)
    wanted = [dims[axis] for axis in place]
    if any(isinstance(dim, int) and dim != size for dim, size in zip(wanted, drawn.size[::-1], strict=True)):
        raise ExecutionError(
            f"{file}: it is {drawn.size[1]} pixels high and {drawn.size[0]} wide, the input {spec} takes another size; "
            f"wb.Images(…, size=({wanted[0]}, {wanted[1]})) resizes."
        )
    return drawn


def _pixels(drawn: Picture, images: Images, spec: TensorSpec) -> Array:
    """The picture in the input's layout and dtype."""
    layout, dims = _layout(spec) or (0, 0, 0), spec.shape or ()
    pixels = np.asarray(drawn).reshape(drawn.size[1], drawn.size[0], -1)
    if images.colours == "BGR" and pixels.shape[-1] > 1:
        pixels = np.concatenate([pixels[..., 2::-1], pixels[..., 3:]], axis=-1)
    values = _scaled(pixels, images, spec)
    ordered = values if layout[0] > layout[1] else values.transpose(2, 0, 1)
    return np.ascontiguousarray(ordered.reshape((1,) * (len(dims) - 3) + ordered.shape))


def _scaled(pixels: Array, images: Images, spec: TensorSpec) -> Array:
    whole = np.dtype(spec.dtype).kind in "iu"
    scale = images.scale if images.scale is not None else (1.0 if whole else 1 / 255)
    factors, offsets = (np.asarray(item, np.float64) for item in (scale, images.bias))
    values = pixels * factors + offsets
    if not whole:
        return values.astype(spec.dtype)
    info = np.iinfo(spec.dtype)
    if values.min() < info.min or values.max() > info.max:
        raise ExecutionError(
            f"wb.Images: the input {spec} takes {info.min} to {info.max}, the scaled pixels go from {values.min():g} "
            f"to {values.max():g}; give another scale or bias."
        )
    return np.rint(values).astype(spec.dtype)
