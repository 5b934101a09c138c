"""What tract reads: the standard operations as it takes them, and those of its registries.

tract checks no types in the text and keeps dtypes of its own, so every operation takes tensors of any: what the
standard calls ``scalar`` stands here for the type of the first tensor.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources

from workbench.formats.nnef import syntax as sx
from workbench.formats.nnef.binding import standard_operations
from workbench.formats.nnef.parser import parse_declarations

REGISTRIES = ("tract_core", "tract_onnx", "tract_transformers")
"""The registries whose operators are known here."""

OTHER_REGISTRIES = ("tract_extra", "tract_pulse", "tract_resource")
"""Registries that tract has besides: a file may name them; an operator of theirs is refused by its name."""

DATUM_TYPES = {
    **{"f16": "float16", "f32": "float32", "f64": "float64", "bool": "bool", "tdim": "int64"},
    **{f"{kind}{bits}": f"{name}{bits}" for kind, name in (("i", "int"), ("u", "uint")) for bits in (8, 16, 32, 64)},
}
"""tract's names of dtypes → numpy's."""

DATUM_NAMES = {name: datum for datum, name in DATUM_TYPES.items() if datum != "tdim"}
"""numpy's names of dtypes → tract's."""


@functools.cache
def tract_operations() -> Mapping[str, sx.Fragment]:
    """Every declaration by name: the standard ones with loose types, then the registries'."""
    loose = {name: _loosened(fragment) for name, fragment in standard_operations().items()}
    found = {name: fragment for registry in REGISTRIES for name, fragment in registered(registry).items()}
    return {**loose, **registered("tract_nnef"), **found}


@functools.cache
def registered(registry: str) -> Mapping[str, sx.Fragment]:
    """The declarations of one registry."""
    text = resources.files(__package__).joinpath(f"{registry}.nnef").read_text(encoding="utf-8")
    return {fragment.name: fragment for fragment in parse_declarations(text)}


@functools.cache
def registry_of(operation: str) -> str | None:
    """The registry that an operation belongs to; ``None`` of a standard one."""
    return next((registry for registry in REGISTRIES if operation in registered(registry)), None)


def _loosened(fragment: sx.Fragment) -> sx.Fragment:
    """``tensor<scalar>`` as ``tensor<?>``; a comparison's result stays logical, a position's stays integer."""
    if fragment.generic or not any(_loose(parameter.type) != parameter.type for parameter in fragment.parameters):
        return fragment
    parameters = tuple(replace(parameter, type=_loose(parameter.type)) for parameter in fragment.parameters)
    results = tuple(replace(result, type=_loose(result.type)) for result in fragment.results)
    return replace(fragment, generic=True, parameters=parameters, results=results)


def _loose(kind: sx.Type) -> sx.Type:
    if isinstance(kind, sx.TensorOf):
        return sx.TensorOf("?") if kind.dtype == "scalar" else kind
    if isinstance(kind, sx.ArrayOf):
        return sx.ArrayOf(_loose(kind.item))
    return kind
