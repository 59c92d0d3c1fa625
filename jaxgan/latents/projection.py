"""Projection: the latents whose samples are nearest to given images."""

import functools
import math
from numbers import Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special

from jaxgan.data.images import bar
from jaxgan.losses.base import check_count, check_key, check_positive
from jaxgan.networks.network import Network
from jaxgan.state import averaged_variables
from jaxgan.training import Run
from jaxgan.training.run import check_examples

# Generator passes at once: of few small samples as many, of large ones so many values.
ROWS, ROW_VALUES = 512, 2**20


class Projection(NamedTuple):
    """What `project` found for N images, as numpy arrays.

    An error is the root of the mean squared difference to the image. Images, of uint8 too, are in
    [-1, 1]: there black and white are 2 apart.

    Attributes:
      latents: `[N, d]`.
      samples: what the generator makes of them, `[N, *data_shape]`.
      errors: of the samples, `[N]`.
      start_errors: of what each start led to, in the class of the sample, the best first,
        `[N, starts]`. Where they agree, more starts will hardly help.
      random_errors: of the nearest of the random samples that the search began with, `[N]`.
      labels: the classes of the samples, given or found, `[N]`; None without classes.
      class_errors: the least error in each class, `[N, num_classes]`, where all were tried.
    """

    latents: np.ndarray
    samples: np.ndarray
    errors: np.ndarray
    start_errors: np.ndarray
    random_errors: np.ndarray
    labels: np.ndarray | None = None
    class_errors: np.ndarray | None = None


def project(
    run: Run,
    images: Any,
    *,
    key: jax.Array,
    starts: int = 8,
    steps: int = 300,
    labels: Any = None,
    seed_index: int = 0,
    within: float = 0.999,
    learning_rate: float = 0.3,
) -> Projection:
    """Finds the latents whose samples are nearest to images: min over z of ‖G(z) − x‖².

    The search looks at starts·steps random samples. From the nearest of them, as many as there are
    starts, Adam descends at a rate that falls to 0 along a cosine; the best latent on the way
    counts. Least squares alone would leave the latents that the generator was trained on, for what
    these cannot make. So each step ends at a norm that those have: √d nearly, in many dimensions.

    Args:
      run: its averaged generator is searched; that of `run.without_average()` is the last.
      images: `[N, *data_shape]`, uint8, in [-1, 1], or points.
      key: a typed PRNG key. What is found for an image does not depend on the others.
      starts: latents to descend from, for each image and class.
      steps: of Adam, from each.
      labels: the classes of the images, `[N]` or one for all. Without them a conditional GAN tries
        every class and takes the best.
      seed_index: which of the run's seeds, from 0 on.
      within: the share of normal latents whose norms are allowed, as many shorter ones left out as
        longer ones; 1 allows every latent.
      learning_rate: Adam's first.

    Raises:
      ValueError: if images or labels do not fit the run, a number is out of range, or the
        generator's samples are not finite.

    References:
      Creswell and Bharath, Inverting The Generator Of A Generative Adversarial Network, 2016: the
        descent. https://arxiv.org/abs/1611.05644
      Lipton and Tripathi, Precise Recovery of Latent Vectors from Generative Adversarial Networks,
        2017: why latents must stay where the generator was trained. Theirs are uniform, and clipped
        number by number. https://arxiv.org/abs/1702.04782
      Bojanowski et al., Optimizing the Latent Space of Generative Networks, 2017: the norm, after
        each step. https://arxiv.org/abs/1707.05776
    """
    check_key(key)
    check_count("starts", starts)
    check_count("steps", steps)
    check_positive("learning_rate", learning_rate)
    game = run.model.game
    x = check_examples("images", images, game)
    classes = run.classes(labels, len(x))
    tried = _classes_to_try(classes, len(x), game.num_classes)
    search = _Search(
        game.generator,
        averaged_variables(run.one(seed_index)),
        _norms(within, game.generator.latent_dim),
        starts,
        steps,
        learning_rate,
    )
    first, random_errors = search.look_around(x, tried, key)
    z, errors = search.descend(x, tried, first)
    if not np.isfinite(errors).all():
        raise ValueError("the generator's samples are not finite: its run has diverged.")
    rows = np.arange(len(x))
    best = errors.min(axis=2).argmin(axis=1)  # of the classes tried
    z = z[rows, best, errors[rows, best].argmin(axis=1)]
    found = None if tried is None else tried[rows, best]
    return Projection(
        latents=z,
        samples=np.asarray(run.generate(z, seed_index, found)),
        errors=errors[rows, best].min(axis=1),
        start_errors=np.sort(errors[rows, best], axis=1),
        random_errors=random_errors.min(axis=1),
        labels=found,
        class_errors=errors.min(axis=2) if tried is not None and classes is None else None,
    )


