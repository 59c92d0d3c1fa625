"""experiments/launch_tpu.sh against a stand-in for gcloud, which runs what is sent over ssh."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TPU = ["--name=digits", "--zone=us-west4-a", "--bucket=gs://bucket/runs"]
TRAIN = ["--", "--loss=wgan-gp", "--dataset=folder:it's"]
START = ["scp", "systemd-run"]
DID = r"(?m)^(?:gcloud compute tpus \S+ )?(create|delete(?= \w+ --force --quiet)|scp|systemd-run) "
COMMON = """#!/bin/bash
echo "${0##*/} $*" >> "$CLOUD/asked"
next() {  # the next answer of a list; the last one stays
  local answer=$(head -n 1 "$CLOUD/$1")
  [[ $(wc -l < "$CLOUD/$1") -eq 1 ]] || sed -i 1d "$CLOUD/$1"
  [[ $answer != lost ]] && tr , '\\n' <<< "$answer"
}
"""
PROGRAMS = {
    "bin/gcloud": """for word; do [[ $word != --command=* ]] || command=${word#*=}; done
case "$*" in
  *queued-resources\\ list*) next states ;;
  *tpu-vm\\ scp*) cp "$5" "$HOME/${6#digits:}" ;;
  *tpu-vm\\ ssh*) bash -c "$command" ;;
esac""",
    "bin/sudo": '"$@"',
    "bin/systemctl": 'if [[ $1 == show ]]; then next trainings; else rm -rf "$CLOUD/unit"; fi',
    "bin/systemd-run": """mkdir "$CLOUD/unit" || exit  # it refuses a unit that is there
while [[ $1 == -* ]]; do [[ $1 != -p ]] || shift; shift; done; "$@\"""",
    "bin/python3": "",
    "home/.local/bin/uv": "",
    "home/jaxgan-env/bin/python": 'printf "%s\\n" "$PWD" "$@" > "$CLOUD/trained"',
}


@pytest.fixture
def launch(tmp_path):
    for name, program in PROGRAMS.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(COMMON + program)
        path.chmod(0o755)
    env = {"CLOUD": tmp_path, "HOME": tmp_path / "home", "TMPDIR": tmp_path, "POLL_SECONDS": "0"}
    env["PATH"] = f"{tmp_path / 'bin'}:{os.environ['PATH']}"

    def run(*arguments, states=("lost",), trainings=("lost",)):
        for name, lines in {"asked": [], "states": states, "trainings": trainings}.items():
            (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
        command = ["bash", ROOT / "experiments/launch_tpu.sh", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
        result.asked = (tmp_path / "asked").read_text()
        result.did = re.findall(DID, result.asked)
        return result

    return run


def test_resume_creates_installs_and_trains(launch, tmp_path):
    states = ["", "WAITING_FOR_RESOURCES", "lost", "ACTIVE"]
    result = launch("resume", *TPU, "--spot", *TRAIN, states=states, trainings=["dead"])
    assert (result.returncode, result.did) == (0, ["create", *START]), result.stderr
    assert "=v5litepod-8 --runtime-version=v2-alpha-tpuv5-lite --spot" in result.asked
    directory, *command = (tmp_path / "trained").read_text().splitlines()
    assert Path(directory, "experiments/train.py").exists()
    assert command == ["experiments/train.py", *TRAIN[1:], "--workdir=gs://bucket/runs/digits"]
    assert launch("run", *TPU, *TRAIN).returncode == 0  # stops the first


@pytest.mark.parametrize(
    ("states", "training", "did"),
    [
        (["SUSPENDED", "ACTIVE"], "dead", ["delete", "create", *START]),
        (["PROVISIONING", "ACTIVE"], "dead", START),
        (["ACTIVE"], "running", []),
        (["ACTIVE"], "running,dead", START),  # one of two machines has rebooted
        (["ACTIVE"], "failed", START),
        (["ACTIVE"], "exited", START),  # larger --steps extend what has finished
        (["ACTIVE"], "lost", []),  # no answer does not mean that nothing is there
        (["lost"], "dead", []),
    ],
)
def test_resume_does_what_is_needed(launch, states, training, did):
    result = launch("resume", *TPU, *TRAIN, states=states, trainings=[training])
    assert (result.returncode, result.did) == ("lost" in [*states, training], did)


def test_keep_resumes_after_preemption_and_reboot_until_training_ends(launch):
    states = ["", "ACTIVE", "ACTIVE", "SUSPENDED", "ACTIVE"]
    created, lost, rebooted = ["dead", "running"], ["lost"] * 3, ["auto-restart", "dead", "dead"]
    trainings = [*created, *lost, *created, *rebooted, "running,exited", "exited"]
    result = launch("keep", *TPU, *TRAIN, states=states, trainings=trainings)
    assert result.did == ["create", *START, "delete", "create", *START, *START]
    assert result.stdout.endswith("digits has finished: gs://bucket/runs/digits\n")


def test_keep_ends_when_training_fails(launch):
    result = launch("keep", *TPU, *TRAIN, states=["ACTIVE"], trainings=["dead", "failed"])
    assert (result.returncode, result.did) == (2, START)
    assert result.stderr.startswith("launch_tpu.sh: train.py failed.")


@pytest.mark.parametrize("state", ["FAILED", "SUSPENDING", ""])
def test_create_ends_if_there_will_be_no_tpu(launch, state):
    result = launch("create", *TPU, states=["", "PROVISIONING", state])
    assert (result.returncode, result.did) == (2, ["create"])


def test_larger_slices_train_on_all_their_machines(launch, tmp_path):
    tpu = [*TPU, "--type=v6e-16", "--project=mine"]
    result = launch("resume", *tpu, *TRAIN, states=["", "ACTIVE"], trainings=["dead"])
    assert "--accelerator-type=v6e-16 --runtime-version=v2-alpha-tpuv6e" in result.asked
    assert result.asked.count("--worker=all") == 4  # is it training?, copy, install, run
    assert result.asked.count("--project=mine") == result.asked.count("gcloud ")
    assert (tmp_path / "trained").read_text().endswith("\n--distributed\n")


def test_the_guide_has_every_action_and_dry_runs_print_them(launch):
    guide = (ROOT / "docs/tpu.md").read_text()
    variables = dict(re.findall(r'^(\w+)="(.*)"$', guide, re.MULTILINE))
    actions = set()
    for line in re.findall(r"^experiments/launch_tpu\.sh (.*)$", guide, re.MULTILINE):
        action, *rest = shlex.split(re.sub(r"\$(\w+)", lambda n: variables[n[1]], line), True)
        result = launch(action, "--dry-run", *rest)
        assert (result.returncode, result.stderr, result.asked) == (0, "", ""), line
        assert "gcloud " in result.stdout
        actions.add(action)
    assert actions == set(re.findall("^  ([a-z]+): ", launch("help").stdout, re.MULTILINE))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["launch", *TPU], "unknown action launch"),
        (["create", "--nmae=a"], "unknown option --nmae=a"),
        (["create", "--name=A"], "--name=A: give a-z"),
        (["delete", "--name=a"], "give --zone=ZONE and --bucket=gs://BUCKET"),
        (["create", *TPU, "--type=v4-8"], "--type=v4-8: give v5litepod-N or v6e-N"),
        (["keep", *TPU], "train what?"),
    ],
)
def test_a_mistake_is_one_line_and_runs_nothing(launch, arguments, message):
    result = launch(*arguments)
    assert (result.returncode, result.stdout, result.asked) == (2, "", "")
    assert re.fullmatch(f"launch_tpu.sh: {re.escape(message)}.*\n", result.stderr)
