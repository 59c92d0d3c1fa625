"""Presets on images: of a data set's own, and for the device that trains on others.

On Fashion-MNIST each loss has the better of two settings by the Fréchet distance in the set's
classifier, with seed 100 and 3,000 steps: digits' best rates of WGAN-GP, and a generator faster
than its critic. `bce`, `wgan` and `r3gan` had two more, DCGAN's rates and Gulrajani's five times as
high, which were worse for all three. The other sets have the same rates, and losses that have no
row here those of `bce`, untried.

`r3gan`'s γ on stacked_mnist is the best of 0.1, 1 and 5 by the modes' KL, with seed 100 and 5,000
steps; `wgan-gp`'s λ of 1 was better there than 10. The other losses are untried there.
"""

from typing import Any

from jaxgan.commands.tuned import Table, row

# Of a pair without BatchNorm in the critic.
_ROWS = {
    "bce": row(1, 0.0007, 0.002, 0.0, 0.9),
    "minimax": row(1, 0.0007, 0.002, 0.0, 0.9),
    "wgan": row(1, 0.001, 0.0003, 0.5, 0.99, clip=0.1, optimizer="rmsprop"),
    "wgan-gp": row(1, 0.0007, 0.002, 0.0, 0.9, penalty=1.0),
    "wgan-lp": row(1, 0.0007, 0.002, 0.0, 0.9, penalty=1.0),
    "hinge": row(1, 0.0007, 0.002, 0.0, 0.9),
    "lsgan": row(1, 0.0007, 0.002, 0.0, 0.9),
    "r3gan": row(1, 0.0007, 0.002, 0.0, 0.9, r1=1.0, r2=1.0),
}
# Sides from here on have the presets of 64x64.
_LARGE = 48


def mnist() -> Table:
    """MNIST and Fashion-MNIST, in 15 to 20 minutes of two CPU cores.

    `python experiments/train.py --loss=r3gan --dataset=mnist --num-classes=10`

    Expect digits of the class asked for, nearly all of which read at a glance, and clothes: 89% and
    86% lie within the manifold of held-out images, in a classifier's features. Without labels it
    is 75% of the digits. Of the other losses only `bce` was tried for as long.
    """
    return _table("dcgan", width=32, steps=30_000, latent_dim=64)


def stacked_mnist() -> Table:
    """Stacked MNIST, in a quarter of an hour of one CPU core.

    `python experiments/train.py --loss=r3gan --dataset=stacked_mnist`

    Expect all of the 1,000 modes: docs/results.md.
    """
    return _table("dcgan", width=32, steps=24_000, latent_dim=64, batch_size=32)


def cpu_32(model: str) -> Table:
    """Images of up to 47 pixels a side, in an hour of two CPU cores.

    `python experiments/train.py --loss=r3gan --dataset=cifar10 --preset=cpu`

    Expect, of `--model=resnet --num-classes=10`, ships, cars, horses and birds in their
    surroundings, already after a third of the steps with rates that fall by then. Without labels
    DCGAN is as good, and both make objects without names: docs/results.md.
    """
    sizes = {"dcgan": (64, 14_000), "resnet": (32, 10_000), "r3gan": (16, 6_000)}
    return _of_sizes(model, sizes)


def cpu_64(model: str) -> Table:
    """Larger images, 64x64 above all, in an hour of two CPU cores.

    `python experiments/train.py --loss=r3gan --dataset=folder:photos --image-size=64 --preset=cpu`

    Expect, of 3,400 emoji, outlines of faces, people and signs after a third of the steps; after
    all of them faces with eyes and hair, people who stand and walk, and no copies. The networks
    other than DCGAN are untried.
    """
    sizes = {"dcgan": (32, 7_000), "resnet": (16, 3_000), "r3gan": (16, 3_000)}
    return _of_sizes(model, sizes)


def gpu(model: str) -> Table:
    """Images of any size, in about ten minutes of a GPU at 32x32.

    `python experiments/train.py --loss=r3gan --dataset=cifar10 --preset=gpu`

    Expect ten minutes to be a guess: nobody has run it yet.
    """
    sizes = {"dcgan": (128, 25_000), "resnet": (64, 15_000), "r3gan": (64, 15_000)}
    return _of_sizes(model, sizes)


OF_SETS = {"mnist": mnist, "fashion_mnist": mnist, "stacked_mnist": stacked_mnist}


def of_device(kind: str, model: str, side: int) -> Table:
    """The presets of a kind, "cpu" or "gpu", for a network and images of so many pixels a side."""
    if kind == "gpu":
        return gpu(model)
    return cpu_64(model) if side >= _LARGE else cpu_32(model)


def describe(kind: str) -> str:
    """A line on what a kind of preset is: "cpu", "gpu" or "paper"."""
    what = {
        "cpu": "settings meant for an hour of two CPU cores, at 32x32 or 64x64",
        "gpu": "settings meant for ten minutes of a GPU, at 32x32, and untried on one",
        "paper": "settings of papers, for hours to days of an accelerator",
    }
    others = " and ".join(f"--preset={other}" for other in what if other != kind)
    return f"--preset={kind}: {what[kind]}. {others} have others."


def _of_sizes(model, sizes):
    return _table(model, *sizes[model]) if model in sizes else _table("dcgan", *sizes["dcgan"])


def _table(model: str, width: int, steps: int, **shared: Any) -> Table:
    sizes = {"model": model, "width": width, "latent_dim": 128, "batch_size": 64}
    return Table(sizes | shared, updates=2 * steps, decay=True, rows=_ROWS)
