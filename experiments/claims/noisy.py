"""The gradient of −log D where D is noise around a perfect discriminator.

Where supports are disjoint D* and ∇D* are 0 on the generator's (perfect_discriminator.py). Let D
miss D* there by white noise: the gradient is a mean of ratios −∇D/D of independent Gaussians. Such
a ratio has Cauchy's distribution, without mean or variance (Arjovsky & Bottou 2017, theorem 2.6),
and a mean of them has the same one, no narrower. Noise here is

    ε(x) = σ Σ_k (a_k cos ω_k x + b_k sin ω_k x)/√K,   a and b standard normal.

At any x its value and its slope are independent, of deviations σ and σγ, γ² = Σ ω_k²/K, so that
Cauchy's scale is γ at any σ. (The theorem differentiates log D for D < 0, too. There is no such D:
only those above 0 count here, and for them the distribution is the same.)

X² of a Cauchy variable has P(X² > t) ≈ (2γ/π)/√t, so that the sample variance of n gradients is n
times a variable of Lévy's distribution with scale 2γ²/π: its median is 1.399·γ²n, and it grows
as long as one samples. (Derived here.)
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxgan
from claims.number import Number, Numbers
from claims.training import Held, put
from jaxgan import losses

SOURCE = "Arjovsky & Bottou 2017, theorem 2.6"
FREQUENCIES = np.arange(1.0, 9.0)
GAMMA = float(np.sqrt(np.mean(FREQUENCIES**2)))
NOISE = 0.05  # σ
DRAWS, BATCH = 2**18, 64
LEVY_MEDIAN = 2 / np.pi / 0.67448975**2  # of the sample variance, in units of γ²n
COUNTS = (64, 256)


class Noise(nn.Module):
    """The logit of D = ε(x), noise around the D* = 0 that is perfect where there are no data."""

    @nn.compact
    def __call__(self, x):
        """Scores `[B]` of x `[B, 1]`; NaN where D is below 0."""
        a, b = (self.param(name, nn.initializers.normal(), FREQUENCIES.shape) for name in "ab")
        waves = jnp.cos(FREQUENCIES * x) @ a + jnp.sin(FREQUENCIES * x) @ b
        d = NOISE * waves / np.sqrt(len(FREQUENCIES))
        return jnp.log(d) - jnp.log1p(-d)


def noisy_gradients(draws: int, key: jax.Array) -> np.ndarray:
    """Gradients of −log D, by `g_grad` on one sample, where D is above 0, in units of γ.

    Args:
      draws: of D; some half of them are above 0.
      key: of the noise, and of samples.
    """
    model = jaxgan.gan(
        Held(lambda z: z, latent_dim=1),
        Noise(),
        losses.bce(),
        optax.identity(),
        optax.identity(),
        ema_decay=0,
    )
    start = model.init(key)

    def read(normal, key):
        state = put(start, critic={"a": normal[0], "b": normal[1]})
        gradient, _ = model.g_grad(state, jnp.zeros((1, 1)), key)
        return gradient["shift"][0]

    noise_key, latent_key = jax.random.split(key)
    normal = jax.random.normal(noise_key, (draws, 2, len(FREQUENCIES)))
    gradients = jax.jit(jax.vmap(read))(normal, jax.random.split(latent_key, draws))
    gradients = np.asarray(gradients, np.float64) / GAMMA
    return gradients[np.isfinite(gradients)]


def of_noise(noisy: np.ndarray) -> tuple[Numbers, np.ndarray]:
    """Quantiles and variances of gradients `[n]` under noise, and the sizes of their means."""
    numbers: Numbers = {}
    means = np.abs(noisy[: len(noisy) // BATCH * BATCH].reshape(-1, BATCH).mean(axis=1))
    for name, sizes, share, text in (
        ("median", np.abs(noisy), 0.5, "one gradient"),
        ("quantile", np.abs(noisy), 0.99, "one gradient"),
        ("batch", means, 0.5, f"the mean of {BATCH} gradients"),
    ):
        closed = float(np.tan(np.pi * share / 2))
        # A quantile's standard error is √(share·(1 − share)/n) over the density there.
        density = 2 / np.pi / (1 + closed**2)
        error = np.sqrt(share * (1 - share) / len(sizes)) / density
        numbers[f"log_d.cauchy.{name}"] = Number(
            f"{share:.0%} quantile of the size of {text} under noise, in units of γ: Cauchy's",
            SOURCE, closed, float(np.quantile(sizes, share)), 4 * float(error), "sampled",
        )  # fmt: skip
    for n in COUNTS:
        rows = noisy[: len(noisy) // n * n].reshape(-1, n)
        # Lévy's density at the median gives the error of a median: 2.33 of it over the root of
        # how many. Of the order of 1/n is what Lévy's limit leaves out.
        numbers[f"log_d.cauchy.variance@n={n}"] = Number(
            f"median sample variance of {n} noisy gradients, over 1.399·γ²n",
            f"{SOURCE}; derived here", 1.0,
            float(np.median(rows.var(axis=1, ddof=1)) / (LEVY_MEDIAN * n)),
            4 * 2.33 / float(np.sqrt(len(rows))) + 2 / n, "sampled",
        )  # fmt: skip
    return numbers, np.sort(means)
