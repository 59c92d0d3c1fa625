"""Trains on images that do not fit in memory: `python experiments/large_set.py --out=FOLDER`.

It makes a folder of pictures, pieces of two photographs of scikit-learn's (install that too). It
decodes it once, and then trains in turns, under a limit of memory on that set, of which nothing is
in memory at first, and without a limit on a part of it that is in memory. What counts is the ratio
of their images a second.
"""

import dataclasses
import os
import pathlib
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import script
import numpy as np
from benchmarks import memory_limit

from jaxgan.commands import endings
from jaxgan.commands.flags import read

BLOCK = 1000  # images in a sub-folder
PART = 2**27  # bytes of the set in memory


@dataclasses.dataclass(frozen=True)
class Settings:
    """Train on a set larger than memory, and on one in memory, by turns."""

    out: str
    """A folder for the pictures and for what is decoded; a second start finds them there."""
    gigabytes: float = 4.0
    """Size of the set, decoded."""
    limit: float = 2.0
    """Memory of the process that trains on it, in gigabytes."""
    side: int = 64
    """Of the images."""
    width: int = 16
    """Channels of the networks (dcgan)."""
    batch_size: int = 64
    """Examples in a batch."""
    steps: int = 200
    """Of each turn, each with a batch for the critic."""
    turns: int = 3
    """How often each trains."""


@endings.ends_in_a_line("large_set.py", "lower --batch-size or --width")
def main(arguments: list[str]) -> int:
    """Runs the script; returns 0, or 2 for bad input."""
    settings = read(Settings, arguments, "large_set.py")
    out = pathlib.Path(settings.out).absolute()
    count = round(settings.gigabytes * 1e9 / (3 * settings.side**2))
    make_pictures(out / "pictures", count, settings.side)
    with memory_limit.group(round(settings.limit * 1e9)) as group:
        if group is None:
            print(
                "no control group can be made here (run as root): memory is measured, not limited"
            )
        decoded = memory_limit.call(load_on_disk, out, settings.side, within=group)
        print(f"the set is there after {decoded:.1f} s")
        rates: dict[str, list[float]] = {"disk": [], "memory": []}
        for _ in range(settings.turns):
            for kind, within in (("disk", group), ("memory", None)):
                for path in out.glob("kept/*/images.npy"):
                    memory_limit.drop_from_memory(path)
                rate, own, read_from_disk = memory_limit.call(
                    train, out, settings, kind == "disk", within=within
                )
                rates[kind].append(rate)
                print(
                    f"{kind:7} {rate:7.1f} images a second, own memory {own / 1e9:.2f} GB, "
                    f"{read_from_disk / 1e6:.0f} MB read from the disk while it trained"
                )
        if group is not None:
            print(f"the limited group had {memory_limit.peak(group) / 1e9:.2f} GB at most")
    ratios = np.divide(rates["disk"], rates["memory"])
    spread = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"disk over memory: {np.median(ratios):.2f} (median of {spread})")
    return 0


def make_pictures(root: pathlib.Path, count: int, side: int) -> None:
    """Writes pictures as JPEG files, a sub-folder at a time: pieces of two photographs.

    Each is a square of random place, size, colours and orientation. A second start goes on.
    """
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(image) for image in load_sample_images().images]

    def draw(path: pathlib.Path, number: int) -> None:
        random = np.random.RandomState(number)
        photograph = photographs[random.randint(len(photographs))]
        size = random.randint(40, 300)
        left, top = (random.randint(0, whole - size) for whole in photograph.size)
        piece = photograph.crop((left, top, left + size, top + size))
        piece = piece.resize((side, side), Image.Resampling.BICUBIC)
        pixels = np.asarray(piece, np.float32)[:, :: random.choice([-1, 1])]
        pixels = pixels * random.uniform(0.6, 1.1, 3) + random.uniform(-20, 20, 3)
        Image.fromarray(np.uint8(np.clip(pixels, 0, 255))).save(path, quality=90)

    with ThreadPoolExecutor() as pool:
        for start in range(0, count, BLOCK):
            folder, part = root / f"{start // BLOCK:05}", root / ".part"
            if folder.exists():
                continue
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            numbers = range(start, min(start + BLOCK, count))
            list(pool.map(draw, [part / f"{number:08}.jpg" for number in numbers], numbers))
            os.rename(part, folder)


def load_on_disk(out: pathlib.Path, side: int) -> float:
    """Decodes the pictures, where they are not yet; returns the seconds."""
    began = time.perf_counter()
    load(out, side)
    return time.perf_counter() - began


def load(out: pathlib.Path, side: int):
    """The set, on disk however small it is."""
    from jaxgan import data
    from jaxgan.data import rows
    from jaxgan.training import program

    rows.MEMORY_BYTES, program.device_bytes = 0, lambda devices: 0
    kept = out / "kept"
    return data.load(f"folder:{out / 'pictures'}", image_size=side, cache_dir=kept)


def train(out: pathlib.Path, settings: Settings, from_disk: bool) -> tuple[float, int, int]:
    """Trains a DCGAN; returns images a second, bytes of own memory, and bytes read meanwhile.

    The first tenth of the steps is not timed.
    """
    import optax

    import jaxgan
    from jaxgan import losses, networks
    from jaxgan.training import program

    dataset = load(out, settings.side)
    if not from_disk:
        few = PART // (3 * settings.side**2)
        dataset = dataset._replace(train=dataset.train[:few], test=dataset.test[:few])
        program.device_bytes = lambda devices: 2 * PART
    shape = dataset.train.shape[1:]
    pair = networks.dcgan(data_shape=shape, latent_dim=64, width=settings.width)
    adam = optax.adam(2e-4, b1=0.5)
    model = jaxgan.gan(*pair, losses.hinge(), adam, adam, n_critic=1)
    before = memory_limit.bytes_read()
    every = max(1, settings.steps // 10)
    run = jaxgan.fit(
        model,
        dataset,
        settings.steps,
        settings.batch_size,
        log_every=every,
        sample_every=0,
        checkpoint_every=0,
        parallel="jit",
    )
    first, last = run.metrics[0], run.metrics[-1]
    images = settings.batch_size * (last["step"] - first["step"])
    seconds = last["seconds"] - first["seconds"]
    return images / seconds, memory_limit.own_memory(), memory_limit.bytes_read() - before


if __name__ == "__main__":
    script.run(main)
