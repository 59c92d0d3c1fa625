"""The benchmark's instrument: equal models, counted operations, fair turns."""

import dataclasses
import functools
import importlib.util
import json
import math
import os
import pathlib
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

EXPERIMENTS = pathlib.Path(__file__).parent.parent / "experiments"
sys.path.insert(0, str(EXPERIMENTS))

import benchmark
from benchmarks import limit, measure, ours, plain_flax, verify, whole_runs
from benchmarks.operations import count, count_operations
from benchmarks.plain_flax import PlainFlax
from benchmarks.workloads import Workload, make_data, workloads

from jaxgan.commands.config import Config
from jaxgan.commands.presets import preset
from jaxgan.commands.settings import make_model

HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="PyTorch, the extra `bench`, is missing")


def tiny(loss, model, **changes):
    """A workload of seconds; with BatchNorm in the DCGAN critic where the loss allows it."""
    norm = model == "dcgan" and loss != "wgan-gp"
    config = Config(
        loss=loss, model=model, width=8, depth=2, latent_dim=3, batch_size=8, critic_norm=norm
    )
    shape = (2,) if model == "mlp" else (8, 8, 2)
    return Workload(f"{model}-{loss}", dataclasses.replace(config, **changes), shape)


DCGAN_BCE = tiny("bce", "dcgan")._replace(data_shape=(16, 16, 1))
MLP_GP = tiny("wgan-gp", "mlp")
TINY = [
    DCGAN_BCE,
    tiny("wgan-gp", "dcgan"),
    tiny("wgan-gp", "resnet")._replace(data_shape=(16, 16, 2)),
    MLP_GP,
    tiny("wgan", "mlp", optimizer="rmsprop")._replace(name="mlp-of-images", data_shape=(8, 8, 1)),
]
each_tiny = pytest.mark.parametrize(
    "workload",
    [pytest.param(w, marks=[] if w is MLP_GP else [pytest.mark.slow]) for w in TINY],
    ids=lambda each: each.name,
)
ask_ours = functools.cache(verify.ask_ours)


@pytest.fixture(autouse=True)
def compile_ours_once(monkeypatch):
    monkeypatch.setattr(verify, "ask_ours", ask_ours)


@pytest.mark.slow
@each_tiny
def test_plain_flax_trains_as_jaxgan_does(workload):
    verify.verify(workload, with_pytorch=False)


@needs_torch
@each_tiny
def test_pytorch_trains_as_jaxgan_does(workload):
    assert set(verify.verify(workload, with_pytorch=True)) == {"plain flax", "pytorch"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        *({"penalty": 9.0}, {"loss": "wgan"}, {"optimizer": "sgd"}, {"b1": 0.4}, {"b2": 0.8}),
        *({"g_learning_rate": 3e-4}, {"d_learning_rate": 3e-4}),
        *({"ema_decay": 0.1}, {"ema_decay": 0.9}),
    ],
    ids=str,
)
def test_other_training_is_refused(change, monkeypatch):
    ask = plain_flax.ask

    def ask_changed(workload, inputs):
        config = dataclasses.replace(workload.config, **change)
        return ask(workload._replace(config=config), inputs)

    monkeypatch.setattr(plain_flax, "ask", ask_changed)
    monkeypatch.setattr(verify, "DRAWS", 1)
    with pytest.raises(verify.DisagreementError, match="plain flax and jaxgan differ by"):
        verify.verify(MLP_GP, with_pytorch=False)


@pytest.mark.slow
def test_other_data_and_noise_are_told_apart():
    """Each shows far beyond the tolerance."""
    inputs, answer = ask_ours(MLP_GP)
    for name in ("reals", "d_latents", "g_latents", "epsilon"):
        other = inputs._replace(**{name: 1 - np.array(getattr(inputs, name))})
        deviation = verify.deviation(plain_flax.ask(MLP_GP, other), answer, inputs)
        assert deviation.gradients > 10 * verify.TOLERANCE.gradients
        assert deviation.updates > 10 * verify.TOLERANCE.updates


