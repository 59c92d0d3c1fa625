"""A small convolutional network trained on a data set's own labels, to score samples with.

Its classes count modes, its certainty gives a score, and its last hidden layer gives features in
which distances say more than in pixels. It is trained once, in a minute or two on a CPU, and kept
in the user's cache. Scores depend on it, so they compare only under the same classifier: those
that published tables call FID and inception score are of another network.

References:
  LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998.
  Salimans et al., Improved Techniques for Training GANs, 2016. https://arxiv.org/abs/1606.03498
"""

import functools
import io
import json
import pathlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util
from scipy.special import rel_entr

from jaxgan import distances, places
from jaxgan.data import Dataset, batch_indices, fingerprint, images, to_float
from jaxgan.data.device import device_bytes
from jaxgan.networks.conv import Conv

FEATURES = 64
VERSION = 1  # of all that decides the parameters, but for the data: raise it with any change
STEPS, CHUNK, BATCH = 3000, 100, 128
LEARNING_RATE = 4e-3


class Outputs(NamedTuple):
    """What the classifier says of n images.

    Attributes:
      features: activations of its last hidden layer, float32 `[n, FEATURES]`, in such a unit that
        their mean square over the training images is 1.
      probabilities: of the classes, float32 `[n, K]`.
    """

    features: np.ndarray
    probabilities: np.ndarray


class Classifier(NamedTuple):
    """A trained classifier: a function from images to `Outputs`.

    Attributes:
      params: of `Network`.
      unit: of the features.
      classes: how many there are, K.
      test_accuracy: the fraction of the held-out images that it gets right.
    """

    params: Any
    unit: float
    classes: int
    test_accuracy: float

    def __call__(self, pixels: Any) -> Outputs:
        """Classifies uint8 or float images `[n, H, W, C]`, a thousand at a time."""
        pieces = [
            _outputs(self.params, self.unit, self.classes, to_float(pixels[start : start + 1000]))
            for start in range(0, len(pixels), 1000)
        ]
        return Outputs(*(np.concatenate(column) for column in zip(*pieces, strict=True)))


