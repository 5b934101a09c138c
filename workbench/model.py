"""A model as the user holds it: one document of one format, and everything that can be done with it."""

from __future__ import annotations

import html
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from workbench import limits
from workbench.document import Document, Layer, Progress, Provenance, TensorSpec, silent
from workbench.errors import ConversionError, ExecutionError, OptionError, Refusal, SaveError, StateWarning
from workbench.executors import Executor, check_feeds, executor_for
from workbench.files import replacing
from workbench.formats import Draft, Format, Source, all_formats, format_named, format_of, make_options
from workbench.hub import (
    Specialized,
    check_shapes,
    dtype_of,
    fixed_inputs,
    flexible_inputs,
    open_dimensions,
    specialize,
)
from workbench.plan import Plan, PlanRow
from workbench.planning import inflexible, lost_starts, not_fixed, planned_rows, refused_rows, with_shape
from workbench.recorded import RecordedDocument, is_recording

if TYPE_CHECKING:
    import onnx_ir as ir

Array = np.ndarray[Any, Any]


def load(source: str | os.PathLike[str] | object, **options: Any) -> Model:
    """Open a model.

    Args:
        source: a path (file, folder or archive; the format is told from the content, not from the suffix alone), or an
            in-memory model: ``onnx.ModelProto``, coremltools' ``MLModel``, ``torch.nn.Module``.
        options: what the source alone does not say: ``function="name"`` of a Core ML model with several functions,
            ``example_inputs=(x,)`` for PyTorch.

    Raises:
        ModelError: the model cannot be read; the message says what is wrong with it and where.
        OptionError: an option that this kind of source does not take, or a bad value.
    """
    if isinstance(source, Model):
        return source
    if isinstance(source, str | os.PathLike):
        path = Path(os.path.expanduser(source))
        if is_recording(path) and not options:
            return Model(RecordedDocument(path))
        return Model(_read(format_of(path), path, options))
    from workbench.frameworks import document_of

    document = document_of(source, options)
    return Model(document if document is not None else _read(format_of(source), source, options))


def _read(chosen: Format, source: Path | object, options: Mapping[str, Any]) -> Document:
    unknown = [name for name in options if name not in chosen.read_options]
    if unknown:
        takes = f"takes {', '.join(chosen.read_options)}" if chosen.read_options else "takes none"
        raise OptionError(f"unknown option {unknown[0]!r}; a {chosen.title} model {takes}.")
    with limits.bounded_memory(f"reading {source if isinstance(source, Path) else 'the model'}"):
        return chosen.read(source, **options)


