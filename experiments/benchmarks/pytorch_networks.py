"""The benchmark's networks in PyTorch, and where flax's parameters are in them.

PyTorch's strided convolutions pad alike on both sides, flax's pad one more after than before. The
same function comes out of both if one sees the images in a mirror: see `_copies`.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

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

    def __init__(self, width: int):
        super().__init__()
        self.norm_0, self.conv_0 = BatchNorm(width), _conv3x3(width, width)
        self.norm_1, self.conv_1 = BatchNorm(width), _conv3x3(width, width)
        self.shortcut = nn.Conv2d(width, width, 1)

    def forward(self, x):
        """Images `[B, C, H, W]` to `[B, C, 2H, 2W]`."""
        y = self.conv_0(F.interpolate(F.relu(self.norm_0(x)), scale_factor=2))
        y = self.conv_1(F.relu(self.norm_1(y)))
        # As in jaxgan, the shortcut is before and not after the copies.
        return y + F.interpolate(self.shortcut(x), scale_factor=2)


class DownBlock(nn.Module):
    """The residual block of WGAN-GP's critic, which halves the sides or not."""

    def __init__(self, channels: int, width: int, first: bool, down: bool):
        super().__init__()
        self.first, self.down = first, down
        self.conv_0, self.conv_1 = _conv3x3(channels, width), _conv3x3(width, width)
        self.shortcut = nn.Conv2d(channels, width, 1) if down else nn.Identity()

    def forward(self, x):
        """Images `[B, C, H, W]` to `[B, width, H/2, W/2]`, or of the same sides."""
        y = self.conv_1(F.relu(self.conv_0(x if self.first else F.relu(x))))
        if self.down:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        return self.shortcut(x) + y


class Mean(nn.Module):
    """The mean over an image's pixels, of ReLUs."""

    def forward(self, x):
        """`[B, C, H, W]` to `[B, C]`."""
        return F.relu(x).mean((2, 3))


def _conv3x3(channels, width):
    return nn.Conv2d(channels, width, 3, padding=1)


def _linear(inputs, outputs, reads=None, writes=None):
    """A linear layer that knows which of its vectors are images `[C, H, W]`."""
    layer = nn.Linear(inputs, outputs)
    layer.reads, layer.writes = reads, writes
    return layer


def _mlp(config, image, shape):
    size, hidden = math.prod(shape), [config.width] * config.depth

    def layers(sizes, **images):
        pairs = [*itertools.pairwise(sizes)]
        first, *rest = [_linear(*pairs[0], **images), *(_linear(*pair) for pair in pairs[1:])]
        return [first, *(layer for each in rest for layer in (nn.ReLU(inplace=True), each))]

    generator = layers([config.latent_dim, *hidden, size])
    critic = [*layers([size, *hidden, 1], reads=image), nn.Flatten(0)]
    if image:
        generator[-1].writes = image
        return [*generator, nn.Unflatten(1, image), nn.Tanh()], [nn.Flatten(), *critic]
    return generator, critic


def _dcgan(config, image, shape):
    channels, side, _ = image
    critic, generator, width = [], [], config.width
    while side > 7:
        between = [BatchNorm(channels), nn.ReLU(inplace=True)] if generator else []
        up = nn.ConvTranspose2d(width, channels, 5, 2, padding=2, output_padding=1)
        generator = [up, *between, *generator]
        norm = [BatchNorm(width)] if critic and config.critic_norm else []
        critic += [nn.Conv2d(channels, width, 5, 2, padding=2), *norm, nn.LeakyReLU(0.2, True)]
        channels, width, side = width, 2 * width, side // 2
    features = (channels, side, side)
    first = _linear(config.latent_dim, math.prod(features), writes=features)
    score = _linear(math.prod(features), 1, reads=features)
    start = [first, nn.Unflatten(1, features), BatchNorm(channels), nn.ReLU(inplace=True)]
    return [*start, *generator, nn.Tanh()], [*critic, nn.Flatten(), score, nn.Flatten(0)]


def _resnet(config, image, shape):
    (channels, side, _), width, doublings = image, config.width, 0
    while side > 7:
        side, doublings = side // 2, doublings + 1
    features, halvings = (width, side, side), min(doublings, 2)
    generator = [
        _linear(config.latent_dim, math.prod(features), writes=features),
        nn.Unflatten(1, features),
        *(UpBlock(width) for _ in range(doublings)),
        *(BatchNorm(width), nn.ReLU(inplace=True), _conv3x3(width, channels), nn.Tanh()),
    ]
    critic = [
        DownBlock(width if index else channels, width, index == 0, index < halvings)
        for index in range(halvings + 2)
    ]
    return generator, [*critic, Mean(), nn.Linear(width, 1), nn.Flatten(0)]


