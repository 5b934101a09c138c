"""From a program in coremltools' builder to the model message and its weight file.

coremltools makes the message; the weights are written by us: its own writer copies each of them three times.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.formats.coreml import toolkit
from workbench.formats.coreml.blob import BlobWriter

_NAMES = {"fp16": "float16", "fp32": "float32"}
"""MIL's names of dtypes that the weight file knows by others."""


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
    found = load.BlobWriter, helper._get_offset_by_writing_data
    with BlobWriter(path) as writer:

        def written(var: Any, _: Any) -> int:
            name = types.builtin_to_string(var.dtype)
            return writer.write(var.val, _NAMES.get(name, name))

        load.BlobWriter, helper._get_offset_by_writing_data = lambda _: writer, written
        try:
            yield
        finally:
            load.BlobWriter, helper._get_offset_by_writing_data = found
