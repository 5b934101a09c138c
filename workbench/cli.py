"""The command line: ``workbench convert | compare | record | inspect | plan | run | coverage | lab``.

Exit codes: 0 done and verified; 1 converted, but the comparison fails its tolerance; 2 bad usage, an unreadable input,
or a failure while running or writing; 3 refused, the model cannot be expressed in the target format.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import limits
from workbench._version import __version__
from workbench.cli_compare import add_commands as add_compare
from workbench.cli_compare import verdict
from workbench.errors import ConversionError, OptionError, WorkbenchError
from workbench.words import one_line

if TYPE_CHECKING:
    from workbench.model import Model

DONE, DIFFERS, UNUSABLE, REFUSED = 0, 1, 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Errors of ours are one message on stderr, without a traceback."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        command: Callable[[argparse.Namespace], int] = chosen.command
        limits.change(**limits.parse(",".join(chosen.limit)))
        return command(chosen)
    except ConversionError as error:
        print(f"refused: {error}", file=sys.stderr)
        _translate(str(error))
        return REFUSED
    except WorkbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        _translate(str(error))
        return UNUSABLE
    except BrokenPipeError:  # the reader of our output has seen enough (`workbench inspect m.onnx | head`)
        sys.stderr.close()
        return DONE
    except KeyboardInterrupt:
        print("interrupted; nothing was left half-written", file=sys.stderr)
        return 130


def _translate(message: str) -> None:
    """Messages name the keyword of the Python call; say what it is here."""
    if "shapes={" in message:
        print("On the command line, shapes={'NAME': (1, 3)} is --shape NAME=1,3.", file=sys.stderr)
    if "Range(" in message:
        print("On the command line, Range(1, 8) is 1..8.", file=sys.stderr)
    if "wb.Images(…, size=" in message:
        print("On the command line, wb.Images(…, size=(224, 224)) is --resize 224,224.", file=sys.stderr)
    if "workbench.limits.change(" in message:
        print("On the command line, that is workbench --limit NAME=NUMBER COMMAND …", file=sys.stderr)
    if "overwrite=True" in message:
        print("On the command line, overwrite=True is --overwrite.", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="workbench",
        description="Convert neural networks between ONNX, NNEF and Core ML; see whether they still compute the same.",
        epilog="Exit codes: 0 done and verified, 1 the comparison fails, 2 bad usage or input, 3 refused.",
    )
    parser.add_argument("--version", action="version", version=f"workbench {__version__}")
    parser.add_argument(
        "--limit", metavar="NAME=NUMBER", action="append", default=[], help="change a limit on what models may ask for"
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    convert = commands.add_parser("convert", help="convert a model, and verify the result layer by layer")
    convert.add_argument("source", metavar="SRC", help="the model")
    convert.add_argument("destination", metavar="DST", help="where to write; the suffix tells the format")
    _add_function(convert)
    convert.add_argument("--no-verify", action="store_true", help="do not compare the result with its source")
    convert.add_argument("--overwrite", action="store_true", help="replace what stands at DST")
    _add_target(convert, required=False)
    convert.set_defaults(command=_convert)

    add_compare(commands)

    inspect = commands.add_parser("inspect", help="show inputs, outputs and layers")
    inspect.add_argument("source", metavar="SRC")
    _add_function(inspect)
    inspect.set_defaults(command=_inspect)

    plan = commands.add_parser("plan", help="say layer by layer what a conversion would do")
    plan.add_argument("source", metavar="SRC")
    _add_function(plan)
    _add_target(plan, required=True)
    plan.set_defaults(command=_plan)

    run = commands.add_parser("run", help="run a model once")
    run.add_argument("source", metavar="SRC")
    _add_function(run)
    run.add_argument("--feeds", metavar="FILE.npz", required=True, help="inputs by name")
    run.add_argument("--out", metavar="FILE.npz", help="write the outputs there")
    run.set_defaults(command=_run)

    coverage = commands.add_parser("coverage", help="list the operators that can be converted")
    coverage.add_argument("--format", metavar="FORMAT", help="only this format")
    coverage.set_defaults(command=_coverage)

    lab = commands.add_parser("lab", help="open JupyterLab with the workbench on a model or a notebook")
    lab.add_argument("source", metavar="SRC", nargs="?", help="a model or a notebook; without it, the shipped sample")
    lab.add_argument("--no-browser", action="store_true", help="start the server only and print its address")
    lab.add_argument("--port", type=int, help="port of the server on the loopback interface")
    lab.set_defaults(command=_lab)
    return parser


def _add_function(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--function", metavar="NAME", help="which, of a Core ML model with several")


def _load(chosen: argparse.Namespace) -> Model:
    from workbench.model import load

    return load(chosen.source, **({"function": chosen.function} if chosen.function else {}))


def _add_target(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--to", metavar="FORMAT", required=required, help="onnx, nnef or coreml")
    parser.add_argument("--precision", help="fp32, fp16 or mixed (Core ML)")
    parser.add_argument(
        "--shape",
        metavar="NAME=1,3,224,224",
        action="append",
        default=[],
        help="fixes a dynamic input, or gives it ranges, NAME=1..8,3,224,224, or several shapes, "
        '"NAME=1,3,224,224|1,3,256,256" (Core ML); may be repeated',
    )
    parser.add_argument(
        "--option",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="any further option of the target; lists and mappings in JSON",
    )


def _options(chosen: argparse.Namespace) -> dict[str, Any]:
    """The conversion's keyword arguments.

    Raises:
        OptionError: ``--shape`` or ``--option`` is not of the form that it takes.
    """
    options: dict[str, Any] = {}
    for text in chosen.option:
        name, equals, value = text.partition("=")
        if not equals:
            raise OptionError(f"--option takes NAME=VALUE, not {text!r}.")
        options[name] = _value(name, value)
    if chosen.precision is not None:
        options["precision"] = chosen.precision
    shapes = dict(_shape(text) for text in chosen.shape)
    return {**options, "shapes": shapes} if shapes else options


def _value(name: str, text: str) -> Any:
    """An option's value: lists and mappings as JSON has them, everything else as the text that it is."""
    if not text.startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"--option {name}: {text!r} is no JSON ({error}).") from error


