"""What a user waits for: ten seeds, a first picture from the shell, a folder of photographs.

Each program has a process of its own, or several, and the machine to itself in its turn.
"""

import collections
import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.measure import alternate
from benchmarks.memory_limit import call
from benchmarks.workloads import Workload, count_cores, make_data
from jaxgan.commands.config import Config
from jaxgan.commands.presets import preset, use_cores

HERE = pathlib.Path(__file__).parent
ROUNDS = 3
SEEDS = 10
STEPS = 1000  # of the default run, up to its first picture of trained samples
PICTURES, HEIGHT, WIDTH, SIDE = 2000, 96, 128, 64
EPOCHS = 3

Rounds = dict[str, dict[str, list[float]]]


class Row(NamedTuple):
    """A measurement of whole runs.

    Attributes:
      name: what `--only` takes.
      title: what the figures are of.
      unit: of all figures.
      measure: `measure(seconds, with_pytorch, folder)` returns them: of each program, jaxgan first,
        in each column, one for each round.
    """

    name: str
    title: str
    unit: str
    measure: Callable[[float, bool, str], Rounds]


# Ten seeds.


def measure_seeds(seconds: float, with_pytorch: bool, folder: str) -> Rounds:
    """Ten seeds as `fit(num_seeds=10)` trains them, and ten PyTorch runs one after the other.

    PyTorch's are in one process with all cores, or in one for each core with a thread each.
    """
    cores = count_cores()
    teams = {"jaxgan": [(run_seeds,)]}
    if with_pytorch:
        teams["pytorch"] = [(run_pytorch, SEEDS, cores)]
        if cores > 1 and jax.default_backend() == "cpu":
            parts = np.diff(np.linspace(0, SEEDS, min(cores, SEEDS) + 1).round()).astype(int)
            teams[f"{len(parts)} x pytorch"] = [(run_pytorch, int(part), 1) for part in parts]
    with contextlib.ExitStack() as stack:
        runs = {name: stack.enter_context(started(team)) for name, team in teams.items()}
        rates = alternate(runs, dict.fromkeys(runs, seconds))
    return {name: {"seeds": [SEEDS * rate for rate in each]} for name, each in rates.items()}


@contextlib.contextmanager
def started(team: list[tuple]) -> Iterator[Callable[[int], None]]:
    """`run(n)` of several makers `(make, *arguments)` at once, each in a process of its own."""
    context, pipes, processes = multiprocessing.get_context("spawn"), [], []
    for make, *arguments in team:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)

    def run(n):
        for pipe in pipes:
            pipe.send(n)
        for pipe in pipes:
            pipe.recv()

    try:
        for pipe in pipes:
            pipe.recv()
        yield run
    except EOFError:
        raise RuntimeError(f"a process of {team[0][0].__name__} ended: see above") from None
    finally:
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.close()
            process.join()


def _serve(pipe, make, arguments):
    run = make(*arguments)
    with contextlib.suppress(EOFError):  # the parent has closed the pipe
        while True:
            pipe.send(None)
            run(pipe.recv())


def run_seeds() -> Callable[[int], None]:
    """The digits preset with ten seeds, by the trainer's own program."""
    from jaxgan.commands.train import make_job
    from jaxgan.training.fit import compile_program
    from jaxgan.training.program import make_program

    use_cores(SEEDS)
    job = make_job(dataclasses.replace(preset("wgan", "digits"), num_seeds=SEEDS))
    program = make_program(job)
    return _dispatch(program, compile_program(job, program, job.first_state()))


def _dispatch(program, state):
    """`run(n)` of a trainer's program, in as few calls as it takes."""
    step = 0

    def run(n):
        nonlocal state, step
        end = step + n
        while step < end:
            count = min(end - step, program.capacity)
            state, _ = program.run(state, program.batches(step, count), count)
            step += count
        jax.block_until_ready(state)

    return run


def run_pytorch(repeats: int, threads: int) -> Callable[[int], None]:
    """Iterations of the same model, `repeats` times as many, with so many threads."""
    import torch

    from benchmarks.pytorch import make_pytorch

    workload = Workload("digits", preset("wgan", "digits"), (8, 8, 1))
    program = make_pytorch(workload, make_data(workload))
    torch.set_num_threads(threads)
    return lambda n: program.run(repeats * n)


# A first picture.


def measure_fit(seconds: float, with_pytorch: bool, folder: str) -> Rounds:
    """Seconds from the shell to the first step and to the first picture of trained samples.

    Cold: without compiled programs and prepared digits from an earlier run. Both programs train the
    digits preset; PyTorch's is the script `pytorch_digits.py`.
    """
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    train = [str(HERE.parent / "train.py"), "--loss=wgan", f"--steps={STEPS}"]
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as place:
            user = {"XDG_CACHE_HOME": place, "TFDS_DATA_DIR": f"{place}/tfds"}
            runs = {
                name: [*train, f"--workdir={place}/{i}"]
                for i, name in enumerate(("jaxgan cold", "jaxgan warm"))
            }
            if with_pytorch:
                runs["pytorch"] = [str(HERE / "pytorch_digits.py"), str(STEPS), f"{place}/2.png"]
            for name, command in runs.items():
                for event, after in follow(command, user).items():
                    found[name][event].append(after)
    return dict(sorted(found.items()))


