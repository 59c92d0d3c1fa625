"""Claims about chance, information and likelihood."""

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from measured_claims import assert_hold, measured, theory

asymmetry, inference, intractable = (
    theory.CLAIMS[name] for name in ("asymmetry", "inference", "intractable")
)


def test_a_fair_coin_has_the_largest_entropy():
    assert_hold("coin", "largest", "bent", "die")


def test_shares_among_flips_lack_half_a_nat_over_all_flips():
    assert_hold("coin", "lack")


def test_cross_entropy_is_least_at_the_truth_where_it_is_the_entropy():
    assert_hold("cross_entropy", "identity", "below", "least", "log_odds")


def test_the_gradient_of_cross_entropy_in_the_logits_is_q_minus_p():
    assert_hold("cross_entropy", "gradient")


def test_a_classifier_ends_at_bayes_rule_and_a_discriminator_at_log_p_over_q():
    assert_hold("cross_entropy", "classes", "discriminator")


def test_kl_from_the_data_covers_both_modes_and_kl_to_the_data_sits_on_one():
    assert_hold("asymmetry", "cover", "light", "heavy", "dear")


def test_a_simplex_search_in_double_precision_finds_the_same_gaussians():
    x, dx = np.linspace(-12, 12, 4801, retstep=True)

    def log_normal(mean, std):
        return -(((x - mean) / std) ** 2) / 2 - np.log(std * np.sqrt(2 * np.pi))

    log_p = np.logaddexp(np.log(0.3) + log_normal(-2, 0.5), np.log(0.7) + log_normal(2, 0.5))

    def kl(theta, forward):
        log_q = log_normal(theta[0], np.exp(theta[1]))
        a, b = (log_p, log_q) if forward else (log_q, log_p)
        return np.sum(np.exp(a) * (a - b)) * dx

    for name, start in (("cover", 0.0), ("light", -1.5), ("heavy", 1.5)):
        tolerances = {"xatol": 1e-7, "fatol": 1e-12}
        found = scipy.optimize.minimize(
            kl, [start, -1.0], args=(name == "cover",), method="Nelder-Mead", options=tolerances
        )
        theta = measured("asymmetry").fits[name]
        np.testing.assert_allclose(theta, found.x, atol=1e-5)
        assert asymmetry.divergence(name, theta) == pytest.approx(found.fun, abs=1e-5)


def test_grids_need_a_power_of_the_dimension_and_sampling_errs_by_another():
    assert_hold("intractable", "grid", "sampling")


@pytest.mark.parametrize("k", [2, 3, 4])
def test_moments_of_importance_weights_are_their_integrals(k):
    s = intractable.WIDTH

    def integrand(x):
        log_p, log_q = (-((x / w) ** 2) / 2 - np.log(w * np.sqrt(2 * np.pi)) for w in (1, s))
        return np.exp(k * log_p - (k - 1) * log_q)

    found, _ = scipy.integrate.quad(integrand, -40, 40)
    assert intractable.moment(k, 3) == pytest.approx(found**3, rel=1e-6)


def test_a_discriminators_logit_holds_log_z():
    assert_hold("intractable", "ratio")


def test_samples_of_a_generator_have_the_density_of_the_change_of_variables():
    assert_hold("inference", "mass", "kolmogorov", "chi_square")
    x, density = inference.change_of_variables()
    middles = (inference.CELLS[1:] + inference.CELLS[:-1]) / 2
    gap = np.abs(measured("inference").histogram - np.interp(middles, x, density))
    assert gap.max() < 0.01
    latents = np.exp(-(middles**2) / 2) / np.sqrt(2 * np.pi)  # what forgetting g' would claim
    assert np.abs(measured("inference").histogram - latents).max() > 0.3


def test_the_error_of_a_mean_does_not_know_the_dimension():
    assert_hold("inference", "error")
