"""The family of losses: values by hand, and the closed form that each is held to by training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import scipy.stats

import jaxgan
from jaxgan import losses, networks, parallel
from jaxgan.losses.dragan import perturb

KEY = jax.random.key(0)
# Two distributions over four points, as six examples and six samples.
REAL, FAKE = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 1, 2, 2, 3])
P, Q = (np.bincount(x, minlength=4) / 6 for x in (REAL, FAKE))
COMMON = slice(0, 3)  # points that both have; p is 0 at the last
VALUES = np.array([0.3, -1.2, 2.5, 0.7])  # a critic's scores of the points
F, G = VALUES[REAL], VALUES[FAKE]


def table(values):
    """A critic that gives each of the four points a score of its own."""
    return lambda x: jnp.asarray(values)[x[:, 0].astype(int)]


def evaluate(loss, player, values):
    batch = (np.float64(x)[:, None] for x in (REAL, FAKE))
    return getattr(loss, player)(table(values), *batch, KEY)


def softplus(a):
    return np.log1p(np.exp(a))


BY_HAND = {
    "hinge": (
        losses.hinge(),
        np.maximum(1 - F, 0).mean() + np.maximum(1 + G, 0).mean(),
        -G.mean(),
    ),
    "lsgan": (
        losses.lsgan(),
        ((F - 1) ** 2).mean() / 2 + (G**2).mean() / 2,
        ((G - 1) ** 2).mean() / 2,
    ),
    "kl": (losses.f_gan("kl"), np.exp(G - 1).mean() - F.mean(), -G.mean()),
    "reverse_kl": (
        losses.f_gan("reverse_kl"),
        np.exp(-F).mean() + (G - 1).mean(),
        np.exp(-G).mean(),
    ),
    "pearson": (losses.f_gan("pearson"), (G**2 / 4 + G).mean() - F.mean(), -G.mean()),
    "hellinger": (
        losses.f_gan("hellinger"),
        (np.exp(G) - 1).mean() - (1 - np.exp(-F)).mean(),
        -(1 - np.exp(-G)).mean(),
    ),
    "js": (
        losses.f_gan("js"),
        softplus(G).mean() + softplus(-F).mean() - 2 * np.log(2),
        softplus(-G).mean() - np.log(2),
    ),
    "reverse_kl, direct": (
        losses.f_gan("reverse_kl", direct=True),
        np.exp(-F).mean() + (G - 1).mean(),
        (1 - G).mean(),
    ),
    "js, direct": (  # minimax
        losses.f_gan("js", direct=True),
        softplus(G).mean() + softplus(-F).mean() - 2 * np.log(2),
        np.log(2) - softplus(G).mean(),
    ),
    "rpgan": (losses.rpgan(), softplus(G - F).mean(), softplus(F - G).mean()),
}
each = pytest.mark.parametrize("name", BY_HAND)


@each
def test_values_are_those_computed_by_hand(name):
    loss, d_loss, g_loss = BY_HAND[name]
    for player, expected in (("critic", d_loss), ("generator", g_loss)):
        with jax.enable_x64(True):
            value, metrics = evaluate(loss, player, VALUES)
        assert value == pytest.approx(expected, rel=1e-6)
        assert metrics[{"critic": "d_loss", "generator": "g_loss"}[player]] == value


@each
@pytest.mark.parametrize("player", ["critic", "generator"])
def test_gradients_are_those_of_finite_differences(name, player):
    loss, *_ = BY_HAND[name]
    with jax.enable_x64(True):
        found = jax.grad(lambda v: evaluate(loss, player, v)[0])(jnp.asarray(VALUES))
        for i, step in enumerate(1e-6 * np.eye(4)):
            up, down = (evaluate(loss, player, VALUES + s)[0] for s in (step, -step))
            assert found[i] == pytest.approx(float(up - down) / 2e-6, abs=1e-7)


def best(loss):
    """The scores of the best critic, its loss and metrics."""
    with jax.enable_x64(True):

        def objective(values):
            return evaluate(loss, "critic", values)[0]

        gradient = jax.jit(jax.value_and_grad(objective))
        found = scipy.optimize.minimize(
            lambda v: [np.asarray(x, float) for x in gradient(v)],
            np.zeros(4),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-12, 12)] * 4,
            options={"ftol": 1e-15, "gtol": 1e-10},
        )
        return found.x, *evaluate(loss, "critic", found.x)


def test_the_least_hinge_loss_is_2_minus_twice_the_total_variation():
    """The sign of p − q reaches it, and no other critic is below."""
    distance = np.abs(P - Q).sum() / 2
    d_loss, metrics = evaluate(losses.hinge(), "critic", np.sign(P - Q))
    assert d_loss == pytest.approx(2 - 2 * distance, abs=1e-6)
    assert metrics["total_variation"] == pytest.approx(distance, abs=1e-6)
    others = np.random.default_rng(0).normal(scale=2, size=(500, 4)).astype(np.float32)
    lost = jax.vmap(lambda values: evaluate(losses.hinge(), "critic", values)[0])(others)
    assert lost.min() > d_loss - 1e-6


def test_hinge_between_normals_is_their_total_variation():
    """N(0, 1) and N(δ, 1): TV = 2Φ(δ/2) − 1, by the sign of δ/2 − x."""
    delta, quantiles = 1.0, scipy.stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    real, fake = (np.float32(quantiles + shift)[:, None] for shift in (0, delta))
    value, _ = losses.hinge().critic(lambda x: jnp.sign(delta / 2 - x[:, 0]), real, fake, KEY)
    distance = 2 * scipy.stats.norm.cdf(delta / 2) - 1
    assert value == pytest.approx(2 - 2 * distance, abs=1e-4)


@pytest.mark.parametrize("labels", [(0.0, 1.0, 1.0), (-1.0, 1.0, 0.0), (-0.5, 2.0, 0.3)])
def test_the_best_lsgan_discriminator_is_the_weighted_mean_of_its_labels(labels):
    a, b, _ = labels
    values, *_ = best(losses.lsgan(*labels))
    np.testing.assert_allclose(values, (b * P + a * Q) / (P + Q), atol=1e-5)


def test_lsgan_with_labels_two_apart_is_pearsons_divergence():
    """Twice the generator's cost, its term of the data included, is χ²(p + q ‖ 2q)."""
    loss = losses.lsgan(-1.0, 1.0, 0.0)
    values, *_ = best(loss)
    cost = (P * values**2).sum() / 2 + evaluate(loss, "generator", values)[0]
    chi_square = ((2 * Q - (P + Q)) ** 2 / (P + Q)).sum()
    assert 2 * cost == pytest.approx(chi_square, rel=1e-5)


