"""Do the compared programs compute the same? Same weights and noise in, same training out.

First the losses and the gradients of both players, then what some iterations make of the weights:
optimizers, clipping, the order of updates and BatchNorm's statistics show only there.
"""

import dataclasses
import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import plain_flax
from benchmarks.workloads import Answer, Inputs, Trained, Workload
from jaxgan import losses, networks
from jaxgan.config import make_model
from jaxgan.gan import GAN, GANState, gan

BATCH = 8
ITERATIONS = 5


class Deviation(NamedTuple):
    """How far apart two programs are: their losses and gradients, and their updates."""

    gradients: float
    updates: float


# Seen over the benchmark's workloads: 9e-7 and UPDATES at most.
TOLERANCE = Deviation(gradients=1e-5, updates=1e-2)
# But where rounding turns the sign of a unit before its ReLU, that unit's share of the gradient
# comes or goes: 4e-4 for one of 100,000. Then another draw decides.
DRAWS = 3


class DisagreementError(Exception):
    """Two programs computed different things."""


def verify(workload: Workload, with_pytorch: bool) -> dict[str, Deviation]:
    """Compares other programs with jaxgan: losses, gradients, and updates of `ITERATIONS`.

    The networks have their full size, the batch is small, the arithmetic float32.

    Returns:
      The deviation of each program.

    Raises:
      DisagreementError: if one is more than rounding.
    """
    config = dataclasses.replace(workload.config, batch_size=BATCH, precision="float32")
    workload = workload._replace(config=config)
    for seed in range(DRAWS):
        with jax.default_matmul_precision("highest"):  # else GPUs round products to TF32
            inputs, ours = ask_ours(workload, seed)
            answers = {"plain flax": ask_plain_flax(workload, inputs)}
        if with_pytorch:
            answers["pytorch"] = ask_pytorch(workload, inputs)
        deviations = {name: deviation(each, ours, inputs) for name, each in answers.items()}
        worst = max(deviations, key=lambda name: _excess(deviations[name]))
        if _excess(deviations[worst]) <= 1:
            return deviations
    gradients, updates = deviations[worst]
    raise DisagreementError(
        f"{workload.name}: {worst} and jaxgan differ by {gradients:.1e} in a loss or a gradient "
        f"and by {updates:.1e} in an update of the weights, where rounding explains "
        f"{TOLERANCE.gradients:.0e} and {TOLERANCE.updates:.0e}: they do not train the same model."
    )


def _excess(deviation):
    """How many times the tolerance it is; NaN too is too much."""
    excess = max(value / most for value, most in zip(deviation, TOLERANCE, strict=True))
    return excess if excess == excess else np.inf


def deviation(answer: Answer, reference: Answer, inputs: Inputs) -> Deviation:
    """The largest difference of a loss or a parameter's gradient, and that of an update.

    Of a loss, relative to it or to one; of a gradient, in the norm, relative to that of all
    gradients of its player: some, such as a bias's before BatchNorm, are nothing but rounding.
    For updates see `update_differences`.
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
    updates = [
        difference
        for each in zip(answer.trained, reference.trained, strict=True)
        for difference in update_differences(*each, inputs).values()
    ]
    return Deviation(max(worst), max(updates))


def update_differences(trained: Trained, reference: Trained, inputs: Inputs) -> dict[str, float]:
    """For each tensor, how far the updates of two programs are apart.

    Of a parameter the norm of the difference, relative to the norm of the reference's update since
    the first weights; of running statistics, relative to their own. Where BatchNorm follows a bias
    takes no part: it is subtracted again, so that its gradient is nothing but rounding, of which
    Adam and RMSProp make steps of full length. It moves the running mean behind it too, whose
    difference is therefore relative to the norm of the deviations.
    """
    first = Trained(inputs.d_params, inputs.g_params, inputs.g_params, inputs.g_stats)
    differences = {}
    for part in ("d_params", "g_params", "average"):
        ours, theirs, start = (_flat(getattr(each, part)) for each in (trained, reference, first))
        for name in theirs.keys() - _before_norm(theirs):
            update = theirs[name] - start[name]
            differences[f"{part}/{name}"] = _relative(ours[name] - theirs[name], update)
    ours, theirs = _flat(trained.g_stats), _flat(reference.g_stats)
    for name in theirs:
        size = np.sqrt(theirs[name.replace("mean", "var")]) if "mean" in name else theirs[name]
        differences[f"g_stats/{name}"] = _relative(ours[name] - theirs[name], size)
    return differences


def _flat(tree):
    """A tree's arrays by their paths, in float64."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(key.key for key in path): np.asarray(x, np.float64) for path, x in leaves}


def _relative(difference, size):
    """The norm of one to that of the other. A Wasserstein critic's last bias stays: 0 of 0 is 0."""
    difference, size = np.linalg.norm(difference), np.linalg.norm(size)
    return float(difference / size) if size else np.inf if difference else 0.0


def _before_norm(params):
    """The biases that BatchNorm subtracts: of transposed convolutions but the last, and in critics
    of convolutions but the first.
    """
    biases = set()
    for i in range(sum(name.endswith("/scale") for name in params)):
        biases |= {f"ConvTranspose_{i - 1}/bias", f"Conv_{i + 1}/bias"} & params.keys()
    return biases


