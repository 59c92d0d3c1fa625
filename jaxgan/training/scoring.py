"""Scores while training: how good the samples are, which state was the best, and when to stop."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgan import data as data_sets
from jaxgan.data import Dataset
from jaxgan.parallel import hosts
from jaxgan.training.checkpoints import Checkpoints, Kept
from jaxgan.training.run import Run

# Samples of a score: enough to rank states of a run, and few enough to be scored often.
FEW, POINTS = 2000, 1000


class Score(NamedTuple):
    """What samples are scored by while a network trains.

    Attributes:
      name: in the log, the curves and `scores.jsonl`.
      f: samples `[n, ...]` to a number, the lower the better.
      n: how many samples it is given.
    """

    name: str
    f: Callable[[np.ndarray], Any]
    n: int = FEW


def find_score(job, score: Callable[[np.ndarray], float] | None) -> Score | None:
    """What a run is scored by: nothing, the user's function, or the best there is.

    Raises:
      ValueError: if the user's is no function or never called, or there is no other.
    """
    if score is None:
        with hosts.together():
            return choose(job.dataset) if job.plan.score_every else None
    if not callable(score):
        raise ValueError(f"score must map samples to a number; got {score!r}.")
    if not job.plan.score_every:
        raise ValueError("score has no effect without score_every: say how often.")
    return Score(getattr(score, "__name__", "score"), score)


@contextlib.contextmanager
def keep_best(job) -> Iterator["Checkpoints | Kept"]:
    """Where the best state of a run is kept: in its folder, or else in memory."""
    if job.folder is None or not job.plan.score_every:
        yield Kept()
        return
    with contextlib.closing(Checkpoints(job.folder.path / "best", newest=1)) as best:
        yield best


def choose(dataset: Dataset) -> Score:
    """The best score that there is for the data.

    It is MIND where Inception's weights are on this machine, else the Fréchet distance in a
    classifier of the data's own labels, else the exact W₁ between examples.

    Raises:
      ValueError: if that is W₁, and it cannot tell examples from blurred ones, as of photographs.
    """
    from jaxgan.metrics import classifier, inception_weights

    shape = dataset.train.shape[1:]
    held_out = dataset.test if len(dataset.test) else dataset.train
    real = np.asarray(held_out[:FEW])
    if len(shape) == 3 and shape[2] in (1, 3) and inception_weights.place().exists():
        return _mind(real, len(real))
    labelled = dataset.train_labels is not None and dataset.test_labels is not None
    if len(shape) == 3 and labelled and len(dataset.test) > classifier.FEATURES:
        return _frechet(dataset, real)
    return _w1(dataset, np.asarray(data_sets.to_float(real[:POINTS])))


def _mind(real, n):
    from jaxgan.metrics import inception_scores, inception_weights, monge_distance

    network, key = inception_weights.load(), jax.random.key(0)
    reference = inception_scores.look(network, real, "Inception on held-out images").features

    def mind(x):
        seen = inception_scores.look(network, x, "Inception on samples")
        return monge_distance(seen.features, reference, key)

    return Score("mind", mind, n)


def _frechet(dataset, real):
    from jaxgan.metrics import classifier, frechet_distance

    network = classifier.load(dataset)
    reference = network(real).features
    return Score("frechet_classifier", lambda x: frechet_distance(network(x).features, reference))


def _w1(dataset, real):
    from jaxgan.metrics import controls, earth_movers_distance

    n = min(POINTS, len(dataset.train))
    if real.ndim == 4:
        examples = np.asarray(data_sets.to_float(dataset.train[:n]))
        floor, blurred = (
            float(earth_movers_distance(x, real)) for x in (examples, controls.blur(examples))
        )
        if blurred < controls.MARGIN * floor:
            raise ValueError(
                f"nothing here can score {dataset.name}: it has no labels for a classifier, "
                "Inception's weights are not on this machine, and by W1 blurred images are as good "
                f"as images ({blurred:.3g} and {floor:.3g}). Run `evaluate.py --inception=fetch` "
                "once, or give a score of your own."
            )
    return Score("w1", lambda x: earth_movers_distance(x, real), n)


class Scores:
    """The scores of a run so far.

    Args:
      job: the run, a `job.Job`.
      score: what scores it; None if nothing does.
      best: where its best state is kept.

    Attributes:
      rows: a dictionary for each scored step, oldest first.
      seconds: how long scoring has taken since the start.
    """

    def __init__(self, job, score: Score | None, best: "Checkpoints | Kept"):
        self._job, self._kept = job, best
        self._score = score or Score("", float, 0)  # which no step is due for
        self._file = None if job.folder is None else job.folder.scores
        self.rows: list[dict] = [] if self._file is None else self._file.read()
        self.seconds = 0.0

    def due(self, step: int) -> bool:
        """Whether a step is one to score, and not scored yet."""
        plan = self._job.plan
        if not plan.score_every or (self.rows and self.rows[-1]["step"] == step):
            return False
        return step % plan.score_every == 0 or step == plan.steps

    @property
    def best(self) -> dict | None:
        """The row of the lowest score, the first of equal ones."""
        name = self._score.name
        rows = [row for row in self.rows if row.get(name) is not None]
        return min(rows, key=lambda row: row[name], default=None)

    @property
    def kept_in_memory(self) -> Any:
        """The best state, of a run without a folder that was scored; else None."""
        return self._kept.state if isinstance(self._kept, Kept) else None

    @property
    def exhausted(self) -> bool:
        """Whether as many scores in a row as the run is patient for have not been better."""
        patience = self._job.plan.patience
        if not patience or not self.rows:
            return False
        best = self.best
        return sum(row["step"] > (best["step"] if best else 0) for row in self.rows) >= patience

    def take(self, run: Run, log) -> None:
        """Scores a run, keeps its state if it is the best, and writes both down."""
        began, score = time.perf_counter(), self._score
        each = [self._value(run, index) for index in range(run.num_seeds)]
        values = hosts.of_first(np.array(each, np.float64))
        self.seconds += time.perf_counter() - began
        row: dict = {"step": run.step, score.name: _to_json(values.mean())}
        if len(values) > 1:
            row[f"{score.name}_stderr"] = _to_json(values.std(ddof=1) / len(values) ** 0.5)
            row[f"{score.name}_seeds"] = [_to_json(value) for value in values]
        self.rows.append(row)
        if self.best is row:
            # Before the row: a run that is killed between the two scores this step again.
            self._kept.save(run.step, run.state)
            self._kept.wait()
        if self._file is not None and hosts.is_first():
            self._file.append([row])
            self._file.flush()
        log.score(row, score.name)

    def describe(self) -> str:
        """What the best score was, in a line; nothing without scores."""
        if (best := self.best) is None:
            return ""
        name, kept = self._score.name, ""
        if self._job.folder is not None:
            kept = ": --best draws and evaluates that state"
        return (
            f"best {name} {best[name]:.4g} at step {best['step']}{kept}; "
            f"scoring took {self.seconds:.0f} s"
        )

    def _value(self, run, index):
        if not hosts.is_first():
            return np.nan
        job, score = self._job, self._score
        key, labels = jax.random.key(2**31 + job.seeds[index]), None
        if job.model.game.num_classes is not None:  # as frequent as in the data
            random = np.random.RandomState(0)
            labels = random.choice(np.asarray(job.dataset.train_labels), score.n)
        x = run.sample(key, score.n, index, labels)
        if not np.isfinite(x).all():
            return np.nan
        try:
            return float(score.f(x))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"the score {score.name} must map samples {x.shape} to a number: {error}"
            ) from error


def _to_json(value):
    return float(value) if np.isfinite(value) else None
