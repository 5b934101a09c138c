"""Crafted files: each is made by code when it is needed, and is refused with one of the workbench's errors."""

from tests.hostile.corpus import archive_files, coreml_files, device_files, nnef_files, onnx_bombs, onnx_files
from tests.hostile.corpus.case import Hostile

CORPUS: dict[str, Hostile] = {}
for _module in (onnx_files, onnx_bombs, nnef_files, coreml_files, archive_files, device_files):
    for _case in _module.cases():
        assert _case.name not in CORPUS, f"two cases are called {_case.name!r}"
        CORPUS[_case.name] = _case

__all__ = ["CORPUS", "Hostile"]
