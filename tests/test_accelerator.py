"""What an accelerator computes, beside the CPU: `pytest -m accelerator`, in one process.

Layers are compared with float64 on the CPU, training steps with the CPU's float32, from the same
numbers. An error is the norm of a difference over that of what is expected, array by array. It is
printed for each precision, since a GPU multiplies float32 in fewer bits unless it is told not to.

Where there is no accelerator the tests skip. JAXGAN_TEST_ACCELERATOR=cpu runs them on the CPU: they
then compare it with itself, which shows that the tests run, and how far float64 is from float32.
"""

import contextlib
import functools
import os
import pathlib
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgan
from jaxgan import data, losses, networks, parallel
from jaxgan.losses.penalties import slope_norms
from jaxgan.networks import Conv, ConvTranspose
from jaxgan.networks.network import as_network

pytestmark = [
    pytest.mark.accelerator,
    # What a driver, or a library for it, warns of is shown and fails nothing.
    pytest.mark.filterwarnings("default"),
]

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(autouse=True, scope="module")
def device():
    first = jax.devices()[0]
    if first.platform == "cpu" and os.environ.get("JAXGAN_TEST_ACCELERATOR") != "cpu":
        pytest.skip("no accelerator here (JAXGAN_TEST_ACCELERATOR=cpu runs these on the CPU)")
    return first


@pytest.fixture
def say(capsys):
    """Prints a line of what was measured, also of tests that pass."""

    def print_line(line):
        with capsys.disabled():
            print(f"\n  {line}", end="")

    return print_line


@contextlib.contextmanager
def on_cpu(x64=False):
    with jax.enable_x64(x64), jax.default_device(jax.devices("cpu")[0]):
        yield


def error(found, expected):
    """The largest relative error of an array, in the norm; 0 of 0 is 0."""

    def of_array(a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        difference, size = np.linalg.norm(a - b), np.linalg.norm(b)
        return difference / size if size else np.inf if difference else 0.0

    return float(np.max(jax.tree.leaves(jax.tree.map(of_array, found, expected))))  # NaN if any is


def minus(after, before):
    return jax.tree.map(lambda a, b: np.asarray(a, np.float64) - np.asarray(b), after, before)


# Layers.

# A sum of n products in float32 is off by about √n·2⁻²⁴ of its terms, 2e-6 for the 1,600 products
# here; a convolution by minimal filtering or FFT, which a GPU's library may choose, by some times
# that. TF32 keeps 10 bits of each factor and bfloat16 7: half a unit is 5e-4 and 4e-3 of it, and of
# sums of many terms, where the errors go to both sides, about as much. Two products or three follow
# each other in a second derivative, and in a network of three layers ten.
PRECISIONS = {
    "float32": ("highest", jnp.float32, 2e-5),
    "default": (None, jnp.float32, 5e-3),
    "bfloat16": (None, jnp.bfloat16, 4e-2),
}
each_precision = pytest.mark.parametrize("precision", PRECISIONS)


class Smooth(nn.Module):
    """A critic that has derivatives of every order."""

    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x):
        x = jnp.tanh(Conv(16, (5, 5), (2, 2), dtype=self.dtype)(x))
        x = jnp.tanh(ConvTranspose(8, (5, 5), (2, 2), dtype=self.dtype)(x))
        return nn.Dense(1, dtype=self.dtype)(x.reshape(len(x), -1))[:, 0]


class Normed(nn.Module):
    """BatchNorm as the DCGAN generator has it."""

    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=False, momentum=0.9, dtype=self.dtype)(x)


# The layer, JAX's own or the same as the reference, and the shape of its input.
LAYERS = {
    "conv 5x5/2": (Conv(64, (5, 5), (2, 2)), nn.Conv(64, (5, 5), (2, 2)), (8, 16, 16, 64)),
    "conv 5x5/2 of images": (Conv(64, (5, 5), (2, 2)), nn.Conv(64, (5, 5), (2, 2)), (8, 32, 32, 3)),
    "conv 3x3": (Conv(64, (3, 3)), nn.Conv(64, (3, 3)), (8, 8, 8, 64)),
    "transposed 5x5/2": (
        *(each(64, (5, 5), (2, 2)) for each in (ConvTranspose, nn.ConvTranspose)),
        (8, 8, 8, 64),
    ),
    "transposed 5x5/2 to images": (
        *(each(3, (5, 5), (2, 2)) for each in (ConvTranspose, nn.ConvTranspose)),
        (8, 16, 16, 64),
    ),
    "dense": (nn.Dense(256), nn.Dense(256), (64, 512)),
    "batch norm": (Normed(), Normed(), (8, 8, 8, 32)),
    "smooth critic": (Smooth(), Smooth(), (8, 16, 16, 3)),
    "spectral_norm": (
        *(lambda dtype: networks.spectral_norm(Smooth(dtype)),) * 2,
        (8, 16, 16, 3),
    ),
    "packed": (*(lambda dtype: networks.packed(Smooth(dtype), 2),) * 2, (8, 16, 16, 3)),
}


