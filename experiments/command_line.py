"""Command lines: the trainer's, flags over the preset that loss, data set and model choose, and
what those of all scripts share.
"""

import contextlib
import dataclasses
import functools
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator

import jax
import tyro
from presets import default_workdir, preset

from jaxgan import hosts
from jaxgan.config import Config

Main = Callable[[list[str]], int]  # from a program's arguments to its exit status


@dataclasses.dataclass(frozen=True)
class Options:
    """What a command line says besides a run's settings."""

    dry_run: bool = False
    """Print the settings and the sizes of the networks, and stop."""
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


def parse(arguments: list[str]) -> tuple[Config, Options]:
    """Reads the command line over the preset that its loss, data set and model choose.

    Returns:
      The settings, and what else it says.

    Raises:
      ValueError: for what is no setting, in one line.
    """

    @dataclasses.dataclass(frozen=True)
    class Choice:
        loss: str = ""
        dataset: str = Config.dataset
        model: str = Config.model

    @dataclasses.dataclass(frozen=True)
    class Arguments(Options, Config):
        __doc__ = Config.__doc__

    with one_line_errors():
        choice, others = tyro.cli(Choice, args=arguments, return_unknown_args=True, add_help=False)
    if not choice.loss and not {"-h", "--help"} & set(others):
        raise ValueError("which --loss? One of bce, minimax, wgan, wgan-gp. Add --help for more.")
    defaults = preset(choice.loss or "wgan", choice.dataset, choice.model)
    values = {field.name: getattr(defaults, field.name) for field in dataclasses.fields(Config)}
    with one_line_errors():
        parsed = tyro.cli(Arguments, default=Arguments(**values), args=arguments, prog="train.py")
    values = {field.name: getattr(parsed, field.name) for field in dataclasses.fields(Config)}
    config = Config(**(values | {"model": defaults.model}))
    if config.workdir is None:
        config = dataclasses.replace(config, workdir=default_workdir(config))
    options = Options(
        **{field.name: getattr(parsed, field.name) for field in dataclasses.fields(Options)}
    )
    if options.distributed:
        hosts.check(options.coordinator_address, options.num_processes, options.process_id)
    else:
        for name in ("coordinator_address", "num_processes", "process_id"):
            if getattr(options, name) is not None:
                raise ValueError(f"--{name.replace('_', '-')} goes with --distributed.")
    return config, options


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


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns tyro's framed message and exit into a ValueError of one line."""
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            yield
    except SystemExit as error:
        if not error.code:  # --help
            raise
        text = re.sub(r"For full helptext.*", "", message.getvalue(), flags=re.DOTALL)
        text = " ".join(re.sub(r"-{3,}|[─│╭╮╰╯]", " ", text).split())
        raise ValueError(f"{text} (--help lists the settings)") from error


def ends_in_a_line(program: str) -> Callable[[Main], Main]:
    """Makes a program's `main` tell of bad input and of an interrupt in a line.

    It then returns 2 or 130.
    """

    def decorate(main):
        @functools.wraps(main)
        def ending(arguments):
            try:
                return main(arguments)
            except (ValueError, OSError) as error:
                # Values are quoted as they were given, and may hold line breaks.
                print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
                return 2
            except KeyboardInterrupt:
                print(f"{program}: interrupted", file=sys.stderr)
                return 130

        return ending

    return decorate


def check_seed(seed: int) -> None:
    """Raises ValueError unless it is a seed of its own: jax takes others modulo 2**32."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"--seed must be from 0 to {2**32 - 1}; got {seed}.")


def set_up() -> None:
    """What every program does first.

    It keeps compiled programs in the user's cache, so that a second run starts in seconds; and
    prints names of files that are no text, whatever the terminal takes.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", os.path.join(home, "jaxgan", "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    # A kill or a full disk cuts an entry short; its program is compiled again.
    warnings.filterwarnings("ignore", "Error .* persistent compilation cache entry")
