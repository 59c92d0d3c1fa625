"""Claims about training as a game: penalties, pairs, time scales, averages, BEGAN's balance."""

import jax
import jax.numpy as jnp
import measured_claims  # puts experiments/ on the path
import numpy as np
import optax
import pytest
from claims import averaging, began_balance, r1_alone, r1_r2, relativistic, two_time_scales
from claims.training import Held, place
from measured_claims import assert_hold
from scipy.stats import norm

import jaxgan
from jaxgan import losses


def test_on_the_dirac_gan_r2_is_r1_and_both_are_r1_at_twice_the_weight():
    assert_hold("r1_r2", "same", "twice")
    result = measured_claims.measured("r1_r2")
    np.testing.assert_allclose(result.halves, result.distances, rtol=1e-3)


def test_one_weight_of_r1_converges_fastest():
    assert_hold("r1_r2", "critical", "fastest", "limit", "modulus", "rate")
    moduli = measured_claims.measured("r1_r2").moduli
    fastest = moduli.argmin()
    assert (np.diff(moduli[: fastest + 1]) < 0).all() and (np.diff(moduli[fastest:]) > 0).all()


def test_eigenvalues_of_r1_are_those_of_the_update_written_as_a_matrix():
    for gamma in (0.2, r1_r2.CRITICAL + 0.01, 25.0):
        by_matrix = np.linalg.eigvals(r1_r2.linear_update(gamma))
        closed = r1_r2.closed_eigenvalues(gamma)
        np.testing.assert_allclose(np.sort_complex(by_matrix), np.sort_complex(closed), rtol=1e-12)


def test_only_fixed_pairs_leave_a_collapse_without_a_rise():
    assert_hold("relativistic", "separable", "pairs", "all", "rise")


def test_no_critic_of_two_points_does_better_than_the_best():
    """The values are suprema: random scores, and a pairing the other way round."""
    scores = 5 * np.random.default_rng(0).normal(size=(4000, 3))
    for state, where in relativistic.STATES.items():
        ahead = scores[:, None, :2].swapaxes(1, 2) - scores[:, list(where)][:, None]
        every = -np.logaddexp(0, -ahead)  # of example i and sample j
        bound = relativistic.VALUES["all"][state] + 1e-9
        assert bound - 0.5 < every.mean(axis=(1, 2)).max() < bound
        pairs = every[:, [0, 1], [0, 1]].mean(axis=1)
        assert pairs.max() < relativistic.VALUES["pairs"][state] + 1e-9
    assert relativistic.best_value("pairs", 2, 0) == pytest.approx(0, abs=1e-6)  # x₁ with elsewhere


def test_under_r1_alone_a_critics_slope_at_samples_has_no_bound():
    assert_hold("r1_alone", "slope", "overshoot")
    slopes = measured_claims.measured("r1_alone").slopes[0]
    # As 2·log t: each factor of e adds 2.
    late = slopes[[1836, 4991]]
    assert np.diff(late)[0] == pytest.approx(2, abs=0.1)


def test_with_a_well_trained_critic_only_both_penalties_converge():
    assert_hold("r1_alone", "end", "rate")


