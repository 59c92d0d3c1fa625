"""The benchmark's networks in PyTorch, and the way of flax's parameters into them and back.

PyTorch's strided convolutions pad alike on both sides, flax's pad one more after than before. The
same function comes out of both if one sees the images in a mirror: see `copy_params`.
"""

import itertools
import math
from collections.abc import Iterator

import jax
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class BatchNorm(nn.BatchNorm2d):
    """Normalises by the batch. Its running statistics follow only passes that are derived.

    So those of the generator follow its own updates, not the critic's.

    Attributes:
      count: how many numbers of a channel were in the last batch.
    """

    count = 0

    def forward(self, x):
        """Normalises x `[B, C, H, W]`."""
        self.count = x.numel() // x.shape[1]
        running = (self.running_mean, self.running_var) if torch.is_grad_enabled() else (None, None)
        return F.batch_norm(x, *running, self.weight, self.bias, True, self.momentum, self.eps)


class UpBlock(nn.Module):
    """The residual block of WGAN-GP's generator, which doubles the sides."""

    def __init__(self, channels: int, features: int):
        super().__init__()
        self.norm_0, self.conv_0 = BatchNorm(channels), _conv3x3(channels, features)
        self.norm_1, self.conv_1 = BatchNorm(features), _conv3x3(features, features)
        self.shortcut = nn.Conv2d(channels, features, 1)

    def forward(self, x):
        """Images `[B, C, H, W]` to `[B, features, 2H, 2W]`."""
        y = self.conv_0(_double(F.relu(self.norm_0(x))))
        y = self.conv_1(F.relu(self.norm_1(y)))
        return y + _double(self.shortcut(x))  # as in jaxgan, before and not after the copies


class DownBlock(nn.Module):
    """The residual block of WGAN-GP's critic, which halves the sides or not."""

    def __init__(self, channels: int, features: int, first: bool, down: bool):
        super().__init__()
        self.first, self.down = first, down
        hidden = features if first else channels
        self.conv_0, self.conv_1 = _conv3x3(channels, hidden), _conv3x3(hidden, features)
        self.shortcut = nn.Conv2d(channels, features, 1) if down else nn.Identity()

    def forward(self, x):
        """Images `[B, C, H, W]` to `[B, features, H/2, W/2]`, or of the same sides."""
        y = self.conv_1(F.relu(self.conv_0(x if self.first else F.relu(x))))
        if self.down:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        return self.shortcut(x) + y


class Mean(nn.Module):
    """The mean over an image's pixels, of ReLUs."""

    def forward(self, x):
        """`[B, C, H, W]` to `[B, C]`."""
        return F.relu(x).mean((2, 3))


def _conv3x3(channels, features):
    return nn.Conv2d(channels, features, 3, padding=1)


def _double(x):
    return F.interpolate(x, scale_factor=2)


def _mlp_layers(config, image, shape):
    generator = _hidden(config.latent_dim, config) + [nn.Linear(config.width, math.prod(shape))]
    critic = _hidden(math.prod(shape), config) + [nn.Linear(config.width, 1), nn.Flatten(0)]
    if image:
        generator[-1].writes = critic[0].reads = image
        generator += [nn.Unflatten(1, image), nn.Tanh()]
        critic = [nn.Flatten(), *critic]
    return generator, critic


def _hidden(size, config):
    sizes = [size] + [config.width] * config.depth
    pairs = itertools.pairwise(sizes)
    return [layer for a, b in pairs for layer in (nn.Linear(a, b), nn.ReLU(inplace=True))]


def _dcgan_layers(config, image, shape):
    channels, side, _ = image
    critic, generator, width = [], [], config.width
    while side > 7:
        generator = [nn.ConvTranspose2d(width, channels, 5, 2, padding=2, output_padding=1)] + (
            [BatchNorm(channels), nn.ReLU(inplace=True), *generator] if generator else []
        )
        norm = [BatchNorm(width)] if critic and config.critic_norm else []
        critic += [nn.Conv2d(channels, width, 5, 2, padding=2), *norm, nn.LeakyReLU(0.2, True)]
        channels, width, side = width, 2 * width, side // 2
    features = (channels, side, side)
    first, score = (
        nn.Linear(config.latent_dim, math.prod(features)),
        nn.Linear(math.prod(features), 1),
    )
    first.writes = score.reads = features
    start = [first, nn.Unflatten(1, features), BatchNorm(channels), nn.ReLU(inplace=True)]
    return [*start, *generator, nn.Tanh()], [*critic, nn.Flatten(), score, nn.Flatten(0)]


