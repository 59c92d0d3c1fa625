"""Scores while training: the best state is kept, training stops early, and both survive a kill."""

import json

import jax
import numpy as np
import optax
import pytest

import jaxgan
from jaxgan import data, losses, metrics, networks
from jaxgan.commands import evaluate, sample, train
from jaxgan.metrics import classifier, inception_weights
from jaxgan.metrics.inception import Outputs
from jaxgan.training import scoring


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(classifier, "STEPS", 30)


def model(**more):
    pair = networks.mlp((2,), 2, 8, depth=1, **more)
    tx = optax.adam(1e-2)
    return jaxgan.gan(*pair, losses.bce(), tx, tx, n_critic=1, **more)


def points(n=64):
    return np.random.RandomState(0).normal(size=(n, 2)).astype(np.float32)


def spread(x):
    """How far the samples' spread is from the data's."""
    return abs(float(np.std(x)) - 1)


def fit(workdir=None, steps=40, **more):
    options = {"score_every": 5, "score": spread, "log_every": 10, "sample_every": 0}
    options |= {"checkpoint_every": 10, "parallel": "jit"}
    return jaxgan.fit(model(), points(), steps, 16, workdir=workdir, **options | more)


def rows_of(folder):
    return [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]


def same(one, other):
    one, other = (jax.tree.leaves(run.state._replace(key=0)) for run in (one, other))
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


class Worse:
    """A score of 3, 1, 2, 4, 5, ... whatever the samples."""

    def __init__(self):
        self.values = iter([3, 1, 2, *range(4, 100)])

    def __call__(self, x):
        return next(self.values)


def test_scores_are_of_the_samples_at_their_steps_and_the_best_state_is_kept(tmp_path):
    run = fit(tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    assert [row["step"] for row in rows] == list(range(5, 41, 5))
    key, last = jax.random.key(2**31), rows[-1]
    assert last["spread"] == pytest.approx(spread(run.sample(key, scoring.FEW)), rel=1e-6)
    best, lowest = run.best(), min(rows, key=lambda row: row["spread"])
    assert best.step == lowest["step"]
    assert spread(best.sample(key, scoring.FEW)) == pytest.approx(lowest["spread"], rel=1e-6)
    assert same(best, jaxgan.load(tmp_path / "run", model(), best=True))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["best"] == lowest and summary["steps"] == 40
    assert len([p for p in (tmp_path / "run" / "best").iterdir() if p.name.isdigit()]) == 1


def test_scoring_changes_nothing_of_training_and_needs_no_folder(tmp_path):
    scored, plain = fit(tmp_path / "run"), fit(score_every=0, score=None)
    assert same(scored, plain)
    alone = fit()
    assert same(alone.best(), scored.best()) and alone.best().step == scored.best().step
    rows = rows_of(tmp_path / "run")
    assert [row["step"] for row in rows] == [5, 10, 15, 20, 25, 30, 35, 40]
    finished = fit(tmp_path / "run"), jaxgan.load(tmp_path / "run", scored.model)
    assert all(run.scores == rows for run in (scored, alone, *finished)) and plain.scores == []
    with pytest.raises(ValueError, match="the run was not scored"):
        plain.best()
    assert not (tmp_path / "cache").exists()


class Killed(BaseException): ...


class InTheMiddle:
    """Best at a run's step 25: how far the samples' spread is from what it is there."""

    __name__ = "middle"

    def __init__(self, whole, kill_at=None):
        self.kill_at, self.calls = kill_at, 0
        self.spread = np.std(whole.sample(jax.random.key(2**31), scoring.FEW))

    def __call__(self, x):
        self.calls += 1
        if self.calls == self.kill_at:
            raise Killed
        return abs(float(np.std(x)) - float(self.spread))


@pytest.mark.parametrize("stops", [(2, 4), (6,), (7,)])
def test_a_run_that_was_killed_scores_and_keeps_the_same(tmp_path, stops):
    middle = fit(steps=25, score_every=0, score=None)
    whole = fit(tmp_path / "whole", score=InTheMiddle(middle))
    assert whole.best().step == 25
    for stop in stops:  # calls are at steps 5, 10, ...; checkpoints at 10, 20, ...
        with pytest.raises(Killed):
            fit(tmp_path / "killed", score=InTheMiddle(middle, stop))
    resumed = fit(tmp_path / "killed", score=InTheMiddle(middle))
    assert same(whole, resumed) and same(whole.best(), resumed.best())
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "killed")


