"""Measures jaxgan against PyTorch and plain flax: `python experiments/benchmark.py --help`."""

import contextlib
import dataclasses
import json
import os
import platform
from importlib.util import find_spec
from typing import Any

import script
import flax
import jax
from benchmarks import limit, whole_runs
from benchmarks.measure import alternate, divide, fastest, summarise
from benchmarks.operations import count_operations
from benchmarks.ours import compile_ours
from benchmarks.plain_flax import compile_plain_flax
from benchmarks.verify import DisagreementError, verify
from benchmarks.whole_runs import Row
from benchmarks.workloads import Program, Workload, make_data, workloads

from jaxgan.commands import endings
from jaxgan.commands.config import PRECISIONS, Config, check_choice
from jaxgan.commands.presets import count_cores, use_cores

OURS = "jaxgan"
PYTORCH = ("pytorch", "torch.compile")
PLAIN_FLAX = "plain-flax"
BUSY = 0.5  # processes that wait for a core; PyTorch's threads then wait a hundred times as long
LIMIT_SHARE = 0.2  # of the time for a program, the time for each matrix product


@dataclasses.dataclass(frozen=True)
class Settings:
    """Measure training speed, in turns and in one process: jaxgan, PyTorch eager and compiled, and
    plain flax with one jitted call for each update. First check that all compute the same.

    A ratio is jaxgan's rate over the other's, above 1 where jaxgan is the faster. It is taken round
    by round and its median shown; ± is half of the range over the rounds.
    Images are real ones trained on. The limit is the faster framework's large matrix product.
    Memory is that of tensors, the state and all that an iteration holds, as XLA plans it and as
    PyTorch's allocator counts it; it leaves out data set, code and libraries.

    Three rows are of whole runs, beside what a PyTorch user would write: seeds, fit and folder.
    """

    only: str = ""
    """Workloads whose name is or begins with this; all by default."""
    seconds: float = 6.0
    """Time to spend on each measurement, over all rounds; fit and folder take what they take."""
    json: str = ""
    """A file to write all figures to."""
    precision: str = "float32"
    """Of the networks' arithmetic: float32 or bfloat16 (autocast in PyTorch)."""
    against: str = "all"
    """One of pytorch, torch.compile (where it supports the computation) and plain-flax; all; or
    none."""
    data_dir: str = ""
    """The folder of images to read; by default one is made."""


@endings.ends_in_a_line("benchmark.py", "choose smaller workloads with --only")
def main(arguments: list[str]) -> int:
    """Runs the command line.

    Returns:
      The exit status: 0 done, 1 if two programs compute different things, 2 bad input, 130 if
      interrupted.
    """
    settings = parse(arguments)
    try:
        report = run(settings, choose(settings))
    except DisagreementError as error:
        endings.report("benchmark.py", error)
        return 1
    if settings.json:
        with open(settings.json, "w") as file:
            file.write(json.dumps(report, indent=2) + "\n")
    return 0


def parse(arguments: list[str]) -> Settings:
    """Reads the command line.

    Raises:
      ValueError: for what is no setting, in one line.
    """
    # Here, so that `run` can be called where little more than jax is installed.
    from jaxgan.commands.flags import read

    return read(Settings, arguments, "benchmark.py")


def choose(settings: Settings) -> list[Workload | Row]:
    """What is asked for.

    Raises:
      ValueError: if a setting is out of its range, in one line.
    """
    check_choice("--precision", settings.precision, PRECISIONS)
    check_choice("--against", settings.against, ("all", "none", *PYTORCH, PLAIN_FLAX))
    if not 0 < settings.seconds < float("inf"):
        raise ValueError(f"--seconds must be positive and finite; got {settings.seconds}.")
    for name, folder in (
        (f"--json={settings.json} cannot be written", os.path.dirname(settings.json)),
        (f"--data-dir={settings.data_dir} cannot be read", settings.data_dir),
    ):
        if not os.path.isdir(folder or "."):
            raise ValueError(f"{name}: there is no folder {folder}.")
    known = [*workloads(settings.precision), *whole_runs.ROWS]
    chosen = [each for each in known if each.name.startswith(settings.only)]
    if not chosen:
        check_choice("--only", settings.only, tuple(each.name for each in known))
    return chosen


def run(settings: Settings, chosen: list[Workload | Row]) -> dict[str, Any]:
    """Measures each, printing its table as soon as it is there.

    Returns:
      All figures, as they go into the JSON file.

    Raises:
      DisagreementError: if two programs compute different things.
    """
    wanted, installed = settings.against in ("all", *PYTORCH), find_spec("torch") is not None
    with_pytorch = wanted and installed
    # Before jax starts, as train.py does it.
    use_cores(1, devices=max(getattr(each, "config", Config).devices for each in chosen))
    machine = describe_machine(settings.precision, with_pytorch)
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    if machine["load"] > BUSY:
        print("The machine is busy, or just was: figures and ratios may be far off.")
    if wanted and not installed:
        print("PyTorch is not installed and left out; pip install 'jaxgan[bench]' brings it.")
    report = {"machine": machine, "settings": dataclasses.asdict(settings), "workloads": {}}
    for each in chosen:
        of_kind = measure_row if isinstance(each, Row) else measure
        report["workloads"][each.name] = of_kind(settings, each, with_pytorch)
    return report


