"""Comparisons of losses: trained under one budget, scored alike, and gone on with."""

import dataclasses
import json
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan.commands import compare, contest
from jaxgan.commands.config import LOSSES, check
from jaxgan.commands.contest import Arguments, check_protocol, choose, draw, make_entries
from jaxgan.commands.presets import kind_of, preset
from jaxgan.commands.settings import make_model
from jaxgan.training import Run

SCRIPT = Path(__file__).parent.parent / "experiments" / "compare.py"
# Networks and a budget that train in no time.
SMALL = [
    *("--dataset=digits", "--model=mlp", "--width=8", "--depth=1", "--latent-dim=2"),
    *("--batch-size=8", "--updates=12"),
]


def scores_of(folder):
    """The W1 over its floor of each seed in the folders of a loss."""
    found = []
    for path in sorted(folder.glob("*/evaluation.json")):
        evaluation = json.loads(path.read_text())
        for scores in evaluation.get("scores_of_seeds", [evaluation["scores"]]):
            found.append(scores["w1"] / evaluation["floor"]["w1"])
    return found


def test_losses_are_trained_scored_and_tabulated_and_more_seeds_join_them(tmp_path, capsys):
    command = [*SMALL, "--losses=bce,wgan-gp", f"--workdir={tmp_path}"]
    assert compare.main([*command, "--num-seeds=2"]) == 0
    first = capsys.readouterr().out
    assert "[0 of 2 done] bce, seeds 0 to 1" in first
    assert "[1 of 2 done; about " in first and "wgan-gp, seeds 0 to 1" in first
    assert compare.main([*command, "--num-seeds=3"]) == 0
    second = capsys.readouterr().out
    began = [line for line in second.splitlines() if "done" in line]
    assert "[2 of 4 done] bce, seeds 2 to 2" in second
    assert not any("seeds 0 to 1" in line for line in began)
    table = (tmp_path / "compare.md").read_text()
    for loss in ("bce", "wgan-gp"):
        scores = scores_of(tmp_path / loss)
        mean, error = statistics.mean(scores), statistics.stdev(scores) / 3**0.5
        [row] = [line for line in table.splitlines() if f"--loss={loss} " in line]
        assert "--num-seeds=3" in row and "| 3 | " in row
        assert f" | {mean:.3f} ± {error:.3f} | " in row
    assert (tmp_path / "compare.png").stat().st_size > 10_000
    assert compare.main([*command, "--num-seeds=3"]) == 0  # nothing is left to do
    assert " done" not in capsys.readouterr().out
    # A folder holds one comparison.
    assert compare.main([*command, "--num-seeds=3", "--latent-dim=3"]) == 2
    assert "is of another comparison, with --latent-dim=2, not 3" in capsys.readouterr().err


@pytest.mark.slow
def test_each_loss_has_its_best_median_and_worst_setting(tmp_path, capsys, monkeypatch):
    # So high that float32 has no number for what comes of it.
    monkeypatch.setitem(contest.RANGES, "d_learning_rate", (1e30, 1e30))
    command = [*SMALL, "--losses=wgan-gp,lsgan", f"--workdir={tmp_path}", "--num-seeds=1"]
    assert compare.main([*command, "--settings=2"]) == 2
    told = capsys.readouterr()
    assert "diverged" in told.err and "no distance tells these runs apart" in told.err
    assert compare.main([*command, "--settings=2"]) == 2
    assert " done" not in capsys.readouterr().out  # what diverged is not trained again
    # With other settings it is: now only WGAN-GP's diverge.
    monkeypatch.setitem(contest.RANGES, "d_learning_rate", (1e-4, 1e-3))
    monkeypatch.setitem(contest.RANGES, "penalty", (1e30, 1e30))
    assert compare.main([*command, "--settings=2"]) == 0
    lines = (tmp_path / "compare.md").read_text().splitlines()
    assert lines[0] == "| loss | settings | best W1 / floor | median | worst | the best |"
    values = sorted(scores_of(tmp_path / f"lsgan-{i}")[0] for i in range(2))
    cells = f"{values[0]:.3f} | {statistics.mean(values):.3f} | {values[1]:.3f}"
    assert lines[2].startswith(f"| lsgan | 2 | {cells} | `train.py --loss=lsgan ")
    assert lines[3] == "| wgan-gp | 2 | diverged | diverged | diverged |  |"
    assert [line for line in lines if line.startswith("- wgan-gp-1, seed 0: diverged at")]


