"""Measures the papers' claims and draws them: `python experiments/theory.py --out=DIR`.

Writes a figure `NAME.png` for each claim, and `theory.json`, which holds every number: what it is,
where it comes from, how it was measured, its closed form, its measured value, the error, the
tolerance, and the standard deviation over seeds where there are several.
"""

import dataclasses
import importlib
import json
import math
import statistics
import time
import typing
from types import ModuleType

import script
from claims import style
from claims.number import Kind, Number, Numbers
from etils import epath
from tqdm import tqdm

from jaxgan.commands import endings
from jaxgan.commands.config import check_choice
from jaxgan.commands.flags import read

# In the order of docs/theory.md.
NAMES = (
    "coin",
    "cross_entropy",
    "asymmetry",
    "maximum_likelihood",
    "intractable",
    "inference",
    "minimax_tree",
    "matrix_game",
    "optimal_discriminator",
    "global_optimum",
    "convergence",
    "local_optima",
    "parallel_lines",
    "perfect_discriminator",
    "vanishing_gradients",
    "log_d",
    "mode_collapse",
    "packing",
    "continuity",
    "hierarchy",
    "sinkhorn",
    "sliced",
    "duality",
    "wasserstein_gradient",
    "coupled_slope",
    "clipping_scale",
    "clipping",
    "penalties",
    "spectral_norm",
    "hinge",
    "lsgan",
    "f_divergences",
    "relativistic",
    "dirac_gan",
    "r1_r2",
    "r1_alone",
    "two_time_scales",
    "averaging",
    "began_balance",
)
CLAIMS: dict[str, ModuleType] = {name: importlib.import_module(f"claims.{name}") for name in NAMES}
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
    seeds: int = 1
    """Measure with so many seeds: numbers and figures are the first one's, beside the spread."""
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
    if options.seeds < 1:
        raise ValueError(f"--seeds must be from 1 up; got {options.seeds}.")
    if options.doc is not None:
        replace_table(options.doc, {})  # complains now, not in minutes
    out = epath.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    entries = read_entries(out / "theory.json")
    names = list(CLAIMS) if options.only == "all" else [options.only]
    numbers = measure_and_draw(names, options, out, entries)
    if options.doc is not None:
        in_order = read_entries(out / "theory.json")
        epath.Path(options.doc).write_text(replace_table(options.doc, in_order))
    print(f"figures and {len(numbers)} numbers in {out}")
    astray = [name for name, number in numbers.items() if number.claimed and not number.holds]
    for name in astray:
        closed, measured = numbers[name].closed_form, numbers[name].measured
        print(f"outside its tolerance: {name} is {measured:.4g}, not {closed:.4g}")
    return 1 if astray else 0


def measure_and_draw(
    names: list[str], options: Arguments, out: epath.Path, entries: dict
) -> Numbers:
    """Measures claims one after another, each one's figure and numbers written when it is done.

    Args:
      names: the claims.
      options: how long to train, and how many seeds.
      out: the folder.
      entries: what theory.json holds; brought up to date.

    Returns:
      The numbers of these claims, of the first seed.
    """
    numbers: Numbers = {}
    total = options.seeds * sum(CLAIMS[name].PARTS for name in names)
    with tqdm(total=total, unit="run", disable=None) as bar:
        for name in names:
            bar.set_description(CLAIMS[name].TITLE)
            began = time.perf_counter()
            results = [
                CLAIMS[name].measure(options.scale, bar.update, seed)
                for seed in range(options.seeds)
            ]
            with style.look():
                style.save(CLAIMS[name].draw(results[0]), out / f"{name}.png")
            numbers |= results[0].numbers
            for key in [key for key in entries if key.startswith(f"{name}.")]:
                del entries[key]
            entries |= {
                key: to_entry(number) | spread([result.numbers[key] for result in results])
                for key, number in results[0].numbers.items()
            }
            order = {key: i for i, key in enumerate(CLAIMS)}
            entries_in_order = sorted(entries.items(), key=lambda e: order[e[0].split(".")[0]])
            text = json.dumps(dict(entries_in_order), indent=1, ensure_ascii=False)
            (out / "theory.json").write_text(text + "\n")
            bar.write(f"{name}: {time.perf_counter() - began:.0f} s")
    return numbers


def spread(of_seeds: list[Number]) -> dict:
    """The standard deviation over seeds of what is trained or sampled, if there are several.

    What is infinite has none.
    """
    measured = [number.measured for number in of_seeds]
    finite = all(map(math.isfinite, measured))
    if len(measured) == 1 or of_seeds[0].kind == "algebra" or not finite:
        return {}
    return {"spread": statistics.stdev(measured), "seeds": len(measured)}


def to_entry(number: Number) -> dict:
    """A number for theory.json; infinity, which JSON has no word for, is the string "Infinity"."""
    values = {
        name: getattr(number, name) for name in ("closed_form", "measured", "error", "tolerance")
    }
    entry = {"what": number.what, "source": number.source, "kind": number.kind} | {
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
    """The numbers in Markdown: how many of each kind, claims, points of curves (an @ in their
    name), observations."""
    columns = ("closed_form", "measured", "error", "tolerance", "spread")
    lines: dict[str, list[str]] = {"claims": [], "points": [], "observations": []}
    for key, entry in entries.items():
        cells = [entry["what"].replace("|", "\\|"), entry["source"], entry["kind"]]
        cells += [show(entry.get(name)) for name in columns]
        if entry.get("ceiling"):
            cells[3], cells[6] = f"at most {cells[3]}", f"{cells[6]} below"
        if entry["tolerance"] is None:
            del cells[5:7]
            lines["observations"].append(f"| {' | '.join(cells)} |")
        else:
            lines["points" if "@" in key else "claims"].append(f"| {' | '.join(cells)} |")
    head = ["| number | source | kind | closed form | measured | error | tolerance | spread |"]
    head += ["|---" * 8 + "|"]
    fold = "<details><summary>Points of curves</summary>"
    seen = "Observed, and nothing claimed of it:"
    observations = ["| number | source | kind | ideal | measured | spread |", "|---" * 6 + "|"]
    tables = [*count_kinds(entries), "", *head, *lines["claims"], "", seen, ""]
    tables += [*observations, *lines["observations"]]
    return "\n".join([*tables, "", fold, "", *head, *lines["points"], "", "</details>\n"])


def count_kinds(entries: dict) -> list[str]:
    """A table of how many numbers of each claim are of each kind."""
    kinds = typing.get_args(Kind)
    of_claim: dict[str, list[str]] = {}
    for key, entry in entries.items():
        of_claim.setdefault(key.split(".")[0], []).append(entry["kind"])
    of_claim["*all*"] = [entry["kind"] for entry in entries.values()]
    rows = [
        f"| {name} | {' | '.join(str(found.count(kind)) for kind in kinds)} |"
        for name, found in of_claim.items()
    ]
    return [f"| claim | {' | '.join(kinds)} |", "|---" * 4 + "|", *rows]


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
