"""Minimax dynamics: the Dirac-GAN, the smallest GAN there is.

Data at 0, a generator that makes θ, a critic with one weight, f(x) = ψx (Mescheder et al. 2018,
Which Training Methods for GANs do actually Converge?, sec. 2). Near the equilibrium (ψ, θ) = (0, 0)
gradient steps of size h are linear. With b = 1 for the Wasserstein loss and b = f'(0) = 1/2 for the
GAN's, and R1's penalty γ/2·|∇f|² on the data,

    critic first, then generator:  ψ ← (1 − hγ)ψ − hbθ,   θ ← θ + hbψ (the new ψ),

whose eigenvalues have product 1 − hγ and sum 2 − hγ − h²b². Hence

  * γ = 0: complex for hb < 2, of modulus 1. Training circles (sec. 2). If both players move at
    once the eigenvalues are 1 ± ihb, of modulus √(1 + h²b²) > 1, and it spirals out;
  * γ > 0: modulus √(1 − hγ) < 1 where they are complex, and training converges (sec. 3 and 4.1);
  * clipping to [−c, c] leaves the circles inside as they are; trajectories from outside end on the
    circle of radius c. It does not converge (sec. 3);
  * the penalty λ(|ψ| − 1)² of WGAN-GP pushes ψ away from 0, so that the equilibrium is none
    (sec. 3). In small steps, and for ψ > 0, θ̈ + 2λθ̇ + θ = 2λ: a half-turn about θ = 2λ
    that shrinks the distance from there by q = exp(−πλ/√(1 − λ²)). A closed orbit through
    (0, −Θ) and (0, Θ) has Θ − 2λ = q(Θ + 2λ), so Θ = 2λ·coth(πλ/(2√(1 − λ²))) for λ < 1. From
    λ = 1 on it creeps to |θ| = 2λ, the wrong place, without turning. (Derived here.)

The eigenvalues measured are those of the Jacobian of the library's own `d_step` and `g_step`.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.patches import Circle

import jaxgan
from claims import style
from claims.number import Number, Numbers
from claims.training import put
from jaxgan import losses

TITLE = "The Dirac-GAN"
PARTS = 2
SOURCE = "Mescheder 2018"

RATE = 0.1  # h of the eigenvalues
ORBIT_RATE = 0.01  # h of the orbits, small, as their closed forms are those of small steps
STEPS = 10_000
START = (0.0, 1.5)  # (ψ, θ)
CLIP = 0.5
PENALTY_KINDS = ("penalty_orbit", "penalty_end")


class DiracGenerator(nn.Module):
    """G(z) = θ, whatever z."""

    latent_dim: int = 1

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Maps latents `[B, 1]` to `[B, 1]`."""
        return 0 * z + self.param("theta", nn.initializers.constant(START[1]), ())


class DiracCritic(nn.Module):
    """f(x) = ψx."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, 1]` to `[B]`."""
        return x[:, 0] * self.param("psi", nn.initializers.constant(START[0]), ())


class Setting(NamedTuple):
    """A loss, its order of play, and the eigenvalues that theory gives it.

    Attributes:
      text: for the figure.
      loss: a library loss.
      slope: b, the slope of the loss at the equilibrium.
      gamma: R1's weight.
      together: whether both players move at once, instead of critic first.
      source: where in Mescheder 2018.
    """

    text: str
    loss: losses.Loss
    slope: float
    gamma: float = 0.0
    together: bool = False
    source: str = "sec. 2"

    def eigenvalues(self, h: float) -> np.ndarray:
        """Of the linearised update, by hand."""
        b, gamma = self.slope, self.gamma
        if self.together:
            return np.linalg.eigvals(np.array([[1 - h * gamma, -h * b], [h * b, 1.0]]))
        total, product = 2 - h * gamma - (h * b) ** 2, 1 - h * gamma
        root = np.sqrt(complex(total**2 / 4 - product))
        return np.array([total / 2 + root, total / 2 - root])


