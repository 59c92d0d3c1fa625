"""The mathematics of divergences.py: closed forms, axioms, limits, and what it refuses."""

import math
import subprocess
import sys

import chex
import hypothesis
import hypothesis.extra.numpy as arrays_of
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import parameterized

from jaxgan import divergences as div

LOG_2 = math.log(2)
HALVES = np.array([0.5, 0.5])
GRID, DX = np.linspace(-12.0, 12.0, 4801), 0.005


def holds_for_all(*strategies):
    """A property, on the same examples in every run; the first one compiles, so no deadline."""
    settings = hypothesis.settings(deadline=None, max_examples=30, derandomize=True)
    return lambda test: settings(hypothesis.given(*strategies)(test))


def normal(x, mean=0.0, std=1.0):
    return np.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))


@st.composite
def distributions(draw, count, size=6):
    """Some distributions over `size` outcomes, with exact zeros now and then."""
    raw = draw(arrays_of.arrays(np.float64, (count, size), elements=st.floats(0, 1)))
    raw = np.where(raw < 0.1, 0.0, raw)
    raw[raw.sum(axis=1) == 0] = 1.0
    return raw / raw.sum(axis=1, keepdims=True)


def clouds(*sizes, d=2):
    return st.tuples(
        *(arrays_of.arrays(np.float32, (n, d), elements=st.floats(-4, 4, width=16)) for n in sizes)
    )


class OnDistributions(chex.TestCase):
    @chex.all_variants(with_pmap=False)
    @parameterized.parameters(
        ("entropy", (HALVES,), LOG_2),
        ("entropy", ([1.0, 0.0],), 0.0),
        ("cross_entropy", (HALVES, [0.25, 0.75]), -0.5 * math.log(0.25 * 0.75)),
        ("kl", (HALVES, [0.25, 0.75]), 0.5 * math.log(4 / 3)),
        ("kl", ([0.25, 0.75], HALVES), 0.25 * math.log(0.5) + 0.75 * math.log(1.5)),
        ("kl", ([1.0, 0.0], HALVES), LOG_2),
        ("kl", (HALVES, [1.0, 0.0]), math.inf),
        ("cross_entropy", (HALVES, [1.0, 0.0]), math.inf),
        ("js", ([1.0, 0.0], [0.0, 1.0]), LOG_2),
        ("js", ([1.0, 0.0], HALVES), 0.75 * math.log(4 / 3)),
        ("total_variation", ([1.0, 0.0], [0.0, 1.0]), 1.0),
        ("total_variation", ([0.1, 0.9], HALVES), 0.4),
    )
    def test_hand_computed_values(self, name, args, expected):
        # By name: a function's address, in a test's name, differs between pytest's workers.
        value = self.variant(getattr(div, name))(*(jnp.asarray(a) for a in args))
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-7)


def test_leading_axes_broadcast():
    p, q = np.tile(HALVES, (3, 1, 1)), np.array([[1.0, 0.0]] * 4)
    assert div.js(p, q).shape == (3, 4)
    assert div.kl(HALVES, np.array([[0.25, 0.75], [0.5, 0.5]])).tolist()[1] == 0.0


@holds_for_all(distributions(2))
def test_kl_is_cross_entropy_minus_entropy_and_never_negative(pq):
    p, q = pq
    kl = div.kl(p, q)
    np.testing.assert_allclose(kl, div.cross_entropy(p, q) - div.entropy(p), atol=1e-5)
    assert kl >= -1e-6
    assert math.isinf(kl) == bool(np.any((q == 0) & (p > 0)))


def test_kl_is_asymmetric():
    p, q = [0.9, 0.1], [0.5, 0.5]
    assert abs(div.kl(p, q) - div.kl(q, p)) > 0.1


@holds_for_all(distributions(3))
def test_js_is_bounded_symmetric_and_its_root_is_a_metric(pqr):
    p, q, r = pqr
    m = (p + q) / 2
    np.testing.assert_allclose(div.js(p, q), (div.kl(p, m) + div.kl(q, m)) / 2, atol=1e-6)
    np.testing.assert_allclose(div.js(p, q), div.js(q, p), rtol=1e-6)
    assert 0 <= div.js(p, q) <= LOG_2 * (1 + 1e-6)
    assert div.js(p, p) == 0
    distance = lambda a, b: float(jnp.sqrt(div.js(a, b)))  # noqa: E731
    assert distance(p, r) <= distance(p, q) + distance(q, r) + 1e-6


@holds_for_all(distributions(3))
def test_total_variation_is_a_metric_and_pinsker_holds(pqr):
    p, q, r = pqr
    tv = div.total_variation
    assert tv(p, r) <= tv(p, q) + tv(q, r) + 1e-6
    assert tv(p, q) == tv(q, p)
    assert tv(p, q) <= math.sqrt(div.kl(p, q) / 2 + 1e-6) + 1e-6


