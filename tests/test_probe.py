"""What tells whether a run goes well, against closed forms; and that looking changes nothing."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgan
from jaxgan import data, losses, networks
from jaxgan.noise import draw_noise
from jaxgan.probe import probe
from jaxgan.training import health

KEY = jax.random.key(0)
D, N = 8, 64
SLOPE = np.array([3.0, -4.0] + [0.0] * (D - 2), np.float32)  # of length 5


def start(**params):
    """An init that gives these, and is seen to use its key."""
    return lambda key, *_: {k: v + 0 * jax.random.normal(key) for k, v in params.items()}


def linear(loss, scale=1.0, directions=D):
    """A critic ⟨SLOPE, x⟩ and a generator that scales its normal latents, or some of them."""

    def generate(params, z, *labels):
        return params["scale"] * z * (jnp.arange(D) < directions)

    def criticise(params, x, *labels):
        return x @ params["slope"]

    generator = start(scale=jnp.float32(scale)), generate
    critic = start(slope=jnp.array(SLOPE)), criticise
    tx = optax.sgd(0.0)
    return jaxgan.gan(generator, critic, loss, tx, tx, latent_dim=D)


def look(model, real, held_out, *labels):
    state = model.init(KEY)
    return {
        name: float(value)
        for name, value in probe(model.game, state, real, held_out, KEY, *labels).items()
    }


def normal(seed, n=N, d=D):
    return np.random.RandomState(seed).normal(size=(n, d)).astype(np.float32)


def test_slopes_are_those_of_a_linear_critic():
    numbers = look(linear(losses.wgan(clip=10.0)), normal(0), normal(1))
    assert numbers["d_slope"] == pytest.approx(5) and numbers["g_slope"] == pytest.approx(5)
    # Of −log σ(f) the slope is (1 − σ(f))·|∇f|; at samples at 0 that is half.
    for loss in (losses.bce, losses.minimax):
        numbers = look(linear(loss(), scale=0.0), normal(0), normal(1))
        assert numbers["g_slope"] == pytest.approx(2.5)


def test_ranks_are_the_area_under_the_curve():
    steps = np.linspace(-1, 1, N, dtype=np.float32)
    along = np.stack([SLOPE / 25 * step for step in steps])  # scored `step` each
    model = linear(losses.wgan(clip=10.0), scale=0.0)  # samples are scored 0
    for shift, ahead in ((2, 1.0), (-2, 0.0), (0, 0.5), (0.5, 0.75)):
        numbers = look(model, along + shift * SLOPE / 25, along)
        assert numbers["ahead"] == pytest.approx(ahead, abs=1 / N)
    # Two uniform sets of width 2, one moved by 1: P(a + 1 > b) = 1 − ½·(½)² = 7/8.
    numbers = look(model, along + SLOPE / 25, along)
    assert numbers["memorised"] == pytest.approx(7 / 8, abs=1 / N)
    assert look(model, along, along)["memorised"] == pytest.approx(0.5)


def test_spread_and_dimensions_are_the_samples_over_the_datas():
    real = 2 * normal(0, 4000)
    numbers = look(linear(losses.bce(), scale=1.0), real, real)
    assert numbers["spread"] == pytest.approx(0.5, rel=0.05)
    assert numbers["dims"] == pytest.approx(1, rel=0.01)
    numbers = look(linear(losses.bce(), scale=1.0, directions=2), real, real)
    assert numbers["dims"] == pytest.approx(2 / D, rel=0.01)
    assert numbers["spread"] == pytest.approx(0.5 * (2 / D) ** 0.5, rel=0.05)
    # However large or small the data are.
    for scale in (1e-12, 1e12):
        numbers = look(linear(losses.bce(), scale), scale * real, scale * real)
        assert numbers["dims"] == pytest.approx(1, rel=0.01)
    flat = real * (np.arange(D) < 3)  # of data of few directions nothing is said
    assert np.isnan(look(linear(losses.bce()), flat, flat)["dims"])


def test_samples_that_are_all_the_same_have_no_spread_and_no_dimensions():
    numbers = look(linear(losses.bce(), scale=0.0), normal(0), normal(1))
    assert (numbers["spread"], numbers["dims"]) == (0, 0)


def test_the_share_at_the_clip_counts_weights_that_clipping_holds():
    def share(clip):
        return look(linear(losses.wgan(clip)), normal(0), normal(1))["at_clip"]

    # Of eight weights six are 0.
    assert (share(10.0), share(4.0), share(3.0)) == (0.0, 1 / D, 2 / D)
    assert "at_clip" not in look(linear(losses.bce()), normal(0), normal(1))
    unbounded = losses.bce()._replace(project=lambda params: params)
    assert np.isnan(look(linear(unbounded), normal(0), normal(1))["at_clip"])


def test_with_classes_held_out_examples_have_their_own():
    def criticise(params, x, labels):
        return params["slope"][labels] * x[:, 0]

    generator = (
        start(scale=jnp.ones(2)),
        lambda params, z, labels: params["scale"] * z + 0 * labels[:, None],
    )
    critic = start(slope=jnp.array([1.0, -1.0])), criticise
    tx = optax.sgd(0.0)
    model = jaxgan.gan(generator, critic, losses.bce(), tx, tx, latent_dim=2, num_classes=2)
    real = normal(0, d=2) ** 2 + 1
    zeros, ones = np.zeros(N, np.int32), np.ones(N, np.int32)
    assert look(model, real, real, zeros, ones)["memorised"] == 1
    assert look(model, real, real, zeros, zeros)["memorised"] == 0.5


@pytest.mark.parametrize("loss", ["wgan_gp", "rpgan", "began", "hinge", "dragan"])
def test_losses_of_all_kinds_can_be_probed(loss):
    pair = networks.mlp((D,), 2, 8, depth=1)
    if loss == "began":
        pair = pair[0], networks.autoencoder((D,), 1, 8, depth=1)
    model = jaxgan.gan(*pair, getattr(losses, loss)(), optax.sgd(0.1), optax.sgd(0.1))
    numbers = look(model, normal(0), normal(1))
    assert np.isfinite(list(numbers.values())).all() and numbers["g_slope"] > 0


def test_a_critic_that_scores_data_low_is_read_the_other_way_round():
    step = np.linspace(0, 1, N, dtype=np.float32)[:, None] * SLOPE / 25
    low = losses.wgan(clip=10.0)._replace(lower_is_real=True)
    for wrap in (lambda loss: loss, lambda loss: losses.with_r1(loss, 0.1)):
        for loss, ahead in ((losses.wgan(clip=10.0), 1), (low, 0)):
            numbers = look(linear(wrap(loss), scale=0.0), step + SLOPE / 25, step)
            assert numbers["ahead"] == ahead
    assert losses.began().at(jnp.zeros(()), 0).lower_is_real
    assert losses.augmented(low, "color").lower_is_real


def test_networks_are_as_in_training():
    """A discriminator's BatchNorm sees data and samples each by itself, and its own batch."""
    pair = networks.dcgan((8, 8, 1), 4, 8, critic_norm=True)
    model = jaxgan.gan(*pair, losses.wgan(clip=10.0), optax.sgd(0.1), optax.sgd(0.1))
    state = model.init(KEY)
    real = np.random.RandomState(0).uniform(-1, 1, (N, 8, 8, 1)).astype(np.float32)
    numbers = probe(model.game, state, real, real, KEY)
    _, metrics = model.g_grad(state, real, KEY)
    generator, critic = state.generator, state.critic
    apply = model.game.generator.apply
    draw = lambda z: apply(generator.params, generator.stats, (z,))[0]  # noqa: E731
    score = lambda x: model.game.critic.apply(critic.params, critic.stats, (x,))[0]  # noqa: E731
    of_training = float(-score(draw(draw_noise(KEY, N, 4)[0])).mean())
    assert of_training == pytest.approx(float(metrics["g_loss"]), rel=1e-5)
    fake = draw(jax.random.normal(jax.random.split(KEY)[0], (N, 4 + 1))[:, :-1])
    slopes = jax.grad(lambda x: -score(x).sum())(fake).reshape(N, -1)
    expected = float(jnp.linalg.norm(slopes, axis=1).mean())
    assert float(numbers["g_slope"]) == pytest.approx(expected, rel=1e-4)


