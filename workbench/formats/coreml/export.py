"""From a program in coremltools' builder to the model message and its weight file.

coremltools makes the message; the weights are written by us: its own writer copies each of them three times, and puts
what has to stand in the message itself (integers of 32 bits, booleans) there one by one: minutes for millions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from workbench.formats.coreml import toolkit
from workbench.formats.coreml.blob import BlobWriter

_NAMES = {"fp16": "float16", "fp32": "float32"}
"""MIL's names of dtypes that the weight file knows by others."""

_MANY = 1000
"""Elements from which on a constant in the message is put there in pieces."""

_PIECE = 1 << 16
"""Elements that are Python's numbers at a time."""


def export(program: Any, weights: Path, specification: int, classifier: Any) -> Any:
    """The ``Model`` message of a pymil program; large constants go into ``weights/weight.bin``, if there are any.

    Use it inside a :func:`toolkit.session`.

    Args:
        specification: the model file's version.
        classifier: coremltools' ``ClassifierConfig``, or ``None``.
    """
    with _own_writer(weights / "weight.bin"):
        return toolkit.submodule("converters.mil.backend.mil.load").load(
            program, str(weights), specification_version=specification, classifier_config=classifier
        )


@contextlib.contextmanager
def _own_writer(path: Path) -> Iterator[None]:
    load = toolkit.submodule("converters.mil.backend.mil.load")
    helper = toolkit.submodule("converters.mil.backend.mil.helper")
    types = toolkit.mil().types
    found = load.BlobWriter, helper._get_offset_by_writing_data, helper.create_tensor_value
    with BlobWriter(path) as writer:

        def written(var: Any, _: Any) -> int:
            name = types.builtin_to_string(var.dtype)
            return writer.write(var.val, _NAMES.get(name, name))

        load.BlobWriter, helper._get_offset_by_writing_data = lambda _: writer, written
        helper.create_tensor_value = lambda array: immediate(array, found[2], helper._tensor_field_by_type)
        try:
            yield
        finally:
            load.BlobWriter, helper._get_offset_by_writing_data, helper.create_tensor_value = found


def immediate(array: np.ndarray[Any, Any], create: Any, field_of: Any) -> Any:
    """What coremltools' ``create_tensor_value`` makes of an array, with many integers or booleans put in by pieces."""
    if array.size < _MANY or array.dtype not in (np.int32, np.bool_):
        return create(array)
    value = create(array.reshape(-1)[:1].reshape((1,) * array.ndim))
    for dimension, size in zip(value.type.tensorType.dimensions, array.shape, strict=True):
        dimension.constant.size = size
    field = field_of(value.immediateValue.tensor, toolkit.mil().types.numpy_type_to_builtin_type(array.dtype))
    del field[:]
    flat = array.reshape(-1)
    for start in range(0, flat.size, _PIECE):
        field.extend(flat[start : start + _PIECE].tolist())
    if len(field) != array.size:
        raise MemoryError  # which protobuf does not always say
    return value