# T* = f′(p/q) and the divergence, over the points that both have.
RATIO = P[COMMON] / Q[COMMON]
F_GAN = {
    "kl": (1 + np.log(RATIO), RATIO * np.log(RATIO)),
    "reverse_kl": (-1 / RATIO, -np.log(RATIO)),
    "pearson": (2 * (RATIO - 1), (RATIO - 1) ** 2),
    "hellinger": (1 - RATIO**-0.5, (RATIO**0.5 - 1) ** 2),
    "js": (
        np.log(2 * RATIO / (1 + RATIO)),
        RATIO * np.log(RATIO) - (RATIO + 1) * np.log((RATIO + 1) / 2),
    ),
}
# What a point of samples alone adds, q·f(0): bounded scores reach these up to e⁻¹².
ALONE = {"kl": 0, "pearson": 1, "hellinger": 1, "js": np.log(2)}


@pytest.mark.parametrize("name", F_GAN)
def test_the_best_critic_of_an_f_divergence_is_f_prime_of_the_ratio(name):
    from jaxgan.losses.f_divergence import DIVERGENCES

    values, _, metrics = best(losses.f_gan(name))
    optimum, terms = F_GAN[name]
    found = DIVERGENCES[name].activation(values[COMMON])
    np.testing.assert_allclose(found, optimum, atol=1e-5)
    if name in ALONE:  # the reverse KL is infinite where there are samples and no data
        divergence = (Q[COMMON] * terms).sum() + Q[3] * ALONE[name]
        assert metrics["divergence"] == pytest.approx(divergence, abs=1e-4)


