"""What a user waits for: ten seeds, a first picture from the shell, a folder of photographs.

Each program has fresh processes and the machine to itself, in turns.
"""

import concurrent.futures
import dataclasses
import functools
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from benchmarks.measure import alternate
from benchmarks.memory_limit import call
from benchmarks.workloads import Workload, make_data
from jaxgan.commands.config import Config
from jaxgan.commands.presets import count_cores, preset, use_cores

HERE = pathlib.Path(__file__).parent
ROUNDS = 3
SEEDS = 10
STEPS = 1000  # of the default run, up to its first picture of trained samples
SIDE = 64
EPOCHS = 3

Figures = dict[str, float]
Programs = dict[str, Callable[[str], Figures]]


class Row(NamedTuple):
    """A measurement of whole runs.

    Attributes:
      name: what `--only` takes.
      title: what the figures are of.
      unit: of all figures.
      programs: `programs(seconds, with_pytorch, data_dir)` makes the functions that run a program,
        by its name: see `measure`. A rate is measured for so many seconds, and `data_dir` is the
        folder of images, "" for one that is made.
    """

    name: str
    title: str
    unit: str
    programs: Callable[[float, bool, str], Programs]


def measure(programs: Programs) -> dict[str, dict[str, list[float]]]:
    """The figures of each program, `[ROUNDS]` of each, measured in turns.

    A program takes a folder, at first empty, that it shares with the others of its round.
    """
    rounds: dict[str, list[Figures]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as place:
            for name, program in programs.items():
                rounds[name].append(program(place))
    return {
        name: {figure: [each[figure] for each in found] for figure in found[0]}
        for name, found in rounds.items()
    }


# Ten seeds.


def seeds(seconds: float, with_pytorch: bool, data_dir: str) -> Programs:
    """Ten seeds as `fit(num_seeds=10)` trains them, and ten PyTorch runs one after the other.

    PyTorch's are in one process with all cores, or in one for each core with a thread each.
    """
    cores, seconds = count_cores(), seconds / ROUNDS
    programs = {"jaxgan": lambda place: {"seeds": SEEDS * call(rate_of_seeds, seconds)}}
    if with_pytorch:
        programs["pytorch"] = lambda place: {"seeds": call(rate_of_pytorch, seconds, cores)}
        if cores > 1 and jax.default_backend() == "cpu":
            programs[f"{cores} x pytorch"] = lambda place: {"seeds": one_each(cores, seconds)}
    return programs


def one_each(cores: int, seconds: float) -> float:
    """The rates of so many processes at once, of one thread each, together."""
    with concurrent.futures.ThreadPoolExecutor(cores) as pool:
        return sum(pool.map(lambda _: call(rate_of_pytorch, seconds, 1), range(cores)))


def rate_of_seeds(seconds: float) -> float:
    """Iterations a second of the digits preset with ten seeds, in the trainer's own program."""
    use_cores(SEEDS)
    run, _ = trainer(dataclasses.replace(preset("wgan", "digits"), num_seeds=SEEDS))
    return rate(run, seconds)


def rate_of_pytorch(seconds: float, threads: int) -> float:
    """Iterations a second of one seed."""
    import torch

    from benchmarks.pytorch import make_pytorch

    workload = Workload("digits", preset("wgan", "digits"), (8, 8, 1))
    program = make_pytorch(workload, make_data(workload))
    torch.set_num_threads(threads)
    return rate(program.run, seconds)


def rate(run: Callable[[int], None], seconds: float) -> float:
    """The median rate of a program in so much time."""
    return statistics.median(alternate({"": run}, {"": seconds})[""])


def trainer(config: Config) -> tuple[Callable[[int], None], int]:
    """`run(n)` of what `train.py` compiles for these settings, and the number of its examples."""
    from jaxgan.commands.train import make_job
    from jaxgan.training.fit import compile_program
    from jaxgan.training.program import make_program

    job = make_job(config)
    program = make_program(job)
    state, step = compile_program(job, program, job.first_state()), 0

    def run(n):
        nonlocal state, step
        end = step + n
        while step < end:
            count = min(end - step, program.capacity)
            state, _ = program.run(state, program.batches(step, count), count)
            step += count
        jax.block_until_ready(state)

    return run, len(job.dataset.train)


# A first picture.


def fit(seconds: float, with_pytorch: bool, data_dir: str) -> Programs:
    """The default run from the shell, and `pytorch_digits.py`, which trains the same.

    Cold is without compiled programs and prepared digits. The warm run has those of the cold one.
    """
    train = [str(HERE.parent / "train.py"), "--loss=wgan", f"--steps={STEPS}"]
    programs = {
        f"jaxgan {kind}": functools.partial(follow, [*train, f"--workdir={{place}}/{kind}"])
        for kind in ("cold", "warm")
    }
    if with_pytorch:
        script = [str(HERE / "pytorch_digits.py"), str(STEPS), "{place}/picture.png"]
        programs["pytorch"] = functools.partial(follow, script)
    return programs


def follow(command: list[str], place: str) -> Figures:
    """Seconds until a script says that it has compiled or done a step, and drawn a picture."""
    signs = {"first step": ("compiled in", "first step"), "picture": ("samples in",)}
    user = {"XDG_CACHE_HOME": place, "TFDS_DATA_DIR": f"{place}/tfds", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, *(word.format(place=place) for word in command)]
    figures, began = {}, time.perf_counter()
    with subprocess.Popen(
        command, env=os.environ | user, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            for event, words in signs.items():
                if any(each in line for each in words):
                    figures.setdefault(event, time.perf_counter() - began)
    if process.returncode or len(figures) < len(signs):
        raise RuntimeError(f"{command} ended with {process.returncode} after {figures}")
    return figures


# A folder of photographs.


def folder(seconds: float, with_pytorch: bool, data_dir: str) -> Programs:
    """A small DCGAN on a folder of JPEGs, beside a Dataset of Pillow with a worker for each core.

    The first epoch decodes. Compilation is left out, and a first iteration of PyTorch.
    """

    def of(train):
        return lambda place: call(train, small_dcgan(data_dir or pictures(place), place))

    programs = {"jaxgan": of(train_folder)}
    if with_pytorch:
        from benchmarks import pytorch_folder

        programs["pytorch"] = of(pytorch_folder.train)
    return programs


def pictures(place: str, count: int = 2000, height: int = 96, width: int = 128) -> str:
    """A folder of JPEGs of smooth noise, made if it is not there."""
    from PIL import Image

    if not os.path.exists(folder := f"{place}/pictures"):
        os.mkdir(folder)
        rng = np.random.default_rng(0)
        for i in range(count):
            coarse = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8))
            coarse.resize((width, height), Image.Resampling.BICUBIC).save(f"{folder}/{i:05}.jpg")
    return folder


