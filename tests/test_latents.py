"""Latents: paths, truncation, grids of classes, and projection, against closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import truncnorm

import jaxgan
from jaxgan import data, latents, losses, networks
from jaxgan.training import Run

KEY = jax.random.key(0)
MATRIX = np.random.RandomState(1).normal(size=(3, 5)).astype(np.float32)
SHIFT = np.array([1.0, -2.0, 0.5, 0.0, 3.0], np.float32)


def run_of(model, **options):
    """A run of a model as it is initialised."""
    return Run(model, model.init(KEY), 1, [], True, {}, **options)


def start(**params):
    """An init that gives these, and is seen to use its key."""
    return lambda key, *_: {k: v + 0 * jax.random.normal(key) for k, v in params.items()}


def linear(matrix=MATRIX, shift=SHIFT, num_classes=None):
    """G(z) = zA + b, or with classes zA + label·b; f(x) = ⟨b, x⟩."""

    def generate(params, z, *labels):
        scale = labels[0][:, None] if labels else 1.0
        return z @ params["A"] + scale * params["b"]

    def criticise(params, x, *labels):
        return x @ params["b"] + (labels[0] if labels else 0)

    adam = optax.adam(1e-3)
    parts = (start(A=matrix, b=shift), generate), (start(b=shift), criticise)
    return run_of(
        jaxgan.gan(
            *parts, losses.wgan(), adam, adam, latent_dim=len(matrix), num_classes=num_classes
        )
    )


def pair(generator, critic, loss=None, **options):
    adam = optax.adam(1e-3)
    return run_of(jaxgan.gan(generator, critic, loss or losses.bce(), adam, adam, **options))


# Paths.


def test_interpolation_turns_by_equal_angles():
    a, b = jnp.array([2.0, 0, 0]), jnp.array([0, 2.0, 0])
    t = jnp.linspace(0, 1, 7)[:, None]
    angle = t * np.pi / 2
    expected = 2 * jnp.concatenate([jnp.cos(angle), jnp.sin(angle), 0 * t], axis=1)
    np.testing.assert_allclose(latents.spherical_interpolation(a, b, t), expected, atol=1e-6)


@pytest.mark.parametrize("other", [[1.0, 2.0], [2.0, 4.0], [-1.0, -2.0], [0.5, -3.0]])
def test_interpolation_ends_at_its_ends(other):
    a, b = jnp.array([1.0, 2.0]), jnp.array(other)
    ends = latents.spherical_interpolation(a, b, jnp.array([[0.0], [1.0]]))
    np.testing.assert_allclose(ends, [a, b], atol=1e-6)


def test_a_path_passes_through_its_latents_in_order():
    stations = jax.random.normal(KEY, (4, 6))
    way = latents.path(stations, 5)
    assert way.shape == (16, 6)
    np.testing.assert_array_equal(way[::5], stations)
    middle = latents.spherical_interpolation(stations[1], stations[2], jnp.array([0.4]))
    np.testing.assert_allclose(way[7], middle, atol=1e-6)


def test_from_the_origin_a_path_is_straight():
    """It has no direction, and so no angle to any latent."""
    way = latents.path(np.array([[0.0, 0.0], [2.0, 4.0], [0.0, 0.0]]), 2)
    np.testing.assert_allclose(way, [[0, 0], [1, 2], [2, 4], [1, 2], [0, 0]], atol=1e-6)


def test_a_path_round_a_circle_stays_on_it():
    corners = 2 * jnp.array([[1.0, 0], [0, 1.0], [-1.0, 0], [0, -1.0], [1.0, 0]])
    angle = jnp.linspace(0, 2 * jnp.pi, 13)
    expected = 2 * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    np.testing.assert_allclose(latents.path(corners, 3), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("stations", "steps", "message"),
    [
        (np.ones((1, 3)), 4, r"at least two of them; got shape \[1, 3\]"),
        (np.ones(3), 4, r"latents \[K, d\]"),
        (np.ones((2, 3)), 0, "steps must be a whole number from 1 up; got 0"),
        (np.ones((2, 3)), 1.5, "steps must be a whole number from 1 up; got 1.5"),
    ],
)
def test_no_path_is_refused(stations, steps, message):
    with pytest.raises(ValueError, match=message):
        latents.path(stations, steps)


# Classes.


def test_a_row_of_a_class_grid_has_one_latent_and_all_classes():
    z, labels = latents.class_grid(jnp.array([[1.0, 2.0], [3.0, 4.0]]), 3)
    np.testing.assert_array_equal(z, [[1, 2]] * 3 + [[3, 4]] * 3)
    np.testing.assert_array_equal(labels, [0, 1, 2, 0, 1, 2])
    run = linear(num_classes=3)
    z, labels = latents.class_grid(np.eye(3, dtype=np.float32), 3)
    made = run.generate(z, labels=labels).reshape(3, 3, 5)
    # G is zA + label·b: along a row it grows by b.
    np.testing.assert_allclose(np.diff(made, axis=1), np.tile(SHIFT, (3, 2, 1)), atol=1e-5)


# Truncation.


@pytest.mark.parametrize("bound", [0.1, 0.7, 2.0])
def test_truncated_latents_have_the_variance_of_a_truncated_normal(bound):
    """1 − 2bφ(b)/(2Φ(b) − 1), here of 160,000 draws, of standard error 0.35% at most."""
    z = np.asarray(latents.truncate(KEY, jax.random.normal(jax.random.key(1), (40_000, 4)), bound))
    density = math.exp(-(bound**2) / 2) / math.sqrt(2 * math.pi)
    variance = 1 - 2 * bound * density / math.erf(bound / math.sqrt(2))
    assert np.abs(z).max() <= bound
    assert z.var() == pytest.approx(variance, rel=0.02)
    assert abs(z.mean()) < 6 * math.sqrt(variance / z.size)
    # Uniform through their own distribution function: each quarter has its share.
    shares = np.histogram(truncnorm.cdf(z, -bound, bound), bins=4, range=(0, 1))[0] / z.size
    np.testing.assert_allclose(shares, 0.25, atol=0.007)


def test_what_is_within_the_bound_stays_and_the_rest_is_drawn_anew():
    z = jax.random.normal(jax.random.key(1), (50, 8))
    truncated = latents.truncate(KEY, z, 1.0)
    inside = np.abs(z) <= 1
    np.testing.assert_array_equal(truncated[inside], z[inside])
    again = np.asarray(truncated[~inside])
    assert len(np.unique(again)) == again.size
    np.testing.assert_array_equal(latents.truncate(KEY, z[:20], 1.0), truncated[:20])


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan, "1"])
def test_a_bound_that_is_none_is_refused(bound):
    with pytest.raises(ValueError, match="the bound of a truncation must be a positive finite"):
        latents.truncate(KEY, jnp.zeros((2, 3)), bound)


def test_samples_of_a_run_are_truncated():
    """Of G(z) = z: every number within; where they were within before, the sample is the same."""
    run = linear(np.eye(3, dtype=np.float32), np.zeros(3, np.float32))
    plain, truncated = run.sample(KEY, 2500), run.sample(KEY, 2500, truncation=1.5)
    assert np.abs(plain).max() > 2 and np.abs(truncated).max() <= 1.5
    inside = np.abs(plain) <= 1.5
    np.testing.assert_allclose(truncated[inside], plain[inside], rtol=1e-6)
    np.testing.assert_array_equal(run.sample(KEY, 1200, truncation=1.5), truncated[:1200])
    for labels in (2, None):
        run = linear(num_classes=3)
        plain, truncated = (run.sample(KEY, 50, labels=labels, truncation=t) for t in (None, 9))
        np.testing.assert_allclose(plain, truncated, rtol=1e-5, atol=1e-5)


# The critic.


def test_the_critic_of_a_run_scores_as_its_network_does():
    generator, critic = networks.dcgan((16, 16, 1), latent_dim=4, width=4, critic_norm=True)
    run = pair(generator, critic)
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 1)).astype(np.uint8)
    player, x = run.state.critic, data.to_float(images)
    assert jax.tree.leaves(player.stats)
    expected, _ = run.model.game.critic.apply(player.params, player.stats, (x,), train=False)
    scores = run.critic(images)
    assert scores.shape == (6,) and scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    # With its running statistics no score depends on the others of the batch.
    np.testing.assert_allclose(run.critic(images[:2]), scores[:2], rtol=1e-5)
    np.testing.assert_allclose(run.critic(x), scores, rtol=1e-5)


def test_a_linear_critic_scores_by_hand():
    x = np.random.RandomState(0).normal(size=(4, 5)).astype(np.float32)
    np.testing.assert_allclose(linear().critic(x), x @ SHIFT, rtol=1e-5)
    conditional = linear(num_classes=3)
    np.testing.assert_allclose(
        conditional.critic(x, labels=[0, 1, 2, 2]), x @ SHIFT + [0, 1, 2, 2], rtol=1e-5
    )
    np.testing.assert_allclose(conditional.critic(x, labels=2), x @ SHIFT + 2, rtol=1e-5)


def test_a_packed_critic_scores_packs():
    generator, critic = networks.mlp((2,), latent_dim=2, width=8, depth=1)
    run = pair(generator, networks.packed(critic, 2), n_critic=1)
    x = np.random.RandomState(0).normal(size=(6, 2)).astype(np.float32)
    packs = critic.apply({"params": run.state.critic.params}, x.reshape(3, 4))
    np.testing.assert_allclose(run.critic(x), np.repeat(packs, 2), rtol=1e-5)
    with pytest.raises(ValueError, match="scores packs of 2: give a multiple of them; got 5"):
        run.critic(x[:5])


def test_a_spectral_norm_scores_with_the_vectors_of_training():
    generator, critic = networks.mlp((2,), latent_dim=2, width=8, depth=1)
    run = pair(generator, networks.spectral_norm(critic), n_critic=1)
    x = np.random.RandomState(0).normal(size=(6, 2)).astype(np.float32)
    np.testing.assert_array_equal(run.critic(x), run.critic(x))
    player = run.state.critic
    expected, _ = run.model.game.critic.apply(player.params, player.stats, (x,), train=False)
    np.testing.assert_allclose(run.critic(x), expected, rtol=1e-5)


def test_each_seed_has_its_own_critic():
    generator, critic = networks.mlp((2,), latent_dim=2, width=8, depth=1)
    adam = optax.adam(1e-3)
    model = jaxgan.gan(generator, critic, losses.bce(), adam, adam)
    state = jaxgan.over_seeds(model).init(jax.random.split(KEY))
    run = Run(model, state, 2, [], True, {})
    x = np.random.RandomState(0).normal(size=(6, 2)).astype(np.float32)
    params = jax.tree.map(lambda leaf: leaf[1], state.critic.params)
    expected = critic.apply({"params": params}, x)
    np.testing.assert_allclose(run.critic(x, seed_index=1), expected, rtol=1e-5)
    assert np.abs(run.critic(x) - expected).max() > 0.01


# Projection.


def project(run, x, **options):
    return latents.project(run, x, key=KEY, **options)


def test_of_a_linear_generator_projection_is_least_squares():
    x = np.random.RandomState(0).normal(size=(7, 5)).astype(np.float32)
    found = project(linear(), x, within=1)
    z = np.linalg.lstsq(MATRIX.T.astype(float), (x - SHIFT).T.astype(float), rcond=None)[0].T
    np.testing.assert_allclose(found.latents, z, atol=2e-3)
    residual = np.sqrt(np.mean((z @ MATRIX + SHIFT - x) ** 2, axis=1))
    np.testing.assert_allclose(found.errors, residual, rtol=1e-5)
    np.testing.assert_allclose(found.samples, found.latents @ MATRIX + SHIFT, rtol=1e-4, atol=1e-5)
    # The problem is convex: all starts agree.
    np.testing.assert_allclose(found.start_errors, np.repeat(residual[:, None], 8, 1), rtol=1e-4)
    assert (found.random_errors > found.errors).all()
    assert found.labels is None and found.class_errors is None


def test_latents_keep_to_norms_that_the_generator_was_trained_on():
    """G(z) = z in a plane, where P(‖z‖ < r) = 1 − exp(−r²/2): the nearest allowed norm is known."""
    run = linear(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    x = np.array([[10.0, 0.0], [0.0, 1.0], [0.001, 0.0]], np.float32)
    low, high = (math.sqrt(-2 * math.log(1 - share)) for share in (0.05, 0.95))
    found = project(run, x, within=0.9)
    np.testing.assert_allclose(found.latents, [[high, 0], [0, 1], [low, 0]], atol=2e-3)
    # An error is a root of a mean, here of two squares.
    expected = np.array([10 - high, 0, low - 0.001]) / math.sqrt(2)
    np.testing.assert_allclose(found.errors, expected, atol=2e-3)
    np.testing.assert_allclose(project(run, x, within=1).latents, x, atol=2e-3)


def test_samples_of_the_run_are_found_again():
    run = pair(*networks.mlp((8, 8, 1), latent_dim=4, width=32, depth=1))
    images = run.sample(jax.random.key(5), 6)
    found = project(run, images)
    assert found.errors.max() < 1e-3 < 10e-3 < found.random_errors.min()
    np.testing.assert_allclose(found.samples, images, atol=5e-3)
    np.testing.assert_array_equal(found.samples, run.generate(found.latents))


def test_what_is_found_is_never_worse_than_the_best_random_sample():
    """Where the rate throws all latents far away, or to infinity, those that it began with stay."""
    run = pair(*networks.mlp((8, 8, 1), latent_dim=4, width=32, depth=2))
    x = data.load("digits").test[:5]
    for rate in (100.0, 1e30):
        wild = project(run, x, steps=5, learning_rate=rate, within=1)
        np.testing.assert_allclose(wild.errors, wild.random_errors, rtol=1e-6)
    found = project(run, x, steps=20)
    assert (found.errors < found.random_errors).all()
    assert (np.diff(found.start_errors, axis=1) >= 0).all()
    np.testing.assert_array_equal(found.start_errors[:, 0], found.errors)
    assert found.start_errors.shape == (5, 8)


def test_an_image_is_projected_alike_beside_others_and_in_pieces(monkeypatch):
    run, x = linear(num_classes=3), np.random.RandomState(0).normal(size=(7, 5)).astype(np.float32)
    whole = project(run, x, starts=2, steps=50)
    alone = project(run, x[:1], starts=2, steps=50)
    np.testing.assert_allclose(alone.latents, whole.latents[:1], atol=1e-4)
    monkeypatch.setattr("jaxgan.latents.projection.ROWS", 13)  # two images of three classes at once
    for one, other in zip(project(run, x, starts=2, steps=50), whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_every_class_is_tried_and_the_best_is_found():
    """Of G(z, c) = zA + c·b with A orthogonal to b the class that is nearest along b."""
    matrix = np.eye(3, 4, dtype=np.float32)
    shift = np.array([0, 0, 0, 1.0], np.float32)
    run = linear(matrix, shift, num_classes=4)
    x = np.array([[0.5, 0, 0, 0.2], [0, 0.5, 0, 1.1], [1, 1, 0, 9], [1, 0, 1, 1.9]], np.float32)
    found = project(run, x)
    np.testing.assert_array_equal(found.labels, [0, 1, 3, 2])
    # What is left is the distance along b, as a root of the mean of four squares.
    apart = np.abs(x[:, 3:] - np.arange(4)) / 2
    np.testing.assert_allclose(found.class_errors, apart, atol=1e-4)
    np.testing.assert_allclose(found.errors, apart.min(axis=1), atol=1e-4)
    given = project(run, x, labels=[1, 1, 1, 3])
    np.testing.assert_array_equal(given.labels, [1, 1, 1, 3])
    np.testing.assert_allclose(given.errors, apart[np.arange(4), given.labels], atol=1e-4)
    assert given.class_errors is None
    np.testing.assert_array_equal(project(run, x[:2], labels=2).labels, [2, 2])


def test_the_seed_and_the_generator_are_those_asked_for():
    """G(z) = scale·z, of another scale for each: z is x over it."""
    one = linear(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    state = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), one.state._replace(key=0))
    state = state._replace(ema=jax.tree.map(lambda leaf: 3 * leaf, state.ema))
    run, x = Run(one.model, state, 2, [], True, {}), np.array([[1.0, 2.0]], np.float32)
    for these, index, scale in ((run, 0, 3), (run, 1, 6), (run.without_average(), 1, 2)):
        found = project(these, x, seed_index=index)
        np.testing.assert_allclose(found.latents, x / scale, atol=2e-3)


def test_a_run_that_has_diverged_is_refused():
    run = linear(MATRIX * np.nan)
    with pytest.raises(ValueError, match="samples are not finite: its run has diverged"):
        project(run, np.zeros((2, 5), np.float32))


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((2, 6)), {}, r"images must be examples .* shape \[B, 5\]; got \[2, 6\]"),
        (np.zeros(5), {}, r"got \[5\]. One alone is images\[None\]"),
        (np.zeros((0, 5)), {}, r"got \[0, 5\]"),
        (np.zeros((2, 5), int), {}, "must be uint8 images or floating point, got int"),
        (np.full((2, 5), np.nan), {}, "must be finite"),
        ([[0.0] * 5], {}, "must be an array of numpy or jax, got a list"),
        (np.zeros((2, 5)), {"starts": 0}, "starts must be a whole number from 1 up; got 0"),
        (np.zeros((2, 5)), {"steps": 2.5}, "steps must be a whole number from 1 up; got 2.5"),
        (np.zeros((2, 5)), {"learning_rate": 0}, "learning_rate must be a positive"),
        (np.zeros((2, 5)), {"within": 0}, r"within must be in \(0, 1\].*; got 0"),
        (np.zeros((2, 5)), {"within": 1.5}, "got 1.5"),
        (np.zeros((2, 5)), {"labels": [0, 1, 2]}, r"or one for each of 2; got \(3,\)"),
        (np.zeros((2, 5)), {"labels": 3}, "labels must be from 0 to 2"),
        (np.zeros((2, 5)), {"seed_index": 1}, "seed_index must be from 0 to 0, got 1"),
        (np.zeros((2, 5)), {"seed_index": "a"}, "must be a whole number from 0 to 0; got 'a'"),
        (np.zeros((2, 5)), {"seed_index": 0.5}, "must be a whole number from 0 to 0; got 0.5"),
    ],
)
def test_what_cannot_be_projected_is_refused(images, options, message):
    with pytest.raises(ValueError, match=message):
        project(linear(num_classes=3), images, **options)


def test_labels_and_images_that_do_not_fit_the_run_are_refused():
    with pytest.raises(ValueError, match="labels are for models with classes"):
        project(linear(), np.zeros((2, 5)), labels=1)
    run = pair(*networks.mlp((8, 8, 1), latent_dim=4, width=8, depth=1))
    for method in (run.critic, lambda x: project(run, x)):
        with pytest.raises(ValueError, match=r"images must be in \[-1, 1\], got 0 to 255"):
            method(np.linspace(0, 255, 64, dtype=np.float32).reshape(1, 8, 8, 1))
        with pytest.raises(ValueError, match=r"of shape \[B, 8, 8, 1\]; got \[3, 8, 8\]"):
            method(np.zeros((3, 8, 8)))


def test_latents_of_another_size_are_refused():
    for shape in ((2, 4), (3,)):
        with pytest.raises(ValueError, match=r"latents must have shape \[n, 3\]"):
            linear().generate(np.zeros(shape))
    with pytest.raises(ValueError, match=r"got \[2, 4\]"):
        linear().generate([[0.0] * 4] * 2)


def test_the_critic_asks_for_labels_where_there_are_classes():
    with pytest.raises(ValueError, match="num_classes=3"):
        linear(num_classes=3).critic(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="labels are for models with classes"):
        linear().critic(np.zeros((2, 5)), labels=1)
