"""A GAN as pure functions of its state.

`gan` closes two networks, a loss and two optimizers into `init`, `d_step`, `g_step`, `step` and
`sample`. None of them knows about devices: under `jax.pmap` or `jax.shard_map` pass the axis's
name, and gradients, metrics and batch statistics are averaged over it.

Randomness is a function of (seed, step, purpose, example): the state's key never changes, each use
folds in the step, the update within it and the example's index in the global batch. One device or
eight, chunked or resumed, the same numbers are drawn.
"""

import dataclasses
import functools
from collections.abc import Callable
from numbers import Integral
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxgan import checks
from jaxgan.losses.base import Loss, Metrics, StatefulLoss, as_stateful, check_key
from jaxgan.networks.network import as_network
from jaxgan.networks.players import init_player, update
from jaxgan.networks.trial import check_networks
from jaxgan.noise import draw_classes, draw_noise
from jaxgan.state import Game, GANState, all_finite, averaged_variables, mean_over, of_floats


class GAN(NamedTuple):
    """Pure, jit-compiled functions of a `GANState`. Steps also take `axis_name`, None by default.

    Attributes:
      init: `init(key) -> state`.
      d_step: `d_step(state, real, key, labels) -> (state, metrics)`, one critic update on real
        `[B, *data_shape]`; leaves the generator as it was. Labels, `[B]` integers, are for
        conditional GANs only.
      g_step: `g_step(state, real, key, labels) -> (state, metrics)`, one generator update; leaves
        the critic as it was. `real` gives the batch size, and relativistic losses look at it.
      d_grad: `d_grad(state, real, key, labels) -> (gradients, metrics)`, what `d_step` descends:
        the gradient of the critic's loss in its parameters.
      g_grad: the same of `g_step` and the generator.
      step: `step(state, reals, labels) -> (state, metrics)`, one iteration: n_critic critic
        updates, each on its own batch of reals `[n_critic, B, *data_shape]`, with labels
        `[n_critic, B]`, then one generator update. Its noise comes from `state.key`; metrics are
        those of the last critic update and of the generator's; they are not finite if those of any
        of the critic updates were not.
      sample: `sample(state, key, n, labels) -> [n, *data_shape]`, from the averaged generator
        where there is one; without labels, `[n]`, of classes drawn uniformly. The first samples of
        a larger n are those of a smaller.
      game: what training does not change.
    """

    init: Callable[[chex.PRNGKey], GANState]
    d_step: Callable[..., tuple[GANState, Metrics]]
    g_step: Callable[..., tuple[GANState, Metrics]]
    d_grad: Callable[..., tuple[chex.ArrayTree, Metrics]]
    g_grad: Callable[..., tuple[chex.ArrayTree, Metrics]]
    step: Callable[..., tuple[GANState, Metrics]]
    sample: Callable[[GANState, chex.PRNGKey, int], chex.Array]
    game: Game


def gan(
    generator: Any,
    critic: Any,
    loss: Loss | StatefulLoss | Callable[[chex.Array], Loss],
    g_tx: optax.GradientTransformation,
    d_tx: optax.GradientTransformation,
    n_critic: int = 5,
    ema_decay: float = 0.999,
    skip_nonfinite: bool = False,
    latent_dim: int | None = None,
    num_classes: int | None = None,
) -> GAN:
    """Builds the training functions of a GAN.

    Args:
      generator: a network that maps latents `[B, latent_dim]` to samples `[B, ...]`: a flax.linen
        module; a function from `nnx.Rngs` to a flax.nnx module; or a pair of functions
        `init(key, z) -> params` and `apply(params, z) -> samples`. It has the attribute
        `latent_dim`. Its latents are standard normal. It, and the critic, may take the keyword
        `train`, or another of `network.TRAINING_KEYWORDS`, and `axis_name`, as networks with
        BatchNorm need; without it a network that mixes the examples of a batch is refused on
        several devices. It may say the range of its samples in an attribute
        `sample_range`; each step refuses data outside until its first good batch, but cannot look
        at them inside a `jit` or `parallel.wrap` around it.
      critic: a network that maps samples to scores `[B]`. Its other variables, such as
        running statistics or a spectral norm's vectors, move once an update, in a forward pass of
        the update's real batch.
      loss: see `jaxgan.losses`. Also a function from the step, a traced scalar, to a loss, such as
        `lambda step: losses.wgan_gp(penalty=schedule(step))`; or a `losses.StatefulLoss`.
      g_tx: the generator's optimizer.
      d_tx: the critic's optimizer.
      n_critic: critic updates per generator update (Arjovsky 2017, Algorithm 1, line 2).
      ema_decay: decay of the averaged generator, in [0, 1); 0 turns it off. At step t the decay is
        at most t/(9 + t), so that the average forgets the untrained generator at once.
      skip_nonfinite: leave a network as it was where its loss, gradient or any part of its next
        state is not finite, and count that in the state and in the metric `skipped`; the step
        counts on. Without it such numbers stay: none is ever clipped or averaged away.
      latent_dim: the size of the latent vector, where the generator has no such attribute.
      num_classes: makes a conditional GAN: the networks take labels too, int32 `[B]` from 0 to
        num_classes - 1, as `(z, labels)` and `(x, labels)`. Real, fake and interpolates of an
        update share the labels of its data, so that the loss does not see them.

    Raises:
      ValueError: if an argument is not of its kind or out of range, the networks do not fit each
        other or the loss, or one would train otherwise than it says: it needs random numbers of its
        own or a keyword that training does not give, or has variables that training does not move.
    """
    per_example = checks.check_loss(loss, num_classes)
    checks.check_optimizer("g_tx", g_tx)
    checks.check_optimizer("d_tx", d_tx)
    checks.check_settings(n_critic, ema_decay)
    inputs = 1 if num_classes is None else 2
    generator = as_network("generator", generator, inputs)
    critic = as_network("critic", critic, inputs)
    checks.check_num_classes(num_classes, generator, critic)
    if latent_dim is not None:
        generator = dataclasses.replace(generator, latent_dim=latent_dim)
    loss, found = as_stateful(loss), check_networks(generator, critic, per_example)
    return build(
        Game(
            *(generator, critic, loss, g_tx, d_tx, n_critic, ema_decay, skip_nonfinite),
            *found,
            num_classes,
        )
    )


