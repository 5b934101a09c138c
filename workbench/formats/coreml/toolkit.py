"""The only door to coremltools: a copy of our own (:mod:`private`), imported late, kept quiet, one thread at a time.

Off Apple, coremltools complains on stderr while it is imported (native libraries that exist only on macOS, versions of
torch and scikit-learn that it has not tried), warns while it converts, and keeps the state of its program builder in
module variables. :func:`session` holds all of that together; everything that builds or transforms a program runs in it.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import threading
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from workbench.formats.coreml import private
from workbench.hub.quiet import quiet

_LOCK = threading.RLock()


@contextlib.contextmanager
def session() -> Iterator[None]:
    """Hold coremltools alone and quiet; on leaving, even by an exception, its builder is as it was found.

    The builder numbers its names from module variables, so a program built in a session of its own is named the same
    every time.
    """
    with _LOCK, _quiet(), _clean_builder(), _remembered_types(), _uncollected():
        yield


@contextlib.contextmanager
def all_replaceable() -> Iterator[None]:
    """Spare a program without ``constexpr_*`` operations the search for values that depend on one.

    coremltools goes through the whole program for it each time that a pass is done with a block. Use it inside a
    :func:`session`.
    """
    block = submodule("converters.mil.mil.block").Block
    found = block._propagate_nonreplaceable_vars
    block._propagate_nonreplaceable_vars = lambda self: None
    try:
        yield
    finally:
        block._propagate_nonreplaceable_vars = found


@functools.lru_cache(maxsize=1)
def coremltools() -> Any:
    """Our copy of the module ``coremltools``, imported at the first call without a word on stderr."""
    with _LOCK, _quiet():
        return private.executed()


@functools.cache
def public(name: str) -> Any:
    """The user's own module ``coremltools.<name>``, with all that it imports."""
    with _LOCK, _quiet():
        return import_module(f"coremltools.{name}")


@functools.lru_cache(maxsize=1)
def model_pb2() -> Any:
    """``coremltools.proto.Model_pb2``: the messages of a model file; nothing else of coremltools is imported."""
    return _message_module("Model_pb2")


@functools.lru_cache(maxsize=1)
def mil_pb2() -> Any:
    """``coremltools.proto.MIL_pb2``: the messages of an ML program; nothing else of coremltools is imported."""
    return _message_module("MIL_pb2")


def _message_module(name: str) -> Any:
    with _LOCK:
        private.root()
        return import_module(f"{private.NAME}.proto.{name}")


def decode_error() -> type[Exception]:
    """What protobuf raises where bytes are no message (its package has no type information)."""
    found: type[Exception] = import_module("google.protobuf.message").DecodeError
    return found


def mil() -> Any:
    """``coremltools.converters.mil.mil``: ``Builder``, ``Function``, ``Program``, ``types``, ``Var``."""
    return submodule("converters.mil.mil")


@functools.cache
def submodule(name: str) -> Any:
    """The module ``coremltools.<name>`` of our copy."""
    coremltools()
    with _LOCK, _quiet():
        return import_module(f"{private.NAME}.{name}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Contain coremltools' log records below ERROR, and Python warnings; call with the lock held."""
    with quiet("coremltools", logging.ERROR), quiet(private.NAME, logging.ERROR), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _remembered_types() -> Iterator[None]:
    """Describe each of the builder's types once: it asks for a description whenever it looks at a value."""
    places = [submodule(f"converters.mil.mil.types.{name}") for name in ("type_mapping", "type_tensor", "type_list")]
    described = places[0].get_type_info
    known: dict[Any, Any] = {}

    def remembered(kind: Any) -> Any:
        try:
            if kind not in known:
                known[kind] = described(kind)
            return known[kind]
        except TypeError:  # what cannot be hashed, or is no type: the builder asks what things are
            return described(kind)

    for place in places:
        place.get_type_info = remembered
    try:
        yield
    finally:
        for place in places:
            place.get_type_info = described


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keep Python's collector from going through all that the builder makes, again and again: it is no garbage yet."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _clean_builder() -> Iterator[None]:
    """Start the builder's counters and stacks empty, and put back what was there (a session may be inside another)."""
    builder, block, scope = (submodule(f"converters.mil.mil.{name}") for name in ("builder", "block", "scope"))
    found = (
        dict(builder.Builder.name_count),
        list(block.BLOCK_STACK),
        {source: list(infos) for source, infos in scope.SCOPE_STACK.items()},
        list(scope.VALID_OPS_TO_COPY_SCOPE_INFO),
        list(builder._BEFORE_OP_STACK),
    )
    for container in (builder.Builder.name_count, scope.SCOPE_STACK):
        container.clear()
    for stack in (scope.VALID_OPS_TO_COPY_SCOPE_INFO, builder._BEFORE_OP_STACK):
        stack.clear()
    block.BLOCK_STACK = []
    try:
        yield
    finally:
        for container, content in ((builder.Builder.name_count, found[0]), (scope.SCOPE_STACK, found[2])):
            container.clear()
            container.update(content)
        block.BLOCK_STACK = found[1]
        scope.VALID_OPS_TO_COPY_SCOPE_INFO[:] = found[3]
        builder._BEFORE_OP_STACK[:] = found[4]
