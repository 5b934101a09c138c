"""Writing a recording: a model's tensors on some samples, streamed to a file as they are made."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.compare.feeds import Feeder
from workbench.compare.given import Given
from workbench.compare.match import by_tensor, is_computed, match, values_of
from workbench.compare.side import Store, Walk, fragment, run_fragment
from workbench.document import Progress, TensorSpec, silent
from workbench.errors import OptionError
from workbench.executors import executor_name
from workbench.files import replacing
from workbench.hub import dtype_of, layers_of
from workbench.hub.evaluate import RANDOM
from workbench.npz import add_array
from workbench.recorded import KIND, MANIFEST, VERSION, digest_of, layer_to_json, spec_to_json

if TYPE_CHECKING:
    from workbench.model import Model

Array = np.ndarray[Any, Any]

SEGMENT_NODES = 8


def record(
    model: Model,
    path: str | os.PathLike[str],
    feeds: Given = None,
    *,
    layers: Sequence[str] | None = None,
    seed: int = 0,
    threads: int = 0,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Path:
    """Run a model and keep its tensors in a file that :func:`workbench.load` opens in the model's place.

    The outputs are those of the model's own executor (Core ML's on a Mac), the inner tensors those that the comparison
    would see. Text, sequences and what depends on random numbers is left out.

    Args:
        model: the model.
        path: where to write.
        feeds: as of :func:`workbench.compare.compare`; ``None`` for one seeded random sample.
        layers: names of the layers whose tensors are kept besides the outputs; ``None`` keeps all.
        seed: of the random sample.
        threads: of one operator; 0 leaves it to onnxruntime.
        overwrite: replace what stands at the path, once the new file is complete.
        progress: told about the work; may raise ``Cancelled``.

    Raises:
        OptionError: there is no such layer, no sample, or a tensor has other sizes from sample to sample.
        ExecutionError: feeds that do not fit, or a model that cannot be run.
        SaveError: there is something at the path, or it cannot be written.
    """
    recorder = _Recorder(model, layers, threads)
    samples, count = Feeder(model, model, match(model, model), seed).samples(feeds)
    destination = Path(os.path.expanduser(path))
    digests = []
    with replacing(destination, overwrite=overwrite) as partial, zipfile.ZipFile(partial, "x") as archive:
        for index, sample in enumerate(samples):
            progress("recording", index / count if count else 0.0)
            given = {name: np.asarray(array) for name, array in sample.reference.items()}
            digests.append(digest_of(given))
            for place, spec in enumerate(model.document.inputs):
                add_array(archive, f"feeds/{index}/{place}.npy", given[spec.name])
            recorder.run(archive, index, given)
        if not digests:
            raise OptionError("feeds: there is no sample in them.")
        text = json.dumps(recorder.manifest(digests), ensure_ascii=False, separators=(",", ":"))
        archive.writestr(zipfile.ZipInfo(MANIFEST, (1980, 1, 1, 0, 0, 0)), text)
    progress("recording", 1.0)
    return destination


class _Recorder:
    """Runs the model sample by sample and remembers what its tensors are."""

    def __init__(self, model: Model, layers: Sequence[str] | None, threads: int) -> None:
        self.model, self.threads = model, threads
        wanted = _tensors_of(model, layers)
        graph = model.graph
        random = Walk(graph, wanted, "").downstream(RANDOM)
        self.names = [name for name in wanted if name not in random]
        self.walk = Walk(graph, self.names, f"{model.format} model {model.name!r}")
        self.outputs = {spec.name for spec in model.document.outputs}
        self.specs: dict[str, TensorSpec] = {}
        self.places = {name: place for place, name in enumerate(self.names)}

    def run(self, archive: zipfile.ZipFile, sample: int, feeds: Mapping[str, Array]) -> None:
        """Write the tensors of one sample."""
        outputs = by_tensor(self.model, self.model.executor.run(dict(feeds)))
        for name in self.outputs.intersection(self.names):
            self._keep(archive, sample, name, outputs[name])
        wanted = set(self.names) - self.outputs
        uses = self.walk.uses()
        uses.update(wanted)
        store = Store(self.walk, uses, 1)
        store.keep([feeds])
        nodes = self.walk.nodes
        for begin in range(0, len(nodes), SEGMENT_NODES):
            segment = nodes[begin : begin + SEGMENT_NODES]
            made = [value.name for node in segment for value in node.outputs if value.name]
            fetched = [name for name in made if name in wanted or store.outlives(name, segment)]
            if fetched:
                runner = fragment(self.walk, segment, fetched, self.threads, inputs=store.types(segment))
                store.put(0, run_fragment(self.walk, segment, runner, {n: store.get(n, 0) for n in runner.inputs}))
            for name in made:
                if name in wanted:
                    self._keep(archive, sample, name, store.get(name, 0))
                    store.spend([name])
            for node in segment:
                store.spend(self.walk.reads[node])

    def _keep(self, archive: zipfile.ZipFile, sample: int, name: str, array: Any) -> None:
        """Write one tensor, if it is one of numbers.

        Raises:
            OptionError: it has another type than in the samples before.
        """
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            return
        spec = TensorSpec(name, dtype_of(array), tuple(array.shape))
        before = self.specs.setdefault(name, spec)
        if spec != before:
            raise OptionError(
                f"the tensor {name!r} is {spec.describe()} in sample {sample} and {before.describe()} before; samples "
                "of several sizes need a recording each."
            )
        add_array(archive, f"tensors/{sample}/{self.places[name]}.npy", array)

    def manifest(self, digests: Sequence[str]) -> dict[str, Any]:
        """What ``recording.json`` says."""
        document = self.model.document
        made = document.provenance
        names = (executor_name(document), self.model.executor.name)
        executor = names[0] if names[0] == names[1] else f"{names[1]} (inner tensors: {names[0]})"
        return {
            "kind": KIND,
            "version": VERSION,
            "format": document.format,
            "name": document.name,
            "executor": executor,
            "precision": document.precision_note(),
            "inputs": [spec_to_json(spec) for spec in document.inputs],
            "outputs": [spec_to_json(self.specs.get(spec.name, spec)) for spec in document.outputs],
            "layers": [layer_to_json(layer) for layer in document.layers],
            "provenance": None if made is None else json.loads(made.to_json()),
            "samples": list(digests),
            "tensors": [self._described(name) for name in self.names if name in self.specs],
        }

    def _described(self, name: str) -> dict[str, Any]:
        nodes, _ = self.walk.region(name, set(self.specs) - {name})
        producer = self.walk.values[name].producer()
        return {
            "place": self.places[name],
            "spec": spec_to_json(self.specs[name]),
            "layers": [] if producer is None else list(layers_of(producer)),
            "operators": sorted({f"{node.domain}.{node.op_type}" if node.domain else node.op_type for node in nodes}),
        }


def _tensors_of(model: Model, layers: Sequence[str] | None) -> list[str]:
    """The tensors to keep, the outputs among them.

    Raises:
        OptionError: there is no such layer.
    """
    values = values_of(model.graph)
    computed = [name for name, value in values.items() if is_computed(value)]
    if layers is not None:
        made = {layer.name: [spec.name for spec in layer.outputs] for layer in model.layers}
        unknown = [name for name in layers if name not in made]
        if unknown:
            raise OptionError(f"the model has no layer {unknown[0]!r}; Model.layers lists the names.")
        chosen = {name for layer in layers for name in made[layer]}
        computed = [name for name in computed if name in chosen]
    outputs = [spec.name for spec in model.document.outputs]
    return list(dict.fromkeys([*computed, *outputs]))
