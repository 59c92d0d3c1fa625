"""`jaxgan.fit`: anyone's network, loss and array, trained, stopped, resumed and loaded."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgan
from jaxgan import data, losses, networks
from jaxgan.commands import train
from jaxgan.training.checkpoints import Checkpoints
from jaxgan.training.interrupts import noted

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "own.md"
PROGRAM = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
SHORT = PROGRAM.replace("steps=2_000", "steps=24, batch_size=8, log_every=4, checkpoint_every=4")
POINTS = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
FAST = {"steps": 6, "batch_size": 8, "log_every": 1, "checkpoint_every": 2, "parallel": "jit"}


def make(data_shape=(3,), loss=None, width=8, **options):
    generator, critic = networks.mlp(data_shape, latent_dim=2, width=width, depth=1)
    tx = optax.adam(1e-3)
    return jaxgan.gan(generator, critic, loss or losses.wgan(), tx, tx, n_critic=2, **options)


@pytest.fixture(scope="module")
def model():
    return make()


def leaves(state):
    return jax.tree.map(np.asarray, state._replace(key=jax.random.key_data(state.key)))


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, leaves(a), leaves(b))


def rows(run):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in run.metrics]


def test_without_tensorboardx_a_line_says_what_is_left_out(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "jaxgan.training.events", raising=False)
    run = jaxgan.fit(model, POINTS, workdir=tmp_path, **FAST)
    said = "tensorboardX is not installed: TensorBoard's events are left out\n"
    assert capsys.readouterr().out.count(said) == 1
    assert rows(jaxgan.load(tmp_path, model)) == rows(run) and len(run.metrics) == FAST["steps"]
    assert not list(tmp_path.glob("events*"))


# The program of docs/own.md.


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where that program lies beside an array of 28x28 images."""
    folder = tmp_path_factory.mktemp("own")
    images = np.random.default_rng(0).integers(0, 256, (100, 28, 28, 1)).astype(np.uint8)
    np.save(folder / "images.npy", images)
    (folder / "mine.py").write_text(SHORT)
    return folder


def start(place):
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1", "PYTHONPATH": str(PAGE.parents[1])}
    return subprocess.Popen(
        [sys.executable, "mine.py"],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_program_is_short():
    assert len([line for line in PROGRAM.splitlines() if line.strip()]) <= 25


def test_a_killed_program_ends_with_the_bits_of_one_that_never_was(place):
    workdir = place / "runs" / "mine"
    with start(place) as process:
        while not (workdir / "checkpoints" / "8").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        process.kill()
    assert not (workdir / "summary.json").exists()
    with start(place) as process:
        out, err = process.communicate()
    assert "on from step" in out and "step 24/24" in out, err
    assert "24 steps" not in out and "ms a step: about" in out
    assert re.search(r"\d+%\|", err) is None, "no bar where nobody looks"
    assert {p.name for p in (workdir / "samples").iterdir()} >= {"step_00000024.png"}
    workdir.rename(place / "killed")
    with start(place) as process:
        process.communicate()

    scope: dict = {}
    exec(PROGRAM.split("run = ")[0], scope)
    whole, killed = (jaxgan.load(path, scope["model"]) for path in (workdir, place / "killed"))
    assert_same(whole.state, killed.state)
    assert rows(whole) == rows(killed) and whole.finished and killed.finished
    samples = killed.sample(jax.random.key(0), 3)
    assert samples.shape == (3, 28, 28, 1) and np.isfinite(samples).all()


def test_a_notebook_is_interrupted_and_goes_on(place):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    program, call = SHORT.replace("runs/mine", "runs/notebook").split("run = jaxgan.fit")
    call = "run = jaxgan.fit" + call.split("\n")[0]
    stop = "\ndef stop(run):\n    import signal\n    run.step == 4 and signal.raise_signal(2)\n"
    cells = [
        program + stop,
        call[:-1] + ", callbacks=[stop])\nprint(run.finished, run.step, len(run.metrics))",
        call + "\nprint(run.finished, run.step)\n"
        "assert run.sample(jax.random.key(0), 2).shape == (2, 28, 28, 1)",
    ]
    cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PAGE.parents[1]))
        patch.setenv("JAX_NUM_CPU_DEVICES", "1")
        resources = {"metadata": {"path": str(place)}}
        nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()
    printed = ["".join(o.text for o in cell.outputs if o.get("name") == "stdout") for cell in cells]
    assert "Run the same again to resume" in printed[1]
    finished, step, _ = printed[1].splitlines()[-1].split()
    assert finished == "False" and int(step) < 24
    assert f"on from step {step}" in printed[2]
    assert printed[2].splitlines()[-1] == "True 24"


