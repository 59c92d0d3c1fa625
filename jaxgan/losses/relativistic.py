"""RpGAN: a critic that compares each sample with a data example.

References:
  Jolicoeur-Martineau, The relativistic discriminator, 2018. https://arxiv.org/abs/1807.00734
  Huang et al., The GAN is dead; long live the GAN! A Modern GAN Baseline, 2025 (R3GAN).
    https://arxiv.org/abs/2501.05441
"""

import jax
import jax.numpy as jnp

from jaxgan.losses.base import Loss, check_same_shape, scores


def rpgan() -> Loss:
    """The relativistic pairing loss: how much more real is this example than that sample?

    The critic minimises E softplus(f(G(z)) − f(x)), over pairs of a sample and an example, the
    generator E softplus(f(x) − f(G(z))). With `with_r1` and `with_r2` it is R3GAN's loss. The
    metric `d_ahead` is the share of pairs whose example scores higher.

    References:
      Jolicoeur-Martineau 2018 (RpGAN); Huang 2025, sec. 2.
    """

    def lead(critic_fn, real, fake):
        check_same_shape(real, fake)
        return scores(critic_fn, real) - scores(critic_fn, fake)

    def critic(critic_fn, real, fake, key):
        del key
        ahead = lead(critic_fn, real, fake)
        loss = jnp.mean(jax.nn.softplus(-ahead))
        return loss, {"d_loss": loss, "d_ahead": jnp.mean(ahead > 0)}

    def generator(critic_fn, real, fake, key):
        del key
        loss = jnp.mean(jax.nn.softplus(lead(critic_fn, real, fake)))
        return loss, {"g_loss": loss}

    return Loss(critic, generator)
