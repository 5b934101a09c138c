"""A copy of coremltools of our own, which finds no other frameworks.

coremltools imports what it can convert from (PyTorch, scikit-learn, TensorFlow, …) wherever that is installed: most of
what its import costs, for nothing that is used here. The copy is made of the same files, under a name of its own. It
shares nothing with ``import coremltools`` but native libraries, which a process can load once only: whoever uses
coremltools beside us has all of it, and a builder whose state nobody else touches.

Modules of the copy are given an ``__import__`` of their own (a module's ``__builtins__`` are where the import statement
looks for it), which takes ``coremltools`` for the copy.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

NAME = "workbench._coremltools"
_PUBLIC = "coremltools"
_LOOKS_FOR_FRAMEWORKS = f"{NAME}._deps"
_FRAMEWORKS = frozenset(
    {"sklearn", "libsvm", "xgboost", "tensorflow", "torch", "torchvision", "torchaudio", "torchao"}
    | {"executorch", "scipy", "transformers"}
)


def root() -> ModuleType:
    """The copy's outermost module, which is not executed yet; its submodules can be imported.

    Raises:
        ModuleNotFoundError: coremltools is not installed.
    """
    found = sys.modules.get(NAME)
    if found is not None:
        return found
    spec = PathFinder.find_spec(_PUBLIC)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {_PUBLIC!r}", name=_PUBLIC)
    own = spec_from_file_location(
        NAME, spec.origin, loader=_Loader(NAME, spec.origin), submodule_search_locations=spec.submodule_search_locations
    )
    assert own is not None
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    return sys.modules.setdefault(NAME, module_from_spec(own))


def executed() -> ModuleType:
    """The copy's outermost module, with all that ``import coremltools`` makes of it; call it once."""
    found = root()
    assert found.__spec__ is not None
    assert found.__spec__.loader is not None
    found.__spec__.loader.exec_module(found)
    return found


class _Finder(MetaPathFinder):
    """Finds the copy's modules in coremltools' own folder."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{NAME}."):
            return None
        found = PathFinder.find_spec(fullname, path, target)
        if found is None or found.origin is None:
            return found
        if isinstance(found.loader, ExtensionFileLoader):
            found.loader = _Shared(fullname.replace(NAME, _PUBLIC, 1), found.origin)
        elif isinstance(found.loader, SourceFileLoader):
            found.loader = _Loader(fullname, found.origin)
        return found


class _Loader(SourceFileLoader):
    """Executes a module with our import statement."""

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _import}
        super().exec_module(module)


class _Shared(Loader):
    """A native library of coremltools, under its public name, whoever asks for it first."""

    def __init__(self, name: str, origin: str) -> None:
        self._name = name
        self._origin = origin

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        found = sys.modules.get(self._name)
        if found is None:
            public = spec_from_file_location(self._name, self._origin)
            assert public is not None
            assert public.loader is not None
            found = module_from_spec(public)
            public.loader.exec_module(found)
            sys.modules[self._name] = found
        return found

    def exec_module(self, module: ModuleType) -> None:
        """It has been, with its first name."""


def _import(
    name: str,
    globals: Mapping[str, Any] | None = None,
    locals: Mapping[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """The import statement of the copy's modules."""
    top = name.partition(".")[0]
    if level or top != _PUBLIC:
        if top in _FRAMEWORKS and globals is not None and globals.get("__name__") == _LOOKS_FOR_FRAMEWORKS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return builtins.__import__(name, globals, locals, fromlist or (), level)
    found = builtins.__import__(name.replace(_PUBLIC, NAME, 1), globals, locals, fromlist or (), level)
    return found if fromlist else sys.modules[NAME]
