"""The same networks of flax's own layers, trained by optax with one jitted call for each update.

What a flax user writes from the tutorials. The networks are jaxgan's with `nn.Conv` and
`nn.ConvTranspose` in the place of its convolutions, the optimizers are optax's as jaxgan has them;
losses, updates and noise are written here.
"""

import functools
import math
import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState

from benchmarks.ours import count_bytes, temporary_bytes, weights_of
from benchmarks.workloads import Answer, Inputs, Program, Weights, Workload
from jaxgan import networks
from jaxgan.commands.config import Config
from jaxgan.commands.settings import make_model

FLAX = {networks.Conv: nn.Conv, networks.ConvTranspose: nn.ConvTranspose}


def flax_layer(call, arguments, keywords, context):
    """Calls flax's layer in the place of ours, on the same parameters: for `intercept_methods`."""
    ours = context.module
    if context.method_name != "__call__" or type(ours) not in FLAX:
        return call(*arguments, **keywords)
    params = ours.variables["params"]
    sides = {"kernel_size": params["kernel"].shape[:2], "strides": ours.strides}
    theirs = FLAX[type(ours)](ours.features, **sides, padding=ours.padding, dtype=ours.dtype)
    return theirs.apply({"params": params}, *arguments)


class Player(TrainState):
    """A network in training: flax's state, and for the generator two more trees.

    Attributes:
      stats: variables that are not parameters.
      average: the averaged parameters and statistics.
    """

    stats: Any
    average: Any = None


def start_player(params, tx, stats, average=None) -> Player:
    """A player before its first update."""
    more = {"opt_state": tx.init(params), "stats": stats, "average": average}
    return Player(jnp.zeros((), jnp.int32), apply_fn=None, params=params, tx=tx, **more)


class PlainFlax:
    """Losses and updates of a workload, as pure functions of its players."""

    def __init__(self, workload: Workload):
        self.config = workload.config
        self._model = make_model(workload.config, workload.data_shape)

    def start(self, weights: Weights | None = None) -> tuple[Player, Player]:
        """The critic and the generator with these weights, or those that a run begins with."""
        state, game = self._model.init(jax.random.key(0)), self._model.game
        w = weights or weights_of(state)
        average = jax.tree.map(jnp.copy, (w.g_params, w.g_stats))
        return (
            start_player(w.d_params, game.d_tx, state.critic.stats),
            start_player(w.g_params, game.g_tx, w.g_stats, average),
        )

    @nn.intercept_methods(flax_layer)
    def generate(self, params: Any, stats: Any, z: jax.Array) -> tuple[jax.Array, Any]:
        """Samples, and the running statistics with those of the batch."""
        return self._model.game.generator.apply(params, stats, (z,))

    @nn.intercept_methods(flax_layer)
    def score(self, params: Any, stats: Any, x: jax.Array) -> jax.Array:
        """The critic's scores."""
        return self._model.game.critic.apply(params, stats, (x,))[0]

    def d_gradient(self, critic, generator, real, z, epsilon):
        """The critic's loss and its gradient."""
        fake, _ = self.generate(generator.params, generator.stats, z)
        score = functools.partial(self.score, stats=critic.stats)

        def loss(params):
            return critic_loss(self.config, lambda x: score(params, x=x), real, fake, epsilon)

        return jax.value_and_grad(loss)(critic.params)

    def g_gradient(self, generator, critic, z):
        """The generator's loss with its new statistics, and the gradient."""

        def loss(params):
            fake, stats = self.generate(params, generator.stats, z)
            scores = self.score(critic.params, critic.stats, fake)
            return generator_loss(self.config, scores), stats

        return jax.value_and_grad(loss, has_aux=True)(generator.params)

    def d_update(self, critic, generator, real, z, epsilon):
        """The critic after one update."""
        _, gradients = self.d_gradient(critic, generator, real, z, epsilon)
        critic, c = critic.apply_gradients(grads=gradients), self.config.clip
        if self.config.loss != "wgan":
            return critic
        return critic.replace(params=jax.tree.map(lambda w: jnp.clip(w, -c, c), critic.params))

    def g_update(self, generator, critic, z):
        """The generator after one update, and its average."""
        (_, stats), gradients = self.g_gradient(generator, critic, z)
        generator = generator.apply_gradients(grads=gradients, stats=stats)
        decay = jnp.minimum(self.config.ema_decay, generator.step / (9 + generator.step))
        new = generator.params, generator.stats
        average = optax.incremental_update(new, generator.average, 1 - decay)
        return generator.replace(average=average)


