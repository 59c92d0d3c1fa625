"""What tells whether training goes well: numbers of one state, measured without changing it."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxgan.losses import Loss
from jaxgan.state import Game, GANState

# Of data in fewer directions, as points in a plane, a share says little: one of two is a half.
LEAST_DIMS = 4


def probe(
    game: Game,
    state: GANState,
    real: chex.Array,
    held_out: chex.Array,
    key: chex.PRNGKey,
    labels: chex.Array | None = None,
    held_out_labels: chex.Array | None = None,
) -> dict[str, chex.Array]:
    """Numbers of a state, each a float32 scalar, with the networks as they are in training.

    - `ahead`: the probability that the critic takes a real example for more real than a sample, its
      accuracy in telling them apart: ½ where it cannot, 1 where it wins.
    - `memorised`: the same of an example that it was trained on and one that it was not: ½ for what
      it has learnt in general, 1 for what it knows by heart.
    - `g_slope`: the gradient that reaches the generator, the mean norm of that of its loss in a
      sample.
    - `d_slope`: the critic's slope at random interpolates of data and samples, the mean norm of
      ∇f(x̂): 1 for the best critic of W₁ (Gulrajani 2017, prop. 1).
    - `at_clip`: the share of the critic's weights that clipping holds at a bound; of a loss that
      clips only.
    - `spread`: the root of the samples' variance over the data's.
    - `dims`: how many directions the samples vary in, over the data's: of each (tr Σ)²/tr Σ², from
      1 for a line to the number of examples. NaN for data of fewer than four, of which a few more
      or less say little.

    Args:
      game: what training does not change.
      state: of one seed.
      real: examples trained on, `[B, *data_shape]`.
      held_out: examples that are not, likewise.
      key: a typed PRNG key.
      labels: of real, with classes. The samples have the same.
      held_out_labels: of those held out.
    """
    # One draw for latents and interpolates: a draw takes as long to compile as a small network.
    draw_key, loss_key = jax.random.split(key)
    keys = jax.random.split(loss_key, len(real))
    normal = jax.random.normal(draw_key, (len(real), game.generator.latent_dim + 1))
    latents, weights = normal[:, :-1], jax.scipy.stats.norm.cdf(normal[:, -1])
    player = state.generator
    fake = _apply(game.generator, player, labels, latents)

    def critic_of(labels) -> Callable[[chex.Array], chex.Array]:
        return lambda x: _apply(game.critic, state.critic, labels, x)

    critic, loss = critic_of(labels), game.loss.at(state.loss, state.step)
    sign = -1 if getattr(loss, "lower_is_real", False) else 1
    scores = sign * critic(real), sign * critic(fake), sign * critic_of(held_out_labels)(held_out)
    weights = weights.reshape(-1, *[1] * (real.ndim - 1))
    between = weights * real + (1 - weights) * fake

    def generator_loss(fake):
        return loss.generator(critic, real, fake, keys)[0] * len(real)

    numbers = {
        "ahead": _ranked_above(scores[0], scores[1]),
        "memorised": _ranked_above(scores[0], scores[2]),
        "g_slope": _mean_norm(jax.grad(generator_loss)(fake)),
        "d_slope": _mean_norm(jax.grad(lambda x: jnp.sum(critic(x)))(between)),
    }
    if loss.project is not Loss._field_defaults["project"]:
        numbers["at_clip"] = _share_at_bound(loss, state.critic.params)
    (spread, dims), (real_spread, real_dims) = _variation(fake), _variation(real)
    many = real_dims > LEAST_DIMS
    numbers["spread"] = jnp.sqrt(spread / real_spread)
    numbers["dims"] = jnp.where(many, dims / real_dims, jnp.nan)
    return {name: jnp.float32(value) for name, value in numbers.items()}


def _apply(network, player, labels, x):
    inputs = (x,) if labels is None else (x, labels)
    return network.apply(player.params, player.stats, inputs)[0].astype(jnp.float32)


def _ranked_above(a, b):
    """P(a > b) + ½ P(a = b), over all pairs: the area under the ROC curve."""
    a, b = a[:, None], b[None]
    return jnp.mean((a > b) + 0.5 * (a == b))


def _mean_norm(x):
    return jnp.mean(jnp.linalg.norm(x.reshape(len(x), -1), axis=1))


def _share_at_bound(loss, params):
    """The share of weights that the loss's projection would hold back if they were larger.

    NaN of a projection that bounds nothing.
    """

    def share_held(factor):
        larger = jax.tree.map(lambda w: factor * w, params)
        pairs = zip(jax.tree.leaves(loss.project(larger)), jax.tree.leaves(larger), strict=True)
        held = [jnp.sum(bounded != free) for bounded, free in pairs]
        return sum(held) / sum(w.size for w in jax.tree.leaves(params))

    return jnp.where(share_held(1e30) > 0, share_held(1.01), jnp.nan)


def _variation(x):
    """The variance summed over all directions, and in how many there is some."""
    x = x.reshape(len(x), -1)
    x = x - x.mean(axis=0)
    gram = x @ x.T
    trace = jnp.trace(gram)
    # Samples that are all the same vary in none.
    part = gram / jnp.where(trace > 0, trace, 1)
    return trace, jnp.where(trace > 0, 1 / jnp.sum(part**2), 0)
