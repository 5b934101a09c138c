"""Operators said in other operators of the hub, for every format whose own table does not have them.

One module a family; each registers its compositions in :data:`TABLE`. What onnx gives a function body for needs none
here unless the body cannot be used (it builds shapes at run time, or is larger than it needs to be).
"""

from __future__ import annotations

import functools
from importlib.metadata import entry_points

from workbench.errors import WorkbenchError
from workbench.hub.compositions import (
    contrib,
    distinct,
    features,
    integer,
    loss,
    movement,
    regions,
    rotary,
    sampling,
    spectrum,
    training,
)
from workbench.hub.compositions.table import TABLE, Composition
from workbench.lowering import Table

FAMILIES = (
    *(distinct, features, integer, loss, movement, regions, rotary, sampling, spectrum, training),
    *contrib.FAMILIES,
)

GROUP = "workbench.compositions"
"""Entry points of other packages: modules that register compositions in :data:`TABLE` when they are imported."""

__all__ = ["FAMILIES", "GROUP", "TABLE", "compositions"]


@functools.lru_cache(maxsize=1)
def compositions() -> Table[Composition]:
    """:data:`TABLE` with the compositions of other packages in it.

    Raises:
        WorkbenchError: one of them cannot be imported; the message names it.
    """
    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as error:  # another package's module
            raise WorkbenchError(
                f"the compositions {entry.name!r} ({entry.value}) cannot be loaded: {type(error).__name__}: {error}. "
                "Mend or uninstall the package that brings them."
            ) from error
    return TABLE
