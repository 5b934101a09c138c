"""PyTorch modules of the usual kinds, loaded live, converted and compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import workbench as wb

torch = pytest.importorskip("torch")
nn = torch.nn


class Recurrent(nn.Module):  # type: ignore[misc, name-defined]
    """A classifier on the last step of a bidirectional LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.states = nn.LSTM(5, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 3)

    def forward(self, sequence: Any) -> Any:
        return self.head(self.states(sequence)[0][:, -1])


def perceptron() -> Any:
    return nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4), nn.Softmax(-1))


def convolutional() -> Any:
    features = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


def transformer() -> Any:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2)


KINDS = {
    "perceptron": (perceptron, (2, 8), "input"),
    "convolutional": (convolutional, (1, 3, 16, 16), "input"),
    "recurrent": (Recurrent, (2, 7, 5), "sequence"),
    "transformer": (transformer, (1, 6, 16), "src"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_live_module_computes_the_same_in_every_format(kind: str) -> None:
    build, shape, name = KINDS[kind]
    torch.manual_seed(0)
    module, x = build().eval(), torch.randn(*shape)
    expected = module(x).detach().numpy()
    model = wb.load(module, example_inputs=(x,))
    assert [spec.name for spec in model.inputs] == [name]
    for target in ("coreml", "nnef"):
        converted = model.convert(target)
        assert wb.compare(model, converted).ok
        (found,) = converted.run({name: x.numpy()}).values()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "needs example_inputs"),
        ({"example_inputs": np.zeros((2, 8), np.float32)}, "torch.from_numpy"),
        ({"example_inputs": [torch.zeros(2, 8)]}, "a tuple of the arguments"),
        ({"example_inputs": {"x": torch.zeros(2, 8)}}, "a tuple of the arguments"),
        ({"example_inputs": torch.zeros(2, 8), "input_names": "x"}, "sequence of names"),
        ({"example_inputs": torch.zeros(2, 8), "names": ["x"]}, "unknown option 'names'"),
    ],
)
def test_what_cannot_be_an_example_is_said(options: dict[str, Any], says: str) -> None:
    with pytest.raises(wb.errors.OptionError, match=says):
        wb.load(perceptron(), **options)
