"""The gradient of −log D: what it descends where D is optimal, and how wild it is where D is noisy.

Let D* = p/(p + q) belong to a generator at θ₀ and stay as it is while θ moves. Then

    E_z ∇_θ (−log D*(g_θ(z))) = ∇_θ (KL(q_θ‖p) − 2·JS(q_θ, p))   at θ = θ₀

(Arjovsky & Bottou 2017, theorem 2.5). For −log D* = log((1 − D*)/D*) − log(1 − D*): the first part
is log q/p, with gradient ∇KL, and the second is what minimax descends, with gradient ∇2·JS
(Goodfellow 2014, theorem 1; JS with its halves). So the loss descends KL(q‖p), which forgives a
generator that leaves out some of the data, and *ascends* JS.

Data N(0, 1), generator N(m, s²), whose KL is (s² + m² − 1)/2 − log s. The best logit is a
parabola, so that a critic of three weights can have it exactly, or learn it.

Where supports are disjoint, and D* and its slope are 0 on the generator's, all that is left of the
gradient is the noise of D, which has Cauchy's distribution: noisy.py (theorem 2.6).
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import norm

import jaxgan
from claims import style
from claims.noisy import BATCH, DRAWS, noisy_gradients, of_noise
from claims.number import Number, Numbers
from claims.training import Held, decaying_adam, key_of, place, put, train_critic
from jaxgan import distances, losses

TITLE = "The gradient of −log D"
PARTS = 2

SOURCE = "Arjovsky & Bottou 2017, theorem 2.5"
SHIFTS = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
SCALE = 0.7
SAMPLES = 2**18  # for a gradient
GRID, DX = np.linspace(-12, 12, 4801, retstep=True)


class Parabola(nn.Module):
    """The logit a + b·x + c·x², the best one between two Gaussians."""

    @nn.compact
    def __call__(self, x):
        """Scores `[B]` of x `[B, 1]`."""
        a, b, c = (self.param(name, nn.initializers.zeros, ()) for name in "abc")
        return (a + b * x + c * x**2)[:, 0]


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      optimal: the gradient of −log D in the shift, D optimal, at each of SHIFTS.
      trained: likewise, D trained.
      noisy: sizes of single gradients under noise, in units of γ, sorted.
      means: those of means over BATCH.
    """

    numbers: Numbers
    optimal: np.ndarray
    trained: np.ndarray
    noisy: np.ndarray
    means: np.ndarray


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Reads the library's gradient under optimal, trained and noisy discriminators.

    Args:
      scale: multiplies the number of updates, and of noisy discriminators.
      tick: called after each part.
      seed: of training, samples and noise.
    """
    closed = closed_forms(SHIFTS)["slope"]
    optimal, trained = read_gradients(int(1000 * scale), seed)
    numbers: Numbers = {}
    for i, m in enumerate(SHIFTS):
        # Four standard errors of the mean over SAMPLES, at most; and of the weights that D learns
        # from samples, whose deviation over seeds makes 0.004·(1 + m²) of the gradient.
        for name, kind, found, tolerance in (
            ("optimal", "sampled", optimal, 0.003 * (1 + m / 2)),
            ("trained", "trained", trained, 0.016 * (1 + m**2)),
        ):
            numbers[f"log_d.{name}@m={m:g}"] = Number(
                f"derivative of −log D in m, generator N({m:g}, {SCALE:g}²), {name} D",
                SOURCE, float(closed[i]), float(found[i]), float(tolerance), kind,
            )  # fmt: skip
    tick()
    noisy = noisy_gradients(int(DRAWS * scale), key_of(seed, 3))
    noisy_numbers, means = of_noise(noisy)
    tick()
    return Result(numbers | noisy_numbers, optimal, trained, np.sort(np.abs(noisy)), means)


def closed_forms(shifts: np.ndarray) -> dict[str, np.ndarray]:
    """The slope of KL − 2·JS in m, and its two parts, by hand and from `distances.js`."""

    def js(m):
        return 2 * distances.js(norm.pdf(GRID), norm.pdf(GRID, m, SCALE), DX)

    of_js = np.asarray(jax.jit(jax.vmap(jax.grad(js)))(jnp.asarray(shifts, jnp.float32)))
    return {"kl": shifts, "js": of_js, "slope": shifts - of_js}


def read_gradients(steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The generator's gradient by `g_grad`, D optimal or trained, at each of SHIFTS."""
    generator, tx = Held(lambda z: SCALE * z, latent_dim=1), decaying_adam(0.2, steps)
    model = jaxgan.gan(generator, Parabola(), losses.bce(), optax.identity(), tx, ema_decay=0)
    start = model.init(key_of(seed, 0))

    def draw_data(key, n):
        return jax.random.normal(key, (n, 1))

    def read(state):
        gradient, _ = model.g_grad(state, jnp.zeros((SAMPLES, 1)), key_of(seed, 2))
        return gradient["shift"][0]

    def run(m):
        state = place(start, m[None])
        a, b, c = m**2 / (2 * SCALE**2) + np.log(SCALE), -m / SCALE**2, (SCALE**-2 - 1) / 2
        best = put(state, critic={"a": a, "b": b, "c": jnp.float32(c)})
        trained, _ = train_critic(model, state, draw_data, key_of(seed, 1), steps, batch_size=1024)
        return read(best), read(trained)

    optimal, trained = jax.jit(jax.vmap(run))(jnp.asarray(SHIFTS, jnp.float32))
    return np.asarray(optimal), np.asarray(trained)


