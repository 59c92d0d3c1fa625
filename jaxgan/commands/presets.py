"""Default settings for each loss on each kind of data, from the papers where they have them.

Each preset is a function to a `Config`, whose docstring says where its numbers come from, how to
run it and what to expect. Flags override single settings.
"""

import dataclasses
from pathlib import PurePath

from jaxgan.commands.settings import LOSSES, MODELS, Config, check_choice
from jaxgan.data import TOYS

_WIDTHS = {"mlp": 256, "dcgan": 64}


def preset(loss: str, dataset: str, model: str = "auto") -> Config:
    """The settings for a loss, a data set and a model.

    Raises:
      ValueError: if the loss or the model is unknown.
    """
    check_choice("--loss", loss, LOSSES)
    check_choice("--model", model, MODELS)
    family = {
        "wgan": "wgan",
        "wgan-gp": "wgan_gp",
        "wgan-lp": "wgan_gp",
        "wgan-div": "wgan_gp",
    }.get(loss, "gan")
    kind = "toy" if dataset in TOYS else "digits" if dataset == "digits" else "images"
    name = dataset.partition(":")[0]  # tensorflow-datasets take a version, as mnist:3.0.1
    kind = name if (name, family) in _PRESETS else kind
    base = dataclasses.replace(_PRESETS[kind, family](), **_OF_LOSS.get(loss, {}))
    settings = dataclasses.replace(base, loss=loss, dataset=dataset)
    if model in ("auto", settings.model):
        return settings
    critic_norm = settings.critic_norm and model == "dcgan"
    return dataclasses.replace(settings, model=model, width=_WIDTHS[model], critic_norm=critic_norm)