def small_dcgan(folder: str, place: str) -> Config:
    """The settings of both programs."""
    config = Config(loss="bce", model="dcgan", dataset=f"folder:{folder}", width=16, n_critic=1)
    return dataclasses.replace(config, image_size=SIDE, channels=3, cache_dir=f"{place}/decoded")


def train_folder(config: Config) -> Figures:
    """Images a second, as jaxgan's command trains."""
    from jaxgan.commands.train import load_data

    began = time.perf_counter()
    load_data(config)
    decoding = time.perf_counter() - began
    run, examples = trainer(config)
    iterations = examples // config.batch_size
    return epochs(lambda: run(iterations), iterations * config.batch_size, decoding)


def epochs(run: Callable[[], None], images: int, before: float = 0.0) -> Figures:
    """Images a second in the first epoch, with what was spent before it, and in later ones."""
    seconds = []
    for _ in range(EPOCHS):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    later = statistics.median(seconds[1:])
    return {"first epoch": images / (before + seconds[0]), "later ones": images / later}


ROWS = [
    Row("seeds", f"{SEEDS} seeds of the digits preset", "seed-iterations/s", seeds),
    Row("fit", f"--loss=wgan --steps={STEPS}, from the shell", "seconds", fit),
    Row("folder", f"a folder of images, a DCGAN for {SIDE}x{SIDE}", "images/s", folder),
]
