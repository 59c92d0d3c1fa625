"""Losses that see augmented images, always or as often as the critic overfits.

References:
  Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training, 2020.
    https://arxiv.org/abs/2006.10738
  Karras et al., Training Generative Adversarial Networks with Limited Data, 2020.
    https://arxiv.org/abs/2006.06676
"""

from typing import Any, NamedTuple, TypeVar

import chex
import jax
import jax.numpy as jnp

from jaxgan.augment import Policy, augment, parse
from jaxgan.losses.base import (
    Loss,
    StatefulLoss,
    as_stateful,
    check_count,
    check_key,
    check_positive,
    scores,
)

AnyLoss = TypeVar("AnyLoss", Loss, StatefulLoss)


def augmented(
    loss: AnyLoss, policy: Policy = "color,translation,cutout", p: chex.Numeric = 1.0
) -> AnyLoss:
    """The loss of augmented images: both players' losses see T(x) and T(G(z)) for x and G(z).

    T is drawn anew for each image and update, for data and samples apart. The generator's gradient
    goes through T. Labels stay: an augmented image is of its class.

    A penalty of the loss is inside: it is on the critic's slope at T(x), by T(x). So put R1 inside,
    as in `augmented(with_r1(loss, gamma))`: around, it would be on images that the critic never
    sees. (StyleGAN2-ADA differentiates by x, through T.)

    Args:
      loss: any `Loss` or `StatefulLoss`, of images `[B, H, W, C]`.
      policy: what is done to images, see `jaxgan.augment.augment`.
      p: with which probability each of it is, from 0 to 1. A scalar, which may be traced.

    Raises:
      ValueError: if loss is none, the policy has an unknown name, or p is not from 0 to 1; and,
        where it is evaluated, if real are no images.

    References:
      Zhao 2020, eq. 4 and 5.
    """
    policy = parse(policy)
    _check_share("p", p)
    if isinstance(loss, StatefulLoss):
        at = loss.at
        return loss._replace(at=lambda state, step: augmented(at(state, step), policy, p))
    if not hasattr(loss, "critic"):
        raise ValueError(
            f"augmented must be given a Loss, as losses.bce() is; got {loss!r}. Where the loss is "
            "a function of the step, call augmented inside it."
        )

    def shows_augmented(player):
        def evaluate(critic_fn, real, fake, key):
            key, real_key, fake_key = _split(key, 3, real)
            real, fake = augment(real, real_key, policy, p), augment(fake, fake_key, policy, p)
            return player(critic_fn, real, fake, key)

        return evaluate

    return Loss(
        shows_augmented(loss.critic),
        shows_augmented(loss.generator),
        loss.project,
        loss.per_example,
        getattr(loss, "scores_others", False),
        getattr(loss, "lower_is_real", False),
    )


class AdaState(NamedTuple):
    """What `adaptive` keeps.

    Attributes:
      loss: the state of the loss inside.
      p: the probability of each augmentation, a float32 scalar.
      r: the measure of overfitting that moved p last, a float32 scalar.
      sums: the critic's mean scores since then, summed, float32 `[1]` or `[3]`.
      count: over how many updates, an int32 scalar.
    """

    loss: chex.ArrayTree
    p: chex.Array
    r: chex.Array
    sums: chex.Array
    count: chex.Array


