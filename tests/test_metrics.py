"""Scores against closed forms, reference implementations and what their papers prove."""

import math

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import divergences, metrics
from jaxgan.metrics import neighbours

RING = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], axis=1)
GRID = np.stack(np.meshgrid(*[np.arange(-4.0, 5.0, 2.0)] * 2), axis=-1).reshape(-1, 2)


def mixture(modes, sigma, n, seed=0):
    rng = np.random.default_rng(seed)
    return modes[rng.integers(len(modes), size=n)] + sigma * rng.normal(size=(n, 2))


def normal(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


# Modes.


def test_the_data_cover_every_mode_and_three_sigma_of_quality():
    samples = mixture(GRID, 0.05, 100_000)
    score = metrics.mode_score(samples, GRID, 0.05)
    assert score.covered == 25
    # The radius of a 2-D normal is Rayleigh; the error of a fraction is below 0.001 at 3 sigma.
    np.testing.assert_allclose(score.high_quality, 1 - math.exp(-4.5), atol=1e-3)
    assert score.histogram.sum() == 100_000
    assert score.reverse_kl < 1e-3


def test_a_collapsed_generator_scores_log_of_modes():
    samples = mixture(RING[:2], 1e-3, 1000)
    score = metrics.mode_score(samples, RING, 0.01)
    assert score.covered == 2
    assert score.high_quality == 1.0
    np.testing.assert_allclose(score.reverse_kl, math.log(4), atol=5e-3)


def test_a_mode_needs_one_sample_within_three_sigma():
    sigma, step = 0.01, np.array([[1.0, 0.0]])
    near, far = RING[:1] + 2.99 * sigma * step, RING[4:5] - 3.01 * sigma * step
    score = metrics.mode_score(np.concatenate([near, far]), RING, sigma)
    assert (score.covered, score.high_quality) == (1, 0.5)
    np.testing.assert_array_equal(score.histogram, [1, 0, 0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(score.near, [1, 0, 0, 0, 0, 0, 0, 0])


class UnderTransformations(chex.TestCase):
    @chex.all_variants(with_pmap=False)
    def test_mode_score_of_a_batch_of_seeds_is_that_of_each(self):
        batch = np.stack([mixture(RING[:k], 0.01, 200) for k in (1, 8)])
        scores = self.variant(jax.vmap(lambda x: metrics.mode_score(x, RING, 0.01)))(batch)
        for seed in range(2):
            alone = metrics.mode_score(batch[seed], RING, 0.01)
            one = jax.tree.map(lambda a, seed=seed: a[seed], scores)
            chex.assert_trees_all_close(one, alone, rtol=1e-5)


def test_traced_nan_samples_count_but_belong_to_no_mode():
    samples = jnp.array([[1.0, 0.0], [jnp.nan, 0.0]])
    score = jax.jit(metrics.mode_score)(samples, RING, 0.01)
    assert (score.covered, score.high_quality, score.histogram.sum()) == (1, 0.5, 1)


def test_reverse_kl_puts_the_generator_first():
    # Finite although modes are missing; the other direction is infinite.
    np.testing.assert_allclose(metrics.reverse_kl([5, 5, 0, 0]), math.log(2), rtol=1e-6)
    counts, reference = [3, 1, 0], [1, 1, 2]
    expected = divergences.kl([0.75, 0.25, 0.0], [0.25, 0.25, 0.5])
    np.testing.assert_allclose(metrics.reverse_kl(counts, reference), expected, rtol=1e-6)
    assert metrics.reverse_kl([1, 1], [2, 0]) == math.inf
    assert math.isnan(metrics.reverse_kl([0, 0]))


def test_reverse_kl_of_a_perfect_generator_is_its_sampling_floor():
    rng = np.random.default_rng(0)
    counts = rng.multinomial(2500, np.full(25, 1 / 25), size=2000)
    # 2n KL is χ² with k − 1 degrees of freedom: mean 24, standard error √48/√2000.
    np.testing.assert_allclose(metrics.reverse_kl(counts).mean() * 5000, 24, atol=4 * 0.155)


# Transport.


def test_earth_movers_distance_takes_images():
    x = normal(20, 12).reshape(20, 2, 2, 3)
    expected = divergences.earth_movers_distance(x.reshape(20, 12), x.reshape(20, 12) + 1)
    np.testing.assert_allclose(metrics.earth_movers_distance(x, x + 1), expected)
    np.testing.assert_allclose(expected, math.sqrt(12), rtol=1e-5)


@pytest.mark.parametrize("d", [1, 2, 8])
def test_sliced_distances_of_a_shift(d):
    x, shift, key = normal(50, d), 3.0, jax.random.key(0)
    y = x + shift * np.eye(d)[0]
    # E θ₁² = 1/d and E |θ₁| = Γ(d/2)/(√π Γ((d + 1)/2)).
    first = math.gamma(d / 2) / (math.sqrt(math.pi) * math.gamma((d + 1) / 2))
    w1 = metrics.sliced_wasserstein(x, y, key, 4096)
    w2 = metrics.sliced_wasserstein(x, y, key, 4096, p=2)
    np.testing.assert_allclose(w1, shift * first, rtol=0.05)  # four standard errors
    np.testing.assert_allclose(w2, shift / math.sqrt(d), rtol=0.05)


def test_sliced_distance_matches_pot():
    ot = pytest.importorskip("ot")
    x, y = normal(40, 3), normal(60, 3, 1) * 2
    directions = jax.random.normal(jax.random.key(3), (3, 64))
    directions = np.asarray(directions / jnp.linalg.norm(directions, axis=0))
    for p in (1, 2):
        value = metrics.sliced_wasserstein(x, y, jax.random.key(3), 64, p)
        expected = ot.sliced_wasserstein_distance(x, y, projections=directions, p=p)
        np.testing.assert_allclose(value, expected, rtol=1e-5)


@hypothesis.settings(deadline=None, max_examples=10, derandomize=True)
@hypothesis.given(st.integers(0, 99))
def test_sliced_distance_is_at_most_the_distance(seed):
    x, y = normal(15, 3, seed), normal(10, 3, seed + 1) + 1
    sliced = metrics.sliced_wasserstein(x, y, jax.random.key(seed), 32)
    assert sliced <= metrics.earth_movers_distance(x, y) + 1e-6


# Features.


def with_moments(mean, covariance, n, seed=0):
    """Samples whose mean and covariance are exactly these."""
    z = normal(n, len(mean), seed)
    z -= z.mean(axis=0)
    z = np.linalg.solve(np.linalg.cholesky(np.cov(z.T)), z.T).T
    return z @ np.linalg.cholesky(covariance).T + mean


def test_frechet_distance_is_the_square_of_w2_between_gaussians():
    a, b = normal(4, 4, 1), normal(4, 4, 2)
    moments = (np.ones(4), a @ a.T + 0.1 * np.eye(4)), (np.zeros(4), b @ b.T + 0.1 * np.eye(4))
    value = metrics.frechet_distance(*(with_moments(*m, 50) for m in moments))
    np.testing.assert_allclose(value, divergences.gaussian_w2(*moments[0], *moments[1]) ** 2, 1e-4)


def test_frechet_distance_matches_the_matrix_square_root():
    linalg = pytest.importorskip("scipy.linalg")
    x, y = normal(300, 16) @ normal(16, 16, 1), normal(200, 16, 2) + 0.5
    c_x, c_y = np.cov(x.T), np.cov(y.T)
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2)
    expected += np.trace(c_x + c_y - 2 * linalg.sqrtm(c_x @ c_y).real)
    np.testing.assert_allclose(metrics.frechet_distance(x, y), expected, rtol=1e-9)


def test_frechet_distance_bears_dead_features_and_equal_sets():
    x = normal(50, 4) * np.array([1.0, 1.0, 0.0, 0.0])
    assert abs(metrics.frechet_distance(x, x)) < 1e-12
    # Of x and 3x: |2μ|² + tr (3Σ^½ − Σ^½)².
    expected = 4 * np.sum(x.mean(axis=0) ** 2) + 4 * x.var(axis=0, ddof=1).sum()
    np.testing.assert_allclose(metrics.frechet_distance(x, 3 * x), expected, rtol=1e-9)


def test_frechet_distance_refuses_a_covariance_that_cannot_have_full_rank():
    message = "y has 16 samples of 16 features: the Fréchet distance needs at least 17"
    with pytest.raises(ValueError, match=message):
        metrics.frechet_distance(normal(17, 16), normal(16, 16))


def test_moments_come_batch_by_batch():
    x, y = 1e3 + normal(300, 16) @ normal(16, 16, 1), 1e3 + normal(200, 16, 2)
    parts = [x[:1], x[1:8], x[8:250], x[250:]]
    found = metrics.moments(parts)
    assert found.n == 300
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.scatter / 299, np.cov(x.T), rtol=1e-9, atol=1e-9)
    distance = metrics.frechet_of_moments(found, metrics.moments([y]))
    np.testing.assert_allclose(distance, metrics.frechet_distance(x, y), rtol=1e-9)
    # Dead features, and a set beside itself.
    dead = metrics.moments([normal(50, 4) * np.array([1.0, 1.0, 0.0, 0.0])])
    assert abs(metrics.frechet_of_moments(dead, dead)) < 1e-12
    for x, y, says in (
        ([], None, "there are no features"),
        ([normal(3, 4), normal(3, 5)], None, "batches have 4 features and 5"),
        ([normal(5, 4)], [normal(9, 5)], "x has 4 features, and y 5"),
        ([normal(5, 4)], [normal(4, 4)], "y has 4 samples of 4 features"),
        ([np.full((3, 4), np.nan)], None, "batch must be finite, got nan"),
    ):
        with pytest.raises(ValueError, match=says):
            metrics.frechet_of_moments(metrics.moments(x), metrics.moments(y or x))


def test_kernel_distance_is_unbiased_with_an_honest_standard_error():
    pairs = [(normal(200, 4, 2 * i), normal(200, 4, 2 * i + 1)) for i in range(200)]
    same = [metrics.kernel_distance(x, y) for x, y in pairs]
    values = np.array([s.value for s in same])
    assert values.min() < 0
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(200)
    claimed = math.sqrt(np.mean([s.standard_error**2 for s in same]))
    np.testing.assert_allclose(claimed, values.std(), rtol=0.15)


def test_kernel_distance_matches_scikit_learn():
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    x, y = normal(30, 5), normal(40, 5, 1) + 0.3
    estimates = []
    for i in range(3):
        a, b = x[i::3], y[i::3]
        aa, bb, ab = (
            pairwise.polynomial_kernel(u, v, degree=3, coef0=1) for u, v in ((a, a), (b, b), (a, b))
        )
        off = [k[~np.eye(len(k), dtype=bool)].mean() for k in (aa, bb)]
        estimates.append(sum(off) - 2 * ab.mean())
    value = metrics.kernel_distance(x, y, blocks=3)
    np.testing.assert_allclose(value.value, np.mean(estimates), rtol=1e-9)
    np.testing.assert_allclose(value.standard_error, np.std(estimates, ddof=1) / math.sqrt(3))


def test_kernel_distance_of_a_shift_by_hand():
    # One feature, x = 0 and y = c: k(x, x') = k(x, y) = 1, k(y, y') = (c² + 1)³.
    x, y = np.zeros((4, 1)), np.full((4, 1), 2.0)
    assert metrics.kernel_distance(x, y, blocks=2) == (5**3 + 1 - 2, 0.0)


def test_manifolds_by_hand():
    real = np.array([[0.0], [1.0], [10.0]])  # with k = 1 the radii are 1, 1 and 9
    fake = np.array([[0.5], [1.5], [-5.0]])  # radii 1, 1 and 5.5
    score = metrics.precision_recall_density_coverage(real, fake, k=1)
    assert score.precision == pytest.approx(2 / 3)  # -5 is in no ball
    assert score.recall == pytest.approx(2 / 3)  # 10 is in no ball
    # 0.5 lies in the balls of 0 and 1, 1.5 in those of 1 and 10.
    assert score.density == pytest.approx(4 / 3)
    assert score.coverage == 1.0


def test_manifolds_match_a_brute_force_reading_of_the_definitions():
    distance = pytest.importorskip("scipy.spatial.distance")
    real, fake, k = normal(60, 3), normal(80, 3, 1) * 0.8 + 0.3, 4
    radius = lambda a: np.sort(distance.cdist(a, a), axis=1)[:, k]  # noqa: E731
    cross = distance.cdist(real, fake)
    in_real, in_fake = cross <= radius(real)[:, None], cross <= radius(fake)
    score = metrics.precision_recall_density_coverage(real, fake, k)
    assert score.precision == pytest.approx(in_real.any(axis=0).mean())
    assert score.recall == pytest.approx(in_fake.any(axis=1).mean())
    assert score.density == pytest.approx(in_real.sum() / (k * 80))
    assert score.coverage == pytest.approx(in_real.any(axis=1).mean())


def test_density_and_coverage_of_the_data_are_what_the_lemmas_say():
    n, k = 1000, 5
    scores = [
        metrics.precision_recall_density_coverage(normal(n, 2, i), normal(n, 2, i + 50), k)
        for i in range(20)
    ]
    missed = np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)])
    # Over seeds the standard deviations are 0.016 and 0.0085: three standard errors of 20.
    np.testing.assert_allclose(np.mean([s.density for s in scores]), 1, atol=0.011)
    np.testing.assert_allclose(np.mean([s.coverage for s in scores]), 1 - missed, atol=0.006)


