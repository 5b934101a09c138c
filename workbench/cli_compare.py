"""The command line's ``compare`` and ``record``: their arguments, and what is printed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import OptionError

if TYPE_CHECKING:
    from workbench.compare import Report

DONE, DIFFERS = 0, 1


def add_commands(commands: Any) -> None:
    """Add both to the subparsers of ``workbench``."""
    compare = commands.add_parser(
        "compare",
        help="compare two models, or recordings of them, layer by layer",
        epilog="Exit codes: 0 within tolerance, 1 beyond it, 2 bad usage or input.",
    )
    compare.add_argument("reference", metavar="A", help="the model that is right")
    compare.add_argument("target", metavar="B", help="the model that is judged")
    _add_feeds(compare)
    compare.add_argument("--isolated", action="store_true", help="show the error that each layer makes by itself")
    compare.add_argument("--html", metavar="FILE", help="write the report as a page")
    compare.add_argument("--json", metavar="FILE", help="write the report as JSON")
    compare.add_argument("--save", metavar="FILE", help="keep the report for wb.load_report")
    compare.add_argument("--repro", metavar="FOLDER", help="write what shows the error of the worst layer")
    compare.add_argument("--layer", metavar="NAME", help="the layer that --repro is about instead")
    compare.add_argument("--model-explorer", metavar="FOLDER", help="write graphs and errors for Model Explorer")
    compare.add_argument("--overwrite", action="store_true", help="replace the folders of an earlier comparison")
    compare.set_defaults(command=_compare)

    record = commands.add_parser("record", help="run a model and keep its tensors, to compare them elsewhere")
    record.add_argument("source", metavar="SRC")
    record.add_argument("destination", metavar="DST", help="the file to write; it stands for the model in compare")
    _add_feeds(record)
    record.add_argument("--layer", metavar="NAME", action="append", help="keep only these and the outputs; repeatable")
    record.add_argument("--overwrite", action="store_true", help="replace what stands at DST")
    record.set_defaults(command=_record)


def _add_feeds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--feeds",
        metavar="PATH",
        help=".npz (inputs by name), .npy or a picture (the only input), or a folder of them, a sample each; "
        "without it, seeded random ones",
    )
    parser.add_argument("--resize", metavar="HEIGHT,WIDTH", help="bring pictures to that size")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the random inputs")


def _feeds(chosen: argparse.Namespace) -> Any:
    """What ``--feeds`` and ``--resize`` say.

    Raises:
        OptionError: they are not of the form that they take.
    """
    if not chosen.resize:
        return chosen.feeds
    from workbench.compare import Images

    parts = chosen.resize.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise OptionError(f"--resize takes HEIGHT,WIDTH, not {chosen.resize!r}.")
    if not chosen.feeds:
        raise OptionError("--resize is for the pictures of --feeds; there are none.")
    return Images(chosen.feeds, size=(int(parts[0]), int(parts[1])))


def _compare(chosen: argparse.Namespace) -> int:
    from workbench.compare import compare
    from workbench.model import load

    if chosen.layer and not chosen.repro:
        raise OptionError("--layer says which layer --repro is about; give --repro FOLDER as well.")
    _check_folders(chosen)
    mode = "isolated" if chosen.isolated else "both"
    models = load(chosen.reference), load(chosen.target)
    report = compare(*models, feeds=_feeds(chosen), mode=mode, seed=chosen.seed)
    if chosen.html:
        print(f"written: {report.to_html(chosen.html)}")
    if chosen.json:
        report.to_json(chosen.json)
        print(f"written: {chosen.json}")
    if chosen.save:
        print(f"written: {report.save(chosen.save)}")
    if chosen.model_explorer:
        print(f"written: {report.to_model_explorer(chosen.model_explorer, overwrite=chosen.overwrite)}")
    if chosen.repro:
        _repro(report, chosen)
    return verdict(report)


def _check_folders(chosen: argparse.Namespace) -> None:
    """Refuse folders that could not be written, before the work and not after it.

    Raises:
        SaveError: one is there already.
    """
    from workbench.compare import model_explorer, repro
    from workbench.files import check_replaceable

    for folder, mark in ((chosen.repro, repro.MARK), (chosen.model_explorer, model_explorer.MARK)):
        if folder:
            check_replaceable(Path(folder).expanduser(), mark, overwrite=chosen.overwrite)


def _repro(report: Report, chosen: argparse.Namespace) -> None:
    row = report.row(chosen.layer) if chosen.layer else next(iter(report.culprits(1)), report.first_failing)
    if row is None:
        print("nothing fails, so there is nothing to reproduce; --layer NAME writes a layer that is ok")
    else:
        print(f"written: {report.repro(row, chosen.repro, overwrite=chosen.overwrite)}")


def verdict(report: Report) -> int:
    """Print a report; returns the exit code that it means."""
    print(report)
    return DONE if report.ok else DIFFERS


def _record(chosen: argparse.Namespace) -> int:
    from workbench.compare import record
    from workbench.model import load

    model = load(chosen.source)
    path = record(
        model,
        Path(chosen.destination),
        _feeds(chosen),
        layers=chosen.layer,
        seed=chosen.seed,
        overwrite=chosen.overwrite,
    )
    print(f"written: {path}")
    return DONE
