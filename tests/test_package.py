"""What importing the package needs, which way its imports point, and what a wheel of it holds."""

import ast
import pathlib
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest

import jaxgan
from jaxgan.commands import names, results
from jaxgan.commands.command_line import parse

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "jaxgan"
SHELL = [
    *("tensorflow_datasets", "array_record", "importlib_resources", "etils.epath", "tqdm"),
    *("PIL", "matplotlib", "tensorboardX", "ot", "orbax", "grain", "onnx"),
]
# Each part of the package, and the parts that it may import. The core is the first ten.
KNOWS = {
    "distances": set(),
    "networks": set(),
    "augment": set(),
    "losses": {"augment", "distances"},
    "checks": {"losses", "networks"},
    "state": {"losses", "networks"},
    "noise": {"losses"},
    "gan": {"checks", "losses", "networks", "noise", "state"},
    "seeds": {"gan"},
    "probe": {"losses", "noise", "state"},
    "divergences": {"distances"},
    "parallel": set(),
    "places": set(),
    "data": {"places"},
    "metrics": {"distances", "networks", "data", "places"},
    "plots": {"data"},
    "training": {
        *("checks", "data", "gan", "metrics", "networks", "noise", "parallel", "plots", "probe"),
        *("seeds", "state"),
    },
    "latents": {"data", "losses", "networks", "noise", "state", "training"},
    "export": {"data", "networks", "state", "training"},
    "commands": {p.stem for p in PACKAGE.iterdir()},
}


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_needs_only_jax_flax_optax_and_chex():
    # An entry of None in sys.modules makes its import fail as if it were not installed.
    run(f"""
import sys
import jax, flax.linen, optax, chex  # what these import for themselves is theirs
theirs = set(sys.modules)
for name in {SHELL}:
    if name not in theirs:
        sys.modules[name] = None
import jaxgan
from jaxgan import distances, divergences, gan, losses, metrics, networks, parallel
import jaxgan.divergences
""")


def test_the_command_line_starts_without_what_the_first_step_does_not_need():
    run("""
import sys
import jax, flax.linen, optax, chex
theirs = set(sys.modules)
from jaxgan.commands import train
late = {"flax.nnx", "orbax.checkpoint", "matplotlib", "tensorflow_datasets", "ot"}
assert not late & set(sys.modules) - theirs, late & set(sys.modules) - theirs
""")


def test_what_messages_recommend_is_there_after_importing_jaxgan():
    names = "data.to_float", "data.Dataset", "plots.save_samples", "load", "fit", "DivergedError"
    names += ("latents.truncate",)
    run("import jaxgan; " + "; ".join(f"jaxgan.{name}" for name in names))