def _resnet_layers(config, image, shape):
    (channels, side, _), width = image, config.width
    doublings = 0
    while side > 7:
        side, doublings = side // 2, doublings + 1
    first = nn.Linear(config.latent_dim, width * side**2)
    first.writes = features = (width, side, side)
    generator = [
        first,
        nn.Unflatten(1, features),
        *(UpBlock(width, width) for _ in range(doublings)),
    ]
    generator += [BatchNorm(width), nn.ReLU(inplace=True), _conv3x3(width, channels), nn.Tanh()]
    halvings = min(doublings, 2)
    critic = [
        DownBlock(channels if index == 0 else width, width, index == 0, index < halvings)
        for index in range(halvings + 2)
    ]
    return generator, [*critic, Mean(), nn.Linear(width, 1), nn.Flatten(0)]


LAYERS = {"mlp": _mlp_layers, "dcgan": _dcgan_layers, "resnet": _resnet_layers}


def copy_params(module: nn.Sequential, params: dict) -> list[np.ndarray]:
    """A flax module's parameters, or their gradients, in the order and layout of this one's.

    Both count the layers of a kind in order. Images are mirrored, which turns the kernels of the
    convolutions around, but not those of the transposed ones, which scatter instead of gather.
    """
    arrays = []
    for kind, name, layer in _by_flax_name(module):
        if kind in ("UpBlock", "DownBlock"):
            arrays += copy_params(layer, params[name])
            continue
        leaves = {of: np.asarray(leaf) for of, leaf in params[name].items()}
        if kind == "BatchNorm":
            arrays += [leaves["scale"], leaves["bias"]]
            continue
        kernel, bias = leaves["kernel"], leaves["bias"]
        if kind == "Dense":
            kernel, bias = kernel.T, bias
            if getattr(layer, "reads", None):
                kernel = _mirror_vectors(kernel, layer.reads)
            if getattr(layer, "writes", None):
                kernel = _mirror_vectors(kernel.T, layer.writes).T
                bias = _mirror_vectors(bias[None], layer.writes)[0]
            if isinstance(layer, nn.Conv2d):
                kernel = kernel[..., None, None]
        elif kind == "Conv":
            kernel = kernel[::-1, ::-1].transpose(3, 2, 0, 1)
        else:
            kernel = kernel.transpose(2, 3, 0, 1)
        arrays += [kernel, bias]
    return arrays


def to_flax(module: nn.Sequential, arrays: list[torch.Tensor], params: dict) -> dict:
    """The inverse of `copy_params`: arrays of this module's as params of a flax module."""
    leaves, tree = jax.tree.flatten(params)
    ends = np.cumsum([leaf.size for leaf in leaves])
    places = np.split(np.arange(ends[-1]), ends[:-1])
    places = [place.reshape(leaf.shape) for place, leaf in zip(places, leaves, strict=True)]
    # Where each number went to is seen when numbers are copied that say where they were.
    copied = copy_params(module, jax.tree.unflatten(tree, places))
    numbers = np.concatenate([array.detach().cpu().numpy().ravel() for array in arrays])
    numbers = numbers[np.argsort(np.concatenate([array.ravel() for array in copied]))]
    return jax.tree.unflatten(tree, [numbers[place] for place in places])


def statistics(generator: nn.Module, updates: int) -> dict:
    """The running statistics, with the variance that flax would have; {} without BatchNorm.

    PyTorch runs the mean of unbiased variances, n/(n - 1) times flax's of the n numbers of a
    channel in a batch. Both began at 1, of which some is left.
    """
    found = _statistics(generator, updates)
    return {"batch_stats": found} if found else {}


def _statistics(module, updates):
    found = {}
    for kind, name, layer in _by_flax_name(module):
        if kind == "UpBlock":
            found[name] = _statistics(layer, updates)
        elif kind == "BatchNorm":
            n, left = layer.count, (1 - layer.momentum) ** updates
            mean, var = layer.running_mean.numpy(), layer.running_var.numpy()
            found[name] = {"mean": mean.copy(), "var": left + (var - left) * (n - 1) / n}
    return found


_FLAX = {
    nn.Linear: "Dense",
    nn.Conv2d: "Conv",
    nn.ConvTranspose2d: "ConvTranspose",
    BatchNorm: "BatchNorm",
    UpBlock: "UpBlock",
    DownBlock: "DownBlock",
}


def _by_flax_name(module: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    """The layers that have parameters, with their kind and name in flax."""
    counts: dict[str, int] = {}
    for layer in module.children():
        kind = _FLAX.get(type(layer))
        if kind == "Conv" and layer.kernel_size == (1, 1):
            kind = "Dense"  # of each pixel's channels
        if kind is not None:
            counts[kind] = counts.get(kind, -1) + 1
            yield kind, f"{kind}_{counts[kind]}", layer


def _mirror_vectors(x, image):
    """Flattened images `[N, H·W·C]`, mirrored, to `[N, C·H·W]`."""
    c, h, w = image
    return x.reshape(-1, h, w, c)[:, ::-1, ::-1].transpose(0, 3, 1, 2).reshape(x.shape)
