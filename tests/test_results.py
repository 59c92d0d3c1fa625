"""Tables of scored runs."""

import dataclasses
import json
import shlex

import pytest

from jaxgan.commands import exam, results, tables
from jaxgan.commands import settings as configs
from jaxgan.commands.command_line import parse
from jaxgan.commands.presets import preset
from jaxgan.training import json_files


def write_run(folder, config, evaluation, resumed_from=0, devices=1):
    folder.mkdir()
    json_files.write(folder / "config.json", configs.recorded(config))
    summary = {
        "steps": config.steps,
        "seconds": 40.2,
        "compile_seconds": 2.0,
        "resumed_from": resumed_from,
        "device": {"platform": "cpu", "kind": "cpu", "count": devices},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    seeds = [config.seed + index for index in range(config.num_seeds)]
    evaluation = {"step": config.steps} | evaluation | {"seeds": seeds}
    evaluation["protocol"] = {"seed": 0, "generator": "averaged"} | evaluation["protocol"]
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    return str(folder)


def ring(first, second):
    """An evaluation of two seeds that cover so many modes."""
    seeds = [
        {"modes_covered": n, "high_quality": 0.9712 + 0.0013 * sign}
        | {"reverse_kl": 0.00031 + 0.00012 * sign, "reverse_kl_pacgan": 0.0021 + 0.0004 * sign}
        | {"w1": 0.05 + 0.004 * sign}
        for n, sign in ((first, -1), (second, 1))
    ]
    floor = {"modes_covered": 8, "high_quality": 0.9889, "reverse_kl": 0.00014}
    return {
        "seeds": [0, 1],
        "scores": exam.combine(exam.mean, seeds),
        "standard_error": exam.combine(exam.standard_error, seeds),
        "scores_of_seeds": seeds,
        "floor": floor | {"reverse_kl_pacgan": 0.0014, "w1": 0.04},
        "protocol": {"modes": 8},
    }


def test_points_by_mode_with_errors_over_seeds_and_the_floor_last(tmp_path, capsys):
    config = dataclasses.replace(preset("wgan-gp", "ring8"), num_seeds=2)
    whole = write_run(tmp_path / "whole", config, ring(8, 8))
    lost = write_run(tmp_path / "lost", config, ring(8, 7), resumed_from=5, devices=2)
    assert results.main([whole, lost]) == 0
    command = "train.py --loss=wgan-gp --dataset=ring8 --num-seeds=2"
    rest = "97.1 ± 0.1% | 0.00031 ± 0.00012 | 0.002 ± 0.000 | 1.250 ± 0.100"
    assert capsys.readouterr().out.splitlines() == [
        "| command | seeds | modes | high quality | reverse KL | as PacGAN's | W1 / floor "
        "| seconds |",
        "|---|---|---|---|---|---|---|---|",
        f"| `{command}` | 2 | 8/8 | {rest} | 42 |",
        f"| `{command}` | 2 | 7.5/8, worst 7 | {rest} | — |",
        "| *training data of ring8* |  | 8 | 98.9% | 0.00014 | 0.001 | 1 (= 0.04) |  |",
        "",
    ]


def test_images_by_distance_over_its_floor(tmp_path, capsys):
    scores = {"modes_covered": 10, "reverse_kl": 0.01234, "w1": 3.0, "frechet_classifier": None}
    evaluation = {"seeds": [0], "scores": scores | {"memorisation": {"closer": 0.39}}}
    evaluation |= {"floor": {"modes_covered": 10, "w1": 2.5}, "protocol": {"modes": 10}}
    assert results.main([write_run(tmp_path / "run", preset("wgan", "digits"), evaluation)]) == 0
    row, floor = capsys.readouterr().out.splitlines()[2:4]
    assert row.endswith("| 1 | 10/10 | 1.200 | — | 0.0123 | — | — | 0.39 | 42 |")
    assert floor == "| *training data of digits* |  | 10 | 1 (= 2.5) | — | — | — | — | — |  |"


def test_stacked_digits_by_modes_and_their_balance_in_a_table_of_their_own(tmp_path, capsys):
    scores = {"modes_covered": 987, "reverse_kl": 0.123, "w1": 3.0}
    evaluation = {"seeds": [0], "scores": scores | {"memorisation": {"closer": 0.39}}}
    floor = {"modes_covered": 1000, "reverse_kl": 0.0193, "w1": 2.5}
    evaluation |= {"floor": floor, "protocol": {"modes": 1000}}
    stacked = write_run(tmp_path / "a", preset("wgan-gp", "stacked_mnist"), evaluation)
    ring8 = write_run(tmp_path / "b", preset("wgan-gp", "ring8"), ring(8, 8))
    assert results.main([stacked, ring8]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[5:7] == [
        "| command | seeds | modes | reverse KL | W1 / floor | nearer than held-out | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    assert lines[7].endswith("| 1 | 987/1000 | 0.123 | 1.200 | 0.39 | 42 |")
    assert lines[8] == "| *training data of stacked_mnist* |  | 1000 | 0.019 | 1 (= 2.5) | — |  |"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--loss=wgan-gp", "--dataset=grid25", "--num-seeds=10", "--seed=3"],
        ["--loss=bce", "--model=mlp", "--ema-decay=0.9"],
        ["--loss=bce", "--model=dcgan", "--no-critic-norm"],
        ["--loss=wgan-gp", "--dataset=mnist", "--data-dir=DIR", "--steps=7"],
        ["--loss=wgan", "--dataset=folder:my photos"],
    ],
)
def test_the_command_beside_a_row_repeats_it(arguments):
    config, _ = parse(arguments)
    words = shlex.split(tables.command(config))[1:]
    again, options = parse(words)
    # A preset that the command names is in the folder's name.
    named = f"-{options.preset}" * (f"--preset={options.preset}" in words)
    assert again.workdir.replace(named, "", 1) == config.workdir
    assert dataclasses.replace(again, workdir=config.workdir) == config


def test_the_command_leaves_out_what_has_no_effect():
    config = dataclasses.replace(preset("bce", "digits"), clip=3.0, critic_norm=True)
    again, _ = parse(shlex.split(tables.command(config))[1:])
    assert dataclasses.replace(again, workdir=None) == preset("bce", "digits")


def test_a_score_of_nothing_is_a_score(tmp_path, capsys):
    evaluation = ring(0, 0)
    for scores in evaluation["scores_of_seeds"]:
        scores |= {"high_quality": 0.0, "reverse_kl": None}
    assert results.main([write_run(tmp_path / "a", preset("wgan", "ring8"), evaluation)]) == 0
    assert "| 0.0/8, worst 0 | 0.0 ± 0.0% | — |" in capsys.readouterr().out


def test_points_without_modes_have_their_distance(tmp_path, capsys):
    evaluation = {"seeds": [0], "scores": {"w1": 0.3}, "floor": {"w1": 0.2}, "protocol": {}}
    assert results.main([write_run(tmp_path / "a", preset("wgan", "swissroll"), evaluation)]) == 0
    row, floor = capsys.readouterr().out.splitlines()[2:4]
    assert row.endswith("| 1 | — | — | — | — | 1.500 | 42 |")
    assert floor == "| *training data of swissroll* |  | — | — | — | — | 1 (= 0.2) |  |"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"step": 5}, "scored at 5"),
        ({"protocol": {"seed": 3, "modes": 8}}, "--seed=3"),
        ({"protocol": {"generator": "last", "modes": 8}}, "the last generator"),
    ],
)
def test_scores_that_are_not_those_of_the_command_are_refused(change, words, tmp_path, capsys):
    good = write_run(tmp_path / "good", preset("bce", "ring8"), ring(8, 8))
    stale = write_run(tmp_path / "stale", preset("wgan", "ring8"), ring(8, 8) | change)
    assert results.main([stale, good]) == 0
    told = capsys.readouterr()
    assert "--loss=bce" in told.out and "--loss=wgan" not in told.out
    [line] = told.err.splitlines()
    assert "stale" in line and words in line


