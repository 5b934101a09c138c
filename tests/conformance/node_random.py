"""Cases whose results are drawn: no other generator gives the reference's numbers, but the same distribution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from tests.conformance.node_cases import Case

TIMES = 4000
"""How often each element of a case is drawn."""
SIGMAS = 6.0
"""A share may be this many standard deviations off: by chance it is once in 500 million."""


def enlarged(case: Case) -> Case:
    """The case with its only input, and with it the results, repeated along the first axis."""
    model = onnx.ModelProto.FromString(case.model)
    del model.graph.value_info[:]
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.shape.dim[0].dim_value *= TIMES
    arrays = tuple(np.concatenate([array] * TIMES) for array in (*case.inputs, *case.outputs))
    return replace(case, model=model.SerializeToString(), inputs=arrays[:1], outputs=arrays[1:])


def difference(found: Any, case: Case) -> str:
    """How the results of the enlarged case are not ones and zeros that are drawn as ONNX's reference draws them.

    The reference is asked, and not the probabilities that are fed: onnx's own body of Bernoulli draws a one where the
    random number is *greater* than the probability.
    """
    drawn, wanted = (_rows(array) for array in (found, _by_reference(case)))
    if not np.isin(drawn, (0, 1)).all():
        return f"{drawn[~np.isin(drawn, (0, 1))][0]:g} is drawn, which is neither 0 nor 1"
    shares, others = drawn.mean(axis=0), wanted.mean(axis=0)
    both = (shares + others) / 2
    off = np.abs(shares - others) - SIGMAS * np.sqrt(2 * both * (1 - both) / TIMES)
    if (off > 0).any():
        place = int(np.argmax(off))
        return f"at {place} {shares[place]:g} of the draws are 1, of the reference's {others[place]:g}"
    varied = drawn[:, drawn.std(axis=0) > 0]
    related = np.abs(np.corrcoef(varied.T)[np.triu_indices(varied.shape[1], 1)])
    return "draws of different elements are alike" if related.max(initial=0) > SIGMAS / np.sqrt(TIMES) else ""


def _rows(draws: Any) -> np.ndarray[Any, Any]:
    """[times, elements]"""
    return np.asarray(draws, np.float64).reshape(TIMES, -1)


def _by_reference(case: Case) -> Any:
    model = onnx.ModelProto.FromString(case.model)
    feeds = {info.name: array for info, array in zip(model.graph.input, case.inputs, strict=True)}
    return ReferenceEvaluator(model).run(None, feeds)[0]