SETTINGS = {
    "minimax": Setting("GAN, minimax", losses.minimax(), 0.5),
    "bce": Setting("GAN, non-saturating", losses.bce(), 0.5),
    "minimax_together": Setting("GAN, minimax, both at once", losses.minimax(), 0.5, together=True),
    "wgan": Setting("WGAN, within its bound", losses.wgan(CLIP), 1.0),
    "bce_r1": Setting(
        "GAN, R1, γ = 0.3", losses.with_r1(losses.bce(), 0.3), 0.5, 0.3, source="sec. 3 and 4.1"
    ),
    "bce_r1_critical": Setting(
        "GAN, R1, γ = 2", losses.with_r1(losses.bce(), 2.0), 0.5, 2.0, source="sec. 3 and 4.1"
    ),
    "wgan_r1": Setting(
        "WGAN, R1, γ = 0.3",
        losses.with_r1(losses.wgan(CLIP), 0.3),
        1.0,
        0.3,
        source="sec. 3 and 4.1",
    ),
}


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      eigenvalues: for each setting, measured, `[2]`.
      orbits: for each panel of the figure, (ψ, θ) after each step, `[steps + 1, 2]`.
    """

    numbers: Numbers
    eigenvalues: dict[str, np.ndarray]
    orbits: dict[str, np.ndarray]


def make_update(loss: losses.Loss, rate: float, together: bool = False):
    """The library's update as a map of the plane: (ψ, θ) to (ψ, θ)."""
    model = jaxgan.gan(
        DiracGenerator(), DiracCritic(), loss, optax.sgd(rate), optax.sgd(rate), 1, ema_decay=0
    )
    state = model.init(jax.random.key(0))
    real, key = jnp.zeros((1, 1)), jax.random.key(1)

    def update(point):
        psi, theta = point
        before = put(state, {"theta": theta}, {"psi": psi})
        after, _ = model.d_step(before, real, key)
        moved, _ = model.g_step(before if together else after, real, key)
        return jnp.stack([after.critic.params["psi"], moved.generator.params["theta"]])

    return update


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Takes the eigenvalues of the library's update maps, and follows their orbits.

    Args:
      scale: ignored: the smallest GAN there is needs no smaller size.
      tick: called after each part.
      seed: ignored: there is nothing random in it, and two weights start at START.
    """
    del scale, seed
    numbers, eigenvalues = {}, {}
    # Beside the equilibrium, since at a gradient of exactly 0 the penalty's norm has no second
    # derivative. The GAN losses bend by 10⁻⁶ there, the Wasserstein losses not at all.
    beside = jnp.array([1e-3, 0.0])
    for name, setting in SETTINGS.items():
        update = make_update(setting.loss, RATE, setting.together)
        jacobian = jax.jit(jax.jacobian(update))(beside)
        eigenvalues[name] = np.linalg.eigvals(np.asarray(jacobian, np.float64))
        closed = setting.eigenvalues(RATE)
        # Float32 rounds the Jacobian to 6e-8; beside the equilibrium the losses bend by 10⁻⁶.
        numbers[f"dirac_gan.modulus.{name}"] = Number(
            f"largest modulus of the update's eigenvalues, {setting.text}, h = {RATE:g}",
            f"{SOURCE}, {setting.source}",
            float(np.abs(closed).max()),
            float(np.abs(eigenvalues[name]).max()),
            1e-6,
            "algebra",
        )
    tick()
    orbits = {
        "minimax": follow(losses.minimax()),
        "bce": follow(losses.bce()),
        "together": follow(losses.minimax(), rate=RATE, together=True)[:700],
        "clip": follow(losses.wgan(CLIP)),
        "penalty@lambda=0.1": follow(losses.wgan_gp(0.1)),
        "penalty@lambda=0.5": follow(losses.wgan_gp(0.5)),
        "penalty@lambda=2": follow(losses.wgan_gp(2.0)),
        "r1": follow(losses.with_r1(losses.bce(), 1.0)),
    }
    radius = np.linalg.norm(orbits["clip"][-1000:], axis=1)
    numbers["dirac_gan.clipped_radius"] = Number(
        f"radius where clipping to c = {CLIP:g} ends",
        f"{SOURCE}, sec. 3",
        CLIP,
        float(radius.mean()),
        ORBIT_RATE**2,  # in steps of h an orbit is a circle but for h²
        "trained",
    )
    for penalty in (0.1, 0.5):
        closed = 2 * penalty / np.tanh(np.pi * penalty / (2 * np.sqrt(1 - penalty**2)))
        orbit = orbits[f"penalty@lambda={penalty:g}"][-2000:]
        numbers[f"dirac_gan.penalty_orbit@lambda={penalty:g}"] = Number(
            f"largest |θ| on WGAN-GP's closed orbit, λ = {penalty:g}: 2λ·coth(πλ/(2√(1 − λ²)))",
            f"{SOURCE}, sec. 3, and the orbit derived above",
            float(closed),
            float(np.abs(orbit[:, 1]).max()),
            ORBIT_RATE / 2 * closed,  # the closed form is that of infinitely small steps
            "trained",
        )
    numbers["dirac_gan.penalty_end@lambda=2"] = Number(
        "where WGAN-GP comes to rest for λ = 2: |θ| = 2λ, though the data are at 0",
        f"{SOURCE}, sec. 3, and the orbit derived above",
        4.0,
        float(np.abs(orbits["penalty@lambda=2"][-1, 1])),
        1e-3,  # float32, and the last of the way there
        "trained",
    )
    numbers["dirac_gan.r1_end"] = Number(
        f"distance from the equilibrium after {STEPS:,} steps with R1",
        f"{SOURCE}, sec. 3 and 4.1",
        0.0,
        float(np.linalg.norm(orbits["r1"][-1])),
        1e-6,  # √(1 − hγ) to the power of 10,000 is 10⁻²², from 1.5 away
        "trained",
    )
    tick()
    return Result(numbers, eigenvalues, orbits)


def follow(loss: losses.Loss, rate: float = ORBIT_RATE, together: bool = False) -> np.ndarray:
    """(ψ, θ) from START on, `[STEPS + 1, 2]`."""
    update = make_update(loss, rate, together)
    start = jnp.array(START)

    def body(point, _):
        moved = update(point)
        return moved, moved

    points = jax.jit(lambda s: jax.lax.scan(body, s, length=STEPS)[1])(start)
    return np.concatenate([start[None], points])


def draw(result: Result):
    """Eight orbits, and the eigenvalues against the unit circle."""
    title = "Dirac-GAN: data at 0, generator θ, critic ψx (● start, ■ end)"
    figure, panels = style.new_figure(3, 4, 5.4, title, width=style.NARROW)
    texts = {
        "minimax": ("GAN, minimax:\ncircles", style.MINIMAX),
        "bce": ("GAN, non-sat.:\nslows down", style.BCE),
        "together": ("GAN, at once:\nspirals out", style.MINIMAX),
        "clip": (f"WGAN, c = {CLIP:g}:\na circle", style.WGAN),
        "penalty@lambda=0.1": ("WGAN-GP, λ = 0.1:\nan orbit", style.WGAN_GP),
        "penalty@lambda=0.5": ("WGAN-GP, λ = 0.5:\nan orbit", style.WGAN_GP),
        "penalty@lambda=2": ("WGAN-GP, λ = 2:\nrests at |θ| = 2λ", style.WGAN_GP),
        "r1": ("GAN, R1, γ = 1:\nconverges", style.BCE),
    }
    for axes, (name, orbit) in zip(panels[:2].flat, result.orbits.items(), strict=True):
        text, color = texts[name]
        axes.axhline(0, color="0.85", lw=0.7, zorder=0)
        axes.axvline(0, color="0.85", lw=0.7, zorder=0)
        axes.plot(orbit[:, 1], orbit[:, 0], color=color, lw=0.9)
        axes.plot(orbit[0, 1], orbit[0, 0], "o", color="0.2", markersize=4)
        axes.plot(orbit[-1, 1], orbit[-1, 0], "s", color="0.2", markersize=4)
        if name == "clip":
            axes.add_patch(Circle((0, 0), CLIP, fill=False, **style.CLOSED_FORM))
        for key in (f"dirac_gan.{name.replace('penalty', kind)}" for kind in PENALTY_KINDS):
            if key in result.numbers:
                closed = result.numbers[key].closed_form
                for bound in (-closed, closed):
                    axes.axvline(bound, **style.CLOSED_FORM)
        reach = 1.12 * np.abs(orbit).max()
        span, ticks = (-reach, reach), (-int(reach), 0, int(reach))
        axes.set(xlim=span, ylim=span, xticks=ticks, yticks=ticks, box_aspect=1)
        style.label(
            axes, text, "θ" if axes in panels[1] else "", "ψ" if axes in panels[:, 0] else ""
        )
        axes.title.set_fontsize("small")
    draw_eigenvalues(figure, panels, result)
    return figure


def draw_eigenvalues(figure, panels, result: Result) -> None:
    """The eigenvalues of an update against the unit circle, in place of the last row."""
    grid = panels[0, 0].get_gridspec()
    for axes in panels[2]:
        axes.remove()
    axes = figure.add_subplot(grid[2, :])
    axes.tick_params(labelsize="small")
    turn = np.exp(1j * np.linspace(-0.2, 0.2, 200))
    axes.plot(turn.real, turn.imag, color="0.6", lw=0.9)
    for i, (name, values) in enumerate(result.eigenvalues.items()):
        closed = SETTINGS[name].eigenvalues(RATE)
        axes.plot(closed.real, closed.imag, "o", color=f"C{i}", markerfacecolor="none",
                  markersize=8)  # fmt: skip
        axes.plot(values.real, values.imag, "x", color=f"C{i}", markersize=5,
                  label=SETTINGS[name].text)  # fmt: skip
    axes.set(xlim=(0.79, 1.02), ylim=(-0.15, 0.15))
    style.legend(axes, loc="center", bbox_to_anchor=(0.4, 0.5), labelspacing=0.1, borderpad=0)
    title = f"Eigenvalues, h = {RATE:g}: ○ closed form, × library's, line |z| = 1"
    style.label(axes, title, "real part", "imaginary part")
    axes.title.set_fontsize("small")
