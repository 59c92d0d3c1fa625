"""Do the compared programs compute the same? Same weights and noise in, same gradients out."""

import dataclasses
import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import plain_flax
from benchmarks.workloads import Workload
from jaxgan import losses, networks
from jaxgan.gan import gan

BATCH = 8
# Seen over the benchmark's workloads: 9e-7 at most.
TOLERANCE = 1e-5
# But where rounding turns the sign of a unit before its ReLU, that unit's share of the gradient
# comes or goes: 4e-4 for one of 100,000. Then another draw decides.
DRAWS = 3


class DisagreementError(Exception):
    """Two programs computed different things."""


class Inputs(NamedTuple):
    """Weights, data and noise of one update of each player."""

    d_params: Any
    g_params: Any
    real: Any
    d_latents: Any
    g_latents: Any
    epsilon: Any


class Answer(NamedTuple):
    """What a program makes of them: each player's loss, and its gradients as a tree of arrays."""

    d_loss: Any
    d_gradients: Any
    g_loss: Any
    g_gradients: Any


def verify(workload: Workload, with_pytorch: bool) -> dict[str, float]:
    """Compares the loss and the gradients of both players with jaxgan's, program by program.

    The networks have their full size, the batch is small, the arithmetic float32.

    Returns:
      For each program its `deviation`.

    Raises:
      DisagreementError: if one is more than rounding.
    """
    config = dataclasses.replace(workload.config, batch_size=BATCH, precision="float32")
    workload = workload._replace(config=config)
    for seed in range(DRAWS):
        with jax.default_matmul_precision("highest"):  # else GPUs round products to TF32
            inputs, ours = ask_ours(workload, seed)
            deviations = {"plain flax": deviation(ask_plain_flax(workload, inputs), ours)}
        if with_pytorch:
            deviations["pytorch"] = deviation(*ask_pytorch(workload, inputs, ours))
        worst = max(deviations, key=deviations.__getitem__)
        if deviations[worst] <= TOLERANCE:
            return deviations
    raise DisagreementError(
        f"{workload.name}: {worst} and jaxgan differ by {deviations[worst]:.1e} in a loss or a "
        f"gradient, where rounding explains {TOLERANCE:.0e}: they are not the same model."
    )


def deviation(answer: Answer, reference: Answer) -> float:
    """The largest difference of a loss, or of a parameter's gradient.

    Of a loss, relative to it or to one; of a gradient, in the norm, relative to that of all
    gradients of its player: some, such as a bias's before BatchNorm, are nothing but rounding.
    """
    worst = []
    for loss, expected in ((answer.d_loss, reference.d_loss), (answer.g_loss, reference.g_loss)):
        worst.append(abs(float(loss) - float(expected)) / max(1.0, abs(float(expected))))
    for gradients, expected in (
        (answer.d_gradients, reference.d_gradients),
        (answer.g_gradients, reference.g_gradients),
    ):
        size = np.linalg.norm([np.linalg.norm(each) for each in jax.tree.leaves(expected)])
        differences = jax.tree.map(
            lambda a, b: np.linalg.norm(np.asarray(a) - np.asarray(b)), gradients, expected
        )
        worst.append(float(max(jax.tree.leaves(differences)) / size))
    return max(worst)


def ask_ours(workload: Workload, seed: int = 0) -> tuple[Inputs, Answer]:
    """Runs jaxgan's own `d_step` and `g_step` once, and finds out the noise that they drew."""
    config, shape = workload.config, workload.data_shape
    if config.model == "dcgan":
        pair = networks.dcgan(
            shape, config.latent_dim, config.width, critic_norm=config.critic_norm
        )
    else:
        pair = networks.mlp(shape, config.latent_dim, config.width, config.depth)
    loss = {
        "bce": losses.bce(),
        "wgan": losses.wgan(config.clip),
        "wgan-gp": losses.wgan_gp(config.penalty),
    }[config.loss]
    # An optimizer that moves nothing and remembers the gradients.
    watch = optax.GradientTransformation(
        init=lambda params: jax.tree.map(jnp.zeros_like, params),
        update=lambda grads, state, params: (jax.tree.map(jnp.zeros_like, grads), grads),
    )
    model = gan(*pair, loss, g_tx=watch, d_tx=watch, ema_decay=0)
    keys = jax.random.split(jax.random.key(seed))
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, keys[0])
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes._replace(key=None))
    g_params, d_params = (
        jax.tree_util.tree_map_with_path(functools.partial(_random_params, rng), player.params)
        for player in (shapes.generator, shapes.critic)
    )
    state = zeros._replace(
        key=keys[0],
        generator=zeros.generator._replace(params=g_params),
        critic=zeros.critic._replace(params=d_params),
    )
    real = rng.uniform(-1, 1, (config.batch_size, *shape)).astype(np.float32)
    d_latents, epsilon = drawn_noise(config.latent_dim, config.batch_size, keys[0])
    g_latents, _ = drawn_noise(config.latent_dim, config.batch_size, keys[1])
    d_state, d_metrics = model.d_step(state, real, keys[0])
    g_state, g_metrics = model.g_step(state, real, keys[1])
    return (
        Inputs(d_params, g_params, real, d_latents, g_latents, epsilon),
        Answer(
            d_metrics["d_loss"],
            d_state.critic.opt_state,
            g_metrics["g_loss"],
            g_state.generator.opt_state,
        ),
    )


