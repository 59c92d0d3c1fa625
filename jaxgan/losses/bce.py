"""GAN: the minimax game of binary cross-entropy, and its non-saturating form.

In these losses the critic is Goodfellow's discriminator before its sigmoid: D(x) = σ(critic(x)).

References:
  Goodfellow et al., Generative Adversarial Nets, 2014. https://arxiv.org/abs/1406.2661
"""

import math

import jax
import jax.numpy as jnp

from jaxgan.losses.base import Loss, check_same_shape, scores


def bce() -> Loss:
    """GAN with the non-saturating generator loss.

    The discriminator ascends eq. 1, V = E log D(x) + E log(1 − D(G(z))); the generator ascends
    E log D(G(z)) instead of descending V, "much stronger gradients early in learning" (sec. 3).

    The metric `js` = (log 4 − d_loss)/2 is a lower bound, in nats, on the Jensen–Shannon
    divergence between data and samples: V is at most −log 4 + 2·JSD (thm. 1), reached by the
    optimal discriminator only.

    References:
      Goodfellow 2014, eq. 1 and sec. 3.
    """

    def generator(critic_fn, real, fake, key):
        del real, key
        loss = -jnp.mean(_log_d(scores(critic_fn, fake)))
        return loss, {"g_loss": loss}

    return Loss(_bce_critic, generator)


def minimax() -> Loss:
    """GAN with the original generator loss, which saturates where the discriminator wins.

    The generator descends V itself: it minimises E log(1 − D(G(z))). The discriminator, and the
    metric `js`, are those of `bce`.

    References:
      Goodfellow 2014, eq. 1 and Algorithm 1.
    """

    def generator(critic_fn, real, fake, key):
        del real, key
        loss = jnp.mean(_log_one_minus_d(scores(critic_fn, fake)))
        return loss, {"g_loss": loss}

    return Loss(_bce_critic, generator)


def _bce_critic(critic_fn, real, fake, key):
    del key
    check_same_shape(real, fake)
    real_scores, fake_scores = scores(critic_fn, real), scores(critic_fn, fake)
    value = jnp.mean(_log_d(real_scores)) + jnp.mean(_log_one_minus_d(fake_scores))
    metrics = {
        "d_loss": -value,
        "js": (math.log(4) + value) / 2,
        "d_real": jnp.mean(jax.nn.sigmoid(real_scores)),
        "d_fake": jnp.mean(jax.nn.sigmoid(fake_scores)),
    }
    return -value, metrics


# From the logit, never from D itself: log(σ(a)) underflows to −inf at a = −104 in float32.
def _log_d(score):
    return jax.nn.log_sigmoid(score)


def _log_one_minus_d(score):
    return jax.nn.log_sigmoid(-score)
