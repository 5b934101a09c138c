"""RNN, GRU and LSTM of the first opsets."""

from __future__ import annotations

from workbench.hub.upgrade.registry import step
from workbench.hub.upgrade.site import Site


@step("GRU", to=3)
def gru_3(site: Site) -> None:
    """The name of the default direction was misspelt."""
    direction = site.take_string("direction", "forward")
    site.set(direction="forward" if direction == "foward" else direction)


@step("RNN", "GRU", "LSTM", to=7)
def output_sequence_7(site: Site) -> None:
    """``output_sequence`` said that Y is wanted; that Y is named says the same."""
    if site.take_int("output_sequence", 0) and not site.declares(0):
        site.refuse("output_sequence is set, but the output Y has no name")
