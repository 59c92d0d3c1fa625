"""The same models in plain flax and optax: one jitted call for each update, batches from numpy.

What a flax user writes from the tutorials. It shares no code with jaxgan, but its parameters have
the same names and shapes.
"""

import functools
import math
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.ours import count_bytes, temporary_bytes
from benchmarks.workloads import Program, Workload
from jaxgan.config import Config

_normal = nn.initializers.normal(0.02)


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
        while x.shape[1] > 7:
            x = nn.Conv(width, (5, 5), strides=(2, 2), dtype=dtype, kernel_init=_normal)(x)
            if config.critic_norm and width > config.width:
                x = nn.BatchNorm(use_running_average=False, dtype=dtype)(x)
            x, width = nn.leaky_relu(x, 0.2), 2 * width
        x = x.reshape(x.shape[0], -1)
        return nn.Dense(1, dtype=dtype)(x)[:, 0].astype(jnp.float32)


def generate(workload, params, z):
    """Samples, and the generator's statistics of the batch."""
    generator = Generator(workload.config, workload.data_shape)
    return generator.apply({"params": params}, z, mutable=["batch_stats"])


def score(workload, params, x):
    """The critic's scores."""
    return Critic(workload.config).apply({"params": params}, x, mutable=["batch_stats"])[0]


def critic_loss(d_params, workload, real, fake, epsilon):
    """The loss of the workload's critic."""
    config = workload.config
    critic = functools.partial(score, workload, d_params)
    real_scores, fake_scores = critic(real), critic(fake)
    if config.loss == "bce":
        return jnp.mean(nn.softplus(-real_scores) + nn.softplus(fake_scores))
    loss = jnp.mean(fake_scores) - jnp.mean(real_scores)
    if config.loss == "wgan":
        return loss
    epsilon = epsilon.reshape(-1, *[1] * (real.ndim - 1))
    mixed = epsilon * real + (1 - epsilon) * fake
    gradients = jax.grad(lambda x: critic(x).sum())(mixed)
    norms = jnp.sqrt(jnp.sum(gradients**2, axis=tuple(range(1, real.ndim))))
    return loss + config.penalty * jnp.mean((norms - 1) ** 2)


def generator_loss(g_params, workload, d_params, z):
    """The loss of the workload's generator, and its statistics of the batch."""
    fake, stats = generate(workload, g_params, z)
    scores = score(workload, d_params, fake)
    return jnp.mean(nn.softplus(-scores) if workload.config.loss == "bce" else -scores), stats


def compile_plain_flax(workload: Workload, examples: np.ndarray) -> Program:
    """Two compiled updates, called from a Python loop; the host sends each batch.

    Their memory is counted as that of `compile_ours`.
    """
    config, batch = workload.config, workload.config.batch_size
    g_tx, d_tx = (_optimizer(config, r) for r in (config.g_learning_rate, config.d_learning_rate))

    @functools.partial(jax.jit, donate_argnums=0)
    def d_step(d_state, g_params, real, key):
        z_key, epsilon_key = jax.random.split(key)
        fake, _ = generate(workload, g_params, jax.random.normal(z_key, (batch, config.latent_dim)))
        epsilon = jax.random.uniform(epsilon_key, (batch,))
        params, opt_state = d_state
        loss, grads = jax.value_and_grad(critic_loss)(params, workload, real, fake, epsilon)
        updates, opt_state = d_tx.update(grads, opt_state)
        params = optax.apply_updates(params, updates)
        if config.loss == "wgan":
            params = jax.tree.map(lambda w: jnp.clip(w, -config.clip, config.clip), params)
        return (params, opt_state), loss

    @functools.partial(jax.jit, donate_argnums=0)
    def g_step(g_state, d_params, key):
        z = jax.random.normal(key, (batch, config.latent_dim))
        params, opt_state, average = g_state
        (loss, stats), grads = jax.value_and_grad(generator_loss, has_aux=True)(
            params, workload, d_params, z
        )
        updates, opt_state = g_tx.update(grads, opt_state)
        params = optax.apply_updates(params, updates)
        average = optax.incremental_update((params, stats), average, 1 - config.ema_decay)
        return (params, opt_state, average), loss

    @jax.jit
    def init(key):
        z, x = jnp.zeros((1, config.latent_dim)), jnp.zeros((1, *workload.data_shape))
        variables = Generator(config, workload.data_shape).init(key, z)
        g_params, stats = variables["params"], {k: v for k, v in variables.items() if k != "params"}
        d_params = Critic(config).init(key, x)["params"]
        average = jax.tree.map(jnp.copy, (g_params, stats))
        return (d_params, d_tx.init(d_params)), (g_params, g_tx.init(g_params), average)

    key = jax.random.key(0)
    d_state, g_state = init(key)
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
                d_state, _ = d_step(d_state, g_state[0], draw(), step_key)
            key, step_key = jax.random.split(key)
            g_state, _ = g_step(g_state, d_state[0], step_key)
        jax.block_until_ready((d_state, g_state))

    state, batch_bytes = (d_state, g_state), 4 * batch * math.prod(workload.data_shape)
    memory = count_bytes(state) + batch_bytes + max(map(temporary_bytes, compiled))
    return Program(run, compile_seconds, memory)


def _optimizer(config, learning_rate):
    if config.optimizer == "adam":
        return optax.adam(learning_rate, config.b1, config.b2)
    return optax.rmsprop(learning_rate, config.b2)
