"""Losses of augmented images, and the controller that augments as the critic overfits."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

import jaxgan
from jaxgan import losses, networks, parallel
from jaxgan.commands import augmentation, train
from jaxgan.commands.config import Config
from jaxgan.commands.settings import recorded

KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (64, 8, 8, 1)).astype(np.float32)
REAL, FAKE, HELD_OUT = jnp.asarray(IMAGES[:8]), jnp.asarray(IMAGES[8:16]), IMAGES[16:]
KEYS = jax.random.split(KEY, 8)
POLICY = "color,translation,cutout"


def mean_score(x):
    """A critic that any augmentation moves."""
    weights = jnp.linspace(-1, 2, x[0].size).reshape(x.shape[1:])
    return jnp.sum(x * weights, axis=(1, 2, 3))


def echo(critic_fn, real, fake, key):
    """A loss that reports what it saw."""
    return jnp.mean(critic_fn(real)), {"real": real, "fake": fake, "key": key}


def build(loss, **options):
    generator, critic = networks.mlp((8, 8, 1), latent_dim=2, width=8, depth=1)
    sgd = optax.sgd(1e-2)
    return jaxgan.gan(generator, critic, loss, sgd, sgd, n_critic=2, **options)


def close(a, b, **tolerance):
    tolerance = tolerance or dict(rtol=1e-5, atol=1e-6)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **tolerance)


# Always.


@pytest.mark.parametrize("player", ["critic", "generator"])
def test_a_loss_sees_real_and_fake_changed_each_by_its_own_key(player):
    loss = losses.augmented(losses.Loss(echo, echo), POLICY)
    _, seen = getattr(loss, player)(mean_score, REAL, REAL, KEYS)
    assert seen["real"].shape == REAL.shape
    changed = [(seen[name] != REAL).any(axis=(1, 2, 3)) for name in ("real", "fake")]
    assert np.all(changed)
    assert (seen["real"] != seen["fake"]).any(axis=(1, 2, 3)).all()
    # Each example's randomness is its own.
    _, alone = getattr(loss, player)(mean_score, REAL[3:4], REAL[3:4], KEYS[3:4])
    np.testing.assert_allclose(alone["real"][0], seen["real"][3], atol=1e-6)
    assert seen["key"].shape == (8,) and (seen["key"] != KEYS).all()
    _, seen = getattr(loss, player)(mean_score, REAL, REAL, KEY)
    assert seen["key"].shape == ()


def test_at_probability_zero_it_is_the_loss_itself():
    for loss in (losses.bce(), losses.hinge(), losses.with_r2(losses.rpgan(), 2.0)):
        shown = losses.augmented(loss, POLICY, p=0.0)
        for player in ("critic", "generator"):
            ours, theirs = (getattr(x, player)(mean_score, REAL, FAKE, KEYS) for x in (shown, loss))
            close(ours, theirs)


def test_a_loss_of_augmented_images_by_hand():
    """WGAN with a critic of the image's mean, and brightness alone: means, and what was added."""

    def mean(x):
        return jnp.mean(x, axis=(1, 2, 3))

    dark = jnp.zeros((2000, 4, 4, 1))
    loss = losses.augmented(losses.wgan(), "color")
    value, _ = loss.critic(mean, dark + 0.25, dark, jax.random.split(KEY, 2000))
    # The augmentation's mean is the image: 0.25 is left, within 4 standard errors √(2/12/2000).
    assert value != pytest.approx(-0.25, abs=1e-6)
    assert value == pytest.approx(-0.25, abs=0.037)


def test_the_generators_gradient_goes_through_the_augmentation():
    """A hole lets none through: of WGAN's generator, and a critic that sums, it is −1 outside."""
    loss = losses.augmented(losses.wgan(), "cutout")
    gradient = jax.grad(
        lambda fake: loss.generator(lambda x: jnp.sum(x, (1, 2, 3)), REAL, fake, KEYS)[0]
    )(FAKE)
    assert set(np.unique(8 * gradient)) == {-1, 0}
    open_share = (gradient != 0).mean(axis=(1, 2, 3))
    assert (open_share >= 0.75).all() and (open_share < 1).all()


