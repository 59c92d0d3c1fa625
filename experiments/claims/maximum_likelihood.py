"""Maximum likelihood minimises KL(p‖p_θ), and where that leaves off.

The mean log-likelihood of samples tends to E_p log p_θ = −H(p) − KL(p‖p_θ), and H(p) does not
depend on θ: to maximise the one is to minimise the other (Arjovsky 2017, sec. 1). From n samples
the two differ. For a model of k parameters that contains p, 2n·KL(p‖p_θ̂) tends to a χ² variable of
k degrees of freedom (Wilks 1938), so that E KL(p‖p_θ̂) ≈ k/2n: every parameter costs half a nat,
shared by all samples. The fits start at the true θ and descend to the maximum beside it. What is
measured is the cost of that maximum, and not whether descent would find it from elsewhere.

If the model does not contain p, likelihood still finds the closest p_θ in this sense: for Gaussians
∂KL/∂θ = 0 where mean and variance agree, however little else does.

And if p lives where p_θ has no mass, KL is infinite for every θ, and likelihood is no guide: the
two parallel lines of Arjovsky 2017, example 1. Noise of width σ added to both makes it θ²/2σ².
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import norm

from claims import style
from claims.number import Number, Numbers
from claims.parallel_lines import cells
from claims.training import key_of
from jaxgan import divergences
from jaxgan.divergences import Gaussian, Mixture

TITLE = "Maximum likelihood"
PARTS = 5
SOURCE = "Arjovsky 2017, sec. 1"

GRID = np.linspace(-6, 6, 1201)
DX = GRID[1] - GRID[0]
SIZES = (100, 400, 1600)
DATA = Mixture(
    jnp.log(jnp.array([0.4, 0.6])), jnp.array([-1.5, 1.2]), jnp.log(jnp.array([0.4, 0.7]))
)
WIDTHS = (0.2, 0.5, 1.0)
DISTANCES = np.linspace(0.1, 1, 10)


class Model(NamedTuple):
    """A family of distributions, and the member that the data come from.

    Attributes:
      parameters: how many there are, k.
      truth: θ of the data.
      draw: `draw(key, n)` gives n samples of it.
      log_density: log p_θ(x).
      kl: KL(p_truth‖p_θ), a function of θ.
    """

    parameters: int
    truth: object
    draw: object
    log_density: object
    kl: object


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      excess: for each model, the mean of KL(p‖p_θ̂) at each of SIZES.
      fitted: the Gaussian fitted to the mixture by likelihood.
      smoothed: KL between the blurred lines at each of WIDTHS and distances.
    """

    numbers: Numbers
    excess: dict[str, np.ndarray]
    fitted: Gaussian
    smoothed: np.ndarray


def make_models() -> dict[str, Model]:
    """A coin, a Gaussian, and a mixture of two."""

    def draw_mixture(key, n):
        which, noise = jax.random.split(key)
        component = jax.random.categorical(which, DATA.logits, shape=(n,))
        return DATA.mean[component] + jnp.exp(DATA.log_std[component]) * jax.random.normal(
            noise, (n,)
        )

    def mixture_kl(theta):
        log_p, log_q = (divergences.mixture_log_density(t, GRID) for t in (DATA, theta))
        return jnp.sum(jnp.exp(log_p) * (log_p - log_q)) * DX

    def coin_kl(logit):
        p, q = (jnp.stack([jax.nn.sigmoid(a), jax.nn.sigmoid(-a)]) for a in (heads, logit))
        return divergences.kl(p, q)

    heads = jnp.log(0.3 / 0.7)
    gaussian = Gaussian(jnp.array(1.0), jnp.log(0.5))
    return {
        "coin": Model(
            1, heads, lambda key, n: jax.random.bernoulli(key, 0.3, (n,)) * 1.0,
            divergences.bernoulli_log_density, coin_kl,
        ),
        "gaussian": Model(
            2, gaussian, lambda key, n: 1 + 0.5 * jax.random.normal(key, (n,)),
            divergences.gaussian_log_density,
            lambda t: divergences.gaussian_kl(1.0, 0.25, t.mean, jnp.exp(2 * t.log_std)),
        ),
        "mixture": Model(
            5, DATA, draw_mixture, divergences.mixture_log_density, mixture_kl
        ),
    }  # fmt: skip


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0, sizes=SIZES) -> Result:
    """Fits models to samples, and compares KL with its closed forms.

    Args:
      scale: multiplies the number of repetitions.
      tick: called after each part.
      seed: of the samples.
      sizes: of the data sets; the numbers are those of the last.
    """
    numbers = measure_identity()
    repetitions = int(1000 * scale)
    excess = {}
    for name, model in make_models().items():
        excess[name] = np.array([mean_excess(model, n, repetitions, seed) for n in sizes])
        k, n = model.parameters, sizes[-1]
        numbers[f"maximum_likelihood.parameters.{name}"] = Number(
            f"2n·KL(p‖p_θ̂) of the {name}, mean over data sets of n = {n:,}: its parameters",
            f"{SOURCE}; Wilks 1938",
            float(k),
            float(2 * n * excess[name][-1]),
            # Four standard errors of the mean of χ² of k, and a bias for n not being ∞: for the
            # Gaussian, whose mean is known exactly, 5k/n; more for models that bend more.
            4 * float(np.sqrt(2 * k / repetitions)) + 20 * k / n,
            "trained",
        )
        tick()
    fitted, misfit = measure_misfit(seed)
    tick()
    smoothed, divergence = measure_lines()
    tick()
    return Result(numbers | misfit | divergence, excess, fitted, smoothed)