def ask_ours(workload: Workload, seed: int = 0) -> tuple[Inputs, Answer]:
    """Runs jaxgan's own steps from random weights, and finds out the noise that they drew."""
    model, watch = make_model(workload.config, workload.data_shape), _watch(workload)
    state, inputs = draw_inputs(workload, model, seed)
    key, real = jax.random.fold_in(state.key, 0), inputs.reals[0, 0]
    watched = state._replace(
        critic=state.critic._replace(opt_state=state.critic.params),
        generator=state.generator._replace(opt_state=state.generator.params),
    )
    d_state, d_metrics = watch.d_step(watched, real, jax.random.fold_in(key, 0))
    g_key = jax.random.fold_in(key, workload.config.n_critic)
    g_state, g_metrics = watch.g_step(watched, real, g_key)
    return inputs, Answer(
        d_metrics["d_loss"],
        d_state.critic.opt_state,
        g_metrics["g_loss"],
        g_state.generator.opt_state,
        train(model, state, inputs.reals),
    )


def _watch(workload):
    """jaxgan's model with an optimizer that moves nothing and remembers the gradients."""
    config, shape = workload.config, workload.data_shape
    if config.model == "dcgan":
        pair = networks.dcgan(
            shape, config.latent_dim, config.width, critic_norm=config.critic_norm
        )
    else:
        pair = networks.mlp(shape, config.latent_dim, config.width, config.depth)
    loss = {
        "bce": losses.bce(),
        "minimax": losses.minimax(),
        "wgan": losses.wgan(config.clip),
        "wgan-gp": losses.wgan_gp(config.penalty),
    }[config.loss]
    watch = optax.GradientTransformation(
        init=lambda params: jax.tree.map(jnp.zeros_like, params),
        update=lambda grads, state, params: (jax.tree.map(jnp.zeros_like, grads), grads),
    )
    return gan(*pair, loss, g_tx=watch, d_tx=watch)


def train(model: GAN, state: GANState, reals: np.ndarray) -> list[Trained]:
    """What `model.step` makes of a state, iteration by iteration."""
    trained = []
    for each in reals:
        state, _ = model.step(state, each)
        trained.append(
            Trained(state.critic.params, state.generator.params, state.ema, state.generator.stats)
        )
    return trained


def draw_inputs(workload: Workload, model: GAN, seed: int) -> tuple[GANState, Inputs]:
    """A state of random weights, and with it the data and the noise of its first iterations."""
    config, shape = workload.config, workload.data_shape
    rng = np.random.RandomState(seed)  # whose numbers stay the same in every version of numpy
    state = model.init(jax.random.key(seed))
    g_params, d_params = (
        jax.tree_util.tree_map_with_path(functools.partial(_random_params, rng), player.params)
        for player in (state.generator, state.critic)
    )
    if config.loss == "wgan":  # as they are but for the first update, which would be all clipping
        d_params = jax.tree.map(lambda w: np.clip(w, -config.clip, config.clip), d_params)
    state = state._replace(
        generator=state.generator._replace(params=g_params),
        critic=state.critic._replace(params=d_params),
        ema=jax.tree.map(np.copy, g_params),
    )
    sizes = (ITERATIONS, config.n_critic, config.batch_size)
    reals = rng.uniform(-1, 1, (*sizes, *shape)).astype(np.float32)
    noise = [
        [
            drawn_noise(config.latent_dim, config.batch_size, jax.random.fold_in(key, update))
            for update in range(config.n_critic + 1)
        ]
        for key in (jax.random.fold_in(state.key, step) for step in range(ITERATIONS))
    ]
    latents = np.array([[each[0] for each in iteration] for iteration in noise])
    epsilon = np.array([[each[1] for each in iteration[:-1]] for iteration in noise])
    return state, Inputs(
        *(d_params, g_params, state.generator.stats),
        *(reals, latents[:, :-1], latents[:, -1], epsilon),
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
    """Runs the losses that plain flax's updates minimise, and the updates."""
    differentiate, d_update, g_update, init = _plain_flax(workload)
    first = differentiate(inputs)
    d_state, g_state = init(inputs.d_params, inputs.g_params, inputs.g_stats)
    trained = []
    for i, z in enumerate(inputs.g_latents):
        for each in zip(inputs.reals[i], inputs.d_latents[i], inputs.epsilon[i], strict=True):
            d_state = d_update(d_state, g_state[0], *each)
        g_state = g_update(g_state, d_state[0], z)
        g_params, stats, _, (average, _), _ = g_state
        trained.append(Trained(d_state[0], g_params, average, stats))
    return Answer(*first, trained)


@functools.cache
def _plain_flax(workload):
    @jax.jit
    def differentiate(inputs):
        d_params, g_params = inputs.d_params, inputs.g_params
        fake, _ = plain_flax.generate(workload, g_params, inputs.d_latents[0, 0])
        d_answer = jax.value_and_grad(plain_flax.critic_loss)(
            d_params, workload, inputs.reals[0, 0], fake, inputs.epsilon[0, 0]
        )
        (g_loss, _), g_gradients = jax.value_and_grad(plain_flax.generator_loss, has_aux=True)(
            g_params, workload, d_params, inputs.g_latents[0]
        )
        return *d_answer, g_loss, g_gradients

    updates = plain_flax.make_updates(workload)
    return differentiate, jax.jit(updates.d_update), jax.jit(updates.g_update), updates.init


def ask_pytorch(workload: Workload, inputs: Inputs) -> Answer:
    """Runs PyTorch's losses and updates on the CPU."""
    from benchmarks import pytorch

    return pytorch.ask(workload, inputs)
