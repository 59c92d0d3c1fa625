"""The papers' settings for images: for an accelerator, and for CIFAR-10 above all.

Each is a function to a `Config`, whose docstring says where its numbers come from and what differs.
"""

import dataclasses

from jaxgan.commands.config import Config

# Losses that take WGAN-GP's settings where they have none.
_LIKE_WGAN_GP = ("wgan-gp", "wgan-lp", "wgan-div")
# What the papers fix for a loss, whatever the data.
GAN: dict = {"n_critic": 1, "optimizer": "adam", "b1": 0.5, "b2": 0.999}
_WGAN: dict = {"n_critic": 5, "optimizer": "rmsprop", "b2": 0.99}
_WGAN_GP: dict = {"n_critic": 5, "optimizer": "adam", "b2": 0.9}

# What a loss changes of its family's presets. A penalty takes no BatchNorm.
OF_LOSS: dict[str, dict] = {
    "wgan-div": {"penalty": 10.0},  # it has none: the default
    "dragan": {"critic_norm": False},
    "r3gan": {"critic_norm": False, "r1": 1.0, "r2": 1.0},
    "began": {"critic_norm": False, "model": "mlp", "width": 256},
}

_IMAGES: dict = {
    **{"model": "dcgan", "latent_dim": 128, "width": 64},
    **{"log_every": 50, "sample_every": 500, "checkpoint_every": 1000},
}
_RESNET: dict = _IMAGES | {"model": "resnet", "width": 128, "b1": 0.0}


def family(loss: str) -> str:
    """Whose settings a loss takes: gan, wgan or wgan-gp."""
    return "wgan" if loss == "wgan" else "wgan-gp" if loss in _LIKE_WGAN_GP else "gan"


def of(loss: str, model: str) -> Config:
    """The settings of the paper of a loss and a network; by default those with DCGAN's."""
    if own := _OWN.get((loss, model)):
        return own()
    make = _OWN.get((family(loss), model), _WITH_DCGAN[family(loss)])
    return dataclasses.replace(make(), **OF_LOSS.get(loss, {}))


def images_gan() -> Config:
    """DCGAN: Radford 2015, sec. 4 (Adam 2e-4, b1 0.5, batches of 128, BatchNorm in both).

    Adam's b2 of 0.999 is its own default. Unlike the paper's, the latents are 128 normal numbers,
    not 100 uniform ones, and samples come from an averaged generator.

    `python experiments/train.py --loss=bce --dataset=cifar10 --preset=paper`

    Expect hours on a CPU: it is for an accelerator.
    """
    return Config(
        loss="bce",
        **GAN,
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

    `python experiments/train.py --loss=wgan --dataset=cifar10 --preset=paper`

    Expect hours on a CPU: it is for an accelerator.
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

    `python experiments/train.py --loss=wgan-gp --dataset=cifar10 --preset=paper`

    Expect, after a first 400 steps, coloured shapes without objects. The full run is for an
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


def sngan_resnet() -> Config:
    """SNGAN with the residual pair: Miyato 2018, sec. 4 and table 4, for CIFAR-10.

    The numbers are those of the authors' sn_cifar10_unconditional.yml: Adam 2e-4 with b1 0 and b2
    0.9, five critic updates, 50,000 steps. There the rate falls linearly to 0, here as a cosine to
    a hundredth; the generator's batch is 128 there and 64 here; and here samples come from an
    averaged generator.

    `python experiments/train.py --loss=hinge --model=resnet --dataset=cifar10 --preset=paper`

    Expect many hours on a GPU. The paper's FID is 21.7.
    """
    return Config(
        loss="hinge",
        **_WGAN_GP,
        **_RESNET,
        spectral_norm=True,
        steps=50_000,
        decay_steps=50_000,
        g_learning_rate=2e-4,
        d_learning_rate=2e-4,
    )


def wgan_gp_resnet() -> Config:
    """WGAN-GP with the residual pair: Gulrajani 2017, sec. 5.4 and appendix F, for CIFAR-10.

    The numbers are those of the authors' gan_cifar_resnet.py: Adam 2e-4 with b1 0 and b2 0.9, five
    critic updates, λ 10, 100,000 steps. There the rate falls linearly to 0, here as a cosine to a
    hundredth; the generator's batch is 128 there and 64 here; the published score is of a critic
    that also classifies (AC-GAN), `--num-classes=10` here is a projection; and here samples come
    from an averaged generator.

    `python experiments/train.py --loss=wgan-gp --model=resnet --dataset=cifar10 --preset=paper`

    Expect a day or more on a GPU: the penalty makes a step twice as long as SNGAN's.
    """
    return Config(
        loss="wgan-gp",
        **_WGAN_GP,
        **_RESNET,
        penalty=10.0,
        steps=100_000,
        decay_steps=100_000,
        g_learning_rate=2e-4,
        d_learning_rate=2e-4,
    )


def r3gan() -> Config:
    """R3GAN's networks, loss and batch for CIFAR-10: Huang 2024, and train.py of its code.

    Width 768, batches of 512, Adam with b1 0. Over 20 million images the authors let the rate fall
    from 2e-4 to 5e-5, γ from 0.05 to 0.005, and b2 rise from 0.9 to 0.99. Here the rate falls to a
    hundredth, γ stays 0.05 and b2 0.9; they train on for longer, and augment as ADA does.

    `python experiments/train.py --loss=r3gan --model=r3gan --dataset=cifar10 --preset=paper`

    Expect days on a GPU: 20 million images, each with both penalties, and 20.7 million weights in
    the generator. The paper's FID of 1.96 is that of its own schedules.
    """
    return Config(
        loss="r3gan",
        **GAN | {"b1": 0.0, "b2": 0.9},
        **_IMAGES | {"model": "r3gan", "width": 768, "latent_dim": 64},
        batch_size=512,
        r1=0.05,
        r2=0.05,
        steps=39_000,
        decay_steps=39_000,
        g_learning_rate=2e-4,
        d_learning_rate=2e-4,
    )


_WITH_DCGAN = {"gan": images_gan, "wgan": images_wgan, "wgan-gp": images_wgan_gp}
_OWN = {
    ("hinge", "resnet"): sngan_resnet,
    ("wgan-gp", "resnet"): wgan_gp_resnet,
    ("r3gan", "r3gan"): r3gan,
}
