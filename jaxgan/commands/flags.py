"""How all scripts read their flags, and how they answer those that they do not have."""

import contextlib
import dataclasses
import difflib
import io
import os
import re
import typing
from collections.abc import Iterator
from typing import Any

import tyro

from jaxgan.commands.settings import flag

# A shell leaves the ~ of --workdir=~/run to the program.
_PLACES = ("workdir", "data_dir", "out", "doc", "json", "replay")
# Settings, and what other programs call them.
_OTHER_NAMES = {
    ("g_learning_rate", "d_learning_rate"): "lr learning_rate",
    ("g_learning_rate",): "lr_g g_lr",
    ("d_learning_rate",): "lr_d d_lr",
    ("steps",): "epochs n_epochs num_epochs iterations iters niter max_steps num_steps",
    ("batch_size",): "batch bs",
    ("n_critic",): "critic_iters critic_steps",
    ("latent_dim",): "z_dim zdim dim_z nz latent noise_dim",
    ("width",): "hidden channels ngf ndf",
    ("depth",): "layers n_layers",
    ("dataset",): "data dataroot",
    ("image_size",): "size img_size resolution",
    ("model",): "arch architecture network",
    ("loss",): "gan gan_type",
    ("optimizer",): "optim opt",
    ("b1",): "beta1 beta_1",
    ("b2",): "beta2 beta_2",
    ("clip",): "clip_value weight_clip",
    ("penalty",): "gp lambda lambda_gp",
    ("ema_decay",): "ema",
    ("precision",): "dtype fp16 bf16",
    ("checkpoint_every",): "save_every save_interval",
    ("log_every",): "log_interval",
    ("parallel",): "gpu gpus device devices",
    ("workdir",): "output output_dir outdir logdir run",
    ("n", "samples"): "num num_samples",
}


def read(kind: type, arguments: list[str], program: str, default: Any = None) -> Any:
    """Reads a program's flags, into a dataclass whose fields they are.

    Args:
      kind: the dataclass.
      arguments: the command line.
      program: its name.
      default: what is not given; by default the fields' own defaults.

    Raises:
      ValueError: for what is no such flag or no value of it, in one line.
    """
    given(kind, arguments)
    others = {} if default is None else {"default": default}
    with one_line_errors():
        options = tyro.cli(kind, args=arguments, prog=program, **others)
    places = {name: getattr(options, name, None) for name in _PLACES}
    full = {name: os.path.expanduser(place) for name, place in places.items() if place}
    return dataclasses.replace(options, **full)


def given(kind: type, arguments: list[str]) -> set[str]:
    """The fields that a command line sets.

    Raises:
      ValueError: for a flag that is none, a value without a flag, or one that its flag does not
        take, with what was meant.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    found, rest = set(), list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument in ("-h", "--help"):
            continue
        if not argument.startswith("-"):
            raise ValueError(_without_flag(argument, fields))
        word, equals, value = argument.partition("=")
        name = word.removeprefix("--").replace("-", "_")
        switch = name.removeprefix("no_")
        if switch in fields and fields[switch].type is bool:
            if equals:
                raise ValueError(
                    f"{argument}: {flag(switch)} and {flag('no_' + switch)} take no value."
                )
            found.add(switch)
            continue
        if name not in fields or not word.startswith("--"):
            raise ValueError(_unknown(argument, name, fields))
        if not equals and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        _check_whole(fields[name], value)
        found.add(name)
    return found


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


def _without_flag(argument, fields):
    meant = f": did you mean --workdir={argument}?" if "workdir" in fields else "."
    return f"{argument} stands without a flag{meant} --help lists the flags."


def _unknown(argument, name, fields):
    meant = [new for new, old in _OTHER_NAMES.items() if name in old.split()]
    near = [new for new in meant[0] if new in fields] if meant else []
    near = near or difflib.get_close_matches(name, fields, n=1)
    says = f"did you mean {' and '.join(map(flag, near))}? " if near else ""
    return f"unknown flag {argument}: {says}--help lists the flags."


def _check_whole(field, value):
    """Says how to write a whole number that is written as 1e4."""
    if int not in (typing.get_args(field.type) or (field.type,)):
        return
    try:
        number = float(value)
    except ValueError:
        return
    if not re.fullmatch(r"[-+\d_ ]+", value) and abs(number) < 1e15 and number.is_integer():
        raise ValueError(f"{flag(field.name)} takes a whole number: {int(number)}, not {value}.")
