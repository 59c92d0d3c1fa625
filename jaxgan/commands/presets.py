"""Default settings for each loss on each kind of data, from the papers where they have them.

Each preset is a row of `tuned`, or a function to a `Config`, whose docstring says where its numbers
come from, how to run it and what to expect. Flags override single settings.
"""

import dataclasses
from pathlib import PurePath

from jaxgan.commands import tuned
from jaxgan.commands.augmentation import default_policy
from jaxgan.commands.config import LOSSES, MODELS, Config, check_choice

_WIDTHS = {"mlp": 256, "dcgan": 64, "resnet": 128, "r3gan": 64}
# Losses that take WGAN-GP's presets where they have none.
_LIKE_WGAN_GP = ("wgan-gp", "wgan-lp", "wgan-div")
_TUNED_AS = {"swissroll": "ring8"}


def preset(loss: str, dataset: str, model: str = "auto", divergence: str = "kl") -> Config:
    """The settings for a loss, a data set, a model, and a divergence of f-GAN.

    Raises:
      ValueError: if the loss or the model is unknown.
    """
    check_choice("--loss", loss, LOSSES)
    check_choice("--model", model, MODELS)
    name = dataset.partition(":")[0]  # tensorflow-datasets take a version, as mnist:3.0.1
    row = f"f-gan-{divergence}" if loss == "f-gan" else loss
    family = "wgan" if loss == "wgan" else "wgan_gp" if loss in _LIKE_WGAN_GP else "gan"
    table, own = tuned.TABLES.get(_TUNED_AS.get(name, name)), _PRESETS.get((name, family))
    settings = Config(loss, dataset, divergence=divergence)
    if table and (own is None or model != "dcgan"):
        settings = _tuned(settings, table, row)
    else:
        base = dataclasses.replace((own or _PRESETS["images", family])(), **_OF_LOSS.get(loss, {}))
        settings = dataclasses.replace(base, loss=loss, dataset=dataset, divergence=divergence)
    settings = dataclasses.replace(settings, augment=default_policy(dataset))
    if model in ("auto", settings.model):
        return settings
    critic_norm = settings.critic_norm and model == "dcgan"
    return dataclasses.replace(settings, model=model, width=_WIDTHS[model], critic_norm=critic_norm)


def _tuned(config: Config, table: tuned.Table, row: str) -> Config:
    # A loss without a row, such as one's own, takes the GAN's.
    own = table.rows.get(row) or table.rows["bce"] | _OF_LOSS.get(config.loss, {})
    steps = table.updates // (own["n_critic"] + 1)
    length = {"steps": steps, "decay_steps": steps if table.decay else 0}
    return dataclasses.replace(config, **(_SMALL | table.shared | own | length))


def usual(config: Config) -> tuple[Config, bool]:
    """What a command says that names only loss, data set and model; and whether it must name that.

    A divergence is named too.
    """
    chosen = config.loss, config.dataset
    settings = preset(*chosen, divergence=config.divergence)
    named = config.model != settings.model
    settings = preset(*chosen, config.model, config.divergence) if named else settings
    return dataclasses.replace(settings, divergence=Config.divergence), named


# Settings that make no other run, or that the name says already.
_NOT_IN_NAME = (
    *("loss", "dataset", "seed", "num_seeds", "steps", "workdir", "data_dir", "cache_dir"),
    "parallel",
    *("log_every", "sample_every", "checkpoint_every", "keep_every"),
)


def default_workdir(config: Config) -> str:
    """`runs/DATASET-LOSS-SEED`, with the settings that are not the preset's, as `-clip=0.05`.

    Of a folder of images it has the folder's own name. Several seeds are named by the first and
    the last, as in `ring8-wgan-0to9`.
    """
    dataset = config.dataset
    kind, colon, path = dataset.partition(":")
    if colon and kind in ("folder", "npy"):
        dataset = f"{kind}-{PurePath(path).name}"
    seeds = f"{config.seed}"
    if config.num_seeds > 1:
        seeds += f"to{config.seed + config.num_seeds - 1}"
    words = [dataset.replace("/", "-"), config.loss, seeds]
    default, named = usual(config)
    words += [config.model] * named
    for field in dataclasses.fields(Config):
        value = getattr(config, field.name)
        if field.name not in (*_NOT_IN_NAME, "model") and value != getattr(default, field.name):
            words.append(f"{field.name.replace('_', '-')}={value}")
    return f"runs/{'-'.join(words)}"


# What the papers fix for a loss, whatever the data.
_GAN: dict = {"n_critic": 1, "optimizer": "adam", "b1": 0.5, "b2": 0.999}
_WGAN: dict = {"n_critic": 5, "optimizer": "rmsprop", "b2": 0.99}
_WGAN_GP: dict = {"n_critic": 5, "optimizer": "adam", "b2": 0.9}

