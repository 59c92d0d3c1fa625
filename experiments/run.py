"""A run that is ready to start: its settings checked, its data, model and folder at hand."""

import dataclasses
import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
from run_folder import RunFolder

from jaxgan import data, parallel
from jaxgan.checkpoint import Checkpoints
from jaxgan.config import Config, check, make_model
from jaxgan.data import Dataset, images
from jaxgan.gan import GAN, GANState, over_seeds
from jaxgan.parallel import hosts


class Run(NamedTuple):
    """A run that is ready to start."""

    config: Config
    dataset: Dataset
    model: GAN
    mode: str
    folder: RunFolder

    def init_keys(self) -> jax.Array:
        """The key, or one for each of several seeds, of weights and of all noise in training."""
        return self._keys(0)

    def sample_keys(self) -> jax.Array:
        """The key, or one for each seed, of the latents that every picture of samples shows."""
        return self._keys(1)

    def _keys(self, purpose):
        keys = jnp.stack([jax.random.split(jax.random.key(seed))[purpose] for seed in self.seeds()])
        return keys if self.config.num_seeds > 1 else keys[0]

    def seeds(self) -> range:
        """The seeds that are trained at once."""
        return range(self.config.seed, self.config.seed + self.config.num_seeds)

    def restore(self, checkpoints: Checkpoints) -> GANState | None:
        """The newest good checkpoint, None where there is none at all.

        Raises:
          ValueError: if there are checkpoints and none can be read.
        """
        place = parallel.sharding(self.mode)
        template = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
            jax.eval_shape(self.model.init, self.init_keys()),
        )
        return checkpoints.restore(template, hosts.say)

    def sample(self, state: GANState) -> jax.Array:
        """The samples that a picture shows: the first seed's."""
        n = 64 if self.dataset.train.ndim == 4 else 2500
        samples = self.model.sample(state, self.sample_keys(), n)
        return samples[0] if self.config.num_seeds > 1 else samples

    def count_parameters(self, player) -> int:
        """The number of one seed's parameters."""
        return sum(leaf.size for leaf in jax.tree.leaves(player.params)) // self.config.num_seeds


def prepare(config: Config) -> Run:
    """Checks everything that can be wrong with a run before anything is written.

    Raises:
      ValueError: for the first thing found wrong, in one line.
    """
    check(config)
    devices = jax.device_count()
    mode = config.parallel
    if mode == "auto":
        mode = "pmap" if devices > 1 else "jit"
    if mode == "jit" and jax.process_count() > 1:
        raise ValueError("--parallel=jit is for one device; --distributed takes pmap or mesh.")
    if mode != "jit":
        parallel.check_divides(config.batch_size, devices)
    folder = RunFolder(config)
    if config.image_size and config.dataset not in data.TOYS:
        make_model(config, (config.image_size, config.image_size, 3))  # refuse before decoding
    dataset = data.load(config.dataset, config.data_dir, image_size=config.image_size)
    folder.check_data(dataset)
    if config.batch_size > len(dataset.train):
        raise ValueError(
            f"--batch-size={config.batch_size} is more than the {len(dataset.train)} training "
            f"examples of {dataset.name}. Use a smaller batch."
        )
    model = make_model(config, dataset.train.shape[1:])
    if config.num_seeds > 1:
        model = over_seeds(model)
    run = Run(config, dataset, model, mode, folder)
    check_size(run)
    return run


def check_size(run: Run) -> None:
    """Raises ValueError if the state would take more than this machine's memory."""
    leaves = jax.tree.leaves(jax.eval_shape(run.model.init, run.init_keys()))
    needed = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    if needed > images.memory():
        raise ValueError(
            f"the networks and their optimizers take {needed / 1e9:,.0f} GB, more than this "
            "machine's memory. Lower --width, --depth, --latent-dim or --num-seeds."
        )


def describe(run: Run) -> None:
    """Prints the settings, and the parameters' shapes and counts."""
    print(json.dumps(dataclasses.asdict(run.config), indent=2))
    state = jax.eval_shape(run.model.init, run.init_keys())
    for name, player in (("generator", state.generator), ("critic", state.critic)):
        print(f"\n{name}: {run.count_parameters(player):,} parameters")
        for path, leaf in jax.tree_util.tree_leaves_with_path(player.params):
            shape = leaf.shape[1:] if run.config.num_seeds > 1 else leaf.shape
            print(f"  {jax.tree_util.keystr(path, simple=True, separator='/'):40} {shape}")