LAYERS = {"mlp": _mlp, "dcgan": _dcgan, "resnet": _resnet}


def load(module: nn.Sequential, params: dict) -> None:
    """Copies a flax module's parameters into this one."""
    numbers = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])
    numbers = torch.tensor(numbers[_places(module, params)])
    own = list(module.parameters())
    with torch.no_grad():
        for p, values in zip(own, numbers.split([p.numel() for p in own]), strict=True):
            p.copy_(values.view(p.shape))


def to_flax(tensors: Sequence[torch.Tensor], module: nn.Sequential, params: dict) -> dict:
    """A module's parameters, or their gradients, in the layout of flax's params."""
    numbers = np.concatenate([t.detach().cpu().numpy().ravel() for t in tensors])
    return _unflatten(numbers[np.argsort(_places(module, params))], params)


def _places(module, params):
    """For each number of the module's parameters, in order, its place among flax's numbers."""
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    copies = _copies(module, _unflatten(np.arange(size), params))
    return np.concatenate([each.ravel() for each in copies])


def _unflatten(numbers, params):
    """The numbers in a tree like params."""
    leaves, tree = jax.tree.flatten(params)
    parts = np.split(numbers, np.cumsum([leaf.size for leaf in leaves])[:-1])
    parts = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(tree, parts)


def _copies(module, params):
    """A flax module's parameters in the order and layout of this one's.

    Images are mirrored, which turns the kernels of the convolutions around, but not those of the
    transposed ones, which scatter instead of gather.
    """
    arrays = []
    for kind, name, layer in _by_flax_name(module):
        leaves = params[name]
        if kind in ("UpBlock", "DownBlock"):
            arrays += _copies(layer, leaves)
        elif kind == "BatchNorm":
            arrays += [leaves["scale"], leaves["bias"]]
        elif kind == "Conv":
            arrays += [leaves["kernel"][::-1, ::-1].transpose(3, 2, 0, 1), leaves["bias"]]
        elif kind == "ConvTranspose":
            arrays += [leaves["kernel"].transpose(2, 3, 0, 1), leaves["bias"]]
        else:
            kernel = _mirror(leaves["kernel"].T, getattr(layer, "reads", None))
            writes = getattr(layer, "writes", None)
            arrays += [_mirror(kernel.T, writes).T, _mirror(leaves["bias"][None], writes)]
    return arrays


def _mirror(x, image):
    """Vectors of images `[N, H·W·C]`, mirrored, as `[N, C·H·W]`; other vectors as they are."""
    if image is None:
        return x
    c, h, w = image
    return x.reshape(-1, h, w, c)[:, ::-1, ::-1].transpose(0, 3, 1, 2).reshape(x.shape)


def statistics(module: nn.Module, updates: int) -> dict:
    """The running statistics by flax's names, with the variance that flax would have.

    PyTorch runs the mean of unbiased variances, n/(n - 1) times flax's of the n numbers of a
    channel in a batch. Both began at 1, of which some is left.
    """
    found = {}
    for kind, name, layer in _by_flax_name(module):
        if kind == "UpBlock":
            found[name] = statistics(layer, updates)
        elif kind == "BatchNorm":
            n, left = layer.count, (1 - layer.momentum) ** updates
            mean, var = layer.running_mean.numpy(), layer.running_var.numpy()
            found[name] = {"mean": mean.copy(), "var": left + (var - left) * (n - 1) / n}
    return found


_KINDS = {
    nn.Linear: "Dense",
    nn.Conv2d: "Conv",
    nn.ConvTranspose2d: "ConvTranspose",
    **{kind: kind.__name__ for kind in (BatchNorm, UpBlock, DownBlock)},
}


def _by_flax_name(module: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    """The layers that have parameters, with their kind and name in flax: it counts each kind."""
    counts = {kind: itertools.count() for kind in _KINDS.values()}
    for layer in module.children():
        kind = _KINDS.get(type(layer))
        if kind == "Conv" and layer.kernel_size == (1, 1):
            kind = "Dense"  # of each pixel's channels
        if kind is not None:
            yield kind, f"{kind}_{next(counts[kind])}", layer
