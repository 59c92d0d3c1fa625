"""Default settings for each loss on each kind of data, from the papers where they have them.

- Toys, digits and the MNIST family have presets of their own: rows of `tuned` and `image_presets`.
- Other images have one of three kinds: "cpu" and "gpu", of `image_presets`, and "paper".

The docstrings say where the numbers come from, how to run them and what to expect. Flags override
single settings.
"""

import contextlib
import dataclasses
import os
from pathlib import PurePath
from typing import Any

import jax

from jaxgan import data, parallel
from jaxgan.commands import image_presets, papers, tuned
from jaxgan.commands.augmentation import default_policy
from jaxgan.commands.config import LOSSES, MODELS, PENALISED, Config, check_choice, images_fit

KINDS = ("auto", "cpu", "gpu", "paper")
_WIDTHS = {"mlp": 256, "dcgan": 64, "resnet": 128, "r3gan": 64}
_TUNED_AS = {"swissroll": "ring8"}
_FOR_ALL_DEVICES = (*data.TOYS, "digits")
# Losses that bound the critic's slope, or its score.
_BOUNDED = (*PENALISED, "wgan", "r3gan", "began")


def preset(
    loss: str,
    dataset: str,
    model: str = "auto",
    divergence: str = "kl",
    kind: str = "auto",
    image_size: int | str | None = None,
) -> Config:
    """The settings for a loss, a data set, a model, and a divergence of f-GAN.

    Args:
      loss: a name of `LOSSES`.
      dataset: as `jaxgan.data.load` takes it.
      model: a name of `MODELS`.
      divergence: that of f-GAN.
      kind: "cpu", "gpu" or "paper". "auto" is what the set has of its own, else the paper's.
      image_size: of the images, if it is not the data set's own.

    Raises:
      ValueError: if a name is unknown, or the kind is not for these data.
    """
    settings = _without_augmentation(loss, dataset, model, divergence, kind, image_size)
    devices = devices_that_pay(settings, kind)
    return dataclasses.replace(settings, augment=default_policy(dataset), devices=devices)


def devices_that_pay(config: Config, kind: str) -> int:
    """How many cores of a CPU share each batch: two where that was measured to be faster.

    So it is for convolutions from 32 channels on of images from 28x28 on, 1.05 to 1.4 times, since
    XLA runs many of them on one core. On digits the small DCGAN takes 1.6 times as long, and MLPs
    1.15 to 1.4 times; an array may hold images as small. The number does not depend on the machine,
    since other sums are another run.
    """
    convolutions = config.model in ("dcgan", "resnet", "r3gan") and config.width >= 32
    small = config.dataset == "digits" or config.dataset.startswith("npy:")  # of any size
    large = not small and min(_sides(config.image_size) or (28,)) >= 28
    shares = config.num_seeds == 1 and config.parallel != "jit" and config.batch_size % 2 == 0
    return 2 if convolutions and large and shares and kind != "gpu" else 1


def check_names(loss: str, model: str, kind: str) -> None:
    """Raises ValueError unless there are such a loss, a model and a kind of preset."""
    check_choice("--loss", loss, LOSSES)
    check_choice("--model", model, MODELS)
    check_choice("--preset", kind, KINDS)


def _without_augmentation(loss, dataset, model, divergence, kind, image_size):
    """What `preset` chooses, without a look at a folder."""
    check_names(loss, model, kind)
    name = _name(dataset)
    if kind != "auto" and name in _FOR_ALL_DEVICES:
        raise ValueError(f"--preset={kind} is for images, and {name} has settings of its own.")
    chosen: dict[str, Any] = {"loss": loss, "dataset": dataset, "divergence": divergence}
    if not _square(image_size) and name not in _FOR_ALL_DEVICES and loss != "began":
        model = "resnet" if model == "auto" else model  # DCGAN makes squares
    table = _table(name, model, kind, image_size)
    if (name, model, papers.family(loss)) == ("digits", "dcgan", "gan"):
        settings = dataclasses.replace(digits_gan(), **papers.OF_LOSS.get(loss, {}), **chosen)
    elif table:
        settings = _tuned(Config(**chosen), table)
    else:
        settings = dataclasses.replace(papers.of(loss, model), **chosen)
    if model in ("auto", settings.model):
        return settings
    critic_norm = settings.critic_norm and model == "dcgan"
    return dataclasses.replace(settings, model=model, width=_WIDTHS[model], critic_norm=critic_norm)


def has_own(dataset: str, model: str = "auto", image_size: int | str | None = None) -> bool:
    """Whether a data set has presets of its own for a model and a size, for whatever device."""
    return _table(_name(dataset), model, "auto", image_size) is not None


def kind_of(dataset: str, model: str = "auto", image_size: int | str | None = None) -> str:
    """The kind of preset that "auto" stands for.

    It stands for itself where the data have presets of their own, and else for the device that jax
    runs on, "cpu" or "gpu", which starts jax: see `use_cores`.
    """
    if has_own(dataset, model, image_size):
        return "auto"
    return "cpu" if jax.default_backend() == "cpu" else "gpu"


