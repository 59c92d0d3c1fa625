"""The program `train`: from a command line to a trained run."""

import dataclasses
import json
from collections.abc import Callable, Collection

import jax
from etils import epath

from jaxgan import data
from jaxgan.commands import endings, image_presets, names, settings
from jaxgan.commands.augmentation import describe_default
from jaxgan.commands.command_line import Arguments, parse, parse_replay
from jaxgan.commands.config import OFF, Config, assign, flag
from jaxgan.commands.flags import given
from jaxgan.commands.presets import use_cores
from jaxgan.commands.settings import make_model
from jaxgan.data import Dataset
from jaxgan.data.dataset import count_classes
from jaxgan.gan import abstract_state
from jaxgan.networks.players import named_leaves
from jaxgan.parallel import hosts
from jaxgan.training import DivergedError, Run, fit, nonfinite
from jaxgan.training.cost import measure
from jaxgan.training.job import Job, Plan, prepare
from jaxgan.training.run_folder import ChangedError, RunFolder, holds_run


def train(config: Config) -> Run:
    """Trains by the settings of a command line."""
    dataset = load_data(config)
    model = make_model(config, dataset.train.shape[1:], dataset.test)
    return fit(model, dataset, **settings.fit_arguments(config))


@endings.ends_in_a_line(
    "train.py",
    "lower --batch-size, --width, --depth, --latent-dim, --num-seeds or --image-size",
    mistakes=(ValueError,),
)
def main(arguments: list[str], train: Callable[[Config], Run] = train) -> int:
    """Runs the command line.

    Args:
      arguments: the flags.
      train: trains a run by its settings.

    Returns:
      The exit status: 0 done, 2 bad input or too little memory, 3 diverged, 4 the folder cannot be
      written any more, 128 plus the signal if interrupted. Where there are several processes and
      another is lost, this one ends with `hosts.LOST`.
    """
    if file := parse_replay(arguments):
        model, iteration = nonfinite.load(file, settings.make_model_of)
        return endings.DIVERGED if nonfinite.replay(model, iteration) else 0
    config, options = parse(arguments)
    use_cores(config.num_seeds, config.parallel, config.devices)
    flags = given(Arguments, arguments)
    said, hint = "devices" in flags, describe_decay(config, flags)
    if options.dry_run:
        config = with_devices_here(config, said)
        check_folder(config)
        describe(make_job(config))
        print_preset(options.preset)
        if hint:
            print(hint)
        return 0
    if options.distributed:
        hosts.join(options.coordinator_address, options.num_processes, options.process_id)
    config = with_devices_here(config, said)
    intact = f"What {config.workdir} holds is intact"
    try:
        with hosts.guard(names.as_typed("train.py"), ValueError, DivergedError):
            with hosts.together():
                if hosts.is_first():
                    check_folder(config)
            print_preset(options.preset)
            if hint:
                hosts.say(hint)
            run = train(config)
    except BrokenPipeError:
        endings.report("train.py", f"what reads its output has closed the pipe. {intact}.")
        raise
    except DivergedError as error:
        shows = "" if error.path is None else f"--replay={error.path} shows the operation. "
        endings.report(
            "train.py",
            f"{error} {shows}A smaller --d-learning-rate or --g-learning-rate may help, or "
            "--on-divergence=skip, in another --workdir.",
        )
        return endings.DIVERGED
    except OSError as error:
        endings.report(
            "train.py",
            f"{error}. {intact}: put that right (on a full disk, make room), and run the same "
            "command again to resume.",
        )
        return hosts.UNWRITABLE
    return 128 + run.stopped_by if run.stopped_by else 0


def with_devices_here(config: Config, said: bool) -> Config:
    """The settings with as many devices as share a batch in this process.

    The environment may set another number of a CPU's devices, all of which a batch is split over.
    A run that began on a CPU may go on with an accelerator, and keeps its number.

    Args:
      config: the settings.
      said: whether the command says how many.

    Raises:
      ValueError: if it does, or a run has begun with so many, and there are others.
    """
    on_cpu = jax.default_backend() == "cpu"
    there = jax.local_device_count() if on_cpu else 1
    if config.devices in (1, there):
        return config
    began = holds_run(config.workdir)
    if began and not on_cpu and not said:
        return config
    if said or began:
        why = (
            f"JAX_NUM_CPU_DEVICES or XLA_FLAGS sets {there}, or jax had started before"
            if on_cpu
            else f"jax runs on {jax.default_backend()}, and only a CPU is split"
        )
        whose = "" if said else f", which the run in {config.workdir} began with,"
        remedy = "Leave one of them out." if said else "Unset that, or use another --workdir."
        raise ValueError(f"--devices={config.devices}{whose} cannot be had: {why}. {remedy}")
    return dataclasses.replace(config, devices=there)


