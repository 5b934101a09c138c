"""The characteristic blocks of well-known architectures, small and in plain PyTorch, with random weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

Tensor = torch.Tensor
WIDTH, HEADS, LENGTH, WORDS = 16, 2, 6, 29
LOWEST = torch.finfo(torch.float32).min


def residual(body: nn.Module) -> nn.Module:
    """``x + body(x)``."""
    return _Residual(body)


class _Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def convolved(inner: int, outer: int, kernel: int = 3, **options: Any) -> list[nn.Module]:
    """A convolution that keeps the size (but for a stride), and its batch norm with statistics as training leaves."""
    norm = nn.BatchNorm2d(outer)
    nn.init.uniform_(norm.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    nn.init.normal_(norm.running_mean, 0.0, 0.2)  # type: ignore[arg-type]
    return [nn.Conv2d(inner, outer, kernel, padding=kernel // 2, bias=False, **options), norm]


def resnet() -> nn.Module:
    body = nn.Sequential(*convolved(8, 8), nn.ReLU(), *convolved(8, 8))
    stem = [*convolved(3, 8, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, residual(body), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


class Squeezed(nn.Module):
    """Channels weighted by what is in all of them (squeeze and excitation)."""

    def __init__(self, channels: int, inner: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        narrow = max(channels // 4, 4)
        down, up = nn.Conv2d(channels, narrow, 1), nn.Conv2d(narrow, channels, 1)
        self.weigh = nn.Sequential(nn.AdaptiveAvgPool2d(1), down, inner, up, gate)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weigh(x)


def inverted(act: Callable[[], nn.Module], inner: nn.Module, gate: nn.Module) -> nn.Module:
    """Expand, convolve each channel, weigh, and project back."""
    wide = [*convolved(8, 24, 1), act(), *convolved(24, 24, 5, groups=24), act(), Squeezed(24, inner, gate)]
    return nn.Sequential(*convolved(3, 8, stride=2), act(), residual(nn.Sequential(*wide, *convolved(24, 8, 1))))


def mobilenet() -> nn.Module:
    return inverted(nn.Hardswish, nn.ReLU(), nn.Hardsigmoid())


def efficientnet() -> nn.Module:
    return inverted(nn.SiLU, nn.SiLU(), nn.Sigmoid())


class ConvNext(nn.Module):
    """A wide depthwise convolution, then a perceptron on channels that are last for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.depthwise = nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.inner = nn.Sequential(nn.LayerNorm(8, eps=1e-6), nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8))
        self.scale = nn.Parameter(torch.full((8,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.inner(self.depthwise(x).permute(0, 2, 3, 1)) * self.scale
        return x + y.permute(0, 3, 1, 2)


class DenseNet(nn.Module):
    """Each layer reads all the ones before it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.ReLU(), *convolved(3 + 4 * i, 4)) for i in range(3))

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for layer in self.layers:
            found.append(layer(torch.cat(found, 1)))
        return functional.avg_pool2d(torch.cat(found, 1), 2)


class UNet(nn.Module):
    """Down and up again, by a transposed convolution and by interpolation, with what was there before."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(*convolved(3, 4), nn.ReLU())
        self.second = nn.Sequential(nn.MaxPool2d(2), *convolved(4, 8), nn.ReLU())
        self.third = nn.Sequential(nn.MaxPool2d(2), *convolved(8, 8), nn.ReLU())
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.higher = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.out = nn.Conv2d(20, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(first)
        up = torch.cat([self.up(self.third(second)), second], 1)
        return torch.sigmoid(self.out(torch.cat([self.higher(up), first], 1)))


class Attention(nn.Module):
    """Queries, keys and values by heads; ``kv`` heads of keys and values are shared among the others."""

    def __init__(self, kv: int = HEADS) -> None:
        super().__init__()
        self.size = WIDTH // HEADS
        self.q, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.k, self.v = nn.Linear(WIDTH, kv * self.size), nn.Linear(WIDTH, kv * self.size)

    def heads(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], -1, self.size).transpose(1, 2)

    def forward(self, x: Tensor, bias: Tensor | None = None, turn: Any = None, memory: Tensor | None = None) -> Tensor:
        source = x if memory is None else memory
        q, k, v = self.heads(self.q(x)), self.heads(self.k(source)), self.heads(self.v(source))
        if turn is not None:
            q, k = turn(q), turn(k)
        k, v = (torch.repeat_interleave(part, q.shape[1] // part.shape[1], dim=1) for part in (k, v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(self.size)
        shares = (scores if bias is None else scores + bias).softmax(-1)
        return self.out((shares @ v).transpose(1, 2).reshape(x.shape))


class Encoder(nn.Module):
    """A transformer's layer, the norms before or behind."""

    def __init__(self, before: bool = True) -> None:
        super().__init__()
        self.before, self.attention = before, Attention()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.inner = nn.Sequential(nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, WIDTH))

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        if self.before:
            x = x + self.attention(self.norms[0](x), bias)
            return x + self.inner(self.norms[1](x))
        x = self.norms[0](x + self.attention(x, bias))
        return self.norms[1](x + self.inner(x))


class Vit(nn.Module):
    """Patches and a token for the class, through PyTorch's own encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, WIDTH, 8, 8), nn.Parameter(torch.randn(1, 1, WIDTH))
        self.places = nn.Parameter(torch.randn(1, 5, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 32, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.encoder(x)[:, 0]


class Swin(nn.Module):
    """Attention within windows that are shifted, with a bias by relative place."""

    def __init__(self, window: int = 4, shift: int = 2) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.patches, self.layer = nn.Conv2d(3, WIDTH, 2, 2), Encoder()
        self.table = nn.Parameter(torch.randn((2 * window - 1) ** 2, HEADS))
        place = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        apart = place[:, :, None] - place[:, None] + window - 1
        self.register_buffer("index", apart[0] * (2 * window - 1) + apart[1])

    def windows(self, x: Tensor) -> Tensor:
        batch, high, wide, width = x.shape
        x = x.view(batch, high // self.window, self.window, wide // self.window, self.window, width)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, self.window**2, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).permute(0, 2, 3, 1)
        batch, high, wide, width = x.shape
        parts = self.windows(torch.roll(x, (-self.shift, -self.shift), (1, 2)))
        bias = self.table[self.index.flatten()].view(self.window**2, self.window**2, HEADS)
        parts = self.layer(parts, bias.permute(2, 0, 1)[None])
        rows = parts.view(batch, high // self.window, wide // self.window, self.window, self.window, width)
        whole = rows.permute(0, 1, 3, 2, 4, 5).reshape(batch, high, wide, width)
        return torch.roll(whole, (self.shift, self.shift), (1, 2))


class Bert(nn.Module):
    """Word and place embeddings, a padding mask that is added."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.norm, self.layer = nn.LayerNorm(WIDTH), Encoder(before=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.norm(self.words(ids) + self.places(torch.arange(ids.shape[1])))
        bias = (1.0 - mask[:, None, None, :].float()) * -1e9
        return self.layer(x, bias)


class Gpt(nn.Module):
    """A causal layer, scores by the embedding's own weights."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.layer = nn.Embedding(WORDS, WIDTH), Encoder()

    def forward(self, ids: Tensor) -> Tensor:
        low = torch.full((ids.shape[1], ids.shape[1]), LOWEST)
        return self.layer(self.words(ids), torch.triu(low, 1)) @ self.words.weight.T


class RmsNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(WIDTH) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


class Llama(nn.Module):
    """Rotated places, shared keys, a gated perceptron, and a mask of padding and causality by float32's lowest."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.attention = nn.Embedding(WORDS, WIDTH), Attention(kv=1)
        self.norms = nn.ModuleList(RmsNorm() for _ in range(2))
        self.gate, self.up = nn.Linear(WIDTH, 24, bias=False), nn.Linear(WIDTH, 24, bias=False)
        self.down = nn.Linear(24, WIDTH, bias=False)

    @staticmethod
    def turn(x: Tensor) -> Tensor:
        size = x.shape[-1]
        rate = 10000.0 ** (-torch.arange(0, size, 2).float() / size)
        angle = torch.outer(torch.arange(x.shape[-2]).float(), rate).repeat(1, 2)
        turned = torch.cat([-x[..., size // 2 :], x[..., : size // 2]], -1)
        return x * angle.cos() + turned * angle.sin()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.words(ids)
        causal = torch.ones(ids.shape[1], ids.shape[1]).tril().bool()
        seen = causal & mask[:, None, None, :].bool()
        bias = torch.where(seen, 0.0, LOWEST)  # where nothing is seen, all shares are equal
        x = x + self.attention(self.norms[0](x), bias, self.turn)
        y = self.norms[1](x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y))


class T5(nn.Module):
    """A bias by buckets of relative places."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.bias = nn.Embedding(WORDS, WIDTH), nn.Embedding(8, HEADS)
        self.norm, self.attention = RmsNorm(), Attention()

    def forward(self, ids: Tensor) -> Tensor:
        apart = torch.arange(ids.shape[1])[None] - torch.arange(ids.shape[1])[:, None]
        far, side = apart.abs(), (apart > 0).long() * 4
        late = 2 + (torch.log(far.clamp(min=1).float() / 2) / math.log(4) * 2).long()
        bucket = side + torch.where(far < 2, far, late.clamp(max=3))
        x = self.words(ids)
        return x + self.attention(self.norm(x), self.bias(bucket).permute(2, 0, 1)[None])


class Whisper(nn.Module):
    """Two convolutions over time, places by sines."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(8, WIDTH, 3, padding=1), nn.Conv1d(WIDTH, WIDTH, 3, 2, 1)
        rate = torch.outer(torch.arange(10.0), torch.exp(-torch.arange(WIDTH // 2).float()))
        self.register_buffer("places", torch.cat([rate.sin(), rate.cos()], 1))
        self.layer = Encoder()

    def forward(self, x: Tensor) -> Tensor:
        x = functional.gelu(self.second(functional.gelu(self.first(x))))
        return self.layer(x.transpose(1, 2) + self.places)


class Wav2vec(nn.Module):
    """Sound through strided convolutions with a group norm, places by a grouped convolution of even width."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv1d(1, WIDTH, 10, 5, bias=False), nn.GroupNorm(WIDTH, WIDTH)
        self.second = nn.Conv1d(WIDTH, WIDTH, 3, 2, bias=False)
        self.places = nn.utils.parametrizations.weight_norm(nn.Conv1d(WIDTH, WIDTH, 4, padding=2, groups=4), dim=2)
        self.layer = Encoder(before=False)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.gelu(self.norm(self.first(x[:, None])))
        x = functional.gelu(self.second(x))
        x = x + functional.gelu(self.places(x)[..., :-1])
        return self.layer(x.transpose(1, 2))


class Segformer(nn.Module):
    """Keys of a smaller picture, a perceptron with a depthwise convolution inside, a picture as large again."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.smaller = nn.Conv2d(3, WIDTH, 7, 4, 3), nn.Conv2d(WIDTH, WIDTH, 2, 2)
        self.attention, self.norm = Attention(), nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 32), nn.Linear(32, WIDTH)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.out = nn.Conv2d(WIDTH, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        picture = self.patches(x)
        batch, _, high, wide = picture.shape
        x = picture.flatten(2).transpose(1, 2)
        x = x + self.attention(self.norm(x), memory=self.smaller(picture).flatten(2).transpose(1, 2))
        inner = self.depthwise(self.up(x).transpose(1, 2).view(batch, 32, high, wide)).flatten(2).transpose(1, 2)
        x = x + self.down(functional.gelu(inner))
        scores = self.out(x.transpose(1, 2).view(batch, WIDTH, high, wide))
        return functional.interpolate(scores, scale_factor=4, mode="bilinear", align_corners=False)


class Mamba(nn.Module):
    """A causal convolution and a selective scan, step by step."""

    def __init__(self, states: int = 4) -> None:
        super().__init__()
        self.states = states
        self.enter, self.leave = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mix = nn.Conv1d(WIDTH, WIDTH, 4, padding=3, groups=WIDTH)
        self.choose, self.step = nn.Linear(WIDTH, 2 * states + 1), nn.Linear(1, WIDTH)
        self.decay = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(WIDTH, 1))
        self.skip = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        inner, gate = self.enter(x).chunk(2, -1)
        inner = functional.silu(self.mix(inner.transpose(1, 2))[..., : x.shape[1]]).transpose(1, 2)
        delta, b, c = self.choose(inner).split([1, self.states, self.states], -1)
        delta = functional.softplus(self.step(delta))
        kept = torch.exp(delta[..., None] * -torch.exp(self.decay))
        added = delta[..., None] * b[:, :, None] * inner[..., None]
        state, made = torch.zeros_like(added[:, 0]), []
        for place in range(x.shape[1]):
            state = kept[:, place] * state + added[:, place]
            made.append((state @ c[:, place, :, None])[..., 0])
        return self.leave((torch.stack(made, 1) + inner * self.skip) * functional.silu(gate))


class Recurrent(nn.Module):
    """Two layers, both ways."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.states, self.head = kind(5, 4, num_layers=2, batch_first=True, bidirectional=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.states(x)[0])


def picture() -> tuple[Tensor, ...]:
    return (torch.randn(1, 3, 16, 16),)


def words() -> tuple[Tensor, ...]:
    return (torch.randint(0, WORDS, (2, LENGTH)),)


def masked_words() -> tuple[Tensor, ...]:
    """The second row is padded on its left, so that its first words see nothing."""
    return (*words(), torch.tensor([[1] * LENGTH, [0, 0] + [1] * (LENGTH - 2)]))


def numbers(*shape: int) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: (torch.randn(*shape),)


ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, ...]]]] = {
    "resnet": (resnet, picture),
    "mobilenet": (mobilenet, picture),
    "efficientnet": (efficientnet, picture),
    "convnext": (ConvNext, picture),
    "vit": (Vit, picture),
    "swin": (Swin, picture),
    "densenet": (DenseNet, picture),
    "unet": (UNet, picture),
    "bert": (Bert, masked_words),
    "gpt": (Gpt, words),
    "llama": (Llama, masked_words),
    "t5": (T5, words),
    "whisper": (Whisper, numbers(1, 8, 20)),
    "wav2vec": (Wav2vec, numbers(1, 160)),
    "segformer": (Segformer, picture),
    "mamba": (Mamba, numbers(2, LENGTH, WIDTH)),
    "lstm": (lambda: Recurrent(nn.LSTM), numbers(2, 7, 5)),
    "gru": (lambda: Recurrent(nn.GRU), numbers(2, 7, 5)),
}


def small(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The module of that name, and inputs for it; after ``torch.manual_seed`` the same every time."""
    build, make = ARCHITECTURES[name]
    return build(), make()
