"""Small classifiers of (N, 2, 6, 6) images, one for every kind of layer and of structure."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

CLASSES = 4


def images(count: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(count, 2, 6, 6, generator=torch.Generator().manual_seed(seed))


def head(*layers: nn.Module) -> nn.Sequential:
    """Append a classifier to layers that return a tensor of any shape."""
    body = nn.Sequential(*layers, nn.Flatten())
    with torch.no_grad():
        features = body.eval()(images(1)).shape[1]
    return nn.Sequential(body, nn.Tanh(), nn.Linear(features, CLASSES))


def linear_model(weight: Tensor, bias: Tensor | None = None) -> nn.Module:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(torch.zeros(len(weight)) if bias is None else bias)
    return nn.Sequential(nn.Flatten(), layer).eval()


def mlp(*sizes: int, classes: int, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in zip((72, *sizes), (*sizes, classes), strict=True):
            layers += [nn.Linear(inputs, outputs), nn.Tanh()]
        model = nn.Sequential(*layers[:-1])
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=3 / parameter.shape[-1] ** 0.5)
    return model.eval()


class Reshape(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), *self.shape)


class Levels(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) * 7).long()


def batch_norm(kind: type[nn.Module], features: int, bias: bool = True) -> nn.Module:
    layer = kind(features)
    if not bias:
        layer.bias = None
    layer.running_mean.uniform_(-0.5, 0.5)
    layer.running_var.uniform_(0.2, 2)
    nn.init.uniform_(layer.weight, 0.5, 2)
    return layer


class RootMeanSquare(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(features) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x / x.square().mean(-1, keepdim=True).sqrt()


class Transposed(RootMeanSquare):
    """Its output is a view, which an in-place operation after it treats otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).transpose(1, 2)


class ScaledConvolution(nn.Conv2d):
    """A subclass with the attributes of a convolution that computes something else."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight / self.weight.norm(), self.bias)


class Shared(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 2, 3, padding=1) if kind == "convolution" else nn.Linear(6, 6)
        if kind == "batch_norm":
            self.first = batch_norm(nn.BatchNorm2d, 2)
        if kind == "layer_norm":
            self.first = nn.LayerNorm(6)
        self.last = nn.Linear(72, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last((self.first(torch.tanh(self.first(x))) + self.first(2 * x)).flatten(1))


class SharedAtTwoSizes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 2, 3)
        self.last = nn.Linear(2, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(torch.tanh(self.first(x))).mean((2, 3)) + x.mean((2, 3)))


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.never_called = nn.Linear(3, 3)
        self.without_effect = nn.Linear(72, 5)
        self.last = nn.Linear(72, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        self.without_effect(x.flatten(1))
        return self.last(x.flatten(1))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(72, 72), nn.Linear(72, 72)
        self.second.weight = self.first.weight
        self.last = nn.Linear(72, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.second(torch.tanh(self.first(x.flatten(1))))))


class FunctionalParameter(nn.Module):
    """The weight of a module that is never called is used all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(72, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(functional.linear(x.flatten(1), self.first.weight)))


class CalledAndFunctional(FunctionalParameter):
    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x.flatten(1)) + functional.linear(x.flatten(1), self.first.weight)
        return self.last(torch.tanh(hidden))


class PaddedConvolution(nn.Conv2d):
    """A subclass that pads as TensorFlow does, and then calls the convolution."""

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x, (0, 1, 0, 1))
        return functional.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)


class TwoDilations(nn.Conv2d):
    """The same weight at two dilations, which is no single layer."""

    def forward(self, x: Tensor) -> Tensor:
        near, far = (
            functional.conv2d(x, self.weight, self.bias, padding=d, dilation=d) for d in (1, 2)
        )
        return near + far


class ActivatedBatchNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(super().forward(x))


class ChannelNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class OwnParameters(nn.Module):
    """Class token, positions and a scale of channels beside modules with parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(2, 1, 1) + 0.5)
        self.token = nn.Parameter(torch.rand(1, 1, 12))
        self.positions = nn.Parameter(torch.rand(1, 7, 12))
        self.last = nn.Linear(84, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = (self.scale * x).reshape(len(x), 6, 12)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], dim=1) + self.positions
        tokens += self.positions
        return self.last(torch.tanh(tokens).flatten(1))


class ComputedParameter(nn.Module):
    """What is computed from a parameter alone before it meets the images is no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.rand(72))
        self.last = nn.Linear(72, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(x.flatten(1) * self.shift.exp()))


