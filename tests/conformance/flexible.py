"""ONNX's backend node tests with open sizes: ``python -m tests.conformance.flexible [--sample N] [--cases REGEX]``.

Every dimension of a fed input that is larger than 1 becomes open, equal sizes under one name; integer vectors, which
are parameters mostly, become constants. The case is converted to Core ML with a range for each size and run at the
test's own sizes, one below and some above, against onnxruntime on the model that it came from. A conversion is refused
layer by layer or right at every size that onnxruntime runs; the exit code is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import re
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tests.conformance import node_pool
from tests.conformance.node_cases import Case, collect, sample
from tests.conformance.node_check import ATOL, RTOL, Outcome
from tests.formats.coreml.writing import run
from workbench import load
from workbench.errors import ConversionError, ModelError
from workbench.hub import Range
from workbench.model import Model

LIMIT = 60.0
STEPS = (0, -1, 3)
"""What is added to each open size of the test."""

Array = np.ndarray[Any, Any]


def opened(case: Case) -> tuple[onnx.ModelProto, dict[str, Array], dict[str, tuple[int | Range, ...]]] | None:
    """The test with open sizes: the model, its feeds, and the option ``shapes``; ``None`` if nothing can be opened."""
    if not all(isinstance(value, np.ndarray) for value in (*case.inputs, *case.outputs)):
        return None
    model, feeds, shapes = onnx.ModelProto.FromString(case.model), {}, {}
    if not all(info.type.HasField("tensor_type") for info in model.graph.input):
        return None
    for info, array in zip(list(model.graph.input), case.inputs, strict=True):
        if array.dtype.kind in "iu" and array.ndim <= 1:
            model.graph.initializer.append(numpy_helper.from_array(array, info.name))
            model.graph.input.remove(info)
            continue
        feeds[info.name] = array
        for dim, size in zip(info.type.tensor_type.shape.dim, array.shape, strict=True):
            if size > 1:
                dim.dim_param = f"size{size}"
        shapes[info.name] = tuple(Range(max(size - 1, 1), size + 3, size) if size > 1 else size for size in array.shape)
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    is_open = any(isinstance(size, Range) for shape in shapes.values() for size in shape)
    return (model, feeds, shapes) if is_open else None


def check(case: Case) -> Outcome:
    """Convert the case with open sizes and compare; whatever happens becomes an outcome."""

    def outcome(verdict: str, detail: str = "", causes: tuple[str, ...] = ()) -> Outcome:
        return Outcome(case.name, case.operator, "open", case.representable, verdict, detail, causes)

    found = opened(case)
    if found is None or case.unchecked:
        return outcome("skipped")
    proto, feeds, shapes = found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = load(proto).convert("coreml", shapes=shapes, target="iOS18")
        except ConversionError as error:
            return outcome("refused", str(error), tuple(f"{one.operator}: {one.cause}" for one in error.refusals))
        except ModelError as error:
            return outcome("refused", str(error), (f"reading: {error}",))
        except Exception:
            return outcome("error", traceback.format_exc(limit=-4))
        try:
            differences = [difference(proto, model, feeds, step, case) for step in STEPS]
        except Exception:
            return outcome("error", traceback.format_exc(limit=-4))
    wrong = [text for text in differences if text]
    return outcome("wrong", "; ".join(wrong)) if wrong else outcome("right")


def difference(proto: onnx.ModelProto, model: Model, feeds: dict[str, Array], step: int, case: Case) -> str:
    """How the results differ at the sizes that are the test's and so much more; ``""`` where the source fails there."""
    given = {
        name: np.resize(array, [size + step if size > 1 else size for size in array.shape])
        for name, array in feeds.items()
    }
    try:
        wanted = list(run(proto, given).values()) if step else list(case.outputs)
    except Exception:
        return ""  # sizes that do not fit together, or an operator that onnxruntime does not have
    for name, got, want in zip(model.outputs, model.run(given).values(), wanted, strict=True):
        held = got.shape == (1,) if not want.shape else want.ndim > 5 and got.shape == (want.size,)
        if got.shape != want.shape and not held:
            return f"{name.name} at {step:+}: shape {list(got.shape)} instead of {list(want.shape)}"
        rounding = 1e-3 if want.dtype == np.float16 else ATOL
        if not np.allclose(got.reshape(want.shape).astype("f8"), want.astype("f8"), RTOL, rounding, equal_nan=True):
            return f"{name.name} at {step:+}: other numbers"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=0, help="this many cases, chosen by a fixed seed; 0 is all")
    parser.add_argument("--cases", default="", help="only cases whose names match the regular expression")
    parser.add_argument("--jobs", type=int, default=1)
    chosen = parser.parse_args()
    cases = [case for case in sample(collect(), chosen.sample) if re.search(chosen.cases, case.name)]
    found = [
        result or Outcome(case.name, case.operator, "open", case.representable, "error", failure)
        for (case,), result, failure in node_pool.run(check, [(case,) for case in cases], jobs=chosen.jobs, limit=LIMIT)
    ]
    report(found)
    return 1 if any(one.verdict in ("wrong", "error") for one in found) else 0


def report(found: Sequence[Outcome]) -> None:
    """Print what was refused and why, what is wrong, and the counts."""
    causes = Counter(re.sub(r"'[^']*'", "'…'", cause) for one in found for cause in one.causes[:1])
    for cause, count in causes.most_common():
        print(f"{count:5} refused: {cause}")
    for one in found:
        if one.verdict in ("wrong", "error"):
            print(f"{one.verdict}: {one.case}: {one.detail}")
    print(dict(Counter(one.verdict for one in found)))


if __name__ == "__main__":
    sys.exit(main())
