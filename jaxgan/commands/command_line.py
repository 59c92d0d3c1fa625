"""The trainer's command line: flags over the preset that loss, data set and model choose."""

import dataclasses

from jaxgan.commands import settings
from jaxgan.commands.config import LOSSES, Config, assign, check, flag, unused
from jaxgan.commands.flags import asks_for_help, given, read
from jaxgan.commands.presets import (
    check_names,
    default_workdir,
    devices_that_pay,
    has_own,
    kind_of,
    preset,
    use_cores,
)
from jaxgan.parallel import hosts
from jaxgan.training.run_folder import holds_run

GROUPS = {
    "what to train": (
        *("loss", "dataset", "data_dir", "cache_dir", "image_size", "channels", "flip"),
        *("num_classes", "preset", "model", "width", "depth", "latent_dim"),
        *("critic_norm", "spectral_norm", "pack"),
    ),
    "how to train it": (
        *("steps", "batch_size", "n_critic", "clip", "penalty", "k", "p", "divergence", "direct"),
        *("gamma", "rate", "r1", "r2", "augment", "ada", "optimizer"),
        *("g_learning_rate", "d_learning_rate", "decay_steps", "b1", "b2", "ema_decay"),
        *("precision", "seed", "num_seeds", "on_divergence", "patience"),
    ),
    "what to write": (
        *("workdir", "name", "log_every", "sample_every", "checkpoint_every", "keep_every"),
        "score_every",
    ),
    "where it runs": (
        *("parallel", "devices", "distributed"),
        *("coordinator_address", "num_processes", "process_id"),
    ),
    "instead of training": ("dry_run", "replay"),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What a command line says besides a run's settings.

    `parse` returns the kind of preset that "auto" stands for.
    """

    preset: str = "auto"
    """Settings of images: cpu, gpu, paper or auto."""
    name: str = ""
    """Put the run into runs/NAME."""
    dry_run: bool = False
    """Print settings, networks and costs, and stop."""
    replay: str = ""
    """Repeat a diverged-STEP.npz: what breaks in it?"""
    distributed: bool = False
    """One of several processes with the same flags. Cloud TPU, Slurm, MPI and Kubernetes tell the
    next three."""
    coordinator_address: str | None = None
    """HOST:PORT of process 0."""
    num_processes: int | None = None
    """How many processes there are."""
    process_id: int | None = None
    """Which of them this is, from 0 on."""


@dataclasses.dataclass(frozen=True)
class Arguments(Options, Config):
    """All flags."""

    __doc__ = Config.__doc__


def parse(arguments: list[str]) -> tuple[Config, Options]:
    """Reads the command line over the preset that its loss, data set and model choose.

    Without a loss it is read over the settings of the run that --workdir holds.

    Returns:
      The settings, and what else it says.

    Raises:
      ValueError: for what is no setting, out of its range or without effect, in one line.
    """
    said = given(Arguments, arguments)
    if asks_for_help(arguments):
        said = {"loss": "wgan"} | said
    kind = _kind(said)
    defaults = _defaults(said, kind)
    parsed = read(Arguments, arguments, "train.py", Arguments(**vars(defaults)), GROUPS)
    values = {field.name: getattr(parsed, field.name) for field in dataclasses.fields(Config)}
    if parsed.model == "auto":  # a preset's, or the run's
        values["model"] = defaults.model
    if {*"/:\0"} & {*parsed.name} or parsed.name in (".", ".."):
        raise ValueError(f"--name={parsed.name!r} must be a folder's name, without / and :.")
    if parsed.workdir is not None and parsed.name:
        raise ValueError("--name and --workdir both say where the run is: leave one out.")
    config = Config(**values)
    config = dataclasses.replace(config, workdir=_workdir(said, config, kind))
    config = dataclasses.replace(config, devices=_devices(said, config, kind))
    check(config)
    config = dataclasses.replace(config, devices=_kept_devices(said, config))
    for name, reason in unused(config).items():
        if name in said:
            raise ValueError(f"{flag(name)} has no effect with {reason}: leave it out.")
    options = Options(
        **{field.name: getattr(parsed, field.name) for field in dataclasses.fields(Options)}
        | {"preset": kind}
    )
    if options.distributed:
        hosts.check(options.coordinator_address, options.num_processes, options.process_id)
    else:
        for name in ("coordinator_address", "num_processes", "process_id"):
            if getattr(options, name) is not None:
                raise ValueError(f"{flag(name)} goes with --distributed.")
    return config, options


def _kind(said):
    """The kind of preset, which "auto" leaves to the device where the data set has none."""
    kind = said.get("preset", "auto")
    if "loss" not in said:
        return kind
    names = ("dataset", "model", "image_size")
    chosen = {name: said.get(name, getattr(Config, name)) for name in names}
    check_names(said["loss"], chosen["model"], kind)
    if kind != "auto" or has_own(**chosen):
        return kind
    if said.get("distributed"):  # several processes have to meet before jax starts
        return "gpu"
    settings = {k: v for k, v in said.items() if hasattr(Config, k)}
    on_cpu = dataclasses.replace(preset(said["loss"], **chosen, kind="cpu"), **settings)
    on_cpu = dataclasses.replace(on_cpu, workdir=_workdir(said, on_cpu, "cpu"))
    on_cpu = dataclasses.replace(on_cpu, devices=_devices(said, on_cpu, "cpu"))
    use_cores(on_cpu.num_seeds, on_cpu.parallel, _kept_devices(said, on_cpu))
    return kind_of(**chosen)


def _workdir(said, config, kind):
    """The run's folder: where the user says, or one that the settings name."""
    if config.workdir is not None:
        return config.workdir
    if said.get("name"):
        return f"runs/{said['name']}"
    return default_workdir(config, kind, said.get("preset", "auto") != "auto")


def _devices(said, config, kind):
    """The cores that share a batch: the user's word, or what pays for these settings."""
    if "loss" not in said:  # the run's own
        return config.devices
    if "devices" in said:
        return said["devices"]
    return 1 if said.get("distributed") else devices_that_pay(config, kind)


def _kept_devices(said, config):
    """The same for a run that has begun: as it began, unless the user says another number."""
    began = "devices" not in said and holds_run(config.workdir)
    return settings.of_run(config.workdir).devices if began else config.devices


def _defaults(said, kind):
    """The settings that flags override."""
    if "loss" in said:
        names = ("dataset", "model", "divergence", "image_size")
        chosen = {name: said.get(name, getattr(Config, name)) for name in names}
        return preset(said["loss"], **chosen, kind=kind)
    if kind != "auto":
        raise ValueError(f"--preset={kind} goes with --loss: a --workdir has its own settings.")
    folder = said.get("workdir")
    if folder and holds_run(folder):
        return settings.of_run(folder)
    if folder and not said.keys() - {"workdir", "steps"}:
        raise ValueError(
            f"{folder} holds no run to go on with. To begin one, say which --loss: one of "
            f"{', '.join(LOSSES)}."
        )
    raise ValueError(
        f"which --loss? One of {', '.join(LOSSES)}; a --workdir that holds a run goes without. Add "
        "--help for more."
    )


def parse_replay(arguments: list[str]) -> str:
    """The file to replay, or nothing.

    Raises:
      ValueError: if there are other settings beside it, in one line.
    """
    said = given(Arguments, arguments)
    file = said.pop("replay", "")
    if file and said:
        others = " ".join(assign(name, value) for name, value in said.items())
        raise ValueError(f"--replay={file} goes without other flags; got {others}.")
    return file


def check_seed(seed: int) -> None:
    """Raises ValueError unless it is a seed of its own: jax takes others modulo 2**32."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"--seed must be from 0 to {2**32 - 1}; got {seed}.")