# Settings that make no other run, or that the name says already.
_NOT_IN_NAME = (
    *("loss", "dataset", "seed", "num_seeds", "steps", "workdir", "data_dir", "parallel"),
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
    usual = preset(config.loss, config.dataset)
    if config.model != usual.model:
        words.append(config.model)
        usual = preset(config.loss, config.dataset, config.model)
    for field in dataclasses.fields(Config):
        value = getattr(config, field.name)
        if field.name not in (*_NOT_IN_NAME, "model") and value != getattr(usual, field.name):
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

# What the data fix, whatever the loss.
_TOYS: dict = {
    **{"model": "mlp", "latent_dim": 2, "width": 128, "batch_size": 256},
    **{"steps": 10_000, "log_every": 500, "sample_every": 1000},
}
_DIGITS: dict = {
    **{"model": "mlp", "latent_dim": 32},
    **{"log_every": 200, "sample_every": 500, "checkpoint_every": 1000},
}
_IMAGES: dict = {
    **{"model": "dcgan", "latent_dim": 128, "width": 64},
    **{"log_every": 50, "sample_every": 500, "checkpoint_every": 1000},
}


def digits_gan() -> Config:
    """GAN on the 8x8 digits, with a small DCGAN pair: fully connected networks lose digits here.

    Radford 2015, sec. 4 (Adam with b1 0.5, BatchNorm in both), with a faster generator.

    `python experiments/train.py --loss=bce`

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


def digits_wgan() -> Config:
    """WGAN on the 8x8 digits: Arjovsky 2017, Algorithm 1, at a tenfold rate and wider clipping.

    Algorithm 1 has RMSProp at 5e-5, n_critic 5, c 0.01 and batches of 64. With those numbers, 32
    latents and 3,000 steps the W1 below is 1.38. At 1e-3 the generator lost all digits but one.

    `python experiments/train.py --loss=wgan`

    Expect digits of all ten classes in under a minute on two CPU cores, most of them readable: the
    set's classifier is at least 90% sure of 92% (of 98% of real ones). Their exact W1 to held-out
    digits is 1.04 times that of training digits, over five seeds.
    """
    return Config(
        loss="wgan",
        **_WGAN,
        **(_DIGITS | {"latent_dim": 10}),
        steps=5_000,
        clip=0.2,
        g_learning_rate=5e-4,
        d_learning_rate=5e-4,
    )


def digits_wgan_gp() -> Config:
    """WGAN-GP on the 8x8 digits: Gulrajani 2017, Algorithm 1, with λ 1, n_critic 2 and Adam 5e-4.

    Algorithm 1 has λ 10, n_critic 5 and Adam 1e-4. After these 4,000 steps the exact W1 of samples
    to held-out digits is 1.03 times that of training digits, over five seeds; of one seed with the
    paper's numbers, 64 latents and 5,000 steps, 1.13.

    `python experiments/train.py --loss=wgan-gp`

    Expect readable digits of all ten classes in under a minute on two CPU cores.
    """
    return Config(
        loss="wgan-gp",
        **(_WGAN_GP | {"n_critic": 2}),
        **_DIGITS,
        steps=4_000,
        penalty=1.0,
        b1=0.5,
        g_learning_rate=5e-4,
        d_learning_rate=5e-4,
    )


def toy_gan() -> Config:
    """GAN on the 2-D toys.

    `python experiments/train.py --loss=bce --dataset=ring8`

    Expect lost modes: ten seeds kept 7.5 of ring8's 8, 14.3 of grid25's 25.
    """
    return Config(
        loss="bce",
        **_GAN,
        **_TOYS,
        g_learning_rate=1e-3,
        d_learning_rate=1e-3,
    )


def toy_wgan() -> Config:
    """WGAN on the 2-D toys: Arjovsky 2017, Algorithm 1, at a tenfold rate and wider clipping.

    `python experiments/train.py --loss=wgan --dataset=ring8`

    Expect all modes, and points between them: over ten seeds 87% of samples lie within 3σ of one of
    ring8's 8 modes, 41% of grid25's 25.
    """
    return Config(
        loss="wgan",
        **_WGAN,
        **_TOYS,
        clip=0.1,
        g_learning_rate=5e-4,
        d_learning_rate=5e-4,
    )


def toy_wgan_gp() -> Config:
    """WGAN-GP on the 2-D toys: λ 0.1 as in the code of Gulrajani 2017 (sec. 4 and fig. 1).

    The rest is ours: a generator ten times as fast as its critic, which has to make the steep steps
    from mode to mode; two critic updates; rates that decay, so that nothing moves at the end.

    `python experiments/train.py --loss=wgan-gp --dataset=ring8`

    Expect all modes of ring8, and 97% of samples within 3σ of one: ten seeds in docs/results.md.
    """
    return Config(
        loss="wgan-gp",
        **(_WGAN_GP | {"n_critic": 2}),
        **(_TOYS | {"batch_size": 128, "steps": 16_000}),
        penalty=0.1,
        b1=0.0,
        g_learning_rate=1e-2,
        d_learning_rate=1e-3,
        decay_steps=16_000,
    )


def grid25_wgan_gp() -> Config:
    """The same on grid25, whose 25 modes take a deeper pair, larger batches and a longer memory.

    With Adam's b2 of 0.999, where the paper has 0.9, a step follows less what few samples a batch
    happens to have between two modes. On ring8 one seed of ten ended without any mode that way.

    `python experiments/train.py --loss=wgan-gp --dataset=grid25`

    Expect all modes, and 97% of samples within 3σ of one: ten seeds in docs/results.md.
    """
    return dataclasses.replace(
        toy_wgan_gp(),
        depth=4,
        batch_size=256,
        b2=0.999,
        g_learning_rate=6e-3,
        steps=18_000,
        decay_steps=18_000,
    )


def images_gan() -> Config:
    """DCGAN: Radford 2015, sec. 4 (Adam 2e-4, b1 0.5, batches of 128, BatchNorm in both).

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


def stacked_mnist_wgan_gp() -> Config:
    """The same on stacked MNIST: 1,000 modes, so longer, and still small enough for a CPU.

    VEEGAN (Srivastava et al. 2017, sec. 4.2) and PacGAN (Lin et al. 2018, sec. 4.3) count modes on
    it, with larger networks.

    `python experiments/train.py --loss=wgan-gp --dataset=stacked_mnist`

    Expect all 1,000 modes among 26,000 samples, KL 0.09 (training data: 0.02): docs/results.md.
    """
    return dataclasses.replace(mnist_wgan_gp(), steps=10_000, decay_steps=10_000)


_PRESETS = {
    ("digits", "gan"): digits_gan,
    ("digits", "wgan"): digits_wgan,
    ("digits", "wgan_gp"): digits_wgan_gp,
    ("toy", "gan"): toy_gan,
    ("toy", "wgan"): toy_wgan,
    ("toy", "wgan_gp"): toy_wgan_gp,
    ("grid25", "wgan_gp"): grid25_wgan_gp,
    ("mnist", "wgan_gp"): mnist_wgan_gp,
    ("stacked_mnist", "wgan_gp"): stacked_mnist_wgan_gp,
    ("images", "gan"): images_gan,
    ("images", "wgan"): images_wgan,
    ("images", "wgan_gp"): images_wgan_gp,
}
