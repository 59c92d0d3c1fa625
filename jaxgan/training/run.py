"""A run: its generator to draw from, its metrics, and how both are read from its folder."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any

import jax
import numpy as np
from etils import epath

from jaxgan import data
from jaxgan.checks import check_labels, check_range
from jaxgan.gan import GAN
from jaxgan.noise import draw_classes, draw_noise, truncate
from jaxgan.seeds import over_seeds
from jaxgan.state import Game, GANState, averaged_variables, current_step
from jaxgan.training import data_record, model_record
from jaxgan.training.checkpoints import Checkpoints, saved_steps
from jaxgan.training.run_folder import RunFolder, read_settings

# Samples are drawn so many values at a time, so that any number of them fits on the device.
DRAW_VALUES = 2**22
MOST_AT_ONCE = 1000


@dataclasses.dataclass(frozen=True)
class Run:
    """A GAN in training, or trained: draw from it with `sample`.

    Attributes:
      model: the functions of one seed's state.
      state: where there are several seeds each leaf has a leading axis of them: see `one`.
      num_seeds: how many seeds there are.
      metrics: the logged steps, oldest first, as `metrics.jsonl` holds them.
      finished: whether all its steps are done.
      settings: what `config.json` holds, or would.
      workdir: its folder; None where it has none.
      stopped_by: the signal that interrupted it; 0 if none did.
      best_state: that of the best score, where it has no folder and was scored: see `best`.
      health: its probes, oldest first: see `jaxgan.probe`.
      scores: its scores while it trained, oldest first, as `scores.jsonl` holds them.
      class_names: what its classes are called; None where they are numbers.
    """

    model: GAN
    state: GANState
    num_seeds: int
    metrics: list[dict[str, Any]]
    finished: bool
    settings: dict[str, Any]
    workdir: str | None = None
    stopped_by: int = 0
    best_state: Any = dataclasses.field(default=None, repr=False)
    health: list[dict[str, Any]] = dataclasses.field(default_factory=list, repr=False)
    scores: list[dict[str, Any]] = dataclasses.field(default_factory=list, repr=False)
    class_names: tuple[str, ...] | None = None

    @property
    def step(self) -> int:
        """Generator updates so far."""
        return current_step(self.state)

    def sample(
        self,
        key: jax.Array,
        n: int,
        seed_index: int = 0,
        labels: Any = None,
        truncation: float | None = None,
    ) -> np.ndarray:
        """Samples `[n, ...]` of the averaged generator, where there is one.

        Args:
          key: a typed PRNG key.
          n: how many. The first of more are those of fewer.
          seed_index: which of the run's seeds, from 0 on.
          labels: their classes, `[n]` or one for all; by default a conditional GAN draws them.
          truncation: the largest absolute value in a latent, see `jaxgan.latents.truncate`; None
            leaves them normal.

        Raises:
          ValueError: for labels of another number or out of range, or of a GAN without classes; or
            if the truncation is not positive.
        """
        return np.concatenate(list(self.stream(key, n, seed_index, labels, truncation)))

    def stream(
        self,
        key: jax.Array,
        n: int,
        seed_index: int = 0,
        labels: Any = None,
        truncation: float | None = None,
    ) -> Iterator[np.ndarray]:
        """The same samples, up to a thousand at a time, for more of them than memory holds."""
        if not isinstance(n, Integral) or n < 0:
            raise ValueError(f"n must be a whole number from 0 up; got {n!r}.")
        state, values = self.one(seed_index), math.prod(self.model.game.data_shape)
        at_once = max(1, min(MOST_AT_ONCE, DRAW_VALUES // values))
        size, labels = min(at_once, n), self.classes(labels, n)
        for start in range(0, n, at_once) or [0]:
            piece_key = jax.random.fold_in(key, start) if start else key
            # Of one size, so that one program draws them all.
            classes = None if labels is None else np.resize(labels[start:], size)
            if truncation is None:
                piece = self.model.sample(state, piece_key, size, classes)
            else:
                piece = self._sample_truncated(state, piece_key, size, classes, truncation)
            yield np.asarray(piece)[: n - start]

    def _sample_truncated(self, state, key, n, labels, truncation):
        """Samples whose latents and classes are those of `model.sample`, but for the truncation."""
        game = self.model.game
        latents = truncate(key, draw_noise(key, n, game.generator.latent_dim)[0], truncation)
        if labels is None and game.num_classes is not None:
            labels = draw_classes(key, n, game.num_classes)
        inputs = (latents,) if labels is None else (latents, labels)
        return self._generator(*averaged_variables(state), inputs)[0]

    def classes(self, labels: Any, n: int) -> np.ndarray | None:
        """The labels of n examples, `[n]`, of as many or of one for all; None of none.

        Raises:
          ValueError: for labels of another number or out of range, or of a GAN without classes.
        """
        if labels is None:
            return None
        labels = np.asarray(labels)
        labels = np.full(n, labels) if labels.ndim == 0 else labels
        if labels.shape != (n,):
            raise ValueError(f"labels must be a class, or one for each of {n}; got {labels.shape}.")
        check_labels(labels, self.model.game.num_classes)
        return labels

    def generate(self, latents: jax.Array, seed_index: int = 0, labels: Any = None) -> jax.Array:
        """What the same generator makes of the latents `[n, latent_dim]`, of classes as `sample`.

        Raises:
          ValueError: if the latents have another shape, or unless there are labels just where there
            are classes.
        """
        game = self.model.game
        if np.ndim(latents) != 2 or np.shape(latents)[1] != game.generator.latent_dim:
            raise ValueError(
                f"latents must have shape [n, {game.generator.latent_dim}]; got "
                f"{list(np.shape(latents))}."
            )
        labels = self.classes(labels, len(latents))
        check_labels(labels, game.num_classes)
        inputs = (latents,) if labels is None else (latents, labels)
        return self._generator(*averaged_variables(self.one(seed_index)), inputs)[0]

    def critic(self, x: Any, labels: Any = None, seed_index: int = 0) -> np.ndarray:
        """The critic's scores of examples, float32 `[B]`.

        The higher, the more real, but for BEGAN, whose score is an error. Under a loss of logits
        (`bce`, `minimax`, `dragan`) the discriminator is D(x) = σ(score). Other scores have a scale
        of their own: compare those of one run.

        The critic is as it is when nothing trains: BatchNorm uses its running statistics. A packed
        critic (`networks.packed`) scores m examples in a row together, and gives all of them the
        pack's score. Its packs should hold different examples, all real or all samples, as they did
        in training.

        Args:
          x: `[B, *data_shape]`, uint8 images, images in [-1, 1], or points. All are scored at once.
          labels: their classes, `[B]` or one for all, where the GAN has classes.
          seed_index: which of the run's seeds, from 0 on.

        Raises:
          ValueError: if x has another shape or range than the run's data, its number is no multiple
            of the pack, or unless there are labels just where there are classes.
        """
        game, x = self.model.game, check_examples("x", x, self.model.game)
        if len(x) % game.critic.pack:
            raise ValueError(
                f"the critic scores packs of {game.critic.pack}: give a multiple of them; got "
                f"{len(x)}."
            )
        labels = self.classes(labels, len(x))
        check_labels(labels, game.num_classes)
        player = self.one(seed_index).critic
        inputs = (x,) if labels is None else (x, labels)
        scores = self._critic(player.params, player.stats, inputs)[0]
        return np.asarray(scores, np.float32)

    # Compiled once for each shape of a run's inputs.
    @functools.cached_property
    def _generator(self):
        return jax.jit(functools.partial(self.model.game.generator.apply, train=False))

    @functools.cached_property
    def _critic(self):
        return jax.jit(functools.partial(self.model.game.critic.apply, train=False))

    def one(self, seed_index: int) -> GANState:
        """The state of one of the run's seeds.

        Raises:
          ValueError: if the run has no such seed.
        """
        if not isinstance(seed_index, Integral) or isinstance(seed_index, bool):
            last = self.num_seeds - 1
            raise ValueError(
                f"seed_index must be a whole number from 0 to {last}; got {seed_index!r}."
            )
        if not 0 <= seed_index < self.num_seeds:
            raise ValueError(f"seed_index must be from 0 to {self.num_seeds - 1}, got {seed_index}")
        if self.num_seeds == 1:
            return self.state
        return jax.tree.map(lambda x: x[seed_index], self.state)

    def best(self) -> "Run":
        """The same with the state of the best score.

        Raises:
          ValueError: if it was not scored.
        """
        if self.workdir is not None:
            return load(self.workdir, self.model, best=True)
        if self.best_state is None:
            raise ValueError("the run was not scored: train it with score_every")
        return dataclasses.replace(self, state=self.best_state)

    def without_average(self) -> "Run":
        """The same with the generator as it was trained last, not averaged over training."""
        return dataclasses.replace(self, state=self.state._replace(ema=None, ema_stats=None))


def check_examples(name: str, x: Any, game: Game) -> jax.Array:
    """Examples as the networks see them, `[B, *data_shape]`, of pixels or floats.

    Raises:
      ValueError: if they are not such as the run was trained on, or there are none.
    """
    shape = tuple(np.shape(x))
    if len(shape) != 1 + len(game.data_shape) or shape[1:] != game.data_shape or not shape[0]:
        sizes = ", ".join(map(str, game.data_shape))
        one = f" One alone is {name}[None]." if shape == game.data_shape else ""
        raise ValueError(
            f"{name} must be examples like the run's, of shape [B, {sizes}]; got "
            f"{list(shape)}.{one}"
        )
    x = data.to_float(x)
    check_range(name, x, game.generator)
    return x


def load(
    workdir: epath.PathLike,
    model: GAN,
    warn: Callable[[str], None] = print,
    best: bool = False,
) -> Run:
    """Loads the newest good checkpoint of a run; its data set is not needed, its folder only read.

    Args:
      workdir: the run's folder.
      model: the GAN that was trained in it.
      warn: given a line for each checkpoint that cannot be read, and for metrics left out for
        that.
      best: load the state of the best score, of a run that was trained with `score_every`.

    Raises:
      ValueError: if there is no run, it has no checkpoint that can be read or was not scored, or
        the model is not the run's.
    """
    path = epath.Path(workdir).expanduser()
    settings = read_settings(path)
    model_record.check(path, model_record.describe(model))
    init, key = model.init, jax.random.key(0)
    if settings["num_seeds"] > 1:
        init, key = over_seeds(model).init, jax.random.split(key, settings["num_seeds"])
    # Onto one device, whatever devices the state was trained on.
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    template = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device),
        jax.eval_shape(init, key),
    )
    place = path / ("best" if best else "checkpoints")
    missing = f"{path} has no checkpoint yet"
    if best:
        missing = f"{path} has no best checkpoint: it was not scored. Train with score_every"
    if not place.exists():  # or else orbax would make it
        raise ValueError(missing)
    state = _newest(place, template, warn)
    if state is None:
        raise ValueError(missing)
    folder = RunFolder(path, settings)
    return Run(
        model,
        state,
        settings["num_seeds"],
        folder.metrics.read(warn),
        folder.finished,
        settings,
        str(path),
        health=folder.health.read(warn),
        scores=folder.scores.read(warn),
        class_names=None if model.game.num_classes is None else data_record.class_names(path),
    )


def _newest(place: epath.Path, template: Any, warn: Callable[[str], None]) -> Any:
    """The newest checkpoint that can be read, of a run that may be training; None without one."""
    while True:
        steps, checkpoints = saved_steps(place), Checkpoints(place)
        try:
            return checkpoints.restore(template, warn, set_aside=False)
        except FileNotFoundError:
            if saved_steps(place) == steps:
                raise  # or else training has deleted one while orbax listed them
        finally:
            checkpoints.close()