def exact_js(p, q):
    """JS, its gradients in p and q, and its second derivatives (pp, pq, qq), in float64."""
    p, q = np.asarray(p, np.float64), np.asarray(q, np.float64)
    r = (p - q) / (p + q)
    alike = abs(r) < 0.1
    near = np.where(alike, r, 0.0)
    log_p = np.where(alike, np.log1p(near), np.log(2 * p / (p + q)))
    log_q = np.where(alike, np.log1p(-near), np.log(2 * q / (p + q)))
    series = (p + q) * (r**2 + r**4 / 6 + r**6 / 15 + r**8 / 28 + r**10 / 45) / 4
    value = np.where(alike, series, (p * log_p + q * log_q) / 2)
    second = q / (2 * p * (p + q)), -1 / (2 * (p + q)), p / (2 * q * (p + q))
    return value, (log_p / 2, log_q / 2), second


@pytest.mark.parametrize(
    "ratio", [1, 1 + 1e-6, 1.001, 1.1, 2, 2.9, 3.1, 10, 100, 1e3, 1e4, 1e6, 1e7, 1e8, 1e9, 1e12]
)
@pytest.mark.parametrize("swapped", [False, True])
def test_js_and_its_derivatives_are_right_at_any_ratio(ratio, swapped):
    small = np.float32(0.5 / ratio)
    p, q = jnp.array([0.5, 0.5], np.float32), jnp.array([small, 1 - small])
    p, q = (q, p) if swapped else (p, q)
    value, gradients, second = exact_js(p, q)
    # Three to five roundings of 6e-8: of m, of a quotient, of a logarithm, of their sum.
    np.testing.assert_allclose(div.js(p, q), value.sum(), rtol=3e-7)
    np.testing.assert_allclose(jax.grad(div.js, (0, 1))(p, q), gradients, rtol=3e-7)
    hessian = jax.jit(jax.hessian(div.js, (0, 1)))(p, q)
    ours = [jnp.diag(hessian[i][j]) for i, j in ((0, 0), (0, 1), (1, 1))]
    np.testing.assert_allclose(ours, second, rtol=3e-7)


def test_js_is_right_where_a_density_is_hardly_there():
    # Traced, since they are no distributions; the quotient of the last two is below float32's.
    p, q = jnp.array([3e-12, 1e-30, 2e-38]), jnp.array([1e-12, 2e-30, 100.0])
    value, gradients, _ = exact_js(p, q)
    ours, our_gradients = jax.jit(jax.value_and_grad(div.js, (0, 1)))(p, q)
    np.testing.assert_allclose(ours, value.sum(), rtol=3e-7)
    # The last of q's is log(2q/(p + q)), which in float32 is log 2.
    np.testing.assert_allclose(our_gradients, gradients, rtol=3e-7)


def test_second_derivatives_of_js_are_finite_where_a_probability_is_0():
    p, q = jnp.array([0.0, 1.0, 0.0]), jnp.array([0.4, 0.6, 0.0])
    for block in jax.tree.leaves(jax.hessian(div.js, (0, 1))(p, q)):
        assert jnp.isfinite(block).all()


def test_gradients_pass_through_nothing_that_is_not_finite():
    p, q = jnp.array([0.0, 1.0, 0.0, 0.0]), jnp.array([0.4, 0.6, 1e-9, 0.0])
    mean, cov = jnp.zeros(2), jnp.eye(2)
    with jax.debug_nans(True):  # these two may be infinite themselves
        jax.grad(div.kl, (0, 1))(p, q)
        jax.grad(lambda p: div.gan_value(div.optimal_discriminator(p, q), p, q))(p)
    with jax.debug_nans(True), jax.debug_infs(True):
        for function in (div.js, div.total_variation):
            jax.grad(function, (0, 1))(p, q)
        jax.grad(lambda p: div.optimal_discriminator(p, q).sum())(p)
        for function in (div.gaussian_kl, div.gaussian_w2):
            jax.grad(function, (1, 3))(mean, cov, mean, 4 * cov)
        jax.grad(div.wasserstein_1d)(mean, mean, 2)


def test_kl_of_near_neighbours_keeps_its_digits():
    p = np.array([0.25, 0.25, 0.25, 0.25])
    q = np.float32(p + 1e-4 * np.array([1, -1, 1, -1]))
    expected = np.sum(p * np.log(p / np.float64(q)))
    # What is summed is p log p/q, up to 1e-4, each rounded; p log p alone is up to 0.35.
    np.testing.assert_allclose(div.kl(p, q), expected, atol=4 * 1e-4 * 1.2e-7)
    gradient = jax.grad(div.kl)(jnp.asarray(p), jnp.asarray(q))
    np.testing.assert_allclose(gradient - 1, np.log(p / np.float64(q)), atol=1.2e-7)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    p, q = (jnp.asarray(v, dtype) for v in ([0.125, 0.375, 0.5, 0.0], [0.25, 0.25, 0.375, 0.125]))
    for function in (div.kl, div.js, div.cross_entropy, div.total_variation):
        value = function(p, q)
        assert value.dtype == jnp.float32
        assert value == function(p.astype(jnp.float32), q.astype(jnp.float32))
    gradient = jax.grad(div.js)(p, q)
    assert gradient.dtype == dtype
    np.testing.assert_allclose(
        jax.grad(div.js)(p.astype(jnp.float32), q.astype(jnp.float32)),
        gradient.astype(jnp.float32),
        rtol=float(jnp.finfo(dtype).eps),
    )
    value = div.gaussian_w2(
        jnp.zeros(2, dtype), jnp.eye(2, dtype=dtype), jnp.ones(2, dtype), 4 * np.eye(2)
    )
    np.testing.assert_allclose(value, 2.0, rtol=1e-6)


