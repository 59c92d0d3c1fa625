"""The same models in plain flax and optax: one jitted call for each update, batches from numpy.

What a flax user writes from the tutorials. It shares no code with jaxgan, but its parameters have
the same names, shapes and first values.
"""

import functools
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.ours import count_bytes, first_state, temporary_bytes
from benchmarks.workloads import Program, Workload
from jaxgan.commands.config import Config

_normal = nn.initializers.normal(0.02)


class UpBlock(nn.Module):
    """The residual block of WGAN-GP's generator, which doubles the sides."""

    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        """Images `[B, H, W, C]` to `[B, 2H, 2W, features]`."""

        def norm_relu(x):
            norm = nn.BatchNorm(use_running_average=False, momentum=0.9, dtype=self.dtype)
            return nn.relu(norm(x))

        y = nn.Conv(self.features, (3, 3), dtype=self.dtype)(_double(norm_relu(x)))
        y = nn.Conv(self.features, (3, 3), dtype=self.dtype)(norm_relu(y))
        return y + _double(nn.Dense(self.features, dtype=self.dtype)(x))


class DownBlock(nn.Module):
    """The residual block of WGAN-GP's critic, which halves the sides or not."""

    features: int
    first: bool
    down: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        """Images `[B, H, W, C]` to `[B, H/2, W/2, features]`, or of the same sides."""
        y = nn.Conv(self.features, (3, 3), dtype=self.dtype)(x if self.first else nn.relu(x))
        y = nn.Conv(self.features, (3, 3), dtype=self.dtype)(nn.relu(y))
        if self.down:
            x, y = (nn.avg_pool(each, (2, 2), (2, 2)) for each in (x, y))
            x = nn.Dense(self.features, dtype=self.dtype)(x)
        return x + y


def _double(x):
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


class Generator(nn.Module):
    """Latents to samples, by the config's model."""

    config: Config
    data_shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z):
        """Maps latents `[B, latent_dim]` to samples, normalising by the batch."""
        config, dtype = self.config, jnp.dtype(self.config.precision)
        if config.model == "mlp":
            for _ in range(config.depth):
                z = nn.relu(nn.Dense(config.width, dtype=dtype)(z))
            x = nn.Dense(math.prod(self.data_shape), dtype=dtype)(z)
            x = x.reshape(-1, *self.data_shape).astype(jnp.float32)
            return nn.tanh(x) if len(self.data_shape) == 3 else x
        side, channels = self.data_shape[0], self.data_shape[2]
        widths = []
        while side > 7:
            side //= 2
            widths.append(config.width * 2 ** len(widths))
        if config.model == "resnet":
            x = nn.Dense(side * side * config.width, dtype=dtype)(z)
            x = x.reshape(-1, side, side, config.width)
            for _ in widths:
                x = UpBlock(config.width, dtype)(x)
            x = nn.BatchNorm(use_running_average=False, momentum=0.9, dtype=dtype)(x)
            x = nn.Conv(channels, (3, 3), dtype=dtype)(nn.relu(x))
            return nn.tanh(x.astype(jnp.float32))
        x = nn.Dense(side * side * widths[-1], dtype=dtype, kernel_init=_normal)(z)
        x = x.reshape(-1, side, side, widths[-1])
        for width in [*reversed(widths[:-1]), channels]:
            x = nn.BatchNorm(use_running_average=False, momentum=0.9, dtype=dtype)(x)
            x = nn.ConvTranspose(width, (5, 5), strides=(2, 2), dtype=dtype, kernel_init=_normal)(
                nn.relu(x)
            )
        return nn.tanh(x.astype(jnp.float32))


class Critic(nn.Module):
    """Samples to scores, by the config's model."""

    config: Config

    @nn.compact
    def __call__(self, x):
        """Scores samples, `[B]`."""
        config, dtype = self.config, jnp.dtype(self.config.precision)
        if config.model == "mlp":
            x = x.reshape(x.shape[0], -1)
            for _ in range(config.depth):
                x = nn.relu(nn.Dense(config.width, dtype=dtype)(x))
            return nn.Dense(1, dtype=dtype)(x)[:, 0].astype(jnp.float32)
        width = config.width
        if config.model == "resnet":
            halvings = 1 if x.shape[1] < 16 else 2
            for index in range(halvings + 2):
                x = DownBlock(width, index == 0, index < halvings, dtype)(x)
            x = jnp.mean(nn.relu(x), axis=(1, 2))
            return nn.Dense(1, dtype=dtype)(x)[:, 0].astype(jnp.float32)
        while x.shape[1] > 7:
            x = nn.Conv(width, (5, 5), strides=(2, 2), dtype=dtype, kernel_init=_normal)(x)
            if config.critic_norm and width > config.width:
                x = nn.BatchNorm(use_running_average=False, dtype=dtype)(x)
            x, width = nn.leaky_relu(x, 0.2), 2 * width
        x = x.reshape(x.shape[0], -1)
        return nn.Dense(1, dtype=dtype)(x)[:, 0].astype(jnp.float32)


def generate(workload, params, z, stats=None):
    """Samples, and the generator's running statistics with those of the batch."""
    generator = Generator(workload.config, workload.data_shape)
    return generator.apply({"params": params, **(stats or {})}, z, mutable=["batch_stats"])


def score(workload, params, x):
    """The critic's scores."""
    return Critic(workload.config).apply({"params": params}, x, mutable=["batch_stats"])[0]


