"""The trainer's command line: flags over the preset that loss, data set and model choose."""

import contextlib
import dataclasses
import io
import re
from collections.abc import Iterator

import tyro
from presets import default_workdir, preset

from jaxgan.config import Config


def parse(arguments: list[str]) -> tuple[Config, bool]:
    """Reads the command line over the preset that its loss, data set and model choose.

    Returns:
      The settings, and whether it is a dry run.

    Raises:
      ValueError: for what is no setting, in one line.
    """

    @dataclasses.dataclass(frozen=True)
    class Choice:
        loss: str = ""
        dataset: str = Config.dataset
        model: str = Config.model

    @dataclasses.dataclass(frozen=True)
    class Arguments(Config):
        __doc__ = Config.__doc__
        dry_run: bool = False
        """Print the settings and the sizes of the networks, and stop."""

    wants_help = bool({"-h", "--help"} & set(arguments))
    options = [a for a in arguments if a not in ("-h", "--help")]
    with one_line_errors():
        choice, _ = tyro.cli(Choice, args=options, return_unknown_args=True, add_help=False)
    if not choice.loss and not wants_help:
        raise ValueError("which --loss? One of bce, minimax, wgan, wgan-gp. Add --help for more.")
    defaults = preset(choice.loss or "wgan", choice.dataset, choice.model)
    values = {field.name: getattr(defaults, field.name) for field in dataclasses.fields(Config)}
    if wants_help:
        tyro.cli(Arguments, default=Arguments(**values), args=["--help"], prog="train.py")
    with one_line_errors():
        parsed = tyro.cli(Arguments, default=Arguments(**values), args=options)
    values = {field.name: getattr(parsed, field.name) for field in dataclasses.fields(Config)}
    config = Config(**(values | {"model": defaults.model}))
    if config.workdir is None:
        config = dataclasses.replace(config, workdir=default_workdir(config))
    return config, parsed.dry_run


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns tyro's framed message and exit into a ValueError of one line."""
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            yield
    except SystemExit as error:
        text = re.sub(r"For full helptext.*", "", message.getvalue(), flags=re.DOTALL)
        text = " ".join(re.sub(r"[─-]{3,}|[│╭╮╰╯]", " ", text).split())
        raise ValueError(f"{text} (--help lists the settings)") from error
