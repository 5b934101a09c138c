"""Architectures as timm and transformers publish them, with random weights: what people really export.

Widths are those that are published; the depth of the language and speech models is reduced, for what repeats shows
nothing new. Needs both packages (``pip install timm transformers``); :func:`missing` says what is not there.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import torch
from torch import nn

Tensor = torch.Tensor
Made = tuple[nn.Module, tuple[Tensor, ...]]
"""A module, and inputs for it."""

PACKAGES = ("timm", "torchvision", "transformers")
WORDS = 11
DEPTH = 3


def missing() -> tuple[str, ...]:
    """The packages that are not installed."""
    return tuple(name for name in PACKAGES if importlib.util.find_spec(name) is None)


def _import(name: str) -> Any:
    # torchvision's native operators may not load beside a CPU build of PyTorch; nothing here calls one.
    with mock.patch("torch.library.register_fake", return_value=lambda function: function):
        importlib.import_module("torchvision")
    return importlib.import_module(name)


def _picture(name: str, size: int = 224) -> Callable[[], Made]:
    return lambda: (_import("timm").create_model(name), (torch.randn(1, 3, size, size),))


class _Plain(nn.Module):
    """A model of transformers with tensors in, one tensor out, and no cache."""

    def __init__(self, body: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.body = body
        self.names = names

    def forward(self, *inputs: Tensor) -> Any:
        return self.body(**dict(zip(self.names, inputs, strict=True)))["last_hidden_state"]


def _hidden(kind: str, feeds: Callable[[Any], Mapping[str, Tensor]], **config: Any) -> Callable[[], Made]:
    """A model of transformers, ``kind``, with the published configuration but for ``config``."""

    def make() -> Made:
        transformers = _import("transformers")
        model = getattr(transformers, f"{kind}Model")
        chosen = model.config_class(attn_implementation="eager", **config)
        if hasattr(chosen, "use_cache"):
            chosen.use_cache = False
        inputs = feeds(chosen)
        return _Plain(model(chosen), tuple(inputs)), tuple(inputs.values())

    return make


def _words(config: Any) -> Mapping[str, Tensor]:
    return {"input_ids": torch.randint(config.vocab_size, (1, WORDS))}


def _masked(config: Any) -> Mapping[str, Tensor]:
    seen = torch.ones(1, WORDS, dtype=torch.int64)
    seen[:, -3:] = 0
    return {**_words(config), "attention_mask": seen}


def _whisper_encoder() -> Made:
    _import("transformers")
    whisper = importlib.import_module("transformers.models.whisper.modeling_whisper")
    config = whisper.WhisperConfig(encoder_layers=DEPTH, max_source_positions=100, attn_implementation="eager")
    spectrum = torch.randn(1, config.num_mel_bins, 2 * config.max_source_positions)
    return _Plain(whisper.WhisperEncoder(config), ("input_features",)), (spectrum,)


class _Both(nn.Module):
    """A recurrent network that reads forwards and backwards, two layers of it."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.body = kind(64, 96, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)[0]  # type: ignore[no-any-return]


def _unet() -> Made:
    """torch.hub's U-Net is not in a package: its blocks, two convolutions each, with the published widths."""

    def block(inner: int, outer: int) -> nn.Sequential:
        def half(channels: int) -> list[nn.Module]:
            return [nn.Conv2d(channels, outer, 3, padding=1, bias=False), nn.BatchNorm2d(outer), nn.ReLU()]

        return nn.Sequential(*half(inner), *half(outer))

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = (32, 64, 128, 256)
            self.down = nn.ModuleList(block(a, b) for a, b in zip((3, *widths), widths, strict=False))
            self.bottom = block(256, 512)
            self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in reversed(widths))
            self.joined = nn.ModuleList(block(2 * w, w) for w in reversed(widths))
            self.last = nn.Conv2d(32, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            kept = []
            for down in self.down:
                x = down(x)
                kept.append(x)
                x = nn.functional.max_pool2d(x, 2)
            x = self.bottom(x)
            for up, joined in zip(self.up, self.joined, strict=True):
                x = joined(torch.cat((up(x), kept.pop()), 1))
            return torch.sigmoid(self.last(x))

    return UNet(), (torch.randn(1, 3, 64, 64),)


PUBLISHED: dict[str, Callable[[], Made]] = {
    "ResNet-18": _picture("resnet18"),
    "MobileNetV3": _picture("mobilenetv3_large_100"),
    "EfficientNet-B0": _picture("efficientnet_b0"),
    "ConvNeXt-tiny": _picture("convnext_tiny"),
    "ViT-tiny": _picture("vit_tiny_patch16_224"),
    "Swin-tiny": _picture("swin_tiny_patch4_window7_224"),
    "DenseNet-121": _picture("densenet121"),
    "U-Net": _unet,
    "BERT": _hidden("Bert", _masked, num_hidden_layers=DEPTH),
    "DistilBERT": _hidden("DistilBert", _masked, n_layers=DEPTH),
    "GPT-2": _hidden("GPT2", _masked, n_layer=DEPTH),
    "Llama": _hidden(
        "Llama",
        _masked,
        vocab_size=1000,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=DEPTH,
        num_attention_heads=8,
        num_key_value_heads=4,
    ),
    "T5 encoder": _hidden("T5Encoder", _masked, num_layers=DEPTH),
    "Whisper encoder": _whisper_encoder,
    "wav2vec 2.0": _hidden("Wav2Vec2", lambda config: {"input_values": torch.randn(1, 8000)}, num_hidden_layers=DEPTH),
    "SegFormer": _hidden("Segformer", lambda config: {"pixel_values": torch.randn(1, 3, 128, 128)}),
    "Mamba": _hidden("Mamba", _words, vocab_size=1000, hidden_size=128, state_size=16, num_hidden_layers=2),
    "LSTM, both ways": lambda: (_Both(nn.LSTM), (torch.randn(2, 20, 64),)),
    "GRU, both ways": lambda: (_Both(nn.GRU), (torch.randn(2, 20, 64),)),
}
"""Name → what makes the module and its inputs; after ``torch.manual_seed`` it is the same every time."""


def published(name: str) -> Made:
    """The module of that name, and inputs for it."""
    return PUBLISHED[name]()