def measure_identity() -> Numbers:
    """−E_p log p_θ − H(p) against KL(p‖p_θ), for p the mixture and p_θ Gaussians, on a grid."""
    p = jnp.exp(divergences.mixture_log_density(DATA, GRID))

    def gap(mean, log_std):
        theta = Gaussian(mean, log_std)
        likelihood = divergences.log_likelihood(
            divergences.gaussian_log_density, theta, GRID, p * DX
        )
        q = jnp.exp(divergences.gaussian_log_density(theta, GRID))
        return -likelihood - divergences.entropy(p, DX) - divergences.kl(p, q, DX)

    means, log_stds = jnp.meshgrid(jnp.linspace(-1, 1, 9), jnp.linspace(0, 1, 9))
    gaps = jax.vmap(gap)(means.ravel(), log_stds.ravel())
    return {
        # Rounding, in float32, of three sums of 1,201 terms: eight units in the last place.
        "maximum_likelihood.identity": Number(
            "largest |−E log p_θ − H(p) − KL(p‖p_θ)| over 81 Gaussians",
            SOURCE,
            0.0,
            float(jnp.abs(gaps).max()),
            2e-6,
            "algebra",
        )
    }


def mean_excess(model: Model, n: int, repetitions: int, seed: int) -> float:
    """The mean of KL(p‖p_θ̂) over data sets of n samples, θ̂ found by descent from the true θ."""
    tx = optax.adam(optax.cosine_decay_schedule(0.05, 120))

    def fit(key):
        x = model.draw(key, n)
        theta, _ = divergences.maximum_likelihood(model.log_density, model.truth, x, tx, 120)
        return model.kl(theta)

    key = jax.random.fold_in(key_of(seed, model.parameters), n)
    keys = jax.random.split(key, repetitions)
    return float(jnp.mean(jax.jit(lambda keys: jax.lax.map(fit, keys, batch_size=50))(keys)))


def measure_misfit(seed: int) -> tuple[Gaussian, Numbers]:
    """The Gaussian that is closest to the mixture, by likelihood of samples and by KL."""
    weights = jnp.exp(DATA.logits)
    mean = float(weights @ DATA.mean)
    std = float(jnp.sqrt(weights @ (jnp.exp(2 * DATA.log_std) + DATA.mean**2) - mean**2))
    start = Gaussian(jnp.array(2.0), jnp.array(0.0))
    tx = optax.adam(optax.cosine_decay_schedule(0.1, 300))
    density = divergences.gaussian_log_density
    x = make_models()["mixture"].draw(key_of(seed), 100_000)
    by_samples, _ = divergences.maximum_likelihood(density, start, x, tx, 300)
    p = jnp.exp(divergences.mixture_log_density(DATA, GRID))
    by_kl, _ = divergences.minimise(
        lambda t: divergences.kl(p, jnp.exp(density(t, GRID)), DX), start, tx, 300
    )
    source = "Arjovsky 2017, sec. 1, minimised over Gaussians"
    numbers = {}
    for way, fitted, mean_tolerance, std_tolerance in (
        # 4 standard errors: of a mean σ/√n, of a width √((m₄ − σ⁴)/4σ²n), m₄ the fourth moment.
        ("likelihood of 100,000 samples", by_samples, 0.0184, 0.0072),
        ("KL on a grid", by_kl, 2e-5, 2e-5),  # what 300 steps leave, and float32
    ):
        key = "samples" if fitted is by_samples else "kl"
        numbers |= {
            f"maximum_likelihood.misfit_mean.{key}": Number(
                f"mean of the Gaussian closest to a mixture, by {way}",
                source, mean, float(fitted.mean), mean_tolerance, "trained",
            ),
            f"maximum_likelihood.misfit_std.{key}": Number(
                f"standard deviation of the Gaussian closest to a mixture, by {way}",
                source, std, float(jnp.exp(fitted.log_std)), std_tolerance,
                "trained",
            ),
        }  # fmt: skip
    return by_samples, numbers


