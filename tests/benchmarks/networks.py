"""Two well-known networks at their full size, in plain PyTorch with random weights, exported to ONNX for measuring."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.benchmarks.mobile import mobilenet_v2

Tensor = torch.Tensor
OPSET = 18


class Block(nn.Module):
    """Two convolutions, and the picture itself, made as small by one of a single pixel."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(outer, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer))
        changed = stride != 1 or inner != outer
        self.shortcut = (
            nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))
            if changed
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


def resnet18() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """11.7 million weights; a picture."""
    widths = [64, 64, 64, 128, 128, 256, 256, 512, 512]
    blocks = [Block(inner, outer, 1 if inner == outer else 2) for inner, outer in itertools.pairwise(widths)]
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
    return nn.Sequential(*stem, *blocks, *head), (torch.randn(1, 3, 224, 224),)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.size = width // heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def heads(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], -1, self.size).transpose(1, 2)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = self.heads(self.q(x)), self.heads(self.k(x)), self.heads(self.v(x))
        shares = (q @ k.transpose(-1, -2) / self.size**0.5 + bias).softmax(-1)
        return self.out((shares @ v).transpose(1, 2).reshape(x.shape))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention, self.inner = Attention(width, heads), nn.Linear(width, 4 * width)
        self.outer, self.norms = nn.Linear(4 * width, width), nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = self.norms[0](x + self.attention(x, bias))
        return self.norms[1](x + self.outer(nn.functional.gelu(self.inner(x))))


class Bert(nn.Module):
    def __init__(self, words: int = 30522, width: int = 768, layers: int = 12, heads: int = 12) -> None:
        super().__init__()
        self.words, self.places, self.kinds = (nn.Embedding(count, width) for count in (words, 512, 2))
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.pooler = nn.Linear(width, width)

    def forward(self, ids: Tensor, mask: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(self.words(ids) + self.places(torch.arange(ids.shape[1])) + self.kinds(kinds))
        bias = (1.0 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        for layer in self.layers:
            x = layer(x, bias)
        return x, torch.tanh(self.pooler(x[:, 0]))


def bert_base() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """109.5 million weights; 128 words."""
    mask = torch.ones(1, 128, dtype=torch.int64)
    mask[:, 100:] = 0
    return Bert(), (torch.randint(0, 30522, (1, 128)), mask, torch.zeros(1, 128, dtype=torch.int64))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]] = {
    "resnet18": resnet18,
    "mobilenet-v2": mobilenet_v2,
    "bert-base": bert_base,
}


def export(name: str, path: Path) -> None:
    """Write the network's ONNX file, the same at every call."""
    torch.manual_seed(0)
    module, inputs = NETWORKS[name]()
    for part in module.modules():
        statistics: Any = part
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(statistics.running_var, 0.5, 1.5)
            nn.init.normal_(statistics.running_mean, 0.0, 0.2)
    names = [f"x{index}" for index in range(len(inputs))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), inputs, path, input_names=names, opset_version=OPSET, dynamo=False)