def critic_loss(config: Config, critic, real, fake, epsilon):
    """What the critic minimises, of a function from samples to scores."""
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


def generator_loss(config: Config, scores):
    """What the generator minimises, of its samples' scores."""
    if config.loss == "bce":
        return jnp.mean(nn.softplus(-scores))
    return -jnp.mean(nn.softplus(scores) if config.loss == "minimax" else scores)


def ask(workload: Workload, inputs: Inputs) -> Answer:
    """What these updates make of the inputs."""
    model, d_gradient, g_gradient, d_update, g_update = _compiled(workload)
    critic, generator = model.start(inputs.first)
    d_first = d_gradient(critic, generator, *_at(inputs, 0, 0))
    (g_loss, _), g_gradients = g_gradient(generator, critic, inputs.g_latents[0])
    trained = []
    for i, z in enumerate(inputs.g_latents):
        for update in range(workload.config.n_critic):
            critic = d_update(critic, generator, *_at(inputs, i, update))
        generator = g_update(generator, critic, z)
        trained.append(
            Weights(critic.params, generator.params, generator.average[0], generator.stats)
        )
    return Answer(*d_first, g_loss, g_gradients, trained)


@functools.cache
def _compiled(workload):
    model = PlainFlax(workload)
    return model, *map(
        jax.jit, (model.d_gradient, model.g_gradient, model.d_update, model.g_update)
    )


def _at(inputs, iteration, update):
    """The data, latents and ε of one update of the critic."""
    return tuple(x[iteration, update] for x in (inputs.reals, inputs.d_latents, inputs.epsilon))


def compile_plain_flax(workload: Workload, examples: np.ndarray) -> Program:
    """Two compiled updates, called from a Python loop; the host sends each batch.

    Their memory is counted as that of `compile_ours`.
    """
    config, batch, model = workload.config, workload.config.batch_size, PlainFlax(workload)
    critic, generator = model.start()
    key, rng = jax.random.key(0), np.random.default_rng(0)

    @functools.partial(jax.jit, donate_argnums=0)
    def d_step(critic, generator, real, key):
        z_key, epsilon_key = jax.random.split(key)
        z = jax.random.normal(z_key, (batch, config.latent_dim))
        epsilon = jax.random.uniform(epsilon_key, (batch,))
        return model.d_update(critic, generator, real, z, epsilon)

    @functools.partial(jax.jit, donate_argnums=0)
    def g_step(generator, critic, key):
        z = jax.random.normal(key, (batch, config.latent_dim))
        return model.g_update(generator, critic, z)

    def draw():
        real = examples[rng.integers(len(examples), size=batch)]
        return real if real.dtype == np.float32 else real.astype(np.float32) / 127.5 - 1

    def run(n):
        nonlocal key, critic, generator
        for _ in range(n):
            for _ in range(config.n_critic):
                key, step_key = jax.random.split(key)
                critic = d_step(critic, generator, draw(), step_key)
            key, step_key = jax.random.split(key)
            generator = g_step(generator, critic, step_key)
        jax.block_until_ready((critic, generator))

    began = time.perf_counter()
    programs = [
        d_step.lower(critic, generator, draw(), key).compile(),
        g_step.lower(generator, critic, key).compile(),
    ]
    compile_seconds = time.perf_counter() - began
    batch_bytes = 4 * batch * math.prod(workload.data_shape)
    state_bytes = count_bytes((critic, generator))
    memory = state_bytes + batch_bytes + max(map(temporary_bytes, programs))
    return Program(run, compile_seconds, memory)
