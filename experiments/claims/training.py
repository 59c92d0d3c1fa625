"""Critics trained by the library's own step against generators that stay as they are."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.scipy.stats import norm

from jaxgan import GAN, GANState
from jaxgan.losses import Metrics

Draw = Callable[[jax.Array, int], jax.Array]


def key_of(seed: int, purpose: int = 0) -> jax.Array:
    """The key of a seed for one of up to 100 purposes in a claim."""
    return jax.random.key(100 * seed + purpose)


class Held(nn.Module):
    """A generator whose distribution is known: G(z) = push(z) + shift.

    Its one parameter is the shift, so that many distributions can be trained against at once, by
    `vmap` over states, and the generator's gradient is that in its position.
    """

    push: Callable[[jax.Array], jax.Array]
    latent_dim: int
    data_dim: int = 1

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Maps latents `[B, latent_dim]` to samples `[B, data_dim]`."""
        return self.push(z) + self.param("shift", nn.initializers.zeros, (self.data_dim,))


class Affine(nn.Module):
    """A generator of a few parameters, G(z) = shift + scale·z, with one scale for all coordinates.

    Its distribution is N(shift, scale²·I).
    """

    latent_dim: int = 1  # and that of the data

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Maps latents `[B, latent_dim]` to as many samples."""
        scale = self.param("scale", nn.initializers.ones, ())
        return scale * z + self.param("shift", nn.initializers.zeros, (self.latent_dim,))


def to_uniform(z: jax.Array) -> jax.Array:
    """Maps standard normal latents to uniform ones on [0, 1], by their distribution function."""
    return norm.cdf(z)


def pick(points: jax.Array, z: jax.Array) -> jax.Array:
    """Maps standard normal latents `[B]` to rows of points, each as likely as another."""
    index = jnp.floor(to_uniform(z) * len(points)).astype(int)
    return points[jnp.clip(index, 0, len(points) - 1)]


def put(state: GANState, generator: Any = None, critic: Any = None) -> GANState:
    """The state with other parameters of its generator, its critic, or both."""
    if generator is not None:
        state = state._replace(generator=state.generator._replace(params=generator))
    if critic is not None:
        state = state._replace(critic=state.critic._replace(params=critic))
    return state


def place(state: GANState, shift: jax.Array, **others: jax.Array) -> GANState:
    """The state with its `Held` generator moved to shift, `[data_dim]`; or an `Affine` one."""
    return put(state, generator={"shift": shift, **others})


def decaying_adam(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Adam whose rate falls to 0 along a cosine, so that the last noise averages out."""
    return optax.adam(optax.cosine_decay_schedule(learning_rate, steps), b1=0.5, b2=0.99)


@functools.partial(jax.jit, static_argnames=("model", "draw", "steps", "batch_size"))
def train_critic(
    model: GAN, state: GANState, draw: Draw, key: jax.Array, steps: int, batch_size: int
) -> tuple[GANState, Metrics]:
    """Updates the critic `steps` times, each on fresh data, as one program.

    Args:
      model: its `d_step` is all that is used.
      state: where training starts.
      draw: `draw(key, n)` gives n fresh examples of the data.
      key: for the data and the latents.
      steps: how many updates.
      batch_size: examples in an update.

    Returns:
      The state, and the metrics of each update, `[steps]`.
    """

    def update(state, i):
        data_key, latent_key = jax.random.split(jax.random.fold_in(key, i))
        return model.d_step(state, draw(data_key, batch_size), latent_key)

    return jax.lax.scan(update, state, jnp.arange(steps))


def train_in_stages(
    models: Sequence[GAN],
    state: GANState,
    draw: Draw,
    key: jax.Array,
    steps: int,
    batch_size: int,
) -> list[tuple[GANState, Metrics]]:
    """Trains the same critic under one model after another, each with a fresh optimizer.

    A heavy gradient penalty from the start sets the size of the slope before its direction is
    known, and a critic that begins with a fold keeps it: between 1 and −1 the penalty is a hill. So
    the weight is raised in stages.

    Returns:
      What `train_critic` returns, after each stage of `steps` updates.
    """
    stages = []
    for i, model in enumerate(models):
        fresh = model.init(key).critic.opt_state
        state = state._replace(critic=state.critic._replace(opt_state=fresh))
        stage_key = jax.random.fold_in(key, i)
        state, metrics = train_critic(model, state, draw, stage_key, steps, batch_size)
        stages.append((state, metrics))
    return stages


def scores(critic: nn.Module, state: GANState, x: jax.Array) -> jax.Array:
    """The critic's scores `[B]` of examples `[B, ...]`."""
    return critic.apply({"params": state.critic.params}, x)
