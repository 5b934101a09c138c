"""What both models are run on: the samples that were given, or a seeded random one, under the names of each model."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.compare.given import FromFile, Given, Sample, samples_of
from workbench.compare.invent import Range, invent, joined, ranges_of, resolve
from workbench.compare.match import Matching
from workbench.document import TensorSpec
from workbench.errors import ExecutionError
from workbench.recorded import RecordedDocument

if TYPE_CHECKING:
    from workbench.model import Model

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Feeds:
    """One sample for both models, under the input names of each."""

    reference: dict[str, Array]
    target: dict[str, Array]


class Feeder:
    """Brings samples to both models.

    Args:
        reference: feeds are random in its inputs' shapes and dtypes.
        target: where the reference leaves a size open, the target's decides.
        matching: which input of the one is which of the other.
        seed: of the random samples.
    """

    def __init__(self, reference: Model, target: Model, matching: Matching, seed: int = 0) -> None:
        self.reference, self.target = reference, target
        self.matching = matching
        self.seed = seed
        self._aliases = [_aliases(reference), _aliases(target)]
        self._constants = [_constants(reference, target), _constants(target, reference)]

    def samples(self, given: Given) -> tuple[Iterator[Feeds], int | None]:
        """The samples, made one after the other, and how many there will be if that is known.

        Raises:
            ExecutionError: when the samples are taken: they do not fit, or the file cannot be read.
        """
        recorded = self._recorded()
        if given is None and recorded is not None:
            return recorded
        if given is None:
            return iter([self.random()]), 1
        needed = [spec for spec in self.reference.inputs if self._is_needed(spec)]
        found, count = samples_of(given, needed, self.reference.document)
        return (self._adapted(sample, at if count != 1 else None) for at, sample in enumerate(found)), count

    def _adapted(self, sample: Sample, at: int | None) -> Feeds:
        """As :meth:`adapt`; what is wrong with one of several samples is said with its file or place."""
        try:
            return self.adapt(sample)
        except ExecutionError as error:
            if isinstance(sample, FromFile):
                raise ExecutionError(f"{sample.path}: {error}") from error
            if at is None:
                raise
            raise ExecutionError(f"sample {at} (counted from 0): {error}") from error

    def _recorded(self) -> tuple[Iterator[Feeds], int] | None:
        """The samples of a recording, if one of the models is one; of two, the reference's."""
        for place, model in enumerate((self.reference, self.target)):
            document = model.document
            if isinstance(document, RecordedDocument):
                sides = (({}, feeds) if place else (feeds, {}) for feeds in document.feeds())
                return (self._both(side) for side in sides), len(document.digests)
        return None

    def _is_needed(self, spec: TensorSpec) -> bool:
        """Whether the reference's input has to be given: it was not fixed in the conversion, and has no default."""
        return spec.name not in self._constants[0] and self.reference.document.default_feed(spec) is None

    def random(self) -> Feeds:
        """One random sample: standard normal floats, booleans, bytes, and integers that the models can take.

        What an integer may be is read off both graphs (:func:`workbench.compare.invent.ranges_of`); where they show
        nothing it is from 0 to 7.
        """
        generator = np.random.default_rng(self.seed)
        sizes: dict[str, int] = {}
        counterparts = {name: self._target_spec(own) for name, own in self.matching.inputs}
        found = {}
        allowed = self._ranges()
        for spec in self.reference.inputs:
            if spec.name in self._constants[0]:
                continue
            shape = resolve(_usual(self.reference, spec.name, spec), counterparts.get(spec.name), sizes)
            own = next((own for name, own in self.matching.inputs if name == spec.name), "")
            pixels = self.matching.pictures[1].get(own)
            if self.reference.document.takes_pictures(spec.name) or (
                pixels is None and self.target.document.takes_pictures(own)
            ):
                found[spec.name] = generator.integers(0, 256, shape).astype(spec.dtype)
            elif pixels is not None:
                shown = generator.integers(0, 256, pixels.pixels(np.zeros(shape)).shape).astype(np.float32)
                found[spec.name] = pixels.values(shown).astype(spec.dtype)
            else:
                found[spec.name] = invent(generator, spec, shape, allowed.get(spec.name))
        return self.adapt(found)

    def _ranges(self) -> dict[str, Range]:
        """The reference's inputs → what both graphs allow."""
        own, others = ranges_of(self.reference.graph.graph), ranges_of(self.target.graph.graph)
        for name, other in self.matching.inputs:
            allowed = joined(item for item in (own.get(name), others.get(other)) if item is not None)
            if allowed is not None:
                own[name] = allowed
        return own

    def _target_spec(self, own: str) -> TensorSpec | None:
        """A target's input as the reference would state it; sizes that it leaves open are those of its default."""
        found = self._stated_spec(own)
        pixels, perm = self.matching.pictures[1].get(own), self.matching.perms.get(own)
        return None if found is None else _usual(self.target, own, found, perm if pixels is None else pixels.perm)

    def _stated_spec(self, own: str) -> TensorSpec | None:
        spec = next((spec for spec in self.target.inputs if spec.name == own), None)
        made = self.target.provenance
        stated = made.inputs.get(own) if made is not None else None
        if stated is not None and stated.is_static:
            return stated
        if spec is None or spec.shape is None or own not in self.matching.perms:
            return spec if stated is None or (spec is not None and spec.is_static) else stated
        dims = spec.shape
        return TensorSpec(own, spec.dtype, tuple(dims[axis] for axis in self.matching.perms[own]))

    def adapt(self, sample: Sample) -> Feeds:
        """The sample under both models' input names; names may be those of either, or of their common source.

        Raises:
            ExecutionError: a name that neither model knows, an input that gets nothing, or an array that does not fit.
        """
        given: tuple[dict[str, Any], dict[str, Any]] = {}, {}
        for name, value in sample.items():
            owners = self._owners(name)
            if owners == (None, None):
                raise ExecutionError(self._unknown(name))
            for side, owner in zip(given, self._takers(owners, value), strict=True):
                if owner is not None:
                    side[owner] = value
        return self._both(given)

    def _both(self, given: tuple[dict[str, Any], dict[str, Any]]) -> Feeds:
        """Feeds of both models from what is there for either, under its own names."""
        for name, own in self.matching.inputs:
            perm = self.matching.perms.get(own)
            if own not in given[1] and name in given[0]:
                back = None if perm is None else tuple(int(axis) for axis in np.argsort(perm))
                values = self._told(given[0][name], 0, (name, own))
                given[1][own] = _fitted(_permuted(values, back), self.target, own)
            elif name not in given[0] and own in given[1]:
                values = self._told(given[1][own], 1, (name, own))
                given[0][name] = _fitted(_permuted(values, perm), self.reference, name)
        for side, fixed in zip(given, self._constants, strict=True):
            side.update((name, array) for name, array in fixed.items() if name not in side)
        return Feeds(self._ready(self.reference, given[0]), self._ready(self.target, given[1]))

    def _owners(self, name: str) -> tuple[str | None, str | None]:
        """The inputs that go by this name: a model's own name counts before what its source called it."""
        own = tuple(any(spec.name == name for spec in model.inputs) for model in (self.reference, self.target))
        first, second = (aliases.get(name) for aliases in self._aliases)
        if any(own):
            return (first if own[0] else None), (second if own[1] else None)
        return first, second

    def _takers(self, owners: tuple[str | None, str | None], value: Any) -> tuple[str | None, str | None]:
        """Of two inputs with one name that take different things, the one that is meant: a picture is for the input
        that takes pictures, an array for the reference's, unless it has the other's layout."""
        first, second = owners
        if first is None or second is None:
            return owners
        if not self.matching.recorded and second in self.matching.perms:
            return (None, second) if self._has_layout(value, first, second) else (first, None)
        drawn = not isinstance(value, np.ndarray | list | tuple)
        takes = self.reference.document.takes_pictures(first), self.target.document.takes_pictures(second)
        if drawn and takes[0] != takes[1]:
            return (first, None) if takes[0] else (None, second)
        same = self.matching.pictures[0].get(first) == self.matching.pictures[1].get(second)
        return owners if same else (first, None)

    def _told(self, value: Any, giver: int, names: tuple[str, str]) -> Any:
        """A feed of the one model's input as the other's takes it, where either takes pictures.

        Args:
            giver: 0 for the reference, 1 for the target.
            names: of the input in the reference, and in the target.
        """
        model = (self.reference, self.target)[giver]
        before, after = (self.matching.pictures[side].get(names[side]) for side in (giver, 1 - giver))
        if before == after and not model.document.takes_pictures(names[giver]):
            return value
        array = np.asarray(model.document.receive(names[giver], value))
        if before == after:
            return array
        values = array if before is None else before.values(array)
        return values if after is None else after.pixels(values)

    def _has_layout(self, value: Any, first: str, second: str) -> bool:
        """Whether an array's shape is that of the target's input and not that of the reference's."""
        fits = []
        for model, name in ((self.reference, first), (self.target, second)):
            spec = next(spec for spec in model.inputs if spec.name == name)
            dims = spec.shape or ()
            shape = np.shape(value)
            fits.append(
                len(dims) == len(shape)
                and all(a == b or not isinstance(a, int) for a, b in zip(dims, shape, strict=True))
            )
        return fits == [False, True]

    def _ready(self, model: Model, feeds: Mapping[str, Any]) -> dict[str, Array]:
        for spec in model.inputs:
            if spec.name not in feeds:
                raise ExecutionError(self._missing(model, spec))
        return model.adapt_feeds(feeds)

    def _unknown(self, name: str) -> str:
        takes = [", ".join(map(str, model.inputs)) or "nothing" for model in (self.reference, self.target)]
        known = [spec.name for model in (self.reference, self.target) for spec in model.inputs]
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        both = f"the reference takes {takes[0]}" + (f", the target {takes[1]}" if takes[1] != takes[0] else "")
        return f"feeds: neither model has an input {name!r}; {both}.{hint}"

    def _missing(self, model: Model, spec: TensorSpec) -> str:
        """Why an input gets nothing, and what to give."""
        text = f"feeds: nothing is known for the input {spec} of the {model.format} model {model.name!r}"
        related = [{name for name, _ in self.matching.inputs}, {own for _, own in self.matching.inputs}]
        side = 0 if model is self.reference else 1
        others = [
            other
            for other in (self.target, self.reference)[side].inputs
            if other.name not in related[1 - side] | set(self._constants[1 - side])
        ]
        if spec.name in related[side] or not others:
            return f"{text}; add it to the feeds: {{{spec.name!r}: array}}."
        return (
            f"{text}: which input of the other model it is ({', '.join(map(str, others))}) cannot be told from names, "
            f"dtypes and sizes; pass feeds with the input names of both models: "
            f"{{{spec.name!r}: array, {others[0].name!r}: array, …}}."
        )