def test_the_js_of_the_f_gan_is_twice_the_jensen_shannon_divergence():
    _, _, metrics = best(losses.f_gan("js"))
    assert metrics["divergence"] == pytest.approx(2 * float(jaxgan.divergences.js(P, Q)), abs=1e-4)


def test_activations_rise_with_the_score_and_stay_finite():
    from jaxgan.losses.f_divergence import DIVERGENCES

    scores = jnp.linspace(-30.0, 30.0, 601)
    for name, (activation, conjugate) in DIVERGENCES.items():
        values = activation(scores)
        assert np.isfinite(values).all() and np.isfinite(conjugate(scores)).all(), name
        assert (np.diff(values) >= 0).all() and values[-1] > values[0], name


# Slopes. Data at δ, samples at 0, and a critic s·x.


def best_slope(loss, delta):
    real, fake = np.full((4, 1), delta), np.zeros((4, 1))

    def objective(slope):
        with jax.enable_x64(True):
            return float(loss.critic(lambda x: slope * x[:, 0], real, fake, KEY)[0])

    return scipy.optimize.minimize_scalar(objective, bounds=(0, 50), method="bounded").x


@pytest.mark.parametrize("delta", [0.5, 3.0])
def test_the_slopes_between_two_points_are_the_closed_forms(delta):
    for make in (losses.wgan_lp, losses.wgan_gp):
        assert best_slope(make(5.0), delta) == pytest.approx(1 + delta / 10, abs=1e-4)
    for k, p in ((2.0, 6.0), (1.0, 2.0)):
        expected = (delta / (k * p)) ** (1 / (p - 1))
        assert best_slope(losses.wgan_div(k, p), delta) == pytest.approx(expected, abs=1e-4)


def test_a_flat_critic_costs_nothing_but_under_the_two_sided_penalty():
    x = np.ones((4, 2), np.float32)

    def flat(x):
        return 0 * x[:, 0]

    costs = [
        float(loss.critic(flat, x, x, KEY)[0])
        for loss in (losses.wgan_lp(3.0), losses.wgan_div(), losses.wgan_gp(3.0))
    ]
    assert costs == [0, 0, 3]


def test_gradients_of_the_penalties_are_finite_where_the_critic_is_flat():
    x = np.ones((4, 2), np.float32)
    for loss in (losses.wgan_lp(), losses.wgan_div(), losses.wgan_div(2.0, 1.5)):
        gradient = jax.grad(lambda w, loss=loss: loss.critic(lambda x: x @ w, x, x, KEY)[0])
        assert np.isfinite(gradient(jnp.zeros(2))).all()


# DRAGAN.


def test_dragans_penalty_lies_around_the_data_and_not_at_samples():
    loss = losses.dragan(10.0)
    real = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)

    def penalty(fake, state):
        fn = lambda x: jnp.sin(x[:, 0]) + x[:, 1] ** 2  # noqa: E731
        return loss.at((0.0, state), 0).critic(fn, real, fake, KEY)[1]["gradient_penalty"]

    assert penalty(real, 1.0) == penalty(real + 100, 1.0) != penalty(real, 2.0)
    # With no deviation, as at first, it is that of the data themselves.
    slopes = np.stack([np.cos(real[:, 0]), 2 * real[:, 1]], axis=1)
    expected = np.mean((np.linalg.norm(slopes, axis=1) - 1) ** 2)
    assert penalty(real, 0.0) == pytest.approx(expected, rel=1e-5)