# What it returns, and what it writes.


def test_without_a_folder_nothing_is_written(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = jaxgan.fit(model, POINTS, **FAST)
    assert not list(tmp_path.iterdir())
    assert run.finished and run.step == 6 and run.workdir is None and run.stopped_by == 0
    assert [row["step"] for row in run.metrics] == [1, 2, 3, 4, 5, 6]
    assert all(row["seconds"] >= 0 and np.isfinite(row["d_loss"]) for row in run.metrics)
    samples = run.sample(jax.random.key(0), 5)
    assert samples.shape == (5, 3) and np.isfinite(samples).all()
    np.testing.assert_allclose(run.sample(jax.random.key(0), 3), samples[:3], rtol=1e-5)


def test_a_folder_holds_a_run_that_loads_by_its_model(model, tmp_path):
    run = jaxgan.fit(model, POINTS, **FAST, workdir=tmp_path, settings={"loss": "mine"})
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"config.json", "data.json", "model.json", "metrics.jsonl", "summary.json"}
    assert names >= {"checkpoints", "curves.png"}
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["loss"] == "mine" and config["steps"] == 6 and config["n_critic"] == 2
    record = json.loads((tmp_path / "data.json").read_text())
    assert (record["shape"], record["train"], record["dtype"]) == ([3], 64, "float32")
    loaded = jaxgan.load(tmp_path, model)
    assert_same(loaded.state, run.state)
    assert loaded.metrics == run.metrics and loaded.finished
    other = make(width=9)
    with pytest.raises(
        ValueError, match=r"another model: \S*bias was float32\[8\] there and is float32\[9\]"
    ):
        jaxgan.load(tmp_path, other)
    with pytest.raises(ValueError, match="another model"):
        jaxgan.fit(other, POINTS, **FAST, workdir=tmp_path, settings={"loss": "mine"})


def test_a_run_loads_while_training_deletes_a_checkpoint(model, tmp_path, monkeypatch):
    """Orbax reads a file of each step that it has listed."""
    run = jaxgan.fit(model, POINTS, **FAST | {"checkpoint_every": 2}, workdir=tmp_path)
    oldest, restore = tmp_path / "checkpoints" / "2", Checkpoints.restore

    def restore_late(self, *arguments, **options):
        if oldest.exists():
            shutil.rmtree(oldest)
            raise FileNotFoundError(oldest)
        return restore(self, *arguments, **options)

    assert oldest.exists()
    monkeypatch.setattr(Checkpoints, "restore", restore_late)
    assert_same(jaxgan.load(tmp_path, model).state, run.state)

    def restore_nothing(self, *arguments, **options):
        raise FileNotFoundError("a folder that nobody deletes")

    monkeypatch.setattr(Checkpoints, "restore", restore_nothing)
    with pytest.raises(FileNotFoundError, match="that nobody deletes"):
        jaxgan.load(tmp_path, model)


def test_the_same_call_goes_on_and_more_steps_extend(model, tmp_path, capsys):
    whole = jaxgan.fit(model, POINTS, **FAST, workdir=tmp_path / "whole")
    jaxgan.fit(model, POINTS, **FAST | {"steps": 4}, workdir=tmp_path / "parts")
    parts = jaxgan.fit(model, POINTS, **FAST, workdir=tmp_path / "parts")
    assert_same(parts.state, whole.state)
    assert rows(parts) == rows(whole)
    seconds = [row["seconds"] for row in parts.metrics]
    assert seconds == sorted(seconds)
    again = jaxgan.fit(model, POINTS, **FAST, workdir=tmp_path / "parts")
    assert again.finished and "is finished" in capsys.readouterr().out
    with pytest.raises(ValueError, match="steps=6, not 4: raise it"):
        jaxgan.fit(model, POINTS, **FAST | {"steps": 4}, workdir=tmp_path / "parts")
    with pytest.raises(ValueError, match="batch_size=8, not 16: set batch_size=8 to go on"):
        jaxgan.fit(model, POINTS, **FAST | {"batch_size": 16}, workdir=tmp_path / "parts")