def test_seeds_trained_at_once_are_one_run(tmp_path, capsys):
    command = [*SMALL, "--losses=bce", "--num-seeds=3", f"--workdir={tmp_path}"]
    assert compare.main([*command, "--seeds-at-once=0"]) == 2
    assert "--seeds-at-once must be from 1 up; got 0" in capsys.readouterr().err
    assert compare.main([*command, "--seeds-at-once=3"]) == 0
    assert [path.name for path in (tmp_path / "bce").iterdir()] == ["0to2"]
    assert len(scores_of(tmp_path / "bce")) == 3


def test_all_losses_train_with_the_same_random_rates_within_the_ranges():
    rates = ("g_learning_rate", "d_learning_rate", "n_critic")
    for index in range(20):
        drawn = {loss: draw(preset(loss, "ring8"), index) for loss in LOSSES}
        for loss, config in drawn.items():
            check(config)
            assert [getattr(config, name) for name in rates] == [
                getattr(drawn["bce"], name) for name in rates
            ]
            for name, values in contest.RANGES.items():
                if getattr(config, name) != getattr(preset(loss, "ring8"), name):
                    low, high = min(values), max(values)
                    assert low <= getattr(config, name) <= high
        assert drawn["r3gan"].r1 == drawn["r3gan"].r2 > 0 and drawn["bce"].r1 == 0
    clips = {draw(preset("wgan", "ring8"), index).clip for index in range(20)}
    assert len(clips) > 10 and max(clips) > 10 * min(clips)


def test_names_choose_losses():
    assert list(choose("wgan,bce")) == ["wgan", "bce"]
    assert choose("f-gan-js") == {"f-gan-js": ("f-gan", {"divergence": "js"})}
    assert len(choose("f-gan")) == 5
    assert len(choose("all")) == len(LOSSES) - 1 + 5


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--losses=wgan,hing"], "did you mean hinge"),
        (["--losses="], "unknown --losses="),
        (["--num-seeds=0"], "--num-seeds must be from 1 up; got 0"),
        (["--num-seeds=1000000000"], "--num-seeds must be"),
        (["--seed=-1"], "--seed must be"),
        (["--steps=30"], "did you mean --updates?"),
        (["--settings=-1"], "--settings must be"),
        (["--updates=1"], "--updates must be"),
        (["--dataset=ring9"], "ring9"),
        (["--width=0"], "--width must be"),
        (["--clip=3"], "unknown flag --clip=3"),
        (["--losses=began", "--model=dcgan"], "--loss=began goes with --model=mlp"),
    ],
)
def test_a_mistake_is_one_line(flags, words, tmp_path, capsys):
    assert compare.main([*flags, f"--workdir={tmp_path / 'new'}"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 7}, "--width=7"),
        ({"batch_size": 7}, "--batch-size=7"),
        ({"ema_decay": 0.0}, "--ema-decay=0.0"),
        ({"steps": 7}, "Give --updates for all"),
    ],
)
def test_losses_on_different_protocols_are_refused(change, words):
    first = preset("bce", "ring8")
    with pytest.raises(ValueError, match="not on one protocol") as error:
        check_protocol([first, dataclasses.replace(preset("wgan", "ring8"), **change)])
    assert words in str(error.value)


