"""What the documents say can be done: programs run, commands are read, names exist.

A block of Python is a whole program, which runs, or one of `FRAGMENTS`, of which the names exist.
Of a block for the shell, and of a command in a line of text, the command's own parser reads the
flags. tests/test_page.py opens the block of HTML.
"""

import ast
import importlib
import pathlib
import re
import shlex
import tomllib

import jax
import numpy as np
import pytest

from jaxgan.commands import command_line, main, sample, train
from jaxgan.commands.flags import given, read

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXPERIMENTS = ROOT / "experiments"
PAGES = {
    str(path.relative_to(ROOT if path.parent == ROOT else DOCS)): path.read_text()
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
}
# What cannot run here, by the heading above it, and why.
FRAGMENTS = {
    "README.md: Your own network, loss and data": "the networks are the reader's",
    "own.md: Your own network, loss and data (2)": "a line, for a model of another program",
    "scaling.md: Counting it yourself": "takes libtpu",
    "scores.md: FID and its like": "takes Inception's weights",
}
# Pages of blocks that follow one another, with tests of their own.
IN_A_ROW = {"latents.md": "below", "export.md": "tests/test_export_command.py"}
# What is started beside python and jaxgan, and has flags of its own.
OTHERS = {"cp", "fidelity", "gcloud", "mypy", "npm", "pytest", "ruff", "source", "tfds"}
# A command in a line of text.
MENTION = r"`((?:python experiments/)?\w+\.py --[^`.]+|jaxgan \w+ --[^`.]+)`"
# By page, the kinds of blocks that a test of their own tries: here tests/test_page.py.
OPENED = {"export.md": {"html"}}
# What Sphinx reads, what a program prints, formulas, and what tests/test_notebooks.py runs.
NOT_RUN = {"math", "text", "{toctree}", "{eval-rst}", "{help}", "{code-cell}", ""}


def blocks(page):
    """The heading, the language and the text of each block of a page."""
    heading = ""
    pattern = (
        r"^#+ (?P<heading>.*)$|^(?P<fence>`{3,})(?P<kind>\S*).*\n(?P<text>[\s\S]*?)^(?P=fence)$"
    )
    for match in re.finditer(pattern, page, re.MULTILINE):
        if match["fence"] is None:
            heading = match["heading"]
        else:
            yield heading, match["kind"], match["text"]


def named(kind):
    """All blocks of a language by page and heading, numbered from the second one under it on."""
    found: dict[str, str] = {}
    for page, text in PAGES.items():
        for heading, language, block in blocks(text):
            if language == kind:
                name = f"{page}: {heading}"
                count = sum(other.partition(" (")[0] == name for other in found)
                found[name + (f" ({count + 1})" if count else "")] = block
    return found


STEPS = r"steps=[\d_]+(, batch_size=\d+)?"  # which programs give in full, and tests shorten
PYTHON = named("python")
PROGRAMS = {
    name: text
    for name, text in PYTHON.items()
    if name not in FRAGMENTS and name.partition(":")[0] not in IN_A_ROW
}


def test_each_block_is_of_a_kind_that_is_checked():
    for page, text in PAGES.items():
        kinds = {kind for _, kind, _ in blocks(text)}
        assert kinds <= {"python", "bash"} | OPENED.get(page, set()) | NOT_RUN, page


def test_there_is_a_program_for_each_kind_of_own():
    assert sum(name.startswith("own.md") for name in PROGRAMS) == 6
    assert PYTHON.keys() >= FRAGMENTS.keys()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_short_and_runs(name, tmp_path, monkeypatch):
    program = PROGRAMS[name]
    assert len([line for line in program.splitlines() if line.strip()]) <= 25
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (32, 28, 28, 1)).astype(np.uint8)
    np.save("images.npy", images)
    short, count = re.subn(STEPS, "steps=2, batch_size=8, parallel='jit'", program)
    assert count == program.count("fit(")
    scope: dict = {}
    exec(short, scope)
    for workdir in re.findall(r'workdir="(.*?)"', program):
        assert (tmp_path / workdir / "summary.json").exists()
    for drawn in ("samples", "sevens"):
        assert np.isfinite(scope.get(drawn, 0)).all()
    if "best" in scope:
        assert scope["best"].sample(jax.random.key(0), 2).shape == (2, 2)


def test_the_page_of_latents_runs(tmp_path, monkeypatch):
    """Its blocks one after another, on a short run of its own command."""
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "latents.md").read_text()
    [flags] = re.findall(r"train.py (.*)", page)
    short = ["--steps=2", "--width=16", "--depth=1", "--batch-size=16", "--parallel=jit"]
    [folder] = re.findall(r'load\("(runs/.*?)"\)', page)
    settings = command_line.parse(flags.split())[0]
    assert settings.workdir == folder
    assert train.main([*flags.split(), *short, f"--workdir={folder}"]) == 0
    scope: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, scope)
    found = scope["found"]
    assert found.start_errors.shape == found.samples.shape[:2] == (8, 8)
    assert (found.errors <= found.random_errors).all()
    assert scope["frames"].shape == (11, 8, 8, 1) and scope["rows"].shape == (80, 8, 8, 1)
    assert scope["typical"].shape == (64, 8, 8, 1)
    assert scope["of_data"].shape == scope["of_samples"].shape == (100,)
    for command in re.findall(r"sample.py --workdir=RUN (.*)", page):
        if "--images" not in command:  # which names a folder of the reader's
            assert sample.main([f"--workdir={folder}", *command.split()]) == 0
    assert (tmp_path / folder / "generated" / "projection.npz").exists()