def test_a_penalty_inside_is_on_the_slope_at_augmented_images():
    """Of f(x) = ½‖x‖² the squared slope is ‖x‖²: R1 shows at what it is taken."""

    def half_norm(x):
        return jnp.sum(x**2, axis=(1, 2, 3)) / 2

    plain = losses.Loss(echo, echo)
    seen = losses.augmented(plain).critic(half_norm, REAL, FAKE, KEYS)[1]
    inside = losses.augmented(losses.with_r1(plain, 1.0)).critic(half_norm, REAL, FAKE, KEYS)[1]
    outside = losses.with_r1(losses.augmented(plain), 1.0).critic(half_norm, REAL, FAKE, KEYS)[1]
    for r1, x in ((inside["r1"], seen["real"]), (outside["r1"], REAL)):
        np.testing.assert_allclose(r1, jnp.mean(jnp.sum(x**2, axis=(1, 2, 3))), rtol=1e-5)


def test_the_rest_of_a_loss_passes_through():
    wgan = losses.augmented(losses.wgan(clip=0.5))
    assert wgan.project({"w": jnp.asarray([2.0, -3.0])})["w"].tolist() == [0.5, -0.5]
    assert not wgan.per_example
    assert losses.augmented(losses.wgan_gp()).per_example
    began = losses.augmented(losses.began())
    assert began.init() == losses.began().init() and began.update is not None
    assert "k" in began.at(0.5, 0).critic(lambda x: mean_score(x) ** 2, REAL, FAKE, KEYS)[1]


ALL = {
    "bce": losses.bce(),
    "wgan_gp": losses.wgan_gp(),
    "r3gan": losses.with_r2(losses.with_r1(losses.rpgan(), 1.0), 1.0),
    "dragan": losses.dragan(),
}


@pytest.mark.parametrize("name", ALL)
def test_an_update_with_its_penalty_has_finite_second_derivatives(name):
    model = build(losses.augmented(ALL[name]))
    gradients, metrics = model.d_grad(model.init(KEY), REAL, KEY)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((gradients, metrics)))
    assert any((x != 0).any() for x in jax.tree.leaves(gradients))


@pytest.mark.parametrize("mode", ["mesh", "pmap"])
def test_updates_are_the_same_on_several_devices(mode):
    ada = losses.adaptive(losses.wgan_gp(), HELD_OUT, batch_size=8, images=100, every=1)
    reals = np.stack([IMAGES[:8], IMAGES[8:16]])
    for loss in (losses.augmented(losses.bce()), ada):
        model, devices = build(loss), jax.local_devices()[:2]
        first = model.init(KEY)
        if loss is ada:
            first = first._replace(loss=first.loss._replace(p=jnp.asarray(0.5)))
        step = parallel.wrap(model.step, mode, (1,), devices)
        alone, expected = model.step(first, reals)
        state, metrics = step(parallel.replicate(first, mode, devices), reals)
        close(metrics, expected, rtol=1e-4, atol=1e-5)
        for name in ("generator", "critic", "loss"):
            close(getattr(state, name), getattr(alone, name), rtol=1e-4, atol=1e-5)


# As the critic overfits.


def control(held_out=HELD_OUT, loss=None, **settings):
    settings = dict(batch_size=10, images=1000, every=2) | settings
    return losses.adaptive(loss or losses.wgan(), held_out, **settings)


def play(loss, rows, state=None):
    """The states of a controller that is given rows of mean scores."""
    names = ("ada_real", "ada_held_out", "ada_fake")
    names = names if len(rows[0]) == 3 else ("ada_sign",)
    states = [loss.init() if state is None else state]
    for row in rows:
        metrics = {name: jnp.asarray(x) for name, x in zip(names, row, strict=True)}
        states.append(loss.update(states[-1], metrics))
    return states


