"""Train the network of workbench/samples: a small CNN on scikit-learn's digits, written as ONNX.

Run once, with torch and scikit-learn installed: ``python scripts/train_digits.py``. The result is committed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

Array = np.ndarray[Any, Any]

FOLDER = Path(__file__).parent.parent / "workbench" / "samples"
SCALE = 1 / 16  # grey values are 0 … 16


def train() -> tuple[torch.nn.Sequential, Array, Array, float]:
    """Train with a fixed seed; returns the network, unseen images, their digits, and the accuracy on them."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, digits = load_digits(return_X_y=True)
    images = images.reshape(-1, 1, 8, 8).astype(np.float32)
    seen, unseen, seen_digits, unseen_digits = train_test_split(images, digits, test_size=0.25, random_state=0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(512, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 10),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    x, y = torch.from_numpy(seen) * SCALE, torch.from_numpy(seen_digits)
    for _ in range(30):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        guesses = network(torch.from_numpy(unseen) * SCALE).argmax(1).numpy()
    return network, unseen, unseen_digits, float((guesses == unseen_digits).mean())


def to_onnx(network: torch.nn.Sequential) -> onnx.ModelProto:
    """Write the network with names that people can read."""
    conv1, norm, _, conv2, _, _, _, dense1, _, dense2 = network
    weights = {
        "scale": np.float32(SCALE),
        "conv1.weight": conv1.weight,
        "conv1.bias": conv1.bias,
        "norm.gamma": norm.weight,
        "norm.beta": norm.bias,
        "norm.mean": norm.running_mean,
        "norm.variance": norm.running_var,
        "conv2.weight": conv2.weight,
        "conv2.bias": conv2.bias,
        "dense1.weight": dense1.weight,
        "dense1.bias": dense1.bias,
        "dense2.weight": dense2.weight,
        "dense2.bias": dense2.bias,
    }
    nodes: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Mul", ["image", "scale"], "scaled", {}),
        ("Conv", ["scaled", "conv1.weight", "conv1.bias"], "conv1", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        ("BatchNormalization", ["conv1", "norm.gamma", "norm.beta", "norm.mean", "norm.variance"], "norm", {}),
        ("Relu", ["norm"], "relu1", {}),
        ("Conv", ["relu1", "conv2.weight", "conv2.bias"], "conv2", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        ("Relu", ["conv2"], "relu2", {}),
        ("MaxPool", ["relu2"], "pool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Flatten", ["pool"], "flat", {}),
        ("Gemm", ["flat", "dense1.weight", "dense1.bias"], "dense1", {"transB": 1}),
        ("Relu", ["dense1"], "relu3", {}),
        ("Gemm", ["relu3", "dense2.weight", "dense2.bias"], "dense2", {"transB": 1}),
        ("Softmax", ["dense2"], "probabilities", {"axis": -1}),
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output], name=output, **extra) for kind, inputs, output, extra in nodes],
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])],
        [
            numpy_helper.from_array(np.asarray(value.detach() if hasattr(value, "detach") else value), name)
            for name, value in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="exchange-workbench")
    model.ir_version = 8
    model.doc_string = "Reads a handwritten digit (8 × 8, grey values 0 … 16). Trained on scikit-learn's digits."
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    network, images, digits, accuracy = train()
    onnx.save(to_onnx(network), FOLDER / "digits.onnx")
    np.savez_compressed(FOLDER / "digits.npz", image=images[:20], digit=digits[:20])
    print(f"accuracy on unseen digits: {accuracy:.4f}")


if __name__ == "__main__":
    main()
