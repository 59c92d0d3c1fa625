"""A run's folder: its settings, metrics, pictures and summary."""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from typing import IO, Any

import jax
from etils import epath

import jaxgan
from jaxgan.data import Dataset
from jaxgan.gan import GAN
from jaxgan.parallel import hosts
from jaxgan.training import data_record, json_files, model_record
from jaxgan.training.metrics_file import MetricsFile, is_logged, is_remote

# These may change between two starts of a run: where things are, and what changes no result. Of a
# data set another name is another place: its record says whether the data are the same.
FREE = (
    *("workdir", "data_dir", "cache_dir", "dataset"),
    *("log_every", "checkpoint_every", "sample_every", "keep_every", "score_every", "patience"),
)
# What a start leaves that was killed before it had written the settings.
_OF_A_START = (
    *(".lock", "samples", "data.json", "data.json.part", "model.json", "model.json.part"),
    "config.json.part",
)


class ChangedError(ValueError):
    """A run is in the folder already, with another value of a setting.

    Attributes:
      path: the folder.
      name: the setting.
      before: its value there.
      now: what was asked for.
    """

    def __init__(self, path: epath.Path, name: str, before: Any, now: Any):
        self.path, self.name, self.before, self.now = path, name, before, now
        remedy = "raise it" if name == "steps" else f"set {name}={before!r} to go on"
        super().__init__(
            f"{path} holds a run with {name}={before!r}, not {now!r}: {remedy}, or use another "
            "folder."
        )


