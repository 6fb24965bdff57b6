"""A step of training in PyTorch, measured beside hanc by the bench `training`.

    python training.py CASE eager|compile THREADS

Speaks the protocol of `hanc::bench::serve`: builds the model, makes one step, and answers one line of JSON for each line
with a number of steps: {"ms": [...], "peak_mib": ...}. The first answer also says how many parameters are trained.
"""

import json
import resource
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


class Han(nn.Module):
    """|x - 2 v (v.x) + b| along the last axis, v = u / |u|; without the absolute value where `abs` is not set."""

    def __init__(self, width, abs=True):
        super().__init__()
        self.u = nn.Parameter(F.normalize(torch.randn(width), dim=0))
        self.b = nn.Parameter(torch.empty(width).uniform_(-1, 1) / width**0.5)
        self.abs = abs

    def forward(self, x):
        v = self.u / self.u.norm()
        z = x - 2 * (x @ v).unsqueeze(-1) * v + self.b
        return z.abs() if self.abs else z


class Abs(nn.Module):
    def forward(self, x):
        return x.abs()


class Tokens(nn.Module):
    """A module along the axis of the tokens, the last but one."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x.transpose(-1, -2)).transpose(-1, -2)


class Residual(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.layers(x)


def hannet(depth, width):
    """Linear layers where the width changes and at both ends of the hidden layers, Han layers between."""
    layers = [nn.Linear(2, width), Abs()]
    for k in range(1, depth):
        layers += [nn.Linear(width, width), Abs()] if k in (1, depth - 1) else [Han(width)]
    return nn.Sequential(*layers, nn.Linear(width, 2))


def han_stack(layers, width):
    return nn.Sequential(*[Han(width) for _ in range(layers)])


class StemMixer(nn.Module):
    def __init__(self, mlp, han, width=512, tokens=64):
        super().__init__()
        channels, stem = [3, width // 8, width // 4, width // 2, width], []
        for i, (a, b) in enumerate(zip(channels, channels[1:])):
            stem += [nn.Conv2d(a, b, 3, stride=1 + i % 2, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
        self.stem = nn.Sequential(*stem, nn.Conv2d(width, width, 1))

        def dense(n):
            return [nn.Linear(n, n), nn.GELU(), nn.Linear(n, n)]

        def mlp_block():
            token = Residual(nn.LayerNorm(width), Tokens(*dense(tokens)))
            return nn.Sequential(token, Residual(nn.LayerNorm(width), *dense(width)))

        def han_block():
            return nn.Sequential(Tokens(Han(tokens), Han(tokens)), Han(width), Han(width))

        self.blocks = nn.Sequential(*[mlp_block() for _ in range(mlp)], *[han_block() for _ in range(han)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(1))


def conv_norm(a, b, size, stride=1, groups=1):
    return [nn.Conv2d(a, b, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(b)]


def conv_act(*args, **kwargs):
    return [*conv_norm(*args, **kwargs), nn.SiLU()]


class InvertedResidual(nn.Module):
    def __init__(self, a, b, stride, expansion):
        super().__init__()
        inner = a * expansion
        self.layers = nn.Sequential(
            *conv_act(a, inner, 1), *conv_act(inner, inner, 3, stride, groups=inner), *conv_norm(inner, b, 1)
        )
        self.skip = a == b and stride == 1

    def forward(self, x):
        return x + self.layers(x) if self.skip else self.layers(x)


class Attention(nn.Module):
    def __init__(self, width, heads=4, each=8):
        super().__init__()
        self.heads, self.each = heads, each
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * heads * each, bias=False)
        self.proj = nn.Linear(heads * each, width)

    def forward(self, x):
        n, four, patches, _ = x.shape
        qkv = self.qkv(self.norm(x)).view(n, four, patches, 3, self.heads, self.each)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)
        shares = (q @ k.transpose(-1, -2) * self.each**-0.5).softmax(-1)
        return self.proj((shares @ v).transpose(2, 3).flatten(3))


class Transformer(nn.Module):
    def __init__(self, channels, width, hidden, layers, han):
        super().__init__()
        self.local = nn.Sequential(*conv_act(channels, channels, 3), *conv_act(channels, width, 1))

        def feed_forward():
            if han:
                return nn.Sequential(Han(width), Han(width, abs=False))
            return Residual(nn.LayerNorm(width), nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, width))

        encoders = [(Residual(Attention(width)), feed_forward()) for _ in range(layers)]
        self.encoders = nn.Sequential(*[layer for pair in encoders for layer in pair])
        self.project = nn.Sequential(*conv_act(width, channels, 1))
        self.fuse = nn.Sequential(*conv_act(2 * channels, channels, 3))

    def forward(self, x):
        h = self.local(x)
        n, c, height, width = h.shape
        tokens = h.view(n, c, height // 2, 2, width // 2, 2).permute(0, 3, 5, 2, 4, 1)
        tokens = self.encoders(tokens.reshape(n, 4, -1, c))
        h = tokens.view(n, 2, 2, height // 2, width // 2, c).permute(0, 5, 3, 1, 4, 2).reshape(n, c, height, width)
        return self.fuse(torch.cat([self.project(h), x], 1))


def mobilevit_xxs(han):
    stem, first, second, third, fourth, fifth, last = 16, 16, 24, 48, 64, 80, 320

    def residual(a, b, stride):
        return InvertedResidual(a, b, stride, 2)

    return nn.Sequential(
        *conv_act(3, stem, 3, 2), residual(stem, first, 1), residual(first, second, 2), residual(second, second, 1),
        residual(second, second, 1), residual(second, third, 2), Transformer(third, 64, 128, 2, han),
        residual(third, fourth, 2), Transformer(fourth, 80, 320, 4, han), residual(fourth, fifth, 2),
        Transformer(fifth, 96, 384, 3, han), *conv_act(fifth, last, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(last, 10, bias=False),
    )


def squared(parameters, **options):
    return torch.optim.SGD(parameters, **options), F.mse_loss


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.1), F.cross_entropy


def case(name):
    """The model, its optimiser and loss, a batch and its labels."""
    if name.startswith("hannet"):
        depth, width = map(int, name.split("-")[1].split("x"))
        model, x, y = hannet(depth, width), torch.rand(100, 2), F.one_hot(torch.arange(100) % 2).float()
        if width == 30:
            return model, *squared(model.parameters(), lr=1e-3, momentum=0.9), x, y
        return model, torch.optim.Adam(model.parameters(), lr=1e-4), F.mse_loss, x, y
    if name.startswith("han-stack"):
        layers, width = map(int, name.split("-")[2].split("x"))
        model, x = han_stack(layers, width), torch.rand(4096, width)
        return model, *squared(model.parameters(), lr=1e-3), x, torch.rand(4096, width)
    if name == "stem-mixer":
        model, x = StemMixer(2, 16), torch.rand(32, 3, 32, 32)
    else:
        model, x = mobilevit_xxs(name.endswith("han")), torch.rand(16, 3, 64, 64)
    return model, *adamw(model.parameters()), x, torch.arange(len(x)) % 10


def main():
    name, mode, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    start = time.perf_counter()
    model, optimiser, loss, x, y = case(name)

    def forward():
        return loss(model(x), y)

    if mode == "compile":
        forward = torch.compile(forward)

    def step():
        optimiser.zero_grad(set_to_none=True)
        value = forward()
        value.backward()
        optimiser.step()
        return value.item()

    step()
    trained = sum(parameter.numel() for parameter in model.parameters())
    print(json.dumps({"start_ms": 1e3 * (time.perf_counter() - start), "parameters": trained}), flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            step()
            times.append(1e3 * (time.perf_counter() - start))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"ms": times, "peak_mib": peak}), flush=True)


main()
