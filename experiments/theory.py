"""Measures the papers' claims and draws them: `python experiments/theory.py --out=DIR`.

Writes a figure `NAME.png` for each claim, and `theory.json`, which holds every number: what it is,
where it comes from, its closed form, its measured value, the error and the tolerance.
"""

import dataclasses
import json
import math
import time
from types import ModuleType

import script
from claims import (
    clipping,
    clipping_scale,
    convergence,
    dirac_gan,
    duality,
    global_optimum,
    maximum_likelihood,
    mode_collapse,
    optimal_discriminator,
    parallel_lines,
    style,
    vanishing_gradients,
)
from claims.number import Number, Numbers
from etils import epath
from tqdm import tqdm

from jaxgan.commands import endings
from jaxgan.commands.config import check_choice
from jaxgan.commands.flags import read

# In the order of docs/theory.md.
CLAIMS: dict[str, ModuleType] = {
    module.__name__.removeprefix("claims."): module
    for module in (
        maximum_likelihood,
        optimal_discriminator,
        global_optimum,
        convergence,
        parallel_lines,
        vanishing_gradients,
        duality,
        clipping_scale,
        clipping,
        mode_collapse,
        dirac_gan,
    )
}
BEGIN, END = "<!-- numbers: written by theory.py -->\n", "<!-- end of numbers -->"


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measure the papers' claims with the library's own losses and steps, and draw them."""

    out: str
    """The folder for the figures and theory.json; numbers already there are kept or replaced."""
    only: str = "all"
    """One claim, the name of its figure and the first word of its numbers."""
    scale: float = 1.0
    """Share of the full training; figures are rough below 1, and tolerances may not hold."""
    doc: str | None = None
    """A Markdown file whose table of numbers, between two marks, is to be replaced."""


@endings.ends_in_a_line("theory.py")
def main(arguments: list[str]) -> int:
    """Runs the command line.

    Returns:
      The exit status: 0 done, 1 if a number is not within its tolerance, 2 bad input, 130 if
      interrupted.
    """
    options = read(Arguments, arguments, "theory.py")
    check_choice("--only", options.only, ("all", *CLAIMS))
    if not (math.isfinite(options.scale) and 0.01 <= options.scale <= 100):
        raise ValueError(f"--scale must be between 0.01 and 100; got {options.scale}.")
    if options.doc is not None:
        replace_table(options.doc, {})  # complains now, not in minutes
    out = epath.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    entries = read_entries(out / "theory.json")
    names = list(CLAIMS) if options.only == "all" else [options.only]
    numbers = measure_and_draw(names, options.scale, out, entries)
    if options.doc is not None:
        in_order = read_entries(out / "theory.json")
        epath.Path(options.doc).write_text(replace_table(options.doc, in_order))
    print(f"figures and {len(numbers)} numbers in {out}")
    astray = [name for name, number in numbers.items() if number.claimed and not number.holds]
    for name in astray:
        closed, measured = numbers[name].closed_form, numbers[name].measured
        print(f"outside its tolerance: {name} is {measured:.4g}, not {closed:.4g}")
    return 1 if astray else 0


def measure_and_draw(names: list[str], scale: float, out: epath.Path, entries: dict) -> Numbers:
    """Measures claims one after another, each one's figure and numbers written when it is done.

    Args:
      names: the claims.
      scale: share of the full training.
      out: the folder.
      entries: what theory.json holds; brought up to date.

    Returns:
      The numbers of these claims.
    """
    numbers: Numbers = {}
    with tqdm(total=sum(CLAIMS[name].PARTS for name in names), unit="run", disable=None) as bar:
        for name in names:
            bar.set_description(CLAIMS[name].TITLE)
            began = time.perf_counter()
            result = CLAIMS[name].measure(scale, bar.update)
            style.save(CLAIMS[name].draw(result), out / f"{name}.png")
            numbers |= result.numbers
            for key in [key for key in entries if key.startswith(f"{name}.")]:
                del entries[key]
            entries |= {key: to_entry(number) for key, number in result.numbers.items()}
            order = {key: i for i, key in enumerate(CLAIMS)}
            entries_in_order = sorted(entries.items(), key=lambda e: order[e[0].split(".")[0]])
            text = json.dumps(dict(entries_in_order), indent=1, ensure_ascii=False)
            (out / "theory.json").write_text(text + "\n")
            bar.write(f"{name}: {time.perf_counter() - began:.0f} s")
    return numbers


def to_entry(number: Number) -> dict:
    """A number for theory.json; infinity, which JSON has no word for, is the string "Infinity"."""
    values = {
        name: getattr(number, name) for name in ("closed_form", "measured", "error", "tolerance")
    }
    entry = {"what": number.what, "source": number.source} | {
        name: "Infinity" if value == math.inf else value for name, value in values.items()
    }
    return entry | {"ceiling": True} if number.ceiling else entry


def read_entries(path: epath.Path) -> dict:
    """What an earlier run wrote there, as far as there are still such claims.

    Raises:
      ValueError: if the file is not one that theory.py wrote.
    """
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text())
        return {key: entries[key] for key in entries if key.split(".")[0] in CLAIMS}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a file that theory.py wrote: {error}") from error


def make_tables(entries: dict) -> str:
    """The numbers in Markdown: claims, points of curves (an @ in their name), observations."""
    columns = ("closed_form", "measured", "error", "tolerance")
    lines: dict[str, list[str]] = {"claims": [], "points": [], "observations": []}
    for key, entry in entries.items():
        cells = [entry["what"].replace("|", "\\|"), entry["source"]]
        cells += [show(entry[name]) for name in columns]
        if entry.get("ceiling"):
            cells[2], cells[5] = f"at most {cells[2]}", f"{cells[5]} below"
        if entry["tolerance"] is None:
            lines["observations"].append(f"| {' | '.join(cells[:4])} |")
        else:
            lines["points" if "@" in key else "claims"].append(f"| {' | '.join(cells)} |")
    head = ["| number | source | closed form | measured | error | tolerance |", "|---" * 6 + "|"]
    fold = "<details><summary>Points of curves</summary>"
    seen = "Observed, and nothing claimed of it:"
    observations = ["| number | source | ideal | measured |", "|---" * 4 + "|"]
    tables = [*head, *lines["claims"], "", seen, "", *observations, *lines["observations"]]
    return "\n".join([*tables, "", fold, "", *head, *lines["points"], "", "</details>\n"])


def show(value: float | str | None) -> str:
    """A number for people: three digits."""
    if value is None:
        return ""
    return "∞" if value == "Infinity" else f"{value:.3g}"


def replace_table(path: str, entries: dict) -> str:
    """The text of a Markdown file with its table made anew.

    Raises:
      ValueError: if the file has not the two marks that the table stands between.
    """
    text = epath.Path(path).read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path} has no table between {BEGIN.strip()} and {END}.")
    return before + begin + make_tables(entries) + end + after


if __name__ == "__main__":
    script.run(main)
