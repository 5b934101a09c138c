"""The normal distribution in float64, for which onnxruntime has no Erf."""

from __future__ import annotations

import functools
import math

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.classical.table import Array, doubles
from workbench.hub import Emitter

_FAR = 26.0
"""Behind it erfc is below the smallest normal float64."""
_DEGREE = 36


def probit(emit: Emitter, value: ir.Value) -> ir.Value:
    """The cumulative distribution function of the standard normal distribution, erfc(-x / √2) / 2.

    With z = |x| / √2 and t = 2 / (2 + z), erfc(z) = t exp(-z² + p(t)), p a smooth function of t that a polynomial
    gives to within the rounding of float64 (relative 1e-12 of the result, down to 1e-290).
    """
    z = emit.op("Mul", emit.op("Abs", value), doubles(emit, math.sqrt(0.5)))
    z = emit.op("Min", z, doubles(emit, _FAR))
    t = emit.op("Div", doubles(emit, 2.0), emit.op("Add", z, doubles(emit, 2.0)))
    exponent = emit.op("Sub", _polynomial(emit, t), emit.op("Mul", z, z))
    tail = emit.op("Mul", emit.op("Mul", t, emit.op("Exp", exponent)), doubles(emit, 0.5))
    upper = emit.op("Sub", doubles(emit, 1.0), tail)
    return emit.op("Where", emit.op("Greater", value, doubles(emit, 0.0)), upper, tail)


def _polynomial(emit: Emitter, t: ir.Value) -> ir.Value:
    """p(t), a Chebyshev series summed by Clenshaw's recurrence."""
    low = 2 / (2 + _FAR)
    u = emit.op("Div", emit.op("Sub", t, doubles(emit, (1 + low) / 2)), doubles(emit, (1 - low) / 2))
    twice = emit.op("Add", u, u)
    coefficients = _coefficients()
    after, before = doubles(emit, 0.0), doubles(emit, float(coefficients[-1]))
    for coefficient in coefficients[-2:0:-1]:
        step = emit.op("Sub", emit.op("Mul", twice, before), after)
        after, before = before, emit.op("Add", step, doubles(emit, float(coefficient)))
    last = emit.op("Sub", emit.op("Mul", u, before), after)
    return emit.op("Add", last, doubles(emit, float(coefficients[0])))


@functools.lru_cache(maxsize=1)
def _coefficients() -> Array:
    """Of p(t) = log(erfc(z) / t) + z² over the values of t from :data:`_FAR` to z = 0."""
    low = 2 / (2 + _FAR)

    def p(u: Array) -> Array:
        t = (1 + low) / 2 + (1 - low) / 2 * u
        z = np.clip(2 / t - 2, 0, _FAR)
        found: Array = np.asarray([math.log(math.erfc(one)) for one in z]) - np.log(t) + z * z
        return found

    found: Array = np.polynomial.chebyshev.chebinterpolate(p, _DEGREE)
    return found
