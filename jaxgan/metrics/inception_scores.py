"""Scores in the features of Inception-v3, as papers quote them: FID, KID, MIND, precision, recall.

What Inception saw in a set of images is enough for all of them, and small: the moments of all its
features, and ten thousand of them.
"""

import hashlib
import io
import json
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgan import places
from jaxgan.data import images
from jaxgan.metrics.frechet import (
    KernelDistance,
    Moments,
    frechet_of_moments,
    kernel_distance,
    moments,
    monge_distance,
)
from jaxgan.metrics.inception import Inception
from jaxgan.metrics.neighbours import Manifold, precision_recall_density_coverage

KEPT = 10_000  # features of a set, for what needs more than moments
NEIGHBOURS = 5  # of the manifolds: Naeem 2020
BLOCKS = 10  # of the kernel distance
_CHUNK = 500


class Seen(NamedTuple):
    """What Inception saw in a set of images.

    Attributes:
      moments: of the features of all.
      features: of up to `KEPT`, evenly from first to last, float32 `[m, d]`.
      shape: of an image, `(height, width, channels)`.
    """

    moments: Moments
    features: np.ndarray
    shape: tuple[int, int, int]


class InceptionScores(NamedTuple):
    """How far a set of images is from another.

    Attributes:
      fid: the Fréchet distance of all features; None where there are too few for a covariance.
      kid: the kernel distance.
      mind: the Monge distance.
      manifold: precision, recall, density and coverage.
    """

    fid: float | None
    kid: KernelDistance
    mind: float
    manifold: Manifold


def look(network: Inception, pixels: Any, label: str = "Inception") -> Seen:
    """Shows images to Inception, a few at a time, with a progress bar.

    Args:
      network: with its weights, see `jaxgan.metrics.inception_weights`.
      pixels: uint8 or floats from −1 to 1, `[n, height, width, 1 or 3]`; also a set on disk.
      label: of the bar.

    Raises:
      ValueError: if they are no such images, or there are none.
    """
    kept, count = [], max(1, len(pixels))
    # Not the first ones: images of folders come class by class.
    wanted = np.linspace(0, count - 1, min(KEPT, count)).round().astype(int)

    def batches():
        for start in images.bar(range(0, count, _CHUNK), label):
            features = network(pixels[start : start + _CHUNK]).features
            here = wanted[(wanted >= start) & (wanted < start + _CHUNK)]
            kept.append(features[here - start])
            yield features

    return Seen(moments(batches()), np.concatenate(kept), tuple(pixels.shape[1:]))


def look_once(network: Inception, pixels: Any, name: str) -> Seen:
    """`look`, or what it found before, which is kept in the user's cache.

    Args:
      network: as in `look`.
      pixels: likewise.
      name: what tells these images from all others, and is fit for a file.
    """
    path = places.cache("inception", f"{name}-{network.sha256[:12]}.npz")
    try:
        return _read(path)
    except Exception:  # numpy and zipfile raise many kinds for damage: it is made anew
        found = look(network, pixels, name)
    try:
        places.write_whole(path, _bytes(found))
    except OSError as error:
        print(f"cannot keep what Inception saw for the next time: {images.one_line(error)}")
    return found


def compare(samples: Seen, reference: Seen, key: jax.Array) -> InceptionScores:
    """The scores of samples against a reference.

    Args:
      samples: what Inception saw in them.
      reference: what it saw in real images.
      key: a typed PRNG key, for the directions of MIND.

    Raises:
      ValueError: if their images are of different shapes, or there are too few for KID.
    """
    if samples.shape != reference.shape:
        raise ValueError(
            f"samples have shape {samples.shape}, and the reference {reference.shape}: the scores "
            "would tell sizes apart. Resize one of them."
        )
    pair, real, fake = (samples.moments, reference.moments), reference.features, samples.features
    enough = min(m.n for m in pair) > real.shape[1]
    return InceptionScores(
        fid=frechet_of_moments(*pair) if enough else None,
        kid=kernel_distance(fake, real, BLOCKS),
        mind=float(monge_distance(fake, real, key)),
        manifold=precision_recall_density_coverage(real, fake, NEIGHBOURS),
    )


def digest(rows: np.ndarray) -> str:
    """A short name of some rows."""
    return hashlib.sha256(np.ascontiguousarray(rows, np.int64).tobytes()).hexdigest()[:12]


def _bytes(seen: Seen) -> bytes:
    about = json.dumps({"n": seen.moments.n, "shape": seen.shape})
    file = io.BytesIO()
    np.savez(
        file,
        about=np.array(about),
        features=seen.features,
        mean=seen.moments.mean,
        scatter=seen.moments.scatter,
    )
    return file.getvalue()


def _read(path: pathlib.Path) -> Seen:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        about = json.loads(file["about"].item())
        found = Moments(about["n"], file["mean"], file["scatter"])
        height, width, channels = about["shape"]
        return Seen(found, file["features"], (height, width, channels))
