"""A third well-known network at its full size: many small layers, as networks for phones have them."""

from __future__ import annotations

import torch
from torch import nn

Tensor = torch.Tensor
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""How much wider inside, channels, layers, stride of the first."""


def _unit(inner: int, outer: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outer), nn.ReLU6()]


class Inverted(nn.Module):
    """Wider by a convolution of single pixels, one for each channel, and narrower again."""

    def __init__(self, inner: int, outer: int, stride: int, wider: int) -> None:
        super().__init__()
        width = inner * wider
        parts = [*(_unit(inner, width, 1) if wider > 1 else []), *_unit(width, width, 3, stride, width)]
        self.body = nn.Sequential(*parts, *_unit(width, outer, 1)[:2])
        self.kept = stride == 1 and inner == outer

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.body(x)
        return x + made if self.kept else made


def mobilenet_v2() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """3.5 million weights; a picture."""
    layers, width = _unit(3, 32, 3, 2), 32
    for wider, channels, count, stride in STAGES:
        for index in range(count):
            layers.append(Inverted(width, channels, stride if index == 0 else 1, wider))
            width = channels
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers, *_unit(width, 1280, 1), *head), (torch.randn(1, 3, 224, 224),)
