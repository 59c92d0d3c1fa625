"""What devices tell each other in a step: gradients, metrics and batch statistics, nothing else.

The compiled programs are read, not run: docs/scaling.md rests on these counts.
"""

import dataclasses
import functools
import math
import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest

import jaxgan
from jaxgan import losses, networks, parallel
from jaxgan.commands.settings import make_model

ROOT = Path(__file__).parents[1]
from jaxgan.commands.presets import preset

PAGE = (ROOT / "docs" / "scaling.md").read_text()
N_CRITIC, BATCH, DEVICES = 2, 16, 8
DATA_SHAPES = {"mlp": (2,), "dcgan": (16, 16, 1), "cifar10": (32, 32, 3), "ring8": (2,)}


class AllReduce(NamedTuple):
    """One all-reduce of a program.

    Attributes:
      shapes: of the arrays that it sums.
      depth: how many loops it is in.
    """

    shapes: tuple[tuple[int, ...], ...]
    depth: int

    @property
    def bytes(self):
        return 4 * sum(map(math.prod, self.shapes))


def read_all_reduces(hlo):
    """The all-reduces of a compiled program; all of them sum float32."""
    loop_of, found, computation = {}, [], None
    for line in hlo.splitlines():
        if header := re.match(r"(?:ENTRY )?%?([\w.\-]+) .*\{$", line):
            computation = header[1]
        for body in re.findall(r"body=%?([\w.\-]+)", line):
            loop_of[body] = computation
        if operation := re.search(r" = (.*) all-reduce(?:-start)?\(", line):
            shapes = re.findall(r"(\w+)\[([\d,]*)\]", operation[1])
            assert {dtype for dtype, _ in shapes} == {"f32"}
            found.append(
                (tuple(tuple(map(int, re.findall(r"\d+", s))) for _, s in shapes), computation)
            )

    def depth(name):
        return 1 + depth(loop_of[name]) if name in loop_of else 0

    return [AllReduce(shapes, depth(name)) for shapes, name in found]


def model_of(kind, loss):
    if kind == "mlp":
        pair = networks.mlp((2,), latent_dim=3, width=8, depth=1)
    else:
        pair = networks.dcgan((16, 16, 1), latent_dim=3, width=2, critic_norm=True)
    return jaxgan.gan(*pair, loss, optax.sgd(0.1), optax.sgd(0.1), N_CRITIC)


class Program(NamedTuple):
    """A compiled program, and the shapes of what a step of it changes and tells."""

    hlo: str
    state: jaxgan.GANState
    d_metrics: dict
    g_metrics: dict

    @property
    def all_reduces(self):
        return read_all_reduces(self.hlo)

    @property
    def summed(self):
        """How often each shape is summed."""
        return Counter(shape for r in self.all_reduces for shape in r.shapes)

    @property
    def bytes(self):
        """All-reduced in an iteration."""
        return sum(r.bytes * (N_CRITIC if r.depth else 1) for r in self.all_reduces)


def shapes_in_a_step(model, data_shape, seeds=()):
    """The shapes of the state, of both updates' metrics and of a batch, without computing."""
    key = jax.eval_shape(lambda: jnp.broadcast_to(jax.random.key(0), seeds))
    state = jax.eval_shape(model.init, key)
    real = jax.ShapeDtypeStruct((*seeds, BATCH, *data_shape), jnp.float32)
    _, d_metrics = jax.eval_shape(model.d_step, state, real, key)
    _, g_metrics = jax.eval_shape(model.g_step, state, real, key)
    return state, d_metrics, g_metrics


def compile_step(step, state, mode, axis, *args):
    wrapped = parallel.wrap(step, mode, (axis, *[None] * (len(args) - 1)), jax.local_devices())
    # Level 0 is faster code generation, after the passes that place and combine all-reduces.
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(wrapped).lower(state, *args).compile(options).as_text()


@functools.cache
def compiled(kind, loss_name, mode):
    """A step on eight devices."""
    model = model_of(kind, getattr(losses, loss_name)())
    state, *metrics = shapes_in_a_step(model, DATA_SHAPES[kind])
    reals = jax.ShapeDtypeStruct((N_CRITIC, BATCH, *DATA_SHAPES[kind]), jnp.float32)
    return Program(compile_step(model.step, state, mode, 1, reals), state, *metrics)


def shapes_of(*trees):
    return Counter(leaf.shape for leaf in jax.tree.leaves(trees))


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def expected_bytes(state, d_metrics, g_metrics, n_critic, wasserstein):
    """The formula of docs/scaling.md."""
    critic, generator = size(state.critic.params), size(state.generator.params)
    # A running mean and variance of each channel.
    c, g = size(state.critic.stats) // 2, size(state.generator.stats) // 2
    critic_update = critic + len(d_metrics) + 2 * g + 10 * c
    generator_update = generator + len(g_metrics) + 2 * g
    total = n_critic * critic_update + generator_update + 4 * g + 4 * c
    return 4 * (total - (n_critic - 1 if wasserstein else 0))


# Programs for the CPU.

MLP = [("mlp", "bce", "pmap"), ("mlp", "wgan_gp", "mesh")]
ALL = [*MLP, ("dcgan", "bce", "pmap")]


def test_there_are_eight_devices():
    assert len(jax.local_devices()) == DEVICES


@pytest.mark.slow
@pytest.mark.parametrize("case", MLP)
def test_gradients_and_metrics_are_summed_once_each_update(case):
    program = compiled(*case)
    _, state, d_metrics, g_metrics = program
    critic = shapes_of(state.critic.params, d_metrics)
    assert program.summed == critic + shapes_of(state.generator.params, g_metrics)