@pytest.mark.parametrize("change", [{"samples": 100}, {"classifier": {"parameters": "another"}}])
def test_scores_that_were_not_counted_alike_are_not_tabulated_together(change, tmp_path, capsys):
    good = write_run(tmp_path / "good", preset("bce", "ring8"), ring(8, 8))
    others = ring(8, 8) | {"protocol": {"modes": 8} | change}
    other = write_run(tmp_path / "other", preset("wgan", "ring8"), others)
    elsewhere = write_run(tmp_path / "elsewhere", preset("wgan", "grid25"), others)
    assert results.main([good, other, elsewhere]) == 0
    told = capsys.readouterr()
    assert told.out.count("--loss=") == 2 and "--loss=wgan --dataset=ring8" not in told.out
    [line] = told.err.splitlines()
    assert str(tmp_path / "other") in line and next(iter(change)) in line


@pytest.mark.parametrize("name", ["summary.json", "evaluation.json"])
@pytest.mark.parametrize("content", ["{}", "[]", '{"protocol": 5}', None])
def test_what_is_no_evaluation_is_named(name, content, tmp_path, capsys):
    folder = write_run(tmp_path / "a", preset("wgan", "ring8"), ring(8, 8))
    path = tmp_path / "a" / name
    path.unlink()
    path.mkdir() if content is None else path.write_text(content)
    assert results.main([folder]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "a") in line