def test_disjoint_manifolds_share_nothing():
    score = metrics.precision_recall_density_coverage(normal(20, 2), normal(20, 2) + 100)
    assert score == (0, 0, 0, 0)


def test_scores_do_not_depend_on_the_block_of_distances(monkeypatch):
    real, fake = normal(40, 3), normal(30, 3, 1)
    whole = metrics.precision_recall_density_coverage(real, fake)
    monkeypatch.setattr(neighbours, "_BLOCK", 7 * 40)
    assert metrics.precision_recall_density_coverage(real, fake) == whole


# Memorisation.


def test_nearest_neighbours_match_scipy():
    spatial = pytest.importorskip("scipy.spatial")
    x, reference = normal(30, 4) + 1000, normal(200, 4, 1) + 1000
    distance, index = metrics.nearest_neighbours(x, reference)
    expected_distance, expected_index = spatial.KDTree(reference).query(x)
    np.testing.assert_array_equal(index, expected_index)
    np.testing.assert_allclose(distance, expected_distance, rtol=1e-9)


def test_copies_are_at_distance_zero():
    images = normal(20, 48).reshape(20, 4, 4, 3)
    distance, index = metrics.nearest_neighbours(images[5:8], images)
    np.testing.assert_array_equal(distance, 0)
    np.testing.assert_array_equal(index, [5, 6, 7])


