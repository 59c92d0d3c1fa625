"""Cross-entropy: the loss of a classifier, and where it ends.

H(p, q) = −Σ p log q = H(p) + KL(p‖q), and KL ≥ 0 (Gibbs' inequality; Cover & Thomas, theorem
2.6.3). So the least cross-entropy is H(p), at q = p and nowhere else. With q = softmax(a),

    ∂H(p, q)/∂a_i = Σ_j p_j (q_i − 1[i = j]) = q_i − p_i,

which for a coin is σ(a) − p, so that its best logit is the log-odds log p/(1 − p). (Derived here.)

A classifier does this at each x. Its best answer is p(y|x), and its least loss is H(y|x), what x
leaves open about y. Where class k has share π_k and density N(μ_k, 1), Bayes' rule makes its logit
log π_k + μ_k x − μ_k²/2, up to a constant that all classes share. For two classes of equal shares
the difference of the logits is log p/q: the classifier is a GAN's discriminator.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special
import scipy.stats

import jaxgan
from claims import style
from claims.number import Number, Numbers
from claims.training import Held, decaying_adam, key_of, place, train_critic
from jaxgan import distances, losses

TITLE = "Cross-entropy"
PARTS = 2
GIBBS = "Cover & Thomas, theorem 2.6.3"

COIN = np.array([0.3, 0.7])
DIE = np.array([0.5, 0.25, 0.15, 0.1])
PAIRS = 10_000
SHARES, MEANS = np.array([0.5, 0.3, 0.2]), np.array([-2.0, 0.0, 1.5])
EXAMPLES = 20_000
SHIFT = 1.5
GRID = np.linspace(-6.5, 6.5, 1301)
DX = GRID[1] - GRID[0]


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      coin: the trained coin's q of heads and its cross-entropy.
      posterior: the trained classifier's q(y|x) on the grid, `[n, 3]`.
    """

    numbers: Numbers
    coin: tuple[float, float]
    posterior: np.ndarray


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Minimises cross-entropies, of one distribution and of classifiers.

    Args:
      scale: multiplies the discriminator's updates.
      tick: called after each part.
      seed: of starts, examples and random distributions.
    """
    numbers = measure_gibbs(key_of(seed))
    for name, p in (("coin", COIN), ("die", DIE)):
        logits, loss = fit(p, key_of(seed, 1))
        best = np.log(p / p[-1])
        # Rounding, in float32, of the loss; and of its gradient, over a slope of 0.05 or more.
        numbers[f"cross_entropy.least.{name}"] = Number(
            f"cross-entropy of the {name} after training: H(p)",
            GIBBS, float(-p @ np.log(p)), loss, 4e-7, "trained",
        )  # fmt: skip
        numbers[f"cross_entropy.log_odds.{name}"] = Number(
            f"largest error of the {name}'s trained log-odds, log p_i/p_k",
            GIBBS, 0.0, float(np.abs(logits - logits[-1] - best).max()), 1e-6, "trained",
        )  # fmt: skip
        if name == "coin":
            coin = float(1 / (1 + np.exp(logits[1] - logits[0]))), loss
    tick()
    posterior, of_classes = measure_classes(key_of(seed, 2))
    numbers |= of_classes | measure_discriminator(int(1500 * scale), seed)
    tick()
    return Result(numbers, coin, posterior)


def fit(p: np.ndarray, key: jax.Array) -> tuple[np.ndarray, float]:
    """Logits that minimise the cross-entropy to p, from random ones on, and that cross-entropy."""

    def loss(logits):
        return distances.cross_entropy(p, jax.nn.softmax(logits))

    @jax.jit
    def train(start):
        logits, _ = distances.minimise(loss, start, optax.sgd(2.0), 300)
        return logits, loss(logits)

    logits, value = train(jax.random.normal(key, p.shape))
    return np.asarray(logits), float(value)


def measure_gibbs(key: jax.Array) -> Numbers:
    """The identity, the inequality and the gradient, for random pairs of distributions."""

    @jax.jit
    def compare(key):
        a, b = jax.random.normal(key, (2, PAIRS, 5))
        p, q = jax.nn.softmax(a), jax.nn.softmax(b)
        crossed, entropy = distances.cross_entropy(p, q), distances.entropy(p)
        slopes = jax.grad(lambda b: distances.cross_entropy(p, jax.nn.softmax(b)).sum())(b)
        gap = jnp.abs(crossed - entropy - distances.kl(p, q)).max()
        return gap, jnp.sum(crossed < entropy), jnp.abs(slopes - (q - p)).max()

    gap, below, off = (float(value) for value in compare(key))
    text = f"over {PAIRS:,} random pairs of five outcomes"
    return {
        # Rounding, in float32, of sums of five terms of size up to 10.
        "cross_entropy.identity": Number(
            f"largest |H(p, q) − H(p) − KL(p‖q)| {text}",
            GIBBS, 0.0, gap, 2e-6, "algebra",
        ),
        "cross_entropy.below": Number(
            f"how many H(p, q) are below H(p) {text}",
            GIBBS, 0.0, below, 0.0, "sampled",
        ),
        "cross_entropy.gradient": Number(
            f"largest |∂H(p, softmax(a))/∂a − (q − p)| {text}",
            "derived here", 0.0, off, 1e-6, "algebra",
        ),
    }  # fmt: skip


def measure_classes(key: jax.Array) -> tuple[np.ndarray, Numbers]:
    """A classifier of three classes on the line, its logits linear in x, from examples."""

    def logits(theta, x):
        return x[:, None] * theta[0] + theta[1]

    @jax.jit
    def train(key):
        which, noise = jax.random.split(key)
        labels = jax.random.choice(which, 3, (EXAMPLES,), p=jnp.asarray(SHARES))
        x = jnp.asarray(MEANS)[labels] + jax.random.normal(noise, (EXAMPLES,))

        def loss(theta):
            each = optax.losses.softmax_cross_entropy_with_integer_labels
            return each(logits(theta, x), labels).mean()

        theta, _ = distances.minimise(loss, jnp.zeros((2, 3)), decaying_adam(0.1, 200), 200)
        return theta

    theta = np.asarray(train(key), np.float64)
    joint = SHARES * scipy.stats.norm.pdf(GRID[:, None], MEANS)
    truth, density = joint / joint.sum(1, keepdims=True), joint.sum(1)
    posterior = scipy.special.softmax(logits(theta, GRID), axis=1)
    trained, least = (-(joint * np.log(q)).sum() * DX for q in (posterior, truth))
    numbers = {
        # From n examples a classifier of 4 free parameters loses χ²/2n, a variable of mean 4 and
        # variance 8.
        "cross_entropy.classes.loss": Number(
            "cross-entropy of a classifier of three classes: H(y|x)",
            "Cover & Thomas, eq. 2.10", float(least), float(trained),
            (4 + 4 * np.sqrt(8)) / (2 * EXAMPLES), "trained",
        ),
        "cross_entropy.classes.posterior": Number(
            "largest error of that classifier's q(y|x), where p(x) > 0.01",
            "Bayes' rule", 0.0, float(np.abs(posterior - truth)[density > 0.01].max()), 0.02,
            "trained",
        ),
    }  # fmt: skip
    return posterior, numbers


class Line(nn.Module):
    """The logit a·x + b."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, 1]` to `[B]`."""
        zeros = nn.initializers.zeros
        return x[:, 0] * self.param("slope", zeros, ()) + self.param("offset", zeros, ())