@holds_for_all(distributions(1, size=200), st.sampled_from([jnp.float16, jnp.bfloat16]))
def test_probabilities_rounded_to_half_precision_still_sum_to_1(p, dtype):
    (p,) = p
    assert div.entropy(jnp.asarray(p, dtype)) >= 0
    assert div.entropy(jax.nn.softmax(jnp.asarray(5 * p, dtype))) >= 0


def test_a_sum_that_rounding_does_not_explain_is_refused_in_each_precision():
    for dtype, error in ((jnp.float32, 2e-4), (jnp.float16, 4e-3), (jnp.bfloat16, 3e-2)):
        with pytest.raises(ValueError, match="p must sum to 1"):
            div.entropy(jnp.array([0.5, 0.5 + error], dtype))


def test_gradients_are_the_formulas_and_finite_at_zero():
    p, q = jnp.array([0.2, 0.8, 0.0]), jnp.array([0.5, 0.5, 0.0])
    m = (p + q) / 2
    support = np.array([1.0, 1.0, 0.0])
    safe = lambda a: jnp.where(a > 0, a, 1.0)  # noqa: E731
    for function, arg, expected in (
        (div.cross_entropy, 1, -p / safe(q)),
        (div.kl, 0, jnp.log(safe(p) / safe(q)) + support),
        (div.kl, 1, -p / safe(q)),
        (div.js, 0, jnp.log(safe(p) / safe(m)) / 2),
        (div.js, 1, jnp.log(safe(q) / safe(m)) / 2),
    ):
        np.testing.assert_allclose(jax.grad(function, arg)(p, q), expected, atol=1e-6)
    js_gradient = jax.grad(div.js, (0, 1))(jnp.array([0.0, 1.0]), jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(js_gradient, LOG_2 / 2, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(div.entropy)(p), -(jnp.log(safe(p)) + support), atol=1e-6)


@pytest.mark.parametrize("function", [div.kl, div.js, div.cross_entropy, div.total_variation])
def test_gradients_through_softmax_are_finite_on_disjoint_supports(function):
    far = jnp.array([200.0, 0.0])  # softmax underflows to exactly 0
    gradient = jax.grad(lambda t: function(jax.nn.softmax(t), jax.nn.softmax(-far)))(far)
    assert jnp.isfinite(gradient).all()


def test_densities_on_a_grid_have_the_closed_forms_of_gaussians():
    p, q = normal(GRID), normal(GRID, 1.0, 2.0)
    np.testing.assert_allclose(div.entropy(p, DX), math.log(2 * math.pi * math.e) / 2, rtol=1e-5)
    np.testing.assert_allclose(div.kl(p, q, DX), div.gaussian_kl(0, 1, 1, 4), rtol=1e-4)
    shifted = div.total_variation(normal(GRID, -1), normal(GRID, 1), DX)
    np.testing.assert_allclose(shifted, math.erf(1 / math.sqrt(2)), rtol=1e-5)


def test_a_grid_of_uneven_cells():
    p, dx = np.array([0.5, 0.25]), np.array([1.0, 2.0])
    np.testing.assert_allclose(div.entropy(p, dx), 1.5 * LOG_2, rtol=1e-6)


def test_optimal_discriminator_is_half_where_nothing_lives():
    d = div.optimal_discriminator(jnp.array([0.3, 0.0, 1.0, 0.0]), jnp.array([0.1, 0.5, 0.0, 0.0]))
    np.testing.assert_allclose(d, [0.75, 0.0, 1.0, 0.5])
    gradient = jax.grad(lambda p: div.optimal_discriminator(p, 0.0 * p).sum())(jnp.zeros(2))
    np.testing.assert_array_equal(gradient, 0.0)


def test_optimal_discriminator_has_its_gradients_in_the_tails():
    # q/(p + q)² and −p/(p + q)², whose squares float32 does not hold.
    p, q = jnp.array([1e-25, 3e-25, 0.5]), jnp.array([1e-25, 1e-25, 1e-9])
    gradients = jax.grad(lambda *pq: div.optimal_discriminator(*pq).sum(), (0, 1))(p, q)
    p, q = np.float64(p), np.float64(q)
    np.testing.assert_allclose(gradients, (q / (p + q) ** 2, -p / (p + q) ** 2), rtol=3e-7)


@holds_for_all(distributions(2))
def test_optimal_value_is_twice_js_minus_log_4(pq):
    p, q = pq
    value = div.gan_value(div.optimal_discriminator(p, q), p, q)
    np.testing.assert_allclose(value, -math.log(4) + 2 * div.js(p, q), atol=1e-5)


@holds_for_all(distributions(2), st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_no_discriminator_beats_the_optimal_one(pq, d):
    p, q = pq
    best = div.gan_value(div.optimal_discriminator(p, q), p, q)
    assert div.gan_value(np.array(d), p, q) <= best + 1e-5


def test_value_of_a_confident_mistake_is_minus_infinity():
    assert div.gan_value(0.5, HALVES, HALVES) == pytest.approx(-math.log(4))
    assert div.gan_value([0.0, 1.0], HALVES, HALVES) == -math.inf
    assert div.gan_value([1.0, 0.0], [1.0, 0.0], [0.0, 1.0]) == 0.0


def test_value_counts_a_small_doubt():
    d = jnp.array([1.0, 1e-9])
    np.testing.assert_allclose(div.gan_value(d, [1.0, 0.0], [0.0, 1.0]), -1e-9, rtol=1e-6)


def test_gaussian_kl_in_one_dimension():
    expected = math.log(3 / 2) + (2**2 + (0.5 - 1) ** 2) / (2 * 3**2) - 0.5
    np.testing.assert_allclose(div.gaussian_kl(0.5, 4, 1, 9), expected, rtol=1e-6)
    assert abs(div.gaussian_kl(0.5, 4, 0.5, 4)) < 1e-6


def random_gaussian(seed, d):
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(d, d))
    return rng.normal(size=d), factor @ factor.T + 0.1 * np.eye(d)


def test_gaussian_kl_matches_dense_linear_algebra():
    (m0, c0), (m1, c1) = random_gaussian(0, 4), random_gaussian(1, 4)
    shift, inverse = m1 - m0, np.linalg.inv(c1)
    log_det = np.linalg.slogdet(c1)[1] - np.linalg.slogdet(c0)[1]
    expected = (np.trace(inverse @ c0) + shift @ inverse @ shift - 4 + log_det) / 2
    np.testing.assert_allclose(div.gaussian_kl(m0, c0, m1, c1), expected, rtol=1e-4)


def test_gaussian_w2_matches_matrix_square_roots():
    linalg = pytest.importorskip("scipy.linalg")
    (m0, c0), (m1, c1) = random_gaussian(2, 4), random_gaussian(3, 4)
    root = linalg.sqrtm(c0).real
    cross = np.trace(linalg.sqrtm(root @ c1 @ root).real)
    expected = math.sqrt(np.sum((m0 - m1) ** 2) + np.trace(c0) + np.trace(c1) - 2 * cross)
    np.testing.assert_allclose(div.gaussian_w2(m0, c0, m1, c1), expected, rtol=1e-4)
    np.testing.assert_allclose(div.gaussian_w2(1, 4, 4, 64), math.sqrt(3**2 + 6**2), rtol=1e-6)


def test_gaussian_w2_has_finite_gradients_for_isotropic_gaussians():
    mean, cov = jnp.ones(3), jnp.eye(3)
    gradients = jax.grad(div.gaussian_w2, (0, 1))(mean, cov, 0 * mean, 4 * cov)
    # W₂² = |μ|² + 3 (σ − 2)², so dW₂ = (μ dμ + (σ − 2) dσ·…)/W₂ with dΣ = 2σ dσ.
    w2 = math.sqrt(6)
    np.testing.assert_allclose(gradients[0], mean / w2, rtol=1e-5)
    np.testing.assert_allclose(gradients[1], -cov / (2 * w2), atol=1e-5)


def test_gaussian_w2_has_second_derivatives_where_eigenvalues_repeat():
    def along(t):
        return div.gaussian_w2(
            [0.0, 0.0], jnp.array([[1.0, t], [t, 1.0]]), [0.0, 0.0], 4 * np.eye(2)
        )

    # The eigenvalues are 1 ± t: W₂² = (√(1 + t) − 2)² + (√(1 − t) − 2)² = 2 + t² + …
    np.testing.assert_allclose(jax.grad(along)(0.0), 0.0, atol=1e-6)
    np.testing.assert_allclose(jax.grad(jax.grad(along))(0.0), 1 / math.sqrt(2), rtol=1e-5)


def alike_gaussians(step, d, condition):
    """A covariance and one that the symmetric map I + step·E moves it to, in float32."""
    rng = np.random.default_rng(d)
    turn, _ = np.linalg.qr(rng.normal(size=(d, d)))
    cov = (turn * np.logspace(0, -math.log10(condition), d)) @ turn.T
    change = rng.normal(size=(d, d))
    move = np.eye(d) + step * (change + change.T) / np.linalg.norm(change + change.T, 2)
    return np.float32((cov + cov.T) / 2), np.float32(move @ cov @ move)


def transport_map(cov_p, cov_q):
    """T of x ↦ Tx, which carries one onto the other: W₂² = tr (T − I) Σ_p (T − I), in float64."""

    def power(a, exponent):
        values, vectors = np.linalg.eigh(a)
        return (vectors * values**exponent) @ vectors.T

    root, inverse = power(cov_p, 0.5), power(cov_p, -0.5)
    return inverse @ power(root @ cov_q @ root, 0.5) @ inverse


# Where variances differ a thousandfold, so do the roundings that a gradient carries.
@pytest.mark.parametrize(("d", "condition", "rtol"), [(1, 1, 2e-6), (3, 1, 2e-6), (3, 1e3, 2e-4)])
@pytest.mark.parametrize("step", [0.3, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
def test_distances_of_nearly_equal_gaussians_keep_their_digits(step, d, condition, rtol):
    cov_p, cov_q = alike_gaussians(step, d, condition)
    mean, p, q = np.zeros(d, np.float32), np.float64(cov_p), np.float64(cov_q)
    forth, identity = transport_map(p, q), np.eye(d)
    w2 = math.sqrt(np.trace((forth - identity) @ p @ (forth - identity)))
    # The derivatives in the covariances, of W₂ by the envelope theorem.
    expected = (identity - forth) / (2 * w2), (identity - np.linalg.inv(forth)) / (2 * w2)
    value, gradients = jax.value_and_grad(div.gaussian_w2, (1, 3))(mean, cov_p, mean, cov_q)
    np.testing.assert_allclose(value, w2, rtol=2e-6)
    for gradient, wanted in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, wanted, atol=rtol * abs(wanted).max())

    excess = np.linalg.eigvals(np.linalg.solve(q, p - q)).real
    kl = np.sum(np.where(abs(excess) < 1e-3, excess**2 / 2 - excess**3 / 3 + excess**4 / 4,
                         excess - np.log1p(excess))) / 2  # fmt: skip
    np.testing.assert_allclose(div.gaussian_kl(mean, cov_p, mean, cov_q), kl, rtol=2e-5)


@pytest.mark.parametrize("shift", [1e-1, 1e-3, 1e-6, 1e-15, 1e-25])
def test_a_small_shift_of_a_gaussian_costs_its_length(shift):
    mean, cov = np.zeros(3), random_gaussian(4, 3)[1]
    moved = np.array([0.6, 0.0, 0.8]) * shift
    value, gradient = jax.value_and_grad(div.gaussian_w2)(jnp.asarray(mean), cov, moved, cov)
    np.testing.assert_allclose(value, shift, rtol=1e-6)
    np.testing.assert_allclose(gradient, -moved / shift, rtol=1e-6)


def test_equal_gaussians_are_at_distance_0_with_derivative_0():
    mean, cov = random_gaussian(5, 4)
    value, gradients = jax.value_and_grad(div.gaussian_w2, (0, 1))(
        jnp.asarray(mean), jnp.asarray(cov), mean, cov
    )
    assert value == 0
    chex.assert_trees_all_equal(gradients, jax.tree.map(jnp.zeros_like, gradients))


def test_covariances_are_held_to_symmetry_at_their_own_scale():
    skewed = np.array([[1.0, 0.5], [0.0, 1.0]])
    with pytest.raises(ValueError, match="cov_p must be symmetric"):
        div.gaussian_kl([0, 0], 1e-9 * skewed, [0, 0], np.eye(2))
    rounded = np.array([[1e4, 1e-3], [0.0, 1e4]])
    assert div.gaussian_kl([0, 0], rounded, [0, 0], rounded) == 0


# Optimal transport.


def test_wasserstein_1d_by_hand():
    assert div.wasserstein_1d([0.0, 1.0], [1.0, 3.0]) == 1.5
    assert div.wasserstein_1d([0.0], [1.0, 3.0], p=2) == pytest.approx(math.sqrt(5))
    assert div.wasserstein_1d([0.0, 0.0], [0.0, 0.0, 3.0]) == 1.0


@pytest.mark.parametrize(("n", "m"), [(7, 7), (4, 9), (9, 6)])
def test_wasserstein_1d_matches_scipy(n, m):
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(3, n)), rng.normal(size=(3, m))
    expected = [stats.wasserstein_distance(a, b) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(div.wasserstein_1d(x, y), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(div.wasserstein_1d)(x, y), expected, rtol=1e-5)


def test_wasserstein_1d_gradient_moves_each_sample_towards_its_match():
    gradient = jax.grad(div.wasserstein_1d)(jnp.array([5.0, 0.0]), jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(gradient, [0.5, -0.5])
    same = jnp.array([1.0, 2.0])
    for p in (1, 2, 3):
        assert jnp.isfinite(jax.grad(div.wasserstein_1d)(same, same, p)).all()


@pytest.mark.parametrize(("p", "gap"), [(2, 1e-25), (10, 1e-5), (50, 10.0), (1.5, 1e30)])
def test_wasserstein_1d_holds_where_powers_of_the_distance_do_not(p, gap):
    x, y = jnp.array([0.0, 0.0]), jnp.array([gap, gap])
    value, gradient = jax.value_and_grad(div.wasserstein_1d)(x, y, p)
    np.testing.assert_allclose(value, gap, rtol=1e-6)
    np.testing.assert_allclose(gradient, [-0.5, -0.5], rtol=1e-5)


@holds_for_all(clouds(5, 5, 5))
def test_earth_movers_distance_is_a_metric(xyz):
    x, y, z = xyz
    emd = div.earth_movers_distance
    np.testing.assert_allclose(emd(x, y), emd(y, x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(emd(x, x[::-1]), 0.0, atol=1e-6)
    assert emd(x, z) <= emd(x, y) + emd(y, z) + 1e-5


@holds_for_all(clouds(6, d=3), st.lists(st.floats(-5, 5, width=16), min_size=3, max_size=3))
def test_translating_a_cloud_costs_its_length(x, shift):
    (x,) = x
    shift = np.asarray(shift, np.float32)
    expected = np.linalg.norm(shift)
    np.testing.assert_allclose(div.earth_movers_distance(x, x + shift), expected, atol=1e-5)


@holds_for_all(clouds(4, 7, d=1))
def test_earth_movers_distance_on_the_line_is_wasserstein_1d(xy):
    x, y = xy
    expected = div.wasserstein_1d(x[:, 0], y[:, 0])
    np.testing.assert_allclose(div.earth_movers_distance(x, y), expected, rtol=1e-5, atol=1e-5)


@holds_for_all(clouds(3, 4), st.integers(2, 4))
def test_a_weight_is_as_many_points(xy, copies):
    x, y = xy
    repeated = np.concatenate([x, np.repeat(x[:1], copies - 1, axis=0)])
    weights = np.array([copies, 1, 1]) / (copies + 2)
    weighted = div.earth_movers_distance(x, y, weights)
    np.testing.assert_allclose(weighted, div.earth_movers_distance(repeated, y), atol=1e-5)


def test_earth_movers_distance_matches_assignment():
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=(60, 3))
    cost = np.linalg.norm(x[:, None] - y[None], axis=-1)
    expected = cost[optimize.linear_sum_assignment(cost)].mean()
    np.testing.assert_allclose(div.earth_movers_distance(x, y), expected, rtol=1e-6)


def test_earth_movers_distance_matches_linear_programming():
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(8, 2)), rng.normal(size=(5, 2))
    a, b = rng.dirichlet(np.ones(8)), rng.dirichlet(np.ones(5))
    cost = np.linalg.norm(x[:, None] - y[None], axis=-1)
    marginals = np.vstack([np.kron(np.eye(8), np.ones(5)), np.kron(np.ones(8), np.eye(5))])
    expected = optimize.linprog(cost.ravel(), A_eq=marginals, b_eq=np.r_[a, b]).fun
    np.testing.assert_allclose(div.earth_movers_distance(x, y, a, b), expected, rtol=1e-5)


def test_earth_movers_distance_works_under_jit_vmap_and_grad():
    x = jnp.array([[0.0, 0.0], [1.0, 0.0]])
    shifts = jnp.array([[3.0, 4.0], [0.0, 1.0]])
    batch = x + shifts[:, None]
    distances = jax.jit(jax.vmap(div.earth_movers_distance, (None, 0)))(x, batch)
    np.testing.assert_allclose(distances, [5.0, 1.0], rtol=1e-6)
    gradient = jax.jit(jax.grad(div.earth_movers_distance))(x, batch[0])
    np.testing.assert_allclose(gradient, [[-0.3, -0.4]] * 2, rtol=1e-6)
    assert jnp.isfinite(jax.grad(div.earth_movers_distance)(x, x)).all()


def test_earth_movers_distance_gradients_match_finite_differences():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(6, 2)), rng.normal(size=(4, 2))
    a, b = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(4))
    emd = div.earth_movers_distance
    arguments = tuple(jnp.asarray(v) for v in (x, y, a, b))
    points, _, masses, _ = jax.grad(emd, (0, 1, 2, 3))(*arguments)
    step = 1e-2 * rng.normal(size=x.shape)
    difference = emd(x + step, y, a, b) - emd(x - step, y, a, b)
    np.testing.assert_allclose(2 * jnp.sum(points * step), difference, rtol=2e-2)
    step = 1e-3 * np.array([1, -1, 1, -1, 1, -1])  # stays on the simplex
    difference = emd(x, y, a + step, b) - emd(x, y, a - step, b)
    np.testing.assert_allclose(2 * jnp.sum(masses * step), difference, rtol=2e-2)


@pytest.mark.slow
def test_transport_warns_of_nothing_where_packages_are_not_compiled_yet(tmp_path):
    # As after uv's installation: Python finds no bytecode, and compiles what it imports.
    code = "from jaxgan import divergences as d; print(d.earth_movers_distance([[0.0]], [[2.0]]))"
    flags = ["-W", "error", "-B", "-X", f"pycache_prefix={tmp_path}"]
    done = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("2.0\n", "")


def test_traced_nan_is_nan():
    cloud = jnp.zeros((3, 2))
    assert jnp.isnan(jax.jit(div.earth_movers_distance)(cloud * jnp.nan, cloud))
    assert jnp.isnan(jax.jit(div.wasserstein_1d, static_argnums=2)(cloud[0], cloud[1] * jnp.nan, 2))
    assert jnp.isnan(jax.jit(div.gaussian_w2)(0.0, -1.0, 0.0, 1.0))  # no covariance


# Maximum likelihood.


def test_log_densities_normalise():
    mixture = div.Mixture(np.array([0.0, 1.0]), np.array([-2.0, 3.0]), np.array([0.0, -0.5]))
    for log_density in (
        div.gaussian_log_density(div.Gaussian(0.7, 0.3), GRID),
        div.mixture_log_density(mixture, GRID),
    ):
        np.testing.assert_allclose(jnp.sum(jnp.exp(log_density)) * DX, 1.0, rtol=1e-5)
    coin = jnp.exp(div.bernoulli_log_density(0.3, np.array([0.0, 1.0])))
    np.testing.assert_allclose(coin.sum(), 1.0, rtol=1e-6)
    np.testing.assert_allclose(coin[1], jax.nn.sigmoid(0.3), rtol=1e-6)


def test_expected_log_likelihood_is_minus_kl_minus_entropy():
    p = normal(GRID, 0.5, 0.8)
    theta = div.Gaussian(0.0, 0.2)
    expected = div.log_likelihood(div.gaussian_log_density, theta, GRID, weights=p * DX)
    kl = div.gaussian_kl(0.5, 0.8**2, 0.0, math.exp(0.4))
    np.testing.assert_allclose(expected, -kl - div.entropy(p, DX), rtol=1e-5)


def test_a_coins_likelihood_is_highest_at_its_frequency():
    flips = np.array([1, 1, 1, 0])
    logit, losses = div.maximum_likelihood(
        div.bernoulli_log_density, 0.0, flips, optax.sgd(2.0), steps=100
    )
    np.testing.assert_allclose(jax.nn.sigmoid(logit), 0.75, rtol=1e-5)
    assert losses.shape == (100,)
    np.testing.assert_allclose(losses[0], LOG_2, rtol=1e-6)
    np.testing.assert_allclose(losses[-1], div.entropy([0.25, 0.75]), rtol=1e-5)


def test_a_gaussians_likelihood_is_highest_at_the_samples_moments():
    x = np.random.default_rng(0).normal(2.0, 3.0, size=500)
    theta, _ = div.maximum_likelihood(
        div.gaussian_log_density, div.Gaussian(0.0, 0.0), x, optax.adam(0.05), steps=1000
    )
    np.testing.assert_allclose(theta.mean, x.mean(), rtol=1e-3)
    np.testing.assert_allclose(np.exp(theta.log_std), x.std(), rtol=1e-3)


@pytest.mark.slow
def test_likelihood_and_kl_reach_the_same_mixture_as_samples_grow():
    truth = div.Mixture(np.log([0.3, 0.7]), np.array([-2.0, 1.0]), np.log([0.5, 0.8]))
    start = div.Mixture(np.zeros(2), np.array([-1.0, 1.0]), np.zeros(2))
    tx, steps = optax.adam(0.05), 600
    p = np.exp(div.mixture_log_density(truth, GRID))

    def divergence(theta):
        return div.kl(p, jnp.exp(div.mixture_log_density(theta, GRID)), DX)

    by_kl, values = div.minimise(divergence, start, tx, steps)
    assert 0 <= values[-1] + 1e-6 <= 2e-6

    rng = np.random.default_rng(0)
    component = rng.random(100_000) < 0.7
    x = np.where(component, rng.normal(1.0, 0.8, 100_000), rng.normal(-2.0, 0.5, 100_000))
    errors = []
    for n in (100, 100_000):
        theta, _ = div.maximum_likelihood(div.mixture_log_density, start, x[:n], tx, steps)
        errors.append(max(jnp.max(jnp.abs(a - b)) for a, b in zip(theta, by_kl, strict=True)))
    # The standard error of each parameter is about 1/sqrt(n).
    assert errors[0] < 0.5
    assert errors[1] < 0.02 < errors[0]


def test_kl_is_infinite_and_transport_finite_between_low_dimensional_supports():
    # WGAN's introduction: two parallel segments, on a grid of lines, never meet; moving one
    # nearer does not change KL or JS, only the distance.
    lines = np.eye(5) / 1.0
    assert np.isinf([div.kl(lines[0], lines[k]) for k in (1, 2, 3)]).all()
    np.testing.assert_allclose([div.js(lines[0], lines[k]) for k in (1, 2, 3)], LOG_2, rtol=1e-6)
    z = np.random.default_rng(0).random(50)
    segment = lambda theta: np.stack([np.full(50, theta), z], axis=1)  # noqa: E731
    distances = [div.earth_movers_distance(segment(0.0), segment(k)) for k in (0.25, 1.0, 3.0)]
    np.testing.assert_allclose(distances, [0.25, 1.0, 3.0], rtol=1e-5)


def test_a_traced_nan_stays_one():
    bad, good = jnp.array([jnp.nan, 0.5, 0.0]), jnp.array([0.5, 0.5, 0.0])
    for function in (div.kl, div.js, div.cross_entropy, div.total_variation):
        assert jnp.isnan(jax.jit(function)(bad, good))
        assert jnp.isnan(jax.jit(function)(good, bad))
    assert jnp.isnan(jax.jit(div.entropy)(bad))
    assert jnp.isnan(jax.jit(div.gan_value)(bad, good, good))
    assert jnp.isnan(jax.jit(div.optimal_discriminator)(bad, good)[0])


# What is refused.

SAMPLES = np.zeros((3, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: div.entropy([0.5, -0.5, 1.0]), r"p must be non-negative, got -0.5 at \(1,\)"),
        (lambda: div.entropy([np.nan, 1.0]), r"p must be non-negative, got nan at \(0,\)"),
        (lambda: div.entropy([0.5, 0.4]), "p must sum to 1 .*, got 0.9"),
        (lambda: div.entropy([1.0, 1.0], dx=1.0), "p must sum to 1 .*, got 2.0"),
        (lambda: div.entropy(1.0), r"p must be probabilities \[..., k\], got shape \(\)"),
        (lambda: div.entropy(np.zeros((2, 0))), r"p must be probabilities .* \(2, 0\)"),
        (lambda: div.entropy(HALVES, dx=0.0), "dx must be positive, got 0.0"),
        (lambda: div.entropy(HALVES, dx=[1.0] * 3), r"dx must be a scalar or \(2,\)"),
        (lambda: div.kl(HALVES, [0.5, 0.6]), "q must sum to 1 .*, got 1.1"),
        (lambda: div.kl(HALVES, [1.0]), r"shapes do not match: p \(2,\), q \(1,\)"),
        (lambda: div.js(np.ones((2, 1)), np.ones((3, 1))), "shapes do not match"),
        (lambda: div.optimal_discriminator(-HALVES, HALVES), "p must be non-negative, got -0.5"),
        (lambda: div.gan_value([0.5, 1.5], HALVES, HALVES), r"d must lie in \[0, 1\], got 1.5"),
        (lambda: div.gan_value([0.5], HALVES, HALVES), r"shapes do not match: d \(1,\)"),
        (
            lambda: div.gaussian_kl(0, 1, 0, -2),
            r"cov_q must be positive definite, got \[\[-2.0\]\]",
        ),
        (lambda: div.gaussian_w2([0, 0], 1, 0, 1), r"mean_q must be \(2,\)"),
        (lambda: div.gaussian_kl(0, 1, np.nan, 1), r"mean_q must be finite, got nan at \(0,\)"),
        (
            lambda: div.gaussian_w2([0, 0], [[1, 0.5], [0, 1]], [0, 0], np.eye(2)),
            r"cov_p must be symmetric, got \[\[1.0, 0.5\], \[0.0, 1.0\]\]",
        ),
        (lambda: div.wasserstein_1d([], [1.0]), r"x must be samples \[..., n\], got shape \(0,\)"),
        (lambda: div.wasserstein_1d([0.0], [np.inf]), r"y must be finite, got inf at \(0,\)"),
        (
            lambda: div.wasserstein_1d([0.0], [1.0], p=0.5),
            "p must be at least 1 and finite, got 0.5",
        ),
        (lambda: div.wasserstein_1d([0.0], [1.0], p=math.inf), "p must be at least 1 and finite"),
        (lambda: div.bernoulli_log_density(0.0, [1, 2]), r"x must be 0 or 1, got 2 at \(1,\)"),
        (
            lambda: div.mixture_log_density(div.Mixture([0.0], [0.0, 1.0], [0.0, 0.0]), 0.0),
            r"must be of one shape \[k\], got \[\(1,\), \(2,\), \(2,\)\]",
        ),
        (lambda: div.earth_movers_distance(SAMPLES[:0], SAMPLES), r"x must be a cloud .* \(0, 2\)"),
        (lambda: div.earth_movers_distance(SAMPLES, SAMPLES[0]), r"y must be a cloud .* \(2,\)"),
        (lambda: div.earth_movers_distance(SAMPLES, SAMPLES[:, :1]), "agree in dimension"),
        (lambda: div.earth_movers_distance(SAMPLES + np.nan, SAMPLES), "x must be finite, got nan"),
        (
            lambda: div.earth_movers_distance(SAMPLES, SAMPLES, HALVES),
            r"x_weights must be \(3,\), one per point, got shape \(2,\)",
        ),
        (
            lambda: div.earth_movers_distance(SAMPLES, SAMPLES, y_weights=[1.0, 1.0, -1.0]),
            r"y_weights must be non-negative, got -1.0 at \(2,\)",
        ),
        (
            lambda: div.log_likelihood(lambda _, x: x, 0.0, SAMPLES),
            r"log_density must be \(3,\), one per sample, got \(3, 2\)",
        ),
        (lambda: div.log_likelihood(lambda _, x: x, 0.0, []), r"x must be samples .* \(0,\)"),
        (
            lambda: div.log_likelihood(lambda _, x: x, 0.0, [0.0, np.nan]),
            r"x must be finite, got nan at \(1,\)",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_traced_values_are_not_checked_but_shapes_are():
    assert jax.jit(div.entropy)(jnp.array([1.0, 1.0])) == 0.0
    assert jax.grad(div.entropy)(jnp.array([1.0, 1.0])).shape == (2,)
    with pytest.raises(ValueError, match="shapes do not match"):
        jax.jit(div.kl)(HALVES, jnp.ones(3))
