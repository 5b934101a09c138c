"""What a lower precision does to a model, measured without leaving the hub."""

from workbench.precision.half import half_name, round_to_half, with_half_precision, with_rounded

__all__ = ["half_name", "round_to_half", "with_half_precision", "with_rounded"]