class Model:
    """A neural network in one exchange format, ready to be looked at, run, converted, compared and saved.

    Attributes:
        document: the model in its own format.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self._executor: Executor | None = None
        self._pending: tuple[object, Draft, Plan] | None = None

    # -- looking ------------------------------------------------------------------------------------------------

    @property
    def format(self) -> str:
        """``onnx``, ``nnef`` or ``coreml``."""
        return self.document.format

    @property
    def name(self) -> str:
        """Display name."""
        return self.document.name

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Names, dtypes and shapes of what the model takes, in its own order."""
        return self.document.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Names, dtypes and shapes of what the model makes, in its own order."""
        names = self.document.own_names
        return tuple(replace(spec, name=names.get(spec.name, spec.name)) for spec in self.document.outputs)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers as the model's own format states them, in topological order."""
        return self.document.layers

    @property
    def provenance(self) -> Provenance | None:
        """What is recorded of the model that this one was converted from."""
        return self.document.provenance

    @property
    def metadata(self) -> Mapping[str, str]:
        """What is said about the model in words: ``author``, ``license``, ``description``, ``version``, own keys."""
        return self.document.metadata

    @property
    def labels(self) -> tuple[str | int, ...]:
        """A classifier's classes, in the order of its probabilities; ``()`` of every other model."""
        return () if self.document.classifier is None else self.document.classifier.classes

    @property
    def graph(self) -> ir.Model:
        """The model in the hub: ONNX at the pinned opset, held in onnx-ir.

        Raises:
            ConversionError: layers that the hub cannot express.
        """
        return self.document.hub()

    @property
    def weights(self) -> Weights:
        """The weights by name, each read when it is asked for.

        Raises:
            ConversionError: the names are those of the hub, and layers cannot be expressed there.
        """
        return Weights(self.document.weights())

    # -- converting ---------------------------------------------------------------------------------------------

    def plan(self, target: str, /, *, progress: Progress = silent, **options: Any) -> Plan:
        """Say layer by layer what a conversion will do (exact, approximate, refused); nothing is written.

        While sizes that the target needs are open, layers are refused or undecided.

        Args:
            target: ``onnx``, ``nnef`` or ``coreml``.
            progress: told about the work; may raise ``Cancelled``.
            options: of the target, see ``workbench.formats.<target>``; ``shapes={name: (…)}`` for all, for Core ML with
                a :class:`Range` in the place of a size, or a list of shapes.
                Core ML's include the operating system, ``target="iOS17"``.

        Raises:
            OptionError: an unknown target or option, or a bad value.
            ModelError: the model contradicts itself.
        """
        with limits.bounded_memory(f"planning for {target}"):
            return self._draft(target, options, progress)[1]

    def convert(self, target: str, /, *, progress: Progress = silent, **options: Any) -> Model:
        """Convert to another format; same arguments as :meth:`plan`.

        Raises:
            ConversionError: with all refusals, layer by layer; nothing was written.
            OptionError: an unknown target or option, or a bad value.

        Warns:
            StateWarning: what states begin with is not in the converted model.
        """
        with limits.bounded_memory(f"converting to {target}"):
            draft, plan = self._draft(target, options, progress)
            if not plan.ok or draft is None:
                raise ConversionError(plan.refusals, subject=f"{self.format} model {self.name!r}")
            self._pending = None  # a draft is finished once
            made = draft.finish(progress)
        lost = lost_starts(self.document, made)
        if lost:
            warnings.warn(StateWarning(target, lost), stacklevel=2)
        return Model(made)

    def settle(self, target: str, /, **options: Any) -> dict[str, Any]:
        """The options as they can be written down: names of layers where a function was given that chooses them.

        Raises:
            OptionError: an unknown target or option, or a bad value.
        """
        return {**options, **make_options(format_named(target).options, options).chosen_among(self.layers)}

    def _draft(self, target: str, options: Mapping[str, Any], progress: Progress) -> tuple[Draft | None, Plan]:
        """Lower to the target, or hand out what :meth:`plan` has lowered just before with the same options."""
        wanted = format_named(target)
        options = self.settle(target, **options)
        if not self.document.computes:
            cause = "a recording has tensors, and no layers that compute them"
            way = "convert the model that was recorded"
            refusal = Refusal(self.format, target, "recording", self.name, cause, way)
            return None, self._plan(target, options, (), (refusal,))
        chosen = make_options(wanted.options, options)
        constants = fixed_inputs(self.inputs, chosen.constants or {})
        key = (target, repr(chosen), *(array.tobytes() for array in constants.values()))
        if self._pending is not None and self._pending[0] == key:
            return self._pending[1], self._pending[2]
        try:
            hub = self.document.hub()
        except ConversionError as error:
            return None, self._plan(target, options, refused_rows(self.layers, error.refusals), ())
        shapes = dict(chosen.shapes or {})
        check_shapes(self.inputs, shapes)
        flexible = flexible_inputs(self.inputs, shapes)
        if flexible and not wanted.flexible_shapes:
            raise OptionError(inflexible(wanted, flexible))
        static = not wanted.leaves_open(chosen)
        if static:
            unset = open_dimensions(hub, {**shapes, **{name: array.shape for name, array in constants.items()}})
            if unset:
                refusals = [not_fixed(self.format, target, spec, wanted.flexible_shapes) for spec in unset]
                rows = planned_rows(self.layers, wanted.foresee(hub.graph), ())
                return None, self._plan(target, options, rows, refusals)
        fixed = static or shapes or constants
        specialized = specialize(hub, shapes, wanted.control, constants) if fixed else Specialized(hub, ())
        tensors = frozenset(spec.name for layer in self.layers for spec in layer.outputs)
        inputs = tuple(
            with_shape(spec, shapes.get(spec.name), flexible.get(spec.name))
            for spec in self.inputs
            if spec.name not in constants
        )
        states = {name: output for name, output in self.states.items() if name not in constants}
        source = Source(
            format=self.format,
            name=self.name,
            inputs=inputs,
            outputs=self.document.outputs,
            tensors=tensors,
            metadata={key: text for key, text in self.metadata.items() if not key.startswith("workbench.")},
            classifier=self.document.classifier,
            constants=constants,
            states=states,
            starts={name: start for name in states if (start := self.document.start(name)) is not None},
            path=self.document.origin,
        )
        draft = wanted.draft(specialized, source, chosen, progress)
        rows = planned_rows(self.layers, draft.outcomes, specialized.folded)
        plan = self._plan(target, options, rows, draft.general)
        self._pending = (key, draft, plan)
        return draft, plan

    def _plan(
        self, target: str, options: Mapping[str, Any], rows: Iterable[PlanRow], general: Sequence[Refusal]
    ) -> Plan:
        return Plan(self.format, target, self.name, dict(options), tuple(rows), tuple(general))

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write the model; the destination is the old one or the new one, whole, at every moment.

        Args:
            path: where to; its suffix chooses among the forms of the format (folder or archive).
            overwrite: replace what stands there, once the new one is complete.

        Returns:
            The path.

        Raises:
            SaveError: the destination exists, cannot be written, or is a folder that is no model.
        """
        destination = Path(os.path.expanduser(path))
        if overwrite and destination.is_dir() and not any(form.is_only(destination) for form in all_formats().values()):
            raise SaveError(
                f"{destination} is a folder that holds other things than a model; it is not replaced. "
                "Choose another name, or delete it yourself. Nothing was written."
            )
        with replacing(destination, overwrite=overwrite) as partial:
            self.document.write(partial)
        return destination

    # -- running ------------------------------------------------------------------------------------------------

    @property
    def executor(self) -> Executor:
        """What runs the model here; its ``name`` is shown wherever results are."""
        if self._executor is None:
            self._executor = executor_for(self.document)
        return self._executor

    @property
    def states(self) -> Mapping[str, str]:
        """Inputs with the value of a state before a run → the outputs with its value after the run."""
        return self.document.states

    def new_state(self) -> dict[str, Array]:
        """A state to hand to :meth:`run`: each of :attr:`states` with what it begins with."""
        return {spec.name: self.document.default_feed(spec) for spec in self.inputs if spec.name in self.states}

    def run(
        self,
        feeds: Mapping[str, Any],
        taps: Literal["all"] | Sequence[str] | None = None,
        state: dict[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Run the model.

        Args:
            feeds: input name → array. A model that we converted also takes the names, dtypes and shapes of its source;
                an image input of a Core ML model takes a PIL image. What has a default (an optional input, a state)
                may be left out.
            taps: layer names whose tensors to return besides the outputs, or ``"all"``.
            state: of :meth:`new_state`; it is read, and overwritten with the values after the run, which are then
                no outputs. Without it a state begins as :meth:`new_state` has it, and is returned as an output.

        Returns:
            The outputs by name, in the order of :attr:`outputs`; a classifier's most probable label (an array of rank
            0, of text or int64) under its name; then, for taps, the first output of each layer under the layer's name
            and further ones under ``name:1``, ``name:2``, …

        Raises:
            ExecutionError: feeds that do not fit, an unknown tap, or a failure of the executor.
        """
        ready = self.adapt_feeds(feeds if state is None else {**feeds, **self._carried(state, feeds)})
        results = self._run(ready, taps)
        if state is not None:
            state.update({name: results.pop(output) for name, output in self.states.items()})
        return results

    def _carried(self, state: Mapping[str, Array], feeds: Mapping[str, Any]) -> Mapping[str, Array]:
        if set(state) != set(self.states):
            raise ExecutionError(f"a state of this model has {list(self.states)}, not {list(state)}; see new_state().")
        twice = sorted(set(state) & set(feeds))
        if twice:
            raise ExecutionError(f"{twice[0]!r} is fed and is in the state too; leave one of them out.")
        return state

    def _run(self, ready: Mapping[str, Array], taps: Literal["all"] | Sequence[str] | None) -> dict[str, Array]:
        if taps is None:
            return self._labelled(self.executor.run(ready, None))
        tapped = self._taps(taps)
        names = [spec.name for spec in self.document.outputs]
        found = self.executor.run(ready, list(dict.fromkeys([*names, *tapped.values()])))
        results = self._labelled({name: found[name] for name in names})
        results.update({key: found[tensor] for key, tensor in tapped.items() if key not in results})
        return results

    def _labelled(self, results: dict[str, Array]) -> dict[str, Array]:
        classifier = self.document.classifier
        if classifier is not None:
            results[classifier.label] = classifier.of(results[classifier.probabilities])
        names = self.document.own_names
        return {names.get(name, name): array for name, array in results.items()}

    def _taps(self, taps: Literal["all"] | Sequence[str]) -> dict[str, str]:
        """Key in the result → tensor, for the layers asked for."""
        everything = taps == "all"
        wanted = None if everything else set([taps] if isinstance(taps, str) else taps)
        available = {value.name for node in self.graph.graph for value in node.outputs}
        found: dict[str, str] = {}
        for layer in self.layers:
            if wanted is not None and layer.name not in wanted:
                continue
            for index, spec in enumerate(layer.outputs):
                if spec.name in available:
                    found[layer.name if index == 0 else f"{layer.name}:{index}"] = spec.name
                elif not everything and index == 0:
                    raise ExecutionError(
                        f"{self.format} model {self.name!r}: the layer {layer.name!r} ({layer.operator}) is a constant "
                        "or lies inside another layer; it has no tensor of its own to tap."
                    )
        unknown = (wanted or set()) - {layer.name for layer in self.layers}
        if unknown:
            raise ExecutionError(
                f"{self.format} model {self.name!r} has no layer {sorted(unknown)[0]!r}; Model.layers lists the names."
            )
        return found

    def adapt_feeds(self, feeds: Mapping[str, Any]) -> dict[str, Array]:
        """Bring feeds to the model's own input names, dtypes and shapes.

        Lists and numbers are converted; arrays have to be of the input's dtype and shape, or of those of the source's
        input that the record of the conversion names (an int64 that became int32 must fit).

        What is left out and has a default gets it. An input that takes pictures takes their pixels, [1, C, H, W], as an
        array; under the name of the source's input, where that is another, the values that the source takes.

        Raises:
            ExecutionError: a name, dtype or shape that fits neither; the message says what would.
        """
        origins = self.provenance.inputs if self.provenance is not None else {}
        pictures = self.provenance.pictures if self.provenance is not None else {}
        fixed = self.provenance.constants if self.provenance is not None else {}
        by_name = {spec.name: spec for spec in self.inputs}
        by_origin = {origins[name].name: spec for name, spec in by_name.items() if name in origins}
        adapted: dict[str, Array] = {}
        for name, value in feeds.items():
            spec = by_name.get(name) or by_origin.get(name)
            if spec is None and name in fixed:
                _check_constant(name, value, fixed[name])
                continue
            if spec is None:
                expected = ", ".join(map(str, self.inputs))
                raise ExecutionError(f"{self.format} model {self.name!r} has no input {name!r}; it takes {expected}.")
            if name not in by_name and spec.name in pictures:
                value = pictures[spec.name].pixels(np.asarray(value))
            adapted[spec.name] = _fit(self.document.receive(spec.name, value), spec, origins.get(spec.name))
        for spec in self.inputs:
            default = None if spec.name in adapted else self.document.default_feed(spec)
            if default is not None:
                adapted[spec.name] = default
        check_feeds(self.inputs, adapted)
        for name, array in adapted.items():
            self.document.check_feed(name, array.shape)
        return self.document.complete(adapted)

    # -- showing ------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        takes = ", ".join(map(str, self.inputs))
        makes = ", ".join(map(str, self.outputs))
        return f"Model({self.name!r}, {self.format}, {len(self.layers)} layers, ({takes}) → ({makes}))"

    def _repr_html_(self) -> str:
        from collections import Counter

        counts = Counter(layer.operator for layer in self.layers)
        operators = ", ".join(f"{operator} × {count}" for operator, count in counts.most_common(12))
        rows = [
            ("format", self.format),
            ("inputs", "; ".join(map(str, self.inputs))),
            ("outputs", "; ".join(map(str, self.outputs))),
            ("layers", f"{len(self.layers)}: {operators}" + (", …" if len(counts) > 12 else "")),
        ]
        body = "".join(f"<tr><th>{key}</th><td>{html.escape(text)}</td></tr>" for key, text in rows)
        return f"<table><caption>{html.escape(self.name)}</caption>{body}</table>"


