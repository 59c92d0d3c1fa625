"""Two time scales: how many updates a critic needs before its slope is the gradient of a distance.

Arjovsky et al. 2017, sec. 3, advise to train a WGAN's critic "to optimality": its slope is then
the gradient of W₁, which never fades. For the GAN's minimax loss the same advice is bad, as the
gradient of JS fades with distance. Data N(0, 1), a generator held at N(δ, 1), and a critic with
weights that start near 0.

  * WGAN-GP, f(x) = wx. The loss wδ + λ(|w| − 1)² is a parabola for w < 0, so that a step of size η
    leaves 1 − 2ηλ of the way to its minimum:

        |w_n| = (1 + δ/2λ)·(1 − (1 − 2ηλ)ⁿ),                                 (derived here)

    about 1 − e^{−2λ·nη}. Only the product nη counts: n updates at a rate η are one at nη, as long
    as that one does not overshoot (2λ·nη < 1). This is why one may either give the critic more
    updates (n_critic, Arjovsky 2017, Algorithm 1) or a higher rate (the two time-scale update rule,
    Heusel et al. 2017, sec. 2). The way does not depend on δ.
  * GAN, f(x) = wx + b, which holds the optimum δ²/2 − δx. With D = σ(f), a step of size η is
    w ← w + η(E_p (1 − D)x − E_q Dx) and b ← b + η(E_p (1 − D) − E_q D), and the minimax
    generator's gradient is |w|·E_q D. It is 0 at the start, and δ·E_q D* at the end (see
    `vanishing_gradients`), nearly 0 for large δ. So it has a peak between, after few updates. The
    curve has no formula; the expectations are taken by quadrature. (Derived here.)

What the library's d_step does with batches of samples stands beside these means. Heusel's theorem
is about both players in motion; only the critic moves here.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.special import expit

import jaxgan
from claims import style
from claims.number import Number, Numbers
from claims.training import Held, key_of, place
from jaxgan import losses

TITLE = "Two time scales"
PARTS = 2
SOURCE = "Arjovsky 2017, sec. 3; derived in two_time_scales.py"

PENALTY, BATCH = 1.0, 64  # λ, and the samples in an update
RATES = (0.2, 0.05, 0.01)  # η of WGAN-GP's critic
TIMES = (0.2, 0.5, 1.0, 2.0)  # nη
SHIFT = 2.0  # δ there
SHIFTS = (1.0, 8.0)  # δ of the GANs
GAN_RATE, GAN_STEPS = 0.02, 2000
CHECKED = (3, 30, 300, 2000)  # updates of the GAN's discriminator
CHAINS = 30  # critics trained side by side
COLD = -1e-3  # w at the start; at 0 the penalty has no slope, and above 0 the wrong one


class Line(nn.Module):
    """f(x) = wx + b, b only where `bias` is set."""

    bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, 1]` to `[B]`."""
        scores = x[:, 0] * self.param("w", nn.initializers.constant(COLD), ())
        return scores + self.param("b", nn.initializers.zeros, ()) if self.bias else scores


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      shares: for each of RATES, |w_n|/(1 + δ/2λ) for n from 1, mean over critics, `[n]`.
      gradients: for each of SHIFTS, the minimax gradient after n updates, `[GAN_STEPS + 1]`.
    """

    numbers: Numbers
    shares: dict[float, np.ndarray]
    gradients: dict[float, np.ndarray]


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Trains critics and discriminators against generators that stay where they are.

    Args:
      scale: multiplies the number of critics.
      tick: called after each part.
      seed: of the samples.
    """
    chains = max(2, int(CHAINS * scale))
    numbers: Numbers = {}
    shares, best = {}, 1 + SHIFT / (2 * PENALTY)
    longest = round(max(TIMES) / min(RATES))
    slopes, _ = train(
        losses.wgan_gp(PENALTY), False, RATES, (SHIFT,), longest, chains, key_of(seed)
    )
    for rate, slope in zip(RATES, slopes[:, 0], strict=True):
        shares[rate] = np.abs(slope).mean(axis=0)[1:] / best
        for time in TIMES:
            n = round(time / rate)
            found = np.abs(slope[:, n]) / best
            # Four standard errors over critics, and the start beside 0.
            numbers[f"two_time_scales.share.eta={rate:g}@time={time:g}"] = Number(
                f"share of W₁'s gradient after {n} critic updates at η = {rate:g}, WGAN-GP, λ = 1",
                SOURCE, float(1 - (1 - 2 * rate * PENALTY) ** n), float(found.mean()),
                float(4 * found.std(ddof=1) / np.sqrt(chains) - COLD), "trained",
            )  # fmt: skip
    tick()
    weights, biases = train(
        losses.minimax(), True, (GAN_RATE,), SHIFTS, GAN_STEPS, chains, key_of(seed, 1)
    )
    gradients = {}
    for shift, w, b in zip(SHIFTS, weights[0], biases[0], strict=True):
        found = minimax_gradient(w, b, shift)
        gradients[shift] = found.mean(axis=0)
        closed = minimax_gradient(*expected_training(shift), shift)
        # Four standard errors over discriminators. Noise in w moves the mean by its square.
        error = 4 * found.std(axis=0, ddof=1) / np.sqrt(chains) + 0.001 * closed
        for n in CHECKED:
            numbers[f"two_time_scales.minimax.delta={shift:g}@n={n}"] = Number(
                f"minimax gradient after {n} updates of the discriminator, δ = {shift:g}",
                SOURCE, float(closed[n]), float(gradients[shift][n]), float(error[n]), "trained",
            )  # fmt: skip
    numbers["two_time_scales.peak"] = Number(
        f"largest minimax gradient over the discriminator's updates, δ = {SHIFTS[-1]:g}",
        SOURCE, float(closed.max()), float(gradients[SHIFTS[-1]].max()),
        float(error[closed.argmax()]), "trained",
    )  # fmt: skip
    tick()
    return Result(numbers, shares, gradients)


