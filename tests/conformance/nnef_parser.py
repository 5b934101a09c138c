"""NNEF text, mutated, through our parser and Khronos': ``python -m tests.conformance.nnef_parser [--count N]``.

What Khronos' parser accepts, ours accepts, and makes the same graph of; what ends its process is refused here with an
error. It runs in processes that are forked for each text. The exit code is 1 if they disagree.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.formats.nnef import khronos
from tests.formats.nnef.test_operations import CASES, REFUSED, graph_of
from tests.formats.nnef.test_text import ACCEPTED, described, numbered
from workbench import WorkbenchError
from workbench.formats.nnef.expand import expand
from workbench.formats.nnef.parser import parse_document
from workbench.formats.nnef.quantization import parse_quantization

_FORKED = r"""
import os, resource

def answer(request):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(json.dumps(described(request), default=lambda item: item.tolist()).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    status = os.waitpid(child, 0)[1]
    return json.loads(data) if data and not status else {"error": "", "crash": status}

print("@@@" + json.dumps([answer(request) for request in json.load(sys.stdin)]))
"""

TOKENS = (
    "( ) [ ] { } < > = , ; : ' \" # x y z 1 2 0 1.0 0.5 1e3 - + * / ^ ? ! true relu <scalar> <integer> tensor scalar "
    "[1] (1,2) if else in && || == <= for yield _"
).split(" ")

# it reads -x + 1 as -(x + 1), where the specification has a unary operator bind tighter
UNARY = re.compile(r"[=(,\[*/^<>+\-!&|]\s*[-+!]\s*[\w(\[]")
KNOWN = {
    "of not has type tensor<scalar>": "Khronos' parser does not check the types of what '!' stands before",
    "of or has type tensor<scalar>": "nor of what '||' joins",
    "of and has type tensor<scalar>": "nor of what '&&' joins",
    "tensors, ": "it does not count the names that an array of results is assigned to",
    "takes no type argument": "it takes any type for operations that have none to choose, and believes it",
    "bits = ": "it does not look at the number of bits",
    "extents must not be negative": "what runs such a graph ends its process",
}
"""What only we refuse, by our message, and why."""
BEYOND_32_BITS = re.compile(r"\d{10}")  # it keeps the lowest 32 bits of an integer

QUANTIZATION = (
    "'x': zero_point_linear_quantize(zero_point = 3, scale = 0.5, bits = 8, signed = true, symmetric = false);\n"
    '"y": linear_quantize(min = -1.0, max = 1.0, bits = 8); # a comment\n',
    "'y': min_max_linear_quantize(min = [0.0, 1.0], max = 2.5, bits = 4, signed = false, symmetric = true);",
    "'y': logarithmic_quantize(max = 1.0e2, bits = 3);",
)
_PLAIN = "version 1.0; graph g(x) -> (y) { x = external(shape = [1]); y = relu(x); }"


@dataclass(frozen=True)
class Text:
    """What is parsed: a graph, and quantisation for a plain one."""

    graph: str
    quantization: str = ""
    lowered: tuple[str, ...] = ()

    def request(self) -> dict[str, Any]:
        """For the reference parser."""
        return {"text": self.graph, "quant": self.quantization or None, "lowered": list(self.lowered)}


def corpus() -> list[Text]:
    """Texts that both parsers accept: compositional and flat ones, every operation, quantisation."""
    graphs = [Text(text, lowered=lowered) for text, lowered in ACCEPTED.values()]
    graphs += [Text(graph_of(case)) for case in (*CASES.values(), *(case for case, _ in REFUSED.values()))]
    return graphs + [Text(_PLAIN, text) for text in QUANTIZATION] * 10


def mutated(texts: Sequence[Text], count: int, seed: int) -> Iterator[Text]:
    """Texts with tokens inserted, replaced and removed."""
    chance = random.Random(seed)
    for _ in range(count):
        text = chance.choice(texts)
        if text.quantization:
            yield Text(text.graph, _mutation(text.quantization, chance))
        else:
            yield Text(_mutation(text.graph, chance), lowered=text.lowered)


def _mutation(text: str, chance: random.Random) -> str:
    for _ in range(chance.choice((1, 1, 1, 2))):
        place, length = chance.randrange(len(text)), chance.randint(0, 3)
        new = chance.choice(TOKENS) if chance.random() < 0.7 else ""
        text = text[:place] + new + text[place + length :]
    return text


def disagreement(text: Text, theirs: dict[str, Any]) -> str:
    """In what the parsers differ; empty if they do not, or in a way that is known."""
    if "error" in theirs:
        return ""
    try:
        graph = expand(parse_document(text.graph))
        entries = parse_quantization(text.quantization) if text.quantization else {}
    except WorkbenchError as error:
        return "" if any(part in str(error) for part in KNOWN) else f"refused: {error}"
    if list(graph.inputs) != theirs["inputs"] or list(graph.outputs) != theirs["outputs"]:
        return "another interface"
    for name, entry in entries.items():
        if name in theirs["quantization"] and not _alike(theirs["quantization"][name], entry.arguments):
            return f"another quantisation of {name!r}"
    if UNARY.search(text.graph) or BEYOND_32_BITS.search(text.graph):
        return ""
    mine, others = numbered(described(graph)), numbered(theirs["operations"])
    for operation, other in zip(mine, others, strict=False):
        if operation["dtype"] is None:
            other["dtype"] = None  # a type argument of an operation that has none to choose
    return "" if mine == others else "another graph"


def _alike(theirs: Any, mine: Any) -> bool:
    """Equal but for float32's rounding."""
    if isinstance(mine, dict):
        return all(key in theirs and _alike(theirs[key], value) for key, value in mine.items())
    if isinstance(mine, list):
        return len(mine) == len(theirs) and all(map(_alike, theirs, mine))
    return bool(abs(theirs - mine) <= 1e-6 * abs(mine)) if isinstance(mine, float) else bool(theirs == mine)


def answers(texts: Sequence[Text]) -> list[dict[str, Any]]:
    """What Khronos' parser makes of the texts; ``crash`` where its process ended."""
    script = khronos.SCRIPT.partition('print("@@@"')[0] + _FORKED
    request = json.dumps([text.request() for text in texts])
    run = subprocess.run([sys.executable, "-c", script], input=request, capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(run.stdout.partition("@@@")[2])
    return found


def outcomes(texts: Sequence[Text]) -> tuple[Counter[str], list[tuple[str, Text]]]:
    """How often what happened, and the disagreements."""
    counts: Counter[str] = Counter()
    failures = []
    for text, theirs in zip(texts, answers(texts), strict=True):
        difference = disagreement(text, theirs)
        counts["crash" if "crash" in theirs else "refused" if "error" in theirs else "accepted"] += 1
        if difference:
            failures.append((difference, text))
        if "crash" in theirs:
            refused = _is_refused(text)
            failures += [] if refused else [("accepted what ends the other's process", text)]
    return counts, failures


def _is_refused(text: Text) -> bool:
    try:
        expand(parse_document(text.graph))
        parse_quantization(text.quantization)
    except WorkbenchError:
        return True
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    counts, failures = outcomes(list(mutated(corpus(), chosen.count, chosen.seed)))
    for difference, text in failures:
        print(f"{difference}\n{text.graph}\n{text.quantization}\n")
    print(
        ", ".join(f"{count} {what}" for what, count in counts.items()) + f" by Khronos' parser; {len(failures)} differ"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
