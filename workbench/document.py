"""What a model is before anything is done with it: its interface, its layers, where it came from.

A :class:`Document` is one model in the form of one exchange format. The format's folder derives its own class from it;
everything above the formats sees only what stands here.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from workbench.errors import ExecutionError
from workbench.lowering import Refused
from workbench.words import one_line

Dim = int | str | None
"""A fixed size, a named dynamic dimension, or an unknown one."""

Progress = Callable[[str, float], None]
"""``progress(stage, fraction)``: told about long work, fraction in [0, 1]; raises ``Cancelled`` to stop it."""


def silent(stage: str, fraction: float) -> None:
    """The progress listener that listens to nothing."""


@dataclass(frozen=True)
class TensorSpec:
    """Name, dtype and shape of a tensor.

    ``dtype`` is numpy's name (``float32``, ``int64``, ``bool``) or, where numpy has none, onnx's in lower case
    (``bfloat16``, ``string``); ``shape`` is ``None`` where even the rank is unknown.
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...] | None

    @property
    def is_static(self) -> bool:
        """Whether every dimension is a fixed size."""
        return self.shape is not None and all(isinstance(dim, int) for dim in self.shape)

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of the shape fits; an unknown rank or dimension takes anything."""
        return self.shape is None or (
            len(shape) == len(self.shape)
            and all(not isinstance(dim, int) or dim == size for dim, size in zip(self.shape, shape, strict=True))
        )

    def describe(self) -> str:
        """``float32[1, 3, height, 224]``; an unknown dimension is ``?``, an unknown rank ``[…]``."""
        if self.shape is None:
            return f"{self.dtype}[…]"
        return f"{self.dtype}[{', '.join('?' if dim is None else str(dim) for dim in self.shape)}]"

    def __str__(self) -> str:
        return one_line(f"{self.name}: {self.describe()}")


@dataclass(frozen=True)
class Layer:
    """One layer (ONNX node, NNEF operation, MIL operation, NeuralNetwork layer) as its own format states it.

    Attributes:
        name: unique in the model; what ``Model.run(taps=[…])`` takes.
        operator: the format's name of the operator, with its version where the format has versions (``Clip-13``).
        inputs: names of the tensors it reads, weights included; an omitted optional input is ``""``.
        outputs: the tensors it makes. Their names are those of the hub's values.
        attributes: decoded attributes; large values are given by their shape only.
        parameters: elements in the weights that it alone or with others reads.
    """

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[TensorSpec, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    parameters: int = 0


@dataclass(frozen=True)
class TensorLink:
    """A tensor of a converted model that holds the values of a tensor of its source.

    The values are equal after transposing the own tensor by ``perm`` (``None``: as it is) and reshaping it to the
    source's shape.
    """

    source: str
    perm: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Pixels:
    """How the values of a source's input follow from the pictures that an input takes in its place.

    The values are ``scale · pixels + bias``, channel by channel of [1, C, H, W] and rounded to float32 after each step,
    then transposed by ``perm`` (``None``: as they are).
    """

    scale: tuple[float, ...]
    bias: tuple[float, ...]
    perm: tuple[int, ...] | None = None

    def values(self, pixels: Any) -> Any:
        """The source's values, float32, of pixels [1, C, H, W]."""
        found = pixels.astype(np.float32) * _per_channel(self.scale) + _per_channel(self.bias)
        return found if self.perm is None else found.transpose(self.perm)

    def pixels(self, values: Any) -> Any:
        """The pixels, float32 [1, C, H, W], of the source's values; whole numbers where they are near to them."""
        found = values if self.perm is None else values.transpose(np.argsort(self.perm))
        scale, bias = _per_channel(self.scale), _per_channel(self.bias)
        exact = (found.astype(np.float64) - bias) / scale
        whole = np.rint(exact)
        rounding = 2.0**-22 * (np.abs(found) + np.abs(bias)) / np.abs(scale)  # of :meth:`values`
        return np.where(np.abs(exact - whole) < rounding, whole, exact).astype(np.float32)

    def to_list(self) -> list[Any]:
        """What :meth:`from_list` takes."""
        return [list(self.scale), list(self.bias), None if self.perm is None else list(self.perm)]

    @classmethod
    def from_list(cls, data: Sequence[Any]) -> Pixels:
        """Read it.

        Raises:
            ValueError, TypeError: it is something else.
        """
        scale, bias, perm = data
        if perm is not None and sorted(perm) != [0, 1, 2, 3]:
            raise ValueError(f"{perm} is no permutation of four axes")
        found = cls(tuple(map(float, scale)), tuple(map(float, bias)), None if perm is None else tuple(perm))
        if not all(found.scale) or len(found.scale) != len(found.bias):
            raise ValueError("no scale, or not one bias for each")
        return found


