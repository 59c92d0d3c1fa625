"""The value functions of GAN, WGAN and WGAN-GP.

A loss is a NamedTuple of pure functions, as an `optax.GradientTransformation` is. Each takes the
critic as a function from a batch `[B, ...]` to scores `[B]`, so it never sees parameters: closing
`critic_fn` over them is what `jax.grad` needs.

In the BCE losses the critic is Goodfellow's discriminator before its sigmoid: D(x) = σ(critic(x)).

References:
  Goodfellow et al., Generative Adversarial Nets, 2014. https://arxiv.org/abs/1406.2661
  Arjovsky et al., Wasserstein GAN, 2017. https://arxiv.org/abs/1701.07875
  Gulrajani et al., Improved Training of Wasserstein GANs, 2017. https://arxiv.org/abs/1704.00028
"""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple, Protocol

import chex
import jax
import jax.numpy as jnp
import optax

Metrics = dict[str, chex.Array]
CriticFn = Callable[[chex.Array], chex.Array]


class LossFn(Protocol):
    """A scalar to minimise, and scalars to watch."""

    def __call__(
        self, critic_fn: CriticFn, real: chex.Array, fake: chex.Array, key: chex.PRNGKey, /
    ) -> tuple[chex.Array, Metrics]:
        """Evaluates the loss.

        Args:
          critic_fn: maps `[B, ...]` to one score per example, `[B]`.
          real: data, `[B, ...]`.
          fake: the generator's samples, of the same shape.
          key: a typed PRNG key, or one key per example, `[B]`.

        Returns:
          The loss, a scalar, and metrics, a dict of scalars, each a mean over the batch.

        Raises:
          ValueError: if the critic's scores are not `[B]`, or a critic's loss is given real and
            fake of different shapes.
        """


def _identity(params):
    return params


class Loss(NamedTuple):
    """What the two players minimise.

    Attributes:
      critic: the critic's loss.
      generator: the generator's loss. Only relativistic losses look at `real`.
      project: critic parameters to critic parameters, applied after each critic update; by default
        it changes nothing.
      per_example: whether the critic must score each example by itself, as a gradient penalty
        needs; a critic that normalises by its batch does not.
    """

    critic: LossFn
    generator: LossFn
    project: Callable[[chex.ArrayTree], chex.ArrayTree] = _identity
    per_example: bool = False


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
        loss = -jnp.mean(_log_d(_scores(critic_fn, fake)))
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
        loss = jnp.mean(_log_one_minus_d(_scores(critic_fn, fake)))
        return loss, {"g_loss": loss}

    return Loss(_bce_critic, generator)


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
    _check_positive("clip", clip)

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
    _check_positive("penalty", penalty)

    def critic(critic_fn, real, fake, key):
        wasserstein = _wasserstein(critic_fn, real, fake)
        deviation = gradient_penalty(critic_fn, real, fake, key)
        loss = -wasserstein + penalty * deviation
        return loss, {"d_loss": loss, "wasserstein": wasserstein, "gradient_penalty": deviation}

    return Loss(critic, _wasserstein_generator, per_example=True)


def gradient_penalty(
    critic_fn: CriticFn,
    real: chex.Array,
    fake: chex.Array,
    key: chex.PRNGKey,
    target: float = 1.0,
) -> chex.Array:
    """Mean squared deviation of the critic's gradient norm from `target`, unweighted.

    E (‖∇f(x̂)‖₂ − target)², x̂ = ε·x + (1 − ε)·G(z), one ε ~ U[0, 1) per example, the norm over
    everything but the batch. Where the gradient is exactly zero the norm is 0 and its own
    derivative is taken as 0, the subgradient of least norm: a plain norm gives NaN there.

    Args:
      critic_fn: maps `[B, ...]` to `[B]`, each score from its own example alone.
      real: `[B, ...]`.
      fake: the same shape.
      key: a typed PRNG key, or one key per example, `[B]`.
      target: the norm aimed at; 1 in the paper.

    Returns:
      A scalar, in the square of the critic's unit per unit of data.

    Raises:
      ValueError: if real and fake differ in shape, or the critic's scores are not `[B]`.

    References:
      Gulrajani 2017, eq. 3 and Algorithm 1, lines 4 to 7.
    """
    _check_same_shape(real, fake)
    batch = real.shape[0]
    epsilon = draw_epsilon(key, batch, _at_least_float32(real))
    epsilon = epsilon.reshape((batch,) + (1,) * (real.ndim - 1))
    interpolates = epsilon * real + (1 - epsilon) * fake
    # Scores depend on their own examples alone, so the gradient of their sum holds, row by row,
    # the gradient of each.
    gradients = jax.grad(lambda x: jnp.sum(_scores(critic_fn, x)))(interpolates)
    norms = optax.safe_norm(gradients.reshape(batch, -1), min_norm=0.0, axis=1)
    return jnp.mean(jnp.square(norms - target))