@pytest.mark.parametrize("dataset", ["cifar10", "mnist", "npy:images.npy"])
def test_where_the_papers_differ_all_take_the_gans_networks_and_budget(dataset, tmp_path):
    options = Arguments(dataset, losses="bce,wgan,wgan-gp,r3gan")
    configs = [entry.config for entry in make_entries(options, tmp_path)]
    check_protocol(configs)
    gan = preset("bce", dataset, kind=kind_of(dataset))
    assert {config.batch_size for config in configs} == {gan.batch_size}
    assert not any(config.critic_norm for config in configs)  # a penalty takes none
    for model in ("dcgan", "resnet"):
        options = Arguments(dataset, losses="bce,wgan,wgan-gp,r3gan", model=model)
        pairs = [make_model(entry.config, (32, 32, 3)) for entry in make_entries(options, tmp_path)]
        shapes = [jax.eval_shape(pair.init, jax.random.key(0)) for pair in pairs]
        assert len({count(s.generator.params) + count(s.critic.params) for s in shapes}) == 1
    for config in configs:
        assert 0 <= 2 * gan.steps - config.steps * (config.n_critic + 1) <= config.n_critic


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_of_rows_that_diverged_the_others_are_not_the_mean(tmp_path, capsys, monkeypatch):
    command = [*SMALL, "--losses=bce,wgan-gp", f"--workdir={tmp_path}", "--num-seeds=5"]
    assert compare.main(command) == 0
    rows = (tmp_path / "compare.md").read_text().splitlines()[2:4]
    best = "bce" if "--loss=bce" in rows[0] else "wgan-gp"
    scored = [statistics.mean(scores_of(tmp_path / loss)) for loss in ("bce", "wgan-gp")]
    assert best == ("bce" if scored[0] < scored[1] else "wgan-gp")
    # As if seeds 2 and 3 of the best had diverged: it is the last.
    entries = make_entries(compare.read(Arguments, command, ""), tmp_path)
    [entry] = [entry for entry in entries if entry.loss == best]
    for seed, count in (2, 2), (3, 1):
        config = compare.with_seeds(entry, seed, count)
        end = {"seed": seed, "step": seed + 1, "settings": compare.fixed(config)}
        place = tmp_path / best / f"{seed}to3"
        place.mkdir(exist_ok=True)
        (place / "diverged.json").write_text(json.dumps(end))
    monkeypatch.setattr(compare, "train_and_score", lambda *_: 0)  # nothing is left to do
    assert compare.main(command) == 0
    lines = (tmp_path / "compare.md").read_text().splitlines()
    assert f"--loss={best} " in lines[3] and " | 3 | " in lines[3]
    assert f"- {best}, seed 2: diverged at step 3" in lines
    monkeypatch.undo()
    # A loss that the table leaves out is named.
    assert compare.main([*SMALL, "--losses=bce", *command[-2:]]) == 0
    assert f"- in {tmp_path} too, and not asked for: wgan-gp" in capsys.readouterr().out


def test_more_updates_are_trained_and_scored(tmp_path):
    command = [*SMALL[:-1], "--losses=bce", f"--workdir={tmp_path}", "--num-seeds=1"]
    assert compare.main([*command, "--updates=12"]) == 0
    first = scores_of(tmp_path / "bce")
    assert compare.main([*command, "--updates=24"]) == 0
    assert scores_of(tmp_path / "bce") != first
    evaluation = json.loads((tmp_path / "bce" / "0to0" / "evaluation.json").read_text())
    assert evaluation["step"] == 8  # n_critic is 2
    # What is damaged is made again; what was scored otherwise is refused.
    (tmp_path / "bce" / "0to0" / "evaluation.json").write_text("{")
    assert compare.main([*command, "--updates=24"]) == 0
    evaluation["floor"]["w1"] *= 1.1
    (tmp_path / "bce" / "0to0" / "evaluation.json").write_text(json.dumps(evaluation))
    assert (
        compare.main([*command[:-1], "--num-seeds=1", "--updates=24", "--losses=bce,minimax"]) == 2
    )


