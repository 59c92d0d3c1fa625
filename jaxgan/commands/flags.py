"""How all programs read their flags: the fields of a dataclass, each with a text under it."""

import argparse
import ast
import contextlib
import dataclasses
import difflib
import functools
import inspect
import itertools
import os
import textwrap
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from jaxgan.commands.config import flag
from jaxgan.commands.names import as_typed

_HELP = {"-h", "--help"}
# A shell leaves the ~ of --workdir=~/run to the program.
_PLACES = ("workdir", "data_dir", "cache_dir", "images", "out", "doc", "json", "replay", "export")
# Settings, and what other programs call them.
_OTHER_NAMES = {
    ("g_learning_rate", "d_learning_rate"): "lr learning_rate",
    ("g_learning_rate",): "lr_g g_lr",
    ("d_learning_rate",): "lr_d d_lr",
    ("steps",): "epochs n_epochs num_epochs iterations iters niter max_steps num_steps",
    ("updates",): "steps epochs n_epochs num_epochs iterations iters max_steps num_steps",
    ("batch_size",): "batch bs",
    ("n_critic",): "critic_iters critic_steps",
    ("latent_dim",): "z_dim zdim dim_z nz latent noise_dim",
    ("width",): "hidden ngf ndf",
    ("depth",): "layers n_layers",
    ("dataset",): "data dataroot",
    ("image_size",): "size img_size resolution",
    ("flip",): "mirror xflip hflip horizontal_flip",
    ("cache_dir",): "cache",
    ("model",): "arch architecture network",
    ("loss",): "gan gan_type",
    ("optimizer",): "optim opt",
    ("b1",): "beta1 beta_1",
    ("b2",): "beta2 beta_2",
    ("clip",): "clip_value weight_clip",
    ("penalty",): "gp lambda lambda_gp",
    ("augment",): "diffaug diffaugment diff_augment augmentation policy",
    ("ada",): "aug ada_target",
    ("ema_decay",): "ema",
    ("precision",): "dtype fp16 bf16",
    ("checkpoint_every",): "save_every save_interval",
    ("log_every",): "log_interval",
    ("parallel",): "gpu gpus device",
    ("devices",): "cores num_devices threads",
    ("workdir",): "output output_dir outdir logdir run",
    ("n", "samples"): "num num_samples",
}