def _bce_critic(critic_fn, real, fake, key):
    del key
    _check_same_shape(real, fake)
    real_scores, fake_scores = _scores(critic_fn, real), _scores(critic_fn, fake)
    value = jnp.mean(_log_d(real_scores)) + jnp.mean(_log_one_minus_d(fake_scores))
    metrics = {
        "d_loss": -value,
        "js": (math.log(4) + value) / 2,
        "d_real": jnp.mean(jax.nn.sigmoid(real_scores)),
        "d_fake": jnp.mean(jax.nn.sigmoid(fake_scores)),
    }
    return -value, metrics


def _wasserstein(critic_fn, real, fake):
    _check_same_shape(real, fake)
    return jnp.mean(_scores(critic_fn, real)) - jnp.mean(_scores(critic_fn, fake))


def _wasserstein_generator(critic_fn, real, fake, key):
    del real, key
    loss = -jnp.mean(_scores(critic_fn, fake))
    return loss, {"g_loss": loss}


# From the logit, never from D itself: log(σ(a)) underflows to −inf at a = −104 in float32.
def _log_d(score):
    return jax.nn.log_sigmoid(score)


def _log_one_minus_d(score):
    return jax.nn.log_sigmoid(-score)


def _scores(critic_fn, x):
    """The critic's scores, refused unless [B]: [B, 1] would broadcast against [B] in silence."""
    _check_batch("what the critic scores", x)
    scores = critic_fn(x)
    if scores.shape != x.shape[:1]:
        raise ValueError(
            f"the critic must return one score per example, shape {x.shape[:1]}; got shape "
            f"{scores.shape} for input of shape {x.shape}. Squeeze its last axis, or sum over it."
        )
    if not jnp.issubdtype(scores.dtype, jnp.floating):
        raise ValueError(f"the critic's scores must be floating point; got {scores.dtype}.")
    return scores.astype(_at_least_float32(scores))


def _at_least_float32(x):
    return jnp.promote_types(x.dtype, jnp.float32)


def draw_epsilon(key: chex.PRNGKey, batch: int, dtype: Any = jnp.float32) -> chex.Array:
    """The ε of Gulrajani 2017, Algorithm 1, line 4: U[0, 1), `[batch]`.

    From one key, or from each example's own, `[batch]`.
    """
    check_key(key, (batch,))
    if key.ndim == 0:
        return jax.random.uniform(key, (batch,), dtype)
    return jax.vmap(lambda k: jax.random.uniform(k, (), dtype))(key)


def check_key(key: chex.PRNGKey, many: tuple[int, ...] = ()) -> None:
    """Raises ValueError unless key is a typed PRNG key, or an array of them of shape `many`."""
    dtype, shape = getattr(key, "dtype", type(key)), getattr(key, "shape", ())
    if not jnp.issubdtype(dtype, jax.dtypes.prng_key) or shape not in ((), many):
        or_many = f", or one for each of the {many[0]} examples" if many else ""
        raise ValueError(
            f"key must be a typed PRNG key (jax.random.key){or_many}; got dtype {dtype}, shape "
            f"{shape}."
        )


def _check_same_shape(real, fake):
    _check_batch("real", real)
    _check_batch("fake", fake)
    if real.shape != fake.shape:
        raise ValueError(
            f"real and fake must have the same shape [B, ...]; got {real.shape} and {fake.shape}."
        )


def _check_batch(name, x):
    """An empty batch has no mean, and would give NaN."""
    if not hasattr(x, "shape") or len(x.shape) < 1 or x.shape[0] < 1:
        got = f"shape {x.shape}" if hasattr(x, "shape") else type(x).__name__
        raise ValueError(f"{name} must be an array [B, ...] of at least one example; got {got}.")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{name} must be floating point; got {x.dtype}.")


def _check_positive(name, value):
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a positive finite number; got {value}.")