def test_a_best_state_of_steps_that_are_done_again_is_forgotten(tmp_path):
    middle = fit(steps=25, score_every=0, score=None)
    with pytest.raises(Killed):  # at step 35, the best being that of 25; the checkpoint is of 30
        fit(tmp_path, score=InTheMiddle(middle, 7), checkpoint_every=20)
    # From step 20 on, other steps are scored: 24 and 28 and so on, and 25 is not.
    run = fit(tmp_path, score=InTheMiddle(middle), checkpoint_every=20, score_every=4)
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == [5, 10, 15, 20, 24, 28, 32, 36, 40]
    assert run.best().step == 24 == min(rows, key=lambda row: row["middle"])["step"]


def test_a_best_state_of_another_run_that_began_here_is_forgotten(tmp_path):
    first = iter([1.0])
    with pytest.raises(StopIteration):
        fit(tmp_path, seed=0, score=lambda x: next(first))
    later = fit(tmp_path, seed=1)
    alone = fit(seed=1)
    assert same(later.best(), alone.best())


def test_another_score_begins_anew_and_has_its_own_patience(tmp_path):
    fit(tmp_path, steps=20)
    run = fit(tmp_path, steps=40, score=Worse(), patience=3)
    assert (run.step, run.best().step) == (40, 30)


def test_an_extended_run_forgets_the_score_of_what_was_its_end(tmp_path):
    fit(tmp_path, steps=23)
    assert rows_of(tmp_path)[-1]["step"] == 23
    longer, whole = fit(tmp_path), fit()
    assert [row["step"] for row in rows_of(tmp_path)] == list(range(5, 41, 5))
    assert same(longer.best(), whole.best())


def test_training_stops_when_scores_are_no_better_and_goes_on_with_more_patience(tmp_path, capsys):
    run = fit(tmp_path, score=Worse(), patience=2)
    assert (run.step, run.finished, run.best().step) == (20, True, 10)
    out = capsys.readouterr().out
    assert "stopped at step 20: 2 scores in a row were not better" in out
    assert "best score 1 at step 10" in out
    assert jaxgan.load(tmp_path, model()).finished
    again = fit(tmp_path, score=Worse(), patience=2)
    assert again.step == 20 and again.finished
    assert "is finished: 20 steps. Raise patience to go on." in capsys.readouterr().out
    more = fit(tmp_path, score=Worse(), patience=4)
    assert (more.step, more.best().step) == (30, 10)
    assert json.loads((tmp_path / "summary.json").read_text())["steps"] == 30


def test_several_seeds_have_a_mean_with_its_error_and_one_best_step(tmp_path):
    run = fit(tmp_path, num_seeds=3)
    row = rows_of(tmp_path)[-1]
    values = row["spread_seeds"]
    assert row["spread"] == pytest.approx(np.mean(values))
    assert row["spread_stderr"] == pytest.approx(np.std(values, ddof=1) / 3**0.5)
    for index, value in enumerate(values):
        x = run.sample(jax.random.key(2**31 + index), scoring.FEW, index)
        assert spread(x) == pytest.approx(value, rel=1e-5)
    assert run.best().num_seeds == 3