def build(game: Game) -> GAN:
    """The functions of a game whose parts have been checked, as `gan` does."""

    def step(name, f):
        return checked_step(name, functools.partial(f, game), game)

    return GAN(
        init=jax.jit(functools.partial(_init, game)),
        d_step=step("real", _d_step),
        g_step=step("real", _g_step),
        d_grad=step("real", lambda *args, **axis: _d_grad(*args, **axis)[:2]),
        g_grad=step("real", lambda *args, **axis: _g_grad(*args, **axis)[:2]),
        step=step("reals", _step),
        sample=jax.jit(functools.partial(_sample, game), static_argnames="n"),
        game=game,
    )


def checked_step(name, f, game):
    """f compiled, and called once its data are checked: compiled code does not see their values."""
    compiled, in_range = jax.jit(f, static_argnames="axis_name"), False

    def step(state, real, *key_and_labels, labels=None, axis_name=None):
        nonlocal in_range
        checks.check_array(name, real)
        rest = key_and_labels if labels is None else (*key_and_labels, labels)
        keys = 0 if name == "reals" else 1
        labels = rest[keys] if len(rest) > keys else None
        if not in_range or not isinstance(labels, jax.Array):
            checks.check_labels(labels, game.num_classes)
        # Once is enough, since it waits for the device, and one batch is like another.
        if not in_range and not isinstance(real, jax.core.Tracer):
            checks.check_range(name, real, game.generator)
            in_range = True
        return compiled(state, real, *rest, axis_name=axis_name)

    return step


def abstract_state(model: GAN) -> GANState:
    """The shapes and types of a state, without its numbers."""
    return jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0)))


def _init(game, key):
    check_key(key)
    generator_key, critic_key, key = jax.random.split(key, 3)
    z, x = jnp.zeros((1, game.generator.latent_dim)), jnp.zeros((1, *game.data_shape))
    labels = None if game.num_classes is None else jnp.zeros(1, jnp.int32)
    player = init_player(game.generator, generator_key, _with(labels, z), game.g_tx)
    # Copies: a buffer that two leaves of the state share could not be donated. In float32 at least:
    # in bfloat16 a step of a thousandth of the way would go nowhere.
    average = jax.tree.map(_wide_copy, (player.params, player.stats)) if game.ema_decay else None
    return GANState(
        step=jnp.zeros((), jnp.int32),
        generator=player,
        critic=init_player(game.critic, critic_key, _with(labels, x), game.d_tx),
        ema=average and average[0],
        ema_stats=average and average[1],
        key=key,
        skipped=jnp.zeros((), jnp.int32) if game.skip_nonfinite else None,
        loss=jax.tree.map(jnp.array, game.loss.init()),
    )


def _wide_copy(x):
    wide = jnp.issubdtype(x.dtype, jnp.floating)
    return jnp.array(x, jnp.promote_types(x.dtype, jnp.float32) if wide else x.dtype)


def _with(labels, x):
    """What a network is given: its input, and labels where there are classes."""
    if labels is None:
        return (x,)
    checks.check_rows(x, labels)
    return x, labels


def _begin(game, player, real, key, labels, axis_name):
    checks.check_real(real, game.data_shape)
    checks.check_labels(labels, game.num_classes)
    if axis_name is not None:
        checks.check_axis(axis_name, game.mixing, game.loss, player, game.data_shape)
    return draw_noise(key, real.shape[0], game.generator.latent_dim, axis_name)