def test_a_distance_that_is_none_is_a_dash(tmp_path, capsys):
    evaluation = {"seeds": [0], "scores": {"w1": None}, "floor": {"w1": 0.2}, "protocol": {}}
    assert results.main([write_run(tmp_path / "a", preset("wgan", "swissroll"), evaluation)]) == 0
    assert "| 1 | — | — | — | — | — | 42 |" in capsys.readouterr().out


@pytest.mark.parametrize("dataset", ["ring8", "digits", "stacked_mnist"])
def test_scores_that_were_withheld_are_dashes(dataset, tmp_path, capsys):
    names = ("modes_covered", "high_quality", "reverse_kl", "reverse_kl_pacgan", "w1")
    withheld = dict.fromkeys((*names, "sliced_w1", "frechet_classifier", "memorisation"))
    evaluation = {"seeds": [0, 1], "scores": withheld, "standard_error": withheld}
    evaluation |= {"scores_of_seeds": [withheld] * 2, "floor": withheld, "protocol": {"modes": 8}}
    folder = write_run(tmp_path / "a", preset("wgan-gp", dataset), evaluation)
    assert results.main([folder]) == 0
    head, _, row, floor = capsys.readouterr().out.splitlines()[:4]
    scores = head.count("|") - 4  # but for the command, the seeds and the seconds
    assert row.endswith(f"| 2 |{' — |' * scores} 42 |")
    assert floor.count("—") == scores


def test_a_damaged_evaluation_is_named(tmp_path, capsys):
    folder = write_run(tmp_path / "a", preset("wgan", "ring8"), ring(8, 8))
    (tmp_path / "a" / "evaluation.json").write_text('{"scores": ')
    assert results.main([folder]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "evaluation.json is damaged" in line


@pytest.mark.parametrize("missing", ["config.json", "summary.json", "evaluation.json"])
def test_a_run_that_is_not_scored_is_one_line(missing, tmp_path, capsys):
    folder = write_run(tmp_path / "run", preset("wgan", "ring8"), ring(8, 8))
    (tmp_path / "run" / missing).unlink()
    assert results.main([folder]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and missing in error


def test_no_folder_is_one_line(capsys):
    assert results.main([]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
