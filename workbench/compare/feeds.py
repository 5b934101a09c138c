"""What both models are run on: arrays that were given, a file of them, or seeded random ones that fit."""

from __future__ import annotations

import itertools
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from workbench.compare.match import Matching
from workbench.document import Pixels, TensorSpec
from workbench.errors import ExecutionError

if TYPE_CHECKING:
    from workbench.model import Model

Array = np.ndarray[Any, Any]
Sample = Mapping[str, Any]
Given: TypeAlias = "Sample | str | os.PathLike[str] | Iterable[Sample] | None"

_GUESSES = {
    "batch": 1,
    "n": 1,
    "b": 1,
    "seq": 16,
    "time": 16,
    "length": 16,
    "height": 64,
    "width": 64,
    "h": 64,
    "w": 64,
}
_OTHERWISE = 16


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
        if given is None:
            return iter([self.random()]), 1
        if isinstance(given, str | os.PathLike):
            return iter([self.adapt(load_feeds(Path(given)))]), 1
        if isinstance(given, Mapping):
            return iter([self.adapt(given)]), 1
        count = len(given) if isinstance(given, list | tuple) else None
        return (self.adapt(sample) for sample in given), count

    def random(self) -> Feeds:
        """One random sample: standard normal floats, integers from 0 to 7 (bytes: to 255), booleans."""
        generator = np.random.default_rng(self.seed)
        sizes: dict[str, int] = {}
        counterparts = {name: self._target_spec(own) for name, own in self.matching.inputs}
        found = {}
        for spec in self.reference.inputs:
            if spec.name in self._constants[0]:
                continue
            shape = _resolve(spec, counterparts.get(spec.name), sizes)
            pixels = self._pictured(spec.name)
            if pixels is not None:
                shown = generator.integers(0, 256, pixels.pixels(np.zeros(shape)).shape).astype(np.float32)
                found[spec.name] = pixels.values(shown).astype(spec.dtype)
            else:
                found[spec.name] = _random(generator, spec, shape)
        return self.adapt(found)

    def _pictured(self, name: str) -> Pixels | None:
        """How the input's values follow from pictures that the target takes in its place."""
        found = next((own for mine, own in self.matching.inputs if mine == name), None)
        return None if found is None else _pixels(self.target, found)

    def _target_spec(self, own: str) -> TensorSpec | None:
        """A target's input as the reference would state it."""
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
                takes = ", ".join(map(str, self.reference.inputs))
                raise ExecutionError(f"feeds: neither model has an input {name!r}; the reference takes {takes}.")
            for side, owner in zip(given, self._takers(owners, value), strict=True):
                if owner is not None:
                    side[owner] = value
        for name, own in self.matching.inputs:
            perm = self.matching.perms.get(own)
            if own not in given[1] and name in given[0]:
                back = None if perm is None else tuple(int(axis) for axis in np.argsort(perm))
                values = _told(given[0][name], (self.reference, name), (self.target, own))
                given[1][own] = _fitted(_permuted(values, back), self.target, own)
            elif name not in given[0] and own in given[1]:
                values = _told(given[1][own], (self.target, own), (self.reference, name))
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
        that takes pictures, an array for the reference's."""
        first, second = owners
        if first is None or second is None:
            return owners
        pictures = _pixels(self.reference, first), _pixels(self.target, second)
        if pictures[0] == pictures[1]:
            return owners
        drawn = not isinstance(value, np.ndarray | list | tuple)
        return (first, None) if not drawn or pictures[1] is None else (None, second)

    def _ready(self, model: Model, feeds: Mapping[str, Any]) -> dict[str, Array]:
        for spec in model.inputs:
            if spec.name not in feeds:
                raise ExecutionError(
                    f"feeds: nothing is known for the input {spec} of the {model.format} model {model.name!r}; "
                    "pass feeds={…} with the input names of both models."
                )
        return model.adapt_feeds(feeds)


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


def _pixels(model: Model, name: str) -> Pixels | None:
    """How the source's values follow from the pixels that the input takes; ``None`` of other inputs."""
    made = model.provenance
    return None if made is None else made.pictures.get(name)


def _told(value: Any, giver: tuple[Model, str], taker: tuple[Model, str]) -> Any:
    """A feed of the one input as the other takes it, where either takes pictures."""
    before, after = _pixels(*giver), _pixels(*taker)
    if before == after:
        return value
    array = np.asarray(giver[0].document.receive(giver[1], value))
    values = array if before is None else before.values(array)
    return values if after is None else after.pixels(values)


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


def _resolve(spec: TensorSpec, counterpart: TensorSpec | None, sizes: dict[str, int]) -> tuple[int, ...]:
    """A fixed shape: the reference's sizes, else the target's, else a guess by the dimension's name and place."""
    dims = spec.shape
    other = counterpart.shape if counterpart is not None else None
    if dims is None:
        dims = other if other is not None else (1,)
    if other is None or len(other) != len(dims):
        other = (None,) * len(dims)
    shape = []
    for axis, (dim, fixed) in enumerate(zip(dims, other, strict=True)):
        if not isinstance(dim, int):
            size = fixed if isinstance(fixed, int) else _guess(dim, axis, sizes)
            if dim is not None:
                size = sizes.setdefault(dim, size)
            dim = size
        shape.append(dim)
    return tuple(shape)


def _guess(name: str | None, axis: int, sizes: Mapping[str, int]) -> int:
    if name is not None and name in sizes:
        return sizes[name]
    words = (name or "").lower()
    known = next((size for word, size in _GUESSES.items() if words == word or (len(word) > 1 and word in words)), None)
    return known if known is not None else (1 if axis == 0 else _OTHERWISE)


def _random(generator: np.random.Generator, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    if spec.dtype in ("float16", "float32", "float64"):
        return np.asarray(generator.standard_normal(shape), dtype=spec.dtype)
    if spec.dtype == "bool":
        return np.asarray(generator.integers(0, 2, shape), dtype=np.bool_)
    if spec.dtype in ("uint8", "int8"):
        return np.asarray(generator.integers(*((0, 256) if spec.dtype == "uint8" else (-128, 128)), shape), spec.dtype)
    if spec.dtype in np.sctypeDict and np.dtype(spec.dtype).kind in "iu":
        return np.asarray(generator.integers(0, 8, shape), dtype=spec.dtype)
    raise ExecutionError(f"there are no random values for the input {spec}; pass feeds={{{spec.name!r}: …}}.")


def load_feeds(path: Path) -> dict[str, Array]:
    """The arrays of an ``.npz`` file by name; pickled objects are refused.

    Raises:
        ExecutionError: there is no such file, or it is something else.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ExecutionError(f"{path}: one array without a name; write it with numpy.savez(path, NAME=array).")
        with archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ExecutionError(f"{path}: cannot be read as .npz feeds: {error}") from error


def batches(samples: Iterator[Feeds], size: int) -> list[Feeds]:
    """The next samples, at most ``size`` of them."""
    return list(itertools.islice(samples, size))
