"""Claims about the family of losses: what the best critic of each measures, and its slope.

Critics are trained in the slow set. What is not trained is checked every day.
"""

import measured_claims  # puts experiments/ on the path
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from claims import coupled_slope, f_divergences, hinge, lsgan, penalties, spectral_norm
from claims.training import key_of
from measured_claims import assert_hold
from scipy.stats import norm


@pytest.mark.slow
def test_a_critic_trained_by_the_hinge_loss_certifies_total_variation():
    assert_hold("hinge", "identity", "tv", "widths")


@pytest.mark.slow
def test_a_hinge_critic_changes_sign_where_the_densities_cross():
    assert_hold("hinge", "crossing", "edge")


def test_the_hinge_loss_of_the_sign_is_least_among_critics_of_any_size():
    p, q = norm.pdf(hinge.GRID), norm.pdf(hinge.GRID, 1.5)
    f = np.linspace(-3, 3, 601)[:, None]
    cost = p * np.maximum(1 - f, 0) + q * np.maximum(1 + f, 0)
    least = np.sum(cost.min(axis=0)) * hinge.DX
    assert least == pytest.approx(2 - 2 * hinge.total_variation(1.5), abs=1e-5)


@pytest.mark.slow
def test_a_trained_lsgan_discriminator_is_the_weighted_mean_of_its_labels():
    assert_hold("lsgan", "discriminator")


@pytest.mark.slow
def test_both_players_costs_in_lsgan_give_pearsons_divergence():
    numbers = assert_hold("lsgan", "identity", "bound", "cost")
    bounds, costs = (
        [abs(n.error) for key, n in numbers.items() if f".{kind}@" in key]
        for kind in ("bound", "cost")
    )
    assert np.mean(bounds) < np.mean(costs) / 2  # an error of second order, and one of first


def test_pearsons_divergence_is_the_mean_square_of_the_best_discriminator():
    """(p − q)/(p + q) is tanh((δ²/2 − δx)/2), here for δ = 2."""

    def integrand(x):
        return (norm.pdf(x) + norm.pdf(x, 2)) * np.tanh(1 - x) ** 2

    by_hand = scipy.integrate.quad(integrand, -12, 14)[0]
    assert lsgan.chi_square(2.0) == pytest.approx(by_hand, abs=1e-8)


@pytest.mark.slow
def test_each_trained_f_gan_critic_certifies_its_divergence_and_is_f_prime():
    assert_hold("f_divergences", "kl", "reverse_kl", "pearson", "hellinger", "js")
    assert_hold("f_divergences", "identity", "critic")


def test_kl_and_reverse_kl_agree_between_normals_of_equal_deviation_only(monkeypatch):
    def both():
        return [f_divergences.closed_form(name, 1.0) for name in ("kl", "reverse_kl")]

    assert both()[1] > 1.5 * both()[0]
    monkeypatch.setattr(f_divergences, "DEVIATION", 1.0)
    assert both() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("name", f_divergences.TEXTS)
def test_no_critic_beside_f_prime_reaches_the_bound(name):
    p, q = f_divergences.densities(f_divergences.DEVIATION, 0.5)
    log_r = np.log(p) - np.log(q)
    best = f_divergences.on_grid(name, 0.5)
    for change in (0.1 * np.sin(log_r), 0.05 * np.cos(f_divergences.GRID)):
        scores = {"kl": 1 + log_r, "pearson": 2 * np.expm1(log_r), "hellinger": log_r / 2}
        moved = scores.get(name, log_r) + change
        assert f_divergences.bound(name, moved, p, q) < best - 1e-5


@pytest.mark.slow
def test_a_critics_gradient_points_from_each_sample_to_its_partner_at_slope_1():
    assert_hold("coupled_slope", "cosine", "size")
    coupled, others = measured_claims.measured("coupled_slope").cosines
    assert others.mean() < 0.8 < coupled.mean()


@pytest.mark.slow
def test_a_critic_between_a_normal_and_its_double_is_the_radius():
    assert_hold("coupled_slope", "radial", "norm")


@pytest.mark.slow
def test_the_coupling_is_that_of_exact_transport():
    assert_hold("coupled_slope", "distance", "partner")


def test_the_check_of_the_coupling_notices_two_partners_exchanged():
    pairs = coupled_slope.make_pairs(key_of(3, 1))
    assert all(number.holds for number in coupled_slope.check_plan(pairs).values())
    pairs[1, [0, 1]] = pairs[1, [1, 0]]
    assert not any(number.holds for number in coupled_slope.check_plan(pairs).values())


@pytest.mark.slow
def test_trained_slopes_are_those_that_each_penalty_asks_for():
    assert_hold("penalties", "slope", "unevenness")


@pytest.mark.slow
def test_only_the_two_sided_penalty_keeps_a_slope_where_samples_are_the_data():
    assert_hold("penalties", "flat", "same")


@pytest.mark.parametrize("kind", penalties.KINDS)
def test_the_best_slope_minimises_gain_against_cost(kind):
    case = penalties.Case(kind, 1.5, 0.7, 3.0)
    cost = {
        "gp": lambda s: 1.5 * (abs(s) - 1) ** 2,
        "lp": lambda s: 1.5 * max(0, abs(s) - 1) ** 2,
        "div": lambda s: 1.5 * abs(s) ** 3,
    }[kind]
    found = scipy.optimize.minimize_scalar(
        lambda s: cost(s) - 0.7 * s, bounds=(0, 9), method="bounded", options={"xatol": 1e-9}
    )
    assert case.slope == pytest.approx(found.x, abs=1e-5)
    # Under the two-sided penalty alone a critic that points the wrong way stays.
    wrong = scipy.optimize.minimize(lambda s: cost(s[0]) - 0.7 * s[0], [-1.0], tol=1e-10).x[0]
    assert wrong == pytest.approx(-1 + 0.7 / 3 if kind == "gp" else case.slope, abs=1e-3)


@pytest.mark.slow
def test_normalised_critics_are_1_lipschitz_and_find_a_shift():
    assert_hold("spectral_norm", "lag", "linear", "shift")


@pytest.mark.slow
def test_a_normalised_relu_critic_of_one_hidden_layer_finds_half_of_what_needs_a_fold():
    one, two = (n.measured for n in assert_hold("spectral_norm", "fold").values())
    assert one < two < 0.8


@pytest.mark.slow
def test_the_power_iteration_is_that_of_the_singular_values():
    assert_hold("spectral_norm", "iteration")


def test_the_power_iteration_is_the_closed_form_and_below_the_singular_value():
    library, closed = spectral_norm.iterate(key_of(7))
    np.testing.assert_allclose(library, closed, atol=2e-6)
    assert (np.diff(closed) > 0).all() and closed[-1] < 1


def test_no_layer_of_folds_finds_more_than_half():
    """Of many random ones, after normalisation."""
    rng = np.random.default_rng(0)
    a, w = rng.normal(size=(2, 2000, 8))
    a, w = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, w))
    b = rng.normal(size=(2000, 8)) * 0.2 * rng.integers(0, 2, size=(2000, 1))

    def f(x):
        return np.sum(a * np.maximum(w * x + b, 0), axis=1)

    found = (f(1) + f(-1)) / 2 - f(0)
    assert 0.3 < np.abs(found).max() <= 0.5
    best = np.sum(w**2 / np.linalg.norm(w, axis=1, keepdims=True) / 2, axis=1)  # a = |w|, b = 0
    np.testing.assert_allclose(best, 0.5)