def test_a_signal_saves_and_returns_the_run(model, tmp_path):
    def interrupt(run):
        if run.step == 4:
            signal.raise_signal(signal.SIGINT)

    whole = jaxgan.fit(model, POINTS, **FAST, workdir=tmp_path / "whole")
    run = jaxgan.fit(model, POINTS, **FAST, workdir=tmp_path / "run", callbacks=[interrupt])
    assert not run.finished and 4 <= run.step < 6 and run.stopped_by == signal.SIGINT
    assert (tmp_path / "run" / "checkpoints" / str(run.step)).is_dir()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert_same(jaxgan.fit(model, POINTS, **FAST, workdir=tmp_path / "run").state, whole.state)


def test_callbacks_see_the_run_at_every_checkpoint(model):
    seen = []
    jaxgan.fit(model, POINTS, **FAST, callbacks=[lambda run: seen.append((run.step, run.finished))])
    assert seen == [(2, False), (4, False), (6, True)]


def test_a_callback_may_keep_the_run(model):
    kept = []
    last = jaxgan.fit(model, POINTS, **FAST, callbacks=[kept.append])
    assert [run.step for run in kept] == [2, 4, 6]
    drawn = [run.sample(jax.random.key(0), 2) for run in kept]
    assert not np.array_equal(drawn[0], drawn[1])
    assert_same(kept[-1].state, last.state)


def test_the_state_is_saved_before_a_callback_that_raises(model, tmp_path):
    def fail(run):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        jaxgan.fit(model, POINTS, **FAST, workdir=tmp_path, callbacks=[fail])
    assert jaxgan.load(tmp_path, model).step == 2
    assert jaxgan.fit(model, POINTS, **FAST, workdir=tmp_path).finished


def test_two_fits_on_one_folder_are_one_too_many(model, tmp_path):
    def again(run):
        jaxgan.fit(model, POINTS, **FAST, workdir=tmp_path)

    with pytest.raises(ValueError, match="another run is training in workdir="):
        jaxgan.fit(model, POINTS, **FAST, workdir=tmp_path, callbacks=[again])


