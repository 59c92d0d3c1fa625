"""The trainer's command line: flags over the preset that loss, data set and model choose."""

import dataclasses

import tyro
from etils import epath

from jaxgan.commands import settings
from jaxgan.commands.flags import given, one_line_errors, read
from jaxgan.commands.presets import default_workdir, preset
from jaxgan.commands.settings import LOSSES, Config, check, flag, unused
from jaxgan.parallel import hosts


@dataclasses.dataclass(frozen=True)
class Options:
    """What a command line says besides a run's settings."""

    name: str = ""
    """Put the run into runs/NAME."""
    dry_run: bool = False
    """Compile, and print the settings, the networks, and what training will cost; train nothing."""
    replay: str = ""
    """A diverged-STEP.npz of a run's folder: repeat that step and show what is not finite in it.
    Goes without other settings."""
    distributed: bool = False
    """This is one of several processes, on one machine or many, that train together. Start each
    with the same flags. On Cloud TPU, under Slurm, Open MPI and in Kubernetes the next three are
    found by themselves."""
    coordinator_address: str | None = None
    """HOST:PORT at which process 0 can be reached (--distributed)."""
    num_processes: int | None = None
    """How many processes there are (--distributed)."""
    process_id: int | None = None
    """Which of them this is, from 0 on (--distributed)."""


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
    defaults = _defaults(arguments)
    parsed = read(Arguments, arguments, "train.py", Arguments(**vars(defaults)))
    values = {field.name: getattr(parsed, field.name) for field in dataclasses.fields(Config)}
    if parsed.model == "auto":  # a preset's, or the run's
        values["model"] = defaults.model
    config = Config(**values)
    if {*"/:\0"} & {*parsed.name} or parsed.name in (".", ".."):
        raise ValueError(f"--name={parsed.name!r} must be a folder's name, without / and :.")
    if config.workdir is None:
        workdir = f"runs/{parsed.name}" if parsed.name else default_workdir(config)
        config = dataclasses.replace(config, workdir=workdir)
    elif parsed.name:
        raise ValueError("--name and --workdir both say where the run is: leave one out.")
    check(config)
    for name, reason in unused(config).items():
        if name in given(Arguments, arguments):
            raise ValueError(f"{flag(name)} has no effect with {reason}: leave it out.")
    options = Options(
        **{field.name: getattr(parsed, field.name) for field in dataclasses.fields(Options)}
    )
    if options.distributed:
        hosts.check(options.coordinator_address, options.num_processes, options.process_id)
    else:
        for name in ("coordinator_address", "num_processes", "process_id"):
            if getattr(options, name) is not None:
                raise ValueError(f"{flag(name)} goes with --distributed.")
    return config, options


def _defaults(arguments):
    """The settings that flags override."""

    @dataclasses.dataclass(frozen=True)
    class Choice:
        loss: str = ""
        dataset: str = Config.dataset
        model: str = Config.model
        workdir: str = ""

    given(Arguments, arguments)
    with one_line_errors():
        choice, others = tyro.cli(Choice, args=arguments, return_unknown_args=True, add_help=False)
    if choice.loss or {"-h", "--help"} & set(others):
        return preset(choice.loss or "wgan", choice.dataset, choice.model)
    if choice.workdir and (epath.Path(choice.workdir).expanduser() / "config.json").exists():
        return settings.of_run(choice.workdir)
    raise ValueError(
        f"which --loss? One of {', '.join(LOSSES)}; a --workdir that holds a run goes without. Add "
        "--help for more."
    )


def parse_replay(arguments: list[str]) -> str:
    """The file to replay, or nothing.

    Raises:
      ValueError: if there are other settings beside it, in one line.
    """

    @dataclasses.dataclass(frozen=True)
    class Choice:
        replay: str = ""

    with one_line_errors():
        choice, others = tyro.cli(Choice, args=arguments, return_unknown_args=True, add_help=False)
    if choice.replay and others:
        raise ValueError(
            f"--replay={choice.replay} goes without other settings, which the file holds; got "
            f"{' '.join(others)}."
        )
    return choice.replay


def check_seed(seed: int) -> None:
    """Raises ValueError unless it is a seed of its own: jax takes others modulo 2**32."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"--seed must be from 0 to {2**32 - 1}; got {seed}.")
