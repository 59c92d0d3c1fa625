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
MOST_CLASSES = 100  # of a classifier; the thousand of stacked_mnist are none that it could learn


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
    place = None if job.folder is None else job.folder.path / "best"
    if place is None or not (job.plan.score_every or place.exists()):
        yield Kept()
        return
    with contextlib.closing(Checkpoints(place, newest=1)) as best:
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
        return _mind(real)
    labels = dataset.train_labels if dataset.test_labels is not None else None
    few = labels is not None and np.max(labels) < MOST_CLASSES
    if len(shape) == 3 and few and len(dataset.test) > classifier.FEATURES:
        return _frechet(dataset, real)
    return _w1(dataset, np.asarray(data_sets.to_float(real[:POINTS])))


def _mind(real):
    from jaxgan.metrics import inception_scores, inception_weights, monge_distance

    network, key = inception_weights.load(), jax.random.key(0)
    reference = inception_scores.look(network, real, "Inception on held-out images").features

    def mind(x):
        seen = inception_scores.look(network, np.clip(x, -1, 1), "Inception on samples")
        return monge_distance(seen.features, reference, key)

    return Score("mind", mind, len(real))


def _frechet(dataset, real):
    from jaxgan.metrics import classifier, frechet_distance

    network = classifier.load(dataset)
    reference = network(real).features

    def frechet(x):
        # As in a picture: a generator without bounds leaves [-1, 1].
        return frechet_distance(network(np.clip(x, -1, 1)).features, reference)

    return Score("frechet_classifier", frechet)


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
                f"as images ({blurred:.3g} and {floor:.3g}). Fetch the weights, by "
                "`from jaxgan.metrics import inception_weights; inception_weights.fetch()` in "
                "Python, or give a score of your own."
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
        # Others are of steps that will be done again, or of another run that began here.
        best.keep_only([row["step"] for row in self.rows])
        there = best.steps
        self._saved = [row for row in self._own_rows() if row["step"] in there]

    def due(self, step: int) -> bool:
        """Whether a step is one to score, and not scored yet."""
        plan = self._job.plan
        if not plan.score_every or (self.rows and self.rows[-1]["step"] == step):
            return False
        return step % plan.score_every == 0 or step == plan.steps

    @property
    def best(self) -> dict | None:
        """The row of the lowest score whose state is kept, the first of equal ones."""
        return min(self._saved, key=lambda row: row[self._score.name], default=None)

    @property
    def kept_in_memory(self) -> Any:
        """The best state, of a run without a folder that was scored; else None."""
        return self._kept.state if isinstance(self._kept, Kept) else None

    @property
    def exhausted(self) -> bool:
        """Whether as many scores in a row as the run is patient for have not been better."""
        patience, best = self._job.plan.patience, self.best
        since = best["step"] if best else 0
        worse = [row for row in self.rows if self._score.name in row and row["step"] > since]
        return 0 < patience <= len(worse)

    def take(self, run: Run) -> tuple[dict, str]:
        """Scores a run, keeps its state if it is the best, and writes both down.

        Returns:
          The row, and the score's name in it.
        """
        began, score = time.perf_counter(), self._score
        before, each = self.best, [self._value(run, index) for index in range(run.num_seeds)]
        values = hosts.of_first(np.array(each, np.float64))
        self.seconds += time.perf_counter() - began
        row: dict = {"step": run.step, score.name: _to_json(values.mean())}
        if len(values) > 1:
            row[f"{score.name}_stderr"] = _to_json(values.std(ddof=1) / len(values) ** 0.5)
            row[f"{score.name}_seeds"] = [_to_json(value) for value in values]
        value = row[score.name]
        if value is not None and (before is None or value < before[score.name]):
            # Before the row: a run that is killed between the two scores this step again.
            self._kept.save(run.step, run.state)
            self._kept.wait()
            self._saved.append(row)
        self.rows.append(row)
        if self._file is not None and hosts.is_first():
            self._file.append([row])
            self._file.flush()
        return row, score.name

    def protect(self) -> None:
        """Keeps the best state of now for a run that goes on from the checkpoint of now."""
        if self.best:
            self._kept.protect(self.best["step"])

    def describe(self) -> list[str]:
        """What the best score was, in a line; nothing without scores."""
        if (best := self.best) is None:
            return []
        name, kept = self._score.name, ""
        if self._job.folder is not None:
            kept = f", kept in {self._job.folder.path / 'best'}"
        return [
            f"best {name} {best[name]:.4g} at step {best['step']}{kept}; "
            f"scoring took {self.seconds:.0f} s"
        ]

    def _own_rows(self):
        return [row for row in self.rows if row.get(self._score.name) is not None]

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
        value = score.f(x)
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"the score {score.name} must map samples {x.shape} to a number: {error}"
            ) from error


def _to_json(value):
    return float(value) if np.isfinite(value) else None