def _shape(text: str) -> tuple[str, Any]:
    from workbench.hub.ranges import parse_shape

    name, equals, sizes = text.rpartition("=")  # names may hold an equals sign, sizes cannot
    if not equals:
        raise OptionError(f"--shape takes NAME=1,3,224,224, not {text!r}.")
    try:
        return name, parse_shape(sizes)
    except OptionError as error:
        raise OptionError(f"--shape takes NAME=1,3,224,224, not {text!r}: {error}") from error


def _convert(chosen: argparse.Namespace) -> int:
    from workbench.formats import format_for_suffix
    from workbench.session import Session

    target = chosen.to or format_for_suffix(chosen.destination).name
    session = Session(_load(chosen))
    session.convert(target, **_options(chosen))
    path = session.export(chosen.destination, overwrite=chosen.overwrite)
    print(f"written: {path}")
    if chosen.no_verify:
        return DONE
    return verdict(session.compare())


def _inspect(chosen: argparse.Namespace) -> int:
    model = _load(chosen)
    print(one_line(f"{model.name}: {model.format}, {len(model.layers)} layers"))
    for title, specs in (("input", model.inputs), ("output", model.outputs)):
        for spec in specs:
            print(f"  {title:7} {spec}")
    if model.labels:
        print(one_line(f"  {'labels':7} {len(model.labels)}: {_some(model.labels)}"))
    for key, text in model.metadata.items():
        print(one_line(f"  {key}: {_some(text.split())}"))
    for layer in model.layers:
        shapes = ", ".join(spec.describe() for spec in layer.outputs)
        print(one_line(f"  {layer.operator:24} {layer.name}  →  {shapes}"))
    return DONE


def _some(parts: Sequence[object], most: int = 20) -> str:
    """The first of them in one line."""
    return " ".join(map(str, parts[:most])) + (" …" if len(parts) > most else "")


def _plan(chosen: argparse.Namespace) -> int:
    plan = _load(chosen).plan(chosen.to, **_options(chosen))
    print(plan)
    if not plan.ok:
        _translate(str(plan))
    return DONE if plan.ok else REFUSED


def _run(chosen: argparse.Namespace) -> int:
    import numpy as np

    from workbench.compare.given import load_feeds

    model = _load(chosen)
    outputs = model.run(load_feeds(Path(chosen.feeds)))
    print(f"run by {model.executor.name}")
    for name, array in outputs.items():
        if array.dtype.kind in "biuf" and array.size:
            content = f"min {array.min():.6g}  max {array.max():.6g}"
        else:
            content = _some(array.reshape(-1).tolist())
        print(one_line(f"  {name}: {array.dtype.name}{list(array.shape)}  {content}"))
    if chosen.out:
        with Path(chosen.out).open("wb") as handle:  # a handle, since numpy appends .npz to a bare name
            np.savez(handle, **outputs)  # type: ignore[arg-type]  # numpy's stub takes no mapping of arrays
        print(f"written: {chosen.out}")
    return DONE


def _coverage(chosen: argparse.Namespace) -> int:
    from workbench.coverage import markdown
    from workbench.formats import all_formats, format_named

    formats = [format_named(chosen.format)] if chosen.format else list(all_formats().values())
    print(markdown(formats), end="")
    return DONE


def _lab(chosen: argparse.Namespace) -> int:
    from workbench.launch import lab

    return lab(chosen.source, browser=not chosen.no_browser, port=chosen.port)


if __name__ == "__main__":
    sys.exit(main())
