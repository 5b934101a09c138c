"""Compressing the weights of a program: coremltools' own graph passes, run before it is written.

https://apple.github.io/coremltools/docs-guides/source/opt-overview.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from workbench.document import Progress
from workbench.formats.coreml import toolkit
from workbench.formats.coreml.options import TARGETS
from workbench.hub import constant_of

THRESHOLD = 2048
"""Constants of no more elements are left as they are (coremltools' default)."""

BLOCK = 32
"""Elements that share a scale, where the scheme works by blocks."""


@dataclass(frozen=True)
class Scheme:
    """One way to hold weights.

    Attributes:
        kind: coremltools' pass and its configuration.
        arguments: of the configuration.
        specification: the model file's version that has the operators it needs.
        note: what it does to the weights, for people.
    """

    kind: tuple[str, str]
    arguments: Mapping[str, Any]
    specification: int
    note: str


_PALETTIZE = ("palettize_weights", "OpPalettizerConfig")
_QUANTIZE = ("linear_quantize_weights", "OpLinearQuantizerConfig")

SCHEMES = {
    **{
        f"palettize{bits}": Scheme(
            _PALETTIZE,
            {"mode": "kmeans", "nbits": bits},
            TARGETS["iOS16"],
            f"weights held as one of {2**bits} values each",
        )
        for bits in (8, 6, 4, 2)
    },
    "int8": Scheme(
        _QUANTIZE,
        {"mode": "linear_symmetric", "dtype": "int8"},
        TARGETS["iOS16"],
        "weights held in int8, a scale for each channel",
    ),
    "int4": Scheme(
        _QUANTIZE,
        {"mode": "linear_symmetric", "dtype": "int4", "granularity": "per_block", "block_size": BLOCK},
        TARGETS["iOS18"],
        f"weights held in int4, a scale for {BLOCK} of them",
    ),
}
"""The option's words → what they mean."""


def compress(program: Any, scheme: Scheme, progress: Progress) -> None:
    """Replace large constants of a pymil ``Program`` by compressed ones; use it inside a :func:`toolkit.session`.

    Raises:
        Cancelled: by the progress listener, between two constants.
    """

    def told(constants: Sequence[Any], **_: Any) -> Iterator[Any]:
        """In the place of the bar that coremltools would draw on stderr."""
        for done, constant in enumerate(constants):
            progress("compressing weights", done / len(constants))
            yield constant

    optimize = toolkit.submodule("optimize.coreml")
    passes = toolkit.submodule("optimize.coreml._quantization_passes")
    name, configuration = scheme.kind
    config = getattr(optimize, configuration)(weight_threshold=THRESHOLD, **scheme.arguments)
    bar, passes.tqdm = passes.tqdm, told
    try:
        getattr(passes, name)(optimize.OptimizationConfig(global_config=config)).apply(program)
    finally:
        passes.tqdm = bar


def is_compressed(node: ir.Node) -> bool:
    """Whether the node reads weights that are large enough."""
    arrays = (constant_of(value) for value in node.inputs if value is not None)
    return any(array is not None and array.dtype.kind == "f" and array.size > THRESHOLD for array in arrays)
