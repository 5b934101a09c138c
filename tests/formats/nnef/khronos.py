"""The Khronos reference parser as an oracle, in a subprocess (a typo in the text can kill its process)."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

SCRIPT = r"""
import json, sys
import nnef

def plain(value):
    if isinstance(value, nnef.Identifier):
        return {"tensor": str(value)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value

def described(request):
    try:
        if "path" in request:
            graph = nnef.load_graph(request["path"], load_variables=request.get("variables", False))
        else:
            graph = nnef.parse_string(request["text"], request.get("quant"), lowered=request.get("lowered", []))
        if request.get("shapes"):
            nnef.infer_shapes(graph)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {
        "inputs": [str(name) for name in graph.inputs],
        "outputs": [str(name) for name in graph.outputs],
        "shapes": {str(name): tensor.shape for name, tensor in graph.tensors.items()},
        "quantization": {str(name): plain_quant(tensor.quantization) for name, tensor in graph.tensors.items()},
        "operations": [
            {
                "name": operation.name,
                "arguments": {k: plain(v) for k, v in [*operation.inputs.items(), *operation.attribs.items()]},
                "results": {k: plain(v) for k, v in operation.outputs.items()},
                "dtype": operation.dtype,
            }
            for operation in graph.operations
        ],
    }

def plain_quant(entry):
    return {k: plain(v) for k, v in (entry or {}).items()}

print("@@@" + json.dumps([described(request) for request in json.load(sys.stdin)], default=lambda item: item.tolist()))
"""


def parse(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the reference parser makes of each request (``text`` or ``path``, ``quant``, ``lowered``, ``shapes``)."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(requests), capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, f"the reference parser's process ended with {run.returncode}: {run.stderr[-2000:]}"
    found: list[dict[str, Any]] = json.loads(run.stdout.partition("@@@")[2])
    return found


def signatures() -> dict[str, Any]:
    """The reference parser's standard operations (names)."""
    script = "import json, nnef; print('@@@' + json.dumps(sorted(nnef.StandardOperations)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return dict.fromkeys(json.loads(run.stdout.partition("@@@")[2]))