def follow(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Runs a script, and returns the seconds until it tells of its first step and its picture."""
    signs = {"first step": ("compiled in", "first step"), "picture": ("samples in",)}
    environment = os.environ | environment | {"PYTHONUNBUFFERED": "1"}
    seconds, began = {}, time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            for event, words in signs.items():
                if any(each in line for each in words):
                    seconds.setdefault(event, time.perf_counter() - began)
    if process.returncode or len(seconds) < len(signs):
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}, {seconds}")
    return seconds


# A folder of photographs.


def measure_folder(seconds: float, with_pytorch: bool, folder: str) -> Rounds:
    """Images a second that a small DCGAN for 64x64 trains on, in the first epoch and later ones.

    The first decodes. Compilation is left out, and a first iteration of PyTorch.
    """
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    programs = {"jaxgan": train_folder} | ({"pytorch": train_folder_pytorch} if with_pytorch else {})
    with tempfile.TemporaryDirectory() as place:
        if not folder:
            folder = f"{place}/pictures"
            make_pictures(folder)
        for turn in range(ROUNDS):
            for name, train in programs.items():
                first, *later = call(train, folder, f"{place}/{turn}")
                found[name]["first epoch"].append(first)
                found[name]["later ones"].append(float(np.median(later)))
    return {name: dict(columns) for name, columns in found.items()}


def make_pictures(folder: str) -> None:
    """JPEGs of smooth noise, which take as long to decode as photographs."""
    from PIL import Image

    os.mkdir(folder)
    rng = np.random.default_rng(0)
    for i in range(PICTURES):
        coarse = Image.fromarray(rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8))
        coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(f"{folder}/{i:05}.jpg")


def small_dcgan(folder: str, cache: str) -> Config:
    """The settings of both programs."""
    config = Config(loss="bce", model="dcgan", dataset=f"folder:{folder}", cache_dir=cache)
    return dataclasses.replace(config, image_size=SIDE, channels=3, width=16, n_critic=1)


def train_folder(folder: str, cache: str) -> list[float]:
    """The rates of jaxgan's epochs, as its command trains."""
    from jaxgan.commands.train import load_data, make_job
    from jaxgan.training.fit import compile_program
    from jaxgan.training.program import make_program

    config = small_dcgan(folder, cache)
    began = time.perf_counter()
    load_data(config)
    reading = time.perf_counter() - began
    job = make_job(config)
    program = make_program(job)
    run = _dispatch(program, compile_program(job, program, job.first_state()))
    n = len(job.dataset.train) // config.batch_size
    return _rates(lambda: run(n), n * config.batch_size, reading)


def train_folder_pytorch(folder: str, cache: str) -> list[float]:
    """The rates of PyTorch's, with a Dataset of Pillow and a worker for each core."""
    import torch

    from benchmarks.ours import first_weights
    from benchmarks.pytorch import Model, choose_device
    from benchmarks.pytorch_folder import Pictures

    config, device = small_dcgan(folder, cache), choose_device()
    workload = Workload("folder", config, (SIDE, SIDE, 3))
    model = Model(workload, device)
    model.load(first_weights(workload))
    loader = torch.utils.data.DataLoader(
        Pictures(folder, SIDE),
        config.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=count_cores(),
        persistent_workers=True,
        pin_memory=device == "cuda",
    )

    def train(real):
        real = real.to(device, memory_format=torch.channels_last)
        z = torch.randn(2, len(real), config.latent_dim, device=device)
        model.d_step(real, z[0], epsilon=None)
        model.g_step(z[1])

    def epoch():
        for real in loader:
            train(real)
        if device == "cuda":
            torch.cuda.synchronize()

    train(torch.rand(config.batch_size, 3, SIDE, SIDE))
    return _rates(epoch, len(loader) * config.batch_size)


def _rates(epoch, images, before=0.0):
    """Images a second of some epochs; the first one took so many seconds more."""
    rates = []
    for _ in range(EPOCHS):
        began = time.perf_counter()
        epoch()
        rates.append(images / (before + time.perf_counter() - began))
        before = 0.0
    return rates


ROWS = [
    Row("seeds", f"{SEEDS} seeds of the digits preset", "seed-iterations/s", measure_seeds),
    Row("fit", f"--loss=wgan --steps={STEPS}, from the shell", "s", measure_fit),
    Row("folder", f"a folder of images, a DCGAN for {SIDE}x{SIDE}", "images/s", measure_folder),
]