def print_preset(kind: str) -> None:
    """Says what a kind of preset is, unless the data have their own."""
    if kind != "auto":
        hosts.say(image_presets.describe(kind))


def describe_decay(config: Config, said: Collection[str]) -> str:
    """A line where the rates' fall does not end with the steps; none where the command says both.

    Args:
      config: the settings.
      said: the names of those that the command gives.
    """
    steps, decay = config.steps, config.decay_steps
    if not decay or steps == decay or "steps" not in said or "decay_steps" in said:
        return ""
    begun = holds_run(config.workdir)
    if steps > decay:
        remedy = "" if begun else f": --decay-steps={steps:d} stretches the fall"
        return (
            f"The learning rates fall to a hundredth by step {decay:,}, and stay there until "
            f"{steps:,}{remedy}."
        )
    if begun:  # it has been said
        return ""
    return (
        f"The learning rates fall until step {decay:,}, and this run ends at {steps:,}: "
        f"--decay-steps={steps:d} lets them fall to the end."
    )


def check_folder(config: Config) -> None:
    """Looks at the run's folder before the data are decoded, which may take minutes.

    Raises:
      ValueError: if it cannot be written, or holds something else than this run.
    """
    try:
        look_at_folder(config)
    except ChangedError as error:
        folder, off = epath.Path(config.workdir), OFF.get(error.name)
        before, now = (off if value is None else value for value in (error.before, error.now))
        remedy = f"set {assign(error.name, before)} to go on"
        raise ValueError(
            f"{folder} holds a run with {flag(error.name)}={before}, not {now}: "
            f"{'raise it' if error.name == 'steps' else remedy}, or use another --workdir. With "
            f"{assign('workdir', folder)} alone it goes on with all of its settings."
        ) from error


def look_at_folder(config: Config) -> None:
    """Checks that a run can train in its folder, and that its network makes the images' size.

    Raises:
      ChangedError: if the folder holds a run with other settings.
      ValueError: if it cannot be written, or holds something else.
    """
    folder = epath.Path(config.workdir).expanduser()
    try:
        RunFolder(folder, settings.recorded(config)).check_free()
    except ChangedError:
        settings.of_run(folder)  # what is no run of ours says so itself
        raise
    if holds_run(folder):
        settings.of_run(folder)
    sides = data.height_and_width(config.image_size)
    if sides and config.dataset not in data.TOYS:
        make_model(config, (*sides, config.channels or 3))


def load_data(config: Config) -> Dataset:
    """The data set of a run.

    Raises:
      ValueError: if it cannot be read, by any of several processes.
    """
    with hosts.together():
        try:
            dataset = data.load(config.dataset, config.data_dir, **settings.data_arguments(config))
        except OSError as error:
            raise ValueError(f"--dataset={config.dataset} cannot be read: {error}") from error
        classes = count_classes(dataset.train_labels)
        if config.num_classes not in (None, classes):
            raise ValueError(
                f"--num-classes={config.num_classes} does not fit {config.dataset}, which has "
                f"{f'{classes} classes' if classes else 'no labels'}."
            )
        if line := describe_default(config, len(dataset.train) + len(dataset.test)):
            hosts.say(line)
        return dataset


def make_job(config: Config) -> Job:
    """A run that is ready to start, and not started."""
    dataset = load_data(config)
    model = make_model(config, dataset.train.shape[1:], dataset.test)
    arguments = settings.fit_arguments(config)
    plan = Plan(**{field.name: arguments[field.name] for field in dataclasses.fields(Plan)})
    return prepare(model, dataset, plan, config.workdir, arguments["settings"])


def describe(job: Job) -> None:
    """Prints the settings, the networks' variables, and what training will cost."""
    print(json.dumps(job.settings, indent=2))
    state = abstract_state(job.model)
    for name, count in zip(("generator", "critic"), job.count_parameters(), strict=True):
        print(f"\n{name}: {count:,} parameters")
        for where, leaf in named_leaves(getattr(state, name).params):
            print(f"  {where:40} {leaf.shape}")
    print(f"\n{job.describe()}\n{measure(job, job.first_state())}")