class RunFolder:
    """The files of one run.

    Making one only looks: it checks that the folder is free, or holds a run that goes on with these
    settings. Nothing is written before `create`, and what a run has is not touched before `resume`.

    Args:
      workdir: its path.
      settings: what `config.json` holds. Another value of one, but of those in `FREE`, is another
        run.

    Attributes:
      path: the folder.
      settings: those that were asked for.
      resumes: whether the folder holds a run.
      metrics: the metrics logged.
      scores: the scores logged.
      health: the probes logged.

    Raises:
      ChangedError: if the folder holds a run with other settings.
      ValueError: if it holds something else.
    """

    def __init__(self, workdir: epath.PathLike, settings: dict[str, Any]):
        self.settings = settings
        self._lock: IO | None = None
        self.path = epath.Path(workdir).expanduser()
        self.metrics = MetricsFile(self.path / "metrics.jsonl")
        self.scores = MetricsFile(self.path / "scores.jsonl")
        self.health = MetricsFile(self.path / "health.jsonl")
        self._data: dict[str, Any] = {}
        self._model: dict[str, Any] = {}
        self.resumes = holds_run(self.path)
        with _reaching(self.path):
            taken = not self.resumes and _holds_more_than_a_start(self.path)
        if self.resumes:
            self._check_unchanged()
        elif taken:
            raise ValueError(
                f"workdir={self.path} exists and is no run's folder (it has no config.json). "
                "Choose a new or an empty folder."
            )

    def check_model(self, model: GAN) -> None:
        """Raises ValueError if the run that is here has trained another model.

        Says so where only what its steps compute is another: no two versions of jax compute alike.
        """
        self._model = model_record.describe(model)
        trained = self.has_checkpoint()
        if trained:
            model_record.check(self.path, self._model)
        self._model |= model_record.program(model, self.settings["batch_size"])
        if trained and (note := model_record.note(self.path, self._model)):
            hosts.say(note)

    def check_data(self, dataset: Dataset) -> None:
        """Raises ValueError if the run that is here has trained on other data."""
        self._data = data_record.describe(dataset)
        if self.has_checkpoint():
            data_record.check(self.path, self._data)

    def check_free(self) -> None:
        """Raises ValueError if the folder cannot be made, or another run trains in it."""
        if is_remote(self.path):
            return
        with self._refusals():
            if self.resumes:
                if held := lock(self.path):
                    held.close()
                return
            near = next(path for path in (self.path, *self.path.parents) if path.exists())
            if not (near.is_dir() and os.access(near, os.W_OK | os.X_OK)):
                raise OSError(f"{near} is no folder that can be written to")

    def create(self) -> None:
        """Makes the folder and takes it for this run; writes a new run's settings.

        Raises:
          ValueError: if it cannot be written, another run trains in it, or one has been made there
            with other settings since it was looked at.
        """
        try:
            with self._refusals():
                (self.path / "samples").mkdir(parents=True, exist_ok=True)
                self._lock = lock(self.path)
                self.resumes = (self.path / "config.json").exists()
                if not self.has_checkpoint():
                    data_record.write(self.path, self._data)
                    model_record.write(self.path, self._model)
                if not self.resumes:
                    json_files.write(self.path / "config.json", self.settings)
                (self.path / "checkpoints").mkdir(exist_ok=True)
            if self.resumes:
                self._check_unchanged()
            if self.has_checkpoint():
                data_record.check(self.path, self._data)
        except ValueError:
            self.close()
            raise

    @contextlib.contextmanager
    def _refusals(self):
        try:
            yield
        except BlockingIOError as error:
            raise ValueError(
                f"another run is training in workdir={self.path}. Wait for it, or use another "
                "folder."
            ) from error
        except (OSError, ValueError) as error:  # the second for names with a null byte
            raise ValueError(f"workdir={self.path} cannot be written: {error}") from error

    def resume(self, step: int | None) -> None:
        """Writes the settings, which may have changed, and forgets what will be written again.

        Args:
          step: that of the checkpoint to go on from; None where there is none.

        Raises:
          ValueError: if they cannot be written, or the run was finished, and has lost its
            checkpoints.
        """
        if step is None and (self.path / "summary.json").exists():
            raise ValueError(
                f"{self.path} holds a finished run whose checkpoints are gone. Restore them from a "
                "copy, or use another folder."
            )
        path = self.path / "config.json"
        former = json_files.read(path)
        with self._refusals():
            self._rewind(step, former)
            if former != self.settings:
                moved = [former.get("dataset"), self.settings.get("dataset")]
                if step is not None and moved[0] != moved[1]:
                    hosts.say(f"the same data as in {moved[0]}, now in {moved[1]}")
                json_files.write(path, self.settings)

    def check_shared(self) -> None:
        """Raises ValueError unless this process sees the first's folder, and has the same data."""
        if not (self.path / "config.json").exists():
            raise ValueError(
                f"workdir={self.path} is not the folder that process 0 has made. Give all "
                "processes one that they share."
            )
        if changed := data_record.difference(data_record.read(self.path), self._data):
            raise ValueError(
                f"process {jax.process_index()} has other data than process 0 ({changed}). Give "
                "all processes the same."
            )

    def _rewind(self, step: int | None, former: Mapping[str, Any]) -> None:
        """Forgets the metrics logged after `step`, from where a resumed run will log them again.

        And those of what was to be the last step before the run was extended, unless they belong.
        """

        def belongs(row):
            only_last = row["step"] == former["steps"] and former["steps"] % former["log_every"]
            logged = is_logged(row["step"], self.settings["log_every"], self.settings["steps"])
            return row["step"] <= (step or 0) and (not only_last or logged)

        self.metrics.keep(belongs)
        self.health.keep(lambda row: row["step"] <= (step or 0))
        every, last = former.get("score_every"), former["steps"]
        extra = last if every and last % every and last < self.settings["steps"] else None
        self.scores.keep(lambda row: row["step"] <= (step or 0) and row["step"] != extra)
        if step is None and former != self.settings:
            for picture in (self.path / "samples").glob("step_*.png"):  # another run's
                picture.unlink()

    def close(self) -> None:
        """Lets other runs train in the folder."""
        if self._lock:
            self._lock.close()

    def finish(
        self,
        step: int,
        start: int,
        seconds: float,
        compile_seconds: float,
        best: Mapping[str, Any] | None,
        findings: list[str],
    ) -> None:
        """Writes the summary.

        Args:
          step: the last one; before the run's steps are done it has stopped early.
          start: that of the checkpoint that it went on from.
          seconds: of training since.
          compile_seconds: before that.
          best: the row of the best score, if there are scores.
          findings: how the run is, in sentences.
        """
        rows = self.metrics.read()
        summary = {
            "steps": step,
            **({"best": best} if best else {}),
            **({} if step == self.settings["steps"] else {"patience": self.settings["patience"]}),
            "metrics": rows[-1] if rows else None,  # deleted, by another
            "findings": findings,
            "seconds": round(seconds, 3),
            "compile_seconds": round(compile_seconds, 3),
            "resumed_from": start,
            "data": self._data["fingerprint"],
            "device": {
                "platform": jax.default_backend(),
                "kind": jax.devices()[0].device_kind,
                "count": jax.device_count(),
            },
            # Our own from the package: run from a checkout it is not installed.
            "versions": {"python": platform.python_version(), "jaxgan": jaxgan.__version__}
            | {
                name: importlib.metadata.version(name)
                for name in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint")
            },
        }
        json_files.write(self.path / "summary.json", summary)

    def has_checkpoint(self) -> bool:
        """Whether training got somewhere: to a checkpoint, readable or not, or to its end.

        Raises:
          ValueError: if that cannot be read.
        """
        folder = self.path / "checkpoints"
        try:
            saved = folder.exists() and any(path.name.isdigit() for path in folder.iterdir())
        except OSError as error:
            raise ValueError(f"{folder} cannot be read: {error.strerror}") from error
        return saved or (self.path / "summary.json").exists()

    def _check_unchanged(self):
        before = read_settings(self.path)
        if not self.has_checkpoint():
            return
        for name in {**before, **self.settings}:
            then, now = before.get(name), self.settings.get(name)
            longer = name == "steps" and isinstance(then, int) and self.settings["steps"] > then
            if name in FREE or then == now or longer:
                continue
            raise ChangedError(self.path, name, then, now)

    @property
    def finished(self) -> bool:
        """Whether a summary says that all the steps are done."""
        path = self.path / "summary.json"
        try:
            done = json_files.read(path) if path.exists() else {}
        except ValueError:  # a new one is written at the end
            return False
        early = "patience" in done and done["patience"] == self.settings.get("patience")
        return early or done.get("steps") == self.settings["steps"]


