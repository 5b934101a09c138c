"""``.npz`` archives written array by array, under any names."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that zip can say: the same arrays make the same bytes


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays by name, as ``numpy.load`` reads them; unlike ``numpy.savez`` it takes any name (``file``)."""
    with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            add_array(archive, f"{name}.npy", array)


def add_array(archive: zipfile.ZipFile, member: str, array: Any) -> None:
    """Add one array to an archive; pickled objects are refused by numpy with a ``ValueError``."""
    with archive.open(zipfile.ZipInfo(member, _TIME), "w", force_zip64=True) as handle:
        whole = np.ascontiguousarray(array).reshape(np.shape(array))
        np.lib.format.write_array(handle, whole, allow_pickle=False)  # type: ignore[no-untyped-call]