def orders(f, args, u, v):
    """f(*args); its gradients against u; the gradients of those against v."""

    def gradients(args, u):
        return jax.vjp(f, *args)[1](u)

    first, pullback = jax.vjp(gradients, args, u)
    return f(*args), first, pullback(v)


@functools.cache
def arguments():
    """For each layer its first variables, its parameters and input, and u and v of `orders`."""
    rng = np.random.default_rng(0)

    def draw(like):
        return jax.tree.map(lambda x: np.float32(rng.standard_normal(np.shape(x))), like)

    found = {}
    with on_cpu():
        for name, (layer, _, shape) in LAYERS.items():
            network = network_of(layer, jnp.float32)
            x = np.float32(rng.standard_normal(shape))
            params, stats = jax.device_get(network.init(jax.random.key(0), (x,)))
            y = jax.eval_shape(lambda p, x, n=network, s=stats: call(n, s, p, x), params, x)
            found[name] = stats, (params, x), draw(y), draw((params, x))
    return found


def network_of(layer, dtype):
    made = layer.clone(dtype=dtype) if isinstance(layer, nn.Module) else layer(dtype)
    return as_network("critic", made)


def call(network, stats, params, x):
    return network.call(params, stats, (x,), True, {})[0].astype(x.dtype)


def all_layers(which, dtype):
    """A program of all layers' derivatives; `which` is 0 for ours, 1 for the reference's."""

    @jax.jit
    def program(args):
        return {
            name: orders(functools.partial(call, network_of(LAYERS[name][which], dtype), s), *rest)
            for name, (s, *rest) in args.items()
        }

    return program


@functools.cache
def exact_layers():
    with on_cpu(x64=True):
        args = jax.tree.map(np.float64, arguments())
        return jax.device_get(all_layers(1, jnp.float64)(args))


@functools.cache
def found_layers(precision):
    matmul, dtype, _ = PRECISIONS[precision]
    with jax.default_matmul_precision(matmul):
        return jax.device_get(all_layers(0, dtype)(arguments()))


@each_precision
@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_and_its_derivatives(layer, precision, device, say):
    if precision == "bfloat16" and device.platform == "cpu":
        pytest.skip("a CPU adds up a bias's gradient in bfloat16: seen to be off by 0.1")
    pairs = zip(found_layers(precision)[layer], exact_layers()[layer], strict=True)
    errors = [error(*pair) for pair in pairs]
    say(
        f"{layer}, {precision}: value {errors[0]:.1e}, derivatives: first {errors[1]:.1e}, "
        f"second {errors[2]:.1e}"
    )
    assert max(errors) < PRECISIONS[precision][2]


# The gradient of a gradient penalty, where the rounding of products adds up.


@functools.cache
def penalty_gradient(precision, batch=0):
    """Of a DCGAN critic of width 64, the penalty's gradient at images of a batch."""
    matmul, dtype = {"float64": (None, jnp.float64)}.get(precision, PRECISIONS.get(precision))[:2]
    with on_cpu(), jax.default_matmul_precision("highest"):
        _, critic = networks.dcgan((32, 32, 3), latent_dim=8, width=64)
        params = jax.device_get(critic.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))
        # As large as in training: a new critic is flat, and its penalty 1 whatever it computes.
        params = jax.tree.map(lambda w: 3 * w, params)
    x = np.random.default_rng(batch).uniform(-1, 1, (64, 32, 32, 3)).astype(np.float32)
    critic = critic.clone(dtype=dtype)

    def penalty(params, x):
        return jnp.mean((slope_norms(functools.partial(critic.apply, params), x) - 1) ** 2)

    if precision == "float64":
        params, x = jax.tree.map(np.float64, (params, x))
    where = on_cpu(x64=True) if precision == "float64" else contextlib.nullcontext()
    with where, jax.default_matmul_precision(matmul):
        return np.concatenate(
            [
                np.ravel(g)
                for g in jax.tree.leaves(jax.device_get(jax.jit(jax.grad(penalty))(params, x)))
            ]
        )