def test_a_packed_critic_can_be_probed():
    generator, critic = networks.mlp((D,), 2, 8, depth=1)
    model = jaxgan.gan(
        generator, networks.packed(critic, 3), losses.bce(), optax.adam(1e-2), optax.adam(1e-2)
    )
    points = data.Dataset("points", normal(0, 100), normal(1, 80))
    run = jaxgan.fit(model, points, 4, 12, parallel="jit")
    assert [row["step"] for row in run.health] == [1, 2, 3, 4]
    assert np.isfinite(run.health[-1]["ahead"])


# In a run.


def fit(workdir=None, steps=50, batch_size=16, **more):
    pair = networks.mlp((D,), 2, 8, depth=1)
    model = jaxgan.gan(*pair, losses.bce(), optax.adam(1e-2), optax.adam(1e-2), n_critic=1)
    points = data.Dataset("points", normal(0, 200), normal(1, 80))
    options = dict(sample_every=0, checkpoint_every=20, parallel="jit") | more
    return jaxgan.fit(model, points, steps, batch_size, workdir=workdir, **options)


def rows_of(folder):
    return [json.loads(line) for line in (folder / "health.jsonl").read_text().splitlines()]


def test_interpolates_lie_evenly_between_data_and_samples():
    """Of ∇(|x|²/2) = x, between data at 1 in D directions and samples at 0, the norm is √D·ε."""
    one = jnp.float32(1)
    critic = start(size=one), lambda params, x, *labels: params["size"] * (x**2).sum(-1) / 2
    generator = start(size=one), lambda params, z, *labels: params["size"] * 0 * z
    tx = optax.sgd(0.0)
    model = jaxgan.gan(generator, critic, losses.wgan_gp(), tx, tx, latent_dim=D)
    ones = np.ones((N, D), np.float32)
    # ε has a standard deviation of √(1/12), the mean of N of them one of √(1/12N).
    error = (1 / 12 / N) ** 0.5
    assert look(model, ones, ones)["d_slope"] / D**0.5 == pytest.approx(0.5, abs=4 * error)


