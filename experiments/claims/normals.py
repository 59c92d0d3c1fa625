"""Critics trained between normal distributions on the line, p = N(0, s²) and q = N(δ, 1).

Both densities are known, and so is every optimal critic. What a trained critic is worth is taken
over quantiles of both, or over a grid, so that the noise left in it is that of training alone.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import norm

import jaxgan
from claims.training import Affine, decaying_adam, place, scores, train_critic
from jaxgan import losses, networks

GRID = np.linspace(-12, 12, 4801)
DX = GRID[1] - GRID[0]
QUANTILES = 10_000


def densities(deviation: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """p = N(0, deviation²) and q = N(shift, 1) on GRID, in float64."""
    return _normal(GRID / deviation) / deviation, _normal(GRID - shift)


def _normal(z):
    return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def train_between(
    make_loss: Callable[..., losses.Loss],
    pairs: Sequence[tuple[float, ...]],
    key: jax.Array,
    steps: int,
    batch_size: int = 256,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Trains a critic by `d_step` between each of some pairs, one after another as one program.

    Args:
      make_loss: takes what a pair goes on with, traced, and gives the loss.
      pairs: for each the data's deviation s, the samples' shift δ, and what make_loss takes.
      key: for the critic's first weights, the data and the latents.
      steps: how many updates.
      batch_size: examples in an update.

    Returns:
      The critics on GRID, `[n, grid]`, and the loss's metrics over quantiles, both players', with
      `g_loss_of_data` the generator's were the data its samples.
    """
    _, critic = networks.mlp((1,), 1, width=32, depth=2)
    quantiles = norm.ppf((jnp.arange(QUANTILES) + 0.5) / QUANTILES)[:, None]

    def train(pair):
        deviation, shift, *settings = pair
        loss = make_loss(*settings)
        tx = decaying_adam(5e-3, steps)
        model = jaxgan.gan(Affine(), critic, loss, optax.identity(), tx)
        keys = jax.random.split(key)
        state, _ = train_critic(
            model,
            place(model.init(keys[0]), shift[None], scale=jnp.ones(())),
            lambda key, n: deviation * jax.random.normal(key, (n, 1)),
            *(keys[1], steps, batch_size),
        )

        def fn(x):
            return scores(critic, state, x)

        real, fake = deviation * quantiles, quantiles + shift
        metrics = loss.critic(fn, real, fake, key)[1] | loss.generator(fn, real, fake, key)[1]
        metrics["g_loss_of_data"] = loss.generator(fn, fake, real, key)[0]
        return fn(GRID[:, None]), metrics

    rows = jnp.asarray(pairs, jnp.float32)
    on_grid, metrics = jax.jit(lambda rows: jax.lax.map(train, rows))(rows)
    return np.asarray(on_grid, np.float64), {k: np.asarray(v) for k, v in metrics.items()}