def imports(path):
    """The parts of the package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "jaxgan":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxgan."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("jaxgan.")}
    return found


def test_imports_point_one_way():
    for part, allowed in KNOWS.items():
        folder = PACKAGE / part
        for path in folder.glob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]:
            known = imports(path) - {part}
            assert known <= allowed, f"{path.relative_to(ROOT)} imports {known - allowed}"


def test_no_script_imports_a_script():
    scripts = {
        path.stem: ast.walk(ast.parse(path.read_text()))
        for path in (ROOT / "experiments").glob("*.py")
        if 'if __name__ == "__main__"' in path.read_text()
    }
    for name, nodes in scripts.items():
        for node in nodes:
            if isinstance(node, ast.Import):
                assert not scripts.keys() & {a.name for a in node.names}, f"{name} imports a script"
            if isinstance(node, ast.ImportFrom):
                assert node.module not in scripts, f"{name} imports a script"


def test_a_wheel_holds_every_module(tmp_path):
    # Without isolation, as without a network: what builds it is installed where tests run.
    build = "from setuptools.build_meta import build_wheel; import sys; build_wheel(sys.argv[1])"
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    (source / "jaxgan").symlink_to(PACKAGE)
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, check=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        listed = file.namelist()
        held = {name for name in listed if name.startswith("jaxgan/")}
    about = f"jaxgan-{jaxgan.__version__}.dist-info"
    assert {name.split("/")[0] for name in listed} == {"jaxgan", about}
    # Of jaxgan, and of the library that the page has: its licence asks to go with every copy.
    licences = {f"{about}/licenses/LICENSE", f"{about}/licenses/jaxgan/page/vendor/LICENSE"}
    assert {name for name in listed if "/licenses/" in name} == licences
    ours = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.py")}
    page = {str(p.relative_to(ROOT)) for p in (PACKAGE / "page").rglob("*") if p.is_file()}
    assert "jaxgan/page/vendor/ort-wasm-simd-threaded.wasm.gz" in page
    assert held == ours | page | {"jaxgan/py.typed", "jaxgan/data/digits.npz"}
    code = "import jaxgan, jaxgan.data, jaxgan.plots; print(jaxgan.__file__)"
    environment = {"PYTHONPATH": str(wheel), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True
    )
    assert str(wheel) in done.stdout, done.stderr
    code = "import importlib.metadata; print(importlib.metadata.version('jaxgan'))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout == f"{jaxgan.__version__}\n", done.stderr


def test_a_source_archive_holds_what_its_tests_need(tmp_path):
    build = "from setuptools.build_meta import build_sdist; import sys; build_sdist(sys.argv[1])"
    source = tmp_path / "source"
    source.mkdir()
    files = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md")
    folders = ("jaxgan", "tests", "docs", "experiments")
    for name in (*files, "CITATION.cff", "CONTRIBUTING.md", *folders):
        (source / name).symlink_to(ROOT / name)
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, check=True)
    with tarfile.open(tmp_path / f"jaxgan-{jaxgan.__version__}.tar.gz") as file:
        held = {m.name.partition("/")[2] for m in file.getmembers() if m.isfile()}
    made = {"PKG-INFO", "setup.cfg", "jaxgan.egg-info"}
    there = {name.partition("/")[0] for name in held}
    assert there == {*files, "CITATION.cff", "CONTRIBUTING.md", *folders} | made
    for folder in folders:
        ours = (p for p in (ROOT / folder).rglob("*") if p.is_file() and "_build" not in p.parts)
        ours = {str(p.relative_to(ROOT)) for p in ours if "__pycache__" not in p.parts}
        assert {name for name in held if name.startswith(f"{folder}/")} == ours


def test_the_version_stands_in_one_place_and_in_what_is_cited():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "jaxgan.__version__"}
    cited = dict(re.findall(r"^(\S+): (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE))
    [newest, *_] = re.findall(
        r"^## (\S+) — (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert (cited["version"], cited["date-released"]) == newest
    assert cited["version"] == jaxgan.__version__


@pytest.mark.parametrize("module", ["jaxgan", "jaxgan.commands.main"])
def test_the_command_says_its_version(module):
    code = f"import sys; sys.argv = ['jaxgan', '--version']; from {module}"
    code += ".__main__ import main; main()" if module == "jaxgan" else " import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == f"jaxgan {jaxgan.__version__}\n", done.stderr


def test_python_m_jaxgan_is_the_command(tmp_path):
    command = [sys.executable, "-m", "jaxgan", "sample", f"--workdir={tmp_path / 'none'}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.startswith("jaxgan sample: "), done.stderr


@pytest.mark.parametrize(
    ("text", "installed"),
    [
        ("train.py: no such flag", "jaxgan train: no such flag"),
        ("run python experiments/evaluate.py --workdir=a", "run jaxgan evaluate --workdir=a"),
        ("as `evaluate.py --inception=fetch` does", "as `jaxgan evaluate --inception=fetch` does"),
        # What the user gave stays as it was, and so does what is no program of the package's.
        *[
            (t, t)
            for t in ("--workdir=train.py", "'train.py'", "my/train.py", "theory.py", "run.py")
        ],
    ],
)
def test_messages_name_programs_as_they_were_started(text, installed):
    with names.of_package():
        assert names.as_typed(text) == installed
    assert names.as_typed(text) == text


def test_help_and_errors_of_the_installed_command_name_no_script(capsys):
    with names.of_package():
        assert results.main([]) == 2
        assert results.main(["--help"]) == 0
        with pytest.raises(SystemExit, match="0"):
            parse(["--help"])
    shown = "".join(capsys.readouterr())
    assert "jaxgan results runs/*" in shown and "jaxgan train [--flag" in shown
    assert not re.search(r"experiments/|\b(train|evaluate|results|sample)\.py", shown)
