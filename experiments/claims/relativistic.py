"""The relativistic pairing loss: where its landscape is better, and what that takes.

RpGAN's critic minimises E softplus(f(G(z)) − f(x)) over pairs of an example and a sample
(Jolicoeur-Martineau 2018). Sun et al. 2020 (Towards a Better Global Loss Landscape of GANs) compare
it with the GAN's separable loss in the smallest case: data points x₁ and x₂, a generator of two
points y₁ and y₂, and a critic that is free. At the best critic the value depends only on which
points coincide. Found by maximising over the scores of the distinct points, minus the critic's loss
(half of it for the separable one, as Sun has it) is

                              separable (GAN)     pairs (xᵢ, yᵢ)   all four pairs
    y₁ = x₁, y₂ = x₂          −log 2              −log 2           −log 2
    y₁ = y₂ = x₁ (collapsed)  ½log 2 − ¾log 3     −½log 2          −½log 2
    y₁ = x₁, y₂ elsewhere     −½log 2             −½log 2          −¼log 2

The generator lowers the value. To leave the collapse, y₂ must pass elsewhere. The separable loss
rises there by 0.13: a bad basin. With pairs that stay as they are nothing rises, and Sun proves
that then there is no bad basin for any number of points.

The theorem needs those fixed pairs, x₁ always with y₁. Batches pair an example with a sample drawn
afresh, so that training sees the mean over all pairs. There the collapse is left at a rise of
¼log 2 = 0.17: it is a basin again. (Last column derived here.) Why RpGAN covers more modes in
experiments, this case does not say.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from claims import style
from claims.number import Number, Numbers
from jaxgan import losses

TITLE = "Relativistic pairs"
PARTS = 1
SOURCE = "Sun 2020, two points"
OURS = "derived in relativistic.py"

LOG2, LOG3 = np.log(2), np.log(3)
# Places: x₁ is 0, x₂ is 1, elsewhere is 2. Where y₁ and y₂ are.
STATES = {"collapsed": (0, 0), "leaving": (0, 2), "both": (0, 1)}
VALUES = {
    "separable": {"collapsed": LOG2 / 2 - 3 * LOG3 / 4, "leaving": -LOG2 / 2, "both": -LOG2},
    "pairs": {"collapsed": -LOG2 / 2, "leaving": -LOG2 / 2, "both": -LOG2},
    "all": {"collapsed": -LOG2 / 2, "leaving": -LOG2 / 4, "both": -LOG2},
}
TEXTS = {"separable": "separable loss", "pairs": "fixed pairs", "all": "all pairs"}


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      values: of each loss in each of STATES.
    """

    numbers: Numbers
    values: dict[str, dict[str, float]]


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Maximises the library's losses over critics of two points.

    Args:
      scale: ignored: there is nothing to shorten.
      tick: called after the only part.
      seed: ignored: there is no chance in it.
    """
    del scale, seed
    values = {
        loss: {state: best_value(loss, *where) for state, where in STATES.items()}
        for loss in VALUES
    }
    # Scores within ±16 miss a logarithm by e⁻¹⁶ = 1e-7 at most, and the search stops at a slope of
    # 1e-9.
    numbers = {
        f"relativistic.{loss}.{state}": Number(
            f"value at the best critic, {TEXTS[loss]}, {state}", OURS if loss == "all" else SOURCE,
            float(VALUES[loss][state]), value, 2e-7, "algebra",
        )
        for loss, of_states in values.items() for state, value in of_states.items()
    }  # fmt: skip
    for loss, closed in {"separable": 3 * LOG3 / 4 - LOG2, "pairs": 0.0, "all": LOG2 / 4}.items():
        found = values[loss]["leaving"] - values[loss]["collapsed"]
        numbers[f"relativistic.rise.{loss}"] = Number(
            f"rise that leads out of the collapse, {TEXTS[loss]}",
            OURS if loss == "all" else SOURCE, float(closed), found, 4e-7, "algebra",
        )  # fmt: skip
    tick()
    return Result(numbers, values)


def best_value(loss: str, *where: int) -> float:
    """Sun's value of a loss at the best critic: scores at the three places, y₁ and y₂ at two."""
    real, fake = np.array([[0.0], [1.0]]), np.array(where, float)[:, None]
    if loss == "all":
        real, fake = np.repeat(real, 2, axis=0), np.tile(fake, (2, 1))
    critic = losses.bce().critic if loss == "separable" else losses.rpgan().critic

    @jax.jit
    @jax.value_and_grad
    def cost(scores):
        places = jnp.arange(3.0)
        value, _ = critic(lambda x: (x == places) @ scores, real, fake, jax.random.key(0))
        return value

    def in_float64(scores):
        return [np.asarray(part, float) for part in cost(scores)]

    with jax.enable_x64(True):
        found = scipy.optimize.minimize(
            in_float64,
            np.zeros(3),
            jac=True,
            bounds=[(-16, 16)] * 3,
            options={"ftol": 0, "gtol": 1e-9},
        )
    return float(-found.fun / (2 if loss == "separable" else 1))


def draw(result: Result):
    """The way out of a collapse, for each loss."""
    figure, (panels,) = style.new_figure(
        1, 1, 2.9, "Two data points, two samples, the best critic", width=style.NARROW
    )
    axes = panels[0]
    colors = {"separable": style.MINIMAX, "pairs": style.FAKE, "all": style.WGAN}
    for (loss, color), marker in zip(colors.items(), "os^", strict=True):
        way = [result.values[loss][state] for state in STATES]
        axes.plot(range(3), way, marker=marker, color=color, lw=1.5, label=TEXTS[loss])
    axes.set(xticks=range(3), xlim=(-0.2, 2.2), ylim=(-0.75, -0.1))
    axes.set_xticklabels(["both samples on x₁", "one leaves", "and finds x₂"])
    style.legend(axes, loc="upper right")
    style.label(axes, "Only fixed pairs leave a collapse without a rise", "", "value, nats")
    return figure