def test_drawn_latents_are_normal_and_epsilon_uniform():
    keys = jax.random.split(jax.random.key(0), 200)
    latents, epsilon = zip(*(verify.drawn_noise(3, verify.BATCH, key) for key in keys), strict=True)
    latents, epsilon = np.array(latents), np.array(epsilon)
    # Standard errors: of the mean 1/√4800 = 0.014, of ε's 0.29/√1600 = 0.007.
    assert abs(latents.mean()) < 0.06 and abs(latents.std() - 1) < 0.05
    assert epsilon.min() >= 0 and epsilon.max() < 1 and abs(epsilon.mean() - 0.5) < 0.03


def test_operations_of_a_pair_of_two_layers_by_hand():
    """Batch 8, width 8: generator 3·8 + 8·2 products a sample, critic 2·8 + 8·1."""
    generator, critic = 2 * (24 + 16), 2 * (16 + 8)
    first_g, first_c, last_c = 2 * 24, 2 * 16, 2 * 8
    d_step = generator  # samples
    d_step += 2 * (3 * critic - first_c)  # forward, and both gradients but that of the data
    # The penalty: forward and back to the data; that pass again, from the data on, for the way back
    # to the last layer's ones; and the gradient of all weights.
    d_step += 2 * critic + (critic - last_c) + critic
    g_step = generator + critic + critic + (2 * generator - first_g)
    workload = tiny("wgan-gp", "mlp", depth=1, n_critic=3)
    assert count_operations(workload) == (8 * (3 * d_step + g_step),) * 2


