"""Draws from a run: `python experiments/sample.py --workdir=runs/digits-wgan-0`.

The run's folder is all it needs. What it makes goes into `generated/` there, or to --out.
"""

import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jaxgan import data, latents, plots
from jaxgan.commands import endings, projection, settings
from jaxgan.commands.command_line import check_seed
from jaxgan.commands.config import Config, check_choice, flag
from jaxgan.commands.flags import given, read
from jaxgan.commands.pictures import to_pixels, write, write_folder
from jaxgan.commands.progress import make_gif
from jaxgan.data import Dataset
from jaxgan.data.images import enumerate_some
from jaxgan.training import Run, data_record, load

SPLITS = ("train", "held-out")  # of the data
PIECE = 1000  # images of them at a time
OUTPUTS = {
    "grid": "grid.png",
    "npz": "samples.npz",
    "png": "png",
    "train": "train",
    "held-out": "held-out",
    "strips": "strips.png",
    "classes": "classes.png",
    "projection": "projection.png",
    "gif": "progress.gif",
}
# Which flags have an effect, beside --workdir, --what and --out.
_OF_STATE = {"n", "seed", "seed_index", "best", "ema"}
_OF_SAMPLES = {*_OF_STATE, "label", "truncation"}
EFFECTS = dict.fromkeys(("grid", "npz", "png", "strips"), _OF_SAMPLES) | {
    "classes": _OF_SAMPLES - {"label"},
    "projection": {*_OF_STATE, "label", "images", "data_dir"},
    "train": {"n", "data_dir"},
    "held-out": {"n", "data_dir"},
    "gif": set(),
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Draw samples from a trained GAN."""

    workdir: str
    """The run's folder."""
    what: str = "grid"
    """grid: one picture of them all; npz: an array named samples, images in [-1, 1]; png: a folder
    of files; train or held-out: a folder of the data's own images, at the size that is trained on;
    strips: ways from one image to another; classes: a row for each latent, a column for each class;
    projection: images, and the samples nearest to them; gif: the run's progress, from its
    pictures."""
    n: int | None = None
    """How many samples: by default 64 images or 2,500 points. Of the data: the first N, by default
    all. Of strips, how many of how many images: 8. Of classes, rows: 8. Of a projection, the first
    N: 8 images or 200 points."""
    seed: int = 0
    """Of the latents."""
    seed_index: int = 0
    """Which of the seeds of a run with several, from 0 on."""
    label: str | None = None
    """The class of all samples, its name or its number, of a run with --num-classes; by default
    each in turn. Of a projection, that of all images; by default their own, or the nearest."""
    truncation: float | None = None
    """Latents beyond +-X are drawn again: at 0.5 to 2 samples are more typical and vary less."""
    images: str | None = None
    """To project: a .npy or .npz file, an image or a folder; by default data that were held out."""
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
    if options.truncation is not None and not 0 < options.truncation < float("inf"):
        raise ValueError(f"--truncation must be a positive number, got {options.truncation}")
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
    if options.what != "projection":  # which says more
        print(out)
    return 0


def check_effects(options: Arguments, said: dict[str, Any]) -> None:
    """Raises ValueError for a flag without effect."""
    for name in said.keys() - {"workdir", "what", "out", *EFFECTS[options.what]}:
        raise ValueError(f"{flag(name)} has no effect with --what={options.what}: leave it out.")
    if options.images and "data_dir" in said:
        raise ValueError("--data-dir has no effect with --images: leave it out.")


def write_data(out: epath.Path, folder: epath.Path, options: Arguments) -> None:
    """Writes the run's training or held-out images into a folder.

    Raises:
      ValueError: if they are points, there are not so many, or the data are not the run's any more.
    """
    config = settings.of_run(folder)
    check_images(config.dataset, data_record.read(folder)["shape"], options.what)
    dataset = load_data(folder, config, options.data_dir)
    images = dataset.train if options.what == "train" else dataset.test
    if not len(images):
        raise ValueError(f"{dataset.name} has no held-out images.")
    n = len(images) if options.n is None else options.n
    if n > len(images):
        raise ValueError(f"--n={n} is more than the {len(images):,} images of {dataset.name}.")
    pieces = (images[start : min(start + PIECE, n)] for start in range(0, n, PIECE))
    write_folder(out, pieces, n)


def load_data(folder: epath.Path, config: Config, data_dir: str | None) -> Dataset:
    """The data that the run in a folder was trained on.

    Raises:
      ValueError: if they are not there, or others than they were.
    """
    name, data_dir = settings.locate_data(config, data_dir)
    dataset = data.load(name, data_dir, **settings.data_arguments(config))
    if changed := data_record.difference(data_record.read(folder), data_record.describe(dataset)):
        raise ValueError(
            f"the data are others now than those that the run was trained on ({changed})."
        )
    return dataset


def check_images(dataset: str, shape: Sequence[int], what: str) -> None:
    """Raises ValueError if a run's examples, of this shape, are no images."""
    if len(shape) not in (2, 3):
        drawn = "--what=grid draws them, " if plots.can_draw(tuple(shape)) else ""
        raise ValueError(
            f"--what={what} is for images, and the samples of {dataset} are points: {drawn}"
            "--what=npz keeps their coordinates."
        )


def make(run: Run, config: Config, options: Arguments, out: epath.Path) -> None:
    """Draws what the options ask for, and writes it.

    Raises:
      ValueError: if the samples are points and images are asked for.
    """
    what, key, shape = options.what, jax.random.key(options.seed), run.model.game.data_shape
    if what in ("png", "strips", "classes") or (what == "grid" and not plots.can_draw(shape)):
        check_images(config.dataset, shape, what)
    if what == "projection":
        project(run, config, options, out)
        return
    if what in ("strips", "classes"):
        n = options.n or 8
        make_grid = make_strips if what == "strips" else make_classes
        write(out, plots.png_of(make_grid(run, key, n, options)))
        return
    n = options.n or (2500 if len(shape) == 1 else 64)
    labels = choose_labels(options.label, config.num_classes, n, run.class_names)
    drawn = key, n, options.seed_index, labels, options.truncation
    if what == "png":
        write_folder(out, run.stream(*drawn), n)
        return
    samples = run.sample(*drawn)
    if what == "npz":
        file = io.BytesIO()
        more: dict[str, Any] = {} if labels is None else {"labels": labels}
        np.savez(file, samples=samples, **more)
        write(out, file.getvalue())
    elif len(shape) == 1:
        out.parent.mkdir(parents=True, exist_ok=True)
        plots.save_samples(out, samples, data.load(config.dataset))
    else:
        write(out, plots.png_of(plots.image_grid(to_pixels(samples))))


def choose_labels(
    label: str | None, num_classes: int | None, n: int, names: tuple[str, ...] | None = None
) -> np.ndarray | None:
    """The classes of n samples: all of one, or the classes in turn; None where there are none.

    A label is one of the names; or else a number.

    Raises:
      ValueError: if the run has no such class.
    """
    if num_classes is None:
        if label is not None:
            raise ValueError("--label has no effect: the run was trained without --num-classes.")
        return None
    if label is None:
        return np.arange(n) % num_classes
    digits = tuple(map(str, range(num_classes)))
    numbers = {each: i for those in (digits, names or ()) for i, each in enumerate(those)}
    if label in numbers:
        return np.full(n, numbers[label])
    if names in (None, digits):
        raise ValueError(f"--label must be from 0 to {num_classes - 1}; got {label}.")
    known = enumerate_some([f"{number} {name}" for number, name in enumerate(names)], 20)
    raise ValueError(f"--label={label} is no class of this run: {known}.")


def make_strips(run: Run, key: jax.Array, n: int, options: Arguments) -> np.ndarray:
    """A picture of n strips of n images, each strip between two random samples."""
    labels = choose_labels(options.label, run.model.game.num_classes, n, run.class_names)
    first, last = draw_latents(run, key, 2 * n, options.truncation).reshape(2, n, 1, -1)
    strips = latents.spherical_interpolation(first, last, jnp.linspace(0, 1, n)[:, None])
    labels = None if labels is None else np.repeat(labels, n)
    images = run.generate(strips.reshape(n * n, -1), options.seed_index, labels)
    return plots.image_grid(to_pixels(images))


def make_classes(run: Run, key: jax.Array, n: int, options: Arguments) -> np.ndarray:
    """A picture of n rows: a latent with each class.

    Raises:
      ValueError: if the run has no classes.
    """
    num_classes = run.model.game.num_classes
    if num_classes is None:
        raise ValueError("--what=classes is for a run with --num-classes, and this has no classes.")
    rows, labels = latents.class_grid(draw_latents(run, key, n, options.truncation), num_classes)
    images = run.generate(rows, options.seed_index, labels)
    return plots.image_grid(to_pixels(images), columns=num_classes)


def draw_latents(run: Run, key: jax.Array, n: int, truncation: float | None) -> jax.Array:
    """Normal latents `[n, d]`, truncated where that is asked for."""
    z = jax.random.normal(key, (n, run.model.game.generator.latent_dim))
    return z if truncation is None else latents.truncate(key, z, truncation)


def project(run: Run, config: Config, options: Arguments, out: epath.Path) -> None:
    """Projects the images that the options name; writes a picture, and arrays beside it.

    Raises:
      ValueError: if there are none such, or not so many.
    """
    game = run.model.game
    if options.images is None:
        dataset = load_data(epath.Path(options.workdir), config, options.data_dir)
        x, labels = projection.first_of(dataset, options.n)
    else:
        x, labels = projection.read_images(options.images, game.data_shape, options.n)
    if options.label is not None or game.num_classes is None:
        labels = choose_labels(options.label, game.num_classes, len(x), run.class_names)
    key = jax.random.key(options.seed)
    found = latents.project(run, x, key=key, labels=labels, seed_index=options.seed_index)
    projection.save(out, x, found)