class Weights(Mapping[str, Array]):
    """A model's weights: name → array, read (and decompressed, where the file has it compressed) at each look-up."""

    def __init__(self, readers: Mapping[str, Callable[[], Array]]) -> None:
        self._readers = readers

    def __getitem__(self, name: str) -> Array:
        return self._readers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)

    def __repr__(self) -> str:
        return f"Weights({len(self)} tensors)"


def _fit(value: Any, spec: TensorSpec, origin: TensorSpec | None) -> Array:
    """The value in the input's own dtype and shape, if that loses nothing."""
    array = np.asarray(value)
    if array.dtype.name != spec.dtype and spec.dtype in np.sctypeDict:
        if not isinstance(value, np.ndarray | np.generic) and np.can_cast(array.dtype, spec.dtype, "same_kind"):
            array = array.astype(spec.dtype)
        elif origin is not None and dtype_of(array) == origin.dtype:
            array = _cast(array, spec)
    if origin is not None and origin.shape is not None and spec.shape is not None and spec.is_static:
        sizes = tuple(int(dim) for dim in spec.shape if isinstance(dim, int))
        if array.ndim == len(origin.shape) != len(sizes) and array.size == math.prod(sizes):
            array = array.reshape(sizes)
    return array


def _check_constant(name: str, value: Any, constant: Array) -> None:
    if not np.array_equal(np.asarray(value), constant):
        raise ExecutionError(
            f"the feed {name!r} is not what it was fixed to when the model was converted, {constant.tolist()}; "
            "convert again with another value in constants={…}, or without it."
        )


def _cast(array: Array, spec: TensorSpec) -> Array:
    cast: Array = array.astype(spec.dtype)
    if array.dtype.kind in "iu" and not np.array_equal(cast.astype(array.dtype), array):
        raise ExecutionError(
            f"the feed {spec.name!r} has values that {spec.dtype} cannot hold; "
            f"the converted model takes {spec.describe()}."
        )
    return cast