# What a loss changes of its family's presets. A penalty takes no BatchNorm.
_OF_LOSS: dict[str, dict] = {
    "wgan-div": {"penalty": 10.0},  # it has none: the default
    "dragan": {"critic_norm": False},
    "r3gan": {"critic_norm": False, "r1": 1.0, "r2": 1.0},
    "began": {"critic_norm": False, "model": "mlp", "width": 256},
}

# What is written of runs of a minute.
_SMALL: dict = {"log_every": 200, "sample_every": 1000, "checkpoint_every": 1000}
_IMAGES: dict = {
    **{"model": "dcgan", "latent_dim": 128, "width": 64},
    **{"log_every": 50, "sample_every": 500, "checkpoint_every": 1000},
}


def digits_gan() -> Config:
    """GAN on the 8x8 digits with a small DCGAN pair, which loses fewer digits than the MLP.

    Radford 2015, sec. 4 (Adam with b1 0.5, BatchNorm in both), with a faster generator.

    `python experiments/train.py --loss=bce --model=dcgan`

    Expect readable digits of all ten classes in under a minute on two CPU cores; their exact W1 to
    held-out digits is 1.13 times that of training digits (minimax: 1.14), over five seeds.
    """
    return Config(
        loss="bce",
        **_GAN,
        model="dcgan",
        width=64,
        latent_dim=32,
        critic_norm=True,
        steps=20_000,
        g_learning_rate=1e-3,
        d_learning_rate=2e-4,
        log_every=500,
        sample_every=2000,
    )


def images_gan() -> Config:
    """DCGAN: Radford 2015, sec. 4 (Adam 2e-4, b1 0.5, batches of 128, BatchNorm in both).

    Adam's b2 of 0.999 is its own default. Unlike the paper's, the latents are 128 normal numbers,
    not 100 uniform ones, and samples come from an averaged generator.

    `python experiments/train.py --loss=bce --dataset=cifar10`

    Expect hours on a CPU: the paper's settings, untuned, for an accelerator.
    """
    return Config(
        loss="bce",
        **_GAN,
        **_IMAGES,
        critic_norm=True,
        steps=50_000,
        batch_size=128,
        g_learning_rate=2e-4,
        d_learning_rate=2e-4,
    )


def images_wgan() -> Config:
    """WGAN with the DCGAN pair: Arjovsky 2017, Algorithm 1 and sec. 4.

    RMSProp's decay of 0.99 is not in the paper: it is PyTorch's default, which the authors' code
    takes. That code also has 100 critic updates, not 5, before each of the first 25 generator
    updates and every 500th, and 100 latents; this preset has neither. Unlike the paper's, samples
    come from an averaged generator.

    `python experiments/train.py --loss=wgan --dataset=cifar10`

    Expect hours on a CPU: the paper's settings, untuned, for an accelerator.
    """
    return Config(
        loss="wgan",
        **_WGAN,
        **_IMAGES,
        critic_norm=True,
        steps=100_000,
        clip=0.01,
        g_learning_rate=5e-5,
        d_learning_rate=5e-5,
    )


def images_wgan_gp() -> Config:
    """WGAN-GP with the DCGAN pair: Gulrajani 2017, Algorithm 1 (Adam 1e-4, b1 0, b2 0.9, λ 10).

    Unlike the paper's, samples come from an averaged generator.

    `python experiments/train.py --loss=wgan-gp --dataset=cifar10`

    Expect, after a first 400 steps, coloured shapes without objects; the full run is for an
    accelerator.
    """
    return Config(
        loss="wgan-gp",
        **_WGAN_GP,
        **_IMAGES,
        steps=100_000,
        penalty=10.0,
        b1=0.0,
        g_learning_rate=1e-4,
        d_learning_rate=1e-4,
    )


def mnist_wgan_gp() -> Config:
    """WGAN-GP on MNIST, small enough for a CPU: half the width, 4,000 updates, decaying rates.

    λ 10 and three critic updates; Adam with b1 0.5 at five times the rate of Gulrajani 2017,
    Algorithm 1, since the run is short.

    `python experiments/train.py --loss=wgan-gp --dataset=mnist`

    Expect digits of all ten classes, most of them readable at a glance: docs/results.md.
    """
    return dataclasses.replace(
        images_wgan_gp(),
        width=32,
        latent_dim=64,
        n_critic=3,
        b1=0.5,
        g_learning_rate=5e-4,
        d_learning_rate=5e-4,
        steps=4_000,
        decay_steps=4_000,
        log_every=100,
    )


_PRESETS = {
    ("digits", "gan"): digits_gan,
    ("mnist", "wgan_gp"): mnist_wgan_gp,
    ("images", "gan"): images_gan,
    ("images", "wgan"): images_wgan,
    ("images", "wgan_gp"): images_wgan_gp,
}