def test_data_that_changed_or_cannot_tell_are_refused_before_training(tmp_path, capsys):
    points = np.random.RandomState(0).normal(size=(800, 5)).astype("float32")
    np.save(tmp_path / "points.npy", points)
    command = [f"--dataset=npy:{tmp_path / 'points.npy'}", *SMALL[1:], "--losses=bce"]
    command += ["--num-seeds=1", f"--workdir={tmp_path / 'new'}"]
    assert compare.main(command) == 0  # neither images nor points of the plane: no picture
    np.save(tmp_path / "points.npy", points + 1)
    assert compare.main(command) == 2
    assert "is not what the run in" in capsys.readouterr().err
    np.save(tmp_path / "points.npy", points[:300])
    assert compare.main([*command[:-1], f"--workdir={tmp_path / 'other'}"]) == 2
    assert "cannot be compared on: no w1: 30 held-out examples" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_seeds_that_diverge_leave_the_others_in_the_table(tmp_path, capsys, monkeypatch):
    draw = Run.sample

    def sample(run, key, n, index=0, *rest, **labels):
        first = int(Path(run.workdir).name.split("to")[0])
        diverged = "bce" in str(run.workdir) and first + index in (1, 3)
        return draw(run, key, n, index, *rest, **labels) * (np.nan if diverged else 1)

    monkeypatch.setattr(Run, "sample", sample)
    command = [*SMALL, "--losses=bce,lsgan", f"--workdir={tmp_path}", "--num-seeds=5"]
    command += ["--seeds-at-once=5"]
    assert compare.main(command) == 0
    told = capsys.readouterr()
    assert "the samples of seed 1 are not finite" in told.err
    # What is left of the five is trained without it, and then without the other.
    trained = [line.partition("] ")[2] for line in told.out.splitlines() if " done" in line]
    runs = ("0 to 4", "0 to 0", "2 to 4", "2 to 2", "4 to 4")
    assert trained == [f"bce, seeds {run}" for run in runs] + ["lsgan, seeds 0 to 4"]
    assert "[5 of 6 done; about " in told.out  # of six in the end, two of which diverged
    lines = (tmp_path / "compare.md").read_text().splitlines()
    assert "--loss=lsgan" in lines[2] and "--loss=bce" in lines[3] and " | 3 | " in lines[3]
    scores = [score for score in scores_of(tmp_path / "bce") if score]
    assert (
        f" | {statistics.mean(scores):.3f} ± {statistics.stdev(scores) / 3**0.5:.3f} | " in lines[3]
    )
    for seed in (1, 3):
        assert f"- bce, seed {seed}: diverged at step 4" in lines
    assert compare.main(command) == 0
    assert " done" not in capsys.readouterr().out  # nothing is trained again
    assert (tmp_path / "compare.md").read_text().splitlines() == lines


@pytest.mark.parametrize("dataset", ["ring8", "grid25", "digits"])
def test_the_presets_of_all_losses_are_on_one_protocol(dataset, tmp_path):
    entries = make_entries(Arguments(dataset), tmp_path)
    assert len(entries) == len(choose("all"))
    check_protocol([entry.config for entry in entries])


def run_script(*flags, until=""):
    """What the program prints and its exit status; interrupted after a line that holds `until`."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    command, lines = [sys.executable, SCRIPT, *flags], []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            lines.append(line)
            if until and until in line:
                process.send_signal(signal.SIGINT)
    return "".join(lines), process.returncode


@pytest.mark.slow
def test_a_first_look_goes_on_after_an_interrupt(tmp_path):
    flags = ["--quick", f"--workdir={tmp_path}"]
    _, status = run_script(*flags, until="[1 of 5 done")
    assert status == 130
    done = (tmp_path / "bce" / "0to1" / "evaluation.json").stat().st_mtime_ns
    told, status = run_script(*flags)
    assert status == 0 and "[1 of 5 done]" in told
    assert (tmp_path / "bce" / "0to1" / "evaluation.json").stat().st_mtime_ns == done
    table = (tmp_path / "compare.md").read_text()
    for loss in contest.QUICK["losses"].split(","):
        assert f"--loss={loss} " in table