def test_where_the_critic_is_zero_at_the_data_pairs_change_no_gradient():
    x = np.array([[0.7]], np.float32)

    def gradients(loss):
        def value(psi, theta, player):
            fn = lambda v: v[:, 0] * psi[0] + v[:, 0] ** 2 * psi[1]  # noqa: E731
            return getattr(loss, player)(fn, 0 * x, theta, jax.random.key(0))[0]

        psi = jnp.array([0.3, -0.8])
        return jax.grad(value)(psi, x, "critic"), jax.grad(value, 1)(psi, x, "generator")

    for a, b in zip(gradients(losses.bce()), gradients(losses.rpgan()), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert r1_alone.PENALTIES.keys() == r1_alone.WEIGHTS.keys()


@pytest.mark.slow
def test_updates_times_rate_is_what_brings_a_critic_to_the_slope_of_w1():
    assert_hold("two_time_scales", "share")


@pytest.mark.slow
def test_far_away_the_minimax_gradient_rises_and_then_fades():
    assert_hold("two_time_scales", "minimax", "peak")
    path = measured_claims.measured("two_time_scales").gradients[two_time_scales.SHIFTS[-1]]
    assert path.argmax() < 10 and path[-1] < path.max() / 4


def test_the_minimax_gradient_is_the_one_that_g_step_descends():
    w, b, shift = -1.3, 0.8, 2.0
    tx = optax.identity()
    held = Held(lambda z: z, latent_dim=1)
    model = jaxgan.gan(held, two_time_scales.Line(True), losses.minimax(), tx, tx)
    state = place(model.init(jax.random.key(0)), jnp.array([shift]))
    params = {"w": jnp.float32(w), "b": jnp.float32(b)}
    state = state._replace(critic=state.critic._replace(params=params))
    gradient, _ = model.g_grad(state, jnp.zeros((100_000, 1)), jax.random.key(1))
    closed = two_time_scales.minimax_gradient(np.array(w), np.array(b), shift)
    assert abs(float(gradient["shift"][0])) == pytest.approx(float(closed), rel=0.02)
    quantiles = norm.ppf((np.arange(20_000) + 0.5) / 20_000) + shift
    by_hand = abs(w) * np.mean(1 / (1 + np.exp(-(w * quantiles + b))))
    assert closed == pytest.approx(by_hand, rel=1e-4)


def test_at_a_positive_slope_the_penalty_keeps_a_critic_on_the_wrong_side():
    """Between −1 and 1 it is a hill: f = wx with w > 0 ends at 1 − δ/2λ, and not at −1 − δ/2λ."""
    delta, penalty = 0.5, 1.0
    loss, real, fake = losses.wgan_gp(penalty), jnp.zeros((4, 1)), jnp.full((4, 1), delta)
    value = lambda w: loss.critic(lambda x: w * x[:, 0], real, fake, jax.random.key(0))[0]  # noqa: E731
    w = jnp.float32(0.1)
    for _ in range(100):
        w = w - 0.2 * jax.grad(value)(w)
    assert w == pytest.approx(1 - delta / (2 * penalty), abs=1e-4)


@pytest.mark.slow
def test_the_average_of_a_circling_generator_circles_in_a_smaller_radius():
    assert_hold("averaging", "circle", "kept")


@pytest.mark.slow
def test_the_average_has_less_of_the_noise():
    assert_hold("averaging", "noise")


def test_closed_forms_of_the_average_are_those_of_a_plain_recursion():
    theta = np.cos(2 * np.pi / averaging.TURN * np.arange(6000))
    average, path = 0.0, []
    for value in theta:
        average = 0.98 * average + 0.02 * value
        path.append(average)
    ratio = np.std(path[-600:]) / np.std(theta[-600:])
    assert averaging.closed_ratio(0.98) == pytest.approx(ratio, rel=1e-6)
    h, beta = averaging.RATE, 0.98
    assert ratio == pytest.approx((1 + beta * h**2 / (1 - beta) ** 2) ** -0.5, rel=1e-6)
    # Without memory the average is the generator.
    generator, copy = averaging.closed_deviations(0.0)
    assert copy == pytest.approx(generator) and averaging.closed_deviations(0.9)[1] < generator


@pytest.mark.slow
def test_the_balance_of_began_holds_where_k_is_free_and_not_where_it_is_clipped():
    assert_hold("began_balance", "low", "held", "high", "k@")


@pytest.mark.slow
def test_began_with_both_trained_keeps_its_balance():
    assert_hold("began_balance", "trained", "sum")


@pytest.mark.parametrize("k", [0.0, 0.4, 1.0])
def test_ratio_of_began_is_that_of_the_best_projection_on_a_grid(k):
    angles = np.linspace(-np.pi / 2, np.pi / 2, 20_001)
    normal = np.stack([-np.sin(angles), np.cos(angles)])
    line = np.array([np.cos(began_balance.ANGLE), np.sin(began_balance.ANGLE)])
    real = np.array(began_balance.DATA) @ normal**2
    fake = began_balance.ALONG * (line @ normal) ** 2
    best = (real - k * fake).argmin()
    assert began_balance.closed_ratio(k) == pytest.approx(fake[best] / real[best], rel=1e-3)
