"""The text for a bug report."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from workbench._version import __version__
from workbench.compare.metrics import Metrics
from workbench.words import one_line, shorten

if TYPE_CHECKING:
    from workbench.compare.report import Report
    from workbench.compare.rows import Row

_PACKAGES = {
    "onnx": ("numpy", "onnx", "onnxruntime"),
    "nnef": ("numpy", "onnxruntime", "nnef", "nnef_tools", "torch"),
    "coreml": ("numpy", "onnxruntime", "coremltools"),
}


_NEEDS = {
    "": "numpy onnxruntime",
    "onnx": "numpy onnxruntime",
    "nnef": "numpy onnxruntime nnef nnef_tools torch",
    "coreml": "numpy onnxruntime coremltools",
}
"""What the script runs with, by the format that the target's layer is there in."""
_PLAIN = re.compile(r"[\w.:-]+")
_TITLE = 96  # characters of the layer's name


def bug_report(report: Report, row: Row, facts: Mapping[str, Any], found: Metrics, reason: str) -> str:
    """What happens, how to see it, in figures, with versions (Markdown).

    Args:
        reason: why the target's layer is not there in its own format; ``""`` where it is.
    """
    target, expected = facts["target"], facts["expected"]
    verb = "differs from" if expected["differs"] else "agrees with"
    operator = row.operator if _PLAIN.fullmatch(row.operator) else _code(row.operator)
    layer = _code(shorten(row.layer, _TITLE))
    title = f"{operator} {layer}: {report.target.format} {verb} {report.reference.format}"
    lines = [
        f"# {title}",
        "",
        f"One layer of {_code(report.reference.name)} ({report.reference.format}), and what stands for it in "
        f"{_code(report.target.name)} ({report.target.format}), fed the same numbers: {expected['text']}. "
        f"A correct layer stays below {expected['bound']:.1e}.",
        "",
        "## To see it",
        "",
        f"    pip install {_NEEDS[target['form']]}",
        "    python show_difference.py",
        "",
        *_notes(target, reason),
        "## Figures",
        "",
        *_figures(found),
        "",
        "## What was run",
        "",
        f"- reference: layers {_codes(row.layers)}, tensor {_code(row.tensor)}, run by {report.reference.executor}",
        f"- target: layers {_codes(row.target_layers)}, tensor {_code(row.target_tensor)}, run by "
        f"{report.target.executor}" + (f" ({report.target.precision})" if report.target.precision else ""),
        f"- inputs: {report.feeds}; the tensors above the layer are the reference's, on both sides",
    ]
    if row.signature is not None:
        lines.append(f"- it looks like: {_plain(str(row.signature))}")
        lines.append(f"- evidence: {_plain('; '.join(row.signature.evidence))}")
    return "\n".join([*lines, "", "## Versions", "", *_versions(report.target.format), ""])


def _notes(target: Mapping[str, Any], reason: str) -> list[str]:
    if target["form"] == "coreml":
        text = (
            f"On a Mac with coremltools it runs `{target['model']}` by Core ML itself. Elsewhere only "
            f"`{target['translated']}` runs, the same layer said in ONNX; a fault that it shows lies in what the layer "
            "says, not in how Core ML runs it."
        )
    elif target["form"] == "nnef":
        text = (
            f"With nnef_tools and PyTorch it runs `{target['model']}` by nnef_tools' interpreter; everywhere "
            f"`{target['translated']}`, the same layer said in ONNX, by onnxruntime."
        )
    elif reason:
        cause = _plain(reason.rstrip("."))
        text = f"The target's layer is here as ONNX only (`{target['translated']}`): {cause}."
    else:
        text = f"It runs `reference.onnx` and `{target['model']}` by onnxruntime."
    return [text, ""]


def _figures(found: Metrics) -> list[str]:
    rows = [("elements", str(found.size)), ("largest difference", f"{found.max_abs:.6g}")]
    if found.max_abs:
        rows.append(("at", str(list(found.max_abs_index))))
    if found.mismatches is not None:
        rows.append(("elements that differ", str(found.mismatches)))
    else:
        rows += [
            ("relative L2 error", f"{found.relative_l2:.6g}"),
            ("SQNR", f"{found.sqnr_db:.1f} dB"),
            ("cosine", f"{found.cosine:.9f}"),
            ("best-fit gain", f"{found.gain:.6g}"),
            ("NaN (reference, target)", f"{found.nan[0]}, {found.nan[1]}"),
            ("infinities (reference, target)", f"{found.inf[0]}, {found.inf[1]}"),
        ]
    return ["| figure | value |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)]


def _versions(form: str) -> list[str]:
    lines = [f"- Python {platform.python_version()} on {platform.system()} {platform.machine()}"]
    for package in _PACKAGES.get(form, _PACKAGES["onnx"]):
        try:
            lines.append(f"- {package} {version(package)}")
        except PackageNotFoundError:
            lines.append(f"- {package}: not installed")
    return [*lines, f"- found with exchange-workbench {__version__}"]


def _codes(names: tuple[str, ...]) -> str:
    return ", ".join(map(_code, names)) or "none"


def _plain(text: str) -> str:
    """A text that may have names in it, of which no character is markup."""
    return re.sub(r"([\\`*<>\[\]|])", r"\\\1", one_line(" ".join(text.split())))


def _code(name: str) -> str:
    """A name as code, whatever is in it: fenced by one backtick more than it has in a row."""
    text = one_line(" ".join(name.split()))
    fence = "`"
    while fence in text:
        fence += "`"
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"