class Attention(nn.Module):
    """Self-attention of 6 tokens, or attention to other ones."""

    def __init__(self, to_others: bool = False, **options: bool) -> None:
        super().__init__()
        self.mix = nn.MultiheadAttention(12, 3, **options)
        self.to_others, self.last = to_others, nn.Linear(72, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(len(x), 6, 12)
        x = x if self.mix.batch_first else x.transpose(0, 1)
        key = torch.tanh(x) if self.to_others else x
        mixed = self.mix(x, key, key)[0]
        mixed = mixed if self.mix.batch_first else mixed.transpose(0, 1)
        return self.last(torch.tanh(mixed).flatten(1))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix, self.last = nn.Bilinear(36, 36, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.mix(x[:, 0].flatten(1), x[:, 1].flatten(1))))


class Patches(nn.Module):
    """A layer whose rows are parts of images."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 4), nn.Linear(48, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x.reshape(-1, 6))).reshape(len(x), -1))


class OverwrittenInput(nn.Module):
    """The input of a frozen layer is changed after it, so no gradient of its weight is left."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(72, 72).requires_grad_(False)
        self.last = nn.Linear(72, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1).clone()
        y = self.first(x.detach())
        x += 1
        return self.last(torch.tanh(y) * x)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.GRU(12, 5, batch_first=True), nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.reshape(len(x), 6, 12))[0][:, -1])