def _random_params(rng, path, leaf):
    """Of a size that keeps that of activations, biases too: zeros would hide their mistakes."""
    noise = rng.standard_normal(leaf.shape).astype(leaf.dtype)
    if len(leaf.shape) > 1:
        return noise / np.sqrt(np.prod(leaf.shape[:-1])).astype(leaf.dtype)
    return noise / 10 + (path[-1].key == "scale")


def drawn_noise(latent_dim: int, batch: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The latents and the ε that an update of a batch draws from a key."""
    model = _probe(latent_dim)
    state = model.init(jax.random.key(0))
    _, noise = model.d_step(state, jnp.zeros((batch, latent_dim)), key)
    return noise["latents"], noise["epsilon"]


@functools.cache
def _probe(latent_dim):
    """A GAN whose generator passes its latents on, and whose loss returns them and ε.

    Between data of one and samples of zero x̂ = ε; there the critic x²/2 has the gradient ε, and
    the penalty with a target of 0, example by example, is ε².
    """

    class Identity(nn.Module):
        latent_dim: int

        @nn.compact
        def __call__(self, z):
            return z + self.param("zero", nn.initializers.zeros, ())

    class Sum(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.sum(x, axis=1) * self.param("one", nn.initializers.ones, ())

    def epsilon_squared(key):
        one = jnp.ones((1, 1))
        return losses.gradient_penalty(
            lambda x: x[:, 0] ** 2 / 2, one, 0 * one, key[None], target=0.0
        )

    def critic(critic_fn, real, fake, keys):
        noise = {"latents": fake, "epsilon": jnp.sqrt(jax.vmap(epsilon_squared)(keys))}
        return jnp.mean(critic_fn(fake)), noise

    loss = losses.wgan()._replace(critic=critic)
    return gan(Identity(latent_dim), Sum(), loss, optax.sgd(0.0), optax.sgd(0.0))


def ask_plain_flax(workload: Workload, inputs: Inputs) -> Answer:
    """Runs the losses that plain flax's updates minimise."""
    return _plain_flax(workload)(inputs)


@functools.cache
def _plain_flax(workload):
    @jax.jit
    def ask(inputs):
        d_params, g_params, real, d_latents, g_latents, epsilon = inputs
        fake, _ = plain_flax.generate(workload, g_params, d_latents)
        d_answer = jax.value_and_grad(plain_flax.critic_loss)(
            d_params, workload, real, fake, epsilon
        )
        (g_loss, _), g_gradients = jax.value_and_grad(plain_flax.generator_loss, has_aux=True)(
            g_params, workload, d_params, g_latents
        )
        return Answer(*d_answer, g_loss, g_gradients)

    return ask


def ask_pytorch(workload: Workload, inputs: Inputs, ours: Answer) -> tuple[Answer, Answer]:
    """Runs PyTorch's losses on the CPU; returns its answer, and ours in its layout."""
    from benchmarks import pytorch

    model = pytorch.Model(workload, "cpu")
    answers = pytorch.ask(model, *map(functools.partial(jax.tree.map, np.array), inputs))
    return Answer(*answers), ours._replace(
        d_gradients=pytorch.copy_params(model.critic, ours.d_gradients),
        g_gradients=pytorch.copy_params(model.generator, ours.g_gradients),
    )
