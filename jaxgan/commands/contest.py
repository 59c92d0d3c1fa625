"""What `compare` compares: losses with their presets or with random settings, on one protocol."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from jaxgan.commands.config import LOSSES, Config, assign, check, check_choice, flag, unused
from jaxgan.commands.presets import kind_of, preset
from jaxgan.losses.f_divergence import DIVERGENCES

# What --settings draws from: a range, evenly in its logarithm, or one of several values. A setting
# that a loss does not have is not drawn for it; the others are the same for all losses.
RANGES: dict[str, Any] = {
    "g_learning_rate": (1e-4, 1e-2),
    "d_learning_rate": (2e-4, 5e-3),
    "n_critic": [1, 2, 5],
    "b1": [0.0, 0.5, 0.9],
    "b2": [0.9, 0.99, 0.999],
    "clip": (0.01, 1.0),
    "penalty": (0.1, 10.0),
    "k": (0.2, 20.0),
    "p": [2.0, 4.0, 6.0],
    "gamma": [0.3, 0.5, 0.7, 0.9],
    "rate": (0.001, 0.1),
    "r1": (0.01, 10.0),
}
# What all losses of a comparison share, and `updates`.
SHARED = (
    *("model", "width", "depth", "critic_norm", "latent_dim", "batch_size", "ema_decay"),
    *("image_size", "spectral_norm"),
)
# A first look: one loss of each idea.
QUICK: dict[str, Any] = {"losses": "bce,wgan,wgan-gp,hinge,rpgan", "num_seeds": 2, "updates": 1000}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare losses: train each on one data set with several seeds, and score all alike. Run the
    same command again to go on, with a larger --num-seeds to add seeds."""

    dataset: str = "digits"
    """As for train.py."""
    losses: str = "all"
    """Names of losses, with commas between them; f-gan is all its divergences."""
    num_seeds: int = 10
    """How many seeds of each."""
    seed: int = 0
    """The first of them."""
    seeds_at_once: int | None = None
    """How many seeds a run trains together: by default 2 on a CPU, so that a first table is there
    early, and 10 on an accelerator, where ten take little more time than one."""
    settings: int = 0
    """Train each loss with so many random settings in place of its preset."""
    quick: bool = False
    """A first look: five losses, two seeds, 1,000 updates."""
    updates: int | None = None
    """Updates of generator and critic together in a run; by default the presets'."""
    model: str = "auto"
    """The networks of all: mlp, dcgan, resnet or r3gan."""
    width: int | None = None
    """Their units of a layer, or channels."""
    depth: int | None = None
    """Their hidden layers (mlp)."""
    critic_norm: bool | None = None
    """BatchNorm in all critics or in none (dcgan). A penalty takes none."""
    latent_dim: int | None = None
    """Size of their latents."""
    batch_size: int | None = None
    """Examples in a batch."""
    image_size: int | str | None = None
    """Resize images to this side, or HEIGHTxWIDTH."""
    data_dir: str | None = None
    """Where tensorflow-datasets keeps its sets."""
    workdir: str | None = None
    """The comparison's folder; by default runs/compare-DATASET."""


class Entry(NamedTuple):
    """One loss with one setting.

    Attributes:
      loss: its name in the comparison.
      folder: where its runs are, one for every few seeds.
      config: its settings.
    """

    loss: str
    folder: epath.Path
    config: Config