@each_precision
def test_the_gradient_of_a_penalty(precision, say):
    """In the precision of GPUs its error is small beside what one batch differs from the next by.

    A unit whose sign before its ReLU is turned by rounding adds to it: the CPU's own float32 is off
    by 4e-4.
    """
    exact = penalty_gradient("float64")
    found = error(penalty_gradient(precision), exact)
    noise = error(penalty_gradient("float32", batch=1), exact)
    say(f"penalty's gradient, {precision}: {found:.1e}; another batch's differs by {noise:.1e}")
    assert found < {"float32": 2e-3, "default": 2e-2, "bfloat16": 0.1}[precision]
    assert found < noise / 3


# Steps.

LOSSES = {
    "bce": losses.bce(),
    "wgan": losses.wgan(clip=0.1),
    "wgan-gp": losses.wgan_gp(),
    "r3gan": losses.with_r2(losses.with_r1(losses.rpgan(), 1.0), 1.0),
}
PAIRS = {
    "mlp": functools.partial(networks.mlp, (2,), latent_dim=4, width=64, depth=2),
    "dcgan": functools.partial(networks.dcgan, (16, 16, 3), latent_dim=8, width=16),
}
SHAPES = {"mlp": (2,), "dcgan": (16, 16, 3)}
# Adam's first steps have the size of its rate whatever the gradient's size is, also where that is
# rounding: ε is above that, so that the gradient counts.
OPTIMIZERS = {"sgd": optax.sgd(0.01), "adam": optax.adam(1e-2, b1=0.5, eps=1e-3)}
N_CRITIC, BATCH = 2, 16


def model_of(pair, loss, optimizer="sgd", dtype=jnp.float32):
    tx = OPTIMIZERS[optimizer]
    return jaxgan.gan(*PAIRS[pair](dtype=dtype), LOSSES[loss], tx, tx, N_CRITIC, ema_decay=0.9)


def reals_of(pair, *leading):
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (*leading, N_CRITIC, BATCH, *SHAPES[pair])).astype(np.float32)


@functools.cache
def updates(pair, optimizer, dtype, cpu):
    """{loss: (first variables, {update: (variables after it, metrics)})}, as one program."""
    models = {loss: model_of(pair, loss, optimizer, dtype) for loss in LOSSES}

    @jax.jit
    def program(reals):
        key, found = jax.random.key(1), {}
        for loss, model in models.items():
            state = model.init(jax.random.key(0))
            results = {"step": model.step(state, reals)}
            if optimizer == "sgd":
                results["d_step"] = model.d_step(state, reals[0], key)
                results["g_step"] = model.g_step(state, reals[0], key)
            found[loss] = (
                variables(state),
                {name: (variables(after), metrics) for name, (after, metrics) in results.items()},
            )
        return found

    with on_cpu() if cpu else contextlib.nullcontext(), jax.default_matmul_precision("highest"):
        return jax.device_get(program(reals_of(pair)))


def variables(state):
    """What a state trains, one vector for each part: an array alone may be rounding only, as a bias
    before BatchNorm is, or not move at all.
    """
    parts = {
        "critic": state.critic.params,
        "generator": state.generator.params,
        "statistics": state.generator.stats,
        "average": state.ema,
    }
    return {
        name: jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(part)])
        for name, part in parts.items()
        if jax.tree.leaves(part)
    }


def error_of_change(found, expected, before):
    """The error of what was added to variables, beyond what rounding the sums explains.

    A weight is rounded to 6e-8 of itself, twice here: a thousandth of an update 1e-4 as large.
    """

    def of_part(a, b, w):
        apart, change = np.linalg.norm(minus(a, b)), np.linalg.norm(minus(b, w))
        beyond = max(0.0, apart - 2 * 2**-24 * np.linalg.norm(w))
        return beyond / change if change else np.inf if beyond else 0.0

    return float(np.max(jax.tree.leaves(jax.tree.map(of_part, found, expected, before))))


