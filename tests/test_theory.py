"""The papers' claims at reduced size: every kind of number against its closed form.

Tolerances, and the reasons for them, stand beside the numbers in experiments/claims.
"""

import io
import json
import pathlib
import re
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "experiments"))

import theory
from claims import clipping, clipping_scale, dirac_gan, style
from claims.number import Number
from measured_claims import (
    LEFT_OUT,
    REDUCED,
    ROOT,
    assert_hold,
    each_claim,
    measured,
    measured_with_ticks,
)

import jaxgan
from jaxgan import data, losses, metrics, networks

DOC = ROOT / "docs" / "theory.md"
FIGURES = ROOT / "docs" / "figures" / "theory"


@pytest.mark.slow
def test_maximum_likelihood_minimises_kl():
    assert_hold("maximum_likelihood", "identity", "misfit")


@pytest.mark.slow
def test_each_parameter_costs_half_a_nat_over_all_samples():
    numbers = assert_hold("maximum_likelihood", "parameters")
    assert [n.closed_form for n in numbers.values()] == [1, 2, 5]


@pytest.mark.slow
def test_kl_is_infinite_between_lines_and_finite_once_they_are_blurred():
    numbers = assert_hold("maximum_likelihood", "lines", "blurred")
    assert numbers["maximum_likelihood.lines_kl"].measured == np.inf


@pytest.mark.slow
def test_trained_discriminator_is_p_over_p_plus_q_where_the_densities_live():
    assert_hold("optimal_discriminator", "largest_error")


@pytest.mark.slow
def test_trained_discriminator_certifies_the_jensen_shannon_divergence():
    for number in assert_hold("optimal_discriminator", "js").values():
        assert number.error < 1e-5  # it can only fall short


@pytest.mark.slow
def test_value_at_the_optimal_discriminator_is_2_js_minus_log_4():
    assert_hold("global_optimum", "identity", "minimum")


@pytest.mark.slow
def test_value_of_trained_discriminators_is_2_js_minus_log_4():
    assert_hold("global_optimum", "value")


@pytest.mark.slow
def test_discriminator_is_a_half_where_generator_is_data():
    assert_hold("global_optimum", "half")


@pytest.mark.slow
def test_one_dimensional_gan_ends_at_the_global_optimum():
    assert_hold("convergence", "w1", "js", "half", "value")
    frames = measured("convergence").frames
    assert frames[0].w1 > 10 * frames[-1].w1


@pytest.mark.slow
def test_tv_kl_and_js_of_parallel_lines_are_steps():
    assert_hold("parallel_lines", "tv", "kl", "js@")


@pytest.mark.slow
def test_discriminator_certifies_log_2_for_lines_at_any_distance():
    assert_hold("parallel_lines", "js_discriminator")


@pytest.mark.slow
def test_critic_and_samples_give_the_distance_of_the_lines():
    assert_hold("parallel_lines", "w1_critic", "w1_samples")


@pytest.mark.slow
def test_minimax_gradient_vanishes_with_distance_and_the_critics_does_not():
    assert_hold("vanishing_gradients", "minimax", "bce", "wgan_gp")
    history = measured("vanishing_gradients").history
    assert history["minimax"][-1] < 0.01 < 0.9 < history["wgan_gp"][-1] < 1.1
    assert history["bce"][-1] > 1


@pytest.mark.slow
def test_critic_with_penalty_estimates_w1_within_5_percent():
    numbers = assert_hold("duality", "gaussians_", "squares", "clouds")
    for number in numbers.values():
        assert number.tolerance <= 0.05 * number.closed_form


@pytest.mark.slow
def test_penalty_biases_the_slope_by_distance_over_2_lambda():
    assert_hold("duality", "slope", "gaussians@")


def test_bias_of_the_penalty_vanishes_as_lambda_grows():
    biases = [theory.CLAIMS["duality"].gaussian_estimate(penalty) - 2 for penalty in (1, 10, 1e6)]
    assert biases[0] == pytest.approx(10 * biases[1], rel=1e-6)
    assert 0 < biases[2] < 1e-5


@pytest.mark.slow
def test_clipped_estimate_of_shifts_is_proportional_to_w1_with_a_factor_that_c_sets():
    assert_hold("clipping_scale", "factor", "exponent")


@pytest.mark.slow
def test_clipped_critic_measures_pairs_of_the_same_w1_differently():
    best = assert_hold("clipping_scale", "best")
    assert [n.closed_form for n in best.values()] == pytest.approx([1, 0.5, 0.26], abs=0.01)
    assert_hold("clipping_scale", "reading", "share")


