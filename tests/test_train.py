"""The real trainer, as its users run it."""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image

EXPERIMENTS = pathlib.Path(__file__).parent.parent / "experiments"
sys.path.insert(0, str(EXPERIMENTS))

import jaxgan
from jaxgan.commands import (
    image_presets,
    papers,
    presets,
    train,
)
from jaxgan.commands.config import LOSSES, MODELS, OPTIMIZERS, Config, assign, check, flag, unused
from jaxgan.commands.presets import preset
from jaxgan.commands.settings import make_model, recorded
from jaxgan.training import program, run_folder
from jaxgan.training.checkpoints import Checkpoints

SMALL = ["--model=mlp", "--width=16", "--depth=1", "--latent-dim=4"]
SMALL += ["--batch-size=16", "--log-every=1"]


def run_command(*arguments, devices=1):
    """A real process, on so many host devices."""
    return subprocess.Popen(
        [sys.executable, str(EXPERIMENTS / "train.py"), *arguments],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def train_here(*arguments):
    return train.main([*SMALL, "--parallel=jit", *arguments])


def read_metrics(folder):
    """All that is logged but the time, which differs from run to run."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def final_state(folder, arguments):
    """The newest checkpoint, read as the trainer reads it."""
    config, _ = train.parse([*SMALL, *arguments, f"--workdir={folder}"])
    model = make_model(config, (8, 8, 1) if config.dataset == "digits" else (2,))
    checkpoints = Checkpoints(folder / "checkpoints")
    state = checkpoints.restore(jax.eval_shape(model.init, jax.random.key(0)))
    checkpoints.close()
    return state._replace(key=jax.random.key_data(state.key))


def assert_same_states(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_command_trains(tmp_path):
    process = run_command(*SMALL, "--loss", "wgan", "--steps", "6", "--workdir", tmp_path / "run")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "Traceback" not in err and "compiled in" in out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["steps"] == 6 and summary["device"]["count"] == 1


@pytest.mark.parametrize(
    "loss",
    ["wgan-gp", *(pytest.param(s, marks=pytest.mark.slow) for s in LOSSES if s != "wgan-gp")],
)
def test_a_run_leaves_a_whole_folder(loss, tmp_path):
    folder = tmp_path / "run"
    assert not train_here(f"--loss={loss}", "--steps=6", f"--workdir={folder}", "--sample_every=3")
    rows = read_metrics(folder)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert ("wasserstein" in rows[0]) == loss.startswith("wgan")
    assert ("js" in rows[0]) == (loss in ("bce", "minimax", "dragan"))
    grids = sorted(path.name for path in (folder / "samples").iterdir())
    assert grids == ["step_00000000.png", "step_00000003.png", "step_00000006.png"]
    for picture in (*(folder / "samples").iterdir(), folder / "curves.png"):
        assert len(np.unique(np.asarray(Image.open(picture)))) > 8, f"{picture} is blank"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["steps"] == 6 and summary["metrics"].items() >= rows[-1].items()
    assert summary["metrics"]["seconds"] > 0
    assert summary["versions"]["jax"] == jax.__version__
    assert json.loads((folder / "config.json").read_text())["loss"] == loss
    assert list(folder.glob("events.out.tfevents.*"))
    assert (folder / "checkpoints" / "6").is_dir()


@pytest.mark.slow
def test_interrupts_save_and_the_same_command_goes_on_to_the_same_end(tmp_path):
    """Ctrl-C, then SIGTERM, then to the end; beside a run that nothing stops."""
    arguments = ["--loss=wgan-gp", "--steps=6000", "--sample-every=0", "--log-every=50"]
    arguments += ["--parallel=jit", "--n-critic=1"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    last = 0
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = run_command(*SMALL, *arguments, f"--workdir={parts}")
        while newest_row(parts) <= last:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate()
        assert process.returncode == status, err
        assert ("on from step" in out) == (last > 0)
        last = int(re.search(r"interrupted at step (\d+)", out)[1])
        assert (parts / "checkpoints" / str(last)).is_dir()
        assert not (parts / "summary.json").exists()
    for folder in (parts, whole):
        assert not train_here(*arguments, f"--workdir={folder}")
    assert read_metrics(parts) == read_metrics(whole)
    assert_same_states(final_state(parts, arguments), final_state(whole, arguments))


def newest_row(folder):
    """The step of the last whole line of metrics."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("\n")), default=0)


@pytest.mark.slow
def test_a_folder_in_use_is_refused(tmp_path, capsys):
    arguments = ("--loss=wgan", "--steps=2", f"--workdir={tmp_path}")
    assert not train_here(*arguments)
    held = run_folder.lock(tmp_path)
    assert train_here("--loss=wgan", "--steps=4", f"--workdir={tmp_path}") == 2
    assert "another run is training" in capsys.readouterr().err
    held.close()
    assert not train_here("--loss=wgan", "--steps=4", f"--workdir={tmp_path}")


def test_a_run_that_another_made_meanwhile_is_not_gone_on_with(tmp_path):
    """Both found the folder free; the second takes it once the first has ended."""
    first, second = (
        run_folder.RunFolder(tmp_path, recorded(preset(loss, "ring8"))) for loss in ("bce", "wgan")
    )
    first.create()
    (tmp_path / "checkpoints" / "1").mkdir()
    first.close()
    with pytest.raises(ValueError, match="holds a run with loss='bce'"):
        second.create()
    assert json.loads((tmp_path / "config.json").read_text())["loss"] == "bce"


@pytest.mark.slow
def test_resuming_forgets_metrics_logged_after_the_checkpoint(tmp_path):
    arguments = ("--loss=bce", f"--workdir={tmp_path}")
    assert not train_here(*arguments, "--steps=3")
    rows = read_metrics(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "d_loss": 0}\n{"step": 5, "d_lo')  # cut short by a kill
    assert not train_here(*arguments, "--steps=5")
    assert read_metrics(tmp_path)[:3] == rows
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3, 4, 5]


def test_a_finished_run_is_left_as_it_is(tmp_path, capsys):
    arguments = ("--loss=bce", "--steps=2", f"--workdir={tmp_path}")
    assert not train_here(*arguments)
    before = (tmp_path / "summary.json").read_text()
    assert not train_here(*arguments)
    assert "is finished" in capsys.readouterr().out
    assert (tmp_path / "summary.json").read_text() == before


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["mesh", "pmap"])
def test_eight_devices_log_the_same_metrics_as_one(mode, tmp_path):
    """Under SGD: Adam would hide a gradient off by a factor."""
    for parallel in ("jit", mode):
        assert not train.main(
            [*SMALL, "--loss=wgan-gp", "--optimizer=sgd", "--steps=5", f"--parallel={parallel}"]
            + ["--sample-every=0", f"--workdir={tmp_path / parallel}"]
        )
    for one, many in zip(
        read_metrics(tmp_path / "jit"), read_metrics(tmp_path / mode), strict=True
    ):
        assert one.keys() == many.keys()
        for name, value in one.items():
            assert many[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


@pytest.mark.slow
def test_several_seeds_are_each_what_they_are_alone(tmp_path):
    arguments = ["--loss=wgan-gp", "--optimizer=sgd", "--steps=4", "--sample-every=0"]
    assert not train_here(*arguments, "--num-seeds=2", f"--workdir={tmp_path / 'both'}")
    alone = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        assert not train_here(*arguments, f"--seed={seed}", f"--workdir={folder}")
        alone.append(read_metrics(folder))
    for both, zero, one in zip(read_metrics(tmp_path / "both"), *alone, strict=True):
        for name in zero.keys() - {"step"}:
            a, b = both[f"{name}_seeds"]
            assert [a, b] == pytest.approx([zero[name], one[name]], rel=1e-4, abs=1e-6)
            rounding = 1e-6 * (abs(a) + abs(b))
            assert both[name] == pytest.approx((a + b) / 2, abs=rounding)
            assert both[f"{name}_stderr"] == pytest.approx(abs(a - b) / 2, abs=rounding)
            assert a != b, "two seeds, two runs"


@pytest.mark.slow
def test_several_seeds_resume_together(tmp_path):
    for folder, stops in (("whole", [4]), ("parts", [2, 4])):
        for steps in stops:
            arguments = ["--num-seeds=2", f"--steps={steps}", f"--workdir={tmp_path / folder}"]
            assert not train_here("--loss=wgan", *arguments)
    assert read_metrics(tmp_path / "parts") == read_metrics(tmp_path / "whole")
    states = [jaxgan.load(tmp_path / folder).state for folder in ("parts", "whole")]
    assert_same_states(*(state._replace(key=jax.random.key_data(state.key)) for state in states))


# A program of other shapes has the same bits where it is compiled as users' are: the slow set.


@pytest.mark.slow
def test_chunks_do_not_show_in_the_result(tmp_path, monkeypatch):
    assert not train_here("--loss=wgan", "--steps=9", f"--workdir={tmp_path / 'long'}")
    monkeypatch.setattr(program, "MAX_CHUNK", 1)
    assert not train_here("--loss=wgan", "--steps=9", f"--workdir={tmp_path / 'short'}")
    assert read_metrics(tmp_path / "long") == read_metrics(tmp_path / "short")


@pytest.mark.slow
def test_a_data_set_too_large_for_the_device_trains_the_same(tmp_path, monkeypatch):
    assert not train_here("--loss=wgan", "--steps=4", f"--workdir={tmp_path / 'resident'}")
    monkeypatch.setattr(program, "device_bytes", lambda devices: 0)
    assert not train_here("--loss=wgan", "--steps=4", f"--workdir={tmp_path / 'sent'}")
    assert read_metrics(tmp_path / "resident") == read_metrics(tmp_path / "sent")


@pytest.mark.slow
def test_both_learning_rates_decay_to_a_hundredth_over_as_many_steps():
    config = dataclasses.replace(preset("wgan-gp", "ring8"), optimizer="sgd", n_critic=3, width=8)
    reals = jax.random.normal(jax.random.key(1), (3, 16, 2))
    constant, decayed = (
        make_model(dataclasses.replace(config, decay_steps=steps), (2,)) for steps in (0, 2)
    )
    start = decayed.init(jax.random.key(0))
    for steps, factor in ((0, 1), (1, 0.505), (2, 0.01), (5, 0.01)):
        state = start
        for _ in range(steps):
            state, _ = decayed.step(state, reals)
        for name in ("d_step", "g_step"):
            player = {"d_step": "critic", "g_step": "generator"}[name]
            before = getattr(state, player)
            # The optimizer's state of a constant rate, at the same weights.
            other = before._replace(opt_state=getattr(constant.init(state.key), player).opt_state)
            moved, full = (
                getattr(getattr(model, name)(at, reals[0], jax.random.key(2))[0], player)
                for model, at in ((decayed, state), (constant, state._replace(**{player: other})))
            )
            for a, b, c in zip(
                *map(jax.tree.leaves, (before.params, moved.params, full.params)), strict=True
            ):
                np.testing.assert_allclose(b - a, factor * (c - a), atol=1e-7)


def test_steps_that_do_not_end_with_the_fall_of_the_rates_are_a_line(tmp_path, capsys):
    def said(*flags):
        assert train_here(*flags, f"--workdir={tmp_path / 'run'}") == 0
        return [x for x in capsys.readouterr().out.splitlines() if "learning rates" in x]

    ring = ["--loss=wgan", "--dataset=ring8"]
    flags = [*ring, "--steps=2"]
    assert said(*flags, "--dry-run") == [
        "The learning rates fall until step 10,000, and this run ends at 2: --decay-steps=2 lets "
        "them fall to the end."
    ]
    assert said(*ring, "--steps=10001", "--dry-run") == [
        "The learning rates fall to a hundredth by step 10,000, and stay there until 10,001: "
        "--decay-steps=10001 stretches the fall."
    ]
    assert said(*flags, "--dry-run", "--decay-steps=5") == said(*ring, "--dry-run") == []
    assert said(*flags, "--decay-steps=2") == []
    line = "The learning rates fall to a hundredth by step 2, and stay there until 3."
    assert said("--steps=3") == [line]  # the run goes on, and its fall is as it was


def test_dry_run_describes_and_writes_nothing(tmp_path, capsys):
    assert not train.main(["--loss=wgan", "--dry-run", f"--workdir={tmp_path / 'run'}"])
    out = capsys.readouterr().out
    settings = json.loads(out[: out.index("\n}") + 2])
    config = preset("wgan", "digits")
    assert settings["n_critic"] == config.n_critic and settings["clip"] == config.clip
    assert "generator: 150,848 parameters" in out and "(10, 256)" in out
    assert "ms a step: about" in out and "of memory" in out and "cpu" in out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--loss", "wgan-gp"]),
        (["--loss=wgam"], ["wgam", "did you mean wgan?"]),
        (["--loss=wgan", "--dataset=digit"], ["digit", "digits"]),
        (["--loss=wgan", "--dataset=imagenet_v3"], ["imagenet_v3", "imagenet_v2"]),
        (["--loss=wgan", "--model=dcgam"], ["dcgam", "did you mean dcgan?"]),
        (["--loss=wgan", "--model=resnet50"], ["did you mean resnet? One of auto, mlp, dcgan, "]),
        (["--loss=wgan", "--model=vit"], ["=vit: One of auto, mlp, dcgan, resnet, r3gan."]),
        (["--loss=WGAN_GP"], ["WGAN_GP", "did you mean wgan-gp?"]),
        (["--loss=wgan", "--parallel=tpu"], ["tpu", "pmap"]),
        (["--loss=wgan", "--steps=-1"], ["--steps", "-1"]),
        (["--loss=wgan", "--steps=many"], ["--steps", "many"]),
        (["--loss=wgan", "--step=5"], ["--step=5", "--steps"]),
        (["--loss=wgan", "--batch-size=0"], ["--batch-size", "0"]),
        (["--loss=wgan", "--batch-size=5000", "--parallel=jit"], ["5000", "1437"]),
        (["--loss=wgan", "--batch-size=60", "--parallel=pmap"], ["60", "8 devices"]),
        (["--loss=wgan", "--n-critic=0"], ["--n-critic", "0"]),
        (["--loss=wgan-gp", "--model=dcgan", "--critic-norm"], ["--critic-norm", "wgan-gp"]),
        (["--loss=wgan", "--critic-norm"], ["--critic-norm", "mlp"]),
        (["--loss=wgan", "--dataset=ring8", "--model=dcgan"], ["(2,)", "an MLP"]),
        (["--loss=wgan", "--dataset=ring8", "--model=resnet"], ["(2,)", "an MLP"]),
        (["--loss=wgan", "--dataset=ring8", "--model=r3gan"], ["(2,)", "an MLP"]),
        (["--loss=bce", "--model=r3gan", "--critic-norm"], ["--critic-norm", "--model=dcgan"]),
        (["--loss=wgan", "--dataset=mnist", "--data-dir=/nowhere"], ["mnist", "/nowhere"]),
        (["--loss=wgan", "--dataset=folder:/nowhere"], ["/nowhere"]),
        (["--loss=wgan", "--d-learning-rate=nan"], ["--d-learning-rate", "nan"]),
        (["--loss=wgan", "--ema-decay=1"], ["--ema-decay", "1"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_folder(arguments, words, tmp_path, capsys):
    assert train.main([*arguments, f"--workdir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1, error
    for word in words:
        assert word in error
    assert not (tmp_path / "run").exists()


def test_a_changed_setting_is_refused_by_name(tmp_path, capsys):
    arguments = ["--loss=wgan", "--steps=2", f"--workdir={tmp_path / 'run'}"]
    assert not train_here(*arguments)
    before = (tmp_path / "run" / "config.json").read_text()
    for change, words in (
        ("--batch-size=32", ["--batch-size=16", "32"]),
        ("--steps=1", ["--steps=2", "1"]),
        ("--clip=0.05", [f"--clip={preset('wgan', 'digits').clip}", "0.05"]),
    ):
        capsys.readouterr()
        assert train_here(*arguments, change) == 2
        error = capsys.readouterr().err
        assert len(error.strip().splitlines()) == 1
        for word in words:
            assert word in error
    assert (tmp_path / "run" / "config.json").read_text() == before


# BEGAN's critic is an autoencoder.
PAIRS = [(loss, model) for loss in LOSSES for model in MODELS if model != "auto"]
PAIRS = [(loss, model) for loss, model in PAIRS if loss != "began" or model == "mlp"]

# Whether a flag has an effect, by the choices beside it.
HAS_EFFECT = {
    "clip": lambda loss, model, optimizer: loss == "wgan",
    "penalty": lambda loss, model, optimizer: loss in ("wgan-gp", "wgan-lp", "dragan"),
    **dict.fromkeys(("k", "p"), lambda loss, model, optimizer: loss == "wgan-div"),
    **dict.fromkeys(("divergence", "direct"), lambda loss, model, optimizer: loss == "f-gan"),
    **dict.fromkeys(("gamma", "rate"), lambda loss, model, optimizer: loss == "began"),
    "num_classes": lambda loss, model, optimizer: loss != "began",
    "ada": lambda *choices: False,  # without --augment
    "cache_dir": lambda loss, model, optimizer: False,  # of digits
    "patience": lambda *choices: False,  # without --score-every
    "depth": lambda loss, model, optimizer: model == "mlp",
    "critic_norm": lambda loss, model, optimizer: model == "dcgan",
    "b1": lambda loss, model, optimizer: optimizer == "adam",
    "b2": lambda loss, model, optimizer: optimizer in ("adam", "rmsprop"),
}
OTHER_VALUES = {"workdir": "elsewhere", "data_dir": "elsewhere", "parallel": "jit"}
OTHER_VALUES |= {"precision": "bfloat16", "on_divergence": "skip", "image_size": 16}
OTHER_VALUES |= {"num_classes": 10, "channels": 1, "cache_dir": "elsewhere"}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("loss", "model"), PAIRS)
def test_a_flag_is_taken_just_where_it_has_an_effect(loss, model, optimizer):
    choices = {"loss": loss, "dataset": "digits", "model": model, "optimizer": optimizer}
    command = [assign(name, value) for name, value in choices.items()]
    config, _ = train.parse(command)
    for field in dataclasses.fields(config):
        if field.name in choices:
            continue
        value = OTHER_VALUES.get(field.name, getattr(config, field.name))
        flagged = [*command, assign(field.name, value)]
        if HAS_EFFECT.get(field.name, lambda *choices: True)(loss, model, optimizer):
            train.parse(flagged)
        else:
            refused = f"^{flag(field.name)}.* (has no effect|goes|cannot go) with "
            with pytest.raises(ValueError, match=refused):
                train.parse(flagged)


DAILY = ("bce", "wgan", "wgan-gp", "f-gan", "began")


@pytest.mark.parametrize(
    "choices",
    [
        # Every day those with settings of a kind; the others are made in the same way.
        *(
            pytest.param({"loss": loss}, marks=[] if loss in DAILY else pytest.mark.slow)
            for loss in LOSSES
        ),
        *({"model": model} for model in ("mlp", "dcgan")),
        *(pytest.param({"model": model}, marks=pytest.mark.slow) for model in ("resnet", "r3gan")),
        *({"optimizer": optimizer} for optimizer in OPTIMIZERS),
    ],
    ids=lambda choices: next(iter(choices.values())),
)
def test_a_setting_changes_the_program_just_where_its_flag_is_taken(choices):
    default = {"loss": "wgan", "model": "mlp", "optimizer": "adam"}
    config = Config(**(default | choices), width=8, depth=1, n_critic=1, latent_dim=2)

    def program(**change):
        model = make_model(dataclasses.replace(config, **change), (16, 16, 1))
        state = jax.eval_shape(model.init, jax.random.key(0))
        return str(jax.make_jaxpr(model.step)(state, np.zeros((1, 4, 16, 16, 1), np.float32)))

    plain = program()
    others = {"clip": 0.5, "penalty": 3.0, "depth": 2, "b1": 0.3, "b2": 0.4}
    others |= {"r1": 3.0, "r2": 3.0, "spectral_norm": True, "augment": "cutout", "ada": 0.5}
    others |= {"k": 3.0, "p": 3.0, "divergence": "js", "gamma": 0.3}
    if config.model == "dcgan":  # elsewhere it is refused in any case
        others["critic_norm"] = True
    for name, value in others.items():
        assert (program(**{name: value}) == plain) == (name in unused(config)), name


def test_flags_without_effect_on_the_data_or_the_checkpoints_are_refused(tmp_path, capsys):
    workdir = f"--workdir={tmp_path / 'run'}"
    for flags, words in (
        (["--dataset=ring8", "--image-size=16"], "--image-size has no effect with --dataset=ring8"),
        (["--dataset=ring8", "--data-dir=x"], "--data-dir has no effect with --dataset=ring8"),
        (["--dataset=folder:x", "--data-dir=x"], "--data-dir has no effect with --dataset=folder:"),
        (["--dataset=ring8", "--augment=color"], "--augment has no effect with --dataset=ring8"),
        (["--dataset=digits", "--ada=0.5"], "--ada has no effect with --augment=none, only with"),
        (["--keep-every=3", "--checkpoint-every=0"], "--keep-every has no effect with"),
    ):
        assert train.main(["--loss=wgan", *flags, workdir]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.slow
def test_what_changes_no_result_may_change_from_start_to_start(tmp_path):
    """Rows of metrics stay as they were logged, but for a former last one."""
    run = ("--loss=wgan", "--dataset=ring8")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    every = ("--sample-every=0", "--checkpoint-every=0")
    assert not train_here(*run, *every, "--steps=18", f"--workdir={whole}")
    for flags in (
        ["--steps=7", "--log-every=3", "--checkpoint-every=1", "--keep-every=2"],
        ["--steps=12", "--log-every=4", "--checkpoint-every=5", "--keep-every=0"],
        ["--steps=18", "--log-every=5", "--sample-every=6", "--checkpoint-every=0"],
    ):
        assert not train_here(*run, *flags, f"--workdir={parts}")
    by_step = {row["step"]: row for row in read_metrics(whole)}
    assert read_metrics(parts) == [by_step[step] for step in (3, 6, 8, 12, 15, 18)]
    assert_same_states(final_state(parts, run), final_state(whole, run))
    steps = [int(p.name) for p in (parts / "checkpoints").iterdir() if p.name.isdigit()]
    assert sorted(steps) == [2, 4, 10, 12, 18]  # kept for good, and the newest three


def test_the_folder_alone_goes_on_with_its_run(tmp_path, capsys):
    assert not train_here("--loss=bce", "--steps=2", f"--workdir={tmp_path}")
    assert train.main([f"--workdir={tmp_path}"]) == 0
    assert "is finished: 2 steps" in capsys.readouterr().out
    assert train.main([f"--workdir={tmp_path}", "--model=dcgan", "--steps=3"]) == 2
    assert train.main([f"--workdir={tmp_path}", "--steps=3"]) == 0
    assert read_metrics(tmp_path)[-1]["step"] == 3
    assert train.main([f"--workdir={tmp_path / 'nothing'}"]) == 2
    assert "nothing holds no run to go on with" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_without_a_checkpoint_takes_other_settings(tmp_path, capsys):
    """One that diverged at once, of another loss; its pictures are not the new run's."""
    small = ["--dataset=ring8", "--width=8", "--batch-size=8", f"--workdir={tmp_path}"]
    assert train.main(["--loss=bce", *small, "--d-learning-rate=1e30", "--steps=50"]) == 3
    assert "or --on-divergence=skip" in capsys.readouterr().err
    (tmp_path / "samples" / "step_00000040.png").touch()
    assert train.main(["--loss=wgan", *small, "--steps=2", "--log-every=1"]) == 0
    assert json.loads((tmp_path / "config.json").read_text())["loss"] == "wgan"
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]
    assert "step_00000040.png" not in [path.name for path in (tmp_path / "samples").iterdir()]
    assert train.main(["--loss=wgan", *small, "--steps=2", "--g-learning-rate=1e-3"]) == 2
    rate = preset("wgan", "ring8").g_learning_rate
    assert f"--g-learning-rate={rate}, not 0.001" in capsys.readouterr().err


@pytest.mark.slow
def test_too_little_memory_is_a_line_and_the_folder_takes_a_smaller_batch(tmp_path):
    """A real process with too little of it."""
    arguments = ["--loss=bce", "--dataset=ring8", "--width=64", "--steps=2", "--parallel=jit"]
    arguments.append(f"--workdir={tmp_path}")
    large = ["--batch-size=90000", "--width=8000", "--depth=6"]
    limited = ["bash", "-c", 'ulimit -v 12000000; exec "$@"', "bash", sys.executable]
    process = subprocess.run(
        [*limited, str(EXPERIMENTS / "train.py"), *arguments, *large],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 2, process.stderr
    [line] = [line for line in process.stderr.splitlines() if line.startswith("train.py")]
    assert "out of memory: lower --batch-size, --width" in line
    assert "Traceback" not in process.stderr
    assert train.main([*arguments, "--batch-size=8"]) == 0


def test_what_is_wrong_with_the_folder_is_said_before_data_are_read(tmp_path, capsys):
    (tmp_path / "file").touch()
    run = tmp_path / "run"
    assert not train_here("--loss=wgan", "--steps=1", f"--workdir={run}")
    data = ["--loss=wgan", "--dataset=mnist", "--data-dir=/nowhere"]
    assert train_here(*data, f"--workdir={tmp_path / 'file' / 'run'}") == 2
    assert "cannot be written" in capsys.readouterr().err
    with contextlib.closing(run_folder.lock(run)):
        assert train.main([f"--workdir={run}", "--steps=3"]) == 2
    assert "another run is training" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_refused_and_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert train_here("--loss=wgan", f"--workdir={tmp_path}") == 2
    assert "no run's folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_unwritable_folder_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert train_here("--loss=wgan", f"--workdir={tmp_path / 'file' / 'run'}") == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "dataset", ["digits", "ring8", "grid25", "mnist", "stacked_mnist", "cifar10"]
)
def test_every_preset_makes_a_model(loss, dataset):
    config = preset(loss, dataset)
    check(config)
    assert (config.loss, config.dataset) == (loss, dataset)
    shapes = {
        "digits": (8, 8, 1),
        "mnist": (28, 28, 1),
        "stacked_mnist": (28, 28, 3),
        "cifar10": (32, 32, 3),
    }
    assert make_model(config, shapes.get(dataset, (2,)))


def test_every_function_of_presets_says_how_to_run_it_and_what_to_expect():
    makes = [*papers._WITH_DCGAN.values(), *papers._OWN.values(), presets.digits_gan]
    of_images = [image_presets.cpu_32, image_presets.cpu_64, image_presets.gpu]
    for make in [*makes, *of_images, *image_presets.OF_SETS.values()]:
        assert "`python experiments/train.py --loss=" in make.__doc__, make
        assert "Expect" in make.__doc__, make


def test_a_version_of_a_data_set_has_the_data_sets_preset():
    one, other = preset("wgan-gp", "mnist"), preset("wgan-gp", "mnist:3.0.1")
    assert other == dataclasses.replace(one, dataset="mnist:3.0.1")
    assert one != dataclasses.replace(preset("wgan-gp", "cifar10"), dataset="mnist")


# jax's own flags for debugging.


DEBUGGING = {
    "debug_nans": jax.debug_nans,
    "debug_infs": jax.debug_infs,
    "enable_x64": jax.enable_x64,
    "disable_jit": jax.disable_jit,
}


TOY = ["--dataset=ring8", "--width=4", "--depth=1"]
IMAGES = ["--dataset=digits", "--model=dcgan", "--width=4"]
ALL = [*((loss, TOY) for loss in LOSSES), ("bce", IMAGES), ("wgan-gp", IMAGES)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "arguments", "name"),
    [(*pair, name) for pair in ALL for name in DEBUGGING],
)
def test_a_sound_run_trains_under_jaxs_debugging_flags(loss, arguments, name, tmp_path):
    small = ["--batch-size=2", "--n-critic=1", "--latent-dim=2", "--parallel=jit", "--steps=1"]
    with DEBUGGING[name](True):
        status = train.main([f"--loss={loss}", *arguments, *small, f"--workdir={tmp_path}"])
    assert status == 0 and read_metrics(tmp_path)[-1]["step"] == 1
