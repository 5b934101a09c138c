"""The bar with the five steps."""

from __future__ import annotations

import traitlets

from workbench.session import STEPS
from workbench.widgets.base import View, assets


class StepBar(View):
    """Which steps there are, how they stand, and which one is shown.

    ``steps`` is a list of (name, title, state), the state one of ``open``, ``locked``, ``done``, ``failed``.
    """

    _esm, _css = assets("step_bar")

    steps: traitlets.List[list[str]] = traitlets.List().tag(sync=True)
    current = traitlets.Enum(STEPS, default_value=STEPS[0]).tag(sync=True)

    def describe(self) -> str:
        return f"{self.current!r}"
