"""A fixed sample of the benchmark of injected faults: culprits rank first and are named, healthy models are left alone.

The whole of it is ``python -m tests.benchmarks.faults``.
"""

from __future__ import annotations

import functools

import pytest

import workbench as wb
from tests.benchmarks.faults import TARGETS, Network, outcome
from tests.compare.faults import FAULTS
from tests.real_models import onnx_model

BY_NAME = {fault.name: fault for fault in FAULTS}
NETWORKS = ("mtcnn-onet", "silero-vad", "magika")
SAMPLE = [
    ("mtcnn-onet", "weight 2 % too large", "nnef"),
    ("mtcnn-onet", "bias shifted", "coreml"),
    ("mtcnn-onet", "axes permuted", "coreml fp16"),
    ("mtcnn-onet", "weight transposed", "coreml"),
    ("mtcnn-onet", "saturated at half of the peak", "nnef"),
    ("mtcnn-onet", "activation dropped", "coreml fp16"),
    ("mtcnn-onet", "another activation", "nnef"),
    ("mtcnn-onet", "two channels exchanged", "coreml"),
    ("mtcnn-onet", "NaN in the weight", "nnef"),
    ("mtcnn-onet", "quotient by zero", "coreml fp16"),
    ("mtcnn-onet", "sign lost", "nnef"),
    ("mtcnn-onet", "padding at the other end", "nnef"),
    ("mtcnn-onet", "dilation 2", "coreml"),
    ("mtcnn-onet", "average instead of maximum", "nnef"),
    ("mtcnn-onet", "padding counted by the average", "coreml"),
    ("mtcnn-onet", "rounded down", "nnef"),
    ("mtcnn-onet", "another epsilon", "coreml fp16"),
    ("mtcnn-onet", "softmax along another axis", "nnef"),
    ("mtcnn-onet", "indices one too high", "nnef"),
    ("mtcnn-onet", "beyond float16", "coreml fp16"),
    ("magika", "weight 2 % too large", "nnef"),
    ("magika", "axes permuted", "coreml"),
    ("silero-vad", "activation dropped", "nnef"),
    ("silero-vad", "weight zeroed", "coreml fp16"),
]
SEED = 3


@functools.lru_cache(maxsize=1)
def network(name: str) -> Network:
    """The network; one at a time, since the sample goes through them one after the other."""
    return Network(onnx_model(name))


@pytest.mark.parametrize(("name", "fault", "target"), SAMPLE)
def test_an_injected_fault_is_ranked_first_and_named(name: str, fault: str, target: str) -> None:
    options = next(options for kind, options in TARGETS if " ".join([kind, *options.values()]) == target)
    found = outcome(network(name), BY_NAME[fault], target.split()[0], options, SEED)
    assert found is not None, "the network has no place for it"
    assert found.rank == 1
    assert found.named, f"{found.signature}: {found.text}"


@pytest.mark.parametrize("name", ["mtcnn-onet", "silero-vad", "basic-pitch"])
def test_healthy_float16_conversions_raise_no_alarm_on_random_numbers(name: str) -> None:
    """basic-pitch takes logarithms of what float16 has rounded and looks for the least: it is off by more than any
    table of tolerances allows, and healthy."""
    real = onnx_model(name)
    model = wb.load(real.source)
    report = wb.compare(model, model.convert("coreml", shapes=real.shapes, precision="fp16"))
    assert report.ok, str(report)
    assert any(row.remark.startswith("float16 explains it") for row in report.rows) == (name == "basic-pitch")


def test_a_faulty_float16_conversion_of_the_same_network_alarms() -> None:
    found = outcome(network("silero-vad"), BY_NAME["two channels exchanged"], "coreml", {"precision": "fp16"}, SEED)
    assert found is not None
    assert found.rank == 1
