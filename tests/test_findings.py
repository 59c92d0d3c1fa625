"""What the probes of a run are said to be: each failure by its name, a healthy run nothing."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgan
from jaxgan import data, losses
from jaxgan.commands import evaluate, train, withheld
from jaxgan.metrics import classifier
from jaxgan.training import Run, findings

# Near the worst numbers of healthy runs.
HEALTHY = dict(ahead=0.9, memorised=0.8, g_slope=1.0, d_slope=2.0, spread=0.9, dims=0.75)
CLIPPED = HEALTHY | {"at_clip": 0.3}


def rows(*changes, base=HEALTHY, n=9, steps=900):
    """Probes of a run whose thirds have these changes."""
    thirds = changes if len(changes) == 3 else changes * 3
    return [base | thirds[3 * i // n] | {"step": (i + 1) * steps // n} for i in range(n)]


@pytest.mark.parametrize(
    ("probes", "name", "words"),
    [
        (rows({}), None, ""),
        (rows({}, base=CLIPPED), None, ""),
        (rows(dict(ahead=0.99, g_slope=0.01)), "discriminator wins", "gradient is 0.005 of its"),
        (rows({}, {}, dict(ahead=0.99, g_slope=0.01)), "discriminator wins", "ranks 99% of the"),
        (rows({}, dict(spread=0.1), {}), None, ""),  # it has recovered
        (rows({}, {}, dict(spread=0.1)), "collapse", "spread of the samples is 10% of the"),
        (rows(dict(ahead=1.0, spread=0.01)), "rates too high", "from the first probes on (100%)"),
        (rows({}, {}, dict(dims=0.4)), "few directions", "vary in 40% as many directions"),
        (rows(dict(at_clip=0.01), base=CLIPPED), "clip too large", "1.0% of the critic's weights"),
        (
            rows(dict(at_clip=0.8, d_slope=1e-6), base=CLIPPED),
            *("clip too small", "80.0% of the critic's weights are at it, and the critic's slope"),
        ),
        (rows(dict(at_clip=0.8), base=CLIPPED), None, ""),
        (rows({}, dict(memorised=0.99), {}), "memorises", "ranks 99% of the training examples"),
        (rows(dict(memorised=0.95)), None, ""),
        (rows({}, dict(memorised=0.95), dict(dims=0.5)), "memorises", "95%"),
        (rows(dict(spread=8.0)), "too wide", "spread of the samples is 800% of the data's"),
        (rows(dict(spread=0.1), n=findings.LEAST - 1), None, ""),
        (rows(dict(spread=0.1), steps=findings.STEPS - 1), None, ""),
    ],
)  # fmt: skip
def test_a_failure_has_its_name_and_its_numbers(probes, name, words):
    found = findings.find(probes)
    assert (found and found.name) == name
    assert words in (found.sentence if found else "")


def test_runs_without_held_out_examples_or_with_numbers_that_broke_are_judged_by_the_rest():
    probes = [{k: v for k, v in row.items() if k != "memorised"} for row in rows(dict(spread=0.1))]
    assert findings.find(probes).name == "collapse"
    assert findings.find([row | {"d_slope": None, "dims": None} for row in rows({})]) is None
    # A projection that bounds nothing has no share of weights that it holds.
    without = [
        {k: v for k, v in row.items() if k not in ("ahead", "memorised")} for row in rows({})
    ]
    assert findings.find([row | {"at_clip": None} for row in without]) is None
    [line] = findings.describe(without, [0])
    assert line == "nothing wrong was seen: the samples' spread is 90% of the data's"


def test_seeds_are_told_one_by_one_and_a_healthy_run_has_one_line():
    good, bad = rows({}), rows(dict(spread=0.1))
    both = [
        {name: [a[name], b[name]] if name != "step" else a[name] for name in a}
        for a, b in zip(good, bad, strict=True)
    ]
    [line] = findings.describe(both, [5, 6])
    assert line.startswith("seed 6: the generator has collapsed")
    [line] = findings.describe(good, [0])
    assert "nothing wrong was seen: the critic ranks 90%" in line and "spread is 90%" in line
    assert findings.describe([], [0]) == findings.describe(good[:3], [0]) == []


def test_a_mode_with_less_than_a_tenth_of_its_samples_is_a_finding():
    few = "1 of 8 modes has less than 10% of the good samples that data have there. Train longer"
    good, [one, none] = np.full(8, 0.5), [np.array([*[1.1] * 7, x]) for x in (0.099, 0.0)]
    assert findings.find_in_modes(good) is None
    assert findings.find_in_modes(np.full(8, 0.1)) is None
    for shares in (one, none):
        assert findings.find_in_modes(shares).sentence.startswith(few)
        [line] = findings.describe(rows({}), [0], [shares])
        assert line.startswith(few)
    [line] = findings.describe(rows({}), [0], [good])
    assert line.startswith("nothing wrong") and line.endswith("data's; all 8 modes have samples")
    # What the probes found explains it; a short run is not judged.
    [line] = findings.describe(rows(dict(spread=0.1)), [0], [none])
    assert line.startswith("the generator has collapsed")
    assert findings.describe(rows({}, steps=findings.STEPS - 1), [0], [none]) == []


def test_the_share_of_a_mode_is_of_the_data_near_it_and_1_of_a_generator_that_makes_data():
    """Two modes at ±1, the right one with three quarters of the data, the generator's with half."""
    points = np.array([[1.0], [1.0], [1.0], [-1.0]] * 50, np.float32)
    mixture = data.Dataset("two", points, points, modes=np.array([[1.0], [-1], [9]]), sigma=0.1)

    def make(generate):
        empty = (lambda key, *_: {"w": jax.random.normal(key)}), generate
        critic = (lambda key, *_: {"w": jax.random.normal(key)}), lambda p, x: p["w"] * x[:, 0]
        adam = optax.adam(1e-3)
        model = jaxgan.gan(empty, critic, losses.wgan(), adam, adam, latent_dim=1)
        return Run(model, model.init(jax.random.key(0)), 1, [], True, {})

    [shares] = findings.mode_shares(make(lambda p, z: jnp.sign(z) + 0 * p["w"]), mixture)
    np.testing.assert_allclose(shares, [2 / 3, 2], rtol=0.1)  # the third has no data
    [shares] = findings.mode_shares(make(lambda p, z: 1 + 0 * z + 0 * p["w"]), mixture)
    np.testing.assert_allclose(shares, [4 / 3, 0], rtol=1e-5)
    [shares] = findings.mode_shares(make(lambda p, z: jnp.nan * z + p["w"]), mixture)
    assert shares.tolist() == [0, 0]
    plain = data.Dataset("points", points, points)
    assert findings.mode_shares(make(lambda p, z: z + 0 * p["w"]), plain) is None


