"""Claims about supports, and about distances that carry mass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from measured_claims import assert_hold, measured, theory

from jaxgan import distances

continuity, hierarchy, log_d = (
    theory.CLAIMS[name] for name in ("continuity", "hierarchy", "log_d")
)
perfect_discriminator = theory.CLAIMS["perfect_discriminator"]
wasserstein_gradient = theory.CLAIMS["wasserstein_gradient"]
sinkhorn, sliced = theory.CLAIMS["sinkhorn"], theory.CLAIMS["sliced"]


def test_where_supports_are_disjoint_or_cross_there_is_a_perfect_discriminator_without_slope():
    assert_hold("perfect_discriminator", "explicit")


def test_a_trained_discriminator_becomes_perfect_and_leaves_the_minimax_generator_nothing():
    assert_hold("perfect_discriminator", "accuracy", "js", "gradient", "bound")
    apart = measured("perfect_discriminator").history["disjoint"]
    assert apart["minimax"][-1] < 0.01 < 1 < apart["bce"][-1]


def test_where_circles_cross_the_slope_does_not_vanish():
    assert_hold("perfect_discriminator", "stays")
    assert measured("perfect_discriminator").history["crossing"]["size"][-1] > 0.2


def test_a_perfect_discriminator_has_a_slope_between_the_supports():
    slope = jax.grad(lambda x: perfect_discriminator.perfect(x, 2.5))(jnp.array([1.25, 0.0]))
    assert slope[0] < -1


def test_the_gradient_of_minus_log_d_is_that_of_kl_less_twice_js():
    assert_hold("log_d", "optimal", "trained")


def test_its_closed_form_is_the_slope_of_kl_less_twice_js_by_finite_differences():
    def value(m):
        grid, dx = log_d.GRID, log_d.DX
        p, q = (np.exp(-(((grid - a) / b) ** 2) / 2) / (b * np.sqrt(2 * np.pi))
                for a, b in ((0, 1), (m, log_d.SCALE)))  # fmt: skip
        middle = (p + q) / 2
        parts = [np.sum(a * (np.log(a + 1e-300) - np.log(b + 1e-300))) * dx
                 for a, b in ((q, p), (q, middle), (p, middle))]  # fmt: skip
        return parts[0] - parts[1] - parts[2]

    closed, step = log_d.closed_forms(np.array([0.5, 1.5]))["slope"], 1e-4
    for i, m in enumerate((0.5, 1.5)):
        slope = (value(m + step) - value(m - step)) / (2 * step)
        assert closed[i] == pytest.approx(slope, abs=1e-4)


def test_under_a_noisy_discriminator_gradients_have_cauchys_tails_and_no_variance():
    assert_hold("log_d", "cauchy")


def test_a_sequence_can_converge_in_one_distance_and_not_in_another():
    assert_hold("hierarchy", "coin", "outlier", "shift", "waves", "points")


@pytest.mark.parametrize("name", hierarchy.SEQUENCES)
def test_distances_along_a_sequence_are_their_closed_forms(name):
    for i, n in enumerate(hierarchy.SIZES[:4]):
        for m, closed in hierarchy.closed_forms(name, n).items():
            found = measured("hierarchy").curves[name][m][i]
            assert found == pytest.approx(closed, rel=1e-3), (m, n)


def test_distances_are_bounded_by_each_other_as_the_theorem_says():
    assert_hold("hierarchy", "bound")


def test_w1_is_continuous_with_the_generator_where_js_jumps():
    assert_hold("continuity", "w1", "slope", "js", "bound")


def test_a_critic_that_only_sees_the_first_coordinate_certifies_w1_of_the_curves():
    z = (np.arange(1000) + 0.5) / 1000
    for t in continuity.THETA:
        mean = float(continuity.curve(t, z)[:, 0].mean())
        assert abs(mean) == pytest.approx(abs(t) + abs(t) ** 3 / 3, abs=1e-5)


@pytest.mark.slow
def test_the_slope_of_a_critic_is_the_gradient_of_w1():
    assert_hold("wasserstein_gradient", "critic", "transport")


def test_the_gradient_of_w1_is_that_of_its_closed_form():
    """Between finite differences of E|m + (s − 1)z|, by samples."""
    z = np.random.default_rng(0).normal(size=(400_000, 2))

    def w1(m, s):
        return np.linalg.norm(m + (s - 1) * z, axis=1).mean()

    m, s, step = wasserstein_gradient.SHIFT, 2.0, 1e-3
    moves = ((step, 0, 0), (0, step, 0), (0, 0, step))
    slopes = [(w1(m + d[:2], s + d[2]) - w1(m - d[:2], s - d[2])) / (2 * step)
              for d in np.array(moves)]  # fmt: skip
    closed = wasserstein_gradient.closed_forms(np.array([s]))[0]
    np.testing.assert_allclose(closed, slopes, atol=5e-3)


@pytest.mark.slow
def test_sinkhorn_divergence_goes_from_transport_to_the_distance_of_means():
    assert_hold("sinkhorn", "value", "slope", "limit", "plane")


def test_its_closed_form_in_the_plane_is_that_of_the_line_in_each_coordinate():
    a, b = np.eye(2), np.diag([4.0, 9.0])
    one = [
        float(sinkhorn.of_gaussians(gap, spread, 1.5)) for gap, spread in ((1.0, 2.0), (0.5, 3.0))
    ]
    both = sinkhorn.of_gaussians_in_plane(np.array([1.0, 0.5]), a, b, 1.5)
    assert both == pytest.approx(sum(one), rel=1e-5)


@pytest.mark.slow
def test_a_generator_learns_the_ring_from_the_sinkhorn_divergence():
    assert_hold("sinkhorn", "ring")


@pytest.mark.slow
def test_sliced_distances_of_shifts_and_gaussians_are_their_closed_forms():
    assert_hold("sliced", "shift", "error", "gaussians")


@pytest.mark.slow
def test_a_generator_learns_the_ring_from_the_sliced_distance():
    assert_hold("sliced", "ring")


def test_sliced_transport_is_less_than_transport():
    x, y = jax.random.normal(jax.random.key(0), (2, 200, 2))
    y = y * 2 + 1
    whole = distances.earth_movers_distance(x, y)
    assert distances.sliced_wasserstein(x, y, jax.random.key(1)) < whole
    assert sliced.relative_error(2, 1) == pytest.approx(np.sqrt(0.5))