def test_memorisation_tells_copies_from_new_samples():
    train, held_out = normal(1000, 2), normal(500, 2, 1)
    copies = metrics.memorisation(train[:500], train, held_out)
    assert (copies.distance, copies.closer) == (0, 1)
    new = metrics.memorisation(normal(500, 2, 2), train, held_out)
    # The Mann–Whitney probability's standard error is √(1/(12·500) + 1/(12·500)) = 0.018.
    np.testing.assert_allclose(new.closer, 0.5, atol=3 * 0.018)
    np.testing.assert_allclose(new.distance, new.held_out_distance, rtol=0.2)
    assert metrics.memorisation(held_out, train, held_out).closer == 0.5
    assert metrics.memorisation(held_out + 50, train, held_out).closer == 0


# What is refused.

POINTS = np.zeros((30, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: metrics.mode_score(POINTS + np.nan, RING, 0.01),
            "samples must be finite, got nan",
        ),
        (
            lambda: metrics.mode_score(POINTS[:, :1], RING, 0.01),
            r"samples \(30, 1\), modes \(8, 2\)",
        ),
        (lambda: metrics.mode_score(POINTS, RING, 0.0), "sigma must be positive, got 0.0"),
        (lambda: metrics.reverse_kl([1, -1]), r"counts must be at least 0, got \[1.0, -1.0\]"),
        (lambda: metrics.reverse_kl([1, 1], [1]), r"reference must be \(2,\), got shape \(1,\)"),
        (lambda: metrics.earth_movers_distance(POINTS[:0], POINTS), r"x must be .* \(0, 2\)"),
        (
            lambda: metrics.sliced_wasserstein(POINTS, POINTS, jax.random.key(0), 0),
            "projections must be at least 1, got 0",
        ),
        (lambda: metrics.frechet_distance(POINTS[0], POINTS), r"x must be samples .* \(2,\)"),
        (lambda: metrics.frechet_distance(POINTS, POINTS / 0), "y must be finite, got nan"),
        (lambda: metrics.kernel_distance(POINTS, POINTS, 1), "blocks must be at least 2"),
        (lambda: metrics.kernel_distance(POINTS, POINTS[:9]), "10 blocks of 30 and 9 samples"),
        (
            lambda: metrics.precision_recall_density_coverage(POINTS, POINTS[:5]),
            "k must be at least 1 and below the number of samples, got 5 for 30 real and 5 fake",
        ),
        (lambda: metrics.nearest_neighbours(POINTS, POINTS[:, :1]), r"reference \(30, 1\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