def critic_loss(d_params, workload, real, fake, epsilon):
    """The loss of the workload's critic."""
    config = workload.config
    critic = functools.partial(score, workload, d_params)
    real_scores, fake_scores = critic(real), critic(fake)
    if config.loss in ("bce", "minimax"):
        return jnp.mean(nn.softplus(-real_scores) + nn.softplus(fake_scores))
    loss = jnp.mean(fake_scores) - jnp.mean(real_scores)
    if config.loss == "wgan":
        return loss
    epsilon = epsilon.reshape(-1, *[1] * (real.ndim - 1))
    mixed = epsilon * real + (1 - epsilon) * fake
    gradients = jax.grad(lambda x: critic(x).sum())(mixed)
    norms = jnp.sqrt(jnp.sum(gradients**2, axis=tuple(range(1, real.ndim))))
    return loss + config.penalty * jnp.mean((norms - 1) ** 2)


def generator_loss(g_params, workload, d_params, z, stats=None):
    """The loss of the workload's generator, and its running statistics."""
    fake, stats = generate(workload, g_params, z, stats)
    scores = score(workload, d_params, fake)
    if workload.config.loss == "bce":
        return jnp.mean(nn.softplus(-scores)), stats
    if workload.config.loss == "minimax":
        return -jnp.mean(nn.softplus(scores)), stats
    return -jnp.mean(scores), stats


class Updates(NamedTuple):
    """One update of each player.

    Attributes:
      init: `init(d_params, g_params, stats) -> (d_state, g_state)`, which are
        `(d_params, opt_state)` and `(g_params, stats, opt_state, average, step)`.
      d_update: `d_update(d_state, g_params, real, z, epsilon) -> d_state`.
      g_update: `g_update(g_state, d_params, z) -> g_state`.
    """

    init: Callable
    d_update: Callable
    g_update: Callable


def make_updates(workload: Workload) -> Updates:
    """The updates of a workload."""
    config = workload.config
    g_tx, d_tx = (_optimizer(config, r) for r in (config.g_learning_rate, config.d_learning_rate))

    def init(d_params, g_params, stats):
        average = jax.tree.map(jnp.copy, (g_params, stats))
        g_state = g_params, stats, g_tx.init(g_params), average, jnp.zeros((), jnp.int32)
        return (d_params, d_tx.init(d_params)), g_state

    def d_update(d_state, g_params, real, z, epsilon):
        fake, _ = generate(workload, g_params, z)
        params, opt_state = d_state
        grads = jax.grad(critic_loss)(params, workload, real, fake, epsilon)
        updates, opt_state = d_tx.update(grads, opt_state)
        params = optax.apply_updates(params, updates)
        if config.loss == "wgan":
            params = jax.tree.map(lambda w: jnp.clip(w, -config.clip, config.clip), params)
        return params, opt_state

    def g_update(g_state, d_params, z):
        params, stats, opt_state, average, step = g_state
        grads, stats = jax.grad(generator_loss, has_aux=True)(params, workload, d_params, z, stats)
        updates, opt_state = g_tx.update(grads, opt_state)
        params, step = optax.apply_updates(params, updates), step + 1
        decay = jnp.minimum(config.ema_decay, step / (9 + step))
        average = optax.incremental_update((params, stats), average, 1 - decay)
        return params, stats, opt_state, average, step

    return Updates(init, d_update, g_update)


def compile_plain_flax(workload: Workload, examples: np.ndarray) -> Program:
    """Two compiled updates, called from a Python loop; the host sends each batch.

    Their memory is counted as that of `compile_ours`.
    """
    config, batch = workload.config, workload.config.batch_size
    first = first_state(workload)
    updates = make_updates(workload)
    d_state, g_state = updates.init(
        first.critic.params, first.generator.params, first.generator.stats
    )

    @functools.partial(jax.jit, donate_argnums=0)
    def d_step(d_state, g_params, real, key):
        z_key, epsilon_key = jax.random.split(key)
        z = jax.random.normal(z_key, (batch, config.latent_dim))
        return updates.d_update(
            d_state, g_params, real, z, jax.random.uniform(epsilon_key, (batch,))
        )

    @functools.partial(jax.jit, donate_argnums=0)
    def g_step(g_state, d_params, key):
        z = jax.random.normal(key, (batch, config.latent_dim))
        return updates.g_update(g_state, d_params, z)

    key = jax.random.key(0)
    rng = np.random.default_rng(0)

    def draw():
        real = examples[rng.integers(len(examples), size=batch)]
        return real if real.dtype == np.float32 else real.astype(np.float32) / 127.5 - 1

    began = time.perf_counter()
    compiled = [
        d_step.lower(d_state, g_state[0], draw(), key).compile(),
        g_step.lower(g_state, d_state[0], key).compile(),
    ]
    compile_seconds = time.perf_counter() - began

    def run(n):
        nonlocal key, d_state, g_state
        for _ in range(n):
            for _ in range(config.n_critic):
                key, step_key = jax.random.split(key)
                d_state = d_step(d_state, g_state[0], draw(), step_key)
            key, step_key = jax.random.split(key)
            g_state = g_step(g_state, d_state[0], step_key)
        jax.block_until_ready((d_state, g_state))

    state, batch_bytes = (d_state, g_state), 4 * batch * math.prod(workload.data_shape)
    memory = count_bytes(state) + batch_bytes + max(map(temporary_bytes, compiled))
    return Program(run, compile_seconds, memory)


def _optimizer(config, learning_rate):
    if config.optimizer == "adam":
        return optax.adam(learning_rate, config.b1, config.b2)
    if config.optimizer == "rmsprop":
        return optax.rmsprop(learning_rate, config.b2, eps_in_sqrt=False)
    return optax.sgd(learning_rate)
