"""WGAN and WGAN-GP: critics whose scores estimate the Wasserstein-1 distance.

References:
  Arjovsky et al., Wasserstein GAN, 2017. https://arxiv.org/abs/1701.07875
  Gulrajani et al., Improved Training of Wasserstein GANs, 2017. https://arxiv.org/abs/1704.00028
"""

import jax
import jax.numpy as jnp

from jaxgan.losses.base import Loss, check_positive, check_same_shape, scores
from jaxgan.losses.penalties import gradient_penalty


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

    return Loss(critic, _wasserstein_generator, project)


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
    check_positive("penalty", penalty)

    def critic(critic_fn, real, fake, key):
        wasserstein = _wasserstein(critic_fn, real, fake)
        deviation = gradient_penalty(critic_fn, real, fake, key)
        loss = -wasserstein + penalty * deviation
        return loss, {"d_loss": loss, "wasserstein": wasserstein, "gradient_penalty": deviation}

    return Loss(critic, _wasserstein_generator, per_example=True)


def _wasserstein(critic_fn, real, fake):
    check_same_shape(real, fake)
    return jnp.mean(scores(critic_fn, real)) - jnp.mean(scores(critic_fn, fake))


def _wasserstein_generator(critic_fn, real, fake, key):
    del real, key
    loss = -jnp.mean(scores(critic_fn, fake))
    return loss, {"g_loss": loss}