def test_dragans_noise_is_of_up_to_half_the_deviation():
    real = np.zeros((2000, 3), np.float32)
    moved = np.asarray(perturb(real, jnp.float32(4.0), KEY)) / 2
    assert (moved >= 0).all() and (moved < 1).all()
    assert moved.mean() == pytest.approx(1 / 4, abs=0.01)  # E ε · E u
    # One ε an example: numbers of an example go together, E ε² (E u)² − (E ε E u)² = 1/48.
    assert np.cov(moved[:, 0], moved[:, 1])[0, 1] == pytest.approx(1 / 48, abs=0.003)
    keys = jax.random.split(KEY, 2000)
    np.testing.assert_array_equal(perturb(real[:5], 4.0, keys[:5]), perturb(real, 4.0, keys)[:5])


def test_dragans_deviation_is_that_of_the_batch_before():
    loss = losses.dragan()
    batches = np.random.default_rng(0).normal(1000, 3, size=(3, 16, 2)).astype(np.float32)
    state = loss.init()
    assert state == (0, 0)
    for index, batch in enumerate(batches):
        _, metrics = loss.at(state, 0).critic(lambda x: x[:, 0] ** 2, batch, batch, KEY)
        mean, deviation = state = loss.update(state, metrics)
        assert mean == pytest.approx(batch.mean(), rel=1e-5)
        # At first about zero, where the squares of a thousand leave few digits.
        assert deviation == pytest.approx(batch.std(), rel=1e-5 if index else 0.02)


# BEGAN.


def test_began_minimises_the_errors_and_moves_its_balance():
    loss = losses.began(gamma=0.5, rate=0.1)
    k = jnp.float32(0.25)
    real, fake = np.array([[2.0], [4.0]]), np.array([[1.0], [3.0]])
    value, metrics = loss.at(k, 0).critic(lambda x: x[:, 0], real, fake, KEY)
    assert value == metrics["d_loss"] == 3 - 0.25 * 2
    assert metrics["convergence"] == 3 + abs(0.5 * 3 - 2)
    assert loss.update(k, metrics) == pytest.approx(0.25 + 0.1 * (0.5 * 3 - 2))
    assert loss.at(k, 0).generator(lambda x: x[:, 0], real, fake, KEY)[0] == 2


def test_began_rests_where_the_errors_are_in_proportion_gamma():
    loss = losses.began(gamma=0.4)
    rest = {"real_error": jnp.float32(2.0), "fake_error": jnp.float32(0.8)}
    assert loss.update(jnp.float32(0.3), rest) == pytest.approx(0.3)
    for error, end in ((5000.0, 1), (0.0, 0)):
        moved = loss.update(jnp.float32(0.3), rest | {"real_error": jnp.float32(error)})
        assert (moved == 1) if end else (moved < 0.3)
    assert loss.update(jnp.float32(0), rest | {"fake_error": jnp.float32(9)}) == 0


def test_began_trains_an_autoencoding_critic_towards_its_balance():
    """The critic learns to copy the data, and k rises from 0 as samples are copied worse."""
    generator, _ = networks.mlp((2,), latent_dim=2, width=16, depth=1)
    critic = networks.autoencoder((2,), latent_dim=1, width=16, depth=1)
    tx = optax.adam(3e-3)
    model = jaxgan.gan(generator, critic, losses.began(0.5, rate=0.01), tx, tx, n_critic=1)
    points = np.random.default_rng(0).normal(size=(64, 1)) @ np.array([[2.0, 1.0]])
    run = jaxgan.fit(
        model, np.float32(points), steps=300, batch_size=16, log_every=1, parallel="jit"
    )
    errors = [row["real_error"] for row in run.metrics]
    assert np.mean(errors[-50:]) < 0.3 * np.mean(errors[:5])
    balance = [row["k"] for row in run.metrics]
    assert balance[0] == 0 and 0 < max(balance) <= 1
    assert all(row["convergence"] >= row["real_error"] for row in run.metrics)