@pytest.mark.parametrize("family", clipping_scale.FAMILIES)
def test_pairs_for_clipped_critics_are_as_far_apart_as_they_say(family):
    quantiles = (jnp.arange(4000) + 0.5) / 4000
    for distance in clipping_scale.DISTANCES:
        pair = clipping_scale.make_pair(family, distance)
        cloud, other = (clipping_scale.push(jnp.asarray(pieces), quantiles) for pieces in pair)
        w1 = float(jaxgan.distances.wasserstein_1d(cloud, other))
        assert w1 == pytest.approx(distance, abs=1e-3)
        assert clipping_scale.closed_forms(*pair)[0] == pytest.approx(distance, abs=1e-3)


@pytest.mark.parametrize("family", clipping_scale.FAMILIES)
def test_no_unit_is_worth_more_than_the_closed_form(family):
    """Two weights and a bias, each at −c, c or between, against exact samples."""
    pair = clipping_scale.make_pair(family, 0.4)
    u = (np.arange(4000) + 0.5) / 4000
    data, generated = (np.asarray(clipping_scale.push(jnp.asarray(p), u)) for p in pair)
    _, worth, signs = clipping_scale.closed_forms(*pair)
    gains = {}
    for first, last in ((1, 1), (1, -1), (-1, 1), (-1, -1), (0.5, 1), (-0.7, -1)):
        for bias in np.linspace(-1, 1, 101):
            scores = (last * np.maximum(first * x + bias, 0) for x in (data, generated))
            gains[first, last, bias] = next(scores).mean() - next(scores).mean()
    best = max(gains, key=gains.get)
    assert gains[best] == pytest.approx(worth, abs=1e-3)
    assert max(v for k, v in gains.items() if k[:2] == signs) == pytest.approx(worth, abs=1e-3)


@pytest.mark.slow
def test_penalised_critic_comes_nearer_to_w1_than_a_clipped_one():
    numbers = assert_hold("clipping", "bound")
    clipped, penalised = (
        numbers[f"clipping.bound.{way}.swissroll"].measured for way in ("clip", "penalty")
    )
    assert clipped < penalised


def test_steepest_slope_between_two_clouds_is_that_of_the_steepest_pair():
    keys = jax.random.split(jax.random.key(0))
    real, fake = (np.asarray(jax.random.normal(key, (130, 2))) for key in keys)

    def critic_fn(x):
        return jnp.sin(3 * x[:, 0]) + x[:, 1] ** 2

    pairs = [
        (float(critic_fn(x[None])[0]) - np.asarray(critic_fn(fake)))
        / np.linalg.norm(x - fake, axis=1)
        for x in real
    ]
    steepest = float(clipping.steepest(critic_fn, jnp.asarray(real), jnp.asarray(fake)))
    assert steepest == pytest.approx(np.max(pairs), rel=1e-4)
    rise = float(np.mean(critic_fn(real)) - np.mean(critic_fn(fake)))
    assert rise / steepest <= float(jaxgan.distances.earth_movers_distance(real, fake))


@pytest.mark.slow
def test_clipping_pushes_weights_to_its_bounds():
    assert_hold("clipping", "weights_at_bound")


@pytest.mark.slow
def test_gradients_vanish_or_explode_through_clipped_layers_only():
    numbers = assert_hold("clipping", "layer_factor")
    after = {key.split(".", 2)[2]: n.measured for key, n in numbers.items() if "after" in key}
    assert after["c=0.001"] < after["c=0.01"] < 0.1 < 0.8 < after["penalty"] < 1.2
    assert after["c=0.1"] > 1.5


@pytest.mark.slow
def test_penalty_keeps_all_modes():
    assert_hold("mode_collapse", "modes", "reverse_kl")