def _d_grad(game, state, real, key, labels=None, axis_name=None):
    """The gradient of the critic's loss, its metrics, and the critic's other variables after it."""
    latents, loss_keys = _begin(game, "critic", real, key, labels, axis_name)
    loss = game.loss.at(state.loss, state.step)
    player, stats = state.generator, state.critic.stats
    fake, _ = game.generator.apply(player.params, player.stats, _with(labels, latents), axis_name)

    def objective(params):
        def critic_fn(x):
            return game.critic.apply(params, stats, _with(labels, x), axis_name)[0]

        result = loss.critic(critic_fn, real, fake, loss_keys)
        value, metrics = checks.check_value("critic", result)
        # The loss sees a pure critic, whose other variables move here. The compiler merges this
        # pass with the loss's own; without such variables nothing is left of it.
        _, after = game.critic.apply(params, stats, _with(labels, real), axis_name)
        return value, (metrics, after)

    gradients, aux = jax.grad(objective, has_aux=True)(state.critic.params)
    return mean_over((gradients, *aux), axis_name)


def _d_step(game, state, real, key, labels=None, axis_name=None):
    gradients, metrics, stats = _d_grad(game, state, real, key, labels, axis_name)
    player = update(state.critic, gradients, game.d_tx)
    project = game.loss.at(state.loss, state.step).project
    player = player._replace(params=project(player.params), stats=stats)
    after = game.loss.update(state.loss, metrics)
    checks.check_loss_state(state.loss, after)
    return _settle(game, state, {"critic": player, "loss": after}, gradients, metrics)


def _g_grad(game, state, real, key, labels=None, axis_name=None):
    """The gradient of the generator's loss, its metrics, and its other variables after it."""
    latents, loss_keys = _begin(game, "generator", real, key, labels, axis_name)
    inputs = _with(labels, latents)
    loss = game.loss.at(state.loss, state.step)

    def critic_fn(x):
        player = state.critic
        return game.critic.apply(player.params, player.stats, _with(labels, x), axis_name)[0]

    def objective(params):
        fake, stats = game.generator.apply(params, state.generator.stats, inputs, axis_name)
        result = loss.generator(critic_fn, real, fake, loss_keys)
        value, metrics = checks.check_value("generator", result)
        return value, (metrics, stats)

    gradients, aux = jax.grad(objective, has_aux=True)(state.generator.params)
    return mean_over((gradients, *aux), axis_name)


def _g_step(game, state, real, key, labels=None, axis_name=None):
    gradients, metrics, stats = _g_grad(game, state, real, key, labels, axis_name)
    player = update(state.generator, gradients, game.g_tx)._replace(stats=stats)
    step = state.step + 1
    changes = {"generator": player}
    if game.ema_decay:
        decay = jnp.minimum(game.ema_decay, step / (9 + step))
        changes["ema"], changes["ema_stats"] = of_floats(
            lambda new, old: optax.incremental_update(new, old, 1 - decay),
            (player.params, player.stats),
            (state.ema, state.ema_stats),
        )
    state, metrics = _settle(game, state, changes, gradients, metrics)
    return state._replace(step=step), metrics


def _step(game, state, reals, labels=None, axis_name=None):
    n_critic = game.n_critic
    checks.check_reals(reals, labels, n_critic)
    key = jax.random.fold_in(state.key, state.step)

    def critic_update(state, batch):
        real, labels, index = batch
        return _d_step(game, state, real, jax.random.fold_in(key, index), labels, axis_name)

    state, metrics = jax.lax.scan(critic_update, state, (reals, labels, jnp.arange(n_critic)))
    g_key, last = jax.random.fold_in(key, n_critic), None if labels is None else labels[-1]
    state, g_metrics = _g_step(game, state, reals[-1], g_key, last, axis_name)
    checks.check_names(metrics.keys() & g_metrics.keys() - {"skipped"})
    return state, jax.tree.map(_last_of_finite, metrics) | g_metrics


def _sample(game, state, key, n: int, labels=None):
    if not (isinstance(n, Integral) and n >= 0):
        raise ValueError(f"n must be a whole number from 0 up; got {n}.")
    latents, _ = draw_noise(key, n, game.generator.latent_dim)
    if labels is None and game.num_classes is not None:
        labels = draw_classes(key, n, game.num_classes)
    checks.check_labels(labels, game.num_classes)
    inputs = _with(labels, latents)
    return game.generator.apply(*averaged_variables(state), inputs, train=False)[0]


def _settle(game, state, changes, gradients, metrics):
    """The state with the changes, or without where something is not finite, if so wished."""
    if not game.skip_nonfinite:
        return state._replace(**changes), metrics
    good = all_finite((changes, gradients, metrics))
    kept = {name: getattr(state, name) for name in changes}
    changes = jax.tree.map(functools.partial(jnp.where, good), changes, kept)
    skipped = state.skipped + jnp.where(good, 0, 1)
    return state._replace(**changes, skipped=skipped), metrics | {"skipped": skipped}


def _last_of_finite(column):
    """The last of a metric's values; if any is not finite, one that is not, so that it is seen."""
    return jnp.where(jnp.all(jnp.isfinite(column)), column[-1], jnp.sum(column))
