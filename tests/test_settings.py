"""Every setting reaches what it sets: from the command line to one real update, from a known state.

What an update must be is computed here from the gradient of the loss that it reports.
"""

import dataclasses
import functools
import json
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

import jaxgan
from jaxgan import data, losses, networks
from jaxgan.commands import command_line, presets, train
from jaxgan.commands import settings as configs
from jaxgan.commands.config import LOSSES, Config, check
from jaxgan.commands.presets import preset
from jaxgan.commands.settings import make_model
from jaxgan.commands.tables import command as printed
from jaxgan.training import json_files, program
from jaxgan.training.fit import draw_samples
from jaxgan.training.program import make_program

KEY = jax.random.key(7)
FIELDS = {field.name for field in dataclasses.fields(Config)}
STEPS = {"critic": ("d_step", "d_loss"), "generator": ("g_step", "g_loss")}
each_player = pytest.mark.parametrize("player", STEPS)

# WGAN, whose gradients do not fade, with a bound that no weight reaches.
UNBOUNDED = dict(loss="wgan", clip=9.0)

SHOWN: set[str] = set()


def shows(*settings):
    """Marks the test that shows what these settings do."""
    SHOWN.update(settings)
    return lambda test: test


def small(**settings):
    """A config of tiny networks under SGD, which hides no factor."""
    least = dict(loss="bce", dataset="ring8", model="mlp", optimizer="sgd", ema_decay=0.0)
    sizes = dict(latent_dim=3, width=8, depth=1, n_critic=1, batch_size=8)
    return Config(**(least | sizes | settings))


def reals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape or (8, 2)).astype(np.float32)


def pixels(*shape):
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]).astype(np.float64)


def with_params(state, **params):
    """The state at other parameters of its players."""
    players = {name: getattr(state, name)._replace(params=p) for name, p in params.items()}
    return state._replace(**players)


def blank(model):
    """A first state of zeros, for which nothing is compiled."""
    shapes = jax.eval_shape(model.init, KEY)._replace(key=None)
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)._replace(
        key=jax.random.key(0)
    )


@functools.cache
def start():
    """Parameters of both players, large enough for gradients of order 1."""
    state = make_model(small(), (2,)).init(KEY)
    return {name: jax.tree.map(lambda w: 3 * w, getattr(state, name).params) for name in STEPS}


@functools.cache
def gradient_of(player):
    """The gradient of the loss that the player's step reports, by its parameters."""
    model, (step, loss) = make_model(small(**UNBOUNDED), (2,)), STEPS[player]

    def reported(params, others):
        state = with_params(blank(model), **(others | {player: params}))
        return getattr(model, step)(state, reals(), KEY)[1][loss]

    return jax.jit(jax.grad(reported))


def descend(config, player, updates):
    """The gradients, and the changes to the parameters, of a player's first updates."""
    model, params = make_model(config, (2,)), start()
    state = with_params(blank(model), **params)
    gradients, changes = [], []
    for _ in range(updates):
        before = getattr(state, player).params
        gradients.append(flat(gradient_of(player)(before, params)))
        state, _ = getattr(model, STEPS[player][0])(state, reals(), KEY)
        changes.append(flat(getattr(state, player).params) - flat(before))
    return np.array(gradients), np.array(changes)


def count_parameters(player):
    return sum(leaf.size for leaf in jax.tree.leaves(player.params))


def test_every_setting_has_a_test_here():
    assert SHOWN == FIELDS


# The command line.

COMMANDS = [
    dict(
        **dict(loss="wgan", dataset="mnist", model="dcgan", steps=11, batch_size=12, n_critic=13),
        **dict(seed=14, num_seeds=15, workdir="here", data_dir="there", parallel="mesh"),
        **dict(precision="bfloat16", checkpoint_every=16, keep_every=17, on_divergence="skip"),
        **dict(log_every=18, sample_every=19, latent_dim=20, width=21, critic_norm=False),
        **dict(optimizer="adam", g_learning_rate=0.22, d_learning_rate=0.23, decay_steps=24),
        **dict(b1=0.25, b2=0.26, clip=0.27, ema_decay=0.28, image_size=32),
        **dict(num_classes=30, r1=0.31, r2=0.32, spectral_norm=True, score_every=39, patience=40),
    ),
    dict(
        **dict(loss="wgan-gp", dataset="digits", model="mlp", workdir="here", depth=29),
        **dict(penalty=0.3, devices=41, batch_size=82),
    ),
    dict(loss="wgan", dataset="digits", model="mlp", workdir="here", batch_size=66, pack=33),
    dict(loss="wgan-div", dataset="digits", model="mlp", workdir="here", k=0.34, p=3.5),
    dict(loss="f-gan", dataset="digits", model="mlp", workdir="here", divergence="js", direct=True),
    dict(loss="began", dataset="digits", model="mlp", workdir="here", gamma=0.36, rate=0.37),
    dict(loss="hinge", dataset="digits", model="mlp", workdir="here", augment="color", ada=0.38),
    dict(
        **dict(loss="wgan", dataset="folder:photos", model="mlp", workdir="here"),
        **dict(cache_dir="there", channels=4, flip=True),
    ),
]


def flags_of(settings):
    """As a user writes them: --spectral-norm, --no-critic-norm, and names with hyphens."""
    hyphened = {name.replace("_", "-"): value for name, value in settings.items()}
    return [
        f"--{'' if value else 'no-'}{name}" if isinstance(value, bool) else f"--{name}={value}"
        for name, value in hyphened.items()
    ]


@pytest.mark.parametrize("settings", COMMANDS, ids=lambda each: f"{each['loss']}-{each['dataset']}")
def test_a_flag_sets_its_setting_and_no_other(settings, tmp_path):
    chosen = ("loss", "dataset", "model")  # which choose the defaults of all others
    # Some settings are off but in the papers' presets.
    kind = "auto" if settings["dataset"] == "digits" else "paper"
    defaults = preset(*(settings[name] for name in chosen), kind=kind)
    for name in settings.keys() - set(chosen):
        assert getattr(defaults, name) != settings[name], f"{name} would not show"
    config, _ = train.parse([*flags_of(settings), f"--preset={kind}"])
    expected = dataclasses.replace(defaults, **settings)
    if "devices" not in settings:  # the cores that share a batch go by what else is set
        devices = presets.devices_that_pay(expected, kind)
        expected = dataclasses.replace(expected, devices=devices)
    assert config == expected
    # Those of a run's folder are the same.
    assert configs.read(configs.recorded(config), "config.json") == config