def test_p_moves_by_the_gap_between_data_and_held_out_images():
    """By hand, with steps of 2·10/1000 every two updates, and r_v = (x − v)/(x − G) of sums."""
    rows = [
        *[(3.0, 1.0, 0.0), (5.0, 1.0, 0.0)],  # r = (8 − 2)/8 = 0.75: up
        *[(4.0, 1.0, 0.0), (4.0, 4.0, 0.0)],  # (8 − 5)/8 = 0.375: down
        *[(1.0, 1.0, 0.0), (1.0, 1.0, 0.0)],  # 0: down, to no less than 0
        *[(-4.0, -1.0, 0.0), (-4.0, -1.0, 0.0)],  # low scores for data: 6/8: up
        *[(2.0, 1.0, 0.0), (2.0, 1.0, 0.0)],  # on target
        *[(1.0, 0.0, 1.0), (1.0, 0.0, 1.0)],  # no gap at all counts as 0
    ]
    states = play(control(), rows)
    p = [float(state.p) for state in states]
    expected = [0, 0, 0.02, 0.02, 0, 0, 0, 0, 0.02, 0.02, 0.02, 0.02, 0]
    np.testing.assert_allclose(p, expected, atol=1e-7)
    r = [float(state.r) for state in states][2::2]
    np.testing.assert_allclose(r, [0.75, 0.375, 0, 0.75, 0.5, 0])


def test_p_goes_from_nothing_to_one_in_as_many_images_and_no_further():
    loss = losses.adaptive(losses.bce(), batch_size=100, images=10_000, every=4)
    p = [float(state.p) for state in play(loss, [(1.0,)] * 120)]
    assert p[4] == pytest.approx(0.04) and p[96] == pytest.approx(0.96)
    np.testing.assert_allclose(p[100:], 1, rtol=1e-6)


def test_p_moves_on_where_a_resumed_run_has_counted_beyond_a_shorter_wait():
    waiting = play(control(None, losses.bce(), every=9), [(1.0,)] * 7)[-1]
    moved = play(control(None, losses.bce(), every=2), [(1.0,)], waiting)[-1]
    assert (moved.p, moved.r, moved.count) == (pytest.approx(0.02), 1, 0)


def test_without_held_out_images_p_moves_by_the_sign_of_scores():
    loss = control(None, losses.hinge())
    above = play(loss, [(0.65,), (0.6,)])[-1]
    below = play(loss, [(0.65,), (0.5,)], above)[-1]
    assert (above.p, above.r) == (pytest.approx(0.02), pytest.approx(0.625))
    assert (below.p, below.r) == (0, pytest.approx(0.575))


def test_what_it_measures_are_scores_of_augmented_images():
    """At p = 0 those of the images; at p = 1 those of `augmented`. Held-out ones are drawn."""
    tags = np.arange(1.0, 5).reshape(4, 1, 1, 1) * np.ones((4, 8, 8, 1), np.float32) / 4
    loss = losses.adaptive(losses.Loss(echo, echo), tags, batch_size=8, policy="translation")

    def first(x):  # a shift of 1 at most leaves it
        return x[:, 4, 4, 0]

    for p in (0.0, 1.0):
        state = loss.init()._replace(p=jnp.asarray(p))
        _, metrics = loss.at(state, 0).critic(first, REAL, FAKE, KEYS)
        for name in ("real", "fake"):
            np.testing.assert_allclose(metrics[f"ada_{name}"], first(metrics[name]).mean())
            assert (metrics[name] == {"real": REAL, "fake": FAKE}[name]).all() == (p == 0)
        # Eight draws of ¼ to 1.
        assert 2 <= 8 * metrics["ada_held_out"] <= 8
        assert 32 * metrics["ada_held_out"] == pytest.approx(round(32 * metrics["ada_held_out"]))
        assert metrics["ada_p"] == p