def measure_row(settings: Settings, row: Row, with_pytorch: bool) -> dict[str, Any]:
    """Measures whole runs, and prints their table."""
    found = whole_runs.measure(row.programs(settings.seconds, with_pytorch, settings.data_dir))
    programs = {
        name: {figure: summarise(each) for figure, each in figures.items()}
        for name, figures in found.items()
    }
    print(f"\n{row.name}: {row.title}; {row.unit}")
    print(f"{'':14}" + "".join(f"{name:>22}" for name in programs[next(iter(programs))]))
    for name, figures in programs.items():
        cells = (f"{each['median']:.4g} {_spread(each):>5}" for each in figures.values())
        print(f"{name:14}" + "".join(f"{cell:>22}" for cell in cells))
    return {"unit": row.unit, "programs": programs}


def measure(settings: Settings, workload: Workload, with_pytorch: bool) -> dict[str, Any]:
    """Verifies and measures one workload, and prints its table.

    Raises:
      DisagreementError: if two programs compute different things.
    """
    deviations = verify(workload, with_pytorch)
    programs = compile_programs(settings, workload, with_pytorch)
    products = limit.products(settings.precision, with_pytorch)
    runs = {name: program.run for name, program in programs.items()}
    runs |= {f"{name} product": run for name, (run, _) in products.items()}
    seconds = {name: settings.seconds * (1 if name in programs else LIMIT_SHARE) for name in runs}
    rates = alternate(runs, seconds)

    limits = {
        name: [rate * each for rate in rates[f"{name} product"]]
        for name, (_, each) in products.items()
    }
    best = fastest([*limits.values()])
    operations, on_pixels = count_operations(workload)
    images = workload.config.n_critic * workload.config.batch_size
    result = {
        "deviations": deviations,
        "operations": operations,
        "operations_on_pixels": on_pixels,
        "limit_per_second": summarise(best),
        "limits_per_second": {name: summarise(each) for name, each in limits.items()},
        "programs": {
            name: {
                "iterations_per_second": summarise(rates[name]),
                "images_per_second": summarise([images * rate for rate in rates[name]]),
                "jaxgan_ratio": summarise(divide(rates[OURS], rates[name])),
                "fraction_of_limit": summarise(
                    [operations * each for each in divide(rates[name], best)]
                ),
                "compile_seconds": program.compile_seconds,
                "memory_bytes": program.memory,
            }
            for name, program in programs.items()
        },
    }
    print(format_table(workload, result))
    return result


def compile_programs(
    settings: Settings, workload: Workload, with_pytorch: bool
) -> dict[str, Program]:
    """All that can run the workload."""
    examples, against, name = make_data(workload), settings.against, workload.name
    programs = {OURS: compile_ours(workload, examples)}
    if with_pytorch:
        from benchmarks.pytorch import make_pytorch

        if against != "torch.compile":
            programs["pytorch"] = make_pytorch(workload, examples)
        if against != "pytorch" and workload.config.loss != "wgan-gp":
            try:
                programs["torch.compile"] = make_pytorch(workload, examples, compiled=True)
            except Exception as error:  # no C++ compiler or Triton, which it says in many ways
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                print(f"torch.compile is left out of {name}: {reason}")
    if against == "all" and workload.config.model == "resnet":
        print(f"{PLAIN_FLAX} is left out of {name}, where it takes minutes for an iteration")
    elif against in ("all", PLAIN_FLAX):
        programs[PLAIN_FLAX] = compile_plain_flax(workload, examples)
    return programs


def describe_machine(precision: str, with_pytorch: bool) -> dict[str, Any]:
    """What the figures depend on."""
    device = jax.devices()[0]
    machine = {
        "device": device.device_kind,
        "products in": limit.products_in(device.platform, precision),
        "processor": _processor(),
        "cores": count_cores(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": flax.__version__,
    }
    if with_pytorch:
        import torch

        machine["torch"] = torch.__version__
        machine["torch on"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return machine


def format_table(workload: Workload, result: dict[str, Any]) -> str:
    """One line for each program."""
    config = workload.config
    gradients, updates = map(max, zip(*result["deviations"].values(), strict=True))
    best = result["limit_per_second"]
    products = ", ".join(
        f"{name} {each['median'] / 1e9:.0f}" for name, each in result["limits_per_second"].items()
    )
    lines = [
        "",
        f"{workload.name}: {config.loss}, {config.model} of width {config.width}, batch "
        f"{config.batch_size}, n_critic {config.n_critic}, {config.precision}"
        f"{', jaxgan on two devices' if config.devices > 1 else ''}; "
        f"same gradients to {gradients:.0e}, updates to {updates:.0e}",
        f"{result['operations'] / 1e9:.3g} GFLOP an iteration; matrix products reach "
        f"{best['median'] / 1e9:.0f} GFLOP/s {_spread(best)} ({products})",
        f"{'':14}{'iterations/s':>18}{'images/s':>10}{'jaxgan is':>16}{'of limit':>10}"
        f"{'compiled in':>13}{'memory':>10}",
    ]
    for name, program in result["programs"].items():
        rate, ratio = program["iterations_per_second"], program["jaxgan_ratio"]
        compiled = program["compile_seconds"]
        lines.append(
            f"{name:14}{rate['median']:>12.4g} {_spread(rate):>5}"
            f"{program['images_per_second']['median']:>10.4g}"
            + (" " * 16 if name == OURS else f"{ratio['median']:>9.2f}x {_spread(ratio):>5}")
            + f"{program['fraction_of_limit']['median']:>10.2f}"
            + (" " * 13 if compiled is None else f"{compiled:>11.1f} s")
            + f"{program['memory_bytes'] / 2**20:>7.0f} MB"
        )
    return "\n".join(lines)


def _spread(values):
    """± half of the range, in per cent of the median; "once" of a single value."""
    if values["rounds"] == 1:
        return "once"
    return f"±{50 * (values['high'] - values['low']) / values['median']:.0f}%"


def _processor():
    """Its name, where the system tells."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    script.run(main, cached=False)  # it measures how long compilation takes
