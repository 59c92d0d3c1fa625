"""How much arithmetic an iteration needs: that of plain flax's gradients, in matrix products.

Each layer's forward pass, its gradient with respect to its input and that with respect to its
weights are each as large. ReLU's second derivative is 0, so nothing flows back through the forward
pass of a gradient penalty. Element-wise work, normalisation, noise and optimizers do not count:
they are a few per cent of the whole.
"""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.plain_flax import PlainFlax
from benchmarks.workloads import Workload


def count_operations(workload: Workload) -> tuple[int, int]:
    """Floating-point operations of one iteration's matrix products and convolutions.

    Returns:
      With a kernel's products with the zeros around the image, as is usual for convolutions and as
      every kernel here computes them; and only those with pixels.
    """
    config, model = workload.config, PlainFlax(workload)
    critic, generator = jax.eval_shape(model.start)
    z, real, epsilon = (
        jax.ShapeDtypeStruct((config.batch_size, *shape), jnp.float32)
        for shape in ((config.latent_dim,), workload.data_shape, ())
    )
    d_program = jax.make_jaxpr(model.d_gradient)(critic, generator, real, z, epsilon)
    g_program = jax.make_jaxpr(model.g_gradient)(generator, critic, z)
    all_products, on_pixels = (
        config.n_critic * count(d_program.jaxpr, padding) + count(g_program.jaxpr, padding)
        for padding in (True, False)
    )
    return all_products, on_pixels


def count(program: Any, padding: bool) -> int:
    """Operations of a jaxpr's products, two for each: one multiplies, one adds."""
    total = 0
    for equation in program.eqns:
        total += 2 * _products(equation, padding)
        total += sum(count(inner, padding) for inner in _inside(equation))
    return total


def _inside(equation) -> Iterator[Any]:
    """The programs that an equation calls."""
    for parameter in equation.params.values():
        for each in parameter if isinstance(parameter, tuple | list) else (parameter,):
            inner = getattr(each, "jaxpr", each)
            if hasattr(inner, "eqns"):
                yield inner


def _products(equation, padding):
    """The products of two numbers that an equation adds up."""
    out, parameters = equation.outvars[0].aval, equation.params
    if equation.primitive.name == "dot_general":
        (summed, _), _ = parameters["dimension_numbers"]
        return out.size * math.prod(equation.invars[0].aval.shape[axis] for axis in summed)
    if equation.primitive.name != "conv_general_dilated":
        return 0
    image, kernel = (variable.aval.shape for variable in equation.invars)
    of_image, of_kernel, of_out = parameters["dimension_numbers"]
    taps = [
        _taps(image[i], kernel[k], out.shape[o], *geometry, padding)
        for i, k, o, *geometry in zip(
            *(of_image[2:], of_kernel[2:], of_out[2:], parameters["window_strides"]),
            *(parameters["padding"], parameters["lhs_dilation"], parameters["rhs_dilation"]),
            strict=True,
        )
    ]
    outer = out.shape[of_out[0]] * out.shape[of_out[1]] * kernel[of_kernel[1]]
    return outer * math.prod(taps)


def _taps(size, kernel, out, stride, pads, spread, kernel_spread, padding):
    """How often the kernel meets an element of one axis, not the zeros that spread it out."""
    places = stride * np.arange(out)[:, None] + kernel_spread * np.arange(kernel) - pads[0]
    met = places % spread == 0
    if not padding:
        met &= (places >= 0) & (places < spread * size)
    return int(met.sum())
