"""Do the compared programs compute the same? Same weights and noise in, same training out.

First the losses and the gradients of both players, in networks of full width (but see `MOST`). Then
what some iterations make of the weights, where optimizers, clipping, the order of updates and
BatchNorm's statistics show. These networks are narrow: optimizers divide a gradient by its own
size, even where it is only rounding. In a DCGAN of width 64 PyTorch's float32 and float64 are a
fifth of an update apart.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import plain_flax
from benchmarks.ours import weights_of
from benchmarks.workloads import Answer, Inputs, Weights, Workload
from jaxgan.commands.settings import make_model
from jaxgan.gan import GAN, gan
from jaxgan.losses import draw_epsilon
from jaxgan.noise import draw_noise
from jaxgan.state import GANState

BATCH = 8
ITERATIONS = 5
NARROW = 8


class Deviation(NamedTuple):
    """How far apart two programs are: their losses and gradients, and their updates."""

    gradients: float
    updates: float

    @property
    def excess(self) -> float:
        """How many times the tolerance it is; NaN too is too much."""
        return float(np.nan_to_num(np.max(np.divide(self, TOLERANCE)), nan=np.inf))


# At the 6e-3 of a preset rounding has grown to a fifth of an update by the fifth iteration.
# The average's decay, which grows as t/(9 + t), is to reach its bound within the iterations.
RATES = {"g_learning_rate": 2e-4, "d_learning_rate": 1e-4, "ema_decay": 0.2}
# Seen in gradients: 9e-7 at most; in updates 2e-4 (mlp), 1e-3 (dcgan32-bce), 8e-3 (dcgan32-wgan).
TOLERANCE = Deviation(gradients=1e-5, updates=3e-2)
# But where rounding turns the sign of a unit before its ReLU, that unit's share of the gradient
# comes or goes: 4e-4 for one of 100,000. Then another draw decides.
DRAWS = 3
# Of a residual pair of width 128, with six million units at a batch of 8, some turn in every draw:
# the gradients differed by 9e-5.
MOST = {"resnet": 16}


class DisagreementError(Exception):
    """Two programs computed different things."""


def verify(workload: Workload, with_pytorch: bool) -> dict[str, Deviation]:
    """Compares other programs with jaxgan: losses, gradients, and updates of `ITERATIONS`.

    The batch is small, the arithmetic float32, the rates `RATES`.

    Returns:
      The deviation of each program.

    Raises:
      DisagreementError: if one is more than rounding.
    """
    pinned = {"batch_size": BATCH, "precision": "float32", **RATES}
    full = min(workload.config.width, MOST.get(workload.config.model, workload.config.width))
    wide, narrow = (
        workload._replace(config=dataclasses.replace(workload.config, **pinned, width=width))
        for width in (full, NARROW)
    )
    for seed in range(DRAWS):
        gradients = compare(wide, seed, 1, with_pytorch)
        updates = compare(narrow, seed, ITERATIONS, with_pytorch)
        deviations = {
            name: Deviation(gradients[name].gradients, updates[name].updates) for name in gradients
        }
        worst = max(deviations, key=lambda name: deviations[name].excess)
        if deviations[worst].excess <= 1:
            return deviations
    raise DisagreementError(
        f"{workload.name}: {worst} and jaxgan differ by {deviations[worst].gradients:.1e} in a "
        f"loss or a gradient and by {deviations[worst].updates:.1e} in an update of the weights, "
        f"where rounding explains {TOLERANCE.gradients:.0e} and {TOLERANCE.updates:.0e}: they do "
        "not train the same model."
    )


def compare(
    workload: Workload, seed: int, iterations: int, with_pytorch: bool
) -> dict[str, Deviation]:
    """The deviation of each program from jaxgan, over some iterations of one draw."""
    with jax.default_matmul_precision("highest"):  # else GPUs round products to TF32
        inputs, ours = ask_ours(workload, seed, iterations)
        answers = {"plain flax": plain_flax.ask(workload, inputs)}
    if with_pytorch:
        from benchmarks import pytorch

        answers["pytorch"] = pytorch.ask(workload, inputs)
    return {name: deviation(each, ours, inputs) for name, each in answers.items()}


def deviation(answer: Answer, reference: Answer, inputs: Inputs) -> Deviation:
    """The largest difference of a loss or a parameter's gradient, and that of an update.

    Of a loss, relative to it or to one; of a gradient, in the norm, relative to that of all
    gradients of its player: some, such as a bias's before BatchNorm, are nothing but rounding.
    For updates see `updates_of` and `differences`.
    """
    worst = []
    for player in ("d", "g"):
        loss, expected = (float(getattr(each, f"{player}_loss")) for each in (answer, reference))
        worst.append(abs(loss - expected) / max(1.0, abs(expected)))
        found, gradients = (
            _flat(getattr(each, f"{player}_gradients")) for each in (answer, reference)
        )
        size = np.linalg.norm([np.linalg.norm(each) for each in gradients.values()])
        worst += [np.linalg.norm(found[name] - each) / size for name, each in gradients.items()]
    updates = [
        [*differences(*(updates_of(each, inputs) for each in pair)).values()]
        for pair in zip(answer.trained, reference.trained, strict=True)
    ]
    return Deviation(float(np.max(worst)), float(np.max(updates)))  # not max, which hides a NaN


def updates_of(trained: Weights, inputs: Inputs) -> dict[str, np.ndarray]:
    """By name, what training changed in each parameter, and the running statistics, in float64.

    A bias that BatchNorm follows is left out: it is subtracted again, so that its gradient is
    nothing but rounding, of which Adam and RMSProp make steps of full length.
    """
    updates = {f"g_stats/{name}": x for name, x in _flat(trained.g_stats).items()}
    for part in ("d_params", "g_params", "average"):
        now, start = (_flat(getattr(each, part)) for each in (trained, inputs.first))
        for name in sorted(now.keys() - _before_norm(now)):
            updates[f"{part}/{name}"] = now[name] - start[name]
    return updates


def differences(
    updates: dict[str, np.ndarray], reference: dict[str, np.ndarray]
) -> dict[str, float]:
    """For each tensor the norm of the difference, relative to that of the reference.

    That of a running mean relative to the standard deviation: the biases that `updates_of` leaves
    out move it.
    """
    relative = {}
    for name, expected in reference.items():
        mean = name.startswith("g_stats") and name.endswith("mean")
        size = np.sqrt(reference[name.removesuffix("mean") + "var"]) if mean else expected
        relative[name] = _relative(updates[name] - expected, size)
    return relative


def _flat(tree):
    """A tree's arrays by their paths, in float64."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(key.key for key in path): np.asarray(x, np.float64) for path, x in leaves}


