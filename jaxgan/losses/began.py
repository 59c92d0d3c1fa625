"""BEGAN: a critic that is an autoencoder, and a balance between the two errors.

References:
  Berthelot et al., BEGAN: Boundary Equilibrium Generative Adversarial Networks, 2017.
    https://arxiv.org/abs/1703.10717
"""

import jax
import jax.numpy as jnp

from jaxgan.losses.base import Loss, StatefulLoss, check_positive, check_same_shape, scores


def began(gamma: float = 0.5, rate: float = 0.001) -> StatefulLoss:
    """BEGAN: the critic's score L is the error of an autoencoder, as of `networks.autoencoder`.

    The critic minimises E L(x) − k·E L(G(z)), the generator E L(G(z)). k begins at 0, and after
    each critic update is clip(k + λ·(γ·E L(x) − E L(G(z))), 0, 1), which rests where
    E L(G(z)) = γ·E L(x). The metric `convergence` is the paper's M,
    E L(x) + |γ·E L(x) − E L(G(z))|.

    An error is never below 0: the loss of a critic with such a score is NaN, and so diverges. The
    L(G(z)) that moves k is that of the critic's update.

    Args:
      gamma: γ, of (0, 1]: less gives better samples, of less variety. The paper uses 0.3 to 0.7.
      rate: λ, how fast k moves.

    Raises:
      ValueError: if gamma or rate is not a positive finite number, or gamma is above 1.

    References:
      Berthelot 2017, sec. 3.3 and 3.4.
    """
    check_positive("gamma", gamma)
    check_positive("rate", rate)
    if not isinstance(gamma, jax.core.Tracer) and gamma > 1:
        raise ValueError(f"gamma must be at most 1; got {gamma}.")

    def at(k, step):
        del step

        def critic(critic_fn, real, fake, key):
            del key
            check_same_shape(real, fake)
            of_data, of_samples = (_error(critic_fn, x) for x in (real, fake))
            loss = of_data - k * of_samples
            convergence = of_data + jnp.abs(gamma * of_data - of_samples)
            errors = {"real_error": of_data, "fake_error": of_samples}
            return loss, {"d_loss": loss, "k": k, "convergence": convergence, **errors}

        def generator(critic_fn, real, fake, key):
            del real, key
            loss = _error(critic_fn, fake)
            return loss, {"g_loss": loss}

        return Loss(critic, generator, lower_is_real=True)

    def update(k, metrics):
        return jnp.clip(k + rate * (gamma * metrics["real_error"] - metrics["fake_error"]), 0, 1)

    return StatefulLoss(lambda: jnp.zeros(()), at, update)


def _error(critic_fn, x):
    """The mean of the errors; NaN where one is below 0, as only another kind of critic has."""
    errors = scores(critic_fn, x)
    return jnp.mean(jnp.where(errors < 0, jnp.nan, errors))
