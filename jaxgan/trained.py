"""A trained GAN, from its run's folder alone."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from jaxgan import config as configs
from jaxgan import networks
from jaxgan.checkpoint import Checkpoints, one_error
from jaxgan.config import Config
from jaxgan.data import TOYS
from jaxgan.gan import GAN, GANState, averaged_variables, current_step, over_seeds
from jaxgan.networks.players import apply

DRAW_AT_ONCE = 1000


class Trained(NamedTuple):
    """A trained GAN: draw from it with `sample`.

    Attributes:
      config: the run's settings.
      model: the functions of one seed's state.
      state: the newest checkpoint that can be read. Where the run has several seeds each leaf has
        a leading axis of `config.num_seeds`: see `one`.
      step: generator updates so far.
      generator: the module; see `generate`.
    """

    config: Config
    model: GAN
    state: GANState
    step: int
    generator: nn.Module

    def sample(self, key: jax.Array, n: int, seed_index: int = 0) -> jax.Array:
        """Samples `[n, ...]` of the averaged generator, where there is one.

        Args:
          key: a typed PRNG key.
          n: how many. The first of more are those of fewer.
          seed_index: which of the run's seeds, from 0 on.
        """
        return self.model.sample(self.one(seed_index), key, n)

    def generate(self, latents: jax.Array, seed_index: int = 0) -> jax.Array:
        """What the same generator makes of the latents `[n, latent_dim]`."""
        draw = jax.jit(functools.partial(apply, self.generator, train=False))
        return draw(*averaged_variables(self.one(seed_index)), latents)[0]

    def one(self, seed_index: int) -> GANState:
        """The state of one of the run's seeds.

        Raises:
          ValueError: if the run has no such seed.
        """
        seeds = self.config.num_seeds
        if not 0 <= seed_index < seeds:
            raise ValueError(f"seed_index must be from 0 to {seeds - 1}, got {seed_index}")
        return self.state if seeds == 1 else jax.tree.map(lambda x: x[seed_index], self.state)

    def without_average(self) -> "Trained":
        """The same with the generator as it was trained last, not averaged over training."""
        return self._replace(state=self.state._replace(ema=None, ema_stats=None))


def load(
    workdir: epath.PathLike,
    data_shape: tuple[int, ...] | None = None,
    warn: Callable[[str], None] = print,
) -> Trained:
    """Loads the newest good checkpoint of a run; its data set is not needed, its folder only read.

    Args:
      workdir: the run's folder.
      data_shape: the shape of one example. The weights tell it, but for images that are not
        square.
      warn: told of each checkpoint that could not be read.

    Raises:
      ValueError: if there is no run, it has no checkpoint that can be read, or data_shape is
        needed or is another.
    """
    path = epath.Path(workdir).expanduser()
    config = configs.of_run(path)
    shapes = _critic_shapes(path / "checkpoints")
    if data_shape is None:
        data_shape = _data_shape(config, shapes)
    model = configs.make_model(config, data_shape)
    init, key = model.init, jax.random.key(0)
    if config.num_seeds > 1:
        init, key = over_seeds(model).init, jax.random.split(key, config.num_seeds)
    # Onto one device, whatever devices the state was trained on.
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    template = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device),
        jax.eval_shape(init, key),
    )
    found = jax.tree.map(jnp.shape, template.critic.params)
    if found != shapes:
        raise ValueError(f"{path} was trained on examples of another shape than {data_shape}")
    checkpoints = Checkpoints(path / "checkpoints")
    try:
        state: Any = checkpoints.restore(template, warn, set_aside=False)
    finally:
        checkpoints.close()
    if state is None:  # deleted since it was looked at
        raise ValueError(f"{path} has no checkpoint yet")
    return Trained(config, model, state, current_step(state), _make_generator(config, data_shape))


def draw(run: Trained, key: jax.Array, n: int, seed_index: int = 0) -> np.ndarray:
    """Draws n samples, a thousand at a time so that any number fits on the device.

    The first thousand are `run.sample`'s; the first of a larger n are those of a smaller.
    """
    pieces = []
    for start in range(0, n, DRAW_AT_ONCE):
        piece_key = jax.random.fold_in(key, start) if start else key
        piece = run.sample(piece_key, min(DRAW_AT_ONCE, n - start), seed_index)
        pieces.append(np.asarray(piece))
    return np.concatenate(pieces)


def _critic_shapes(folder: epath.Path) -> Any:
    """The shapes of the critic's parameters in the newest checkpoint that has them."""
    steps: list[int] = []
    if folder.exists():  # or else orbax would make it
        items = {"state": ocp.StandardCheckpointHandler(), "digest": ocp.JsonCheckpointHandler()}
        with ocp.CheckpointManager(folder.resolve(), item_handlers=items) as manager:
            steps = sorted(manager.all_steps(), reverse=True)
            for step in steps:
                try:
                    with one_error():
                        params = manager.item_metadata(step)["state"].tree["critic"]["params"]
                    return jax.tree.map(lambda leaf: tuple(leaf.shape), params)
                except Exception:  # orbax raises many kinds for damage; restoring tells of them
                    continue
    if steps:
        raise ValueError(f"none of the checkpoints in {folder} can be read")
    raise ValueError(f"{folder.parent} has no checkpoint yet")


def _data_shape(config: Config, shapes: Any) -> tuple[int, ...]:
    """The shape of one example, from the shapes of the critic's weights."""
    inputs = shapes["Dense_0"]["kernel"][-2]
    if config.dataset in TOYS:
        return (inputs,)
    if config.model == "dcgan":
        layers = sum(name.startswith("Conv_") for name in shapes)
        channels = shapes["Conv_0"]["kernel"][-2]
        features = shapes[f"Conv_{layers - 1}"]["kernel"][-1]
        side = math.isqrt(inputs // features) * 2**layers
        return (side, side, channels)
    for channels in (1, 3):
        side = math.isqrt(inputs // channels)
        if side * side * channels == inputs:
            return (side, side, channels)
    raise ValueError(f"the images are not square ({inputs} values): give their data_shape")


def _make_generator(config: Config, data_shape: tuple[int, ...]) -> nn.Module:
    sizes, dtype = (data_shape, config.latent_dim, config.width), jnp.dtype(config.precision)
    if config.model == "dcgan":
        return networks.dcgan(*sizes, dtype=dtype)[0]
    return networks.mlp(*sizes, config.depth, dtype=dtype)[0]