def draw(result: Result):
    """The gradient over the shift, and its tail under noise."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, r"$E\,\nabla(-\log D^*) = \nabla\,(\mathrm{KL}(q\Vert p) - 2\,\mathrm{JS})$",
        width=style.NARROW,
    )  # fmt: skip
    axes = panels[0]
    fine = np.linspace(0, SHIFTS[-1], 41)
    closed = closed_forms(fine)
    axes.plot(fine, closed["kl"], color="C3", lw=1, label="∇KL")
    axes.plot(fine, closed["js"], color=style.BCE, lw=1, label="∇ 2·JS")
    axes.plot(fine, closed["slope"], **style.CLOSED_FORM, label="∇(KL − 2·JS)")
    axes.plot(
        SHIFTS,
        result.optimal,
        **style.DOT | {"markersize": 8},
        color=style.CRITIC,
        markerfacecolor="none",
        label="best D",
    )
    axes.plot(SHIFTS, result.trained, "x", color=style.FAKE, markersize=5, label="trained D")
    axes.set(ylim=(-0.1, 2.7), xticks=[0, 1, 2], yticks=[0, 1, 2])
    style.label(axes, "Down KL, up JS", "shift m of the generator", "derivative in m")
    style.legend(axes, loc="upper left", labelspacing=0.2)
    axes = panels[1]
    t = np.geomspace(0.1, 1000, 60)
    axes.plot(t, 1 - 2 / np.pi * np.arctan(t), **style.CLOSED_FORM, label="Cauchy")
    axes.plot(t, 2 * norm.sf(t * 0.6745), color="0.7", lw=1, label="a Gaussian")
    for sizes, color, marker, text in (
        (result.noisy, style.CRITIC, "o", "one gradient"),
        (result.means, style.WGAN, "x", f"mean of {BATCH}"),
    ):
        at = np.geomspace(0.15, sizes[-max(10, len(sizes) // 1000)], 12)
        above = 1 - np.searchsorted(sizes, at) / len(sizes)
        axes.plot(at, above, **style.DOT | {"marker": marker}, color=color, label=text)
    axes.set(
        xscale="log",
        yscale="log",
        ylim=(5e-4, 60),
        yticks=[1e-3, 1e-2, 0.1, 1],
        xticks=[0.1, 1, 10, 100, 1000],
    )
    style.label(axes, "A noisy D: heavy tails", "t, in units of γ", "share above t")
    style.legend(axes, loc="upper right")
    return figure
