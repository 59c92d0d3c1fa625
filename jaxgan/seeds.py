"""The same training for several seeds at once."""

import functools
from collections.abc import Callable

import jax

from jaxgan.gan import GAN, checked_step


def over_seeds(model: GAN) -> GAN:
    """The same functions for S independent runs at once, as one program.

    Every argument but `axis_name` and `n` has a leading axis of S: keys `[S]`, each leaf of the
    state `[S, ...]`, real `[S, B, ...]`, reals `[S, n_critic, B, ...]`. So has every result. Each
    run is, to rounding, what it is alone.
    """

    def step(name, f):
        def mapped(*args, axis_name):
            return map_seeds(functools.partial(f, axis_name=axis_name))(*args)

        return checked_step(name, mapped, model.game)

    def sample(state, keys, n, labels=None):
        each = (state, keys) if labels is None else (state, keys, labels)
        return map_seeds(lambda state, key, *labels: model.sample(state, key, n, *labels))(*each)

    return model._replace(
        init=jax.jit(map_seeds(model.init)),
        d_step=step("real", model.d_step),
        g_step=step("real", model.g_step),
        d_grad=step("real", model.d_grad),
        g_grad=step("real", model.g_grad),
        step=step("reals", model.step),
        sample=jax.jit(sample, static_argnums=2),
    )


def map_seeds(f: Callable) -> Callable:
    """`f` over the leading axis of all its arguments.

    One seed after another on a CPU, whose products of many small matrices at once are slower than
    one after the other; all at once elsewhere.
    """
    if jax.default_backend() == "cpu":
        return lambda *args: jax.lax.map(lambda one: f(*one), args)
    return jax.vmap(f)