def test_an_autoencoder_scores_by_the_mean_error_of_each_example():
    x = np.random.default_rng(0).uniform(-1, 1, (5, 4, 4, 1)).astype(np.float32)
    critic = networks.autoencoder((4, 4, 1), latent_dim=3, width=8, depth=2)
    variables = critic.init(KEY, x)
    zeroed = jax.tree.map(jnp.zeros_like, variables)  # decodes everything to 0
    np.testing.assert_allclose(critic.apply(zeroed, x), np.abs(x).mean((1, 2, 3)), rtol=1e-6)
    errors = critic.apply(variables, x)
    assert errors.shape == (5,) and (errors > 0).all()
    codes = [v.shape for v in jax.tree.leaves(variables) if v.ndim == 2]
    assert (8, 3) in codes and (3, 8) in codes


def test_began_refuses_what_is_no_error():
    x = np.ones((4, 2), np.float32)
    value, _ = losses.began().at(jnp.float32(0.5), 0).critic(lambda x: -x[:, 0], x, x, KEY)
    assert np.isnan(value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [losses.began, losses.dragan, losses.rpgan], ids=lambda make: make.__name__
)
def test_two_devices_train_as_one(make):
    generator, critic = networks.mlp((2,), latent_dim=2, width=8, depth=1)
    if make is losses.began:
        critic = networks.autoencoder((2,), latent_dim=1, width=8, depth=1)
    tx, devices = optax.sgd(0.01), jax.local_devices()[:2]
    model = jaxgan.gan(generator, critic, losses.with_r1(make(), 0.1), tx, tx, n_critic=2)
    reals = np.random.default_rng(0).normal(size=(3, 2, 8, 2)).astype(np.float32)
    step = parallel.wrap(model.step, "mesh", (1,), devices)
    one, many = model.init(KEY), parallel.replicate(model.init(KEY), "mesh", devices)
    for batch in reals:
        one, (many, _) = model.step(one, batch)[0], step(many, batch)
    for a, b in zip(
        *(jax.tree.leaves((s.critic, s.generator, s.loss)) for s in (one, many)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


# What is refused.


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: losses.f_gan("KL"), "did you mean kl"),
        (lambda: losses.f_gan(["kl"]), "unknown divergence"),
        (lambda: losses.f_gan("chi"), "One of kl, reverse_kl, pearson, hellinger, js"),
        (lambda: losses.f_gan("revrse_kl"), "did you mean reverse_kl"),
        (lambda: losses.lsgan(1.0, 1.0), "a and b must differ"),
        (lambda: losses.lsgan(c=np.nan), "c must be a finite number; got nan"),
        (lambda: losses.wgan_lp(-1.0), "penalty must be a positive finite number; got -1"),
        (lambda: losses.wgan_div(k=0.0), "k must be a positive"),
        (lambda: losses.wgan_div(p=1.0), "p must be above 1; got 1"),
        (lambda: losses.dragan(0.0), "penalty must be a positive"),
        (lambda: losses.began(1.5), "gamma must be at most 1; got 1.5"),
        (lambda: losses.began(-0.5), "gamma must be a positive"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(make, words):
    with pytest.raises(ValueError, match=words):
        make()


SHAPED = {
    **{name: loss for name, (loss, *_) in BY_HAND.items()},
    "wgan_lp": losses.wgan_lp(),
    "wgan_div": losses.wgan_div(),
    "dragan": losses.dragan().at((jnp.float32(0.0), jnp.float32(1.0)), 0),
    "began": losses.began().at(jnp.float32(0.5), 0),
}


@pytest.mark.parametrize("name", SHAPED)
def test_scores_that_are_not_one_per_example_are_refused(name):
    x = np.ones((4, 2), np.float32)
    for player in ("critic", "generator"):
        with pytest.raises(ValueError, match="must return one score per example"):
            getattr(SHAPED[name], player)(lambda x: x[:, :1], x, x, KEY)
    with pytest.raises(ValueError, match="must have the same shape"):
        SHAPED[name].critic(lambda x: x[:, 0], x, x[:3], KEY)
