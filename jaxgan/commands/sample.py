"""Draws from a run: `python experiments/sample.py --workdir=runs/digits-wgan-0`.

The run's folder is all it needs. What it makes goes into `generated/` there, or to --out.
"""

import dataclasses
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from etils import epath
from PIL import Image, ImageDraw, ImageFont

from jaxgan import data, plots
from jaxgan.commands import endings, settings
from jaxgan.commands.command_line import check_seed
from jaxgan.commands.config import Config, check_choice, flag
from jaxgan.commands.flags import given, read
from jaxgan.training import Run, data_record, load

SPLITS = ("train", "held-out")  # of the data
PIECE = 1000  # images of them at a time
GIF_FRAMES, GIF_MILLISECONDS, GIF_LAST_MILLISECONDS = 60, 6000, 2000
OUTPUTS = {
    "grid": "grid.png",
    "npz": "samples.npz",
    "png": "png",
    "train": "train",
    "held-out": "held-out",
    "strips": "strips.png",
    "gif": "progress.gif",
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Draw samples from a trained GAN."""

    workdir: str
    """The run's folder."""
    what: str = "grid"
    """grid: one picture of them all; npz: an array named samples, images in [-1, 1]; png: a folder
    of files; train or held-out: a folder of the data's own images, at the size that is trained on;
    strips: ways from one image to another; gif: the run's progress, from its pictures."""
    n: int | None = None
    """How many samples: by default 64 images or 2,500 points. Of the data: the first N, by default
    all. Of strips, how many of how many images: 8."""
    seed: int = 0
    """Of the latents."""
    seed_index: int = 0
    """Which of the seeds of a run with several, from 0 on."""
    label: int | None = None
    """The class of all samples, of a run with --num-classes; by default of each in turn."""
    best: bool = False
    """The state of the best score, of a run with --score-every, and not the newest."""
    ema: bool = True
    """Draw from the averaged generator; --no-ema: from the one trained last."""
    out: str | None = None
    """The file or the folder to write; by default in generated/ in the run's folder."""
    data_dir: str | None = None
    """Where the data are now, if they were moved."""


@endings.ends_in_a_line("sample.py", "lower --n")
def main(arguments: list[str]) -> int:
    """Runs the command line; returns 0, 2 for bad input, or 130 if interrupted."""
    options = read(Arguments, arguments, "sample.py")
    check_choice("--what", options.what, tuple(OUTPUTS))
    check_effects(options, given(Arguments, arguments))
    check_seed(options.seed)
    if options.n is not None and options.n < 1:
        raise ValueError(f"--n must be at least 1, got {options.n}")
    folder = epath.Path(options.workdir)
    out = epath.Path(options.out or folder / "generated" / OUTPUTS[options.what])
    if options.what == "gif":
        write(out, make_gif(folder))
    elif options.what in SPLITS:
        write_data(out, folder, options)
    else:
        config = settings.of_run(folder)
        run = load(folder, settings.model_of_run(folder), best=options.best)
        make(run if options.ema else run.without_average(), config, options, out)
    print(out)
    return 0


def check_effects(options: Arguments, said: dict[str, Any]) -> None:
    """Raises ValueError for a flag without effect."""
    of_samples = {"seed", "seed_index", "label", "ema", "best"}
    without = {"gif": {*of_samples, "n", "data_dir"}, **dict.fromkeys(SPLITS, of_samples)}
    for name in without.get(options.what, {"data_dir"}) & said.keys():
        raise ValueError(f"{flag(name)} has no effect with --what={options.what}: leave it out.")


def write_data(out: epath.Path, folder: epath.Path, options: Arguments) -> None:
    """Writes the run's training or held-out images into a folder.

    Raises:
      ValueError: if they are points, there are not so many, or the data are not the run's any more.
    """
    config = settings.of_run(folder)
    check_images(config.dataset, data_record.read(folder)["shape"], options.what)
    name, data_dir = settings.locate_data(config, options.data_dir)
    dataset = data.load(name, data_dir, **settings.data_arguments(config))
    if changed := data_record.difference(data_record.read(folder), data_record.describe(dataset)):
        raise ValueError(
            f"the data are others now than those that the run was trained on ({changed})."
        )
    images = dataset.train if options.what == "train" else dataset.test
    if not len(images):
        raise ValueError(f"{dataset.name} has no held-out images.")
    n = len(images) if options.n is None else options.n
    if n > len(images):
        raise ValueError(f"--n={n} is more than the {len(images):,} images of {dataset.name}.")
    pieces = (images[start : min(start + PIECE, n)] for start in range(0, n, PIECE))
    write_folder(out, pieces, n)


def check_images(dataset: str, shape: Sequence[int], what: str) -> None:
    """Raises ValueError if a run's examples, of this shape, are no images."""
    if len(shape) != 3:
        raise ValueError(
            f"--what={what} is for images, and the samples of {dataset} are points: --what=grid "
            "draws them, --what=npz keeps their coordinates."
        )


def make(run: Run, config: Config, options: Arguments, out: epath.Path) -> None:
    """Draws what the options ask for, and writes it.

    Raises:
      ValueError: if the samples are points and images are asked for.
    """
    what, key = options.what, jax.random.key(options.seed)
    points = config.dataset in data.TOYS
    if what in ("png", "strips"):
        check_images(config.dataset, run.model.game.data_shape, what)
    if what == "strips":
        n = options.n or 8
        latents = make_strips(key, n, config.latent_dim)
        labels = choose_labels(options.label, config.num_classes, n)
        labels = None if labels is None else np.repeat(labels, n)
        strips = run.generate(latents, options.seed_index, labels)
        write(out, png_of(plots.image_grid(to_pixels(strips))))
        return
    n = options.n or (2500 if points else 64)
    labels = choose_labels(options.label, config.num_classes, n)
    if what == "png":
        write_folder(out, run.stream(key, n, options.seed_index, labels), n)
        return
    samples = run.sample(key, n, options.seed_index, labels)
    if what == "npz":
        file = io.BytesIO()
        more: dict[str, Any] = {} if labels is None else {"labels": labels}
        np.savez(file, samples=samples, **more)
        write(out, file.getvalue())
    elif points:
        out.parent.mkdir(parents=True, exist_ok=True)
        plots.save_samples(out, samples, data.load(config.dataset))
    else:
        write(out, png_of(plots.image_grid(to_pixels(samples))))


def choose_labels(label: int | None, num_classes: int | None, n: int) -> np.ndarray | None:
    """The classes of n samples: all of one, or the classes in turn; None where there are none.

    Raises:
      ValueError: if the run has no such class.
    """
    if num_classes is None:
        if label is not None:
            raise ValueError("--label has no effect: the run was trained without --num-classes.")
        return None
    if label is None:
        return np.arange(n) % num_classes
    if not 0 <= label < num_classes:
        raise ValueError(f"--label must be from 0 to {num_classes - 1}; got {label}.")
    return np.full(n, label)


def make_strips(key: jax.Array, n: int, latent_dim: int) -> jax.Array:
    """Latents of n strips of n steps, each between two random ones, `[n·n, latent_dim]`."""
    first, last = jax.random.normal(key, (2, n, 1, latent_dim))
    return spherical_interpolation(first, last, jnp.linspace(0, 1, n)[:, None]).reshape(n * n, -1)


def spherical_interpolation(a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
    """From a at t = 0 to b at 1 by equal angles: sin((1−t)ω)/sin ω · a + sin(tω)/sin ω · b.

    A straight line would pass where normal latents hardly ever are, too near to the origin.

    Args:
      a: latents `[..., d]`; all arguments broadcast.
      b: likewise.
      t: `[..., 1]`.

    References:
      White, Sampling Generative Networks, 2016, sec. 2.1. https://arxiv.org/abs/1609.04468
    """
    cosine = jnp.sum(a * b, -1, keepdims=True) / (
        jnp.linalg.norm(a, axis=-1, keepdims=True) * jnp.linalg.norm(b, axis=-1, keepdims=True)
    )
    angle = jnp.arccos(jnp.clip(cosine, -1, 1))
    sine = jnp.sin(angle)
    straight = sine < 1e-4  # parallel latents have no angle between them
    safe = jnp.where(straight, 1, sine)
    weights = [jnp.where(straight, part, jnp.sin(part * angle) / safe) for part in (1 - t, t)]
    return weights[0] * a + weights[1] * b


def make_gif(folder: epath.Path) -> bytes:
    """The pictures of a run's samples one after another, the last one longer.

    Raises:
      ValueError: if the folder holds no run, or no pictures yet.
    """
    settings.of_run(folder)
    steps = {}
    for path in (folder / "samples").glob("step_*.png"):
        if match := re.fullmatch(r"step_(\d+)\.png", path.name):
            steps[int(match[1])] = path
    if not steps:
        raise ValueError(f"{folder} has no pictures of samples yet")
    order = sorted(steps)
    chosen = np.unique(np.linspace(0, len(order) - 1, GIF_FRAMES).round().astype(int))
    frames = [add_caption(steps[order[i]].read_bytes(), f"step {order[i]:,}") for i in chosen]
    each = min(500, max(40, GIF_MILLISECONDS // len(frames)))
    durations = [each] * (len(frames) - 1) + [GIF_LAST_MILLISECONDS]
    file = io.BytesIO()
    frames[0].save(
        file, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0
    )
    return file.getvalue()


def add_caption(png: bytes, text: str) -> Image.Image:
    """The picture with a line of text under it."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    font = ImageFont.load_default(size=max(12, picture.height // 30))
    margin = 4
    height = round(font.getbbox("step 0,")[3]) + 2 * margin
    framed = Image.new("RGB", (picture.width, picture.height + height), "white")
    framed.paste(picture)
    ImageDraw.Draw(framed).text((margin, picture.height + margin), text, fill="black", font=font)
    return framed


def write_folder(out: epath.Path, pieces: Iterable[np.ndarray], n: int) -> None:
    """Writes each of n images, which come in pieces, as a file of its own.

    Raises:
      ValueError: if the folder holds other files, which would be taken for samples.
    """
    digits = max(5, len(str(n - 1)))
    names = [f"{i:0{digits}}.png" for i in range(n)]
    others = {path.name for path in out.iterdir()} - set(names) if out.exists() else set()
    if others:
        raise ValueError(
            f"{out} holds {len(others)} other files, such as {min(others)}: give an empty or a new "
            "--out"
        )
    out.mkdir(parents=True, exist_ok=True)
    images = (image for piece in pieces for image in to_pixels(piece))
    for name, image in zip(names, tqdm.tqdm(images, total=n, delay=2, disable=None), strict=True):
        (out / name).write_bytes(png_of(image))


def to_pixels(samples: jax.Array | np.ndarray) -> np.ndarray:
    """Images as uint8."""
    return data.to_uint8(np.asarray(samples))


def png_of(image: np.ndarray) -> bytes:
    """A PNG file of uint8 [H, W, C], C being 1, 3 or 4."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, format="PNG")
    return file.getvalue()


def write(path: epath.Path, content: bytes) -> None:
    """Writes a file, and the folders it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
