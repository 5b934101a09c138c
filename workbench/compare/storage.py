"""A report as JSON: to hand on, and to be opened again without the models."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import limits
from workbench.compare.metrics import Metrics
from workbench.compare.noise import Noise
from workbench.compare.rows import Row
from workbench.compare.signature import CHECKS, Signature
from workbench.compare.tolerance import Allowance
from workbench.errors import ModelError, WorkbenchError

if TYPE_CHECKING:
    import pandas

    from workbench.compare.report import Report

KIND = "workbench-report"
VERSION = 1
_FIGURES = ("relative_l2", "max_abs", "sqnr_db", "cosine", "gain", "max_relative", "max_ulp", "mismatches", "pattern")
_ATTRIBUTED = ("inherited", "amplification", "db_above_noise", "isolated_db_above_noise")
_PLAIN = (
    "index",
    "layer",
    "operator",
    "tensor",
    "target_tensor",
    "shape",
    "dtype",
    "status",
    "blame",
    "reason",
    "output",
    "approximate",
    "evidence",
    "rivals",
)
COLUMNS = [*_PLAIN, *_FIGURES, *(f"isolated_{name}" for name in _FIGURES), *_ATTRIBUTED, "signature"]
"""Columns of :meth:`Report.to_frame`: accumulated figures under their own names, isolated ones with a prefix."""


def flat(row: Row) -> dict[str, Any]:
    """A row as one record; figures that were not measured are missing."""
    record = {name: getattr(row, name) for name in (*_PLAIN, *_ATTRIBUTED)}
    record["signature"] = "" if row.signature is None else row.signature.kind
    for prefix, metrics in (("", row.accumulated), ("isolated_", row.isolated)):
        if metrics is not None:
            record.update((prefix + name, getattr(metrics, name)) for name in _FIGURES)
    return record


def frame(rows: Sequence[Row]) -> pandas.DataFrame:
    """The rows as a pandas DataFrame.

    Raises:
        WorkbenchError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise WorkbenchError(
            "to_frame() needs pandas, which is not installed: pip install 'exchange-workbench[pandas]'; "
            "report.rows and report.to_json() need nothing."
        ) from error
    return pandas.DataFrame([flat(row) for row in rows], columns=COLUMNS).set_index("index")


def to_json(report: Report) -> str:
    """The whole report; numbers that JSON does not have are the texts ``inf``, ``-inf`` and ``nan``."""
    content = {
        "kind": KIND,
        "version": VERSION,
        "ok": report.ok,
        **{name: getattr(report, name) for name in ("mode", "samples", "feeds", "relation")},
        "notes": list(report.notes),
        "reference": dataclasses.asdict(report.reference),
        "target": dataclasses.asdict(report.target),
        "rows": [dataclasses.asdict(row) for row in report.rows],
    }
    return json.dumps(encoded(content), ensure_ascii=False, allow_nan=False, indent=1)


def encoded(value: Any) -> Any:
    """The value with texts in place of the numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: encoded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encoded(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


def parts_of(path: Path, side: type[Any]) -> dict[str, Any]:
    """The arguments of the report that the file holds.

    Args:
        side: the class that names a model.

    Raises:
        ModelError: the file is missing, too large, or no report.
    """
    if not path.exists():
        raise ModelError(f"{path}: no such file; report.save(path) writes one.")
    try:
        limits.check("text_bytes", path.stat().st_size, str(path))
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read as a report: {error}") from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise ModelError(f"{path}: this is no report of a comparison.")
    if data.get("version") != VERSION:
        raise ModelError(f"{path}: the report has the version {data.get('version')!r}; this workbench reads {VERSION}.")
    try:
        return {
            **{name: str(data[name]) for name in ("mode", "feeds", "relation")},
            "samples": int(data["samples"]),
            "notes": tuple(map(str, data.get("notes", ()))),  # older reports have none
            "reference": side(**_texts(data["reference"])),
            "target": side(**_texts(data["target"])),
            "rows": tuple(_row(item) for item in data["rows"]),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: the report is damaged: {error!r}.") from error


def _texts(data: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in data.items()}


def _row(data: Mapping[str, Any]) -> Row:
    values = dict(data)
    if values["status"] not in ("ok", "failing", "unmatched", "skipped") or values["blame"] not in (
        "",
        "own",
        "inherited",
    ):
        raise ValueError(f"status {values['status']!r}")
    for name in ("layers", "target_layers"):
        values[name] = tuple(map(str, values[name]))
    for name in ("tensor", "target_tensor", "operator", "dtype", "reason", "evidence"):
        values[name] = str(values[name])
    values["approximate"] = str(values.get("approximate", ""))  # older reports do not have it, nor the rivals
    values["rivals"] = tuple(map(str, values.get("rivals", ())))
    values["index"] = int(values["index"])
    values["shape"] = None if values["shape"] is None else tuple(map(int, values["shape"]))
    for name in ("accumulated", "isolated"):
        values[name] = None if values[name] is None else _metrics(values[name])
    noise, signature = values.get("noise"), values.get("signature")  # older reports have neither
    values["noise"] = None if noise is None else Noise(*(_float(noise[name]) for name in ("accumulated", "isolated")))
    values["signature"] = None if signature is None else _signature(signature)
    for name in ("inherited", "amplification"):
        values[name] = _float(values.get(name))
    if values["allowance"] is not None:
        values["allowance"] = Allowance(**{name: float(value) for name, value in values["allowance"].items()})
    return Row(**values)


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _signature(data: Mapping[str, Any]) -> Signature:
    if data["kind"] not in CHECKS:
        raise ValueError(f"signature {data['kind']!r}")
    return Signature(str(data["kind"]), str(data["text"]), tuple(map(str, data["evidence"])))


def _metrics(data: Mapping[str, Any]) -> Metrics:
    values: dict[str, Any] = {}
    for item in dataclasses.fields(Metrics):
        if item.name not in data and item.default is not dataclasses.MISSING:
            continue  # an older report
        value = data[item.name]
        if item.name in ("max_abs_index", "nan", "inf"):
            values[item.name] = tuple(map(int, value))
        elif value is None:
            values[item.name] = None
        else:
            values[item.name] = int(value) if item.name in _WHOLE else float(value)
    return Metrics(**values)


_WHOLE = frozenset({"size", "max_abs_sample", "mismatches", "pattern"})
