"""A run that is ready to start: its arguments checked, its data, devices and folder at hand."""

import dataclasses
import json
import warnings
from collections.abc import Mapping
from numbers import Integral
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan import parallel as devices_of
from jaxgan.data import Dataset, images
from jaxgan.gan import GAN, abstract_state, build
from jaxgan.parallel import hosts
from jaxgan.seeds import over_seeds
from jaxgan.state import GANState
from jaxgan.training.checkpoints import Checkpoints, Kept
from jaxgan.training.inputs import as_dataset
from jaxgan.training.run import Run
from jaxgan.training.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a run trains: the numbers among the arguments of `fit`."""

    steps: int
    batch_size: int
    seed: int
    num_seeds: int
    parallel: str
    log_every: int
    sample_every: int
    checkpoint_every: int
    keep_every: int
    on_divergence: str
    flip: bool = False
    score_every: int = 0
    patience: int = 0

    def check(self) -> None:
        """Raises ValueError for the first number that is out of its range."""
        least = {"steps": 1, "batch_size": 1, "num_seeds": 1, "log_every": 1}
        names = (
            "seed",
            "sample_every",
            "checkpoint_every",
            "keep_every",
            "score_every",
            "patience",
        )
        for name, low in {**least, **dict.fromkeys(names, 0)}.items():
            value = getattr(self, name)
            whole = isinstance(value, Integral) and not isinstance(value, bool)
            # A key's seed is a uint32, the step an int32.
            most = 2**32 - self.num_seeds if name == "seed" else 2**31 - 1
            if not (whole and low <= value <= most):
                raise ValueError(
                    f"{name} must be a whole number from {low} to {most}; got {value!r}."
                )
            object.__setattr__(self, name, int(value))  # numpy's are no JSON
        if self.patience and not self.score_every:
            raise ValueError(f"patience={self.patience} has no effect without score_every.")
        for name, allowed in (
            ("parallel", ("auto", *devices_of.MODES)),
            ("on_divergence", ("stop", "skip")),
            ("flip", (False, True)),
        ):
            if (value := getattr(self, name)) not in allowed:
                one = ", ".join(map(str, allowed))
                raise ValueError(f"{name} must be one of {one}; got {value!r}.")


class Job(NamedTuple):
    """A run that is ready to start: all that does not change while it trains.

    Attributes:
      model: the functions of one seed's state.
      dataset: its data.
      plan: its numbers.
      settings: what `config.json` holds.
      folder: None where nothing is written.
      mode: "jit", "pmap", "mesh", or "seeds", where the devices share the seeds out.
      devices: those that are used.
    """

    model: GAN
    dataset: Dataset
    plan: Plan
    settings: dict[str, Any]
    folder: RunFolder | None
    mode: str
    devices: list[jax.Device]

    @property
    def seeds(self) -> range:
        """The seeds that are trained at once."""
        return range(self.plan.seed, self.plan.seed + self.plan.num_seeds)

    def first_state(self) -> GANState:
        """The state before the first step."""
        init = over_seeds(self.model).init if self.plan.num_seeds > 1 else self.model.init
        return init(self._keys(0))

    def sample_keys(self) -> jax.Array:
        """The key, or one for each seed, of the latents that every picture of samples shows."""
        return self._keys(1)

    def restore(self, checkpoints: "Checkpoints | Kept") -> GANState | None:
        """The newest good checkpoint, None where there is none at all.

        Raises:
          ValueError: if there are checkpoints and none can be read.
        """
        place = devices_of.sharding(self.mode, self.devices)
        template = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
            jax.eval_shape(self.first_state),
        )
        return checkpoints.restore(template, hosts.say)

    def run(
        self, state: GANState, rows: list[dict], finished: bool, stop: int = 0, **more: Any
    ) -> Run:
        """The run as its user sees it."""
        path = None if self.folder is None else str(self.folder.path)
        seeds, state = self.plan.num_seeds, devices_of.own_copy(state)
        if self.model.game.num_classes is not None:
            more = {"class_names": self.dataset.class_names} | more
        return Run(
            self.model, state, seeds, list(rows), finished, self.settings, path, stop, **more
        )

    def count_parameters(self) -> tuple[int, int]:
        """The number of the generator's parameters, and of the critic's, of one seed."""
        state = abstract_state(self.model)
        generator, critic = (jax.tree.leaves(p.params) for p in (state.generator, state.critic))
        return sum(x.size for x in generator), sum(x.size for x in critic)

    def describe(self) -> str:
        """What is about to run, in a line."""
        count = 1 if self.mode == "jit" else len(self.devices)
        processes = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
        generator, critic = self.count_parameters()
        seeds = f", {self.plan.num_seeds} seeds" if self.plan.num_seeds > 1 else ""
        where = "" if self.folder is None else f", in {self.folder.path}"
        loss = f"{self.settings['loss']} on " if "loss" in self.settings else ""
        train = self.dataset.train
        return (
            f"{loss}{self.dataset.name}: {len(train):,} examples of shape {train.shape[1:]}, "
            f"networks with {generator:,} + {critic:,} parameters, {count} "
            f"{jax.devices()[0].device_kind}{processes} ({self.mode}){seeds}{where}"
        )

    def _keys(self, purpose):
        keys = jnp.stack([jax.random.split(jax.random.key(seed))[purpose] for seed in self.seeds])
        return keys if self.plan.num_seeds > 1 else keys[0]


def prepare(model: GAN, data: Any, plan: Plan, workdir, settings: Mapping[str, Any] | None) -> Job:
    """Checks everything that can be wrong with a run before anything is written.

    Raises:
      ValueError: for the first thing found wrong, in one line.
    """
    plan.check()
    if not isinstance(model, GAN):
        raise ValueError(f"model must be what jaxgan.gan makes; got a {type(model).__name__}.")
    if plan.on_divergence == "skip" and not model.game.skip_nonfinite:
        model = build(model.game._replace(skip_nonfinite=True))
    mode, devices = choose_devices(plan)
    settings = all_settings(plan, model, settings)
    with hosts.together():
        folder = None if workdir is None else RunFolder(workdir, settings)
        if folder is not None and hosts.is_first():
            folder.check_free()  # before the data are decoded, which may take minutes
            folder.check_model(model)
        dataset = as_dataset(data, model)
        if plan.flip and len(model.game.data_shape) != 3:
            raise ValueError(
                f"flip mirrors images [N, H, W, C]; {dataset.name} has examples of shape "
                f"{model.game.data_shape}. Leave it out."
            )
        if plan.batch_size > len(dataset.train):
            raise ValueError(
                f"batch_size={plan.batch_size} is more than the {len(dataset.train)} examples of "
                f"{dataset.name}. Use a smaller batch."
            )
        if folder is not None:
            folder.check_data(dataset)
        job = Job(model, dataset, plan, settings, folder, mode, devices)
        check_memory(job)
    warn_of_slow_layers(model)
    places = {"workdir": None, "data_dir": None, "dataset": None}
    hosts.check_same(json.dumps(settings | places, default=str))
    return job


def all_settings(plan: Plan, model: GAN, more: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a run records: its plan, and what else its user wants to be recorded."""
    own = dataclasses.asdict(plan) | {"n_critic": model.game.n_critic}
    for name in ("flip", "score_every", "patience"):  # as in folders of before there were these
        if not own[name]:
            del own[name]
    try:
        known: dict[str, Any] = json.loads(json.dumps(dict(more or {})))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"settings must be a dict of what JSON can hold: numbers, words, lists ({error})."
        ) from error
    for name in own.keys() & known.keys():
        if known[name] != own[name]:
            raise ValueError(
                f"settings must not hold {name}={known[name]!r}: the run has {name}={own[name]!r}. "
                "Leave it out."
            )
    return own | known


