"""How a written program presents itself: names, pictures, classes, and what is said about it in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.document import Classifier, Pixels, TensorSpec
from workbench.errors import OptionError
from workbench.files import digest
from workbench.formats.base import Source
from workbench.formats.coreml import toolkit
from workbench.formats.coreml.flexible import describe_shapes
from workbench.formats.coreml.from_onnx.names import identifier
from workbench.formats.coreml.interface import COLOURS
from workbench.formats.coreml.options import CHANNELS, TARGETS, CoreMLOptions, ImageInput
from workbench.hub import Flexible, OpenShapes, Specialized, spec_of

DIGEST = "workbench.source_sha256"
"""The key of the source's digest among the words about the model."""

_WORDS = {"author": "author", "license": "license", "version": "versionString", "description": "shortDescription"}
_COLOUR_SPACES = {name: number for number, name in COLOURS.items()}
_CHANNELS_LAST = (0, 2, 3, 1)
_CLASSES_SUFFIX = "_probs"
"""What coremltools adds to the label's name for that of the probabilities."""


@dataclass(frozen=True)
class Picture:
    """An input that takes pictures.

    Attributes:
        shape: [1, C, H, W]; height and width may be open sizes.
        colours: the order of the channels.
        pixels: how the values of the source's input follow.
    """

    shape: tuple[int, ...]
    colours: str
    pixels: Pixels


class Presentation:
    """What the options and the source say of a program's interface, checked against the graph.

    Attributes:
        names: input or output of the graph → the name that it is given.
        pictures: input of the graph → the pictures that it takes.
        flexible: input of the graph → the shapes that it takes in the program's interface, if several.
        classifier: in the graph's names.
        states: input of the graph → the output that becomes its value in the next run.
        reserved: what coremltools calls a classifier's label and probabilities.

    Raises:
        OptionError: an option that does not fit the graph.
    """

    def __init__(self, options: CoreMLOptions, hub: Specialized, source: Source) -> None:
        graph = hub.model.graph
        self._source = source
        self._words = {**source.metadata, **options.metadata}
        inputs = {spec.name: spec for spec in map(spec_of, graph.inputs)}
        outputs = {spec.name: spec for spec in map(spec_of, graph.outputs)}
        self.names = _names(options.names, [*inputs, *outputs])
        known = hub.open_shapes
        self.pictures = {name: _picture(name, wanted, inputs, known) for name, wanted in options.images.items()}
        self.flexible = {
            name: _pictured(shapes, self.pictures[name]) if name in self.pictures else shapes
            for name, shapes in hub.flexible.items()
        }
        self.states = _states(options, inputs, outputs, source)
        self.classifier = self._classifier(options, outputs)
        self.reserved = _own_names(self.classifier.label) if self.classifier is not None else ()

    @staticmethod
    def _outputs(options: CoreMLOptions, outputs: Mapping[str, TensorSpec]) -> str:
        """The output that holds the probabilities."""
        if options.probabilities:
            if options.probabilities not in outputs:
                raise OptionError(
                    f"probabilities: the model has no output {options.probabilities!r}; it has {', '.join(outputs)}."
                )
            return options.probabilities
        if len(outputs) > 1:
            raise OptionError(f"labels: say which output they are of, probabilities= one of {', '.join(outputs)}.")
        return next(iter(outputs))

    def _classifier(self, options: CoreMLOptions, outputs: Mapping[str, TensorSpec]) -> Classifier | None:
        if options.labels is None:
            carried = self._source.classifier
            fits = carried is not None and _size(outputs.get(carried.probabilities)) == len(carried.classes)
            return carried if fits else None
        name = self._outputs(options, outputs)
        if _size(outputs[name]) != len(options.labels):
            raise OptionError(f"labels: there are {len(options.labels)} for the output {outputs[name]}.")
        found = Classifier(options.label_name, name, tuple(options.labels))
        taken = {*self.names.values(), *(other for other in outputs if other != name)}
        if identifier(found.label) != found.label or not taken.isdisjoint(_own_names(found.label)):
            raise OptionError(f"label_name: {found.label!r} is taken, or no name of letters, digits and underscores.")
        return found

    def config(self, own: str) -> Any:
        """coremltools' words for the classifier; ``None`` if there is none.

        Args:
            own: the program's name of the output with the probabilities.
        """
        if self.classifier is None:
            return None
        return toolkit.coremltools().ClassifierConfig(
            list(self.classifier.classes),
            predicted_feature_name=self.classifier.label,
            predicted_probabilities_output=own,
        )

    def describe(self, description: Any, own: Mapping[str, str]) -> None:
        """Put pictures and words into a ``ModelDescription`` message.

        Args:
            own: the program's input → the graph's.
        """
        for feature in description.input:
            picture = self.pictures.get(own.get(feature.name, ""))
            if picture is not None:
                image = feature.type.imageType  # which makes it one
                if own[feature.name] not in self.flexible:
                    image.height, image.width = picture.shape[2:]
                image.colorSpace = _COLOUR_SPACES[picture.colours]
        describe_shapes(description, {name: self.flexible.get(source) for name, source in own.items()})
        for key, text in self._words.items():
            if key in _WORDS:
                setattr(description.metadata, _WORDS[key], text)
            else:
                description.metadata.userDefined[key] = text
        if self._source.path is not None and self._source.path.exists():  # it may be gone, and its model still here
            description.metadata.userDefined[DIGEST] = digest(self._source.path)