def compare(found, expected, tolerance, say, name):
    (_, found), (before, expected) = found, expected
    for update, (after, metrics) in found.items():
        reference, numbers = expected[update]
        worst = error_of_change(after, reference, before)
        apart = max(abs(metrics[k] - numbers[k]) / max(1, abs(numbers[k])) for k in numbers)
        say(f"{name} {update}: variables {worst:.1e}, metrics {apart:.1e}")
        assert worst < tolerance and apart < tolerance


each_pair = pytest.mark.parametrize("pair", PAIRS)
each_loss = pytest.mark.parametrize("loss", LOSSES)
# Gradients of two means that nearly cancel are rounded to 1e-5 of what is left; two updates of the
# critic come before the generator's. Another precision, noise or order of updates shows as 1e-3.
STEP_TOLERANCE = 1e-4


@each_loss
@each_pair
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_are_those_of_the_cpu(pair, loss, optimizer, say):
    found, expected = (updates(pair, optimizer, jnp.float32, cpu)[loss] for cpu in (False, True))
    compare(found, expected, STEP_TOLERANCE, say, f"{pair} {loss} {optimizer}")


@each_loss
@each_pair
def test_steps_in_bfloat16_are_near(pair, loss, say):
    """Each product is off by 4e-3 at most, and some ten follow each other in an update.

    Of a whole step the generator's gradient is what two updates of the critic left, and may nearly
    cancel: it is finite.
    """
    before, found = updates(pair, "sgd", jnp.bfloat16, False)[loss]
    expected = updates(pair, "sgd", jnp.float32, True)[loss]
    step = found["step"]
    found = {name: found[name] for name in ("d_step", "g_step")}
    compare((before, found), expected, 0.1, say, f"bfloat16 {pair} {loss}")
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(step))


# Devices and seeds.


def step_once(model, mode, device, reals):
    with jax.default_matmul_precision("highest"):
        run = parallel.wrap(model.step, mode, split=(1,), devices=[device])
        first = parallel.replicate(model.init(jax.random.key(0)), mode, [device])
        return jax.device_get(variables(run(first, reals)[0]))


@pytest.mark.parametrize("mode", ["pmap", "mesh"])
def test_one_device_of_several_computes_what_one_does(mode, device, say):
    model, reals = model_of("dcgan", "wgan-gp"), reals_of("dcgan")
    before = jax.device_get(variables(model.init(jax.random.key(0))))
    pair = (step_once(model, each, device, reals) for each in (mode, "jit"))
    found = error_of_change(*pair, before)
    say(f"{mode} on one device against jit: {found:.1e}")
    assert found < STEP_TOLERANCE


@each_pair
def test_seeds_trained_together_are_those_trained_alone(pair, say):
    """A batched convolution on an accelerator, whose kernels are each seed's own."""
    model, reals = model_of(pair, "wgan-gp"), reals_of(pair, 2)
    several, keys = jaxgan.over_seeds(model), jax.random.split(jax.random.key(0))
    with jax.default_matmul_precision("highest"):
        together = several.step(several.init(keys), reals)[0]
        alone = [
            model.step(model.init(key), each)[0] for key, each in zip(keys, reals, strict=True)
        ]
    for index, state in enumerate(alone):
        own = jax.tree.map(lambda x, i=index: x[i], together)
        states = own, state, model.init(keys[index])
        found = error_of_change(*(jax.device_get(variables(each)) for each in states))
        say(f"{pair}, seed {index} of two against alone: {found:.1e}")
        assert found < STEP_TOLERANCE


# Transfers.


def test_a_step_needs_nothing_from_the_host(device):
    model = model_of("mlp", "wgan-gp")
    state, reals = jax.device_put((model.init(jax.random.key(0)), reals_of("mlp")), device)
    state, _ = model.step(state, reals)  # the first call looks at the data's range
    with jax.transfer_guard("disallow_explicit"):
        state, metrics = jax.block_until_ready(model.step(state, reals))
    assert int(state.step) == 2 and np.isfinite(float(metrics["d_loss"]))


