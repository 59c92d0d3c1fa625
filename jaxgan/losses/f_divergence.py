"""f-GAN: any f-divergence, by the bound that its convex conjugate gives.

References:
  Nowozin et al., f-GAN: Training Generative Neural Samplers using Variational Divergence
    Minimization, 2016. https://arxiv.org/abs/1606.00709
"""

import difflib
import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxgan.losses.base import Loss, check_same_shape, scores


class Divergence(NamedTuple):
    """An f-divergence D(p‖q) = E_q f(p/q), as a critic's score v sees it.

    Attributes:
      activation: g(v) = T, which takes every value in the domain of f* (tab. 2). It rises with v.
      conjugate: f*(g(v)), in one step, so that nothing cancels or overflows before it must.
    """

    activation: Callable[[chex.Array], chex.Array]
    conjugate: Callable[[chex.Array], chex.Array]


# Where the bound is tight T = f′(p/q), and with r = p/q, v is:
DIVERGENCES = {
    # ∫ p log p/q; 1 + log r
    "kl": Divergence(lambda v: v, lambda v: jnp.exp(v - 1)),
    # ∫ q log q/p; log r
    "reverse_kl": Divergence(lambda v: -jnp.exp(-v), lambda v: v - 1),
    # ∫ (p − q)²/q, which is f = (u − 1)²; the paper's tab. 1 writes it with p and q exchanged.
    # 2(r − 1)
    "pearson": Divergence(lambda v: v, lambda v: v * v / 4 + v),
    # ∫ (√p − √q)²; ½ log r
    "hellinger": Divergence(lambda v: -jnp.expm1(-v), jnp.expm1),
    # KL(p‖m) + KL(q‖m), m = (p + q)/2, so twice the Jensen–Shannon divergence; log r
    "js": Divergence(
        lambda v: math.log(2) + jax.nn.log_sigmoid(v),
        lambda v: -math.log(2) - jax.nn.log_sigmoid(-v),
    ),
}


def f_gan(divergence: str = "kl", direct: bool = False) -> Loss:
    """f-GAN: the critic bounds an f-divergence from below, the generator lowers it.

    The critic ascends E g(f(x)) − E f*(g(f(G(z)))), f here its score; the metric `divergence` is
    that bound. The generator ascends E g(f(G(z))), which is to E f*(g(f(G(z)))) what the
    non-saturating loss is to minimax. With the best critic of the reverse KL that is ∫ q²/p, which
    is infinite where samples lie far from data, and training diverges: use `direct` there.

    Args:
      divergence: "kl", "reverse_kl", "pearson" (χ², ∫ (p − q)²/q), "hellinger" (squared,
        ∫ (√p − √q)²) or "js" (twice the Jensen–Shannon divergence, as the paper has it).
      direct: the generator ascends E f*(g(f(G(z)))), and so lowers the bound itself, as in the
        paper's Algorithm 1.

    Raises:
      ValueError: for another divergence.

    References:
      Nowozin 2016, eq. 4 and 6, tab. 1 and 2; the generator as in sec. 3.2, or Algorithm 1.
    """
    if not isinstance(divergence, str) or divergence not in DIVERGENCES:
        near = difflib.get_close_matches(str(divergence).lower(), DIVERGENCES, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise ValueError(
            f"unknown divergence {divergence!r}: {meant}One of {', '.join(DIVERGENCES)}."
        )
    activation, conjugate = DIVERGENCES[divergence]
    ascended = conjugate if direct else activation

    def critic(critic_fn, real, fake, key):
        del key
        check_same_shape(real, fake)
        rise = jnp.mean(activation(scores(critic_fn, real)))
        bound = rise - jnp.mean(conjugate(scores(critic_fn, fake)))
        return -bound, {"d_loss": -bound, "divergence": bound}

    def generator(critic_fn, real, fake, key):
        del real, key
        loss = -jnp.mean(ascended(scores(critic_fn, fake)))
        return loss, {"g_loss": loss}

    return Loss(critic, generator)