def _relative(difference, size):
    """The norm of one to that of the other. A Wasserstein critic's last bias stays: 0 of 0 is 0."""
    difference, size = np.linalg.norm(difference), np.linalg.norm(size)
    return float(difference / size) if size else np.inf if difference else 0.0


def _before_norm(params):
    """The biases that BatchNorm subtracts: of transposed convolutions but the last, in critics of
    convolutions but the first, and of all layers of a residual generator's blocks.
    """
    biases = {
        name
        for name in params
        if name.startswith("UpBlock") and name.endswith("/bias") and "BatchNorm" not in name
    }
    for i in range(sum(name.endswith("/scale") for name in params)):
        biases |= {f"ConvTranspose_{i - 1}/bias", f"Conv_{i + 1}/bias"} & params.keys()
    return biases


def ask_ours(
    workload: Workload, seed: int = 0, iterations: int = ITERATIONS
) -> tuple[Inputs, Answer]:
    """Runs jaxgan's own steps from random weights, and finds out the noise that they drew."""
    model = make_model(workload.config, workload.data_shape)
    state, inputs = draw_inputs(workload, model, seed, iterations)
    key, real = jax.random.fold_in(state.key, 0), inputs.reals[0, 0]
    d_gradients, d_metrics = model.d_grad(state, real, jax.random.fold_in(key, 0))
    g_key = jax.random.fold_in(key, workload.config.n_critic)
    g_gradients, g_metrics = model.g_grad(state, real, g_key)
    trained = train(model, state, inputs.reals)
    return inputs, Answer(
        d_metrics["d_loss"], d_gradients, g_metrics["g_loss"], g_gradients, trained
    )


def build(
    workload: Workload,
    g_tx: optax.GradientTransformation,
    d_tx: optax.GradientTransformation,
    dtype: Any = jnp.float32,
) -> GAN:
    """jaxgan's model of a workload, with other optimizers or other arithmetic."""
    game = make_model(workload.config, workload.data_shape).game
    networks = (network.source.clone(dtype=dtype) for network in (game.generator, game.critic))
    return gan(*networks, game.loss, g_tx, d_tx, n_critic=game.n_critic, ema_decay=game.ema_decay)


def train(model: GAN, state: GANState, reals: np.ndarray) -> list[Weights]:
    """What `model.step` makes of a state, iteration by iteration."""
    trained = []
    for each in reals:
        state, _ = model.step(state, each)
        trained.append(weights_of(state))
    return trained


def draw_inputs(
    workload: Workload, model: GAN, seed: int, iterations: int
) -> tuple[GANState, Inputs]:
    """A state of random weights, and with it the data and the noise of its first iterations."""
    config = workload.config
    rng = np.random.RandomState(seed)  # whose numbers stay the same in every version of numpy
    state = model.init(jax.random.key(seed))
    g_params, d_params = (
        jax.tree_util.tree_map_with_path(functools.partial(_random_params, rng), player.params)
        for player in (state.generator, state.critic)
    )
    if config.loss == "wgan":  # where they are in training, some at the bounds, most between them
        d_params = jax.tree.map(functools.partial(_clipped, config.clip), d_params)
    state = state._replace(
        generator=state.generator._replace(params=g_params),
        critic=state.critic._replace(params=d_params),
        ema=jax.tree.map(np.copy, g_params),
    )
    sizes = (iterations, config.n_critic, config.batch_size)
    reals = rng.uniform(-1, 1, (*sizes, *workload.data_shape)).astype(np.float32)
    noise = [
        [
            drawn_noise(config.latent_dim, config.batch_size, jax.random.fold_in(key, update))
            for update in range(config.n_critic + 1)
        ]
        for key in (jax.random.fold_in(state.key, step) for step in range(iterations))
    ]
    latents = np.array([[each[0] for each in iteration] for iteration in noise])
    epsilon = np.array([[each[1] for each in iteration[:-1]] for iteration in noise])
    reals = reals.astype(jnp.result_type(float))
    return state, Inputs(weights_of(state), reals, latents[:, :-1], latents[:, -1], epsilon)


def _random_params(rng, path, leaf):
    """Of a size that keeps that of activations, biases too: zeros would hide their mistakes."""
    noise = rng.standard_normal(leaf.shape).astype(leaf.dtype)
    if len(leaf.shape) > 1:
        return noise / np.sqrt(np.prod(leaf.shape[:-1])).astype(leaf.dtype)
    return noise / 10 + (path[-1].key == "scale")


def _clipped(clip, w):
    return np.clip(w * (clip / 2 / np.sqrt(np.mean(w**2))), -clip, clip)


def drawn_noise(latent_dim: int, batch: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The latents and the ε that an update of a batch draws from a key."""
    latents, keys = draw_noise(key, batch, latent_dim)
    return latents, draw_epsilon(keys, batch, latents.dtype)