def test_many_steps_need_nothing_from_the_host(device):
    model = model_of("mlp", "wgan-gp")
    program = parallel.wrap(
        parallel.many_steps(model.step, lambda whole, batch: data.to_float(whole[batch])),
        "jit",
        split=(None, 2, None),
    )
    whole = np.random.default_rng(0).standard_normal((64, 2)).astype(np.float32)
    batches = data.batch_indices(0, 0, 4, N_CRITIC, BATCH, 64)
    state = model.init(jax.random.key(0))
    state, whole, batches, count = jax.device_put((state, whole, batches, np.int32(4)), device)
    state, _ = program(state, whole, batches, count)
    with jax.transfer_guard("disallow_explicit"):
        state, metrics = jax.block_until_ready(program(state, whole, batches, count))
    assert int(state.step) == 8 and np.isfinite(metrics["d_loss"]).all()


# Whole runs.

IMAGES = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3)).astype(np.uint8)
OPTIONS = {"batch_size": BATCH, "log_every": 1, "checkpoint_every": 2, "parallel": "jit"}
# `program.py WORKDIR STEPS...` trains to each of these steps in turn, as fit resumes its own runs.
PROGRAM = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
import jax
from test_accelerator import train
if __name__ == "__main__":
    train(sys.argv[1], *map(int, sys.argv[2:]))
    print("on", jax.devices()[0].platform)
"""


def train(workdir, *steps):
    with jax.default_matmul_precision("highest"):
        for each in steps:
            run = jaxgan.fit(model_of("dcgan", "wgan-gp"), IMAGES, each, workdir=workdir, **OPTIONS)
    return run


def train_elsewhere(workdir, *steps, **environment):
    """The same in a process of its own; returns where it ran, as it says."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(workdir), *map(str, steps)],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()[-1]


def load(workdir):
    return jaxgan.load(workdir, model_of("dcgan", "wgan-gp")).state


def leaves(state):
    return jax.tree.leaves(jax.device_get(state._replace(key=jax.random.key_data(state.key))))


def error_of_run(found, expected):
    """The error of how far training has moved the variables, from `fit`'s first state of seed 0."""
    first = model_of("dcgan", "wgan-gp").init(jax.random.split(jax.random.key(0))[0])
    return error_of_change(*(jax.device_get(variables(s)) for s in (found, expected, first)))


def test_fit_trains_and_resumes(tmp_path, say):
    """Its kernels may add in another order each time, so here only nearly to the same numbers."""
    whole, resumed = train(tmp_path / "whole", 6), train(tmp_path / "resumed", 3, 6)
    assert whole.finished and resumed.finished and resumed.step == 6
    assert all(np.isfinite(x).all() for x in leaves(whole.state))
    assert [row["step"] for row in resumed.metrics] == [1, 2, 3, 4, 5, 6]
    samples = whole.sample(jax.random.key(0), 3)
    assert samples.shape == (3, 16, 16, 3) and np.isfinite(samples).all()
    found = error_of_run(resumed.state, whole.state)
    same = all(map(np.array_equal, leaves(whole.state), leaves(resumed.state)))
    say(
        f"resumed against never stopped, without a flag for it: {found:.1e}, "
        f"{'the same' if same else 'other'} bits"
    )
    assert found < 10 * STEP_TOLERANCE


def test_fit_resumes_to_the_same_bits_where_kernels_are_deterministic(tmp_path, device):
    """XLA's flag for it: no atomic additions, and no choice of kernels by their measured time."""
    flags = {"gpu": "--xla_gpu_deterministic_ops=true"}.get(device.platform, "")
    flags = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()}
    ran = train_elsewhere(tmp_path / "whole", 6, **flags)
    assert ran == device.platform
    train_elsewhere(tmp_path / "resumed", 3, 6, **flags)
    for a, b in zip(
        leaves(load(tmp_path / "whole")), leaves(load(tmp_path / "resumed")), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_fit_goes_on_from_a_checkpoint_of_a_cpu(tmp_path, say):
    assert train_elsewhere(tmp_path / "moved", 3, JAX_PLATFORMS="cpu") == "cpu"
    train_elsewhere(tmp_path / "stayed", 6, JAX_PLATFORMS="cpu")
    run = train(tmp_path / "moved", 6)
    assert run.finished and run.step == 6 and len(run.metrics) == 6
    found = error_of_run(run.state, load(tmp_path / "stayed"))
    say(f"three steps of a CPU and three of the accelerator against six of a CPU: {found:.1e}")
    assert found < 10 * STEP_TOLERANCE
