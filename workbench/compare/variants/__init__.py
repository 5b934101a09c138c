"""What conversions get wrong about an operator: the reference's node with one thing changed.

Where the changed reference gives the target's tensor, the change is what the conversion did.
"""

from workbench.compare.variants import activation, arrangement, weights, windows
from workbench.compare.variants.kit import Variant, variants_of

__all__ = ["Variant", "activation", "arrangement", "variants_of", "weights", "windows"]