def test_samples_that_are_not_finite_are_never_the_best(tmp_path):
    values = iter([float("nan"), 2.0, float("inf"), *[3.0] * 9])
    run = fit(tmp_path, score=lambda x: next(values))
    rows = rows_of(tmp_path)
    assert [row["<lambda>"] for row in rows][:3] == [None, 2.0, None]
    assert run.best().step == 10


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (dict(score_every=0), "score has no effect without score_every"),
        (dict(score=3), "score must map samples to a number; got 3"),
        (dict(score_every=-1), "score_every must be a whole number"),
        (dict(score_every=0, score=None, patience=2), "patience=2 has no effect without"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(more, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        fit(tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()


def test_a_score_that_gives_no_number_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"score spreads must map samples \(2000, 2\) to a number"):
        fit(tmp_path, score=type("", (), {"__name__": "spreads", "__call__": lambda _, x: "a"})())
    with pytest.raises(ZeroDivisionError):  # an error of the user's own is theirs
        fit(tmp_path, score=lambda x: 1 / 0)


def test_samples_of_a_conditional_model_have_the_datas_classes(tmp_path):
    pair = networks.mlp((2,), 2, 8, depth=1, num_classes=2)
    tx = optax.adam(1e-2)
    conditional = jaxgan.gan(*pair, losses.bce(), tx, tx, n_critic=1, num_classes=2)
    labels, seen = (np.arange(64) < 4).astype(np.int32), []
    run = jaxgan.fit(
        *(conditional, points(), 2, 16), labels=labels, parallel="jit", score_every=2,
        score=lambda x: seen.append(x) or 0.0,
    )  # fmt: skip
    chosen = np.random.RandomState(0).choice(labels, scoring.FEW)
    assert 0.03 < chosen.mean() < 0.1
    expected = run.sample(jax.random.key(2**31), scoring.FEW, labels=chosen)
    np.testing.assert_array_equal(seen[0], expected)


# Which score.


def test_points_are_scored_by_exact_transport():
    ring = data.load("ring8")
    score = scoring.choose(ring)
    x = np.asarray(ring.train[5000:6000])
    expected = metrics.earth_movers_distance(x, np.asarray(ring.test[:1000]))
    assert score.name == "w1" and float(score.f(x)) == pytest.approx(float(expected))


def test_labelled_images_are_scored_in_their_classifiers_features():
    digits = data.load("digits")
    score = scoring.choose(digits)
    assert score.name == "frechet_classifier"
    x = np.asarray(data.to_float(digits.train[:300]))
    assert score.f(x) < score.f(-x)
    assert score.f(2 * x) == score.f(np.clip(2 * x, -1, 1))  # of a generator without bounds


def test_images_are_scored_by_mind_where_there_are_weights(monkeypatch, tmp_path):
    def network(pixels):
        x = np.asarray(data.to_float(pixels)).reshape(len(pixels), -1)
        return Outputs(x[:, :8], None)

    (tmp_path / "weights").write_bytes(b"")
    monkeypatch.setattr(inception_weights, "place", lambda: tmp_path / "weights")
    monkeypatch.setattr(inception_weights, "load", lambda: network)
    digits = data.load("digits")
    score = scoring.choose(digits)
    assert (score.name, score.n) == ("mind", 360)
    x, real = (np.asarray(data.to_float(part)) for part in (digits.train[:300], digits.test))
    pair = network(x).features, network(real).features
    expected = metrics.monge_distance(*pair, jax.random.key(0))
    assert float(score.f(x)) == pytest.approx(float(expected), rel=1e-6)


def test_images_that_no_score_can_tell_are_refused():
    # As photographs are: far from each other, and nearer to a blur.
    noise = np.random.RandomState(0).randint(0, 256, (300, 16, 16, 3)).astype(np.uint8)
    dataset = data.Dataset("noise", noise[:200], noise[200:])
    with pytest.raises(ValueError, match=r"nothing here can score noise.*inception_weights.fetch"):
        scoring.choose(dataset)


def test_an_array_without_held_out_examples_is_scored_against_itself():
    array = points(200)
    score = scoring.choose(data.Dataset("array", array, array[:0]))
    assert score.name == "w1" and float(score.f(array)) == 0 and score.n == 200


# The command line.

SMALL = ["--loss=bce", "--width=16", "--depth=1", "--latent-dim=4", "--batch-size=16"]
SMALL += ["--parallel=jit", "--log-every=2", "--sample-every=0", "--checkpoint-every=4"]


def test_the_commands_take_the_best(tmp_path, capsys):
    folder = tmp_path / "run"
    assert not train.main([*SMALL, "--steps=8", "--score-every=2", f"--workdir={folder}"])
    rows = rows_of(folder)
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    best = min(rows, key=lambda row: row["frechet_classifier"])
    assert f"at step {best['step']}, kept in {folder / 'best'}" in capsys.readouterr().out
    out = f"--out={tmp_path / 'best.npz'}"
    assert not sample.main([f"--workdir={folder}", "--best", "--what=npz", "--n=3", out])
    drawn = np.load(tmp_path / "best.npz")["samples"]
    expected = jaxgan.load(folder, best=True).sample(jax.random.key(0), 3)
    np.testing.assert_array_equal(drawn, expected)
    assert not evaluate.main([f"--workdir={folder}", "--best", "--samples=100"])
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation["step"] == best["step"]
    assert evaluation["protocol"]["checkpoint"] == "best"
    assert any("the best score while training" in note for note in evaluation["notes"])


def test_best_of_a_run_without_scores_is_refused(tmp_path, capsys):
    folder = tmp_path / "run"
    assert not train.main([*SMALL, "--steps=2", f"--workdir={folder}"])
    capsys.readouterr()
    for program in (sample, evaluate):
        assert program.main([f"--workdir={folder}", "--best"]) == 2
        assert "has no best checkpoint: it was not scored" in capsys.readouterr().err
    assert train.main([*SMALL, "--steps=2", "--patience=3", f"--workdir={tmp_path / 'b'}"]) == 2
    assert "--patience has no effect with --score-every=0" in capsys.readouterr().err