def _own_names(label: str) -> tuple[str, ...]:
    """What coremltools calls the label and the probabilities of a classifier that it writes."""
    return label, label + _CLASSES_SUFFIX


def _size(spec: TensorSpec | None) -> int:
    if spec is None or not spec.is_static:
        return -1
    return math.prod(int(str(size)) for size in spec.shape or ())


def _names(wanted: Mapping[str, str], known: list[str]) -> dict[str, str]:
    for name, given in wanted.items():
        if name not in known:
            raise OptionError(f"names: the model has no input or output {name!r}; it has {', '.join(known)}.")
        if identifier(given) != given:
            raise OptionError(f"names: {given!r} is no name for Core ML, which has letters, digits and underscores.")
    given_to = [wanted.get(name, name) for name in dict.fromkeys(known)]
    twice = sorted({name for name in given_to if given_to.count(name) > 1})
    if twice:
        raise OptionError(f"names: two inputs or outputs would be called {twice[0]!r}.")
    return dict(wanted)


def _states(
    options: CoreMLOptions, inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec], source: Source
) -> dict[str, str]:
    """Inputs and outputs that can be one state: of one shape and a floating-point dtype."""
    if options.states and options.specification < TARGETS["iOS18"]:
        raise OptionError(f"states: Core ML has them from iOS18 on; the target is {options.target}.")
    for name, output in options.states.items():
        if name not in inputs or output not in outputs:
            raise OptionError(
                f"states: {name!r}: {output!r} is not an input ({', '.join(inputs)}) and an output "
                f"({', '.join(outputs)}) of the model."
            )
        before, after = inputs[name], outputs[output]
        if not before.is_static or before.shape != after.shape or not before.shape:
            raise OptionError(f"states: {before} and {after} are not of one fixed shape, of rank 1 or more.")
        if not before.dtype.startswith("float") or not after.dtype.startswith("float"):
            raise OptionError(f"states: {before} and {after}: Core ML keeps states in float16, not in integers.")
        if name in source.starts and source.starts[name].numpy().any():
            raise OptionError(
                f"states: {name!r} begins with numbers that the model holds, and Core ML's states begin with zeros; "
                f"without it {name!r} is an input, which is fed with them first."
            )
        if name in options.images or options.probabilities == output:
            raise OptionError(f"states: {name!r} and {output!r} cannot be a picture or probabilities as well.")
    if len(set(options.states.values())) < len(options.states) or len(options.states) == len(outputs):
        raise OptionError("states: an output belongs to one state, and at least one has to be left.")
    return dict(options.states)


def _picture(name: str, wanted: ImageInput, inputs: Mapping[str, TensorSpec], known: OpenShapes | None) -> Picture:
    """The picture that the input can take: [1, C, H, W], or [1, H, W, C] transposed."""
    if name not in inputs:
        raise OptionError(f"images: the model has no input {name!r}; it has {', '.join(inputs)}.")
    spec = inputs[name]
    count = CHANNELS[wanted.colours]
    shape: tuple[Any, ...] = tuple(known.extent(size) if known is not None else size for size in spec.shape or ())
    perm: tuple[int, ...] | None
    if len(shape) == 4 and _is(shape[0], 1) and _is(shape[1], count):
        perm = None
    elif len(shape) == 4 and _is(shape[0], 1) and _is(shape[3], count):
        perm, shape = _CHANNELS_LAST, (1, count, shape[1], shape[2])
    else:
        raise OptionError(
            f"images: {spec} is not the tensor of one {wanted.colours} picture: "
            f"[1, {count}, H, W] or [1, H, W, {count}]."
        )
    if not spec.dtype.startswith("float"):
        raise OptionError(f"images: {spec} is not of a floating-point dtype.")
    return Picture(
        shape, wanted.colours, Pixels(wanted.per_channel(wanted.scale), wanted.per_channel(wanted.bias), perm)
    )


def _is(size: object, number: int) -> bool:
    return isinstance(size, int) and size == number


def _pictured(shapes: Flexible, picture: Picture) -> Flexible:
    """The shapes of an input in the order of the axes that its pictures have."""
    if picture.pixels.perm is None:
        return shapes
    order = [int(axis) for axis in np.argsort(picture.pixels.perm)]

    def turned(items: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(items[axis] for axis in order)

    return Flexible(
        turned(shapes.dims), turned(shapes.default), turned(shapes.bounds), tuple(map(turned, shapes.shapes))
    )
