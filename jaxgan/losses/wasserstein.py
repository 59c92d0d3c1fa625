"""WGAN, WGAN-GP, WGAN-LP and WGAN-div: critics whose scores estimate the Wasserstein-1 distance.

References:
  Arjovsky et al., Wasserstein GAN, 2017. https://arxiv.org/abs/1701.07875
  Gulrajani et al., Improved Training of Wasserstein GANs, 2017. https://arxiv.org/abs/1704.00028
  Petzka et al., On the Regularization of Wasserstein GANs, 2018. https://arxiv.org/abs/1709.08894
  Wu et al., Wasserstein Divergence for GANs, 2018. https://arxiv.org/abs/1712.01026
"""

import functools

import jax
import jax.numpy as jnp

from jaxgan.losses.base import (
    Loss,
    check_positive,
    check_same_shape,
    generator_raises_scores,
    scores,
)
from jaxgan.losses.penalties import gradient_penalty, slope_to_the_power


def wgan(clip: float = 0.01) -> Loss:
    """WGAN: a critic kept Lipschitz by clipping its weights to [−clip, clip].

    The critic ascends E f(x) − E f(G(z)), which over 1-Lipschitz f is the Wasserstein-1 distance
    (eq. 2); over clipped f it is that distance times an unknown factor. As in Algorithm 1 weights
    are clipped after each update, so that those of a new critic may lie outside.

    Args:
      clip: c of Algorithm 1, positive.

    Raises:
      ValueError: if clip is not a positive finite number.

    References:
      Arjovsky 2017, eq. 2 and 3, Algorithm 1.
    """
    check_positive("clip", clip)

    def critic(critic_fn, real, fake, key):
        del key
        wasserstein = _wasserstein(critic_fn, real, fake)
        return -wasserstein, {"d_loss": -wasserstein, "wasserstein": wasserstein}

    def project(params):
        # An infinite weight stays so: as c it would hide that training has diverged.
        return jax.tree.map(
            lambda w: jnp.where(jnp.isfinite(w), jnp.clip(w, -clip, clip), w), params
        )

    return Loss(critic, generator_raises_scores, project)


def wgan_gp(penalty: float = 10.0) -> Loss:
    """WGAN-GP: a critic kept Lipschitz by a penalty on the norm of its gradient.

    The critic minimises E f(G(z)) − E f(x) + λ·E (‖∇f(x̂)‖₂ − 1)² (eq. 3).

    Args:
      penalty: λ, positive. The paper uses 10.

    Raises:
      ValueError: if penalty is not a positive finite number.

    References:
      Gulrajani 2017, eq. 3 and Algorithm 1.
    """
    return _with_penalty("penalty", penalty, gradient_penalty, "gradient_penalty")


def wgan_lp(penalty: float = 5.0) -> Loss:
    """WGAN-LP: WGAN-GP that charges only slopes above 1, as Lipschitz continuity asks.

    The critic minimises E f(G(z)) − E f(x) + λ·E max(0, ‖∇f(x̂)‖₂ − 1)². Where data and
    samples agree a flat critic costs nothing, which WGAN-GP charges λ for.

    Args:
      penalty: λ, positive. The paper uses 5 to 100.

    Raises:
      ValueError: if penalty is not a positive finite number.

    References:
      Petzka 2018 (WGAN-LP).
    """
    one_sided = functools.partial(gradient_penalty, one_sided=True)
    return _with_penalty("penalty", penalty, one_sided, "gradient_penalty")


def wgan_div(k: float = 2.0, p: float = 6.0) -> Loss:
    """WGAN-div: the Wasserstein divergence, which needs no Lipschitz critic.

    The critic minimises E f(G(z)) − E f(x) + k·E ‖∇f(x̂)‖₂ᵖ, x̂ between data and samples, as
    WGAN-GP's.

    Args:
      k: the weight of the term, positive.
      p: its power, above 1. The paper finds k = 2, p = 6 best.

    Raises:
      ValueError: if k is not a positive finite number, or p not one above 1.

    References:
      Wu 2018 (WGAN-div), Algorithm 1.
    """
    check_positive("p", p)
    if not isinstance(p, jax.core.Tracer) and p <= 1:
        raise ValueError(f"p must be above 1; got {p}.")
    power = functools.partial(slope_to_the_power, p=p)
    return _with_penalty("k", k, power, "slope_penalty")


def _with_penalty(symbol, weight, penalise, name):
    check_positive(symbol, weight)

    def critic(critic_fn, real, fake, key):
        wasserstein = _wasserstein(critic_fn, real, fake)
        penalty = penalise(critic_fn, real, fake, key)
        loss = -wasserstein + weight * penalty
        return loss, {"d_loss": loss, "wasserstein": wasserstein, name: penalty}

    return Loss(critic, generator_raises_scores, per_example=True)


def _wasserstein(critic_fn, real, fake):
    check_same_shape(real, fake)
    return jnp.mean(scores(critic_fn, real)) - jnp.mean(scores(critic_fn, fake))