def holds_run(workdir: epath.PathLike) -> bool:
    """Whether a run has written its settings in a folder.

    Raises:
      ValueError: if the folder cannot be reached.
    """
    with _reaching(workdir):
        return (epath.Path(workdir).expanduser() / "config.json").exists()


@contextlib.contextmanager
def _reaching(workdir):
    try:
        yield
    except Exception as error:  # a store's client raises its own kinds, or is not installed
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"workdir={workdir} cannot be reached: {reason}") from error


def read_settings(path: epath.Path) -> dict[str, Any]:
    """What the config of the run in a folder holds.

    Raises:
      ValueError: if the folder holds no run, or its config is none.
    """
    if not holds_run(path):
        raise ValueError(f"{path} holds no run: it has no config.json")
    settings = json_files.read(path / "config.json")
    for name in ("steps", "num_seeds", "log_every"):
        value = settings.get(name)
        if name not in settings:
            raise ValueError(f"{path / 'config.json'} is no run's config: it has no {name}")
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(
                f"{path / 'config.json'} is no run's config: {name} must be a whole number from 1 "
                f"up; got {json.dumps(value)}"
            )
    return settings


def lock(folder: epath.Path) -> IO | None:
    """Takes a local folder for this run, until it ends or closes the file returned.

    Raises:
      BlockingIOError: if another run has it.
    """
    if is_remote(folder):  # object stores have no locks
        return None
    file = open(folder / ".lock", "w")  # noqa: SIM115  held while the run lasts
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file


def _holds_more_than_a_start(path: epath.Path) -> bool:
    """Whether there is more than a run leaves that was killed before it wrote its settings."""
    if not path.exists():
        return False
    return not path.is_dir() or any(p.name not in _OF_A_START for p in path.iterdir())