def test_all_images_are_augmented_as_often():
    """The generator's too, and held-out ones, here one that is white: brightness moves each."""
    white = np.ones((1, 8, 8, 1), np.float32)
    loss = losses.adaptive(losses.Loss(echo, echo), white, batch_size=8, policy="color")
    for p in (0.0, 1.0):
        now = loss.at(loss.init()._replace(p=jnp.asarray(p)), 0)
        _, seen = now.critic(mean_score, REAL, FAKE, KEYS)
        assert (seen["ada_held_out"] == pytest.approx(float(mean_score(white)[0]))) == (p == 0)
        for player in (now.critic, now.generator):
            _, seen = player(mean_score, REAL, FAKE, KEYS)
            for name, x in (("real", REAL), ("fake", FAKE)):
                assert (seen[name] == x).all(axis=(1, 2, 3)).tolist() == [p == 0] * 8


def test_held_out_pixels_are_those_of_images_from_minus_one_to_one():
    white = np.full((3, 8, 8, 1), 255, np.uint8)
    for pixels, value in ((white, 1), (0 * white, -1)):
        loss = losses.adaptive(losses.bce(), pixels, batch_size=8, policy="translation")
        _, metrics = loss.at(loss.init(), 0).critic(lambda x: x[:, 4, 4, 0], REAL, FAKE, KEYS)
        assert metrics["ada_held_out"] == value


def test_measuring_moves_no_weight():
    """At p = 0 and in its first updates ADA trains as the loss alone."""
    plain, ada = build(losses.hinge()), build(control(loss=losses.hinge(), every=100))
    batch = np.stack([REAL, FAKE])
    ours, theirs = (m.step(m.init(KEY), batch)[0] for m in (ada, plain))
    close((ours.critic, ours.generator), (theirs.critic, theirs.generator))


def test_a_loss_that_learns_or_has_a_schedule_goes_on_inside():
    scheduled = control(loss=lambda step: losses.with_r1(losses.bce(), 1.0 + step))
    values = [
        scheduled.at(scheduled.init(), step).critic(mean_score, REAL, FAKE, KEYS)[0]
        for step in (0, 2)
    ]
    assert values[1] > values[0]
    began = control(loss=losses.began(gamma=0.5, rate=0.1))
    state = began.init()
    shown = began.at(state, 0)
    _, metrics = shown.critic(lambda x: mean_score(x) ** 2, REAL, FAKE, KEYS)
    after = began.update(state, metrics)
    expected = np.clip(0.1 * (0.5 * metrics["real_error"] - metrics["fake_error"]), 0, 1)
    assert after.loss == pytest.approx(float(expected)) and after.count == 1
    assert control(loss=losses.wgan_gp()).at(state, 0).per_example
    assert not control(loss=losses.wgan()).at(state, 0).per_example


def test_a_critic_that_knows_its_data_by_heart_is_shown_more_changes():
    """Eight images, and noise held out: the critic tells them apart, and p rises."""
    loss = losses.adaptive(losses.bce(), HELD_OUT, batch_size=8, images=400, every=4)
    generator, critic = networks.mlp((8, 8, 1), latent_dim=2, width=64, depth=2)
    adam = optax.adam(1e-3)
    model = jaxgan.gan(generator, critic, loss, adam, adam, n_critic=4)
    state, shown = model.init(KEY), []
    for _ in range(60):
        state, metrics = model.step(state, np.stack([REAL] * 4))
        shown.append(float(metrics["ada_p"]))
    assert shown[0] == 0 and max(shown) > 0.5


