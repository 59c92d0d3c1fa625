"""Samples that are known to be bad: a score by which they are as good as data cannot tell."""

import numpy as np
from scipy.ndimage import gaussian_filter

BLUR = 1 / 8  # of an image's side, a standard deviation: of a digit a stain is left
# As many times the floor has a control to score, for a distance to be one between good and bad.
MARGIN = 1.1


def blur(images: np.ndarray) -> np.ndarray:
    """Images `[n, H, W, C]` with little left of them but colours."""
    _, height, width, _ = images.shape
    sigma = (0, BLUR * height, BLUR * width, 0)
    return gaussian_filter(images, sigma, mode="nearest")
