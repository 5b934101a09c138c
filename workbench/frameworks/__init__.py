"""Live models of training frameworks: optional extras, each imported only when a model of its own is met."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.document import Document
from workbench.errors import OptionError


def document_of(source: object, options: Mapping[str, Any]) -> Document | None:
    """The document of a framework's live model; ``None`` if the object belongs to no framework.

    Raises:
        OptionError: an option that the framework's export does not take.
        ModelError: the framework cannot export the model.
    """
    if _is_torch_module(source):
        from workbench.frameworks import torch

        return torch.read(source, options)
    if options:
        raise OptionError(f"{type(source).__name__} takes no options, but {', '.join(options)} were given.")
    return None


def _is_torch_module(source: object) -> bool:
    """Whether ``torch.nn.Module`` is among the bases, told by name so that torch is not imported for the question."""
    names = (f"{base.__module__}.{base.__qualname__}" for base in type(source).__mro__)
    return "torch.nn.modules.module.Module" in names