def adaptive(
    loss: Any,
    held_out: chex.Array | None = None,
    *,
    batch_size: int,
    policy: Policy = "color,translation,cutout",
    target: float | None = None,
    images: float = 500_000,
    every: int = 4,
) -> StatefulLoss:
    """ADA: augments as often as it takes to keep the critic from overfitting.

    Each augmentation of the policy is applied with probability p. p begins at 0. Every `every`
    critic updates it moves up if the critic overfits more than the target, else down, by as much
    as takes it from 0 to 1 in so many images. Overfitting is measured, over these updates, by

    - r_v = (E f(x) − E f(v)) / (E f(x) − E f(G(z))), with held-out images v, for any loss; or by
    - r_t = E sign f(x), without, for losses that aim at scores above 0 for data and below for
      samples: `bce`, `minimax`, `hinge`, `dragan`.

    All of these images are augmented, as the loss sees them. r is 0 where the critic does not
    overfit, and 1 where it scores held-out images as it does samples, or knows all of its data.
    The paper's augmentations are more than those of a policy: it adds rotations, filters, noise and
    more, and has each drawn by itself where `color` is one.

    Metrics are `ada_p`, `ada_r` (that which moved p last), and the means that r is made of:
    `ada_real`, `ada_held_out`, `ada_fake`, or `ada_sign`. Scores cost the critic's update a forward
    pass on held-out images.

    Args:
      loss: a `Loss`, a function of the step that returns one, or a `StatefulLoss`, of images
        `[B, H, W, C]`. Penalties belong inside, see `augmented`.
      held_out: images v that are not trained on, uint8 or float in [-1, 1], `[N, H, W, C]`. They
        become constants of the compiled program: a thousand are plenty. Models with labels refuse
        them, since a loss cannot tell the classes of a batch.
      batch_size: how many images an update of the critic sees, over all devices.
      policy: what is done to images, see `jaxgan.augment.augment`.
      target: of r; by default 0.5 for r_v and 0.6 for r_t.
      images: in how many images of data p goes from 0 to 1.
      every: critic updates between two moves of p.

    Raises:
      ValueError: if held_out are no images, the policy has an unknown name, or a number is out of
        its range.

    References:
      Karras 2020, sec. 3.1 and eq. 1: r_v, r_t, the target 0.6, 4 minibatches, 500k images.
    """
    policy, inner = parse(policy), as_stateful(loss)
    names = ("ada_sign",) if held_out is None else ("ada_real", "ada_held_out", "ada_fake")
    target = (0.6 if held_out is None else 0.5) if target is None else target
    _check_share("target", target)
    check_positive("images", images)
    for name, count in (("batch_size", batch_size), ("every", every)):
        check_count(name, count)
    if held_out is not None:
        _check_held_out(held_out)

    def init():
        zero = jnp.zeros((), jnp.float32)
        sums = jnp.zeros(len(names), jnp.float32)
        return AdaState(inner.init(), zero, zero, sums, jnp.zeros((), jnp.int32))

    def at(state, step):
        loss = inner.at(state.loss, step)

        def critic(critic_fn, real, fake, key):
            key, real_key, fake_key, row_key, held_out_key = _split(key, 5, real)
            real = augment(real, real_key, policy, state.p)
            fake = augment(fake, fake_key, policy, state.p)
            value, metrics = loss.critic(critic_fn, real, fake, key)
            # Passes that the loss makes too: the compiler merges them.
            if held_out is None:
                measured = [jnp.mean(jnp.sign(scores(critic_fn, real)))]
            else:
                drawn = augment(_draw(held_out, row_key, real), held_out_key, policy, state.p)
                measured = [jnp.mean(scores(critic_fn, x)) for x in (real, drawn, fake)]
            own = dict(zip(names, jax.lax.stop_gradient(measured), strict=True))
            return value, metrics | own | {"ada_p": state.p, "ada_r": state.r}

        generator = augmented(loss, policy, state.p).generator
        others = held_out is not None or getattr(loss, "scores_others", False)
        low = getattr(loss, "lower_is_real", False)
        return Loss(critic, generator, loss.project, loss.per_example, others, low)

    def update(state, metrics):
        own = inner.update(state.loss, metrics)
        sums = state.sums + jnp.stack([metrics[name] for name in names]).astype(jnp.float32)
        count = state.count + 1
        r = _overfitting(sums / count)
        moved = jnp.clip(state.p + jnp.sign(r - target) * every * batch_size / images, 0, 1)
        after = AdaState(own, moved, r, jnp.zeros_like(sums), jnp.zeros_like(count))
        waiting = state._replace(loss=own, sums=sums, count=count)
        return jax.tree.map(lambda a, b: jnp.where(count >= every, a, b), after, waiting)

    return StatefulLoss(init, at, update)


def _overfitting(means):
    """r_t of one mean, r_v of three; 0 where the critic does not tell data from samples at all."""
    if len(means) == 1:
        return means[0]
    real, held_out, fake = means
    gap = real - fake
    return jnp.where(gap == 0, 0, (real - held_out) / jnp.where(gap == 0, 1, gap))


def _draw(held_out, key, real):
    """As many held-out images as real ones, each drawn by its example's key."""
    if held_out.shape[1:] != real.shape[1:]:
        raise ValueError(
            f"held_out must be images of the data's shape {real.shape[1:]}; got "
            f"{held_out.shape[1:]}."
        )
    keys = key if key.ndim else jax.random.split(key, len(real))
    rows = jax.vmap(lambda k: jax.random.randint(k, (), 0, len(held_out)))(keys)
    images = jnp.asarray(held_out)[rows].astype(real.dtype)
    return (2 * images - 255) / 255 if held_out.dtype == jnp.uint8 else images


def _split(key, n, x):
    """n keys from one, or n times `[B]` from one for each example."""
    check_key(key, x.shape[:1])
    if key.ndim == 0:
        return jax.random.split(key, n)
    return jax.vmap(lambda k: jax.random.split(k, n), out_axes=1)(key)


def _check_share(name, value):
    check_positive(name, value, or_zero=True)
    if not isinstance(value, jax.core.Tracer) and value > 1:
        raise ValueError(f"{name} must be from 0 to 1; got {value}.")


def _check_held_out(x):
    dtype = getattr(x, "dtype", None)
    pixels = dtype is not None and (dtype == jnp.uint8 or jnp.issubdtype(dtype, jnp.floating))
    if not pixels or x.ndim != 4 or not len(x):
        got = type(x).__name__ if dtype is None else f"{dtype}{x.shape}"
        raise ValueError(
            "held_out must be images [N, H, W, C], one or more, uint8 or floating point; got "
            f"{got}."
        )
    if dtype != jnp.uint8 and not isinstance(x, jax.core.Tracer):
        low, high = float(jnp.min(x)), float(jnp.max(x))
        if not (low >= -1.001 and high <= 1.001):  # not if NaN either
            raise ValueError(
                "held_out must lie in [-1, 1] where they are floating point; got values from "
                f"{low:g} to {high:g}. Give pixels as uint8."
            )