def measure_lines() -> tuple[np.ndarray, Numbers]:
    """KL between the parallel lines, as they are and blurred."""
    numbers = {
        "maximum_likelihood.lines_kl": Number(
            "KL between parallel lines, θ = 1/2, cut into cells",
            "Arjovsky 2017, example 1",
            np.inf,
            float(divergences.kl(*cells(0.5))),
            0.0,
            "algebra",
        )
    }
    x, dx = np.linspace(-6, 7, 26_001, retstep=True)
    theta = DISTANCES
    smoothed = []
    for width in WIDTHS:
        # Cut where either is too small for float32; what is cut, 6 widths out or more, weighs
        # nothing.
        p = norm.pdf(x, 0, width)
        q = norm.pdf(x, theta[:, None], width)
        inside = (p > 1e-30) & (q > 1e-30)
        smoothed.append(divergences.kl(jnp.where(inside, p, 0), jnp.where(inside, q, 0), dx))
        numbers[f"maximum_likelihood.blurred_kl@sigma={width:g}"] = Number(
            f"KL between the lines blurred by σ = {width:g}, θ = 1: θ²/2σ²",
            "Arjovsky 2017, sec. 1",
            1 / (2 * width**2),
            float(smoothed[-1][-1]),
            1e-6 / width**2,  # float32
            "algebra",
        )
    return np.stack(smoothed), numbers


def draw(result: Result):
    """Excess KL against samples; the closest Gaussian; KL between lines."""
    figure, panels = style.new_mosaic(
        "ab;cc", 5.4, r"$-E_p \log p_\theta = H(p) + \mathrm{KL}(p\,\|\,p_\theta)$: "
        "likelihood minimises KL",
    )  # fmt: skip
    axes = panels["a"]
    fine = np.array([SIZES[0], SIZES[-1]])
    for i, (name, model) in enumerate(make_models().items()):
        k = model.parameters
        axes.plot(fine, k / (2 * fine), **style.CLOSED_FORM | {"color": f"C{i}"})
        text = f"{name.capitalize()}, k = {k}"
        axes.plot(SIZES, result.excess[name], **style.DOT, color=f"C{i}", label=text)
    axes.set(xscale="log", yscale="log")
    style.label(axes, "k parameters cost k/2n", "samples n (dashed: k/2n)",
                r"KL$(p\,\|\,p_{\hat{\theta}})$, nats")  # fmt: skip
    style.legend(axes)

    axes = panels["b"]
    p = np.exp(divergences.mixture_log_density(DATA, GRID))
    axes.fill_between(GRID, p, color=style.DATA, alpha=0.15, lw=0)
    axes.plot(GRID, p, ":", color=style.DATA, label="data, p")
    q = np.exp(divergences.gaussian_log_density(result.fitted, GRID))
    axes.plot(GRID, q, color=style.FAKE, lw=2, label="closest Gaussian")
    axes.set(xlim=(-4.5, 4.5), ylim=(0, 0.6))
    style.label(axes, "Too simple, it covers all", "x", "density")
    style.legend(axes, loc="upper right")

    axes = panels["c"]
    theta = DISTANCES
    for i, (width, values) in enumerate(zip(WIDTHS, result.smoothed, strict=True)):
        axes.plot(theta, theta**2 / (2 * width**2), **style.CLOSED_FORM)
        axes.plot(theta, values, **style.DOT, color=f"C{i}", label=f"σ = {width:g}")
    axes.text(0.1, 80, "↑ σ = 0: ∞ for all θ ≠ 0", fontsize="small", color="C3")
    axes.set(yscale="log", ylim=(1e-3, 200))
    style.label(axes, "Parallel lines, blurred by σ", "distance θ (dashed: θ²/2σ²)", "KL, nats")
    style.legend(axes, loc="lower right")
    return figure