@pytest.mark.parametrize("parallel", ["auto", pytest.param("jit", marks=pytest.mark.slow)])
def test_seeds_are_each_what_they_are_alone_on_one_device_or_several(parallel, tmp_path):
    sgd = optax.sgd(1e-2)
    pair = networks.mlp((3,), latent_dim=2, width=8, depth=1)
    model = jaxgan.gan(*pair, losses.bce(), sgd, sgd, n_critic=2)
    alone = [jaxgan.fit(model, POINTS, **FAST, seed=seed) for seed in range(2)]
    plan = FAST | {"parallel": parallel, "num_seeds": 2}
    together = jaxgan.fit(model, POINTS, **plan, workdir=tmp_path)
    for seed in range(2):
        for a, b in zip(
            *(jax.tree.leaves(leaves(s)) for s in (together.one(seed), alone[seed].state)),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    values = [run.metrics[-1]["d_loss"] for run in alone]
    assert together.metrics[-1]["d_loss_seeds"] == pytest.approx(values, rel=1e-4)
    assert_same(jaxgan.load(tmp_path, model).state, together.state)
    longer = jaxgan.fit(model, POINTS, **plan | {"steps": 8}, workdir=tmp_path)
    assert longer.step == 8


def test_each_of_the_devices_has_seeds_of_its_own(model):
    from jaxgan.training.fit import prepare
    from jaxgan.training.job import Plan

    for seeds, devices in ((10, 5), (8, 8), (3, 3), (11, 1), (16, 8)):
        plan = Plan(6, 8, 0, seeds, "auto", 1, 0, 0, 0, "stop")
        job = prepare(model, POINTS, plan, None, None)
        assert job.mode == ("seeds" if devices > 1 else "jit")
        assert len(job.devices if job.mode == "seeds" else [0]) == devices


def test_a_run_of_an_earlier_version_loads_and_goes_on(tmp_path):
    """tests/data/run was made by the first version with this format."""
    folder = shutil.copytree(pathlib.Path(__file__).parent / "data" / "run", tmp_path / "run")
    run = jaxgan.load(folder)
    assert (run.step, run.num_seeds, run.finished, len(run.metrics)) == (2, 2, True, 2)
    samples = json.loads((folder / "samples.json").read_text())
    drawn = run.sample(jax.random.key(0), 4, seed_index=1)
    np.testing.assert_allclose(drawn, samples, rtol=1e-4, atol=1e-5)
    assert train.main([f"--workdir={folder}", "--steps=3"]) == 0
    assert jaxgan.load(folder).step == 3


# Numbers that break.


@pytest.mark.slow
def test_the_count_of_skipped_updates_survives_a_stop(tmp_path):
    points, model = POINTS.copy(), make(loss=losses.bce())
    points[5] = 3e38
    plan = FAST | {"batch_size": 16, "on_divergence": "skip", "workdir": tmp_path}
    whole = jaxgan.fit(model, points, **plan | {"steps": 12, "workdir": None})
    jaxgan.fit(model, points, **plan)
    parts = jaxgan.fit(model, points, **plan | {"steps": 12})
    assert whole.state.skipped > parts.metrics[5]["skipped"] > 0
    assert_same(parts.state, whole.state)


def test_numbers_that_break_are_an_error_that_names_them(model, tmp_path):
    points = POINTS.copy()
    points[5] = 3e38
    plan = FAST | {"steps": 20, "batch_size": 16}
    errors = []
    for workdir in (None, tmp_path):
        with pytest.raises(jaxgan.DivergedError) as caught:
            jaxgan.fit(make(loss=losses.bce()), points, **plan, workdir=workdir)
        errors.append(caught.value)
    alone, filed = errors
    assert (alone.step, alone.network) == (filed.step, filed.network) == (alone.step, "critic")
    assert "loss" in alone.quantity and alone.path is None
    assert filed.path.exists() and f"diverged at step {alone.step}" in str(filed)
    skipping = jaxgan.fit(make(loss=losses.bce()), points, **plan, on_divergence="skip")
    assert skipping.finished and skipping.metrics[-1]["skipped"] > 0


# What is refused.


def images(value=0, dtype=np.uint8, shape=(64, 4, 4, 1)):
    return np.full(shape, value, dtype)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (images(shape=(0, 4, 4, 1)), "at least one example, .* got shape"),
        (np.full((64, 4, 4, 1), 1e39), r"finite in float32, got 1e\+39"),
        (images(shape=(64, 4, 4)), r"examples of array have shape \(4, 4\)"),
        (images(np.nan, np.float32), "finite"),
        (images(255, np.float32), r"must be in \[-1, 1\], got 255 to 255"),
        (images(255, np.int64), "uint8"),
        (images(shape=(4, 4, 4, 1)), "batch_size=8 is more than the 4 examples"),
        ([[1.0, 2.0]], "got a list"),
        ("no such set", "unknown dataset 'no such set'"),
    ],
)
def test_data_that_do_not_fit_are_refused_before_anything_is_written(given, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        jaxgan.fit(make((4, 4, 1)), given, **FAST, workdir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": 0}, "steps must be a whole number from 1 to 2147483647; got 0"),
        ({"steps": 1e4}, "steps must be a whole number"),
        ({"num_seeds": True}, "num_seeds must be a whole number"),
        ({"parallel": "tpu"}, "parallel must be one of auto, jit, pmap, mesh; got 'tpu'"),
        ({"on_divergence": "ignore"}, "on_divergence must be one of stop, skip"),
        ({"callbacks": print}, r"callbacks must be a list of functions; .* Put it in \[\]"),
        ({"callbacks": [3]}, "callbacks must be a list of functions; one is 3"),
        ({"settings": [1]}, "settings must be a dict of what JSON can hold"),
        ({"settings": {"x": object()}}, "settings must be a dict of what JSON can hold"),
        ({"settings": {"steps": 99}}, "must not hold steps=99: the run has steps=6. Leave it out"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(arguments, words, model):
    with pytest.raises(ValueError, match=words):
        jaxgan.fit(model, POINTS, **FAST | arguments)
    with pytest.raises(ValueError, match="model must be what"):
        jaxgan.fit("wgan", POINTS)


def test_data_outside_of_the_generators_range_are_refused():
    """Also where the data's shape does not say that they are images."""

    class Tanh(nn.Module):
        latent_dim: int = 2
        sample_range: tuple = (-1.0, 1.0)

        @nn.compact
        def __call__(self, z):
            return nn.tanh(nn.Dense(3)(z))

    _, critic = networks.mlp((3,), latent_dim=2, width=8, depth=1)
    tx = optax.sgd(1e-3)
    model = jaxgan.gan(Tanh(), critic, losses.bce(), tx, tx, n_critic=1)
    with pytest.raises(ValueError, match=r"data must lie in \[-1, 1\]"):
        jaxgan.fit(model, 255 * np.abs(POINTS), **FAST)
    assert jaxgan.fit(model, np.tanh(POINTS), **FAST).finished


def test_data_that_changed_since_the_start_are_refused(model, tmp_path):
    jaxgan.fit(model, POINTS, **FAST, workdir=tmp_path)
    for other, words in ((POINTS[:-1], "64 then, 63 now"), (POINTS + 1, "but not the same")):
        with pytest.raises(ValueError, match=words):
            jaxgan.fit(model, other, **FAST | {"steps": 8}, workdir=tmp_path)


def test_a_network_with_slow_convolutions_is_told_of_the_fast_ones():
    class Slow(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.mean(nn.Conv(2, (3, 3))(x), (1, 2, 3))

    generator, _ = networks.mlp((4, 4, 1), latent_dim=2, width=4, depth=1)
    tx = optax.sgd(1e-3)
    slow = jaxgan.gan(generator, Slow(), losses.bce(), tx, tx, n_critic=1)
    with pytest.warns(UserWarning, match="flax.linen.Conv is slow on a CPU.*jaxgan.networks"):
        jaxgan.fit(slow, images(), **FAST | {"steps": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jaxgan.fit(make((4, 4, 1)), images(), **FAST | {"steps": 1})


MORE = [(4, 4), (4, 4, 2), (2,), (5, 4, 3, 2)]


@pytest.mark.parametrize(
    "shape", [(4, 4, 3), *(pytest.param(s, marks=pytest.mark.slow) for s in MORE)]
)
def test_pictures_are_drawn_of_what_can_be_drawn(shape, tmp_path):
    examples = np.random.default_rng(0).uniform(-1, 1, (16, *shape)).astype(np.float32)
    jaxgan.fit(make(shape), examples, **FAST | {"steps": 1}, workdir=tmp_path)
    drawn = [path.name for path in (tmp_path / "samples").iterdir()]
    whole = shape in ((4, 4), (4, 4, 3), (2,))
    assert sorted(drawn) == (["step_00000000.png", "step_00000001.png"] if whole else [])


def test_a_data_set_and_its_name_are_data(model):
    ring = make((2,))
    for given in ("ring8", data.load("ring8")):
        assert jaxgan.fit(ring, given, **FAST | {"steps": 1}).finished


def test_in_another_thread_signals_are_left_alone():
    import threading

    def body():
        before = signal.getsignal(signal.SIGINT)
        with noted() as interrupt:
            assert signal.getsignal(signal.SIGINT) is before and interrupt.number == 0

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()


@pytest.mark.parametrize("name", ["step", "seconds", "skipped"])
def test_a_loss_may_not_report_what_the_log_itself_does(name):
    def report(critic_fn, real, fake, key):
        return jnp.mean(critic_fn(fake)) - jnp.mean(critic_fn(real)), {name: 1.0}

    model = make(loss=losses.Loss(report, losses.wgan().generator))
    with pytest.raises(ValueError, match=f"reports {name}, a name that the log itself uses"):
        jaxgan.fit(model, POINTS, **FAST)


def test_points_too_large_for_float32_are_refused():
    with pytest.raises(ValueError, match=r"finite in float32"):
        jaxgan.fit(make(), 1e39 * POINTS.astype(float), **FAST)


# What else people give.


def test_a_loss_may_report_nothing(tmp_path):
    def critic(critic_fn, real, fake, key):
        return jnp.mean(critic_fn(fake)) - jnp.mean(critic_fn(real)), {}

    model = make(loss=losses.Loss(critic, lambda f, real, fake, key: (-jnp.mean(f(fake)), {})))
    run = jaxgan.fit(model, POINTS, **FAST, workdir=tmp_path)
    assert [set(row) for row in run.metrics] == [{"step", "seconds"}] * 6


def test_numpys_whole_numbers_are_numbers(model, tmp_path):
    plan = {name: np.int64(n) if isinstance(n, int) else n for name, n in FAST.items()}
    assert jaxgan.fit(model, POINTS, **plan, workdir=tmp_path).step == 6


@pytest.mark.slow
def test_examples_may_be_single_numbers(tmp_path):
    class Line(nn.Module):
        latent_dim: int = 1

        @nn.compact
        def __call__(self, z):
            return nn.Dense(1)(z)[:, 0]

    class Height(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(1)(x[:, None])[:, 0]

    tx = optax.sgd(1e-2)
    model = jaxgan.gan(Line(), Height(), losses.wgan(), tx, tx, n_critic=1)
    jaxgan.fit(model, POINTS[:, 0], **FAST, workdir=tmp_path)
    longer = jaxgan.fit(model, POINTS[:, 0], **FAST | {"steps": 8}, workdir=tmp_path)
    assert longer.finished and longer.sample(jax.random.key(0), 3).shape == (3,)


def test_weights_in_bfloat16_have_an_average_in_float32():
    class Half(nn.Module):
        latent_dim: int = 2

        @nn.compact
        def __call__(self, z):
            return nn.Dense(3, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)(z).astype(jnp.float32)

    _, critic = networks.mlp((3,), latent_dim=2, width=8, depth=1)
    tx = optax.sgd(1e-2)
    run = jaxgan.fit(jaxgan.gan(Half(), critic, losses.wgan(), tx, tx), POINTS, **FAST)
    [kernel] = [x for x in jax.tree.leaves(run.state.ema) if x.ndim == 2]
    trained = run.state.generator.params["Dense_0"]["kernel"]
    assert (kernel.dtype, trained.dtype) == (jnp.float32, jnp.bfloat16)
    assert np.isfinite(run.sample(jax.random.key(0), 3)).all()


@pytest.mark.parametrize("x64", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_goes_on_with_another_loss_or_rate_in_no_silence(x64, tmp_path, capsys):
    """Shapes do not tell them apart; what a step computes does."""
    jaxgan.fit(make(), POINTS, **FAST, workdir=tmp_path)
    jaxgan.fit(make(), POINTS, **FAST | {"steps": 7}, workdir=tmp_path)
    assert "computes something else" not in capsys.readouterr().out
    other = make() if x64 else make(loss=losses.wgan(clip=0.02))
    with jax.enable_x64(x64):
        jaxgan.fit(other, POINTS, **FAST | {"steps": 8}, workdir=tmp_path)
    assert "a step computes something else than when the run" in capsys.readouterr().out


def test_a_critic_scores_in_floats():
    class Rank(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.argmax(nn.Dense(3)(x), axis=1)

    generator, _ = networks.mlp((3,), latent_dim=2, width=8, depth=1)
    tx = optax.sgd(1e-2)
    with pytest.raises(ValueError, match="scores must be floating point; got int32"):
        jaxgan.gan(generator, Rank(), losses.wgan(), tx, tx)
