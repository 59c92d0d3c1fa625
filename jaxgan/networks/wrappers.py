"""Critics made of critics: packed, and spectrally normalised.

References:
  Lin et al., PacGAN, 2018. https://arxiv.org/abs/1712.04086
  Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018.
    https://arxiv.org/abs/1802.05957
"""

import dataclasses
from numbers import Integral
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxgan.networks.network import Network, Wrapper

# Beside the network's own statistics: the vectors of the power iteration, one for each kernel.
VECTORS = "spectral_norm"


@dataclasses.dataclass(frozen=True)
class Packed(Wrapper):
    """See `packed`."""

    source: Any
    m: int

    def wrap(self, network: Network) -> Network:
        """The critic of packs; raises ValueError if it takes labels."""
        critic = network
        if critic.inputs > 1:
            raise ValueError(
                "a packed critic takes no labels: its packs are of several classes. Leave out "
                "num_classes, or the pack."
            )

        def pack(x):
            if len(x) % self.m:
                raise ValueError(
                    f"a batch of {len(x)} does not divide into packs of m={self.m}. Give each "
                    "device a multiple of it."
                )
            return jnp.concatenate([x[i :: self.m] for i in range(self.m)], axis=-1)

        def init(key, inputs):
            return critic.init(key, (pack(jnp.repeat(inputs[0], self.m, axis=0)),))

        def call(params, stats, inputs, train, keywords):
            scores, after = critic.call(params, stats, (pack(inputs[0]),), train, keywords)
            return jnp.repeat(scores, self.m, axis=0), after

        name = f"packed({critic.name}, {self.m})"
        return dataclasses.replace(
            critic, source=self, name=name, init=init, call=call, pack=self.m * critic.pack
        )


@dataclasses.dataclass(frozen=True)
class SpectrallyNormalised(Wrapper):
    """See `spectral_norm`."""

    source: Any

    def wrap(self, network: Network) -> Network:
        """The network that sees normalised weights."""

        def init(key, inputs):
            params, stats = network.init(key, inputs)
            vectors = {
                name: _unit(jax.random.normal(jax.random.fold_in(key, index), kernel.shape[-1:]))
                for index, (name, kernel) in enumerate(_kernels(params))
            }
            return params, {**stats, VECTORS: vectors}

        def call(params, stats, inputs, train, keywords):
            own = {name: each for name, each in stats.items() if name != VECTORS}
            normalised, vectors = normalise(params, stats[VECTORS])
            output, after = network.call(normalised, own, inputs, train, keywords)
            return output, {**after, VECTORS: vectors if train else stats[VECTORS]}

        name = f"spectral_norm({network.name})"
        return dataclasses.replace(network, source=self, name=name, init=init, call=call, told=True)


def packed(critic: Any, m: int) -> Packed:
    """A critic that sees m examples at once, which shows it when all are alike.

    m consecutive examples are joined along their last axis: the critic gets `[B/m, ..., m·C]`. Each
    example's score is its pack's, so that scores stay `[B]`, and a mean over them is PacGAN's.

    Args:
      critic: a network for such packs, as `jaxgan.gan` takes them.
      m: examples in a pack; it must divide the batch of each device. The paper has 2 to 4.

    Raises:
      ValueError: if m is no whole number from 1 up.

    References:
      Lin 2018, sec. 3.
    """
    if not isinstance(m, Integral) or isinstance(m, bool) or m < 1:
        raise ValueError(f"m must be a whole number from 1 up; got {m!r}.")
    return Packed(critic, int(m))


def spectral_norm(network: Any) -> SpectrallyNormalised:
    """A network whose kernels are divided by their largest singular value: its layers have norm 1.

    Of each array of weights W with two axes or more, as a matrix of its last axis against the
    others, the network sees W/σ(W). One step of the power iteration a forward pass in training
    estimates σ(W); gradients go through it as through uᵀWv.

    Args:
      network: as `jaxgan.gan` takes them.

    References:
      Miyato 2018, sec. 2.1 and Algorithm 1.
    """
    return SpectrallyNormalised(network)


def normalise(
    params: chex.ArrayTree, vectors: dict[str, chex.Array]
) -> tuple[chex.ArrayTree, dict[str, chex.Array]]:
    """The weights over their largest singular values, and the vectors one iteration on.

    Args:
      params: the weights.
      vectors: by the path of each kernel `[..., F]` a unit vector `[F]`.
    """
    after = {}

    def each(path, kernel):
        name = jax.tree_util.keystr(path)
        if name not in vectors:
            return kernel
        matrix = kernel.reshape(-1, kernel.shape[-1])
        fixed = jax.lax.stop_gradient(matrix)
        left = _unit(fixed @ vectors[name])
        right = _unit(left @ fixed)
        norm = left @ matrix @ right
        # Zeros, as some last layers begin, stay zeros. Their vector stays too: one of zeros would
        # never be another again, and the kernel never normalised.
        after[name] = jnp.where(norm == 0, vectors[name], right)
        return kernel / jnp.where(norm == 0, 1, norm)

    return jax.tree_util.tree_map_with_path(each, params), after


def _kernels(params):
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves if jnp.ndim(leaf) > 1]


def _unit(x):
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-12)