def test_a_run_on_a_toy_says_how_many_modes_its_samples_miss(tmp_path, capsys):
    flags = ["--loss=wgan-gp", "--dataset=ring8", "--d-learning-rate=0.1", "--steps=200"]
    flags += ["--width=16", "--depth=1", "--parallel=jit", f"--workdir={tmp_path / 'run'}"]
    assert not train.main(flags)
    [line] = json.loads((tmp_path / "run" / "summary.json").read_text())["findings"]
    assert line in capsys.readouterr().out and " of 8 modes have less than 10% " in line


def test_classes_that_are_gone_are_listed():
    real = {"histogram": [50, 50, 0, 9]}
    line = "1 of 4 classes or modes are gone: 0"
    assert withheld.gone({"histogram": [0, 9, 0, 0]}, real) == [line]
    assert withheld.gone({"histogram": [1, 9, 0, 1]}, real) == []
    assert withheld.gone({"w1": 2.0}, {"w1": 1.0}) == withheld.gone({"histogram": None}, real) == []


def test_the_log_the_summary_and_the_evaluation_say_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(classifier, "STEPS", 30)
    folder = tmp_path / "run"
    flags = ["--loss=wgan", "--clip=1e-5", "--steps=200", "--width=16", "--depth=2"]
    flags += ["--latent-dim=4", "--batch-size=16", "--parallel=jit", f"--workdir={folder}"]
    assert not train.main(flags)
    [line] = json.loads((folder / "summary.json").read_text())["findings"]
    assert line.startswith("the clip is too small") and line in capsys.readouterr().out
    assert not evaluate.main([f"--workdir={folder}", "--samples=100"])
    assert line in json.loads((folder / "evaluation.json").read_text())["notes"]
    assert line in capsys.readouterr().out