def products(f, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return [count(jax.make_jaxpr(f)(*arguments).jaxpr, padding) for padding in (True, False)]


@pytest.mark.parametrize("kind", [nn.Conv, nn.ConvTranspose])
def test_operations_of_convolutions_and_their_gradients_by_hand(kind):
    """5×5 at stride 2, 8×8 to 4×4 or back: 4 places of 5 taps an axis, 3 of them on zeros around.

    The zeros that spread the image out in a transposed convolution or in a gradient do not count.
    """
    layer = kind(6, (5, 5), strides=(2, 2), use_bias=False)
    side, out = (8, 4) if kind is nn.Conv else (4, 8)
    x, k, y = (2, side, side, 3), (5, 5, 3, 6), (2, out, out, 6)

    def apply(x, k):
        return layer.apply({"params": {"kernel": k}}, x)

    def differentiate(x, k, y):
        value, gradients = jax.vjp(apply, x, k)
        return value, gradients(y)

    once = [2 * taps**2 * 2 * 3 * 6 for taps in (20, 17)]
    assert products(apply, x, k) == once
    assert products(differentiate, x, k, y) == [3 * n for n in once]


def operations_by_xla(workload):
    """Of both gradients of plain flax, whose convolutions XLA knows as such; no loop is in them."""
    config, model = workload.config, PlainFlax(workload)
    critic, generator = jax.eval_shape(model.start)
    z = jax.ShapeDtypeStruct((config.batch_size, config.latent_dim), jnp.float32)
    real = jax.ShapeDtypeStruct((config.batch_size, *workload.data_shape), jnp.float32)
    epsilon = jax.ShapeDtypeStruct((config.batch_size,), jnp.float32)
    return sum(
        jax.jit(f).lower(*arguments).cost_analysis()["flops"]
        for f, arguments in (
            (model.d_gradient, (critic, generator, real, z, epsilon)),
            (model.g_gradient, (generator, critic, z)),
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "workload",
    [
        tiny("wgan-gp", "mlp", n_critic=1, width=128, batch_size=128),
        pytest.param(
            tiny("wgan-gp", "dcgan", n_critic=1, width=32)._replace(data_shape=(16, 16, 3)),
            marks=pytest.mark.slow,
        ),
        tiny("bce", "dcgan", n_critic=1, width=32)._replace(data_shape=(16, 16, 3)),
        tiny("wgan-gp", "resnet", n_critic=1, width=32)._replace(data_shape=(16, 16, 3)),
    ],
    ids=lambda each: each.name,
)
def test_operations_are_those_that_xla_counts(workload):
    """XLA counts products with pixels only, and element-wise work too: 1 to 2% here."""
    _, counted = count_operations(workload)
    assert counted <= operations_by_xla(workload) < 1.03 * counted


def test_padding_adds_operations_to_convolutions_only():
    for workload in workloads("float32"):
        counted, on_pixels = count_operations(workload)
        assert (counted == on_pixels) == (workload.config.model == "mlp")
        assert counted < 1.3 * on_pixels


def test_digits_has_the_networks_of_the_default_of_the_trainer():
    digits = {each.name: each for each in workloads("float32")}["digits"]
    assert digits.config == dataclasses.replace(preset("wgan", "digits"), n_critic=5)
    assert digits.data_shape == (8, 8, 1)


class Clock:
    """Time that passes only when a program runs."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def program(self, name, seconds):
        def run(n):
            self.calls.append((name, n))
            self.now += n * seconds

        return run


def test_rates_and_ratios_of_a_machine_that_slows_down():
    """Half the speed after a while halves both rates, and leaves their ratio as it was."""
    clock = Clock()

    def program(seconds):
        def run(n):
            for _ in range(n):
                clock.now += seconds * (1 if clock.now < 3 else 2)

        return run

    rates = measure.alternate(
        {"a": program(0.01), "b": program(0.02)}, {"a": 2.0, "b": 2.0}, clock, clock.sleep
    )
    assert max(rates["a"]) == pytest.approx(100) and min(rates["a"]) == pytest.approx(50)
    ratio = measure.summarise(measure.divide(rates["a"], rates["b"]))
    assert ratio["median"] == pytest.approx(2, rel=0.1) and ratio["rounds"] == measure.ROUNDS


def test_turns_rotate_and_each_takes_its_time():
    clock = Clock()
    runs = {name: clock.program(name, 0.001) for name in "abc"}
    measure.alternate(runs, dict.fromkeys(runs, 5.0), clock, clock.sleep)
    timed = [(name, n) for name, n in clock.calls if n > 100][-15:]
    assert [name for name, _ in timed] == list("abcbcacababcbca")
    assert all(n == pytest.approx(1000, rel=0.01) for _, n in timed)


def test_a_program_too_slow_for_its_time_is_measured_once():
    clock = Clock()
    runs = {"fast": clock.program("fast", 0.01), "slow": clock.program("slow", 50.0)}
    rates = measure.alternate(runs, dict.fromkeys(runs, 2.0), clock, clock.sleep)
    assert rates["slow"] == [1 / 50] and len(rates["fast"]) == measure.ROUNDS
    assert measure.divide(rates["fast"], rates["slow"]) == [pytest.approx(5000)]
    assert measure.fastest([rates["fast"], rates["slow"]]) == [pytest.approx(100)]


@pytest.mark.slow
def test_our_program_trains_and_counts_its_memory():
    workload = MLP_GP
    program = ours.compile_ours(workload, make_data(workload))
    program.run(ours.CAPACITY + 1)
    model = make_model(workload.config, workload.data_shape)
    state = jax.eval_shape(model.init, jax.random.key(0))
    indices = 4 * ours.CAPACITY * 5 * 8
    floor = sum(math.prod(leaf.shape) * 4 for leaf in jax.tree.leaves(state)) + indices
    assert floor <= program.memory < 3 * floor and program.compile_seconds > 0


def test_plain_flax_has_flaxs_own_convolutions():
    """Those of jaxgan have derivatives of their own."""
    model = make_model(DCGAN_BCE.config, DCGAN_BCE.data_shape)
    state, z = jax.eval_shape(model.init, jax.random.key(0)), jnp.zeros((8, 3))
    player = state.generator
    ours = str(jax.make_jaxpr(model.game.generator.apply)(player.params, player.stats, (z,)))
    plain = str(jax.make_jaxpr(PlainFlax(DCGAN_BCE).generate)(player.params, player.stats, z))
    assert "custom_vjp" in ours and "custom_vjp" not in plain
    assert "conv_general_dilated" in plain


@pytest.mark.slow
def test_plain_flax_trains():
    program = plain_flax.compile_plain_flax(TINY[1], make_data(TINY[1]))
    program.run(2)
    assert program.memory > 0


@needs_torch
@each_tiny
def test_pytorch_trains(workload):
    from benchmarks.pytorch import make_pytorch

    program = make_pytorch(workload, make_data(workload))
    program.run(2)
    assert program.memory > 0 and program.compile_seconds is None


@pytest.mark.parametrize(("load", "said"), [(0.2, False), (3.0, True)])
def test_a_busy_machine_is_named(load, said, monkeypatch, capsys):
    monkeypatch.setattr(benchmark.os, "getloadavg", lambda: (load, 0, 0))
    row = benchmark.Row("none", "", "", lambda *_: {})
    monkeypatch.setattr(benchmark, "measure_row", lambda *_: {})
    report = benchmark.run(benchmark.Settings(against="none"), [row])
    assert report["machine"]["load"] == load
    assert ("The machine is busy" in capsys.readouterr().out) == said


@pytest.mark.slow
def test_the_command_prints_a_table_and_writes_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "workloads", lambda precision: [MLP_GP])
    monkeypatch.setattr(limit, "SIZES", (64, 128))
    path = tmp_path / "report.json"
    arguments = ["--only=mlp", "--seconds=0.5", f"--json={path}"]
    assert benchmark.main(arguments) == 0
    printed, report = capsys.readouterr().out, json.loads(path.read_text())
    assert ("PyTorch is not installed" in printed) == (not HAS_TORCH)
    programs = report["workloads"]["mlp-wgan-gp"]["programs"]
    assert set(programs) == {"jaxgan", "plain-flax"} | ({"pytorch"} if HAS_TORCH else set())
    assert all(name in printed for name in programs)
    assert programs["jaxgan"]["jaxgan_ratio"]["median"] == 1
    rate = programs["jaxgan"]["iterations_per_second"]
    assert 0 < rate["low"] <= rate["median"] <= rate["high"]
    images = programs["jaxgan"]["images_per_second"]["median"]
    assert images == pytest.approx(5 * 8 * rate["median"])  # n_critic batches of 8


def test_whole_runs_take_turns_and_share_a_rounds_folder():
    clock, seen = Clock(), []

    def program(name, seconds):
        def run(place):
            seen.append((name, place, os.listdir(place)))
            pathlib.Path(place, name).touch()
            clock.sleep(seconds)
            return {"seconds": seconds, "now": clock.now}

        return run

    assert whole_runs.measure({"a": program("a", 1), "b": program("b", 2)}) == {
        "a": {"seconds": [1, 1, 1], "now": [1, 4, 7]},
        "b": {"seconds": [2, 2, 2], "now": [3, 6, 9]},
    }
    assert [(name, there) for name, _, there in seen] == [("a", []), ("b", ["a"])] * 3
    assert len({place for _, place, _ in seen}) == 3 and not os.path.exists(seen[0][1])


def test_a_script_is_followed_to_its_picture(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "assert os.environ['XDG_CACHE_HOME'] == sys.argv[1]\n"
        "print('first step'); print('samples in', sys.argv[1])"
    )
    figures = whole_runs.follow([str(script), "{place}"], str(tmp_path))
    assert 0 < figures["first step"] <= figures["picture"]
    script.write_text("print('first step')")
    with pytest.raises(RuntimeError, match="ended with 0 after"):
        whole_runs.follow([str(script)], str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["seeds", "fit", "folder"])
def test_rows_of_whole_runs(name, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(whole_runs, "ROUNDS", 1)
    monkeypatch.setattr(whole_runs, "STEPS", 2)
    path = tmp_path / "report.json"
    arguments = [f"--only={name}", "--seconds=0.1", f"--json={path}"]
    if name == "folder":
        arguments.append(f"--data-dir={whole_runs.pictures(str(tmp_path), count=300)}")
    assert benchmark.main(arguments) == 0
    row = json.loads(path.read_text())["workloads"][name]
    of_ours = {"fit": {"jaxgan cold", "jaxgan warm"}}.get(name, {"jaxgan"})
    assert of_ours <= row["programs"].keys()
    assert any("pytorch" in each for each in row["programs"]) == HAS_TORCH
    for figures in row["programs"].values():
        assert all(each["median"] > 0 and each["rounds"] == 1 for each in figures.values())
    printed = capsys.readouterr().out
    assert all(each in printed for each in row["programs"]) and row["unit"] in printed


def test_an_epochs_rate_counts_what_was_spent_before_it(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(whole_runs.time, "perf_counter", clock)
    figures = whole_runs.epochs(lambda: clock.sleep(2), images=60, before=4)
    assert figures == {"first epoch": 10, "later ones": 30}


@needs_torch
def test_the_pytorch_script_trains_the_default_of_the_trainer():
    from benchmarks import pytorch_digits as script

    config = preset("wgan", "digits")
    assert config.model == "mlp" and config.optimizer == "rmsprop" and not config.decay_steps
    own = {"latent_dim": script.LATENT, "width": script.WIDTH, "depth": script.DEPTH}
    own |= {"batch_size": script.BATCH, "n_critic": script.N_CRITIC, "clip": script.CLIP}
    own |= {"ema_decay": script.DECAY, "b2": script.ALPHA}
    own |= {"g_learning_rate": script.G_RATE, "d_learning_rate": script.D_RATE}
    assert own == {name: getattr(config, name) for name in own}


def test_programs_that_differ_are_not_measured(capsys, monkeypatch):
    def differ(*arguments):
        raise verify.DisagreementError("mlp: pytorch and jaxgan differ by 0.1")

    monkeypatch.setattr(benchmark, "verify", differ)
    assert benchmark.main(["--only=mlp"]) == 1
    assert capsys.readouterr().err == "benchmark.py: mlp: pytorch and jaxgan differ by 0.1\n"


def test_only_takes_a_family_of_workloads():
    chosen = benchmark.choose(benchmark.Settings(only="dcgan32"))
    assert [each.config.loss for each in chosen] == ["bce", "wgan", "wgan-gp"]
    assert [each.config.n_critic for each in chosen] == [1, 5, 5]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--only=dcgan23"], "unknown --only=dcgan23: did you mean dcgan2"),
        (["--seconds=0"], "--seconds must be positive and finite; got 0.0"),
        (["--against=torch"], "unknown --against=torch: did you mean"),
        (["--precision=float16"], "unknown --precision=float16: did you mean bfloat16"),
        (["--seconds=soon"], "--seconds"),
        (["--faster"], "--faster"),
        (["--json=/no/such/folder/report.json"], "there is no folder /no/such/folder"),
        (["--data-dir=/no/such/folder"], "cannot be read: there is no folder /no/such/folder"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message, capsys):
    assert benchmark.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_script_runs():
    command = [sys.executable, str(EXPERIMENTS / "benchmark.py"), "--only=nothing"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("benchmark.py: unknown --only=nothing")


def test_images_are_uint8_and_points_float():
    assert make_data(DCGAN_BCE).dtype == np.uint8 and make_data(MLP_GP).dtype == np.float32