def test_every_setting_is_a_flag():
    assert set().union(*COMMANDS) == FIELDS


@pytest.mark.parametrize("loss", LOSSES)
def test_what_no_flag_says_is_what_the_preset_says(loss):
    for dataset, model in (("digits", "auto"), ("grid25", "mlp"), ("mnist", "mlp")):
        config, options = train.parse(
            [f"--loss={loss}", f"--dataset={dataset}", f"--model={model}"]
        )
        other = "" if model in ("auto", preset(loss, dataset).model) else f"-{model}"
        workdir = f"runs/{dataset}-{loss}-0{other}"
        expected = preset(loss, dataset, model, kind=options.preset)
        expected = dataclasses.replace(expected, workdir=workdir)
        assert config == expected and (config.loss, config.dataset) == (loss, dataset)
    assert train.parse([f"--loss={loss}"])[0].dataset == "digits"


def test_another_model_than_the_presets_has_its_own_width_and_norm():
    for dataset, own, other, width, devices in (
        ("digits", "mlp", "dcgan", 64, 1),
        ("cifar10", "dcgan", "mlp", 256, 1),
        ("cifar10", "dcgan", "r3gan", 64, 2),
    ):
        default = preset("wgan-gp", dataset)
        assert default == preset("wgan-gp", dataset, own)
        assert preset("wgan-gp", dataset, other) == dataclasses.replace(
            default, model=other, width=width, critic_norm=False, devices=devices
        )
    assert preset("bce", "digits").model == "mlp"
    assert preset("bce", "digits", "dcgan").critic_norm


def test_without_workdir_a_run_has_a_folder_of_its_own():
    for flags, folder in (
        (["--seed=3"], "digits-wgan-3"),
        (["--seed=3", "--num-seeds=4"], "digits-wgan-3to6"),
        (["--dataset=imagenet_resized/8x8"], "imagenet_resized-8x8-wgan-0"),
        (["--dataset=folder:/of/my photos"], "folder-my photos-wgan-0"),
        (["--clip=0.05", "--steps=5", "--log-every=1"], "digits-wgan-0-clip=0.05"),
        (["--model=dcgan", "--width=32"], "digits-wgan-0-dcgan-width=32"),
        (["--name=mine", "--clip=0.05"], "mine"),
    ):
        assert train.parse(["--loss=wgan", *flags])[0].workdir == f"runs/{folder}"


# Where things are, how long it trains, and what is only looked at.
MAY_CHANGE = {"workdir", "data_dir", "cache_dir", "dataset", "steps", "log_every", "sample_every"}
MAY_CHANGE |= {"checkpoint_every", "keep_every", "score_every", "patience"}


# Settings of other losses, or of the other model.
OF_OTHERS = {"depth", "penalty", "k", "p", "divergence", "direct", "gamma", "rate"}
OF_OTHERS |= {"augment", "ada"}  # ADA goes with augmentation


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        (dict(loss="wgan", model="dcgan"), FIELDS - MAY_CHANGE - OF_OTHERS),
        (dict(loss="wgan-gp", model="mlp"), {"depth", "penalty"}),
        (dict(loss="wgan-div", model="mlp"), {"k", "p"}),
        (dict(loss="f-gan", model="mlp"), {"divergence", "direct"}),
        (dict(loss="began", model="mlp"), {"gamma", "rate"}),
        (dict(loss="hinge", dataset="digits", model="mlp", augment="cutout"), {"augment", "ada"}),
    ],
    ids=["dcgan", "mlp", "wgan-div", "f-gan", "began", "hinge"],
)
def test_a_run_that_has_trained_does_not_go_on_with_another(chosen, names, tmp_path):
    config = Config(**chosen, workdir=str(tmp_path))
    json_files.write(tmp_path / "config.json", configs.recorded(config))
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    others = {k: v for each in COMMANDS[::-1] for k, v in each.items()}
    others |= dict(loss="bce", model="mlp", critic_norm=True)
    others["optimizer"] = "sgd"
    for name in names:
        assert getattr(config, name) != others[name]
        flag = f"--{name.replace('_', '-')}"
        with pytest.raises(ValueError, match=f"holds a run with {flag}=.*, not {others[name]}"):
            train.check_folder(dataclasses.replace(config, **{name: others[name]}))
    train.check_folder(dataclasses.replace(config, data_dir="x", steps=config.steps + 1))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["cpu", "gpu", "paper"])
def test_every_kind_of_preset_makes_every_pair(kind, loss):
    for model in ("auto", "dcgan", "resnet", "r3gan") if loss != "began" else ("auto",):
        for size in (None, 64, "48x96"):
            config = preset(loss, "cifar10", model, kind=kind, image_size=size)
            config = dataclasses.replace(config, image_size=size, workdir=None)
            sides = data.height_and_width(size) or (32, 32)
            if (model, size) != ("dcgan", "48x96"):  # which makes squares
                assert jax.eval_shape(configs.make_model(config, (*sides, 3)).init, KEY)
            # A residual critic has a spectral norm where nothing else bounds it.
            free = loss in ("bce", "minimax", "hinge", "lsgan", "f-gan", "rpgan")
            residual = kind != "paper" and config.model == "resnet"
            assert config.spectral_norm == (
                (residual and free) or (kind, loss, config.model) == ("paper", "hinge", "resnet")
            )
            # What results.py prints makes the same run, on whatever device.
            words = printed(config).split()
            assert f"--preset={kind}" in words
            again, options = train.parse(words[1:])
            assert dataclasses.replace(again, workdir=None) == config and options.preset == kind