def make_entries(options: Arguments, folder: epath.Path) -> list[Entry]:
    """The losses to compare, each with its preset or with random settings.

    Raises:
      ValueError: for a loss that is unknown, or a number out of range.
    """
    least_of = {"num_seeds": 1, "seeds_at_once": 1, "settings": 0, "updates": 2}
    for name, least in least_of.items():
        value = getattr(options, name)
        if value is not None and not least <= value < 2**31:
            raise ValueError(f"{flag(name)} must be from {least} up; got {value}.")
    entries = []
    # Where presets differ in networks, batches and budgets, all take those of the GAN.
    kind = kind_of(options.dataset, options.model, options.image_size)
    where: dict[str, Any] = {"kind": kind, "image_size": options.image_size}
    common = preset("bce", options.dataset, options.model, **where)
    for name, (loss, own) in choose(options.losses).items():
        config = preset(loss, options.dataset, options.model, **own, **where)
        config = with_shared(config, common, options)
        if not options.settings:
            entries.append(Entry(name, folder / name, config))
        for index in range(options.settings):
            drawn = with_shared(draw(config, index), common, options)
            entries.append(Entry(name, folder / f"{name}-{index}", drawn))
    for entry in entries:
        check(dataclasses.replace(entry.config, seed=options.seed, num_seeds=options.num_seeds))
    return entries


def choose(names: str) -> dict[str, tuple[str, dict]]:
    """Each name's loss, and the settings that it stands for."""
    all_of: dict[str, tuple[str, dict]] = {}
    for loss in LOSSES:
        if loss == "f-gan":
            all_of |= {f"f-gan-{d}": (loss, {"divergence": d}) for d in DIVERGENCES}
        else:
            all_of[loss] = loss, {}
    if names == "all":
        return all_of
    chosen: dict[str, tuple[str, dict]] = {}
    for name in map(str.strip, names.split(",")):
        check_choice("--losses", name, [*all_of, "f-gan"])
        chosen |= {n: v for n, v in all_of.items() if n == name or v[0] == name}
    return chosen


def with_shared(config: Config, common: Config, options: Arguments) -> Config:
    """The settings with what all losses share, and the budget in steps.

    Args:
      config: a loss's own settings.
      common: those that it takes what all share from. Its critic has no norm: a penalty takes no
        BatchNorm, and some losses have a spectral norm where others do not. BEGAN's networks are
        its own.
      options: what the command line says, which goes before.
    """
    own = ("model", "width", "depth") if config.loss == "began" else ()
    changes = {name: getattr(common, name) for name in SHARED if name not in own}
    changes["critic_norm"] = changes["spectral_norm"] = False
    said = {name: getattr(options, name, None) for name in SHARED[1:]}
    changes |= {name: value for name, value in said.items() if value is not None}
    updates = options.updates or updates_of(common)
    steps = changes["steps"] = max(1, updates // (config.n_critic + 1))
    changes["decay_steps"] = steps if config.decay_steps else 0
    return dataclasses.replace(
        config, **changes, data_dir=options.data_dir, sample_every=0, keep_every=0
    )


def draw(config: Config, index: int) -> Config:
    """One of the random settings, within `RANGES`."""
    random = np.random.RandomState(index)
    changes, without = {}, unused(config)
    for name, values in RANGES.items():
        where = random.uniform()
        if isinstance(values, list):
            value = values[int(where * len(values))]
        else:
            low, high = np.log(values)
            value = float(f"{np.exp(low + where * (high - low)):.2g}")
        if name not in without and not (name == "r1" and not config.r1):
            changes[name] = value
    if "r1" in changes:
        changes["r2"] = changes["r1"] if config.r2 else 0.0
    return dataclasses.replace(config, **changes)


def updates_of(config: Config) -> int:
    """Updates of both networks in a run, which is what a comparison spends."""
    return config.steps * (config.n_critic + 1)


def check_protocol(configs: list[Config]) -> None:
    """Raises ValueError unless all train the same networks, as long, on the same batches."""
    first = configs[0]
    for config in configs[1:]:
        for name in SHARED:
            here, there = getattr(config, name), getattr(first, name)
            if here != there and name not in unused(config):
                raise ValueError(
                    f"{config.loss} and {first.loss} are not on one protocol on {config.dataset}: "
                    f"{assign(name, here)} and {assign(name, there)}. Give one of them for all."
                )
        here, there = updates_of(config), updates_of(first)
        if abs(here - there) > max(config.n_critic, first.n_critic) + 1:
            raise ValueError(
                f"{config.loss} and {first.loss} are not on one protocol on {config.dataset}: "
                f"{here:,} and {there:,} updates. Give --updates for all."
            )