def measure_discriminator(steps: int, seed: int) -> Numbers:
    """The library's discriminator, trained to tell N(δ, 1) from N(0, 1)."""
    generator = Held(lambda z: z, latent_dim=1)
    tx = decaying_adam(0.05, steps)
    model = jaxgan.gan(generator, Line(), losses.bce(), optax.identity(), tx)
    state = place(model.init(key_of(seed, 3)), jnp.zeros(1))

    def draw(key, n):
        return SHIFT + jax.random.normal(key, (n, 1))

    trained, _ = train_critic(model, state, draw, key_of(seed, 4), steps, batch_size=512)
    found = trained.critic.params
    # Four standard deviations over seeds, of 1,500 batches of 512.
    return {
        "cross_entropy.discriminator.slope": Number(
            f"slope of the logit of data N({SHIFT:g}, 1) against samples N(0, 1): δ",
            "Goodfellow 2014, proposition 1", SHIFT, float(found["slope"]), 0.02, "trained",
        ),
        "cross_entropy.discriminator.offset": Number(
            "that logit at x = 0: −δ²/2",
            "Goodfellow 2014, proposition 1", -(SHIFT**2) / 2, float(found["offset"]), 0.02,
            "trained",
        ),
    }  # fmt: skip


def draw(result: Result):
    """Cross-entropy over q for a coin, and the classes that a classifier tells apart."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, r"$H(p, q) = H(p) + \mathrm{KL}(p\,\|\,q)$", width=style.NARROW
    )
    axes = panels[0]
    heads = np.linspace(0.02, 0.98, 193)
    axes.plot(heads, -(COIN[0] * np.log(heads) + COIN[1] * np.log(1 - heads)), color=style.CRITIC,
              lw=2, label="H(p, q)")  # fmt: skip
    axes.axhline(-COIN @ np.log(COIN), **style.CLOSED_FORM, label="H(p)")
    axes.plot(*result.coin, "o", color=style.FAKE, label="trained")
    axes.set(ylim=(0.4, 2.2), xticks=[0, 0.3, 1])
    style.label(axes, "A coin, p = 0.3", "q, the model's p", "nats")
    style.legend(axes)
    axes = panels[1]
    joint = SHARES * scipy.stats.norm.pdf(GRID[:, None], MEANS)
    for k in range(3):
        axes.plot(GRID, result.posterior[:, k], color=f"C{k}", lw=2.5, alpha=0.6)
        axes.text((-4.3, -1.3, 1.6)[k], 1.03, f"class {k + 1}", color=f"C{k}", fontsize="small")
    axes.plot(GRID, joint / joint.sum(1, keepdims=True), **style.CLOSED_FORM)
    axes.set(xlim=(-4.5, 4), ylim=(0, 1.12))
    style.label(axes, "A classifier (dashed: p(y|x))", "x", "q(y|x)")
    return figure