def test_a_preset_is_chosen_by_the_device_where_the_data_have_none(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(presets.jax, "default_backend", lambda: "cuda")
    monkeypatch.setattr(command_line, "use_cores", lambda *of: asked.append(of))
    cifar = ["--loss=bce", "--dataset=cifar10", "--num-seeds=4", "--parallel=jit"]
    config, options = train.parse(cifar)
    assert asked == [(4, "jit", 1)] and options.preset == "gpu"
    on_gpu = preset("bce", "cifar10", kind="gpu")
    assert config == dataclasses.replace(
        on_gpu, num_seeds=4, parallel="jit", workdir="runs/cifar10-bce-0to3"
    )
    # Several processes meet before jax starts; a set's own presets are for any device.
    others = (
        [*cifar, "--distributed", "--preset=auto"],
        ["--loss=bce", "--dataset=mnist"],
        ["--loss=bce", "--dataset=mnist:3.0.1"],
        ["--loss=bce"],
        [*cifar, "--preset=paper"],
    )
    kinds = [train.parse(flags)[1].preset for flags in others]
    assert kinds == ["gpu", "auto", "auto", "auto", "paper"] and len(asked) == 1
    for other in ("--model=resnet", "--image-size=64"):
        assert train.parse(["--loss=bce", "--dataset=mnist", other])[1].preset == "gpu"
    monkeypatch.setattr(presets.jax, "default_backend", lambda: "cpu")
    assert train.parse(cifar)[1].preset == "cpu"
    assert train.parse([*cifar, "--preset=paper"])[0].workdir == "runs/cifar10-bce-0to3-paper"
    for flags, says in (
        (["--loss=bce", "--preset=cpu"], "--preset=cpu is for images, and digits has"),
        (["--loss=bce", "--dataset=ring8", "--preset=paper"], "--preset=paper is for images"),
        (["--loss=bce", "--preset=gpus"], "unknown --preset=gpus: did you mean gpu?"),
        (["--loss=bec", "--dataset=cifar10"], "unknown --loss=bec: did you mean bce?"),
        (["--workdir=runs/x", "--preset=cpu"], "--preset=cpu goes with --loss"),
    ):
        assert train.main(flags) == 2
        assert says in capsys.readouterr().err


def test_larger_images_have_a_preset_of_their_own():
    small, large = (preset("bce", "folder:x", kind="cpu", image_size=n) for n in (47, 48))
    assert small == preset("bce", "folder:x", kind="cpu") != large
    # DCGAN makes squares alone.
    wide = preset("bce", "folder:x", kind="cpu", image_size="32x64")
    assert wide == preset("bce", "folder:x", "resnet", kind="cpu", image_size=64) != large
    assert preset("hinge", "mnist", kind="paper", image_size="32x64").model == "resnet"


def test_residual_pairs_are_trained_with_the_papers_numbers():
    """sn_cifar10_unconditional.yml; gan_cifar_resnet.py; R3GAN's train.py."""
    for loss, model, numbers in (
        (
            *("hinge", "resnet"),
            dict(g_learning_rate=2e-4, d_learning_rate=2e-4, n_critic=5, steps=50_000, width=128)
            | dict(decay_steps=50_000, spectral_norm=True, latent_dim=128),
        ),
        (
            *("wgan-gp", "resnet"),
            dict(g_learning_rate=2e-4, d_learning_rate=2e-4, n_critic=5, steps=100_000, width=128)
            | dict(decay_steps=100_000, penalty=10.0, latent_dim=128, spectral_norm=False),
        ),
        (
            *("r3gan", "r3gan"),
            dict(g_learning_rate=2e-4, d_learning_rate=2e-4, n_critic=1, batch_size=512, width=768)
            | dict(latent_dim=64, r1=0.05, r2=0.05, spectral_norm=False),
        ),
    ):
        config = preset(loss, "cifar10", model, kind="paper")
        assert config == dataclasses.replace(config, optimizer="adam", b1=0.0, b2=0.9, **numbers)
    like = preset("wgan-gp", "cifar10", "resnet", kind="paper")
    assert preset("wgan-lp", "cifar10", "resnet", kind="paper") == dataclasses.replace(
        like, loss="wgan-lp"
    )


def test_images_are_trained_with_the_papers_numbers():
    """Radford 2015, sec. 4; Arjovsky 2017, Algorithm 1; Gulrajani 2017, Algorithm 1."""
    papers = {
        "bce": dict(optimizer="adam", b1=0.5, b2=0.999, n_critic=1, batch_size=128),
        "wgan": dict(optimizer="rmsprop", b2=0.99, n_critic=5, batch_size=64, clip=0.01),
        "wgan-gp": dict(optimizer="adam", b1=0.0, b2=0.9, n_critic=5, batch_size=64, penalty=10.0),
    }
    rates = {"bce": 2e-4, "wgan": 5e-5, "wgan-gp": 1e-4}
    for loss, settings in papers.items():
        config = preset(loss, "cifar10")
        rate = dict(g_learning_rate=rates[loss], d_learning_rate=rates[loss], decay_steps=0)
        norm = dict(model="dcgan", critic_norm=loss != "wgan-gp")
        assert config == dataclasses.replace(config, **settings, **rate, **norm)


# The loss.


@shows("loss", "penalty", "k", "p", "divergence", "direct")
@pytest.mark.parametrize(
    ("settings", "d_loss", "g_loss"),
    [
        # Of a critic that scores 0.7 everywhere: log σ(a) = −softplus(−a), and no gradient.
        (dict(loss="bce"), np.log1p(np.exp(-0.7)) + np.log1p(np.exp(0.7)), np.log1p(np.exp(-0.7))),
        (
            dict(loss="minimax"),
            np.log1p(np.exp(-0.7)) + np.log1p(np.exp(0.7)),
            -np.log1p(np.exp(0.7)),
        ),
        (dict(loss="wgan"), 0, -0.7),
        (dict(loss="wgan-gp", penalty=2.5), 2.5, -0.7),  # λ (0 − 1)²
        (dict(loss="wgan-lp", penalty=2.5), 0, -0.7),
        (dict(loss="wgan-div", k=2.5, p=3.0), 0, -0.7),
        (dict(loss="hinge"), 0.3 + 1.7, -0.7),
        (dict(loss="lsgan"), 0.3**2 / 2 + 0.7**2 / 2, 0.3**2 / 2),
        (dict(loss="f-gan", divergence="kl"), np.exp(-0.3) - 0.7, -0.7),
        (dict(loss="f-gan", divergence="pearson"), 0.7**2 / 4, -0.7),
        (dict(loss="f-gan", divergence="kl", direct=True), np.exp(-0.3) - 0.7, -np.exp(-0.3)),
        (
            dict(loss="dragan", penalty=2.5),
            np.log1p(np.exp(-0.7)) + np.log1p(np.exp(0.7)) + 2.5,
            np.log1p(np.exp(-0.7)),
        ),
        (dict(loss="rpgan"), np.log(2), np.log(2)),
        (dict(loss="r3gan", r1=2.0, r2=3.0), np.log(2), np.log(2)),
    ],
    ids=str,
)
def test_the_loss_is_the_named_one_with_its_penalty(settings, d_loss, g_loss):
    model = make_model(small(**settings), (2,))
    state = blank(model)
    state.critic.params["Dense_1"]["bias"] += 0.7
    np.testing.assert_allclose(model.d_step(state, reals(), KEY)[1]["d_loss"], d_loss, atol=1e-6)
    np.testing.assert_allclose(model.g_step(state, reals(), KEY)[1]["g_loss"], g_loss, atol=1e-6)


def test_a_loss_of_its_own_takes_one_line_of_the_registry(monkeypatch):
    """As docs/own.md says."""

    def mine(penalty):
        return losses.with_r1(losses.hinge(), penalty)

    monkeypatch.setattr(losses, "mine", mine, raising=False)
    monkeypatch.setitem(LOSSES, "mine", ("penalty",))
    config, _ = train.parse(["--loss=mine", "--dataset=ring8", "--penalty=3"])
    model = make_model(dataclasses.replace(config, width=8), (2,))
    _, metrics = model.d_step(model.init(KEY), reals(), KEY)
    assert {"d_loss", "r1"} <= metrics.keys() and configs.recorded(config)["penalty"] == 3
    with pytest.raises(ValueError, match="--clip has no effect with --loss=mine"):
        train.parse(["--loss=mine", "--dataset=ring8", "--clip=3"])


def test_the_help_names_every_loss(capsys):
    with pytest.raises(SystemExit):
        train.parse(["--help"])
    words = re.split(r"[\s,.]+", capsys.readouterr().out)
    assert set(LOSSES) <= set(words)


@shows("gamma", "rate")
def test_the_balance_of_began_moves_at_its_rate_to_samples_of_gamma_times_the_error():
    model = make_model(small(loss="began", gamma=0.3, rate=0.25), (2,))
    state = model.init(KEY)._replace(loss=jnp.asarray(0.5))
    after, metrics = model.d_step(state, reals(), KEY)
    moved = 0.25 * (0.3 * metrics["real_error"] - metrics["fake_error"])
    assert abs(moved) > 1e-3
    np.testing.assert_allclose(after.loss, 0.5 + moved, rtol=1e-6)


@pytest.mark.parametrize(("shape", "latent_dim", "code"), [((2,), 2, 1), ((8, 8, 1), 10, 10)])
def test_the_autoencoder_of_began_cannot_copy_everything(shape, latent_dim, code):
    config = small(loss="began", latent_dim=latent_dim, depth=1)
    kernels = jax.tree.leaves(make_model(config, shape).init(KEY).critic.params)
    assert code in {kernel.shape[-1] for kernel in kernels}


@shows("clip")
def test_critic_weights_are_clipped_at_the_bound():
    model = make_model(small(loss="wgan", clip=0.05, d_learning_rate=1.0), (2,))
    state, _ = model.d_step(with_params(blank(model), **start()), reals(), KEY)
    assert np.max(np.abs(flat(state.critic.params))) == np.float32(0.05)


# The optimizers. Changes are differences of float32 weights below 8, which are rounded to 2.4e-7.


def adam(gradients, b1, b2):
    """Kingma & Ba 2015, Algorithm 1, but for ε."""
    m = v = 0
    for t, g in enumerate(gradients, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        yield m / (1 - b1**t) / np.sqrt(v / (1 - b2**t))


def rmsprop(gradients, b2):
    """Tieleman & Hinton 2012, with b2 for its 0.9, but for ε."""
    v = 0
    for g in gradients:
        v = b2 * v + (1 - b2) * g**2
        yield g / np.sqrt(v)


@shows("optimizer", "b1", "b2", "g_learning_rate", "d_learning_rate")
@pytest.mark.parametrize(
    ("settings", "directions"),
    [
        (dict(optimizer="sgd"), lambda gradients: gradients),
        (dict(optimizer="adam", b1=0.3, b2=0.8), functools.partial(adam, b1=0.3, b2=0.8)),
        (dict(optimizer="rmsprop", b2=0.8), functools.partial(rmsprop, b2=0.8)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
@each_player
def test_updates_are_the_optimizers_at_the_players_own_rate(settings, directions, player):
    rates = {"generator": 0.05, "critic": 0.02}
    rate = dict(g_learning_rate=rates["generator"], d_learning_rate=rates["critic"])
    config = small(**UNBOUNDED, **rate, **settings)
    gradients, changes = descend(config, player, 3)
    # Where a gradient is far above any ε: beside 1e-8 under the root, 0.01 (1 − 0.8) is 1e5 more.
    clear = np.all(np.abs(gradients) > 0.1, axis=0)
    assert np.sum(clear) >= 5
    expected = -rates[player] * np.array(list(directions(gradients[:, clear])))
    np.testing.assert_allclose(changes[:, clear], expected, rtol=1e-5, atol=3e-7)


@shows("decay_steps")
@each_player
def test_rates_fall_along_half_a_cosine_to_a_hundredth_in_as_many_steps(player):
    """Generator updates are steps; the critic makes n_critic updates in one."""
    rates = {"generator": 0.05, "critic": 0.02}
    rate = dict(g_learning_rate=rates["generator"], d_learning_rate=rates["critic"])
    config = small(**UNBOUNDED, **rate, decay_steps=2, n_critic=3)
    updates = {"generator": 2, "critic": 2 * 3}[player]
    gradients, changes = descend(config, player, updates + 2)
    done = np.minimum(np.arange(updates + 2) / updates, 1)
    rate = rates[player] * (0.01 + 0.99 * (1 + np.cos(np.pi * done)) / 2)
    np.testing.assert_allclose(changes, -rate[:, None] * gradients, rtol=1e-5, atol=3e-7)


# The networks.


def dense(inputs, outputs):
    return (inputs + 1) * outputs


def conv(inputs, outputs):
    return (5 * 5 * inputs + 1) * outputs


@shows("model", "latent_dim", "width", "depth")
@pytest.mark.parametrize(("latent_dim", "width", "depth"), [(3, 8, 1), (5, 6, 3)])
def test_mlp_has_the_parameters_of_its_sizes(latent_dim, width, depth):
    config = small(model="mlp", latent_dim=latent_dim, width=width, depth=depth)
    state = jax.eval_shape(make_model(config, (8, 8, 1)).init, KEY)
    hidden = (depth - 1) * dense(width, width)
    assert count_parameters(state.generator) == dense(latent_dim, width) + hidden + dense(width, 64)
    assert count_parameters(state.critic) == dense(64, width) + hidden + dense(width, 1)


@shows("model", "latent_dim", "width", "critic_norm")
@pytest.mark.parametrize(
    ("latent_dim", "width", "critic_norm"), [(3, 4, False), (3, 4, True), (5, 6, True)]
)
def test_dcgan_has_the_parameters_of_its_sizes(latent_dim, width, critic_norm):
    config = small(model="dcgan", latent_dim=latent_dim, width=width, critic_norm=critic_norm)
    state = jax.eval_shape(make_model(config, (16, 16, 3)).init, KEY)
    norm, wide = 2, 2 * width  # a scale and a bias for each channel
    assert count_parameters(state.generator) == (
        dense(latent_dim, 4 * 4 * wide)
        + norm * wide
        + conv(wide, width)
        + norm * width
        + conv(width, 3)
    )
    assert count_parameters(state.critic) == (
        conv(3, width) + conv(width, wide) + critic_norm * norm * wide + dense(4 * 4 * wide, 1)
    )


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_resnet_is_wgan_gps_and_with_a_spectral_norm_sngans(spectral_norm):
    variant = "sngan" if spectral_norm else "wgan-gp"
    config = small(model="resnet", width=4, latent_dim=5, spectral_norm=spectral_norm)
    game, pair = make_model(config, (8, 8, 1)).game, networks.resnet((8, 8, 1), 5, 4, variant)
    critic = game.critic.source
    assert (game.generator.source, critic.source if spectral_norm else critic) == pair


def test_r3gan_is_of_the_latents_and_width():
    game = make_model(small(model="r3gan", width=4, latent_dim=5), (8, 8, 1)).game
    assert (game.generator.source, game.critic.source) == networks.r3gan((8, 8, 1), 5, 4)


@shows("r1", "r2")
def test_the_slopes_at_data_and_samples_are_charged_half_of_gamma():
    loss = make_model(small(loss="wgan", r1=3.0, r2=5.0), (2,)).game.loss.at(None, 0)
    data, samples = reals(), reals(seed=1)

    def critic_fn(x):
        return x[:, 0] ** 2

    value, metrics = loss.critic(critic_fn, data, samples, KEY)
    r1, r2 = ((4 * x[:, 0] ** 2).mean() for x in (data, samples))
    charged = float(value + metrics["wasserstein"])
    assert charged == pytest.approx(1.5 * r1 + 2.5 * r2, rel=1e-5)
    assert [float(metrics[name]) for name in ("r1", "r2")] == pytest.approx([r1, r2])


@shows("augment")
def test_images_are_augmented_by_the_policy():
    """Of grey images with one pixel that is not: it may move by one, or lie in the hole."""
    dot = np.zeros((64, 8, 8, 1), np.float32)
    dot[:, 4, 4] = 0.5
    keys = jax.random.split(KEY, 64)

    def watch(x):
        seen.append(np.asarray(x))
        return jnp.sum(x, axis=(1, 2, 3))

    places = {"none": 1, "cutout": 1, "translation": 9}
    for augment, count in places.items():
        seen: list[np.ndarray] = []
        loss = make_model(small(loss="wgan", augment=augment), (8, 8, 1)).game.loss.at(None, 0)
        loss.critic(watch, dot, dot, keys)
        for x in seen:
            assert len({(i, j) for _, i, j, _ in np.argwhere(x)}) == count
            assert np.any(x.sum(axis=(1, 2, 3)) == 0) == (augment == "cutout")


@shows("ada")
def test_ada_holds_the_critics_overfitting_at_its_target():
    """r_v of held-out images, and with labels r_t; p moves by 4 batches in 500,000 images."""
    held_out = np.random.default_rng(0).integers(0, 255, (5000, 8, 8, 1), np.uint8)
    settings = dict(loss="hinge", augment="cutout", ada=0.3, batch_size=1000)
    for more, names in ((dict(), ("real", "held_out", "fake")), (dict(num_classes=3), ("sign",))):
        loss = make_model(small(**settings, **more), (8, 8, 1), held_out).game.loss
        for r, p in ((0.29, 0), (0.31, 4 * 1000 / 500_000)):
            means = dict(zip((f"ada_{n}" for n in names), (1.0, 1 - r, 0.0), strict=False))
            means |= {"ada_sign": r} if more else {}
            state = loss.init()
            for _ in range(4):
                state = loss.update(state, {n: jnp.asarray(x) for n, x in means.items()})
            assert state.p == pytest.approx(p)


@shows("pack")
def test_the_critic_sees_packs():
    plain, packed = (make_model(small(pack=m), (2,)) for m in (1, 4))
    kernels = [jax.tree.leaves(blank(m).critic.params)[1] for m in (plain, packed)]
    assert [kernel.shape[0] for kernel in kernels] == [2, 8]
    assert packed.game.critic.pack == 4


@shows("spectral_norm")
def test_the_critics_kernels_are_divided_by_their_norms():
    model = make_model(small(spectral_norm=True), (2,))
    kernels = [x for x in jax.tree.leaves(blank(model).critic.params) if x.ndim > 1]
    vectors = jax.tree.leaves(blank(model).critic.stats)
    assert [v.shape for v in vectors] == [kernel.shape[-1:] for kernel in kernels]
    assert not jax.tree.leaves(blank(model).generator.stats)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (dict(r1=1.0, critic_norm=True, model="dcgan"), "--critic-norm cannot go with --r1=1.0"),
        (dict(critic_norm=True, model="mlp"), "--critic-norm goes .* critic of mlp has no"),
        (dict(critic_norm=True, model="resnet"), "--critic-norm goes .* critic of resnet has no"),
        (dict(loss="began", model="r3gan"), "--loss=began goes with --model=mlp"),
        (dict(loss="began", num_classes=10), "--num-classes=10 cannot go with --loss=began"),
        (dict(loss="began", pack=2), "--pack=2 cannot go with --loss=began: .* Leave --pack out"),
        (dict(loss="wgan-gp", pack=2), "--pack=2 cannot go with --loss=wgan-gp"),
        (dict(r2=1.0, pack=2), "--pack=2 cannot go with --r2=1.0"),
        (dict(num_classes=3, pack=2), "--pack=2 cannot go with --num-classes"),
        (dict(pack=3), "--pack=3 does not divide --batch-size=8"),
        (dict(pack=0), "--pack must be from 1 to 2147483647; got 0"),
        (dict(augment="colour"), "unknown --augment=colour: did you mean color"),
        (dict(augment="none,color"), "--augment must be none, or some of color,.*got none,color"),
        (dict(augment="color,color"), "each once; got color,color"),
        (dict(augment="color", ada=1.5), "--ada must be from 0 to 1; got 1.5"),
        (
            dict(loss="wgan", augment="color", ada=0.5, num_classes=3),
            "--ada=0.5 with --num-classes goes with --loss=bce or minimax or hinge or dragan",
        ),
        (dict(r1=-1.0), "--r1 must be 0, or 1e-37 to 1e38; got -1.0"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        check(small(**settings))


@shows("num_classes")
@pytest.mark.parametrize("model", ["mlp", "dcgan"])
def test_classes_have_an_embedding_each_in_both_networks(model):
    built = make_model(small(model=model, num_classes=7), (8, 8, 1))
    state = jax.eval_shape(built.init, KEY)
    for player in (state.generator, state.critic):
        assert player.params["Embed_0"]["embedding"].shape[0] == 7
    assert built.game.num_classes == 7


@shows("precision")
@pytest.mark.parametrize(("precision", "dtype"), [("float32", "f32"), ("bfloat16", "bf16")])
@pytest.mark.parametrize(
    ("model", "product"),
    [
        ("mlp", "dot_general"),
        ("dcgan", "conv_general_dilated"),
        ("resnet", "conv_general_dilated"),
        ("r3gan", "conv_general_dilated"),
    ],
)
def test_precision_is_of_the_networks_products_only(model, product, precision, dtype):
    built = make_model(small(model=model, precision=precision, width=16), (8, 8, 1))
    state = jax.eval_shape(built.init, KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.critic.params)} == {jnp.dtype("float32")}
    program = str(jax.make_jaxpr(built.step)(state, pixels(1, 8, 8, 8, 1)))
    found = re.findall(rf":(\w+)\[[\d,]*\] = {product}\[", program)
    assert set(found) == {dtype}


# The game.


@shows("n_critic")
def test_an_iteration_is_n_critic_updates_of_the_critic_and_one_of_the_generator():
    model = make_model(small(optimizer="adam", n_critic=3), (2,))
    state, _ = model.step(blank(model), reals(3, 8, 2))
    assert optax.tree_utils.tree_get(state.critic.opt_state, "count") == 3
    assert optax.tree_utils.tree_get(state.generator.opt_state, "count") == 1
    assert state.step == 1


@shows("ema_decay")
def test_the_average_is_of_ema_decay_once_it_is_warm():
    model = make_model(small(ema_decay=0.15, g_learning_rate=0.1), (2,))
    state = with_params(blank(model), **start())._replace(ema=start()["generator"])
    average = flat(state.ema)
    for decay in (1 / 10, 0.15, 0.15):  # at step t at most t/(9 + t)
        state, _ = model.g_step(state, reals(), KEY)
        average = decay * average + (1 - decay) * flat(state.generator.params)
        np.testing.assert_allclose(flat(state.ema), average, rtol=1e-5, atol=1e-6)
    assert blank(make_model(small(ema_decay=0.0), (2,))).ema is None


@shows("on_divergence")
def test_an_update_that_is_not_finite_stays_unless_it_is_skipped():
    for on_divergence, skipped in (("stop", None), ("skip", 1)):
        model = make_model(small(on_divergence=on_divergence), (2,))
        before = with_params(blank(model), **start())
        after, _ = model.d_step(before, np.nan * reals(), KEY)
        kept = np.array_equal(flat(after.critic.params), flat(before.critic.params))
        assert (kept, after.skipped) == (on_divergence == "skip", skipped)


def test_an_update_of_an_infinite_loss_is_skipped_though_its_gradient_is_finite():
    def infinite(critic_fn, real, fake, key):
        loss = jnp.mean(critic_fn(fake)) + jnp.inf
        return loss, {"d_loss": loss}

    loss, sgd = losses.wgan()._replace(critic=infinite), optax.sgd(0.1)
    model = jaxgan.gan(*networks.mlp((2,), 3, 8, 1), loss, sgd, sgd, skip_nonfinite=True)
    before = with_params(blank(model), **start())
    after, metrics = model.d_step(before, reals(), KEY)
    assert metrics["skipped"] == 1
    np.testing.assert_array_equal(flat(after.critic.params), flat(before.critic.params))


def test_training_normalises_by_the_batch_whatever_the_running_statistics_are():
    """The generator in the critic's step too, and the critic in the generator's."""
    model = make_model(small(model="dcgan", critic_norm=True, width=2), (16, 16, 1))
    before, real = model.init(KEY), pixels(4, 16, 16, 1)
    moved = before
    for name in STEPS:
        player = getattr(before, name)
        stats = jax.tree.map(lambda s: s + 1, player.stats)
        assert jax.tree.leaves(stats)
        moved = moved._replace(**{name: player._replace(stats=stats)})
    for name, (step, _) in STEPS.items():
        ours, metrics = getattr(model, step)(moved, real, KEY)
        theirs, expected = getattr(model, step)(before, real, KEY)
        assert metrics == expected
        params = (flat(getattr(state, name).params) for state in (ours, theirs))
        np.testing.assert_array_equal(*params)


def test_weights_and_noise_are_drawn_from_keys_of_their_own():
    generator, critic = networks.mlp((3,), 3, 8, 1)
    state = jaxgan.gan(generator, critic, losses.bce(), optax.sgd(1), optax.sgd(1)).init(KEY)
    of_the_noise = generator.init(state.key, reals(1, 3))["params"]
    all_params = (state.generator.params, state.critic.params, of_the_noise)
    kernels = [np.asarray(params["Dense_0"]["kernel"]) for params in all_params]
    assert len({kernel.shape for kernel in kernels}) == 1
    assert len(np.unique(kernels, axis=0)) == 3


@each_player
def test_an_optimizer_sees_the_weights(player):
    halve = optax.chain(optax.scale(0.0), optax.add_decayed_weights(-0.5))
    model = jaxgan.gan(*networks.mlp((2,), 3, 8, 1), losses.bce(), halve, halve)
    before = with_params(blank(model), **start())
    after, _ = getattr(model, STEPS[player][0])(before, reals(), KEY)
    halves = (flat(getattr(state, player).params) for state in (after, before))
    np.testing.assert_array_equal(next(halves), 0.5 * next(halves))


def test_the_generators_loss_sees_the_last_of_the_critics_batches():
    def generator(critic_fn, real, fake, key):
        return jnp.mean(fake), {"g_loss": jnp.mean(real)}

    loss = losses.wgan()._replace(generator=generator)
    sgd, batches = optax.sgd(0.1), reals(3, 8, 2)
    model = jaxgan.gan(*networks.mlp((2,), 3, 8, 1), loss, sgd, sgd, n_critic=3)
    _, metrics = model.step(blank(model), batches)
    np.testing.assert_allclose(metrics["g_loss"], np.mean(batches[-1]), rtol=1e-5)


# The run.


def ready(folder, **settings):
    config = small(**({"parallel": "jit"} | settings), workdir=str(folder / "run"))
    return train.make_job(config)


@shows("dataset", "data_dir", "image_size")
def test_data_are_the_named_set_from_its_place_at_its_size(tmp_path):
    for name, modes in (("ring8", 8), ("grid25", 25)):
        assert len(ready(tmp_path, dataset=name).dataset.modes) == modes
    run = ready(tmp_path, dataset="digits", data_dir=str(tmp_path / "sets"), image_size=16)
    assert (tmp_path / "sets" / "digits").is_dir()
    assert run.dataset.train.shape == (1437, 16, 16, 1)
    state = jax.eval_shape(run.model.init, KEY)
    assert jax.eval_shape(lambda s: run.model.sample(s, KEY, 2), state).shape == (2, 16, 16, 1)


@shows("image_size", "channels", "cache_dir")
def test_a_folder_is_read_at_a_height_and_width_with_its_transparency(tmp_path):
    (tmp_path / "set").mkdir()
    for i in range(10):
        Image.new("RGBA", (9, 9), (i, 0, 0, 100)).save(tmp_path / "set" / f"{i}.png")
    place = dict(dataset=f"folder:{tmp_path / 'set'}", cache_dir=str(tmp_path / "kept"))
    run = ready(tmp_path, **place, image_size="6x4", channels=4)
    assert run.dataset.train.shape == (9, 6, 4, 4)
    assert len(list((tmp_path / "kept").glob("set-*/images.npy"))) == 1
    for channels in (1, 3):
        run = ready(tmp_path, **place, image_size="6x4", channels=channels)
        assert run.model.game.data_shape == (6, 4, channels)


@shows("flip")
@pytest.mark.parametrize("resident", [True, False])
def test_half_of_the_images_of_an_epoch_are_mirrored(tmp_path, monkeypatch, resident):
    if not resident:
        monkeypatch.setattr(program, "device_bytes", lambda devices: 0)
    run = ready(tmp_path, dataset="digits", flip=True, batch_size=64, optimizer="sgd")
    seen = []

    def step(state, reals, axis_name=None):
        return state, {"all": reals[0]}

    run = run._replace(model=run.model._replace(step=step))
    compiled, batches, _ = make_program(run)
    state = run.model.init(KEY)
    which = 0, 3, 2, 1, 64, len(run.dataset.train)
    flips, rows = data.batch_flips(*which), data.batch_indices(*which)
    for i in range(2):
        state, (metrics, _) = compiled(state, batches(3 + i, 1), 1)
        seen.append(np.asarray(metrics["all"][0]))
    assert 30 < flips.sum() < 98
    images = np.asarray(data.to_float(run.dataset.train[rows]))
    expected = np.where(flips[..., None, None, None], images[..., ::-1, :], images)
    np.testing.assert_array_equal(seen, expected[:, 0])


@shows("batch_size", "n_critic", "seed")
def test_each_update_gets_the_batch_that_seed_and_step_choose(tmp_path):
    run = ready(tmp_path, batch_size=6, n_critic=3, seed=4)
    _, batches, _ = make_program(run)
    expected = data.batch_indices(4, 10, 2, n_critic=3, batch_size=6, size=100_000)
    assert expected.shape == (2, 3, 6)
    np.testing.assert_array_equal(batches(10, 2)[:2], expected)


def test_the_trainers_program_is_the_models_step_on_pixels_from_minus_one_to_one(tmp_path):
    run = ready(tmp_path, dataset="digits")
    program, batches, _ = make_program(run)
    state = run.model.init(KEY)
    [indices] = data.batch_indices(0, 3, 1, n_critic=1, batch_size=8, size=1437)
    pixels = run.dataset.train[indices].astype(np.float32) / 127.5 - 1
    after, metrics = run.model.step(state, pixels)
    trained, (log, finite) = program(run.model.init(KEY), batches(3, 1), 1)
    assert finite
    for name, value in metrics.items():
        np.testing.assert_allclose(log[name][0], value, rtol=1e-5)
    np.testing.assert_allclose(flat(trained.critic.params), flat(after.critic.params), atol=1e-6)


@shows("seed", "num_seeds")
def test_each_seed_has_its_own_keys_and_data(tmp_path):
    several = ready(tmp_path, seed=5, num_seeds=2)
    assert several.seeds == range(5, 7)
    assert several.count_parameters()[1] == dense(2, 8) + dense(8, 1)  # of one
    _, batches, _ = make_program(several)
    states = several.first_state()
    for i, seed in enumerate((5, 6)):
        alone = ready(tmp_path, seed=seed)
        first, sample_key = jax.random.split(jax.random.key(seed))
        assert alone.sample_keys() == several.sample_keys()[i] == sample_key
        assert states.key[i] == alone.first_state().key == alone.model.init(first).key
        expected = data.batch_indices(seed, 0, 1, n_critic=1, batch_size=8, size=100_000)
        np.testing.assert_array_equal(batches(0, 1)[i, :1], expected)


def test_the_picture_of_several_seeds_is_that_of_the_first(tmp_path):
    pictures = []
    for seeds in (2, 1):
        job = ready(tmp_path, seed=5, num_seeds=seeds)
        log = Drawn()
        draw_samples(job, log, job.first_state())
        pictures.append(log.drawn)
    np.testing.assert_allclose(*pictures, rtol=1e-5, atol=1e-6)


class Drawn:
    """A log that keeps the picture."""

    def samples(self, step, samples):
        self.drawn = samples


@shows("parallel")
@pytest.mark.parametrize(
    ("mode", "runs_as"), [("jit", "jit"), ("pmap", "pmap"), ("mesh", "mesh"), ("auto", "pmap")]
)
def test_a_batch_is_split_over_all_devices_unless_by_jit(mode, runs_as, tmp_path):
    run = ready(tmp_path, parallel=mode)
    assert run.mode == runs_as
    if mode in ("pmap", "mesh"):
        program, batches, _ = make_program(run)
        state = jaxgan.parallel.replicate(blank(run.model), run.mode)
        state, _ = program(state, batches(0, 1), 1)
        assert state.step == 1 and len(state.step.sharding.device_set) == 8


@shows("devices")
def test_cores_share_the_batches_of_wide_convolutions(tmp_path):
    cifar = ["--loss=r3gan", "--dataset=cifar10", "--preset=cpu"]
    assert train.parse(cifar)[0].devices == 2
    assert train.parse(["--loss=bce", "--dataset=mnist"])[0].devices == 2
    assert train.parse(["--loss=bce", "--dataset=digits", "--model=dcgan"])[0].devices == 1
    small = ("width=31", "image-size=27", "model=mlp")
    for other in (
        *small,
        "batch-size=63",
        "num-seeds=2",
        "parallel=jit",
        "preset=gpu",
        "devices=1",
    ):
        config, _ = train.parse([*cifar, f"--{other}"])
        assert config.devices == 1 and "devices" not in configs.recorded(config)
    # What results.py prints makes the same run.
    assert "--devices=1" in printed(train.parse([*cifar, "--devices=1"])[0])
    assert "--devices" not in printed(train.parse(cifar)[0])

    # In a process of its own, whose jax has not started.
    told = ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")
    environment = {name: value for name, value in os.environ.items() if name not in told}
    ring = ["--loss=wgan-gp", "--dataset=ring8", "--width=8", "--batch-size=8", "--dry-run"]
    script = [sys.executable, "experiments/train.py", *ring, f"--workdir={tmp_path}"]
    for more, says in ([], "1 cpu (jit), in"), (["--devices=2"], "2 cpu (pmap), in"):
        done = subprocess.run([*script, *more], capture_output=True, text=True, env=environment)
        assert f", {says}" in done.stdout
    # Where there is but one, its number is recorded, and two cannot be had.
    alone = environment | {"JAX_NUM_CPU_DEVICES": "1"}
    done = subprocess.run([*script, "--devices=2"], capture_output=True, text=True, env=alone)
    assert done.returncode == 2 and "--devices=2 cannot be had: JAX_NUM_CPU_DEV" in done.stderr


def test_one_device_is_recorded_where_there_are_no_two(monkeypatch, tmp_path):
    two = train.parse(["--loss=bce", "--dataset=mnist", f"--workdir={tmp_path}"])[0]
    assert two.devices == 2
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)
    assert train.with_devices_here(two, said=False) == two
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    assert train.with_devices_here(two, said=False).devices == 1
    # An accelerator's batches are not split; a CPU's run that goes on there stays as it was.
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert train.with_devices_here(two, said=False).devices == 1
    with pytest.raises(ValueError, match="--devices=2 cannot be had: jax runs on gpu"):
        train.with_devices_here(two, said=True)
    (tmp_path / "config.json").write_text("{}")
    assert train.with_devices_here(two, said=False) == two
    # One core's sums are others: no run goes on with another number on a CPU.
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    with pytest.raises(ValueError, match=r"which the run in .* began with, cannot .* sets 1"):
        train.with_devices_here(two, said=False)


def test_as_many_devices_are_recorded_as_the_environment_sets(monkeypatch, tmp_path):
    """A batch is split over all of them, whatever the preset says."""
    two = train.parse(["--loss=bce", "--dataset=mnist", f"--workdir={tmp_path}"])[0]
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    assert train.with_devices_here(two, said=False).devices == 4
    with pytest.raises(ValueError, match=r"--devices=2 cannot be had: .* sets 4.* Leave one of"):
        train.with_devices_here(two, said=True)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"which the run in .* began with, .* sets 4.* Unset that"):
        train.with_devices_here(two, said=False)


def test_a_run_goes_on_with_the_devices_it_began_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["--loss=bce", "--dataset=mnist"]
    config, _ = train.parse(command)
    folder = tmp_path / config.workdir
    folder.mkdir(parents=True)
    # One that began before two devices could share a batch says nothing of them.
    before = {k: v for k, v in configs.recorded(config).items() if k != "devices"}
    (folder / "config.json").write_text(json.dumps(before))
    for same in (command, [*command, f"--workdir={config.workdir}"], [f"--workdir={folder}"]):
        assert train.parse(same)[0].devices == 1
    train.check_folder(train.parse(command)[0])
    (folder / "checkpoints" / "1").mkdir(parents=True)
    with pytest.raises(ValueError, match="holds a run with --devices=1, not 2: set --devices=1"):
        train.check_folder(train.parse([*command, "--devices=2"])[0])
    (folder / "config.json").write_text(json.dumps(before | {"devices": 4}))
    assert train.parse(command)[0].devices == 4


def test_devices_share_a_batch_in_equal_parts():
    command = ["--loss=bce", "--dataset=mnist", "--devices=3"]
    with pytest.raises(ValueError, match=r"--devices=3 cannot share --batch-size=64: .*multiple"):
        train.parse(command)
    assert train.parse([*command, "--batch-size=63"])[0].devices == 3


def test_an_array_may_hold_images_too_small_to_share():
    array = ["--loss=bce", "--dataset=npy:images.npy", "--model=dcgan", "--preset=cpu"]
    assert train.parse(array)[0].devices == 1


@pytest.mark.slow
@shows("steps", "log_every", "sample_every", "checkpoint_every", "keep_every", "workdir")
@shows("score_every", "patience")
def test_a_folder_holds_what_is_due_at_its_steps(tmp_path):
    folder = tmp_path / "of my own"
    settings = dict(
        **dict(loss="bce", dataset="ring8", width=8, batch_size=8, parallel="jit"),
        **dict(steps=13, log_every=5, sample_every=4, checkpoint_every=2, keep_every=2),
        **dict(workdir=str(folder), score_every=3, patience=9),
    )
    assert train.main(flags_of(settings)) == 0
    scores = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    assert [row["step"] for row in scores] == [3, 6, 9, 12, 13]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [5, 10, 13]
    pictures = sorted(path.stem for path in (folder / "samples").iterdir())
    assert pictures == [f"step_{step:08d}" for step in (0, 4, 8, 12, 13)]
    # The newest three, and those at multiples of 2 · 2.
    kept = sorted(int(path.name) for path in (folder / "checkpoints").iterdir())
    assert kept == [4, 8, 10, 12, 13]
    trained = dataclasses.replace(preset("bce", "ring8"), **settings)
    assert configs.of_run(folder) == trained
