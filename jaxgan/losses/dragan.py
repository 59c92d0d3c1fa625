"""DRAGAN: the GAN with a penalty on the discriminator's slope around the data.

References:
  Kodali et al., On Convergence and Stability of GANs, 2017. https://arxiv.org/abs/1705.07215
"""

import chex
import jax
import jax.numpy as jnp

from jaxgan.losses.base import Loss, StatefulLoss, at_least_float32, check_key, check_positive
from jaxgan.losses.bce import bce
from jaxgan.losses.penalties import draw_epsilon, slope_norms


def dragan(penalty: float = 10.0) -> StatefulLoss:
    """DRAGAN: `bce`, whose discriminator also minimises λ·E (‖∇f(x̂)‖₂ − 1)² near the data.

    x̂ = x + ε·½σ·u, with one ε ~ U[0, 1) per example and one u ~ U[0, 1) per number, as in the
    authors' code; f is the score, before the sigmoid. σ is the standard deviation of all numbers in
    the batch of the update before, 0 at the first, so that several devices share it.

    Args:
      penalty: λ, positive. The paper uses 10.

    Raises:
      ValueError: if penalty is not a positive finite number.

    References:
      Kodali 2017, sec. 2.3 and Algorithm 1.
    """
    check_positive("penalty", penalty)
    gan = bce()

    def at(state, step):
        del step
        mean, deviation = state

        def critic(critic_fn, real, fake, key):
            value, metrics = gan.critic(critic_fn, real, fake, key)
            norms = slope_norms(critic_fn, perturb(real, deviation, key))
            charged = jnp.mean(jnp.square(norms - 1))
            loss = value + penalty * charged
            # About the last batch's mean: E x² − (E x)² would cancel far from zero.
            centred = real.astype(at_least_float32(real)) - mean
            moments = {
                "real_shift": jnp.mean(centred),
                "real_square": jnp.mean(jnp.square(centred)),
            }
            return loss, metrics | {"d_loss": loss, "gradient_penalty": charged} | moments

        return Loss(critic, gan.generator, per_example=True)

    def update(state, metrics):
        shift, square = metrics["real_shift"], metrics["real_square"]
        return state[0] + shift, jnp.sqrt(jnp.maximum(square - jnp.square(shift), 0))

    return StatefulLoss(lambda: (jnp.zeros(()), jnp.zeros(())), at, update)


def perturb(real: chex.Array, deviation: chex.Array, key: chex.PRNGKey) -> chex.Array:
    """Examples `[B, ...]` with noise of up to half the deviation; `key` is one, or one for each."""
    batch, dtype = len(real), at_least_float32(real)
    check_key(key, (batch,))
    keys = key if key.ndim else jax.random.split(key, batch)
    keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    epsilon = draw_epsilon(keys[0], batch, dtype).reshape((batch,) + (1,) * (real.ndim - 1))
    noise = jax.vmap(lambda k: jax.random.uniform(k, real.shape[1:], dtype))(keys[1])
    return real + epsilon * deviation / 2 * noise
