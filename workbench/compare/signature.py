"""What an error looks like: the kind of fault that leaves such a difference, and the figures that say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CHECKS: Mapping[str, str] = {
    "gain": "the scale of the weight, a scale of a quantised tensor, alpha and beta, a factor folded in twice or not",
    "bias": "the bias or addend, a zero point, a mean that is subtracted",
    "scale and bias": "mean, variance, scale and bias of a normalisation, and whether it was folded into the weight",
    "permuted axes": "the order of axes: channels first or last, a perm that was inverted or applied twice",
    "channel order": "the order of channels, of the inputs of a Concat, of groups, of the outputs of a Split",
    "transposed weight": "the layout of the weight: input by output or the other way round, rows by columns",
    "flipped weight": "whether the kernel is mirrored (convolution against correlation)",
    "weight order": "the order of gates, groups or output channels within the weight",
    "weight precision": "whether the weight was quantised or made a palette, and with how many bits",
    "other weight": "where the weight's numbers come from: another file, another training step, a fusion",
    "shifted": "where the padding stands, the offset of a crop or Slice, the convention for pixel centres",
    "padding": "pads at begin and end, the kind of SAME, what is padded with",
    "border": "what stands beyond the border: the padding's value and mode, whether a pooling counts it",
    "pooling divisor": "whether the average counts the padding (count_include_pad, exclude_pad)",
    "stride or dilation": "strides and dilations, their order of height and width",
    "pooling kind": "whether the pooling takes the maximum or the average",
    "saturated": "a clip, the range of a narrower type or of a quantised tensor",
    "sign": "the order of a subtraction, a factor of -1 that was folded in twice or not",
    "layer missing": "whether the layer was taken over; a simplification may have dropped it",
    "activation missing": "whether the activation was taken over; a fusion may have dropped it",
    "activation added": "whether an activation was fused in that the source does not have",
    "other activation": "which activation it is, exact or approximate, and its parameters",
    "off by one": "how halves and negatives are rounded (to even, up, towards zero), the zero point",
    "epsilon": "the epsilon, and whether it stands inside or outside of the root",
    "axis": "the axis, how negative axes are counted, and the layout that they refer to",
    "input order": "the order of the operands",
    "bias missing": "whether the bias was taken over",
    "indices": "the indices: their offset, scale and axis, where counting begins, how negative ones count",
    "interpolation": "mode, coordinate transformation and rounding of the resizing",
    "zeroed": "whether the weight or an operand is empty or zero, and whether the layer is connected",
    "NaN": "what makes it: a root, logarithm or quotient of nothing, infinity minus infinity, the weights themselves",
    "infinity": "what makes it: a quotient by zero, an exponential, the weights themselves",
    "overflow": "the range of float16 (65504): keep this layer in float32, or scale what goes in",
    "shape": "the sizes: pads, strides, the rounding of sizes, axes of size one",
    "dtype": "the types that the layer takes and gives",
    "few elements": "special values: zeros, ties, the limits of a range, padding",
    "unknown": "the attributes and weights of the layer, one by one",
}
"""Kind → what to look at in the converted layer."""


@dataclass(frozen=True)
class Signature:
    """The likeliest cause of a layer's error.

    Attributes:
        kind: one of :data:`CHECKS`.
        text: what was seen, in a sentence without figures that vary between machines.
        evidence: figures that speak for it.
    """

    kind: str
    text: str
    evidence: tuple[str, ...] = ()

    @property
    def check(self) -> str:
        """What to look at."""
        return CHECKS[self.kind]

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}; check {self.check}"