@pytest.mark.parametrize("name", FRAGMENTS)
def test_the_names_in_a_fragment_exist(name):
    """Every jaxgan.x.y, and every x.y of what is imported from jaxgan."""
    tree = ast.parse(PYTHON[name])
    scope = {"jaxgan": importlib.import_module("jaxgan")}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("jaxgan"):
            exec(ast.unparse(node), scope)
    seen = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, *rest = ast.unparse(node).split(".")
            if first in scope and all(map(str.isidentifier, rest)):
                eval(ast.unparse(node), scope)
                seen += 1
    assert seen


def lines(script):
    """The commands of a script for the shell, as words; variables that it sets are replaced."""
    script = re.sub(r"\\\n", " ", script)
    variables = dict(re.findall(r'^(\w+)="(.*)"$', script, re.MULTILINE))
    for line in script.splitlines():
        line = re.sub(r"\$(\w+)", lambda name: variables.get(name[1], name[0]), line)
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            if not re.match(r"\w+=", words[0]):
                yield words[:end]
            words = words[end + 1 :]


# By page: whether it is whole, as in a block, or names a program and some of its flags, as in text.
COMMANDS = {
    (page, shlex.join(words)): (words, whole)
    for page, text in PAGES.items()
    for script, whole in [
        *((mention, False) for mention in re.findall(MENTION, text)),
        # A page that begins with the TPU's variables goes on with them.
        ("\n".join(block for _, kind, block in blocks(text) if kind == "bash"), True),
    ]
    for words in lines(script)
}


def read_flags(program, flags, whole=True):
    """Has a program's own parser read its flags; raises ValueError for what it refuses."""
    whole = whole or any(flag.startswith("--loss=") for flag in flags)
    if program == "results":
        return
    if program == "train":
        command_line.parse(flags) if whole else given(command_line.Arguments, flags)
        return
    package = "jaxgan.commands." if program in main.PROGRAMS else ""  # or one of experiments/
    module = importlib.import_module(package + program)
    kind = getattr(module, "Arguments", None) or module.Settings
    read(kind, flags, f"{program}.py") if whole else given(kind, flags)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """What the commands name: training looks at a folder of images for its number."""
    from PIL import Image

    monkeypatch.syspath_prepend(EXPERIMENTS)
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "animals", "emoji"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "a.png")


def check(words, whole=True):
    """Raises ValueError or fails for a command that is none, or has flags that are none."""
    first, *rest = words
    if first in OTHERS or words[:2] == ["python", "-m"]:
        return
    if first == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        said = re.findall(r"\[(.*?)\]", " ".join(rest))
        assert rest[0] == "install" and {*said} <= extras["optional-dependencies"].keys()
    elif first == "experiments/launch_tpu.sh":  # tests/test_launch_tpu.py has what precedes --
        read_flags("train", rest[rest.index("--") + 1 :] if "--" in rest else ["--loss=wgan"])
    elif first == "jaxgan":
        assert rest[0] in main.PROGRAMS
        read_flags(rest[0], rest[1:], whole)
    else:
        script, flags = (rest[0], rest[1:]) if first == "python" else (first, rest)
        path = EXPERIMENTS / script.removeprefix("experiments/")
        assert path.is_file(), f"there is no {script}"
        read_flags(path.stem, flags, whole)


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_is_one_that_its_program_takes(page, command, folders):
    check(*COMMANDS[page, command])


@pytest.mark.parametrize(
    "command",
    [
        "python experiments/train.py --loss=wgam",
        "python experiments/train.py --loss=bce --clip=3",
        "python experiments/trane.py --loss=bce",
        "python experiments/theory.py --output=DIR",
        "jaxgan evaluate --workdri=RUN",
        "pip install '.[tests]'",
        "experiments/launch_tpu.sh run -- --loss=wgan --step=3",
        "rm -r runs",
    ],
)
def test_a_wrong_command_is_found(command, folders):
    with pytest.raises((ValueError, AssertionError)):
        check(shlex.split(command))


def test_commands_in_blocks_lines_and_chains_are_found():
    script = 'T="--name=x"\nrun a $T --flag \\\n    --more && run b # not this\n\nV=3\n'
    assert list(lines(script)) == [["run", "a", "--name=x", "--flag", "--more"], ["run", "b"]]
    assert COMMANDS["README.md", "evaluate.py --no-ema"] == (["evaluate.py", "--no-ema"], False)
    assert sum(whole for _, whole in COMMANDS.values()) > 60


# Links, as GitHub follows them.
def anchors(text):
    """The anchors that GitHub gives to a page's headings."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower())
        anchor, count = words.replace(" ", "-"), 0
        while (name := f"{anchor}-{count}" if count else anchor) in found:
            count += 1
        found.add(name)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere_on_github_too(page):
    path = (ROOT if page in ("README.md", "CONTRIBUTING.md") else DOCS) / page
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if re.match(r"https?:", link) or link.startswith("#jaxgan."):
            continue
        target, _, anchor = link.partition("#")
        file = path.parent / target if target else path
        assert file.exists(), f"{page}: {link}"
        assert not anchor or anchor in anchors(file.read_text()), f"{page}: {link}"