class Standing(nn.Module):
    """A discriminator that stands still, as its updates are zeros: D is largest at one point."""

    point: tuple[float, float]

    @nn.compact
    def __call__(self, x):
        height = self.param("height", nn.initializers.ones, ())
        return height - jnp.sum((x - jnp.array(self.point)) ** 2, axis=-1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bce", "minimax"])
def test_against_a_discriminator_that_stands_still_a_generator_keeps_one_mode(name):
    """Which modes a GAN loses in training hangs on rounding; why it loses any does not."""
    ring = data.load("ring8")
    generator, _ = networks.mlp((2,), latent_dim=2, width=32, depth=2)
    loss, tx = getattr(losses, name)(), optax.adam(optax.cosine_decay_schedule(1e-2, 300))
    critic = Standing(tuple(ring.modes[3].tolist()))
    model = jaxgan.gan(generator, critic, loss, tx, optax.set_to_zero(), ema_decay=0)
    state, key = model.init(jax.random.key(0)), jax.random.key(1)
    spread = metrics.mode_score(model.sample(state, key, 2500), ring.modes, ring.sigma)
    assert np.count_nonzero(spread.histogram) > 4
    for step in range(300):
        state, _ = model.g_step(state, ring.train[:64], jax.random.fold_in(key, step))
    score = metrics.mode_score(model.sample(state, key, 2500), ring.modes, ring.sigma)
    assert score.covered == 1 and score.histogram[3] == 2500
    assert score.reverse_kl == pytest.approx(np.log(8))


def test_eigenvalues_of_the_dirac_gans_update_are_the_closed_forms():
    assert_hold("dirac_gan", "modulus")
    for name, setting in dirac_gan.SETTINGS.items():
        np.testing.assert_allclose(
            np.sort_complex(measured("dirac_gan").eigenvalues[name]),
            np.sort_complex(setting.eigenvalues(dirac_gan.RATE)),
            atol=1e-4,
        )


def test_only_a_zero_centred_penalty_makes_the_dirac_gan_converge():
    assert_hold("dirac_gan", "clipped_radius", "penalty_orbit", "penalty_end", "r1_end")


def test_every_claim_is_measured():
    assert REDUCED.keys() == theory.CLAIMS.keys()


@each_claim()
def test_every_number_has_a_test(name):
    """The kinds that the tests above ask for are all there are."""
    here = pathlib.Path(__file__).parent
    text = "\n".join(path.read_text() for path in sorted(here.glob("test_theory*.py")))
    calls = re.findall(rf'assert_hold\("{name}", ([^)]*)\)', text)
    kinds = tuple(re.findall(r'"([^"]+)"', " ".join(calls)))
    for key in measured(name).numbers:
        assert key.removeprefix(f"{name}.").startswith(kinds), key


@each_claim()
def test_progress_bar_counts_each_part_of_a_claim(name):
    _, ticks = measured_with_ticks(name)
    assert ticks + LEFT_OUT.get(name, 0) == theory.CLAIMS[name].PARTS


# The others' figures need all points of their curves.
@each_claim([name for name in REDUCED if len(REDUCED[name]) == 1])
def test_figures_are_small_and_not_blank(name, tmp_path):
    with style.look():
        style.save(theory.CLAIMS[name].draw(measured(name)), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size < 150_000
    assert np.asarray(Image.open(tmp_path / "figure.png").convert("L")).std() > 5


def test_number_holds_within_its_tolerance_only():
    number = Number("", "", 1.0, 1.2, 0.3, "algebra")
    assert number.holds and number.error == pytest.approx(0.2)
    assert not number._replace(measured=1.4).holds
    assert not number._replace(measured=np.nan).holds
    assert not number._replace(measured=np.inf).holds
    assert number._replace(closed_form=np.inf, measured=np.inf).error == 0
    below = number._replace(ceiling=True)
    assert not below.holds and below._replace(measured=0.8).holds
    assert not below._replace(measured=0.6).holds and not below._replace(measured=np.nan).holds


def test_of_an_observation_nothing_is_claimed_that_could_hold():
    seen = Number("modes", "", 8.0, 2.0, None, "trained")
    assert not seen.claimed
    with pytest.raises(ValueError, match="nothing is claimed of: modes"):
        _ = seen.holds
    table = theory.make_tables({"a.b": theory.to_entry(seen)})
    assert "| modes |  | trained | 8 | 2 |" in table.partition("nothing claimed")[2]


class Terminal(io.StringIO):
    """What the progress bar takes for a terminal."""

    def isatty(self):
        return True


def test_command_writes_a_figure_and_its_numbers_beside_those_already_there(
    tmp_path, capsys, monkeypatch
):
    known = measured("optimal_discriminator")

    def measure(scale, tick, seed):
        assert (scale, seed) == (0.5, 0)
        tick()
        tick()
        return known

    monkeypatch.setattr(theory.CLAIMS["optimal_discriminator"], "measure", measure)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    later = theory.to_entry(Number("of a later claim", "", 1.0, 1.0, 0.1, "algebra"))
    other = {"dirac_gan.modulus.bce": later, "no_such_claim.x": later}
    (doc := tmp_path / "doc.md").write_text(f"Before.\n{theory.BEGIN}stale\n{theory.END}After.\n")
    (tmp_path / "theory.json").write_text(json.dumps(other))
    arguments = [f"--out={tmp_path}", "--only=optimal_discriminator", "--scale", "0.5"]
    arguments += ["--doc", str(doc)]
    assert theory.main(arguments) == 0
    entries = json.loads((tmp_path / "theory.json").read_text())
    assert list(entries) == [*known.numbers, "dirac_gan.modulus.bce"]
    for key, number in known.numbers.items():
        assert entries[key] == theory.to_entry(number)
    assert (tmp_path / "optimal_discriminator.png").exists()
    text = doc.read_text()
    assert text.startswith("Before.\n") and text.endswith("After.\n") and "stale" not in text
    assert 0 < text.index("two Gaussians | Goodfellow") < text.index("of a later claim")
    assert "figures and 4 numbers" in capsys.readouterr().out
    text = terminal.getvalue()
    assert "The optimal discriminator: 100%" in text and "2/2" in text


def test_command_says_which_numbers_are_astray_and_exits_with_1(tmp_path, capsys, monkeypatch):
    known = measured("optimal_discriminator")
    key, number = next(iter(known.numbers.items()))
    astray = known._replace(numbers={**known.numbers, key: number._replace(measured=9.0)})
    monkeypatch.setattr(theory.CLAIMS["optimal_discriminator"], "measure", lambda *_: astray)
    assert theory.main([f"--out={tmp_path}", "--only=optimal_discriminator"]) == 1
    assert f"outside its tolerance: {key} is" in capsys.readouterr().out


def test_infinity_is_a_string_in_json():
    entry = theory.to_entry(Number("", "", np.inf, np.inf, 0.0, "algebra"))
    assert (entry["closed_form"], entry["error"]) == ("Infinity", 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out={}", "--only=dualty"], "did you mean duality"),
        (["--out={}", "--scale=0"], "--scale must be"),
        (["--out={}", "--scale=nan"], "--scale must be"),
        (["--out={}", "--nonsense"], "nonsense"),
        ([], "--out"),
        (["--out={}/file"], "file"),
        (["--out={}", "--doc={}/file"], "has no table"),
        (["--out={}", "--doc={}/none.md"], "none.md"),
        (["--out={}/other"], "not a file that theory.py wrote"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, message, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "theory.json").write_text("[1, 2")
    assert theory.main([a.format(tmp_path) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("theory.py: ") and message in error and error.count("\n") == 1


def committed():
    return json.loads((FIGURES / "theory.json").read_text())


@each_claim()
def test_committed_numbers_are_those_of_the_claim(name):
    """Against what it says now; a full run has at most a reduced run's tolerance."""
    entries = committed()
    for key, number in measured(name).numbers.items():
        entry, now = entries[key], theory.to_entry(number)
        for field in ("what", "source", "kind", "ceiling"):
            assert entry.get(field) == now.get(field), key
        closed_form = pytest.approx(number.closed_form, rel=1e-4)
        assert float(entry["closed_form"]) == closed_form, key
        assert (entry["tolerance"] is None) == (now["tolerance"] is None), key
        assert (entry["tolerance"] or 0) <= (now["tolerance"] or 0) * (1 + 1e-4), key


def test_committed_numbers_hold():
    entries = committed()
    for key, entry in entries.items():
        if entry["tolerance"] is not None:
            kept = ("what", "source", "closed_form", "measured", "tolerance", "kind")
            values = [float("inf") if entry[k] == "Infinity" else entry[k] for k in kept]
            assert Number(*values, ceiling=entry.get("ceiling", False)).holds, key
    observed = [key for key, entry in entries.items() if entry["tolerance"] is None]
    assert {key.split(".")[0] for key in observed} == {"mode_collapse"}


def test_table_of_the_doc_is_that_of_the_committed_numbers():
    assert theory.replace_table(DOC, committed()) == DOC.read_text()


def test_doc_has_each_claims_figure_and_command_and_numbers_that_were_measured():
    """Bold numbers in a claim's section are measured ones, to the digits shown."""
    sections, entries = re.split(r"\n###? ", DOC.read_text()), committed()
    for name in theory.CLAIMS:
        (section,) = (text for text in sections if f"](figures/theory/{name}.png)" in text)
        assert (FIGURES / f"{name}.png").stat().st_size < 150_000
        assert f"--only={name}" in section
        values = [
            abs(float(entry[kind]))
            for key, entry in entries.items()
            if key.startswith(f"{name}.")
            for kind in ("measured", "error")
        ]
        bold = re.findall(r"\*\*−?([\d.]+)(%?)\*\*", section)
        assert len(bold) == section.count("**") // 2 > 0
        for shown, percent in bold:
            digits = len(shown.partition(".")[2]) + 2 * len(percent)
            wanted = round(float(shown) / (100 if percent else 1), digits)
            assert any(round(value, digits) == wanted for value in values), f"{name}: {shown}"