def choose_devices(plan: Plan) -> tuple[str, list[jax.Device]]:
    """The mode of a run, and its devices."""
    devices, mode = devices_of.all_devices(), plan.parallel
    if plan.num_seeds > 1 and mode == "auto" and jax.process_count() == 1:
        count = devices_of.most_that_divide(plan.num_seeds, len(devices))
        return ("seeds", devices[:count]) if count > 1 else ("jit", devices)
    if mode == "auto":
        mode = "pmap" if len(devices) > 1 else "jit"
    if mode == "jit" and jax.process_count() > 1:
        raise ValueError("parallel='jit' is for one device; several processes take pmap or mesh.")
    if mode != "jit":
        devices_of.check_divides(plan.batch_size, len(devices))
    return mode, devices


def check_memory(job: Job) -> None:
    """Raises ValueError if the state would take more than this machine's memory."""
    leaves = jax.tree.leaves(jax.eval_shape(job.first_state))
    needed = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    if needed > images.memory():
        raise ValueError(
            f"the networks and their optimizers take {needed / 1e9:,.0f} GB, more than this "
            "machine's memory. Use smaller networks, or fewer seeds."
        )


def warn_of_slow_layers(model: GAN) -> None:
    """Warns where XLA would compute a convolution by a loop, as it does on CPUs."""
    found = set()

    def note(call, arguments, keywords, context):
        if isinstance(context.module, nn.Conv | nn.ConvTranspose):
            found.add(type(context.module).__name__)
        return call(*arguments, **keywords)

    if jax.default_backend() == "cpu":
        with nn.intercept_methods(note):
            abstract_state(build(model.game))
    if found:
        names = " and ".join(sorted(found))
        warnings.warn(
            f"flax.linen.{names} is slow on a CPU, several times slower than {names} of "
            "jaxgan.networks, which takes the same arguments.",
            stacklevel=4,
        )
