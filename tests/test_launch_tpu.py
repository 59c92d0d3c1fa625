"""experiments/launch_tpu.sh: what it would run, what it refuses, and how it goes on.

There is no cloud here. Dry runs show the commands; where the script must react to an answer, a
`gcloud` of a few lines answers from a list and writes down what it was asked.
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "experiments" / "launch_tpu.sh"
TPU = ["--name=digits", "--zone=us-west4-a", "--bucket=gs://bucket/runs"]
GCLOUD_TPUS = ["gcloud", "compute", "tpus"]
TRAIN = ["--", "--loss=wgan-gp", "--steps=100"]

BASH = shutil.which("bash") or ""

pytestmark = pytest.mark.skipif(not BASH, reason="the script needs bash")


def launch(*arguments, **variables):
    return subprocess.run(
        [BASH, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"LAUNCH_TPU_POLL_SECONDS": "0"} | variables,
    )


def dry_run(action, *arguments, **variables):
    """The commands that an action would run, each as its words."""
    result = launch(action, *TPU, "--dry-run", *arguments, **variables)
    assert (result.returncode, result.stderr) == (0, "")
    commands, pending = [], ""
    for line in result.stdout.splitlines():
        pending += line + "\n"
        # A line within quotation marks does not end its command.
        with contextlib.suppress(ValueError):
            commands.append(shlex.split(pending))
            pending = ""
    assert not pending
    return commands


def kinds(commands):
    """What each command does, without its flags."""
    words = [w[3:5] if w[:3] == GCLOUD_TPUS else w[:2] for w in commands]
    return [" ".join(w) for w in words]


# Dry runs.


def test_create_asks_for_the_slice_and_waits_for_it():
    create, wait = dry_run("create")
    assert create == [
        *GCLOUD_TPUS,
        "queued-resources",
        "create",
        "digits",
        "--node-id=digits",
        "--accelerator-type=v5litepod-8",
        "--runtime-version=v2-alpha-tpuv5-lite",
        "--zone=us-west4-a",
    ]
    assert wait == [
        *GCLOUD_TPUS,
        "queued-resources",
        "list",
        "--filter=name~/queuedResources/digits$",
        "--format=value(state.state)",
        "--zone=us-west4-a",
    ]


def test_create_takes_spot_project_and_another_generation():
    create, wait = dry_run("create", "--spot", "--project=mine", "--type=v6e-4")
    assert {"--spot", "--project=mine", "--accelerator-type=v6e-4"} <= set(create)
    assert "--runtime-version=v2-alpha-tpuv6e" in create
    assert "--project=mine" in wait


def test_install_copies_the_commit_to_all_workers_and_installs_it():
    archive, copy, install = dry_run("install")
    assert archive[0] == "git"
    assert archive[3:] == ["archive", "--format=tar.gz", f"--output={copy[5]}", "HEAD"]
    assert copy[3:5] == ["tpu-vm", "scp"]
    assert copy[6:8] == ["digits:jaxgan.tar.gz", "--worker=all"]
    assert install[3:7] == ["tpu-vm", "ssh", "digits", "--worker=all"]
    assert '--editable ".[tpu]"' in install[7]


def test_run_starts_a_unit_that_trains_with_our_flags():
    forget, run = dry_run(
        "run", "--data=gs://bucket/data", "--", "--loss=wgan-gp", "--dataset=folder:it's"
    )
    assert forget[:3] == ["printf", "starting", "|"]
    assert forget[3:] == ["gcloud", "storage", "cp", "-", "gs://bucket/runs/digits.status"]
    assert run[3:7] == ["tpu-vm", "ssh", "digits", "--worker=all"]
    remote = shlex.split(run[7])
    assert "--unit=jaxgan" in remote
    assert "--property=KillMode=mixed" in remote
    worker = remote[remote.index("worker") :]
    assert worker == [
        "worker",
        *TPU,
        "--type=v5litepod-8",
        "--data=gs://bucket/data",
        "--",
        "--loss=wgan-gp",
        "--dataset=folder:it's",
    ]


@pytest.mark.parametrize("action", ["resume", "keep"])
def test_resume_goes_the_whole_way(action):
    whole = [
        "queued-resources list",
        "queued-resources create",
        "queued-resources list",
        "git -C",
        "tpu-vm scp",
        "tpu-vm ssh",
        "printf starting",
        "tpu-vm ssh",
    ]
    end = ["queued-resources list", "gcloud storage"] if action == "keep" else []
    assert kinds(dry_run(action, *TRAIN)) == whole + end


@pytest.mark.parametrize(
    ("action", "commands"),
    [
        ("watch", ["tpu-vm ssh"]),
        ("status", ["queued-resources list", "tpu-vm ssh"]),
        ("stop", ["tpu-vm ssh"]),
        ("fetch", ["mkdir -p", "gcloud storage"]),
        ("delete", ["queued-resources delete"]),
    ],
)
def test_the_other_actions_are_a_command_or_two(action, commands):
    assert kinds(dry_run(action)) == commands


def test_delete_takes_the_machine_too_and_asks_nothing():
    [delete] = dry_run("delete")
    assert {"--force", "--quiet"} <= set(delete)


def test_every_command_of_the_guide_is_understood():
    guide = (ROOT / "docs" / "tpu.md").read_text()
    code = "\n".join(re.findall(r"```bash\n(.*?)```", guide, re.DOTALL)).replace("\\\n", " ")
    variables = dict(re.findall(r'^(\w+)="(.*)"$', code, re.MULTILINE))
    actions = set()
    for line in re.findall(r"^experiments/launch_tpu\.sh (.*)$", code, re.MULTILINE):
        line = re.sub(r"\$(\w+)", lambda name: variables[name[1]], line)
        action, *rest = shlex.split(line, comments=True)
        result = launch(action, "--dry-run", *rest)
        assert (result.returncode, result.stderr) == (0, ""), line
        actions.add(action)
    assert actions == set(re.findall(r"^  ([a-z]+)  +\w", launch("--help").stdout, re.MULTILINE))


# Many hosts.


def test_slices_of_many_hosts_run_on_all_workers():
    commands = dry_run("resume", "--type=v5litepod-64", *TRAIN)
    assert "--accelerator-type=v5litepod-64" in commands[1]
    machines = [words for words in commands if "tpu-vm" in words]
    assert len(machines) == 3 and all("--worker=all" in words for words in machines)


# Refusals.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["launch"], "unknown action launch"),
        (["create", "--nmae=a"], "unknown option --nmae=a"),
        (["create", "--name=A", "--zone=z"], "--name=A: give lower-case letters"),
        (["create", "--zone=z"], "--name=: give lower-case letters"),
        (["create", "--name=a"], "which --zone"),
        (["create", "--name=a", "--zone=z", "--type=v4-8"], "--type=v4-8: give v5litepod-N or v6e"),
        (["fetch", "--name=a"], "--bucket=: give a bucket"),
        (["run", "--name=a", "--zone=z", "--bucket=b", *TRAIN], "--bucket=b: give a bucket"),
        (["run", *TPU, "--data=d", *TRAIN], "--data=d: give a folder in a bucket"),
        (["run", *TPU], "Put train.py's flags after --"),
        (["keep", *TPU, "--", "--workdir=w"], "--workdir is set by --name"),
        (["keep", *TPU, "--", "--data_dir", "d"], "--data_dir is set by --name"),
    ],
)
def test_a_mistake_is_one_line_and_runs_nothing(arguments, message):
    result = launch(*arguments, PATH=str(ROOT))  # no gcloud, nor anything else
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("launch_tpu.sh: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_without_gcloud_it_says_where_to_get_it():
    result = launch("delete", *TPU, PATH=str(ROOT))
    assert result.returncode == 2
    assert "gcloud is not installed" in result.stderr


def test_help_lists_the_actions():
    result = launch("--help")
    assert result.returncode == 0
    assert "resume" in result.stdout


def test_shellcheck_finds_nothing():
    shellcheck = shutil.which("shellcheck")
    if not shellcheck:
        pytest.skip("shellcheck is not installed")
    result = subprocess.run([shellcheck, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert result.stdout == ""


# Reacting to the cloud.

GCLOUD = """#!/bin/bash
# Answers a question with the next line of its file; the last line stays.
echo "$*" >> "$CLOUD/asked"
case "$*" in
  *queued-resources\\ list*) answers=states ;;
  *is-active*) answers=training ;;
  *storage\\ cat*) answers=ended ;;
  *"storage ls"*) answers=listing ;;
  *"storage rsync"*)
    from=${@: -2:1} to=${@: -1}
    from=${from/gs:\\/\\//$CLOUD/gs/} to=${to/gs:\\/\\//$CLOUD/gs/}
    [[ -d $from ]] && mkdir -p "$to" && cp -r "$from/." "$to" ; exit ;;
  *"storage cp -"*)
    object=$CLOUD/gs/${4#gs://}
    mkdir -p "${object%/*}" && cat > "$object" ; exit ;;
  *) exit 0 ;;
