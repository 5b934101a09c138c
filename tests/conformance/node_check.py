"""One node test through one format and back: converted, written, read again, run, and compared with the reference."""

from __future__ import annotations

import functools
import importlib.util
import math
import re
import tempfile
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tests.conformance import node_random
from tests.conformance.node_cases import Case
from tests.formats.nnef.tract import Tract
from workbench.errors import ConversionError, ModelError
from workbench.hub import dtype_of
from workbench.model import Model, load

RTOL, ATOL = 1e-3, 1e-4

DRAWN = "Bernoulli"
"""The operator whose results are judged by their distribution."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Route:
    """A format that the cases go through: how to ask for it, the suffix of its files, and who else reads them."""

    format: str
    title: str
    options: dict[str, Any]
    suffix: str
    oracle: str = ""


ROUTES = {
    "coreml": Route("coreml", "Core ML", {"precision": "fp32", "target": "iOS18"}, ".mlpackage"),
    "nnef": Route("nnef", "NNEF (khronos)", {"dialect": "khronos"}, ".nnef"),
    "nnef-tract": Route("nnef", "NNEF (tract)", {"dialect": "tract"}, ".nnef", "tract"),
}


@dataclass(frozen=True)
class Outcome:
    """What became of one variant of one case.

    Attributes:
        verdict: ``right``, ``refused``, ``wrong``, ``error``, or ``unchecked`` (converted and run; random numbers).
        detail: the first difference, or the exception.
        causes: of a refusal: each as ``operator: cause``, without the names and numbers of the case.
        elsewhere: what the route's oracle makes of the file: ``right``, ``refuses``, ``wrong``, ``dies``; and how.
    """

    case: str
    operator: str
    variant: str
    representable: bool
    verdict: str
    detail: str = ""
    causes: tuple[str, ...] = ()
    elsewhere: tuple[str, str] = ("", "")


def check(case: Case, variant: str, route: Route) -> Outcome:
    """Take the case through the route; whatever happens becomes an outcome."""

    elsewhere = ("", "")

    def outcome(verdict: str, detail: str = "", causes: tuple[str, ...] = ()) -> Outcome:
        return Outcome(case.name, case.operator, variant, case.representable, verdict, detail, causes, elsewhere)

    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="workbench-nodes-") as folder:
        warnings.simplefilter("ignore")
        try:
            model, feeds = _converted(case, route)
        except ConversionError as error:
            causes = dict.fromkeys(f"{refusal.operator}: {_general(refusal.cause)}" for refusal in error.refusals)
            return outcome("refused", str(error), tuple(causes))
        except ModelError as error:
            return outcome("refused", str(error), (f"reading: {_general(str(error))}",))
        except Exception:
            return outcome("error", traceback.format_exc(limit=-3))
        try:
            path = model.save(Path(folder) / f"case{route.suffix}")
            read = load(path)
            difference = _difference(read, feeds, case) or (
                _distribution(case, route) if case.operator == DRAWN else ""
            )
            if route.oracle == "tract" and importlib.util.find_spec("tract") is not None:
                elsewhere = by_tract(path, read, feeds, case)
        except Exception:
            return outcome("error", traceback.format_exc(limit=-3))
    if difference:
        return outcome("wrong", difference)
    return outcome("unchecked", case.unchecked) if case.unchecked and case.operator != DRAWN else outcome("right")


def _converted(case: Case, route: Route) -> tuple[Model, dict[str, Any]]:
    source = load(onnx.ModelProto.FromString(case.model))
    feeds = {spec.name: value for spec, value in zip(source.inputs, case.inputs, strict=True)}
    open_inputs = [spec.name for spec in source.inputs if not spec.is_static]
    shapes = {name: feeds[name].shape for name in open_inputs if isinstance(feeds[name], np.ndarray)}
    return source.convert(route.format, shapes=shapes, **route.options), feeds


def _distribution(case: Case, route: Route) -> str:
    """How what is drawn is not distributed as the operator says; looked at in many more elements."""
    many = node_random.enlarged(case)
    model, feeds = _converted(many, route)
    (found,) = model.run(feeds).values()
    return node_random.difference(found, many)


@functools.cache
def _tract() -> Tract:
    """One process for all cases that this one checks; it is started again where a case ends it."""
    return Tract()


def by_tract(path: Path, model: Model, feeds: dict[str, Any], case: Case) -> tuple[str, str]:
    """What tract makes of the file, and how that differs."""
    found = _tract().run(path, model.adapt_feeds(feeds))
    if isinstance(found, str):
        return ("dies" if "process ended" in found else "refuses"), found
    for spec, array, wanted in zip(model.outputs, found, case.outputs, strict=True):
        origins = model.provenance.outputs if model.provenance is not None else {}
        difference = _compared(array, wanted, origins[spec.name].dtype, not case.unchecked)
        if difference:
            return "wrong", f"{spec.name}: {difference}"
    return "right", ""


def _difference(model: Model, feeds: dict[str, Any], case: Case) -> str:
    """The first way in which the model's outputs are not the reference's; empty if there is none."""
    results = model.run(feeds)
    origins = model.provenance.outputs if model.provenance is not None else {}
    if len(results) != len(case.outputs):
        return f"{len(results)} outputs instead of {len(case.outputs)}"
    for (name, found), wanted in zip(results.items(), case.outputs, strict=True):
        difference = _compared(found, wanted, origins[name].dtype if name in origins else "", not case.unchecked)
        if difference:
            return f"{name}: {difference}"
    return ""


def _compared(found: Any, wanted: Any, declared: str, numbers: bool) -> str:
    """How ``found`` differs from ``wanted``, once it is of the dtype that the record declares for it."""
    if not isinstance(found, np.ndarray) or not isinstance(wanted, np.ndarray):
        return f"{type(found).__name__} instead of {type(wanted).__name__}"
    if declared != dtype_of(wanted):
        return f"recorded as {declared or 'nothing'} instead of {wanted.dtype.name}"
    if not _same_shape(found.shape, wanted.shape):
        return f"shape {list(found.shape)} instead of {list(wanted.shape)}"
    exact = wanted.dtype.kind in "iub" or wanted.dtype.name.lstrip("u") in ("int2", "int4")
    if exact != (found.dtype.kind in "iub") and wanted.dtype.kind != "b":
        return f"{found.dtype.name} instead of {wanted.dtype.name}"
    if not numbers:
        return ""
    kind = "f8" if not exact else "f4" if wanted.dtype.kind == "b" else "O"
    got, want = found.reshape(wanted.shape).astype(kind), wanted.astype(kind)
    agrees = np.asarray(got == want) if exact else np.isclose(got, want, RTOL, ATOL, equal_nan=True)
    if agrees.all():
        return ""
    place = tuple(int(axis) for axis in np.argwhere(~agrees)[0])
    return f"{int((~agrees).sum())} of {agrees.size} elements differ, at {list(place)}: {got[place]}, not {want[place]}"


def _same_shape(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """A scalar may be a row of one, and what is of a higher rank than a format has a row of its elements."""
    return found in (wanted, (1,) if wanted == () else wanted) or (len(wanted) > 5 and found == (math.prod(wanted),))


def _general(cause: str) -> str:
    """The cause without what is the case's own: names in quotation marks, sizes and numbers."""
    text = re.sub(r"'[^']*'", "'…'", cause.splitlines()[0])
    text = re.sub(r"\[[\d, ]*\]", "[…]", text)
    return re.sub(r"(?<![\w.-])-?\d+(\.\d+)?(?![\w])", "N", text)