def _usual(model: Model, own: str, spec: TensorSpec, perm: tuple[int, ...] | None = None) -> TensorSpec:
    """An input with the sizes of its default shape in the place of open ones.

    Args:
        own: what the model calls it.
        spec: as the other model states it.
        perm: of the spec's axes, which of the model's each of them is.
    """
    usual = model.document.default_shapes.get(own)
    if perm is not None and usual is not None and len(usual) == len(perm):
        usual = tuple(usual[axis] for axis in perm)
    if usual is None or spec.shape is None or len(usual) != len(spec.shape):
        return spec
    dims = tuple(dim if isinstance(dim, int) else size for dim, size in zip(spec.shape, usual, strict=True))
    return TensorSpec(spec.name, spec.dtype, dims)


def _aliases(model: Model) -> dict[str, str]:
    """Every name that an input is known by → its own."""
    made = model.provenance
    found = {} if made is None else {spec.name: own for own, spec in made.inputs.items()}
    return {**found, **{spec.name: spec.name for spec in model.inputs}}


def _constants(model: Model, other: Model) -> dict[str, Array]:
    """Inputs of the model that were fixed when the other was made from it → what they were fixed to."""
    made = other.provenance
    own = {spec.name for spec in model.inputs}
    return {} if made is None else {name: array for name, array in made.constants.items() if name in own}


def _permuted(value: Any, perm: tuple[int, ...] | None) -> Any:
    array = np.asarray(value)
    return array if perm is None or array.ndim != len(perm) else array.transpose(perm)


def _fitted(value: Any, model: Model, name: str) -> Any:
    """An array of the other model in this one's dtype and rank, where it loses nothing."""
    spec = next((spec for spec in model.inputs if spec.name == name), None)
    array = np.asarray(value)
    if spec is None or array.dtype.kind not in "biuf":
        return array
    if array.dtype.name != spec.dtype and spec.dtype in np.sctypeDict:
        cast = array.astype(spec.dtype)
        same_kind = array.dtype.kind == cast.dtype.kind == "f"
        array = cast if same_kind or np.array_equal(cast.astype(array.dtype), array) else array
    if spec.is_static and spec.shape is not None and array.shape != spec.shape:
        sizes = [size for size in spec.shape if isinstance(size, int)]
        if [size for size in array.shape if size != 1] == [size for size in sizes if size != 1]:
            array = array.reshape(sizes)
    return array


def batches(samples: Iterator[Feeds], size: int) -> list[Feeds]:
    """The next samples, at most ``size`` of them."""
    return list(itertools.islice(samples, size))