def use_cores(num_seeds: int, mode: str = "auto", devices: int = 1) -> None:
    """Makes devices of the cores, as many as a batch or several seeds can use.

    Not if jax has started, or the environment says how many.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    told = "JAX_NUM_CPU_DEVICES" in os.environ or "force_host_platform_device_count" in flags
    count = devices if mode != "jit" else 1
    if num_seeds > 1:
        cores = count_cores() if mode == "auto" else 1
        count = parallel.most_that_divide(num_seeds, cores)
    if count > 1 and not told:
        with contextlib.suppress(RuntimeError):  # it has: one device has to do
            jax.config.update("jax_num_cpu_devices", count)


def count_cores() -> int:
    """How many cores this process may use; macOS says only how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _name(dataset):
    """Without the version that tensorflow-datasets take, as in mnist:3.0.1."""
    return dataset.partition(":")[0]


def _table(name, model, kind, image_size):
    """The presets of a set's own, or of a kind of device; None where the papers' have to do."""
    if kind in ("cpu", "gpu"):
        return image_presets.of_device(kind, model, max(_sides(image_size) or (32,)))
    if kind == "auto" and name in image_presets.OF_SETS:
        own = model in ("auto", "dcgan") and _sides(image_size) in (None, (28, 28))
        return image_presets.OF_SETS[name]() if own else None
    return tuned.TABLES.get(_TUNED_AS.get(name, name)) if kind == "auto" else None


def _sides(image_size):
    """Height and width; None for none and for what `config.check` refuses."""
    return data.height_and_width(image_size) if images_fit(image_size) else None


def _square(image_size):
    return len({*(_sides(image_size) or ())}) < 2


def _tuned(config: Config, table: tuned.Table) -> Config:
    row = f"f-gan-{config.divergence}" if config.loss == "f-gan" else config.loss
    # A loss without a row, such as one's own, takes the GAN's.
    own = table.rows.get(row) or table.rows["bce"] | papers.OF_LOSS.get(config.loss, {})
    if table.shared["model"] == "resnet" and config.loss not in _BOUNDED:
        own = own | {"spectral_norm": True}  # its critic has no norm of its own
    steps = table.updates // (own["n_critic"] + 1)
    length = {"steps": steps, "decay_steps": steps if table.decay else 0}
    return dataclasses.replace(config, **(_SMALL | table.shared | own | length))


def usual(config: Config, kind: str | None = None) -> tuple[Config, bool, str]:
    """What a command has that names only loss, data set, model and preset.

    Args:
      config: the settings that it should have.
      kind: of preset; by default that with the fewest differences.

    Returns:
      Its settings, with f-GAN's divergence as by default; whether it must name the model; and the
      kind of preset.
    """
    own = has_own(config.dataset, config.model, config.image_size)
    kinds = [kind] if kind else ["auto"] if own else []
    if not kind and _name(config.dataset) not in _FOR_ALL_DEVICES:
        kinds += KINDS[1:]
    found, policy = [], default_policy(config.dataset)
    for kind in kinds:
        more = config.divergence, kind, config.image_size
        settings = _without_augmentation(config.loss, config.dataset, "auto", *more)
        if named := config.model != settings.model:
            settings = _without_augmentation(config.loss, config.dataset, config.model, *more)
        devices = devices_that_pay(config, kind)
        others = {"divergence": Config.divergence, "augment": policy, "devices": devices}
        settings = dataclasses.replace(settings, **others)
        found.append((settings, named, kind))
    return min(found, key=lambda each: _count_differences(config, each[0]))


def _count_differences(one, other):
    return sum(getattr(one, f.name) != getattr(other, f.name) for f in dataclasses.fields(Config))


# Settings that make no other run, or that the name says already.
_NOT_IN_NAME = (
    *("loss", "dataset", "seed", "num_seeds", "steps", "workdir", "data_dir", "cache_dir"),
    *("parallel", "devices"),
    *("log_every", "sample_every", "checkpoint_every", "keep_every", "score_every", "patience"),
)


def default_workdir(config: Config, kind: str = "auto", said: bool = False) -> str:
    """`runs/DATASET-LOSS-SEED`, with the settings that are not the preset's, as `-clip=0.05`.

    Of a folder of images it has the folder's own name. Several seeds are named by the first and
    the last, as in `ring8-wgan-0to9`.

    Args:
      config: the settings.
      kind: of the preset.
      said: whether the command names that.
    """
    dataset = config.dataset
    source, colon, path = dataset.partition(":")
    if colon and source in ("folder", "npy"):
        dataset = f"{source}-{PurePath(path).name}"
    seeds = f"{config.seed}"
    if config.num_seeds > 1:
        seeds += f"to{config.seed + config.num_seeds - 1}"
    words = [dataset.replace("/", "-"), config.loss, seeds]
    default, named, _ = usual(config, kind)
    words += [config.model] * named + [kind] * said
    for field in dataclasses.fields(Config):
        value = getattr(config, field.name)
        if field.name not in (*_NOT_IN_NAME, "model") and value != getattr(default, field.name):
            words.append(f"{field.name.replace('_', '-')}={value}")
    return f"runs/{'-'.join(words)}"


# What is written of runs of a minute.
_SMALL: dict = {"log_every": 200, "sample_every": 1000, "checkpoint_every": 1000}


def digits_gan() -> Config:
    """GAN on the 8x8 digits with a small DCGAN pair, which loses fewer digits than the MLP.

    Radford 2015, sec. 4 (Adam with b1 0.5, BatchNorm in both), with a faster generator.

    `python experiments/train.py --loss=bce --model=dcgan`

    Expect readable digits of all ten classes in under a minute on two CPU cores; their exact W1 to
    held-out digits is 1.13 times that of training digits (minimax: 1.14), over five seeds.
    """
    return Config(
        loss="bce",
        **papers.GAN,
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
