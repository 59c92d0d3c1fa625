"""Exports a run: `python experiments/export.py --workdir=runs/digits-wgan-0 --out=digits.onnx`.

The file makes samples of latents where neither jaxgan nor, for ONNX, jax is installed. See
docs/export.md.
"""

import dataclasses
import json
from collections.abc import Callable

from etils import epath

from jaxgan import export
from jaxgan.commands import endings, settings
from jaxgan.commands.config import check_choice
from jaxgan.commands.flags import read
from jaxgan.commands.pictures import write
from jaxgan.export.check import has_onnxruntime, seconds_to_draw
from jaxgan.training import Run, load


@dataclasses.dataclass(frozen=True)
class Format:
    """One of the files that can be written.

    Attributes:
      make: the file's bytes, of a run and the index of its seed.
      check: the largest difference from the run's samples; None where it cannot be told.
      suffix: of its name.
      name: of the file, by default.
    """

    make: Callable[[Run, int], bytes]
    check: Callable[[Run, bytes, int], float | None]
    suffix: str
    name: str


FORMATS = {
    "onnx": Format(export.to_onnx, export.check_onnx, ".onnx", "generator"),
    "stablehlo": Format(export.to_stablehlo, export.check_stablehlo, ".stablehlo", "generator"),
    "torch-fidelity": Format(
        export.to_torch_fidelity, export.check_torch_fidelity, ".onnx", "torch-fidelity"
    ),
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Write a trained generator to a file that needs no jaxgan."""

    workdir: str
    """The run's folder."""
    out: str | None = None
    """The file to write; by default in generated/ in the run's folder."""
    format: str = ""
    """onnx: for onnxruntime, browsers, phones; stablehlo: for jax alone, any network;
    torch-fidelity: an ONNX file for its command. By default by the ending of --out, else onnx."""
    seed_index: int = 0
    """Which of the seeds of a run with several, from 0 on."""
    best: bool = False
    """The state of the best score, of a run with --score-every, and not the newest."""
    ema: bool = True
    """The averaged generator; --no-ema: the one trained last."""
    time: bool = False
    """Say too how long 64 samples take from the file, by onnxruntime or jax, and in jaxgan."""


@endings.ends_in_a_line("export.py")
def main(arguments: list[str]) -> int:
    """Runs the command line; returns 0, 2 for bad input, or 130 if interrupted."""
    options = read(Arguments, arguments, "export.py")
    name = choose_format(options.format, options.out)
    check_time(options.time, name)
    form, folder = FORMATS[name], epath.Path(options.workdir)
    out = epath.Path(options.out or folder / "generated" / (form.name + form.suffix))
    run = load(folder, settings.model_of_run(folder), best=options.best)
    run = run if options.ema else run.without_average()
    content = form.make(run, options.seed_index)
    difference = form.check(run, content, options.seed_index)
    write(out, content)
    report(run, name, out, content, difference, options)
    if options.time:
        is_onnx = name == "onnx"
        seconds = seconds_to_draw(run, content, is_onnx, options.seed_index)
        theirs, ours = (1000 * each for each in seconds)
        reader = "onnxruntime" if is_onnx else "jax from the file"
        print(f"64 samples take {theirs:.3g} ms in {reader}, {ours:.3g} in jaxgan.")
    return 0


def check_time(asked: bool, name: str) -> None:
    """Raises ValueError for --time with a format that has none, or where onnxruntime is missing."""
    if asked and name == "torch-fidelity":
        raise ValueError("--time goes with --format=onnx or stablehlo: leave it out.")
    if asked and name == "onnx" and not has_onnxruntime():
        raise ValueError("--time needs onnxruntime: pip install onnxruntime, or leave it out.")


def choose_format(name: str, out: str | None) -> str:
    """The format that --format names, or else the ending of --out.

    Raises:
      ValueError: if there is no such format, or the file's name ends otherwise than its format's.
    """
    if name:
        check_choice("--format", name, tuple(FORMATS))
    if out is None:
        return name or "onnx"
    by_suffix = {".stablehlo": "stablehlo", ".onnx": "onnx"}
    suffix = epath.Path(out).suffix.lower()
    if not name and suffix not in by_suffix:
        raise ValueError(
            f"--out={out} must end in {' or '.join(by_suffix)}, which says its format."
        )
    name = name or by_suffix[suffix]
    if suffix != FORMATS[name].suffix:
        raise ValueError(f"--out={out} must end in {FORMATS[name].suffix} with --format={name}.")
    return name


def report(
    run: Run,
    name: str,
    out: epath.Path,
    content: bytes,
    difference: float | None,
    options: Arguments,
) -> None:
    """Prints what was written, of which state, and how it was checked."""
    game, unit = run.model.game, ""
    inputs = f"latents [N, {game.generator.latent_dim}]"
    output = f"samples {shape(game.data_shape)}"
    if name == "torch-fidelity":
        inputs = f"latents [N, {export.z_size(run)}]"
        output, unit = f"images {shape((3, *game.data_shape[:2]))}", " of 255"
    elif game.num_classes is not None:
        inputs += ", labels [N]"
    if options.best or not run.finished:
        print(f"The state is that of step {run.step:,} of {run.settings['steps']:,}.")
    if difference is None:
        print("Not compared with the run: pip install onnxruntime, and export again.")
        compared = ""
    else:
        rounded = run.settings.get("precision", "float32") != "float32" and name != "stablehlo"
        how = " in float32, which the file computes in," if rounded else ""
        compared = f", differs from the run{how} by {difference:.1g}{unit} at most"
    print(f"{out}: {size(len(content))}, {inputs} to {output}{compared}")
    if game.num_classes is not None:
        print(f"Classes: {json.dumps(run.class_names or [*map(str, range(game.num_classes))])}")


def size(count: int) -> str:
    """A file's size."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def shape(sizes: tuple[int, ...]) -> str:
    """A batch's shape, of examples of these sizes."""
    return f"[N, {', '.join(map(str, sizes))}]"
