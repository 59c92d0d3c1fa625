"""Mode collapse: clouds of samples over time, with the modes counted.

The generator's loss is an expectation over its own samples, so that for a discriminator that stands
still the best generator makes one point, where D is largest (Goodfellow 2016, sec. 5.1.1; Metz et
al. 2017, sec. 3). Training in turns can chase that point from mode to mode. WGAN's paper reports no
sign of it (Arjovsky 2017, sec. 4.3): a critic trained towards its optimum sends samples that lie
close together in different directions, towards the data that are left.

This is no theorem. Here are the two usual toy mixtures under all four losses, the networks and the
data and rate the same, each loss with its paper's kind of optimizer and number of critic updates,
clipping and penalty as wide as suits these data. Where the
theory says what is ideal, all modes, equally often, the table says how far each stays from it.
"""

from typing import NamedTuple

import jax
import numpy as np
import optax

import jaxgan
from claims import style
from claims.number import Number, Numbers
from claims.training import key_of
from jaxgan import data, losses, metrics, networks, parallel

TITLE = "Mode collapse"
SETS = ("ring8", "grid25")
LOSSES = ("minimax", "bce", "wgan", "wgan_gp")
PARTS = len(SETS) * len(LOSSES)

STEPS = 5000
FRAMES = (0.02, 0.1, 0.3, 0.6, 1.0)  # of training
BATCH = 128
RATE = 1e-3  # at the start; it falls to 0
CLIP, PENALTY = 0.05, 0.1


class Frame(NamedTuple):
    """Samples after some steps, `[2500, 2]`, and their score."""

    step: int
    samples: np.ndarray
    score: metrics.ModeScore


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      runs: frames by data set and loss.
      sets: the data sets.
    """

    numbers: Numbers
    runs: dict[tuple[str, str], list[Frame]]
    sets: dict[str, data.Dataset]


def measure(
    scale: float = 1.0, tick=lambda: None, seed: int = 0, sets=SETS, names=LOSSES
) -> Result:
    """Trains a GAN on each data set with each loss.

    Args:
      scale: multiplies the number of iterations.
      tick: called after each part.
      seed: of the networks, the order of the data and the latents.
      sets: the data sets.
      names: the losses.
    """
    numbers, runs, loaded = {}, {}, {name: data.load(name) for name in sets}
    for name, dataset in loaded.items():
        for loss in names:
            runs[name, loss] = train(dataset, loss, int(STEPS * scale), seed)
            score, modes = runs[name, loss][-1].score, len(dataset.modes)
            promised = loss == "wgan_gp"
            numbers |= {
                # A mode of 25 may be between visits when training stops.
                f"mode_collapse.modes.{name}.{loss}": Number(
                    f"modes of {name} covered by 2,500 samples, {loss}",
                    "Arjovsky 2017, sec. 4.3; VEEGAN, sec. 4.1",
                    float(modes),
                    float(score.covered),
                    modes // 25 if promised else None,
                    "trained",
                ),
                # Of 2,500 perfect samples it is (k − 1)/5,000, 0.001 and 0.005, give or take 0.001;
                # training's are less even: 0.0018 ± 0.0009 and 0.006 ± 0.002 over five seeds.
                f"mode_collapse.reverse_kl.{name}.{loss}": Number(
                    f"KL(samples‖data) over the modes of {name}, nats, {loss}",
                    "PacGAN, sec. 4.1",
                    0.0,
                    float(score.reverse_kl),
                    0.0007 * modes / scale if promised else None,
                    "trained",
                ),
            }
            tick()
    return Result(numbers, runs, loaded)


def make_model(loss: str, steps: int) -> tuple[jaxgan.GAN, int]:
    """The model of a loss, and its critic updates per generator update."""
    wasserstein = loss.startswith("wgan")
    n_critic = 5 if wasserstein else 1

    def tx(updates):
        rate = optax.linear_schedule(RATE, 0.0, updates)
        return (
            optax.rmsprop(rate, decay=0.99, eps_in_sqrt=False)
            if loss == "wgan"
            else optax.adam(rate, b1=0.5, b2=0.9)
        )

    make_loss = {
        "minimax": losses.minimax,
        "bce": losses.bce,
        "wgan": lambda: losses.wgan(CLIP),
        "wgan_gp": lambda: losses.wgan_gp(PENALTY),
    }
    generator, critic = networks.mlp((2,), latent_dim=2, width=128, depth=3)
    # Samples come from the generator itself: an average over steps would blur what it chases.
    model = jaxgan.gan(
        generator, critic, make_loss[loss](), tx(steps), tx(steps * n_critic), n_critic, ema_decay=0
    )
    return model, n_critic


def train(dataset: data.Dataset, loss: str, steps: int, seed: int) -> list[Frame]:
    """Trains by `model.step`, stopping at FRAMES."""
    model, n_critic = make_model(loss, steps)
    state = model.init(key_of(seed))
    program = jax.jit(parallel.many_steps(model.step, lambda points, batch: points[batch]))
    stops = [max(1, round(steps * fraction)) for fraction in FRAMES]
    capacity = max(b - a for a, b in zip([0, *stops], stops, strict=False))
    points, frames, step = jax.device_put(dataset.train), [], 0
    for stop in stops:
        indices = data.batch_indices(seed, step, capacity, n_critic, BATCH, len(points))
        state, _ = program(state, points, indices, stop - step)
        samples = model.sample(state, key_of(seed, 1), 2500)
        score = metrics.mode_score(samples, dataset.modes, dataset.sigma)
        frames.append(Frame(stop, np.asarray(samples), score))
        step = stop
    return frames


def draw(result: Result):
    """Sample clouds of each loss at three moments, data sets side by side."""
    titles = {
        "minimax": "GAN\nminimax",
        "bce": "GAN\nnon-sat.",
        "wgan": "WGAN",
        "wgan_gp": "WGAN-GP",
    }
    colors = (style.MINIMAX, style.BCE, style.WGAN, style.WGAN_GP)
    figure, panels = style.new_figure(
        len(LOSSES), 3 * len(result.sets), 4.2, "Samples over training, and modes they cover",
        width=style.NARROW,
    )  # fmt: skip
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.02, wspace=0, hspace=0)
    for s, (name, dataset) in enumerate(result.sets.items()):
        reach = 1.45 * np.abs(dataset.modes).max()
        for row, (loss, color) in enumerate(zip(LOSSES, colors, strict=True)):
            frames = result.runs[name, loss]
            for f, frame in enumerate((frames[0], frames[len(frames) // 2], frames[-1])):
                axes = panels[row, 3 * s + f]
                axes.plot(*dataset.modes.T, "o", color="0.8", markersize=4, markeredgewidth=0)
                axes.plot(*frame.samples[:1000].T, ".", color=color, markersize=2, alpha=0.4,
                          markeredgewidth=0)  # fmt: skip
                axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[],
                         box_aspect=1)  # fmt: skip
                for spine in axes.spines.values():
                    spine.set_color("0.8")
                axes.set_xlabel(
                    f"{int(frame.score.covered)} of {len(dataset.modes)}",
                    fontsize="small", labelpad=2,
                )  # fmt: skip
                if row == 0:
                    axes.set_title(f"Step {frame.step:,}", fontsize="small")
        for row, loss in enumerate(LOSSES):
            panels[row, 0].set_ylabel(titles[loss], fontsize="small", color=colors[row])
    return figure
