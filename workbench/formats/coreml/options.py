"""What can be chosen when a Core ML ML program is written."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from workbench.document import Layer
from workbench.errors import OptionError
from workbench.formats.base import Options
from workbench.formats.coreml.pass_list import left_out

PRECISIONS = ("fp32", "fp16", "mixed")

SPECIFICATIONS = {6: "iOS15", 7: "iOS16", 8: "iOS17", 9: "iOS18", 10: "iOS26"}
"""Specification version of the model file → the oldest iOS that reads it; ML programs began with iOS15."""

TARGETS = {
    "iOS15": 6,
    "iOS16": 7,
    "iOS17": 8,
    "iOS18": 9,
    "iOS26": 10,
    "macOS12": 6,
    "macOS13": 7,
    "macOS14": 8,
    "macOS15": 9,
    "macOS26": 10,
    "tvOS15": 6,
    "tvOS16": 7,
    "tvOS17": 8,
    "tvOS18": 9,
    "tvOS26": 10,
    "watchOS8": 6,
    "watchOS9": 7,
    "watchOS10": 8,
    "watchOS11": 9,
    "watchOS26": 10,
}
"""Oldest system that has to read the model → specification version (coremltools' ``coremltools.target``)."""


CHANNELS = {"RGB": 3, "BGR": 3, "GRAYSCALE": 1}
"""The colour layouts that an input may take → channels."""


@dataclass(frozen=True, kw_only=True)
class ImageInput:
    """An input that takes pictures: the model is fed ``scale · pixels + bias``, pixels from 0 to 255.

    Attributes:
        colours: the order of the channels that the model expects: ``RGB``, ``BGR`` or ``GRAYSCALE``.
        scale: a number, or one for each channel; ``bias`` likewise. For the usual mean and standard deviation of
            pixels in [0, 1] they are ``1 / (255 · std)`` and ``-mean / std``.
    """

    colours: str = field(default="RGB", metadata={"choices": tuple(CHANNELS)})
    scale: float | Sequence[float] = 1.0
    bias: float | Sequence[float] = 0.0

    def __post_init__(self) -> None:
        if self.colours not in CHANNELS:
            raise OptionError(f"images: the colours {self.colours!r} are none of {', '.join(CHANNELS)}.")
        for name in ("scale", "bias"):
            numbers = self.per_channel(getattr(self, name))
            if len(numbers) != CHANNELS[self.colours] or not all(map(math.isfinite, numbers)):
                raise OptionError(f"images: the {name} takes one number, or {CHANNELS[self.colours]}: {numbers}.")
        if not all(self.per_channel(self.scale)):
            raise OptionError("images: a scale of zero leaves nothing of the picture.")

    def per_channel(self, given: float | Sequence[float]) -> tuple[float, ...]:
        """One number for each channel."""
        if isinstance(given, int | float):
            return (float(given),) * CHANNELS[self.colours]
        return tuple(map(float, given))


def _schemes() -> tuple[str, ...]:
    from workbench.formats.coreml.compression import SCHEMES

    return ("", *SCHEMES)


@dataclass(frozen=True, kw_only=True)
class CoreMLOptions(Options):
    """Options of the target ``coreml``.

    Attributes:
        precision: ``fp32`` computes as the source does; ``fp16`` stores weights and computes in float16;
            ``mixed`` is ``fp16`` but for the layers in ``keep_fp32``.
        target: the oldest system that has to read the model, as coremltools names it (``iOS17``, ``macOS14``).
        keep_fp32: names of source layers that stay in float32, or a function that says of a ``Layer`` of the source
            whether it does, ``lambda layer: layer.operator.startswith("Softmax")``; only with ``mixed``.
        names: input or output of the source → what it is to be called.
        images: input of the source → the pictures that it takes in place of an array; an :class:`ImageInput`, or a
            mapping of its arguments.
        states: input of the source → the output that is its value in the next run (the caches of a decoder): both
            become a state, which Core ML keeps in float16. Needs iOS18.
        labels: the classes, texts or integers, of the output with the probabilities: the model becomes a classifier.
            A source that is one stays one without this.
        label_name: what the label is called; the probabilities are called that with ``_probs`` behind it.
        probabilities: the source's output that holds the probabilities, where there are several outputs.
        compress: how large weights are held, through ``coremltools.optimize``: ``palettize8``, ``palettize6``,
            ``palettize4``, ``palettize2``, ``int8`` (all of iOS16 and later), ``int4`` (iOS18); ``""`` leaves them.
        passes: which of coremltools' optimisations are run: ``all``, ``none``, a list of names to run
            (``["fuse_conv_bias"]``), or of names to leave out (``["-fuse_gelu_exact"]``); in a text, names have commas
            between them. The names are in ``workbench.formats.coreml.pass_list.OPTIMISATIONS``.
        metadata: what is said about the model in words; ``author``, ``license``, ``version`` and ``description`` have
            places of their own in the file. What the source says is kept unless it is said again.
    """

    precision: str = field(default="fp32", metadata={"choices": PRECISIONS})
    target: str = field(default="iOS17", metadata={"choices": tuple(TARGETS)})
    keep_fp32: Sequence[str] | Callable[[Layer], object] = field(default=(), metadata={"values": "layers"})
    names: Mapping[str, str] = field(default_factory=dict, metadata={"keys": "interface"})
    images: Mapping[str, ImageInput] = field(default_factory=dict, metadata={"keys": "inputs"})
    states: Mapping[str, str] = field(default_factory=dict, metadata={"keys": "inputs", "values": "outputs"})
    labels: Sequence[str | int] | None = None
    label_name: str = "classLabel"
    probabilities: str = field(default="", metadata={"values": "outputs"})
    compress: str = field(default="", metadata={"choices": _schemes})
    passes: str | Sequence[str] = "all"
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise OptionError(f"precision: {self.precision!r} is none of {', '.join(PRECISIONS)}.")
        if self.target not in TARGETS:
            near = difflib.get_close_matches(str(self.target), TARGETS, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise OptionError(f"target: {self.target!r} is none of {', '.join(TARGETS)}.{hint}")
        if isinstance(self.keep_fp32, str):
            raise OptionError(f"keep_fp32 takes a list of layer names, not the text {self.keep_fp32!r}.")
        if self.keep_fp32 and self.precision != "mixed":
            raise OptionError(f"keep_fp32 belongs to precision='mixed'; the precision is {self.precision!r}.")
        if self.precision == "mixed" and not self.keep_fp32:
            raise OptionError(
                "precision='mixed' needs keep_fp32=[…], the source layers that stay in float32, "
                "or a function that says of a layer whether it does."
            )
        object.__setattr__(self, "images", {name: _image(name, given) for name, given in self.images.items()})
        _check_texts("names", self.names)
        _check_texts("states", self.states)
        _check_texts("metadata", self.metadata)
        _check_labels(self.labels)
        self._check_compression()
        left_out(self.passes)

    def chosen_among(self, layers: Sequence[Layer]) -> Mapping[str, Any]:
        if not callable(self.keep_fp32):
            return {}
        kept = [layer.name for layer in layers if self.keep_fp32(layer)]
        if not kept:
            raise OptionError(
                f"keep_fp32: the function chooses none of the {len(layers)} layers; precision='fp16' is without it."
            )
        return {"keep_fp32": kept}

    @property
    def kept(self) -> tuple[str, ...]:
        """The source layers that stay in float32, by name: what a function chooses is settled before."""
        if callable(self.keep_fp32):
            raise OptionError(
                "keep_fp32 is a function, and it has not been asked about the model's layers (Model.settle)."
            )
        return tuple(self.keep_fp32)

    def _check_compression(self) -> None:
        from workbench.formats.coreml.compression import SCHEMES

        if not self.compress:
            return
        if self.compress not in SCHEMES:
            raise OptionError(f"compress: {self.compress!r} is none of {', '.join(SCHEMES)}.")
        if self.compress.startswith("palettize") and find_spec("sklearn") is None:
            raise OptionError(
                f"compress={self.compress!r} needs scikit-learn, which coremltools chooses the values with: "
                "pip install scikit-learn."
            )
        needed = SCHEMES[self.compress].specification
        if self.specification < needed:
            raise OptionError(
                f"compress={self.compress!r} needs {SPECIFICATIONS[needed]} or later; the target is {self.target}."
            )

    @property
    def specification(self) -> int:
        """The model file's specification version."""
        return TARGETS[self.target]


def _image(name: str, given: object) -> ImageInput:
    if isinstance(given, ImageInput):
        return given
    if isinstance(given, Mapping):
        try:
            return ImageInput(**given)
        except TypeError as error:
            raise OptionError(f"images: {name!r}: {error}.") from error
    raise OptionError(f"images: {name!r} takes an ImageInput or a mapping of its arguments, not {given!r}.")


def _check_texts(option: str, given: Mapping[str, str]) -> None:
    for key, text in given.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise OptionError(f"{option} takes texts by name, not {key!r}: {text!r}.")


def _check_labels(labels: Sequence[str | int] | None) -> None:
    if labels is None:
        return
    if isinstance(labels, str) or not labels:
        raise OptionError("labels takes a list of texts or of integers, one for each class.")
    kinds = {type(label) for label in labels}
    if len(kinds) != 1 or not kinds <= {str, int}:
        raise OptionError("labels takes texts or integers, all of one kind.")
    if len(set(labels)) != len(labels):
        raise OptionError("labels: a class is named twice; Core ML returns probabilities by the class's name.")
