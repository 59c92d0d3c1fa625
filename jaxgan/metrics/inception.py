"""The Inception-v3 network in whose features FID, KID and others are computed.

It is the network of 2015-12-05, with which the FID of papers is measured: trained by Google for
1,008 classes, ported to PyTorch by others, and no torchvision network. Its weights are not part of
this package: see `jaxgan.metrics.inception_weights`.

References:
  Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2015.
    https://arxiv.org/abs/1512.00567
  Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017. https://arxiv.org/abs/1706.08500
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.data import to_uint8

SIDE = 299
FEATURES = 2048
CLASSES = 1008
BATCH = 50
_EPSILON = 1e-3  # of its BatchNorm
# A GPU and a TPU would round what they multiply.
_EXACT = jax.lax.Precision.HIGHEST

Params = dict[str, tuple[Any, Any]]


class Outputs(NamedTuple):
    """What the network says of images.

    Attributes:
      features: of the last pooling, float32 `[n, 2048]`, those of FID.
      logits: of its classes, `[n, 1008]`, without the bias, as the inception score has them.
    """

    features: Any
    logits: Any


class Inception(NamedTuple):
    """The network with weights: a function from images to `Outputs`, on jax's device.

    Attributes:
      params: its kernels and biases.
      sha256: of the file that they are from.
    """

    params: Params
    sha256: str

    def __call__(self, pixels: Any) -> Outputs:
        """Looks at images `[n, height, width, 1 or 3]`, `BATCH` at a time.

        Grey ones have three equal channels. Floats, from −1 to 1, are rounded to the 256 steps of a
        picture's file first, which other programs would read.

        Raises:
          ValueError: if they are no such images, or there are none.
        """
        if len(np.shape(pixels)) != 4 or np.shape(pixels)[3] not in (1, 3) or not len(pixels):
            raise ValueError(
                "Inception looks at images [n, height, width, 1 or 3], n being at least 1; got "
                f"{np.shape(pixels)}"
            )
        pieces = []
        for start in range(0, len(pixels), BATCH):
            batch = to_uint8(pixels[start : start + BATCH])
            # The last one is as long as the others, so that one program serves all.
            filled = np.zeros((BATCH, *batch.shape[1:3], 3), np.uint8)
            filled[: len(batch)] = batch
            features, logits = _run(self.params, filled)
            pieces.append((np.asarray(features)[: len(batch)], np.asarray(logits)[: len(batch)]))
        return Outputs(*(np.concatenate(column) for column in zip(*pieces, strict=True)))


def apply(params: Params, images: jax.Array) -> Outputs:
    """The network's outputs, a pure function.

    Args:
      params: of each convolution and of "fc", its kernel and bias, with BatchNorm within them.
      images: `[n, height, width, 3]` from 0 to 255, of any size.
    """
    outputs, _ = _network(_convolve(params), params["fc"], resize(images))
    return outputs


_run = jax.jit(apply)


def layers(params: Params, images: jax.Array) -> dict[str, jax.Array]:
    """The output of each block by name, as `apply` passes through them."""
    return _network(_convolve(params), params["fc"], resize(images))[1]


def resize(images: jax.Array) -> jax.Array:
    """Images of 299x299 from −1 to 1, resized as TensorFlow 1 did: bilinear, corners not aligned.

    Output pixel i is at i·(side/299) of the input, with no shift by half a pixel, and images that
    shrink are not smoothed first. FIDs of other resizing are other numbers (Parmar 2021,
    https://arxiv.org/abs/2104.11222).

    Args:
      images: `[n, height, width, 3]` from 0 to 255.
    """
    rows, columns = (jnp.asarray(_weights(side)) for side in images.shape[1:3])
    x = jnp.asarray(images, jnp.float32)
    x = jnp.einsum("ih,nhwc->niwc", rows, x, precision=_EXACT)
    x = jnp.einsum("jw,niwc->nijc", columns, x, precision=_EXACT)
    return (x - 128) / 128


def shapes() -> dict[str, tuple[int, ...]]:
    """The kernel of each convolution, `[height, width, in, out]`, and that of "fc"."""
    found = {}

    def record(x, name, features, size, stride, padding):
        found[name] = (*size, x.shape[-1], features)
        return _convolution(x, jnp.zeros(found[name]), jnp.zeros(features), stride, padding)

    head = (jnp.zeros((FEATURES, CLASSES)), jnp.zeros(CLASSES))
    jax.eval_shape(lambda x: _network(record, head, x), jnp.zeros((1, SIDE, SIDE, 3)))
    return found | {"fc": (FEATURES, CLASSES)}


def from_state_dict(arrays: dict[str, np.ndarray]) -> Params:
    """The parameters of the weights that pytorch-fid and torch-fidelity use.

    Args:
      arrays: by name, as `Mixed_5b.branch1x1.conv.weight`.

    Raises:
      ValueError: if one is missing or has another shape, with what was expected and found.
    """
    params: Params = {}
    for name, shape in shapes().items():
        if name == "fc":
            kernel = _take(arrays, "fc.weight", shape[::-1])
            params[name] = kernel.T, _take(arrays, "fc.bias", shape[1:])
            continue
        kernel = _take(arrays, f"{name}.conv.weight", (shape[3], shape[2], *shape[:2]))
        norm = (f"{name}.bn.{of}" for of in ("weight", "bias", "running_mean", "running_var"))
        scale, bias, mean, variance = (_take(arrays, of, shape[3:]) for of in norm)
        scale = scale / np.sqrt(variance + _EPSILON)
        params[name] = kernel.transpose(2, 3, 1, 0) * scale, bias - mean * scale
    return jax.tree.map(lambda x: np.asarray(x, np.float32), params)


def _take(arrays, name, shape):
    """An array in float64, in which BatchNorm becomes part of the kernels."""
    if name not in arrays:
        raise ValueError(f"there is no {name} among the weights: they are of another network")
    if arrays[name].shape != shape:
        raise ValueError(f"{name} has shape {arrays[name].shape}, and Inception's has {shape}")
    return arrays[name].astype(np.float64)


def _weights(side):
    """The matrix that resizes one axis, `[299, side]`."""
    # In float32, as the original computes where a pixel comes from.
    where = np.arange(SIDE, dtype=np.float32) * np.float32(side / SIDE)
    low = np.minimum(where.astype(int), side - 1)
    high, part = np.minimum(low + 1, side - 1), where - low
    matrix, row = np.zeros((SIDE, side), np.float32), np.arange(SIDE)
    np.add.at(matrix, (row, low), 1 - part)
    np.add.at(matrix, (row, high), part)
    return matrix


def _convolution(x, kernel, bias, stride, padding):
    x = jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=_EXACT,
    )
    return jax.nn.relu(x + bias)


def _convolve(params):
    def convolve(x, name, features, size, stride, padding):
        kernel, bias = params[name]
        return _convolution(x, kernel, bias, stride, padding)

    return convolve


def _network(convolve: Callable, head: tuple, x: Any) -> tuple[Outputs, dict[str, Any]]:
    """The network, over a function that convolves, and what each block leaves."""

    def conv(x, name, features, size=1, stride=1, padding="SAME"):
        size = (size, size) if isinstance(size, int) else size
        return convolve(x, name, features, size, stride, padding)

    found = {}

    def block(name, x):
        found[name] = x
        return x

    x = block("Conv2d_1a_3x3", conv(x, "Conv2d_1a_3x3", 32, 3, 2, "VALID"))
    x = block("Conv2d_2a_3x3", conv(x, "Conv2d_2a_3x3", 32, 3, 1, "VALID"))
    x = block("Conv2d_2b_3x3", conv(x, "Conv2d_2b_3x3", 64, 3))
    x = block("pool_1", _max_pool(x))
    x = block("Conv2d_3b_1x1", conv(x, "Conv2d_3b_1x1", 80))
    x = block("Conv2d_4a_3x3", conv(x, "Conv2d_4a_3x3", 192, 3, 1, "VALID"))
    x = block("pool_2", _max_pool(x))
    for name, pooled in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
        x = block(name, _block_35(conv, x, name, pooled))
    x = block("Mixed_6a", _to_17(conv, x, "Mixed_6a"))
    for name, inner in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        x = block(name, _block_17(conv, x, name, inner))
    x = block("Mixed_7a", _to_8(conv, x, "Mixed_7a"))
    # The graph of 2015 has a maximum in its last block where all others have a mean.
    x = block("Mixed_7b", _block_8(conv, x, "Mixed_7b", _mean_pool))
    x = block("Mixed_7c", _block_8(conv, x, "Mixed_7c", lambda x: _max_pool(x, 1, "SAME")))
    features = x.mean(axis=(1, 2))
    logits = jnp.dot(features, head[0], precision=_EXACT)
    return Outputs(features, logits), found


def _chain(conv, x, name, *steps):
    for branch, *how in steps:
        x = conv(x, f"{name}.{branch}", *how)
    return x


def _join(*parts):
    return jnp.concatenate(parts, axis=-1)


def _block_35(conv, x, name, pooled):
    return _join(
        conv(x, f"{name}.branch1x1", 64),
        _chain(conv, x, name, ("branch5x5_1", 48), ("branch5x5_2", 64, 5)),
        _chain(
            *(conv, x, name, ("branch3x3dbl_1", 64)),
            *(("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)),
        ),
        conv(_mean_pool(x), f"{name}.branch_pool", pooled),
    )


def _to_17(conv, x, name):
    return _join(
        conv(x, f"{name}.branch3x3", 384, 3, 2, "VALID"),
        _chain(
            *(conv, x, name, ("branch3x3dbl_1", 64), ("branch3x3dbl_2", 96, 3)),
            ("branch3x3dbl_3", 96, 3, 2, "VALID"),
        ),
        _max_pool(x),
    )


def _block_17(conv, x, name, inner):
    wide, tall = (1, 7), (7, 1)
    return _join(
        conv(x, f"{name}.branch1x1", 192),
        _chain(
            *(conv, x, name, ("branch7x7_1", inner)),
            *(("branch7x7_2", inner, wide), ("branch7x7_3", 192, tall)),
        ),
        _chain(
            *(conv, x, name, ("branch7x7dbl_1", inner)),
            *(("branch7x7dbl_2", inner, tall), ("branch7x7dbl_3", inner, wide)),
            *(("branch7x7dbl_4", inner, tall), ("branch7x7dbl_5", 192, wide)),
        ),
        conv(_mean_pool(x), f"{name}.branch_pool", 192),
    )


def _to_8(conv, x, name):
    return _join(
        _chain(conv, x, name, ("branch3x3_1", 192), ("branch3x3_2", 320, 3, 2, "VALID")),
        _chain(
            *(conv, x, name, ("branch7x7x3_1", 192), ("branch7x7x3_2", 192, (1, 7))),
            *(("branch7x7x3_3", 192, (7, 1)), ("branch7x7x3_4", 192, 3, 2, "VALID")),
        ),
        _max_pool(x),
    )


def _block_8(conv, x, name, pool):
    def split(x, branch):
        return _join(
            conv(x, f"{name}.{branch}a", 384, (1, 3)), conv(x, f"{name}.{branch}b", 384, (3, 1))
        )

    deep = _chain(conv, x, name, ("branch3x3dbl_1", 448), ("branch3x3dbl_2", 384, 3))
    return _join(
        conv(x, f"{name}.branch1x1", 320),
        split(conv(x, f"{name}.branch3x3_1", 384), "branch3x3_2"),
        split(deep, "branch3x3dbl_3"),
        conv(pool(x), f"{name}.branch_pool", 192),
    )


def _max_pool(x, stride=2, padding="VALID"):
    window, strides = (1, 3, 3, 1), (1, stride, stride, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, padding)


def _mean_pool(x):
    """The mean of the 3x3 pixels around each, of those alone that there are."""
    window, strides = (1, 3, 3, 1), (1, 1, 1, 1)
    total = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, strides, "SAME")
    ones = jnp.ones((1, *x.shape[1:3], 1), x.dtype)
    return total / jax.lax.reduce_window(ones, 0.0, jax.lax.add, window, strides, "SAME")