def _per_channel(numbers: Sequence[float]) -> Any:
    return np.asarray(numbers, np.float32).reshape(-1, 1, 1)


@dataclass(frozen=True)
class Provenance:
    """What a converted model knows of the model that it was made from.

    Attributes:
        source_format: ``onnx``, ``nnef``, ``coreml``, …
        source_name: the source's display name.
        layers: own layer → names of the source layers it stands for (many to many).
        tensors: own tensor → the source tensor with the same values.
        inputs: own input → the source's input; likewise ``outputs``. Order is that of the own interface.
        folded: source layers that became constants.
        approximate: source layer → the bound within which the conversion says what it says; exact layers are not in it.
        pictures: own inputs that take pictures → how the values of the source's input follow from them.
        constants: source inputs that were given a value for good → that value, an array.
        labels: own weight → the name that it was trained under, where the format could not keep that.
    """

    source_format: str
    source_name: str
    layers: Mapping[str, tuple[str, ...]]
    tensors: Mapping[str, TensorLink]
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    folded: tuple[str, ...] = ()
    approximate: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, Pixels] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """A deterministic text form, kept inside the written model."""
        return json.dumps(
            {
                "source_format": self.source_format,
                "source_name": self.source_name,
                "layers": {name: list(sources) for name, sources in self.layers.items()},
                "tensors": {
                    name: [link.source, None if link.perm is None else list(link.perm)]
                    for name, link in self.tensors.items()
                },
                "inputs": {name: _spec_to_json(spec) for name, spec in self.inputs.items()},
                "outputs": {name: _spec_to_json(spec) for name, spec in self.outputs.items()},
                "folded": list(self.folded),
                "approximate": dict(self.approximate),
                **({"pictures": {name: how.to_list() for name, how in self.pictures.items()}} if self.pictures else {}),
                **(
                    {"constants": {name: [array.dtype.name, array.tolist()] for name, array in self.constants.items()}}
                    if self.constants
                    else {}
                ),
                **({"labels": dict(self.labels)} if self.labels else {}),
            },
            ensure_ascii=True,
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> Provenance | None:
        """Read :meth:`to_json`'s form; ``None`` if it is not that (the record is a help, never a reason to fail)."""
        try:
            data = json.loads(text)
            return cls(
                source_format=str(data["source_format"]),
                source_name=str(data["source_name"]),
                layers={str(name): tuple(map(str, sources)) for name, sources in data["layers"].items()},
                tensors={
                    str(name): TensorLink(str(source), None if perm is None else tuple(map(int, perm)))
                    for name, (source, perm) in data["tensors"].items()
                    if perm is None or sorted(perm) == list(range(len(perm)))  # a record may lie
                },
                inputs={str(name): _spec_from_json(spec) for name, spec in data["inputs"].items()},
                outputs={str(name): _spec_from_json(spec) for name, spec in data["outputs"].items()},
                folded=tuple(map(str, data["folded"])),
                approximate={str(name): str(bound) for name, bound in data.get("approximate", {}).items()},
                constants={
                    str(name): np.asarray(values, np.dtype(str(dtype)))
                    for name, (dtype, values) in data.get("constants", {}).items()
                },
                pictures={str(name): Pixels.from_list(how) for name, how in data.get("pictures", {}).items()},
                labels={str(name): str(label) for name, label in data.get("labels", {}).items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None


def _spec_to_json(spec: TensorSpec) -> list[Any]:
    return [spec.name, spec.dtype, None if spec.shape is None else list(spec.shape)]


def _spec_from_json(data: Sequence[Any]) -> TensorSpec:
    name, dtype, shape = data
    dims = None if shape is None else tuple(dim if isinstance(dim, int | str) else None for dim in shape)
    return TensorSpec(str(name), str(dtype), dims)


@dataclass(frozen=True)
class Classifier:
    """What makes a class label of a tensor of probabilities.

    Attributes:
        label: what the label is called among the results.
        probabilities: the output with the probabilities; its last axis runs over the classes.
        classes: the labels, texts or integers, in the order of that axis.
    """

    label: str
    probabilities: str
    classes: tuple[str | int, ...]

    def of(self, probabilities: Any) -> Any:
        """The most probable label of each row (the first of several that are equal).

        Args:
            probabilities: an array that holds the classes on its last axis, or nothing but the classes in any shape.

        Returns:
            An array of texts or int64: of rank 0 for one row, else of the shape of the axes before the last.

        Raises:
            ExecutionError: it has another number of classes.
        """
        count = len(self.classes)
        rows = probabilities.reshape(count) if probabilities.size == count else probabilities
        if rows.shape[-1:] != (count,):
            raise ExecutionError(
                f"{self.probabilities!r} is of shape {list(rows.shape)}, but the classifier has {count} classes."
            )
        return np.asarray(self.classes)[np.argmax(rows, axis=-1)]

    def to_json(self) -> str:
        """A text form, kept inside models of formats that have no classifiers."""
        return json.dumps([self.label, self.probabilities, list(self.classes)], separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Classifier | None:
        """Read :meth:`to_json`'s form; ``None`` if it is not that."""
        try:
            label, probabilities, classes = json.loads(text)
            one_kind = all(type(name) is str for name in classes) or all(type(name) is int for name in classes)
            return cls(str(label), str(probabilities), tuple(classes)) if classes and one_kind else None
        except (ValueError, TypeError, RecursionError):
            return None


class Document(ABC):
    """One model in the form of one exchange format.

    ``inputs``, ``outputs`` and ``layers`` are stated from the format's own objects, without lowering anything, so a
    model with an operator unknown to us can still be inspected. :meth:`hub` lowers it.
    """

    format: ClassVar[str]
    """The format's name in the API: ``onnx``, ``nnef``, ``coreml``."""

    name: str
    """Display name, from the file or the model itself."""

    origin: Path | None
    """The file or folder it was read from, if any."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: tuple[Layer, ...]
    provenance: Provenance | None

    states: Mapping[str, str] = {}  # a default for the formats without state; nothing is put into it
    """Inputs with the value of a state before a run → the outputs with its value after the run."""

    default_shapes: Mapping[str, tuple[int, ...]] = {}
    """Inputs → the shape that they have where none is given, of a format whose inputs have one."""

    metadata: Mapping[str, str] = {}
    """What is said about the model in words: ``author``, ``license``, ``description``, ``version``, and keys of the
    user's own."""

    classifier: Classifier | None = None
    """Of a model that gives the name of a class; its label is no tensor of :attr:`outputs`."""

    own_names: Mapping[str, str] = {}
    """Outputs that the model itself calls otherwise → what it calls them: where an input has the same name, but another
    value, the hub needs two names."""

    computes: ClassVar[bool] = True
    """Whether it can be run on any feeds; a recording (:mod:`workbench.recorded`) only on those that were recorded."""

    recorded_by: str = ""
    """What made the tensors of a recording."""

    read_options: Mapping[str, Any] = {}
    """The options that it was read with: with them :attr:`origin` gives the same document again."""

    @abstractmethod
    def hub(self) -> ir.Model:
        """The hub graph (cached): opset ``workbench.hub.OPSET``, functions inlined, each node stamped with its layers.

        Inputs and outputs have the names, order and number of :attr:`inputs` and :attr:`outputs`; the tensors that
        :attr:`layers` list exist under the same names wherever the lowering keeps them.

        Raises:
            ConversionError: with all refusals, if layers cannot be expressed in the hub.
            ModelError: the model contradicts itself.
        """

    @abstractmethod
    def write(self, path: Path) -> None:
        """Write the model to the not yet existing ``path`` (whose suffix tells file, folder or archive).

        Called with a temporary sibling by :func:`workbench.files.replacing`; never with the user's own path.
        """

    def excerpt(self, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> Document:
        """The layers between tensors as a model of the same format.

        Args:
            inputs: own tensors that are fed in place of being computed, with fixed sizes.
            outputs: own tensors to compute.

        Raises:
            Refused: this model cannot be cut there, or the format has no way to.
        """
        raise Refused(f"a {self.format} model has no parts that stand alone")

    def weights(self) -> Mapping[str, Callable[[], Any]]:
        """Name → what reads the weight, an array; the initializers of the hub where a format does not say it better."""
        found = self.hub().graph.initializers
        return {name: value.const_value.numpy for name, value in found.items() if value.const_value is not None}

    def receive(self, name: str, value: Any) -> Any:
        """A feed as an array, where the format's interface takes more than arrays (a picture, say)."""
        return value

    def takes_pictures(self, name: str) -> bool:
        """Whether an input is fed with pictures, which :meth:`receive` makes arrays of."""
        return False

    def complete(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """The model's own feeds, checked, as its hub graph takes them."""
        return dict(feeds)

    def default_feed(self, spec: TensorSpec) -> Any:
        """What an input is fed with that is not given, an array; ``None`` where it has to be given."""
        return None

    def start(self, state: str) -> ir.TensorProtocol | None:
        """What one of :attr:`states` begins with, under the name that it was trained under; ``None`` for zeros."""
        return None

    def check_feed(self, name: str, shape: Sequence[int]) -> None:
        """Check what the format's interface says of an input beyond its spec.

        Raises:
            ExecutionError: the shape is not among those that the model takes.
        """
        return

    def precision_note(self) -> str:
        """What is to be known about the arithmetic when comparing (``"float16 storage and rounding"``); or ``""``."""
        return ""
