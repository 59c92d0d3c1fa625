"""How a run is: the numbers of `jaxgan.probe` now and then while it trains, and what they say."""

import functools

import jax
import numpy as np

from jaxgan import data as data_sets
from jaxgan.parallel import hosts
from jaxgan.probe import probe
from jaxgan.seeds import map_seeds
from jaxgan.training.run import Run

PROBES = 25  # of a run at most: about two steps' work each
LEAST, MOST = 64, 512  # examples of a probe, where the batch is smaller or larger


class Health:
    """The probes of a run.

    Args:
      job: the run, a `job.Job`.

    Attributes:
      rows: a dictionary for each probe, oldest first; of several seeds each number is a list.
    """

    def __init__(self, job):
        self._job = job
        self._file = None if job.folder is None else job.folder.health
        self.rows: list[dict] = [] if self._file is None else self._file.read()
        self._run = jax.jit(functools.partial(_probe_all, job.model.game, job.plan.num_seeds))
        self.every = -(-job.plan.steps // PROBES)
        labelled = job.model.game.num_classes is None or job.dataset.test_labels is not None
        self._has_held_out = len(job.dataset.test) >= LEAST and labelled
        size = min(MOST, max(LEAST, job.plan.batch_size), len(job.dataset.train))
        size = min(size, len(job.dataset.test)) if self._has_held_out else size
        self._size = size - size % job.model.game.critic.pack

    def due(self, step: int) -> bool:
        """Whether a step is one to probe, and not probed yet."""
        if self._size < 2 or (self.rows and self.rows[-1]["step"] >= step):
            return False
        return step % self.every == 0

    def take(self, run: Run) -> None:
        """Probes a run, in the first process."""
        if not hosts.is_first():
            return
        numbers = jax.device_get(self._run(run.state, *self._batches(run.step)))
        row: dict = {"step": run.step}
        for name, values in numbers.items():
            each = [round(float(v), 6) if np.isfinite(v) else None for v in np.atleast_1d(values)]
            row[name] = each if self._job.plan.num_seeds > 1 else each[0]
        if not self._has_held_out:
            row.pop("memorised", None)
        self.rows.append(row)
        if self._file is not None:
            self._file.append([row])

    def _batches(self, step):
        """Seeds, examples trained on and held out, and their labels; the same for all seeds."""
        job, random = self._job, np.random.RandomState(step)

        def draw(examples, labels):
            rows = random.choice(len(examples), self._size, replace=False)
            x = np.asarray(examples[rows])
            return x, None if job.model.game.num_classes is None else np.asarray(labels[rows])

        real, labels = draw(job.dataset.train, job.dataset.train_labels)
        # Without held-out examples others stand in their place, and the number is left out.
        held_out = real, labels
        if self._has_held_out:
            held_out = draw(job.dataset.test, job.dataset.test_labels)
        seeds = np.array(job.seeds, np.uint32)
        return seeds if len(seeds) > 1 else seeds[0], real, held_out[0], labels, held_out[1]


def _probe_all(game, num_seeds, state, seeds, real, held_out, labels, held_out_labels):
    real, held_out = data_sets.to_float(real), data_sets.to_float(held_out)

    def one(state, seed):
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        return probe(game, state, real, held_out, key, labels, held_out_labels)

    return (map_seeds(one) if num_seeds > 1 else one)(state, seeds)