def read(
    kind: type,
    arguments: Sequence[str],
    program: str,
    default: Any = None,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Any:
    """Reads a program's flags.

    Args:
      kind: a dataclass, whose fields they are.
      arguments: the command line.
      program: the program's name.
      default: what is not given; by default the fields' own defaults.
      groups: the fields under each heading of `--help`.

    Raises:
      ValueError: for what is no such flag or no value of it, in one line.
    """
    values = {
        field.name: field.default if default is None else getattr(default, field.name)
        for field in dataclasses.fields(kind)
    }
    said = given(kind, arguments)
    if asks_for_help(arguments):
        parser = _parser(kind, program, values, groups or {"flags": list(values)})
        print(as_typed(parser.format_help()), end="")
        raise SystemExit(0)
    values |= said
    for name, value in values.items():
        if value is dataclasses.MISSING:
            raise ValueError(f"{flag(name)} is missing. --help lists the flags.")
    return kind(**values)


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether the flags are to be listed, and nothing else done."""
    return not _HELP.isdisjoint(arguments)


def given(kind: type, arguments: Sequence[str]) -> dict[str, Any]:
    """The fields that a command line sets, and their values.

    Raises:
      ValueError: for a flag that is none, a value without a flag, or one that its flag does not
        take, with what was meant.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    words = [_hyphenated(word) for word in arguments if word not in _HELP]
    found, rest = _parser(kind, "", {}, {"flags": list(fields)}).parse_known_args(words)
    if rest:
        raise ValueError(_unknown(rest[0], fields))
    for name, value in vars(found).items():
        if value == []:  # what argparse makes of --flag=--
            raise ValueError(f"{flag(name)}: expected one argument. --help lists the flags.")
    return vars(found)


class _Parser(argparse.ArgumentParser):
    """One that raises what it finds wrong."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message.removeprefix('argument ')}. --help lists the flags.")


def _parser(kind, program, values, groups):
    """Reads what a command line says, and no more. For help it shows values as the defaults."""
    parser = _Parser(
        prog=program,
        usage=f"{program} [--flag=value ...]",
        description=inspect.cleandoc(kind.__doc__ or ""),
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
        # Wide enough for a flag, and for most of them in a line.
        formatter_class=functools.partial(argparse.HelpFormatter, max_help_position=25),
    )
    fields = {field.name: field for field in dataclasses.fields(kind)}
    texts = _texts(kind) if values else {}
    for title, names in groups.items():
        group = parser.add_argument_group(title)
        for name in names:
            _add(group, fields[name], values.get(name), texts.get(name, ""))
    return parser


def _add(group, field, default, text):
    """Adds the flag of a field; of the two of a switch, help shows the one that changes it."""
    text = text.replace("%", "%%")
    kind = (typing.get_args(field.type) or (field.type,))[0]
    if kind is bool:
        for name, value in ((field.name, True), (f"no_{field.name}", False)):
            shown = argparse.SUPPRESS if value == field.default else text
            group.add_argument(
                flag(name), dest=field.name, action="store_const", const=value, help=shown
            )
        return
    if default not in (None, "", dataclasses.MISSING):
        text += f" [{default}]"
    kinds: Any = {int: (_whole, "N"), float: (float, "X"), str: (str, "NAME")}
    convert, metavar = (os.path.expanduser, "PATH") if field.name in _PLACES else kinds[kind]
    if field.name == "image_size":
        convert, metavar = _size, "N"
    group.add_argument(flag(field.name), dest=field.name, type=convert, metavar=metavar, help=text)


def _texts(kind):
    """The text under each field of a dataclass and of its parents."""
    texts = {}
    for parent in kind.__mro__[-2::-1]:
        definition: Any = ast.parse(textwrap.dedent(inspect.getsource(parent))).body[0]
        for field, text in itertools.pairwise(definition.body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                texts[ast.unparse(field.target)] = inspect.cleandoc(ast.literal_eval(text.value))
    return texts


def _hyphenated(word):
    """--batch_size=8 as --batch-size=8."""
    name, equals, value = word.partition("=")
    return (name.replace("_", "-") if name.startswith("--") else name) + equals + value


def _unknown(word, fields):
    if not word.startswith("-"):
        meant = f": did you mean --workdir={word}?" if "workdir" in fields else "."
        return f"{word} stands without a flag{meant} --help lists the flags."
    name = word.partition("=")[0].removeprefix("--").replace("-", "_")
    settings = [new for new, old in _OTHER_NAMES.items() if name in old.split()]
    known = [[new for new in names if new in fields] for names in settings]
    near = next(filter(None, known), [])
    near = near or difflib.get_close_matches(name, fields, n=1)
    says = f"did you mean {' and '.join(map(flag, near))}? " if near else ""
    return f"unknown flag {word}: {says}--help lists the flags."


def _size(text):
    """A side, or HEIGHTxWIDTH; that of a square as a side."""
    height, x, width = text.lower().partition("x")
    if not x:
        return _whole(text)
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"takes a side, or HEIGHTxWIDTH as 64x96, not {text!r}")
    return int(height) if int(height) == int(width) else f"{int(height)}x{int(width)}"


def _whole(text):
    """A whole number; says how to write one that is written as 1e4."""
    with contextlib.suppress(ValueError):
        return int(text)
    meant = ""
    with contextlib.suppress(ValueError):
        number = float(text)
        meant = f"{int(number)}, " if number.is_integer() and abs(number) < 1e15 else ""
    raise argparse.ArgumentTypeError(f"takes a whole number, {meant}not {text!r}")
