"""The 2-D toys."""

import itertools

import numpy as np

from jaxgan.data.dataset import Dataset

TOYS = ("ring8", "grid25", "swissroll")


def load_toy(name: str) -> Dataset:
    """Draws 110,000 points from seed 0; the last 10,000 are held out.

    `ring8` and `grid25` are the mixtures of VEEGAN (Srivastava et al. 2017, sec. 4.1) with the
    constants and the number of points in PacGAN's code, so that tables compare; labels are
    the mode. `swissroll` is the one of WGAN-GP.

    References:
      https://arxiv.org/abs/1705.07761, https://arxiv.org/abs/1712.04086;
      `synthetic_data_experiments/*/config.py` in https://github.com/fjxmlzn/PacGAN;
      `gan_toy.py` in https://github.com/igul222/improved_wgan_training.
    """
    n_train, n_test = 100_000, 10_000
    random = np.random.RandomState(0)  # frozen, unlike Generator: the same under every numpy
    if name == "swissroll":
        points = _swiss_roll(n_train + n_test, random) / 7.5  # "stdev plus a little"
        points = points.astype(np.float32)
        return Dataset(name, points[:n_train], points[n_train:])
    if name == "ring8":
        angles = 2 * np.pi * np.arange(8) / 8
        modes, sigma = np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.01
    else:
        axis = (-4.0, -2.0, 0.0, 2.0, 4.0)
        modes, sigma = np.array(list(itertools.product(axis, axis))), 0.05
    labels = random.randint(len(modes), size=n_train + n_test).astype(np.int32)
    noise = sigma * random.standard_normal((n_train + n_test, 2))
    (train, test), (train_labels, test_labels) = (
        np.split(x, [n_train]) for x in (np.float32(modes[labels] + noise), labels)
    )
    return Dataset(name, train, test, train_labels, test_labels, modes.astype(np.float32), sigma)


def _swiss_roll(count: int, random: np.random.RandomState) -> np.ndarray:
    """Points `[count, 2]` of a spiral: scikit-learn's `make_swiss_roll`, noise 0.25, without y."""
    turn = 1.5 * np.pi * (1 + 2 * random.uniform(size=count))
    random.uniform(size=count)  # y's: what is drawn after it stays the same
    noise = 0.25 * random.standard_normal((3, count))
    return np.stack([turn * np.cos(turn) + noise[0], turn * np.sin(turn) + noise[2]], axis=1)