def test_a_state_is_saved_with_the_run(tmp_path):
    model = build(control(every=3))
    plan = {"batch_size": 8, "log_every": 1, "checkpoint_every": 2, "parallel": "jit"}
    whole = jaxgan.fit(model, IMAGES, steps=4, **plan)
    jaxgan.fit(model, IMAGES, steps=2, **plan, workdir=tmp_path)
    parts = jaxgan.fit(model, IMAGES, steps=4, **plan, workdir=tmp_path)
    close(parts.state.loss, whole.state.loss, rtol=0, atol=0)
    assert whole.state.loss.r != 0 and whole.state.loss.count == 2


# What is refused.


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: losses.augmented("bce"), "augmented must be given a Loss.*got 'bce'"),
        (lambda: losses.augmented(lambda step: losses.bce()), "call augmented inside it"),
        (lambda: losses.augmented(losses.bce(), "colr"), "did you mean color"),
        (lambda: losses.augmented(losses.bce(), p=1.5), "p must be from 0 to 1; got 1.5"),
        (lambda: losses.augmented(losses.bce(), p=-1), "p must be a finite number, 0 or more"),
        (lambda: control(policy="cutuot"), "did you mean cutout"),
        (lambda: control(target=2.0), "target must be from 0 to 1; got 2.0"),
        (lambda: control(images=0), "images must be a positive finite number; got 0"),
        (lambda: control(every=0), "every must be a whole number from 1 up; got 0"),
        (lambda: control(batch_size=2.5), "batch_size must be a whole number from 1 up; got 2.5"),
        (lambda: control(np.zeros((4, 2))), r"held_out must be images.*float64\(4, 2\)"),
        (lambda: control(np.zeros((0, 8, 8, 1))), r"one or more.*got float64\(0, 8, 8, 1\)"),
        (lambda: control([1, 2]), "held_out must be images.*got list"),
        (lambda: control(HELD_OUT * 255), r"held_out must lie in \[-1, 1\].*Give pixels as uint8"),
        (lambda: control(HELD_OUT * np.nan), "got values from nan to nan"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_data_that_are_no_images_are_refused_at_the_first_update():
    generator, critic = networks.mlp((2,), latent_dim=2, width=8, depth=1)
    sgd, points = optax.sgd(1e-2), np.zeros((8, 2), np.float32)
    for loss in (losses.augmented(losses.bce()), control()):
        model = jaxgan.gan(generator, critic, loss, sgd, sgd)
        with pytest.raises(ValueError, match=r"images \[B, H, W, C\]; got float32\(8, 2\)"):
            model.d_step(model.init(KEY), points, KEY)


def test_held_out_images_of_another_shape_are_refused():
    model = build(control(np.zeros((4, 8, 8, 3), np.uint8)))
    with pytest.raises(ValueError, match=r"shape \(8, 8, 1\); got \(8, 8, 3\)"):
        model.d_step(model.init(KEY), REAL, KEY)


@pytest.mark.parametrize("wrap", [lambda loss: loss, losses.augmented])
def test_held_out_images_are_refused_where_scores_need_labels(wrap):
    """A critic would score them by the labels of the batch, which are of other images."""
    pair = networks.mlp((8, 8, 1), latent_dim=2, width=8, depth=1, num_classes=3)
    sgd = optax.sgd(1e-2)
    with pytest.raises(ValueError, match=r"with num_classes=3 every score needs a label.*held_out"):
        jaxgan.gan(*pair, wrap(control(loss=losses.bce())), sgd, sgd, num_classes=3)
    by_sign = wrap(losses.with_r1(control(None, losses.bce()), 1.0))
    assert jaxgan.gan(*pair, by_sign, sgd, sgd, num_classes=3).game.num_classes == 3
    assert losses.with_r1(control(), 1.0).at(control().init(), 0).scores_others


# On the command line.


def write_images(folder, count):
    folder.mkdir()
    for index in range(count):
        pixels = np.random.default_rng(index).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return f"--dataset=folder:{folder}"


def parse(*flags):
    return train.parse(["--loss=bce", *flags])[0]


def test_a_small_folder_of_images_is_augmented_unless_told_otherwise(tmp_path, monkeypatch):
    dataset = write_images(tmp_path / "few", 12)
    (tmp_path / "few" / "deeper").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "few" / "deeper" / "13.JPG", format="jpeg")
    (tmp_path / "few" / "notes.txt").write_text("no image")
    config = parse(dataset)
    assert config.augment == POLICY and config.workdir == "runs/folder-few-bce-0"
    assert recorded(config)["augment"] == POLICY
    off = parse(dataset, "--augment=none")
    assert off.augment == "none" and off.workdir == "runs/folder-few-bce-0-augment=none"
    assert "augment" not in recorded(off)
    for other in ("--dataset=digits", f"--dataset=folder:{tmp_path / 'nowhere'}"):
        assert parse(other).augment == "none"
    for small, policy in ((14, POLICY), (13, "none")):
        monkeypatch.setattr(augmentation, "SMALL", small)
        assert parse(dataset).augment == policy