@pytest.mark.slow
def test_batch_norm_adds_statistics_only():
    program = compiled("dcgan", "bce", "pmap")
    _, state, d_metrics, g_metrics = program
    updates = shapes_of(state.critic.params, d_metrics, state.generator.params, g_metrics)
    rest = program.summed - updates - shapes_of(state.generator.stats, state.critic.stats)
    # Two numbers a channel. The generator's layers, of 4 and 2 channels: forward in both updates,
    # backward in its own. The critic's, of 4: forward and backward on two batches in its own
    # update, on one in the generator's.
    assert rest == Counter({(2, 4): 3 + 6, (2, 2): 3})


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL)
def test_each_network_is_summed_in_its_own_updates(case):
    program = compiled(*case)
    for depth, player in ((1, program.state.critic), (0, program.state.generator)):
        summed = Counter(s for r in program.all_reduces if r.depth == depth for s in r.shapes)
        # XLA takes the last bias's sum out of the loop where it is constant, so without biases.
        for shape, times in shapes_of(player.params).items():
            assert len(shape) == 1 or summed[shape] == times


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL)
def test_bytes_are_those_of_the_formula(case):
    program = compiled(*case)
    wasserstein = case[1] != "bce"
    assert program.bytes == expected_bytes(*program[1:], N_CRITIC, wasserstein)


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL)
def test_nothing_else_is_communicated(case):
    others = "all-gather|reduce-scatter|all-to-all|collective-permute|collective-broadcast"
    assert not re.findall(rf" (?:{others})(?:-start)?\(", compiled(*case).hlo)


@pytest.mark.parametrize("case", MLP)
def test_xla_combines_the_sums_of_an_update(case):
    large = [r for r in compiled(*case).all_reduces if len(r.shapes) > 1]
    assert sorted(r.depth for r in large) == [0, 1]


def test_many_iterations_a_dispatch_add_nothing():
    model = model_of("mlp", losses.bce())
    state, *metrics = shapes_in_a_step(model, (2,))
    many = parallel.many_steps(model.step, lambda data, batch: batch)
    batches = jax.ShapeDtypeStruct((3, N_CRITIC, BATCH, 2), jnp.float32)

    def chunk(state, batches, count, axis_name):
        return many(state, (), batches, count, axis_name)

    program = Program(compile_step(chunk, state, "mesh", 2, batches, 3), state, *metrics)
    assert program.summed == compiled("mlp", "bce", "pmap").summed


@pytest.mark.slow
def test_several_seeds_share_their_all_reduces(monkeypatch):
    """Where they are trained at once, as on all devices but CPUs."""
    monkeypatch.setattr(sys.modules["jaxgan.seeds"], "map_seeds", jax.vmap)
    model = jaxgan.over_seeds(model_of("mlp", losses.bce()))
    state, *metrics = shapes_in_a_step(model, (2,), seeds=(3,))
    reals = jax.ShapeDtypeStruct((3, N_CRITIC, BATCH, 2), jnp.float32)
    program = Program(compile_step(model.step, state, "mesh", 2, reals), state, *metrics)
    one = compiled("mlp", "bce", "pmap")
    assert len(program.all_reduces) == len(one.all_reduces)
    assert program.bytes == 3 * one.bytes


# The page.


def table(*headings):
    """A table's rows, first cell to the others, by how its headings start."""
    start = re.escape("| " + " | ".join(headings))
    [body] = re.findall(rf"^{start}.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in body.splitlines()]
    return {name: cells for name, *cells in rows}


def numbers(text):
    return [float(n.replace(",", "")) for n in re.findall(r"[\d,]*\.?\d+", text)]


@pytest.mark.parametrize("row", ["bce cifar10", "wgan cifar10", "wgan-gp cifar10", "wgan-gp ring8"])
@pytest.mark.slow
def test_the_page_has_the_bytes_of_the_presets(row):
    loss, dataset = row.split()
    config = preset(loss, dataset)
    if dataset == "ring8":  # as the page says
        config = dataclasses.replace(config, n_critic=5, batch_size=256)
    state, *metrics = shapes_in_a_step(
        make_model(config, DATA_SHAPES[dataset]), DATA_SHAPES[dataset]
    )
    parameters, total, _, gradients = table("preset", "parameters")[f"`{loss}` `{dataset}`"]
    critic, generator = size(state.critic.params), size(state.generator.params)
    constant = config.n_critic - 1 if loss != "bce" else 0
    assert numbers(parameters) == [generator, critic]
    expected = expected_bytes(state, *metrics, config.n_critic, loss != "bce")
    assert numbers(total) == [expected]
    assert numbers(gradients) == [4 * (config.n_critic * critic + generator - constant)]


def test_the_page_counts_hops_along_both_axes_there_and_back():
    for row, (*_, hops) in table("slice").items():
        axes = [int(n) for n in re.findall(r"\d+(?=×)|(?<=×)\d+", row)]
        assert len(axes) == 2
        assert int(hops) == 2 * sum(n // 2 if n >= 16 else n - 1 for n in axes)


def test_the_page_has_the_efficiencies_that_follow_from_its_numbers():
    sums = table("preset", "parameters")
    slices = [numbers(" ".join(cells)) for cells in table("slice").values()]
    for row, (_, compute, *percents) in table("preset", "images a chip").items():
        [compute] = numbers(compute)
        [total], [count] = numbers(sums[row][1]), numbers(sums[row][2])
        # Microseconds: hops of one each, and bytes at W GB/s.
        waits = [count * hops + 2 * total / (rate * 1e3) for _, rate, hops in slices]
        waits[2] += total / 256 / 3.1e3
        waits.append(waits[2] + 50 * count)
        assert percents == [f"{compute * 1e3 / (compute * 1e3 + wait):.0%}" for wait in waits]