esac
[[ -f $CLOUD/$answers ]] || exit 1
head -n 1 "$CLOUD/$answers"
if [[ $(wc -l < "$CLOUD/$answers") -gt 1 ]]; then
  rest=$(tail -n +2 "$CLOUD/$answers") && echo "$rest" > "$CLOUD/$answers"
fi
"""


class Cloud:
    """A folder that stands for the cloud, and the gcloud that speaks for it."""

    def __init__(self, folder):
        self.folder = folder
        self.bucket = folder / "gs" / "bucket" / "runs"
        (folder / "bin").mkdir()
        self.write("bin/gcloud", GCLOUD)
        self.variables = {
            "CLOUD": str(folder),
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder),
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        }

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def answer(self, **answers):
        for question, lines in answers.items():
            self.write(question, "".join(f"{line}\n" for line in lines))

    def launch(self, *arguments):
        return launch(*arguments, **self.variables)

    def did(self):
        """What was done, without the questions."""
        lines = (self.folder / "asked").read_text().splitlines()
        names = {
            "queued-resources create": "create",
            "queued-resources delete": "delete",
            "tpu-vm scp": "install",
            "systemd-run": "run",
        }
        return [name for line in lines for words, name in names.items() if words in line]


@pytest.fixture
def cloud(tmp_path):
    return Cloud(tmp_path)


def test_create_waits_in_the_queue(cloud):
    cloud.answer(
        states=["WAITING_FOR_RESOURCES", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
    )
    result = cloud.launch("create", *TPU)
    assert result.returncode == 0
    assert result.stdout == "digits is WAITING_FOR_RESOURCES\ndigits is PROVISIONING\n"


@pytest.mark.parametrize("state", ["FAILED", "SUSPENDED", ""])
def test_create_ends_if_the_request_fails(cloud, state):
    cloud.answer(states=["PROVISIONING", state])
    result = cloud.launch("create", *TPU)
    assert result.returncode == 2
    assert f"digits is {state or 'gone'}." in result.stderr


def test_a_question_that_fails_is_no_answer(cloud):
    """Without an answer, resume must not take the TPU for gone."""
    result = cloud.launch("resume", *TPU, *TRAIN)
    assert result.returncode != 0
    assert cloud.did() == []


@pytest.mark.parametrize(
    ("states", "training", "done"),
    [
        (["", "ACTIVE"], "inactive", ["create", "install", "run"]),
        (["SUSPENDED", "ACTIVE"], "inactive", ["delete", "create", "install", "run"]),
        (["ACTIVE"], "inactive", ["install", "run"]),
        (["ACTIVE"], "active", []),
    ],
)
def test_resume_does_what_is_needed(cloud, states, training, done):
    cloud.answer(states=states, training=[training])
    assert cloud.launch("resume", *TPU, *TRAIN).returncode == 0
    assert cloud.did() == done


def test_keep_goes_on_after_preemption_and_reboot_until_the_end(cloud):
    whole = ["create", "install", "run"]
    cloud.answer(
        states=["", "ACTIVE", "ACTIVE", "SUSPENDED", "SUSPENDED", "ACTIVE"],
        training=["active", "inactive", "inactive", "active"],
        ended=["running"] * 3 + ["143", "running", "0"],
    )
    result = cloud.launch("keep", *TPU, *TRAIN)
    assert result.returncode == 0
    assert cloud.did() == [*whole, "delete", *whole, "install", "run"]
    assert result.stdout.endswith("digits has finished: gs://bucket/runs/digits\n")


@pytest.mark.parametrize(
    ("state", "status"),
    [("SUSPENDED", 143), ("ACTIVE", 143), ("ACTIVE", 75), ("SUSPENDED", 75), ("ACTIVE", 134)],
)
def test_keep_goes_on_after_an_interrupt_and_after_a_host_was_lost(state, status, cloud):
    cloud.answer(
        states=["ACTIVE", state, state, "ACTIVE"], training=["inactive"], ended=[status, "0"]
    )
    assert cloud.launch("keep", *TPU, *TRAIN).returncode == 0
    preempted = ["delete", "create"] if state == "SUSPENDED" else []
    assert cloud.did() == ["install", "run", *preempted, "install", "run"]


def test_run_forgets_how_an_earlier_training_ended_before_it_starts_another(cloud):
    cloud.write("gs/bucket/runs/digits.status", "0")
    assert cloud.launch("run", *TPU, *TRAIN).returncode == 0
    assert (cloud.bucket / "digits.status").read_text() == "starting"
    asked = (cloud.folder / "asked").read_text()
    assert asked.index("digits.status") < asked.index("systemd-run")


@pytest.mark.parametrize("status", [2, 3])
def test_keep_does_not_repeat_what_failed(cloud, status):
    cloud.answer(states=["ACTIVE"], training=["inactive"], ended=[status])
    result = cloud.launch("keep", *TPU, *TRAIN)
    assert result.returncode == 2
    assert f"train.py ended with status {status}" in result.stderr
    assert cloud.did() == ["install", "run"]


# On the machine.

PYTHON = """#!/bin/bash
echo "$*" > "$CLOUD/trained"
for flag in "$@"; do [[ $flag != --workdir=* ]] || folder=${flag#*=}; done
trap 'echo saved > "$folder/saved"; exit 143' TERM
[[ -d $folder/checkpoints ]] && ls "$folder/checkpoints" > "$CLOUD/found"
mkdir -p "$folder/checkpoints/200" && echo state > "$folder/checkpoints/200/state"
"""


def test_the_worker_trains_from_the_bucket_and_back_into_it(cloud):
    cloud.write("home/jaxgan-env/bin/python", PYTHON)
    cloud.write("gs/bucket/runs/digits/checkpoints/100/state", "old")
    cloud.write("gs/bucket/data/set", "data")
    cloud.answer(listing=["gs://bucket/runs/digits/ gs://bucket/runs/digits.status"])
    result = cloud.launch("worker", *TPU, "--data=gs://bucket/data", *TRAIN)
    assert (result.returncode, result.stderr) == (0, "")
    home = cloud.folder / "home"
    script, *flags = (cloud.folder / "trained").read_text().split()
    assert Path(script).samefile(ROOT / "experiments" / "train.py")
    assert flags == [
        f"--workdir={home}/runs/digits",
        f"--data-dir={home}/data",
        "--loss=wgan-gp",
        "--steps=100",
    ]
    assert (cloud.folder / "found").read_text() == "100\n"
    assert (cloud.bucket / "digits/checkpoints/200/state").exists()
    assert (cloud.bucket / "digits.status").read_text() == "0"


@pytest.mark.parametrize(("worker", "told"), [("0", True), ("3", False)])
def test_workers_of_several_hosts_train_in_the_bucket_and_the_first_tells_how(worker, told, cloud):
    cloud.write("home/jaxgan-env/bin/python", '#!/bin/bash\necho "$*" > "$CLOUD/trained"')
    cloud.write("bin/curl", f"#!/bin/bash\necho {worker}")
    result = cloud.launch("worker", *TPU, "--type=v5litepod-16", *TRAIN)
    assert (result.returncode, result.stderr) == (0, "")
    _, *flags = (cloud.folder / "trained").read_text().split()
    assert flags == ["--distributed", "--workdir=gs://bucket/runs/digits", *TRAIN[1:]]
    assert (cloud.bucket / "digits.status").exists() == told
    assert "rsync" not in ((cloud.folder / "asked").read_text() if told else "")


def test_the_worker_hands_on_the_exit_status(cloud):
    cloud.write("home/jaxgan-env/bin/python", "#!/bin/bash\nexit 3")
    cloud.answer(listing=["gs://bucket/runs/digits.status"])
    assert cloud.launch("worker", *TPU, *TRAIN).returncode == 3
    assert (cloud.bucket / "digits.status").read_text() == "3"


def test_the_worker_does_not_start_over_when_the_bucket_is_out_of_reach(cloud):
    cloud.write("home/jaxgan-env/bin/python", PYTHON)
    assert cloud.launch("worker", *TPU, *TRAIN).returncode != 0
    assert not (cloud.folder / "trained").exists()


def test_sigterm_reaches_training_and_what_it_saved_reaches_the_bucket(cloud):
    wait = 'echo started > "$CLOUD/started"\nsleep 60 >/dev/null 2>&1 &\nwait $!\n'
    cloud.write("home/jaxgan-env/bin/python", PYTHON + wait)
    cloud.answer(listing=["gs://bucket/runs/digits.status"])
    os.mkfifo(cloud.folder / "started")
    worker = subprocess.Popen(
        [BASH, str(SCRIPT), "worker", *TPU, *TRAIN], env=os.environ | cloud.variables
    )
    assert (cloud.folder / "started").read_text() == "started\n"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 143
    assert (cloud.bucket / "digits/saved").exists()
    assert (cloud.bucket / "digits.status").read_text() == "143"
