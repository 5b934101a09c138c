"""What a lower precision does to a model, measured without leaving the hub."""

from workbench.precision.half import round_to_half, with_half_precision

__all__ = ["round_to_half", "with_half_precision"]
