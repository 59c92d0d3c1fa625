"""The command that exports a run, what it refuses, and the programs that read its files."""

import json
import pathlib
import re
import resource
import shutil
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from etils import epath
from PIL import Image

import jaxgan
from jaxgan import export, losses, networks
from jaxgan.commands import export as command
from jaxgan.commands import settings, train
from jaxgan.commands.main import PROGRAMS
from jaxgan.commands.pictures import write
from jaxgan.training.checkpoints import Checkpoints

pytest.importorskip("onnxruntime")
ROOT = pathlib.Path(__file__).parents[1]
SMALL = ["--width=8", "--depth=1", "--latent-dim=4", "--batch-size=16", "--steps=2"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The folder of a run with classes."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    flags = [*SMALL, "--loss=wgan", "--num-classes=10", "--parallel=jit", f"--workdir={folder}"]
    assert not train.main(flags)
    return folder


@pytest.mark.parametrize("name, inputs, file", [
    ("onnx", "latents [N, 4], labels [N] to samples [N, 8, 8, 1]", "generator.onnx"),
    ("stablehlo", "latents [N, 4], labels [N] to samples [N, 8, 8, 1]", "generator.stablehlo"),
    ("torch-fidelity", "latents [N, 5] to images [N, 3, 8, 8]", "torch-fidelity.onnx"),
])  # fmt: skip
def test_the_command_writes_a_file_and_says_so_in_a_line(digits, capsys, name, inputs, file):
    assert not command.main([f"--workdir={digits}", f"--format={name}"])
    line, classes = capsys.readouterr().out.splitlines()
    assert classes == 'Classes: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]'
    assert line.startswith(f"{digits / 'generated' / file}: ") and f"{inputs}, differs" in line
    assert (digits / "generated" / file).stat().st_size > 1000


def test_the_ending_of_out_says_the_format(digits, tmp_path):
    for name, first in (("a.onnx", b"\x08"), ("a.stablehlo", None)):
        assert not command.main([f"--workdir={digits}", f"--out={tmp_path / name}", "--no-ema"])
        content = (tmp_path / name).read_bytes()
        assert first is None or content.startswith(first)
    jax.export.deserialize(bytearray((tmp_path / "a.stablehlo").read_bytes()))


def test_without_onnxruntime_a_line_says_that_nothing_was_compared(digits, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert not command.main([f"--workdir={digits}"])
    first, second, _ = capsys.readouterr().out.splitlines()
    assert "Not compared with the run: pip install onnxruntime" in first
    assert "differs" not in second


def change(path, **entries):
    """Writes these into a file of JSON."""
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.fixture
def copy(digits, tmp_path):
    """A copy of the run, to change."""
    ignore = shutil.ignore_patterns("generated")
    return shutil.copytree(digits, tmp_path / "copy", ignore=ignore)


def test_an_unfinished_run_says_where_it_is(copy, capsys):
    """One that was killed: it has steps left, and no summary."""
    change(copy / "config.json", steps=5)
    (copy / "summary.json").unlink()
    assert not command.main([f"--workdir={copy}"])
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first == "The state is that of step 2 of 5."
    assert second.startswith(f"{copy / 'generated' / 'generator.onnx'}: ")


@pytest.mark.parametrize("form, reader", [("onnx", "onnxruntime"), ("stablehlo", "jax from the")])
def test_time_says_how_long_samples_take(digits, tmp_path, capsys, form, reader):
    out = tmp_path / f"a.{form}"
    assert not command.main([f"--workdir={digits}", f"--out={out}", "--time"])
    *_, line = capsys.readouterr().out.splitlines()
    theirs, ours = re.findall(r"[\d.e+]+(?= ms| in jaxgan)", line)
    assert f" ms in {reader}" in line and float(theirs) > 0 and float(ours) > 0


def test_onnx_is_not_timed_without_onnxruntime(digits, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert command.main([f"--workdir={digits}", "--time"]) == 2
    assert "--time needs onnxruntime: pip install onnxruntime" in capsys.readouterr().err


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    out = epath.Path(tmp_path / "folder" / "a.onnx")
    write(out, b"before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(ValueError, match=r"a.onnx cannot be written \(.*too large.* --out"):
            write(out, b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert out.read_bytes() == b"before"
    assert [path.name for path in out.parent.iterdir()] == ["a.onnx"]


def test_a_place_that_takes_no_file_is_named(digits, tmp_path, capsys):
    for out in (tmp_path, digits / "config.json"):
        (tmp_path / "a.onnx").mkdir(exist_ok=True)
        assert command.main([f"--workdir={digits}", f"--out={out / 'a.onnx'}"]) == 2
        assert re.search(
            r"a.onnx cannot be written \(.*\): say with --out", capsys.readouterr().err
        )


def test_a_file_in_another_precision_than_the_run_says_so(tmp_path, capsys):
    folder = tmp_path / "run"
    flags = [*SMALL, "--loss=wgan", "--precision=bfloat16", "--parallel=jit"]
    assert not train.main([*flags, f"--workdir={folder}"])
    capsys.readouterr()
    for form, says in (
        ("onnx", "differs from the run in float32, which the file computes in, by"),
        ("stablehlo", "differs from the run by"),
    ):
        assert not command.main([f"--workdir={folder}", f"--format={form}"])
        assert says in capsys.readouterr().out


def refusal(folder, capsys, *flags):
    """The line that the command ends with, when it has written nothing."""
    assert command.main([f"--workdir={folder}", *flags]) == 2
    assert not (folder / "generated").exists()
    [line] = capsys.readouterr().err.splitlines()
    return line


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "missing"):
        assert refusal(folder, capsys) == f"export.py: {folder} holds no run: it has no config.json"


def test_a_run_without_a_checkpoint_is_refused(copy, capsys):
    shutil.rmtree(copy / "checkpoints")
    assert refusal(copy, capsys) == f"export.py: {copy} has no checkpoint yet"


def test_a_config_of_another_version_is_refused(copy, capsys):
    change(copy / "config.json", charm=0.5)
    line = refusal(copy, capsys)
    assert line.startswith(f"export.py: {copy / 'config.json'} is not a run's config: ")
    assert "it has 'charm', which is no setting here. If a newer jaxgan trained the run" in line


@pytest.mark.parametrize("setting, words", [
    (dict(steps="many"), 'steps must be a whole number from 1 up; got "many"'),
    (dict(num_seeds="2"), 'num_seeds must be a whole number from 1 up; got "2"'),
    (dict(seed=None), "seed must be a whole number; got null"),
    (dict(loss=3), "loss must be text; got 3"),
    (dict(g_learning_rate="fast"), 'g_learning_rate must be a number; got "fast"'),
    (dict(flip=1), "flip must be true or false; got 1"),
    (dict(num_classes="3"), 'num_classes must be a whole number or null; got "3"'),
])  # fmt: skip
def test_a_setting_of_another_type_is_refused(copy, capsys, setting, words):
    change(copy / "config.json", **setting)
    assert words in refusal(copy, capsys)


def test_the_ending_of_a_name_may_be_in_capitals():
    assert command.choose_format("", "g.ONNX") == "onnx"
    assert command.choose_format("stablehlo", "g.StableHLO") == "stablehlo"


def test_a_run_that_diverged_before_its_first_checkpoint_is_refused(tmp_path, capsys):
    flags = ["--loss=bce", "--dataset=ring8", "--d-learning-rate=1e30", "--parallel=jit"]
    assert train.main([*SMALL, *flags, f"--workdir={tmp_path}", "--steps=50"]) == 3
    capsys.readouterr()
    assert refusal(tmp_path, capsys) == f"export.py: {tmp_path} has no checkpoint yet"


def test_a_checkpoint_of_numbers_that_broke_is_refused(copy, capsys):
    run = jaxgan.load(copy, settings.model_of_run(copy))
    broken = run.state._replace(ema=jax.tree.map(lambda x: x * jnp.nan, run.state.ema))
    checkpoints = Checkpoints(copy / "checkpoints")
    checkpoints.save(3, broken._replace(step=broken.step + 1))
    checkpoints.close()
    for form in command.FORMATS:
        assert "not finite: its training has diverged" in refusal(copy, capsys, f"--format={form}")


def test_a_run_of_fit_is_exported_in_python(tmp_path, capsys):
    """The command does not know its model; here ONNX does not hold it either."""

    class Sorting(nn.Module):
        latent_dim = 5

        @nn.compact
        def __call__(self, z):
            return jnp.sort(nn.Dense(3)(z), 1)

    critic, adam = networks.mlp((3,), 1, 4, 1)[1], optax.adam(1e-3)
    model = jaxgan.gan(Sorting(), critic, losses.wgan(), adam, adam, 1)
    x = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    jaxgan.fit(model, x, steps=2, batch_size=8, parallel="jit", workdir=tmp_path)
    capsys.readouterr()
    line = refusal(tmp_path, capsys)
    assert "is of a run of jaxgan.fit, whose model is its own: load it in Python" in line
    run = jaxgan.load(tmp_path, model)
    with pytest.raises(ValueError, match="operation sort in Sorting cannot be written"):
        export.to_onnx(run)
    assert export.check_stablehlo(run, export.to_stablehlo(run)) == 0


@pytest.mark.parametrize("flags, message", [
    (["--format=onxx"], "unknown --format=onxx: did you mean onnx?"),
    (["--out=a.pt"], "--out=a.pt must end in .stablehlo or .onnx, which says its format."),
    (["--out=a.onnx", "--format=stablehlo"], "--out=a.onnx must end in .stablehlo with --format"),
    (["--out=a.bin", "--format=torch-fidelity"], "--out=a.bin must end in .onnx with --format"),
    (["--seed-index=1"], "seed_index must be from 0 to 0, got 1"),
    (["--best"], "has no best checkpoint: it was not scored"),
    (["--format=torch-fidelity", "--time"], "--time goes with --format=onnx or stablehlo"),
])  # fmt: skip
def test_a_mistake_is_told_in_a_line_and_nothing_is_written(
    digits, tmp_path, capsys, monkeypatch, flags, message
):
    monkeypatch.chdir(tmp_path)
    assert command.main([f"--workdir={digits}", *flags]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("export.py: ") and message in line
    assert not any(tmp_path.iterdir())


def test_an_installed_package_exports_too():
    assert "export" in PROGRAMS


# The programs of docs/export.md ------------------------------------------------------------------

PROGRAMS_OF_THE_PAGE = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL
)


@pytest.mark.parametrize("without, suffix", [
    (("jax", "jaxlib", "flax", "jaxgan"), "onnx"),
    (("flax", "jaxgan", "onnx"), "stablehlo"),
])  # fmt: skip
def test_a_program_of_the_page_needs_no_jaxgan(digits, tmp_path, without, suffix):
    [program] = [each for each in PROGRAMS_OF_THE_PAGE if f"digits.{suffix}" in each]
    assert not command.main([f"--workdir={digits}", f"--out={tmp_path / 'digits'}.{suffix}"])
    # An entry of None in sys.modules makes an import fail as if there were no such package.
    blocks = f"import sys; sys.modules.update(dict.fromkeys({without}))\n"
    done = subprocess.run(
        [sys.executable, "-c", blocks + program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    [picture] = tmp_path.glob("*.png")
    with Image.open(picture) as image:
        assert image.size == (80, 80)  # ten rows of ten digits, a class in each