class Branching(nn.Module):
    """Control flow that depends on the data, which torch.func cannot vectorise."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.rand(72))
        self.last = nn.Linear(72, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.last(x * self.shift.exp() if bool(x.sum() > 0) else x)


def _transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(12, 2, 16, batch_first=True)
    return head(Reshape(6, 12), layer)


#: Covered by the layer rules: no warning.
LAYERS = {
    "linear": lambda: head(nn.Flatten(), nn.Linear(72, 8)),
    "linear without bias": lambda: head(nn.Flatten(), nn.Linear(72, 8, bias=False)),
    "linear, 1 extra dimension": lambda: head(Reshape(6, 12), nn.Linear(12, 5)),
    "linear, 2 extra dimensions": lambda: head(nn.Linear(6, 3)),
    "in-place ReLU after linear, extra dimensions": lambda: head(
        nn.Linear(6, 7), nn.ReLU(inplace=True), nn.Linear(7, 3)
    ),
    "convolution": lambda: head(nn.Conv2d(2, 5, 3)),
    "convolution, 1 position": lambda: head(nn.Conv2d(2, 5, 6)),
    "convolution, wide": lambda: head(nn.Conv2d(2, 3, 1), nn.Conv2d(3, 40, 4)),
    "stride and padding": lambda: head(nn.Conv2d(2, 5, (3, 2), stride=(2, 1), padding=(1, 0))),
    "dilation": lambda: head(nn.Conv2d(2, 5, 2, dilation=(2, 3), bias=False)),
    "groups": lambda: head(nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 9, 3, groups=3)),
    "depthwise": lambda: head(nn.Conv2d(2, 4, 3, groups=2), nn.Conv2d(4, 4, 2, groups=4)),
    "padding same": lambda: head(nn.Conv2d(2, 5, (4, 3), padding="same", dilation=(1, 2))),
    "padding valid": lambda: head(nn.Conv2d(2, 5, 3, padding="valid")),
    "padding reflect": lambda: head(nn.Conv2d(2, 5, 3, padding=(2, 1), padding_mode="reflect")),
    "padding circular": lambda: head(nn.Conv2d(2, 5, 3, padding=(1, 2), padding_mode="circular")),
    "padding replicate": lambda: head(nn.Conv2d(2, 5, 3, padding=1, padding_mode="replicate")),
    "padding same reflect": lambda: head(
        nn.Conv2d(2, 5, 4, padding="same", padding_mode="reflect")
    ),
    "1d": lambda: head(Reshape(2, 36), nn.Conv1d(2, 5, 4, stride=3, padding=2)),
    "3d": lambda: head(Reshape(2, 3, 3, 4), nn.Conv3d(2, 3, (2, 3, 2), padding=(0, 1, 0))),
    "channels last": lambda: head(nn.Conv2d(2, 5, 3), nn.Conv2d(5, 5, 2)).to(
        memory_format=torch.channels_last
    ),
    "in-place ReLU": lambda: head(
        nn.Conv2d(2, 5, 3), nn.ReLU(inplace=True), nn.Conv2d(5, 5, 3), nn.ReLU(inplace=True)
    ),
    "in-place ReLU first": lambda: head(nn.ReLU(inplace=True), nn.Conv2d(2, 5, 3)),
    "batch norm": lambda: head(
        nn.Conv2d(2, 5, 3), batch_norm(nn.BatchNorm2d, 5), nn.ReLU(inplace=True)
    ),
    "batch norm without bias": lambda: head(batch_norm(nn.BatchNorm2d, 2, bias=False)),
    "batch norm 1d": lambda: head(nn.Flatten(), batch_norm(nn.BatchNorm1d, 72)),
    "batch norm 1d, positions": lambda: head(Reshape(6, 12), batch_norm(nn.BatchNorm1d, 6)),
    "batch norm 3d": lambda: head(Reshape(2, 3, 3, 4), batch_norm(nn.BatchNorm3d, 2)),
    "layer norm": lambda: head(nn.LayerNorm([6, 6])),
    "group norm": lambda: head(nn.Conv2d(2, 6, 3), nn.GroupNorm(3, 6)),
    "instance norm": lambda: head(nn.InstanceNorm2d(2, affine=True)),
    "transposed convolution": lambda: head(nn.ConvTranspose2d(2, 3, 3, stride=2)),
    "PReLU": lambda: head(nn.Conv2d(2, 5, 3), nn.PReLU(5)),
    "embedding": lambda: head(Levels(), nn.Embedding(8, 3)),
    "frozen embedding": lambda: head(Levels(), nn.Embedding(8, 3)).requires_grad_(False),
    "in-place ReLU after a view": lambda: head(
        nn.LayerNorm(6), Transposed(6), nn.ReLU(inplace=True), nn.Linear(6, 5)
    ),
    "own layer": lambda: head(RootMeanSquare(6)),
    "subclass": lambda: head(ScaledConvolution(2, 5, 3)),
    "padded convolution": lambda: head(PaddedConvolution(2, 4, 2, stride=2, groups=2)),
    "two dilations": lambda: head(TwoDilations(2, 3, 3)),
    "activated batch norm": lambda: head(nn.Conv2d(2, 5, 3), batch_norm(ActivatedBatchNorm, 5)),
    "channel norm": lambda: head(nn.Conv2d(2, 5, 3), ChannelNorm(5), nn.ReLU(inplace=True)),
    "own parameters": OwnParameters,
    "attention": lambda: Attention(batch_first=True),
    "attention, tokens first": lambda: Attention(bias=False),
    "transformer": _transformer,
    "shared linear": lambda: Shared("linear"),
    "shared convolution": lambda: Shared("convolution"),
    "shared batch norm": lambda: Shared("batch_norm"),
    "shared layer norm": lambda: Shared("layer_norm"),
    "shared, two sizes": SharedAtTwoSizes,
    "frozen": lambda: head(nn.Conv2d(2, 5, 3)).requires_grad_(False),
    "partly frozen": lambda: head(nn.Conv2d(2, 5, 3).requires_grad_(False), nn.Conv2d(5, 5, 3)),
    "unused": Unused,
}

#: Not covered: a slower method, and a warning.
STRUCTURES = {
    "tied": Tied,
    "functional parameter": FunctionalParameter,
    "called and functional": CalledAndFunctional,
    "computed parameter": ComputedParameter,
    "attention to others": lambda: Attention(to_others=True, batch_first=True),
    "two inputs": TwoInputs,
    "patches as rows": Patches,
    "recurrent": Recurrent,
    "parametrization": lambda: head(parametrizations.weight_norm(nn.Conv2d(2, 5, 3))),
    "branching": Branching,
}


def build(name: str, seed: int = 0) -> nn.Module:
    """Return a model in eval mode with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return {**LAYERS, **STRUCTURES}[name]().eval()
