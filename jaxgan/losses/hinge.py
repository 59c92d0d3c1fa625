"""Hinge: a critic that stops pushing once a score is beyond the margin.

References:
  Lim and Ye, Geometric GAN, 2017. https://arxiv.org/abs/1705.02894
  Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018.
    https://arxiv.org/abs/1802.05957
"""

import jax
import jax.numpy as jnp

from jaxgan.losses.base import Loss, check_same_shape, generator_raises_scores, scores


def hinge() -> Loss:
    """The hinge loss, whose least value is 2 − 2·TV, TV the total variation distance.

    The critic minimises E max(0, 1 − f(x)) + E max(0, 1 + f(G(z))), the generator −E f(G(z)).
    The metric `total_variation` = 1 − d_loss/2 is a lower bound on TV, reached by the sign of
    p − q.

    References:
      Miyato 2018, eq. 16 and 17; Lim 2017.
    """

    def critic(critic_fn, real, fake, key):
        del key
        check_same_shape(real, fake)
        real_part = jnp.mean(jax.nn.relu(1 - scores(critic_fn, real)))
        fake_part = jnp.mean(jax.nn.relu(1 + scores(critic_fn, fake)))
        loss = real_part + fake_part
        return loss, {"d_loss": loss, "total_variation": 1 - loss / 2}

    return Loss(critic, generator_raises_scores)
