"""What a run's settings make: its model, the arguments of `fit`, and what its folder records."""

import dataclasses
import json
import math
from typing import Any, get_args

import jax.numpy as jnp
import numpy as np
import optax
from etils import epath

from jaxgan import losses, networks
from jaxgan.commands.augmentation import augment_loss
from jaxgan.commands.config import LOSSES, MODELS, OFF, Config, check, unused
from jaxgan.data import names
from jaxgan.data.rows import Rows
from jaxgan.gan import GAN, gan
from jaxgan.training import data_record
from jaxgan.training.run_folder import read_settings


def make_model(
    config: Config, data_shape: tuple[int, ...], held_out: np.ndarray | Rows | None = None
) -> GAN:
    """The GAN that a config describes, for examples of the given shape.

    Args:
      config: the settings.
      data_shape: an example's.
      held_out: examples that are not trained on: what `--ada` needs to train, and nothing else.

    Raises:
      ValueError: if a setting is out of range, or the network cannot make that shape.
    """
    check(config)
    sizes, dtype = (data_shape, config.latent_dim, config.width), jnp.dtype(config.precision)
    make_pair = getattr(networks, "mlp" if config.model == "auto" else config.model)
    more = _own(config, (*MODELS[config.model], "num_classes"))
    if config.model == "resnet":
        more["variant"] = "sngan" if config.spectral_norm else "wgan-gp"
    generator, critic = make_pair(*sizes, dtype=dtype, **more)
    return gan(
        generator,
        _critic(config, critic, sizes, more | {"dtype": dtype}),
        augment_loss(config, _loss(config), data_shape, held_out),
        g_tx=_optimizer(config, config.g_learning_rate),
        # The critic's optimizer counts its own updates.
        d_tx=_optimizer(config, config.d_learning_rate, updates_per_step=config.n_critic),
        n_critic=config.n_critic,
        ema_decay=config.ema_decay,
        skip_nonfinite=config.on_divergence == "skip",
        num_classes=config.num_classes,
    )


def recorded(config: Config) -> dict[str, Any]:
    """The settings that a run's `config.json` holds: those that have an effect."""
    without = unused(config)
    without |= {k: "" for k, off in OFF.items() if getattr(config, k) == off}
    return {k: v for k, v in dataclasses.asdict(config).items() if k not in without}


def fit_arguments(config: Config) -> dict[str, Any]:
    """What `jaxgan.fit` is given besides a model and data."""
    names = (
        *("steps", "batch_size", "workdir", "seed", "num_seeds", "parallel", "log_every"),
        *("sample_every", "checkpoint_every", "keep_every", "on_divergence", "flip"),
        *("score_every", "patience"),
    )
    return _own(config, names) | {"settings": recorded(config)}


def data_arguments(config: Config) -> dict[str, Any]:
    """What `jaxgan.data.load` is given besides a name and where data sets are."""
    return _own(config, ("image_size", "channels", "num_classes", "cache_dir"))


def read(settings: dict[str, Any], source: Any) -> Config:
    """The config that a run recorded.

    Args:
      settings: what its `config.json` holds.
      source: where that is, for the error.

    Raises:
      ValueError: if it is none.
    """
    if "loss" not in settings:
        raise ValueError(
            f"{source} is of a run of jaxgan.fit, whose model is its own: load it in Python, "
            "jaxgan.load(folder, model)"
        )
    known = [field.name for field in dataclasses.fields(Config)]
    if strange := [name for name in settings if name not in known]:
        raise ValueError(
            f"{source} is not a run's config: it has {strange[0]!r}, which is no setting here. If "
            "a newer jaxgan trained the run, install that; else take the line out."
        )
    config = Config(**settings)
    for field in dataclasses.fields(Config):
        value, kind = getattr(config, field.name), field.type
        whole = kind is float and isinstance(value, int)  # JSON has but one kind of number
        right = whole or isinstance(value, kind)  # type: ignore[arg-type]  # no name of a type
        if not right or (isinstance(value, bool) and kind is not bool):
            raise ValueError(
                f"{source} is not a run's config: {field.name} must be {_in_words(kind)}; got "
                f"{json.dumps(value)}"
            )
    return config


def _in_words(kind: Any) -> str:
    """A setting's type as JSON has its values, in words."""
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return " or ".join(words.get(each, "null") for each in get_args(kind) or (kind,))


def of_run(folder: epath.PathLike) -> Config:
    """The config of the run in a folder.

    Raises:
      ValueError: if it holds none, or its config is none.
    """
    path = epath.Path(folder).expanduser()
    return read(read_settings(path), path / "config.json")


def locate_data(config: Config, data_dir: str | None) -> tuple[str, str | None]:
    """The name of a run's data set, and where data sets are.

    A folder of pictures is where `data_dir` says, if that is given.

    Raises:
      ValueError: if it is not there any more.
    """
    if not config.dataset.startswith("folder:"):
        return config.dataset, data_dir or config.data_dir
    name = f"folder:{data_dir}" if data_dir else config.dataset
    try:
        names.open_folder(name)
    except ValueError as error:
        raise ValueError(
            f"the pictures of the run are not in {name}: say with --data-dir=PATH where they are"
        ) from error
    return name, None


def make_model_of(settings: dict[str, Any], data_shape: tuple[int, ...]) -> GAN:
    """The GAN of a run with these recorded settings."""
    return make_model(read(settings, "its config"), data_shape)


def model_of_run(folder: epath.PathLike) -> GAN:
    """The GAN that the run in a folder trained.

    Raises:
      ValueError: if it holds none, or one of jaxgan.fit.
    """
    path = epath.Path(folder).expanduser()
    return make_model(of_run(path), tuple(data_record.read(path)["shape"]))


def _critic(config, critic, sizes, more):
    if config.loss == "began":
        shape, code, width = sizes
        # With a code as large as the data it would copy anything.
        code = min(code, max(1, math.prod(shape) // 2))
        more = {name: value for name, value in more.items() if value is not None}
        critic = networks.autoencoder(shape, code, width, **more)
    critic = networks.packed(critic, config.pack) if config.pack > 1 else critic
    return networks.spectral_norm(critic) if config.spectral_norm else critic


def _loss(config):
    name = "rpgan" if config.loss == "r3gan" else config.loss.replace("-", "_")
    loss = getattr(losses, name)(**_own(config, LOSSES[config.loss]))
    loss = losses.with_r1(loss, config.r1) if config.r1 else loss
    return losses.with_r2(loss, config.r2) if config.r2 else loss


def _own(config, names):
    return {name: getattr(config, name) for name in names}


def _optimizer(config, learning_rate, updates_per_step=1) -> optax.GradientTransformation:
    if config.decay_steps:
        updates = config.decay_steps * updates_per_step
        learning_rate = optax.cosine_decay_schedule(learning_rate, updates, alpha=0.01)
    if config.optimizer == "adam":
        return optax.adam(learning_rate, config.b1, config.b2)
    if config.optimizer == "rmsprop":
        # ε beside the root, as in PyTorch and so in Arjovsky's code: inside, where optax has it by
        # default, 1e-8 is a floor of 1e-4 under every gradient, and a clipped critic's are smaller.
        return optax.rmsprop(learning_rate, decay=config.b2, eps_in_sqrt=False)
    return optax.sgd(learning_rate)
