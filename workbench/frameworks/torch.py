"""PyTorch → hub, through ``torch.onnx.export`` (https://docs.pytorch.org/docs/stable/onnx.html)."""

from __future__ import annotations

import contextlib
import inspect
import io
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np

from workbench.document import Document
from workbench.errors import ModelError, OptionError
from workbench.formats.onnx.read import read_proto

_OPTIONS = ("example_inputs", "input_names", "output_names")


def read(module: Any, options: Mapping[str, Any]) -> Document:
    """Export a ``torch.nn.Module`` and read the result.

    Args:
        module: the live module; it is exported in evaluation mode and left in the mode it was in.
        options: ``example_inputs`` (a tensor or a tuple of them, needed), ``input_names`` (else the inputs are
            called as the parameters of ``forward``) and ``output_names`` (sequences).

    Raises:
        OptionError: an unknown option, or no ``example_inputs``.
        ModelError: PyTorch cannot export the module.
    """
    import torch

    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        raise OptionError(f"unknown option {unknown[0]!r}; a PyTorch module takes {', '.join(_OPTIONS)}.")
    if "example_inputs" not in options:
        raise OptionError("a PyTorch module needs example_inputs=(tensor, …): its export follows one run.")
    inputs = options["example_inputs"]
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    _check(options, arguments)
    buffer = io.BytesIO()
    training = module.training
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _without_shortcuts():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module.eval(),
                arguments,
                cast(Any, buffer),  # the exporter writes to handles too
                input_names=options.get("input_names") or _parameters(module, arguments),
                output_names=options.get("output_names"),
                dynamo=False,
                do_constant_folding=False,  # weights stay what they are called, and batch norms stay on their own
                training=torch.onnx.TrainingMode.PRESERVE,
            )
    except Exception as error:  # the exporter raises whatever the traced code raises
        line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(f"PyTorch {type(module).__name__}: torch.onnx.export failed: {line}") from error
    finally:
        module.train(training)
    import onnx

    proto = onnx.ModelProto.FromString(buffer.getvalue())
    proto.graph.name = type(module).__name__
    return read_proto(proto)


@contextlib.contextmanager
def _without_shortcuts() -> Iterator[None]:
    """Without the fused attention that PyTorch takes where no gradient is wanted: ONNX has nothing for it."""
    import torch

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _check(options: Mapping[str, Any], arguments: tuple[Any, ...]) -> None:
    """What the exporter would take apart, or report in the words of its native code."""
    for name in ("input_names", "output_names"):
        given = options.get(name) or ()
        if isinstance(given, str) or not all(isinstance(entry, str) for entry in given):
            raise OptionError(f"{name} is a sequence of names, not {given!r}.")
    for index, argument in enumerate(arguments):
        if isinstance(argument, np.ndarray):
            raise OptionError(f"example_inputs[{index}] is a numpy array; pass torch.from_numpy(array).")
        if isinstance(argument, dict) or (isinstance(argument, list) and options["example_inputs"] is argument):
            raise OptionError("example_inputs is a tensor, or a tuple of the arguments in the order of forward.")


def _parameters(module: Any, arguments: tuple[Any, ...]) -> list[str] | None:
    """Names of the parameters of ``forward`` that the arguments are for; ``None`` where it is not one tensor each."""
    import torch

    found = inspect.signature(module.forward).parameters.values()
    names = [entry.name for entry in found if entry.kind in (entry.POSITIONAL_ONLY, entry.POSITIONAL_OR_KEYWORD)]
    if len(names) < len(arguments) or not all(isinstance(argument, torch.Tensor) for argument in arguments):
        return None
    return names[: len(arguments)]
