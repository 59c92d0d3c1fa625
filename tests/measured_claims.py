"""Claims measured as fast as their tolerances allow, once for all the tests of a file."""

import functools
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "experiments"))

import theory

# Of full training, and of the points on its curves, as much as makes the tolerances hold.
REDUCED = {
    "coin": {"scale": 0.5},
    "cross_entropy": {"scale": 0.5},
    "maximum_likelihood": {"scale": 0.1, "sizes": (1600,)},
    "asymmetry": {"scale": 1.0},
    "intractable": {"scale": 0.5},
    "inference": {"scale": 0.3},
    "minimax_tree": {"scale": 0.5},
    "matrix_game": {"scale": 0.5},
    "optimal_discriminator": {"scale": 0.5},
    "global_optimum": {"scale": 0.4},
    "local_optima": {"scale": 0.4},
    "f_divergences": {"scale": 1.0},
    "lsgan": {"scale": 1.0},
    "hinge": {"scale": 1.0},
    "convergence": {"scale": 0.6},
    "parallel_lines": {"scale": 0.4},
    "perfect_discriminator": {"scale": 0.5},
    "vanishing_gradients": {"scale": 0.4},
    "log_d": {"scale": 0.5},
    "hierarchy": {"scale": 0.5},
    "continuity": {"scale": 1.0},
    "duality": {"scale": 0.4, "penalties": (1.0, 10.0)},
    "wasserstein_gradient": {"scale": 0.5},
    "coupled_slope": {"scale": 1.0},
    "penalties": {"scale": 1.0},
    "spectral_norm": {"scale": 1.0},
    "clipping_scale": {"scale": 0.5, "clips": (0.01, 0.1)},
    "clipping": {"scale": 0.3, "sets": ("swissroll",)},
    "sinkhorn": {"scale": 0.5},
    "sliced": {"scale": 0.5},
    "mode_collapse": {"scale": 0.2, "sets": ("ring8",), "names": ("wgan_gp",)},
    "packing": {"scale": 0.5},
    "dirac_gan": {"scale": 1.0},
    "r1_r2": {"scale": 1.0},
    "relativistic": {"scale": 1.0},
    "r1_alone": {"scale": 1.0},
    "two_time_scales": {"scale": 0.3},
    "averaging": {"scale": 0.1},
    "began_balance": {"scale": 1.0},
}


# These train for longest: all of their numbers belong to the slow set.
LONG = (
    *("maximum_likelihood", "global_optimum", "convergence", "parallel_lines"),
    *("vanishing_gradients", "duality", "clipping_scale", "clipping", "mode_collapse"),
    *("optimal_discriminator", "two_time_scales", "averaging", "began_balance", "packing"),
    *("f_divergences", "lsgan", "hinge", "coupled_slope", "penalties", "spectral_norm"),
    *("sinkhorn", "sliced", "wasserstein_gradient"),
)


def each_claim(names=tuple(REDUCED)):
    return pytest.mark.parametrize(
        "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in names]
    )


# Parts of a claim, as the progress bar counts them, that its reduced run leaves out.
LEFT_OUT = {"clipping_scale": 2, "clipping": 2, "mode_collapse": 7}


@functools.cache
def measured_with_ticks(name):
    ticks = []
    return theory.CLAIMS[name].measure(**REDUCED[name], tick=lambda: ticks.append(1)), len(ticks)


def measured(name):
    return measured_with_ticks(name)[0]


def assert_hold(name, *kinds):
    """All numbers of a claim whose names go on with one of kinds are within their tolerances."""
    numbers = {
        key: number
        for key, number in measured(name).numbers.items()
        if key.removeprefix(f"{name}.").startswith(kinds)
    }
    assert numbers, kinds
    for key, number in numbers.items():
        assert number.holds, f"{key}: {number}"
    return numbers