class Network(nn.Module):
    """5×5 convolutions that halve the side to 8 or less, a hidden layer, and scores of classes."""

    classes: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Maps images `[B, H, W, C]` to features `[B, FEATURES]` and logits `[B, classes]`."""
        layer = 0
        while layer < 2 or min(x.shape[1:3]) > 8:
            strides = tuple(2 if side > 7 else 1 for side in x.shape[1:3])
            x = nn.relu(Conv(min(32 * 2**layer, 128), (5, 5), strides)(x))
            layer += 1
        x = nn.Dropout(0.5, deterministic=not train)(x.reshape(len(x), -1))
        features = nn.relu(nn.Dense(FEATURES)(x))
        return features, nn.Dense(self.classes)(features)


def load(dataset: Dataset, log: Callable[[str], None] = print) -> Classifier:
    """The classifier of a labelled set of images, from the cache or else trained and cached.

    The cache is `$XDG_CACHE_HOME/jaxgan/classifiers`, by default in `~/.cache`. A file of it
    belongs to one data set, to the pixel, and one version of this module.

    Args:
      dataset: its training images are learned, its held-out ones only measure.
      log: called with a line when a classifier is trained, or cannot be cached.

    Raises:
      ValueError: if the data are no images or have no labels.
    """
    name = re.sub(r"[^\w.-]", "-", dataset.name)
    _labels(dataset)
    path = places.cache("classifiers") / f"{name}-v{VERSION}-{fingerprint(dataset)}.npz"
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except Exception as error:  # numpy and zipfile raise many kinds for damage
        log(f"cannot read {path}, which is made anew: {images.one_line(error)}")
    log(f"training a classifier on the labels of {dataset.name}, once")
    classifier = train(dataset, steps=STEPS)
    log(f"it gets {classifier.test_accuracy:.2%} of the held-out images right")
    try:
        _write(path, classifier)
    except OSError as error:
        log(f"cannot keep it for the next time: {images.one_line(error)}")
    return classifier


def train(dataset: Dataset, seed: int = 0, steps: int = STEPS) -> Classifier:
    """Trains a classifier: Adam, one cycle of the learning rate, shifts by up to a twelfth.

    Raises:
      ValueError: if the data are no images or have no labels.
    """
    labels, test_labels = _labels(dataset)
    size, classes = len(dataset.train), 1 + int(max(labels.max(), test_labels.max()))
    network = Network(classes)
    schedule = optax.cosine_onecycle_schedule(steps, LEARNING_RATE)
    tx = optax.adam(schedule)
    init_key, key = jax.random.split(jax.random.key(seed))
    params = network.init(init_key, to_float(dataset.train[:1]))["params"]

    def loss(params, key, x, y):
        shift_key, dropout_key = jax.random.split(key)
        x = _shift(shift_key, x)
        _, logits = network.apply({"params": params}, x, train=True, rngs={"dropout": dropout_key})
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @functools.partial(jax.jit, donate_argnums=0)
    def run(state, data, labels, batches, first):
        def step(state, batch):
            params, opt_state, index = state
            step_key = jax.random.fold_in(key, index)
            gradients = jax.grad(loss)(params, step_key, to_float(data[batch]), labels[batch])
            updates, opt_state = tx.update(gradients, opt_state)
            return (optax.apply_updates(params, updates), opt_state, index + 1), None

        return jax.lax.scan(step, (*state, first), batches)[0][:2]

    state = params, tx.init(params)
    whole = dataset.train.nbytes <= device_bytes(jax.local_devices()[:1])
    data, device_labels = jnp.asarray(dataset.train[:] if whole else []), jnp.asarray(labels)
    chunk = min(CHUNK, steps)
    for first in images.bar(range(0, steps, chunk), f"classifier of {dataset.name}"):
        count = min(chunk, steps - first)
        batches = batch_indices(seed, first, count, 1, min(BATCH, size), size)[:, 0]
        if not whole:  # of what is too large for the device the chunk's own rows
            rows = batches.ravel()
            data, device_labels = jnp.asarray(dataset.train[rows]), jnp.asarray(labels[rows])
            batches = np.arange(len(rows)).reshape(batches.shape)
        state = run(state, data, device_labels, batches, first)
    classifier = Classifier(jax.device_get(state[0]), 1.0, classes, test_accuracy=0.0)
    some = classifier(dataset.train[:10_000]).features
    classifier = classifier._replace(unit=float(np.sqrt(np.mean(some**2, dtype=np.float64))))
    predicted = classifier(dataset.test).probabilities.argmax(axis=1)
    return classifier._replace(test_accuracy=float(np.mean(predicted == test_labels)))


def classifier_score(probabilities: Any) -> float:
    """exp E KL(p(y|x) ‖ p(y)): from 1, when each sample is classified alike, to K.

    High where the classifier is certain of each sample and all classes are equally frequent. With
    the probabilities of Inception-v3 it is the inception score.

    Args:
      probabilities: p(y|x), `[n, K]`.

    Raises:
      ValueError: if they are not `[n, K]`, or rows are no distributions.

    References:
      Salimans 2016, sec. 4.
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or not p.size:
        raise ValueError(f"probabilities must be [n, K], got shape {p.shape}")
    distances.entropy(p)  # checks that rows are distributions
    # In float64: in float32 the mean of very small probabilities would be 0, and the answer ∞.
    return float(np.exp(np.mean(np.sum(rel_entr(p, p.mean(axis=0)), axis=1))))


@functools.partial(jax.jit, static_argnums=2)
def _outputs(params, unit, classes, x):
    outputs: Any = Network(classes).apply({"params": params}, x)
    return outputs[0] / unit, jax.nn.softmax(outputs[1])


def _shift(key, x):
    """Moves each image by up to a twelfth of its side in each direction, its edges repeated."""
    reach = [max(1, side // 12) for side in x.shape[1:3]]
    padded = jnp.pad(x, [(0, 0), *((r, r) for r in reach), (0, 0)], mode="edge")
    keys = jax.random.split(key, 2)
    rows, columns = (
        jax.random.randint(k, x.shape[:1], 0, 2 * r + 1) for k, r in zip(keys, reach, strict=True)
    )
    return jax.vmap(lambda image, i, j: jax.lax.dynamic_slice(image, (i, j, 0), x.shape[1:]))(
        padded, rows, columns
    )


def _labels(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    if dataset.train.ndim != 4 or dataset.train_labels is None or dataset.test_labels is None:
        raise ValueError(f"a classifier needs labelled images, and {dataset.name} has none")
    return dataset.train_labels, dataset.test_labels


def _read(path: pathlib.Path) -> Classifier:
    # Of a damaged file that it opened itself numpy would leave the handle open.
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        about = json.loads(file["about"].item())
        leaves = {name: file[name] for name in file.files if name != "about"}
    params = traverse_util.unflatten_dict(leaves, sep="/")
    return Classifier(params, **about)


def _write(path: pathlib.Path, classifier: Classifier) -> None:
    about = {name: value for name, value in classifier._asdict().items() if name != "params"}
    leaves = traverse_util.flatten_dict(classifier.params, sep="/")
    buffer = io.BytesIO()
    np.savez(buffer, about=np.array(json.dumps(about)), **leaves)
    places.write_whole(path, buffer.getvalue())
