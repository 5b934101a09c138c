"""Models of the older form, made by coremltools' builder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from workbench.formats.coreml import toolkit
from workbench.formats.coreml.read import CoreMLDocument, read

Array = np.ndarray[Any, Any]


def network_of(add: Callable[[Any], Any], inputs: Mapping[str, Array], outputs: Sequence[str] = ("y",)) -> Any:
    """A ``Model`` message with the layers that ``add(builder)`` adds; shapes are taken as they are."""
    datatypes = toolkit.submodule("models.datatypes")
    with toolkit.session():
        builder = toolkit.submodule("models.neural_network").NeuralNetworkBuilder(
            [(name, datatypes.Array(*array.shape)) for name, array in inputs.items()],
            [(name, None) for name in outputs],
            disable_rank5_shape_mapping=True,
            use_float_arraytype=True,
        )
        add(builder)
    return builder.spec


def document_of(
    add: Callable[[Any], Any], inputs: Mapping[str, Array], outputs: Sequence[str] = ("y",)
) -> CoreMLDocument:
    """The same, read."""
    return read(network_of(add, inputs, outputs))
