"""Default settings for each loss on each kind of data, from the papers where they have them.

Each preset is a function to a `Config`, whose docstring says where its numbers come from, how to
run it and what to expect. Flags override single settings.
"""

import dataclasses
from pathlib import PurePath

from jaxgan.config import LOSSES, MODELS, Config, check_choice

TOYS = ("ring8", "grid25", "swissroll")


def preset(loss: str, dataset: str, model: str = "auto") -> Config:
    """The settings for a loss, a data set and a model.

    Raises:
      ValueError: if the loss or the model is unknown.
    """
    check_choice("--loss", loss, LOSSES)
    check_choice("--model", model, MODELS)
    if model == "auto":
        model = "mlp" if dataset in (*TOYS, "digits") else "dcgan"
    family = {"bce": "gan", "minimax": "gan", "wgan": "wgan", "wgan-gp": "wgan_gp"}[loss]
    kind = "toy" if dataset in TOYS else "images" if model == "dcgan" else "digits"
    settings = _PRESETS[kind, family]()
    return dataclasses.replace(settings, loss=loss, dataset=dataset, model=model)


def default_workdir(config: Config) -> str:
    """`runs/<dataset>-<loss>-<seed>`; of a folder of images, the folder's own name."""
    dataset = config.dataset
    if dataset.startswith("folder:"):
        dataset = "folder-" + PurePath(dataset.removeprefix("folder:")).name
    return f"runs/{dataset}-{config.loss}-{config.seed}"


def digits_gan() -> Config:
    """GAN on the 8x8 digits: the MLPs of Goodfellow 2014 (sec. 5) with DCGAN's Adam.

    `python experiments/train.py --loss=bce`
    """
    return Config(
        loss="bce",
        steps=10_000,
        n_critic=1,
        optimizer="adam",
        g_learning_rate=2e-4,
        d_learning_rate=2e-4,
        b1=0.5,
        b2=0.999,
    )


def digits_wgan() -> Config:
    """WGAN on the 8x8 digits: Arjovsky 2017, Algorithm 1, but for the learning rate.

    Algorithm 1 has RMSProp at 5e-5, n_critic 5, c 0.01 and batches of 64.

    `python experiments/train.py --loss=wgan`
    """
    return Config(
        loss="wgan",
        steps=10_000,
        n_critic=5,
        clip=0.01,
        optimizer="rmsprop",
        b2=0.99,
        g_learning_rate=5e-5,
        d_learning_rate=5e-5,
    )


def digits_wgan_gp() -> Config:
    """WGAN-GP on the 8x8 digits: Gulrajani 2017, Algorithm 1 (λ 10, n_critic 5, Adam 1e-4).

    `python experiments/train.py --loss=wgan-gp`
    """
    return Config(
        loss="wgan-gp",
        steps=10_000,
        n_critic=5,
        penalty=10.0,
        optimizer="adam",
        g_learning_rate=1e-4,
        d_learning_rate=1e-4,
        b1=0.5,
        b2=0.9,
    )


def toy_gan() -> Config:
    """GAN on the 2-D toys.

    `python experiments/train.py --loss=bce --dataset=ring8`
    """
    return dataclasses.replace(
        digits_gan(), latent_dim=2, width=128, batch_size=256, sample_every=2500
    )


def toy_wgan() -> Config:
    """WGAN on the 2-D toys.

    `python experiments/train.py --loss=wgan --dataset=ring8`
    """
    return dataclasses.replace(
        digits_wgan(), latent_dim=2, width=128, batch_size=256, sample_every=2500
    )


def toy_wgan_gp() -> Config:
    """WGAN-GP on the 2-D toys: Gulrajani 2017, sec. 4 and fig. 1, whose code takes λ 0.1.

    `python experiments/train.py --loss=wgan-gp --dataset=ring8`
    """
    return dataclasses.replace(
        digits_wgan_gp(),
        latent_dim=2,
        width=128,
        batch_size=256,
        penalty=0.1,
        sample_every=2500,
    )


def images_gan() -> Config:
    """DCGAN: Radford 2015, sec. 4 (Adam 2e-4, b1 0.5, batches of 128, BatchNorm in both).

    `python experiments/train.py --loss=bce --dataset=cifar10`
    """
    return Config(
        loss="bce",
        steps=50_000,
        batch_size=128,
        n_critic=1,
        latent_dim=128,
        width=64,
        critic_norm=True,
        optimizer="adam",
        g_learning_rate=2e-4,
        d_learning_rate=2e-4,
        b1=0.5,
        b2=0.999,
        checkpoint_every=1000,
        sample_every=500,
        log_every=50,
    )


def images_wgan() -> Config:
    """WGAN with the DCGAN pair: Arjovsky 2017, Algorithm 1 and sec. 4.

    `python experiments/train.py --loss=wgan --dataset=cifar10`
    """
    return Config(
        loss="wgan",
        steps=100_000,
        batch_size=64,
        n_critic=5,
        latent_dim=128,
        width=64,
        critic_norm=True,
        clip=0.01,
        optimizer="rmsprop",
        b2=0.99,
        g_learning_rate=5e-5,
        d_learning_rate=5e-5,
        checkpoint_every=1000,
        sample_every=500,
        log_every=50,
    )


def images_wgan_gp() -> Config:
    """WGAN-GP with the DCGAN pair: Gulrajani 2017, Algorithm 1 (Adam 1e-4, b1 0, b2 0.9, λ 10).

    `python experiments/train.py --loss=wgan-gp --dataset=cifar10`
    """
    return Config(
        loss="wgan-gp",
        steps=100_000,
        batch_size=64,
        n_critic=5,
        latent_dim=128,
        width=64,
        penalty=10.0,
        optimizer="adam",
        g_learning_rate=1e-4,
        d_learning_rate=1e-4,
        b1=0.0,
        b2=0.9,
        checkpoint_every=1000,
        sample_every=500,
        log_every=50,
    )


_PRESETS = {
    ("digits", "gan"): digits_gan,
    ("digits", "wgan"): digits_wgan,
    ("digits", "wgan_gp"): digits_wgan_gp,
    ("toy", "gan"): toy_gan,
    ("toy", "wgan"): toy_wgan,
    ("toy", "wgan_gp"): toy_wgan_gp,
    ("images", "gan"): images_gan,
    ("images", "wgan"): images_wgan,
    ("images", "wgan_gp"): images_wgan_gp,
}
