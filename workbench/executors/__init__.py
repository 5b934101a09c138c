"""Executors: what runs a model on this machine. Each says its name, so that every result can say who made it."""

from __future__ import annotations

from workbench.document import Document
from workbench.errors import OptionError
from workbench.executors.base import Executor
from workbench.executors.coreml_native import CoreMLExecutor, is_available, predictor_of
from workbench.executors.feeds import check_feeds
from workbench.executors.fragment import Fragment, constant_tensor
from workbench.executors.onnxruntime import OnnxRuntimeExecutor
from workbench.formats import format_named

__all__ = [
    "CoreMLExecutor",
    "Executor",
    "Fragment",
    "OnnxRuntimeExecutor",
    "check_feeds",
    "constant_tensor",
    "executor_for",
    "executor_name",
]


def executor_name(document: Document) -> str:
    """The name of the executor that taps the document's tensors: onnxruntime, for some formats through the hub."""
    if document.recorded_by:
        return f"{document.recorded_by}, recorded"
    if document.format == "onnx":
        return "onnxruntime"
    try:
        title = format_named(document.format).title
    except OptionError:  # a live model of a framework: no exchange format of that name
        title = document.format
    return f"{title}, translated to onnxruntime"


def executor_for(document: Document, *, threads: int = 0) -> Executor:
    """The executor for a document on this machine: Apple's own runtime for Core ML on macOS, else onnxruntime.

    Args:
        document: the model.
        threads: of one operator; 0 leaves it to the runtime.

    Raises:
        ConversionError: the hub cannot express the model, so nothing here can run it.
        ModelError: the model contradicts itself.
    """
    subject = f"{document.format} model {document.name!r}"

    def translated() -> Executor:
        return OnnxRuntimeExecutor(document.hub(), subject, name=executor_name(document), threads=threads)

    if document.format == "coreml" and is_available():
        open_model = predictor_of(document)
        if open_model is not None:
            return CoreMLExecutor(open_model, document.inputs, document.outputs, subject, translated)
    return translated()