def test_pixels_are_probed_as_the_networks_see_them():
    """As uint8 from 0 to 255 and as floats from -1 to 1 images give the same numbers."""
    pixels = np.random.RandomState(0).randint(0, 256, (N, 8, 8, 1)).astype(np.uint8)
    model = jaxgan.gan(
        *networks.mlp((8, 8, 1), 4, 8, 1), losses.wgan_gp(), optax.sgd(0.1), optax.sgd(0.1)
    )
    rows = [
        jaxgan.fit(model, images, 2, 16, sample_every=0).health
        for images in (pixels, np.asarray(jaxgan.data.to_float(pixels)))
    ]
    assert rows[0] == rows[1]


def test_a_run_is_probed_evenly_and_is_none_the_different(tmp_path, monkeypatch):
    run = fit(tmp_path)
    assert [row["step"] for row in run.health] == list(range(2, 51, 2))
    assert rows_of(tmp_path) == run.health == jaxgan.load(tmp_path, run.model).health
    monkeypatch.setattr(health, "PROBES", 1)
    other = fit()
    assert len(other.health) == 1
    for a, b in zip(*(jax.tree.leaves(r.state._replace(key=0)) for r in (run, other)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert other.health[0] == run.health[-1]


def test_a_killed_run_has_the_probes_of_a_whole_one(tmp_path):
    def kill(samples):
        raise KeyboardInterrupt

    whole = fit(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):  # at step 33, after the checkpoint of step 20
        fit(tmp_path / "killed", score_every=33, score=kill)
    assert rows_of(tmp_path / "killed")[-1]["step"] == 32
    resumed = fit(tmp_path / "killed")
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "whole")
    assert resumed.health == whole.health
    again = fit(tmp_path / "killed")  # which is finished
    assert again.health == whole.health


def test_callbacks_see_the_probes_so_far():
    seen = []
    fit(callbacks=[lambda run: seen.append((run.step, len(run.health)))])
    assert seen == [(20, 10), (40, 20), (50, 25)]


def test_several_seeds_have_a_list_of_each_number_as_alone():
    both = fit(num_seeds=2, seed=5)
    for index in range(2):
        alone = fit(seed=5 + index)
        for one, row in zip(alone.health, both.health, strict=True):
            for name in one.keys() - {"step"}:
                assert row[name][index] == pytest.approx(one[name], rel=1e-3, abs=2e-2), name


def test_without_held_out_examples_nothing_is_said_of_memory():
    pair = networks.mlp((D,), 2, 8, depth=1)
    model = jaxgan.gan(*pair, losses.bce(), optax.adam(1e-2), optax.adam(1e-2), n_critic=1)
    for array in (normal(0), normal(0, 1)):
        run = jaxgan.fit(model, array, 10, 1, parallel="jit")
        for row in run.health:
            assert "ahead" in row and "memorised" not in row
    assert not run.health  # of one example there is no spread
