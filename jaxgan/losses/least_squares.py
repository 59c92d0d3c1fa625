"""LSGAN: a discriminator that regresses on labels.

References:
  Mao et al., Least Squares Generative Adversarial Networks, 2017.
    https://arxiv.org/abs/1611.04076
"""

import jax
import jax.numpy as jnp

from jaxgan.losses.base import Loss, check_finite, check_same_shape, scores


def lsgan(a: float = 0.0, b: float = 1.0, c: float = 1.0) -> Loss:
    """LSGAN: the discriminator learns b for data and a for samples, the generator wants c.

    The discriminator minimises ½·E (D(x) − b)² + ½·E (D(G(z)) − a)², the generator
    ½·E (D(G(z)) − c)². The optimal discriminator is (b·p + a·q)/(p + q). With b − c = 1 and
    b − a = 2, as a, b, c = −1, 1, 0, it makes twice the generator's cost, its term of the data
    included, Pearson's χ²(p + q ‖ 2q).

    Args:
      a: the label of samples.
      b: the label of data, another than a.
      c: what the generator wants its samples to be taken for. By default labels are 0 and 1, and c
        is b, which the paper trains with.

    Raises:
      ValueError: if a label is not finite, or a is b.

    References:
      Mao 2017, eq. 2 and 9; Pearson's χ² in sec. 3.2.
    """
    for name, label in (("a", a), ("b", b), ("c", c)):
        check_finite(name, label)
    if not isinstance(a, jax.core.Tracer) and not isinstance(b, jax.core.Tracer) and a == b:
        raise ValueError(f"a and b must differ, or data and samples have one label; got {a} twice.")

    def critic(critic_fn, real, fake, key):
        del key
        check_same_shape(real, fake)
        real_scores, fake_scores = scores(critic_fn, real), scores(critic_fn, fake)
        loss = jnp.mean((real_scores - b) ** 2) / 2 + jnp.mean((fake_scores - a) ** 2) / 2
        metrics = {"d_real": jnp.mean(real_scores), "d_fake": jnp.mean(fake_scores)}
        return loss, {"d_loss": loss, **metrics}

    def generator(critic_fn, real, fake, key):
        del real, key
        loss = jnp.mean((scores(critic_fn, fake) - c) ** 2) / 2
        return loss, {"g_loss": loss}

    return Loss(critic, generator)