class _Search(NamedTuple):
    """The search for the latents of images x `[N, ...]`, in the classes tried `[N, K]`.

    Attributes:
      generator: the network.
      variables: its parameters and statistics.
      norms: the least and the greatest that a latent may have.
      starts: for each image and class.
      steps: from each start.
      learning_rate: Adam's first.
    """

    generator: Network
    variables: Any
    norms: tuple[float, float]
    starts: int
    steps: int
    learning_rate: float

    def look_around(self, x, tried, key):
        """Of starts·steps random latents the nearest, `[N, K, starts, d]`; their least error."""
        drawn = jax.random.normal(key, (self.starts * self.steps, self.generator.latent_dim))
        z = np.asarray(_bound_norms(drawn, self.norms))
        at_once = min(len(z), self._rows(x))
        run = jax.jit(functools.partial(_errors_of_all, self.generator))
        first = np.empty((*self._choices(x, tried), self.starts, z.shape[1]), np.float32)
        least = np.empty(first.shape[:2], np.float32)
        for label in [None] if tried is None else np.unique(tried):
            errors = np.empty((len(x), len(z)), np.float32)
            labels = None if label is None else np.full(at_once, label)
            for start in bar(range(0, len(z), at_once), "drawing random samples"):
                piece = slice(max(0, min(start, len(z) - at_once)), start + at_once)
                errors[:, piece] = run(self.variables, z[piece], labels, x)
            nearest = np.argpartition(errors, self.starts - 1, axis=1)[:, : self.starts]
            for column in range(first.shape[1]):
                rows = slice(None) if label is None else tried[:, column] == label
                first[rows, column] = z[nearest[rows]]
                least[rows, column] = errors[rows].min(axis=1)
        return first, least

    def descend(self, x, tried, first):
        """The latents that these lead to, `[N, K, starts, d]`, and their errors, without d."""
        n, k, starts, d = first.shape
        at_once = min(n, max(1, self._rows(x) // (k * starts)))
        run = jax.jit(functools.partial(_descend, self.generator, self.norms, self.steps))
        pieces = []
        for start in bar(range(0, n, at_once), "projecting"):
            # Of one size, so that one program serves them all.
            chosen = np.resize(np.arange(start, min(start + at_once, n)), at_once)
            labels = None if tried is None else np.repeat(tried[chosen].ravel(), starts)
            targets = jnp.repeat(x[chosen], k * starts, axis=0)
            found = run(
                self.variables, targets, first[chosen].reshape(-1, d), labels, self.learning_rate
            )
            pieces.append([part.reshape(at_once, k, starts, -1) for part in jax.device_get(found)])
        z, errors = (np.concatenate(parts)[:n] for parts in zip(*pieces, strict=True))
        return z, errors[..., 0]

    def _rows(self, x):
        return max(1, min(ROWS, ROW_VALUES // x[0].size))

    def _choices(self, x, tried):
        return (len(x), 1) if tried is None else tried.shape


def _descend(generator, norms, steps, variables, x, z, labels, learning_rate):
    """The best latents on the way from z `[R, d]` to x `[R, ...]`, and their errors `[R]`."""

    def squared_errors(z):
        return _mean_squares(_generate(generator, variables, z, labels) - x)

    tx = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def step(carry, _):
        z, state, best = carry
        # A row's error has no other row in it: the gradient of their sum holds that of each.
        gradient, errors = jax.grad(lambda z: (jnp.sum(e := squared_errors(z)), e), has_aux=True)(z)
        best = _better(best, (z, errors))
        updates, state = tx.update(gradient, state)
        return (_bound_norms(z + updates, norms), state, best), None

    z = _bound_norms(z, norms)
    nothing = jnp.full(len(z), jnp.inf)
    (z, _, best), _ = jax.lax.scan(step, (z, tx.init(z), (z, nothing)), length=steps)
    z, errors = _better(best, (z, squared_errors(z)))
    return z, jnp.sqrt(errors)


def _better(a, b):
    """Of two pairs of latents and errors the better, row by row. NaN never is."""
    wins = b[1] < a[1]
    return jnp.where(wins[:, None], b[0], a[0]), jnp.where(wins, b[1], a[1])


def _generate(generator, variables, z, labels):
    inputs = (z,) if labels is None else (z, labels)
    return generator.apply(*variables, inputs, train=False)[0].astype(jnp.float32)


def _mean_squares(differences):
    return jnp.mean(differences**2, axis=tuple(range(1, differences.ndim)))


def _bound_norms(z, norms):
    """The nearest latents whose norm is in this range."""
    norm = jnp.linalg.norm(z, axis=1, keepdims=True)
    return z * (jnp.clip(norm, *norms) / jnp.where(norm > 0, norm, 1))


def _norms(within: float, latent_dim: int) -> tuple[float, float]:
    """The norms of the middle share of normal latents: quantiles of χ with d degrees of freedom."""
    if not (isinstance(within, Real) and 0 < within <= 1) or isinstance(within, bool):
        raise ValueError(f"within must be in (0, 1], where 1 allows every latent; got {within}.")
    if within == 1:
        return 0.0, math.inf
    ends = [(1 - within) / 2, (1 + within) / 2]
    low, high = np.sqrt(2 * special.gammaincinv(latent_dim / 2, ends))
    return float(low), float(high)


def _errors_of_all(generator, variables, z, labels, x):
    """Of every sample to every one of x, `[N, len(z)]`."""
    made = _generate(generator, variables, z, labels)
    return jnp.sqrt(jax.lax.map(lambda image: _mean_squares(made - image), x))


def _classes_to_try(labels, n, num_classes):
    """The classes of each image, `[N, K]`; None without classes."""
    if num_classes is None:
        return None
    if labels is not None:
        return labels[:, None]
    return np.tile(np.arange(num_classes), (n, 1))