def test_a_run_says_why_it_augments_if_nobody_asked(tmp_path, capsys):
    dataset = write_images(tmp_path / "few", 12)
    for flags, said in (
        ([], True),
        (["--augment=none"], False),
        (["--augment=color"], False),
        (["--ada=0.5"], False),
    ):
        train.load_data(parse(dataset, "--image-size=8", *flags))
        line = (
            f"the critic sees images changed at random ({POLICY}), since 12 images are fewer than "
            "5,000 and it could learn them by heart; --augment=none turns that off"
        )
        assert (line in capsys.readouterr().out.splitlines()) == said


def test_points_are_not_augmented(tmp_path, capsys):
    np.save(tmp_path / "points.npy", np.zeros((64, 2), np.float32))
    flags = ["--loss=bce", f"--dataset=npy:{tmp_path / 'points.npy'}", "--augment=cutout"]
    flags += ["--model=mlp"]
    assert train.main([*flags, f"--workdir={tmp_path / 'run'}"]) == 2
    assert (
        f"--augment=cutout is for images, and the examples of npy:{tmp_path / 'points.npy'} have "
        "shape (2,): leave it out." in capsys.readouterr().err
    )


def test_ada_trains_from_the_command_line_and_its_run_is_loaded(tmp_path):
    flags = ["--loss=wgan", "--dataset=digits", "--augment=translation,cutout", "--ada=0.4"]
    flags += ["--width=8", "--depth=1", "--n-critic=4", "--steps=3", "--log-every=1"]
    folder = tmp_path / "run"
    assert train.main([*flags, f"--workdir={folder}"]) == 0
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(row["ada_held_out"] != row["ada_real"] for row in rows)
    assert rows[-1]["ada_r"] != 0
    run = jaxgan.load(folder)
    assert run.sample(KEY, 3).shape == (3, 8, 8, 1) and run.state.loss.r != 0


def test_held_out_images_are_taken_evenly_and_no_more_than_a_program_holds():
    held_out = np.arange(5000, dtype=np.float32).reshape(-1, 1, 1, 1) * np.ones((1, 2, 2, 1))
    chosen = []

    def keep(loss, images, **settings):
        chosen.append(images)

    config = Config("wgan", augment="color", ada=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "adaptive", keep)
        augmentation.augment_loss(config, losses.wgan(), (2, 2, 1), held_out)
        augmentation.augment_loss(config, losses.wgan(), (2, 2, 1), held_out[:100])
        patch.setattr(augmentation, "_MOST_BYTES", 100 * held_out[:1].nbytes)
        augmentation.augment_loss(config, losses.wgan(), (2, 2, 1), held_out)
    assert [len(x) for x in chosen] == [1000, 100, 100]
    assert (chosen[0][0, 0, 0, 0], chosen[0][-1, 0, 0, 0]) == (0, 4999)
    assert np.ptp(np.diff(chosen[0][:, 0, 0, 0])) <= 1
