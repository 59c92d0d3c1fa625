"""Distances that a generator can be trained on without a critic: with entropy, and sliced."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import data, metrics, networks
from jaxgan import distances as dist


def cloud(n, d, seed=0, shift=0.0):
    return jax.random.normal(jax.random.key(seed), (n, d)) + shift


# A Gaussian's mass on a grid, so that nothing is random.
GRID = np.linspace(-6, 8, 400)


def gaussian(mean, std):
    density = np.exp(-((GRID - mean) ** 2) / (2 * std**2))
    return density / density.sum()


def gaussian_sinkhorn(gap, a, b, epsilon):
    """Janati et al. 2020 (2006.02572), theorem 1 and eq. 16, in one dimension; ε = 2σ²."""
    s = epsilon / 2

    def cost(a, b):
        d = np.sqrt(4 * a * b + s**2)
        return a + b - d + s * (1 - np.log(2 * s)) + s * np.log(d + s)

    return gap**2 + cost(a, b) - (cost(a, a) + cost(b, b)) / 2


@pytest.mark.parametrize("epsilon", [0.1, 0.5, 2.0, 20.0])
def test_between_gaussians_it_is_the_closed_form(epsilon):
    p, q = gaussian(0, 1), gaussian(2, 0.5)
    points = GRID[:, None]
    found = dist.sinkhorn_divergence(points, points, epsilon, x_weights=p, y_weights=q)
    np.testing.assert_allclose(found, gaussian_sinkhorn(2, 1, 0.25, epsilon), rtol=1e-5)


def test_it_goes_from_transport_to_the_distance_of_means():
    x, y = cloud(100, 1), cloud(80, 1, 1, 2.0) * 0.5
    w2 = dist.wasserstein_1d(x[:, 0], y[:, 0], p=2)
    np.testing.assert_allclose(dist.sinkhorn_divergence(x, y, 0.01), w2**2, rtol=2e-3)
    means = jnp.sum((x.mean(0) - y.mean(0)) ** 2)
    np.testing.assert_allclose(dist.sinkhorn_divergence(x, y, 1e4), means, rtol=1e-3)


def test_with_distance_as_cost_it_goes_to_w1():
    x, y = cloud(60, 2), cloud(50, 2, 1, 1.0)
    w1 = dist.earth_movers_distance(x, y)
    np.testing.assert_allclose(dist.sinkhorn_divergence(x, y, 0.01, p=1), w1, rtol=0.01)


def test_a_shift_costs_its_square_at_any_epsilon():
    x = cloud(50, 3)
    for epsilon in (0.1, 1.0, 10.0):
        found = dist.sinkhorn_divergence(x, x + 2.0, epsilon)
        np.testing.assert_allclose(found, 12.0, rtol=1e-4)


def test_it_is_0_between_equal_clouds_and_symmetric():
    x, y = cloud(40, 2), cloud(30, 2, 1) * 2
    assert abs(dist.sinkhorn_divergence(x, x, 0.3)) < 1e-4
    forth, back = dist.sinkhorn_divergence(x, y, 0.3), dist.sinkhorn_divergence(y, x, 0.3)
    np.testing.assert_allclose(forth, back, rtol=1e-3)
    assert forth > 0.1


def test_a_point_without_mass_changes_nothing():
    x, y = cloud(20, 2), cloud(30, 2, 1)
    more, weights = jnp.concatenate([x, x[:3] + 50]), np.r_[np.full(20, 1 / 20), np.zeros(3)]
    found = dist.sinkhorn_divergence(more, y, 0.5, x_weights=weights)
    np.testing.assert_allclose(found, dist.sinkhorn_divergence(x, y, 0.5), rtol=1e-4)


def test_derivatives_match_finite_differences():
    x, y, a = cloud(30, 2), cloud(20, 2, 1, 1.0), jax.nn.softmax(cloud(1, 30, 2)[0])

    def value(x, logits, epsilon):
        return dist.sinkhorn_divergence(x, y, epsilon, x_weights=jax.nn.softmax(logits))

    at = (x, jnp.log(a), jnp.float32(0.5))
    gradients = jax.grad(value, argnums=(0, 1, 2))(*at)
    for i, gradient in enumerate(gradients):
        along = jax.random.normal(jax.random.key(3), at[i].shape)
        ends = [value(*at[:i], at[i] + step * along, *at[i + 1 :]) for step in (-0.02, 0.02)]
        slope = (ends[1] - ends[0]) / 0.04
        np.testing.assert_allclose(jnp.sum(gradient * along), slope, rtol=0.01)


def test_it_works_under_jit_and_vmap():
    x, y = cloud(20, 2), jnp.stack([cloud(20, 2, seed, 1.0) for seed in (1, 2)])
    alone = [dist.sinkhorn_divergence(x, each, 0.5) for each in y]
    mapped = jax.jit(jax.vmap(lambda y: dist.sinkhorn_divergence(x, y, 0.5)))(y)
    np.testing.assert_allclose(mapped, alone, rtol=1e-4)


def test_what_does_not_converge_is_refused_and_nan_under_jit():
    x, y = cloud(20, 2), cloud(20, 2, 1, 3.0)
    # Of costs up to 61 float32 keeps a few times this epsilon.
    with pytest.raises(RuntimeError, match="did not converge for epsilon = 1e-06: take a larger"):
        dist.sinkhorn_divergence(x, y, 1e-6)
    assert np.isnan(jax.jit(dist.sinkhorn_divergence)(x, y, 1e-6))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"epsilon": 0.0}, "epsilon must be positive and finite, got 0.0"),
        ({"epsilon": float("nan")}, "epsilon must be positive"),
        ({"p": 0.5}, "p must be at least 1"),
        ({"y": np.zeros((3, 3))}, "samples must agree in dimension"),
        ({"y": np.full((3, 2), np.nan)}, "y must be finite"),
        ({"x_weights": np.ones(4)}, "must sum to 1"),
        ({"x_weights": np.ones(3) / 3}, r"x_weights must be \(4,\)"),
    ],
)
def test_bad_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        dist.sinkhorn_divergence(
            **{"x": np.zeros((4, 2)), "y": np.ones((3, 2)), "epsilon": 1.0} | arguments
        )


def test_sliced_distance_has_derivative_0_between_equal_clouds():
    x = cloud(20, 3)
    gradient = jax.grad(lambda x: dist.sliced_wasserstein(x, cloud(20, 3), jax.random.key(0), p=2))(
        x
    )
    assert np.isfinite(gradient).all()
    assert metrics.sliced_wasserstein is dist.sliced_wasserstein


@pytest.mark.parametrize(("name", "steps"), [("sinkhorn", 200), ("sliced", 1000)])
def test_a_generator_is_trained_without_a_critic(name, steps):
    ring = data.load("ring8")
    generator, _ = networks.mlp((2,), latent_dim=2, width=64, depth=2)
    tx = optax.adam(optax.cosine_decay_schedule(5e-3, steps))

    def loss(params, real, key):
        latent_key, key = jax.random.split(key)
        fake = generator.apply({"params": params}, jax.random.normal(latent_key, (len(real), 2)))
        if name == "sinkhorn":
            return dist.sinkhorn_divergence(fake, real, epsilon=0.1)
        return dist.sliced_wasserstein(fake, real, key, projections=64, p=2) ** 2

    @jax.jit
    def step(carry, key):
        params, opt_state = carry
        data_key, key = jax.random.split(key)
        real = jax.random.choice(data_key, jnp.asarray(ring.train), (128,))
        updates, opt_state = tx.update(jax.grad(loss)(params, real, key), opt_state)
        return (optax.apply_updates(params, updates), opt_state), None

    params = generator.init(jax.random.key(0), jnp.zeros((1, 2)))["params"]
    (params, _), _ = jax.lax.scan(
        step, (params, tx.init(params)), jax.random.split(jax.random.key(1), steps)
    )
    samples = generator.apply({"params": params}, jax.random.normal(jax.random.key(2), (2000, 2)))
    score = metrics.mode_score(samples, ring.modes, ring.sigma)
    # Untrained it is 0.9, and most modes have nothing near them.
    assert metrics.earth_movers_distance(samples, ring.test[:2000]) < 0.35
    assert score.reverse_kl < 0.02