def train(loss, bias, rates, shifts, steps: int, chains: int, key) -> tuple[np.ndarray, np.ndarray]:
    """The critic's w and b after 0, 1, …, steps updates, each `[rates, shifts, chains, steps + 1]`.

    The rate is a number in the optimizer's state, so that one program serves all of them.
    """
    tx = optax.inject_hyperparams(optax.sgd)(learning_rate=0.0)
    held = Held(lambda z: z, latent_dim=1)
    model = jaxgan.gan(held, Line(bias), loss, optax.identity(), tx, ema_decay=0)
    state = model.init(jax.random.key(0))

    def follow(rate, shift, key):
        chosen = state.critic.opt_state._replace(hyperparams={"learning_rate": rate})
        started = place(state._replace(critic=state.critic._replace(opt_state=chosen)), shift[None])

        def update(state, key):
            data_key, latent_key = jax.random.split(key)
            data = jax.random.normal(data_key, (BATCH, 1))
            after, _ = model.d_step(state, data, latent_key)
            return after, state.critic.params

        params = jax.lax.scan(update, started, jax.random.split(key, steps + 1))[1]
        return params["w"], params.get("b", params["w"])

    for axes in ((None, None, 0), (None, 0, None), (0, None, None)):
        follow = jax.vmap(follow, axes)
    w, b = jax.jit(follow)(jnp.array(rates), jnp.array(shifts), jax.random.split(key, chains))
    return np.asarray(w, np.float64), np.asarray(b, np.float64)


def minimax_gradient(w: np.ndarray, b: np.ndarray, shift: float) -> np.ndarray:
    """|w|·E_q D, the size of the generator's gradient, in the shape of w and b."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    d = expit(w[..., None] * (nodes + shift) + b[..., None])
    return np.abs(w) * (d @ weights) / weights.sum()


def expected_training(shift: float) -> tuple[np.ndarray, np.ndarray]:
    """w and b after 0, 1, … updates on all the data, by quadrature, `[GAN_STEPS + 1]` each."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    w, b, path = COLD, 0.0, []
    for _ in range(GAN_STEPS + 1):
        path.append((w, b))
        real = weights * expit(-(w * nodes + b))  # of 1 − D
        fake = weights * expit(w * (nodes + shift) + b)
        w += GAN_RATE * (real @ nodes - fake @ (nodes + shift))
        b += GAN_RATE * (real.sum() - fake.sum())
    return tuple(np.array(path).T)


def draw(result: Result):
    """The critic's way to the gradient of W₁, and the minimax gradient's rise and fall."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, "The generator's gradient after n critic updates", width=style.NARROW
    )
    axes = panels[0]
    time = np.linspace(0, max(TIMES), 200)
    axes.plot(time, 1 - np.exp(-2 * PENALTY * time), **style.CLOSED_FORM, label="1 − exp(−2λnη)")
    for (rate, share), marker in zip(result.shares.items(), "so.", strict=True):
        n = np.unique(np.round(np.linspace(1, max(TIMES) / rate, 14)).astype(int))
        axes.plot(n * rate, share[n - 1], marker, markersize=5, alpha=0.8, label=f"η = {rate:g}")
    axes.set(ylim=(0, 1.05))
    style.legend(axes, loc="lower right")
    style.label(axes, "WGAN-GP: more is better", "updates times rate, nη", "share of W₁'s gradient")
    axes = panels[1]
    n = np.arange(1, GAN_STEPS + 1)
    for (shift, path), color in zip(
        result.gradients.items(), (style.BCE, style.MINIMAX), strict=True
    ):
        closed = minimax_gradient(*expected_training(shift), shift)
        axes.plot(n, path[1:], color=color, lw=4, alpha=0.5, label=f"δ = {shift:g}")
        axes.plot(n, closed[1:], **style.CLOSED_FORM)
    axes.set(xscale="log", yscale="log", ylim=(0.004, 12))
    axes.plot([], [], **style.CLOSED_FORM, label="closed form")
    style.legend(axes)
    style.label(axes, "Minimax: far away it fades", "updates n of D", "gradient")
    return figure
