"""Losses that grow: functions of the step, losses that keep a state, traced numbers, R1 and R2."""

import pathlib
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgan
from jaxgan import losses, networks, parallel

POINTS = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
REAL = jnp.asarray(POINTS[:8])
KEY = jax.random.key(0)


def build(loss, **options):
    generator, critic = networks.mlp((2,), latent_dim=2, width=8, depth=1)
    sgd = optax.sgd(1e-2)
    return jaxgan.gan(generator, critic, loss, sgd, sgd, n_critic=2, **options)


def plain(state):
    return jax.tree.map(np.asarray, state._replace(key=jax.random.key_data(state.key)))


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, plain(a), plain(b))


# A function of the step.


def test_a_schedule_is_at_each_step_the_loss_of_that_step():
    penalties = [1.0, 1.0, 100.0]
    model = build(lambda step: losses.wgan_gp(penalty=jnp.asarray(penalties)[step]))
    reals = jnp.stack([REAL, REAL + 1])
    state = model.init(KEY)
    for penalty in penalties:
        fixed, fixed_metrics = build(losses.wgan_gp(penalty)).step(state, reals)
        state, metrics = model.step(state, reals)
        for a, b in zip(jax.tree.leaves(plain(state)), jax.tree.leaves(plain(fixed)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(metrics["d_loss"], fixed_metrics["d_loss"], rtol=1e-5)


def test_a_clip_may_be_scheduled():
    model = build(lambda step: losses.wgan(clip=0.1 / (1 + step)))
    state = model.init(KEY)
    for step in range(3):
        state, _ = model.step(state, jnp.stack([REAL, REAL]))
        largest = max(jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(state.critic.params))
        assert largest == pytest.approx(0.1 / (1 + step))


def test_a_schedule_trains_under_fit_as_step_by_step():
    model = build(lambda step: losses.with_r1(losses.bce(), gamma=jnp.where(step < 3, 10.0, 0.0)))
    run = jaxgan.fit(model, POINTS, steps=6, batch_size=8, log_every=1, parallel="jit")
    r1, loss, js = (np.array([row[n] for row in run.metrics]) for n in ("r1", "d_loss", "js"))
    assert (r1 > 0).all()
    bare = 2 * (np.log(2) - js)  # what BCE's js says of its loss
    np.testing.assert_allclose(loss, bare + np.where(np.arange(6) < 3, 5.0, 0.0) * r1, rtol=1e-5)


# A loss that keeps a state.

RATE, RATIO = 0.05, 0.5


def balanced():
    """As BEGAN's (Berthelot 2017, sec. 3.3): scores are errors, k balances the two players."""

    def at(k, step):
        def critic(critic_fn, real, fake, key):
            of_real, of_fake = jnp.mean(critic_fn(real)), jnp.mean(critic_fn(fake))
            loss = of_real - k * of_fake
            return loss, {"d_loss": loss, "real": of_real, "fake": of_fake}

        def generator(critic_fn, real, fake, key):
            return jnp.mean(critic_fn(fake)), {}

        return losses.Loss(critic, generator)

    def update(k, metrics):
        return jnp.clip(k + RATE * (RATIO * metrics["real"] - metrics["fake"]), -1, 1)

    return losses.StatefulLoss(lambda: 0.25, at, update)


def test_a_state_moves_with_each_update_of_the_critic():
    model = build(balanced())
    state, k = model.init(KEY), 0.25
    for index in range(5):
        state, metrics = model.d_step(state, REAL, jax.random.key(index))
        loss = metrics["real"] - k * metrics["fake"]
        np.testing.assert_allclose(metrics["d_loss"], loss, rtol=1e-5, atol=1e-7)
        k = float(np.clip(k + RATE * (RATIO * metrics["real"] - metrics["fake"]), -1, 1))
        np.testing.assert_allclose(state.loss, k, rtol=1e-6)
    after, _ = model.g_step(state, REAL, KEY)
    assert after.loss == state.loss


PROGRAM = """
import os, sys
sys.path.insert(0, {tests!r})
from test_growing_losses import *

def fall(run):
    if run.step == 4:
        os.kill(os.getpid(), signal.SIGKILL)

jaxgan.fit(build(balanced()), POINTS, **FAST, workdir=sys.argv[1], callbacks=[fall])
"""
FAST = {"steps": 6, "batch_size": 8, "log_every": 1, "checkpoint_every": 2, "parallel": "jit"}


@pytest.mark.slow
def test_a_state_survives_a_kill_bit_by_bit(tmp_path):
    program = PROGRAM.format(tests=str(pathlib.Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True)
    assert done.returncode == -signal.SIGKILL
    killed = jaxgan.fit(build(balanced()), POINTS, **FAST, workdir=tmp_path)
    whole = jaxgan.fit(build(balanced()), POINTS, **FAST)
    assert whole.state.loss != 0.25
    assert_same(killed.state, whole.state)
    assert_same(jaxgan.load(tmp_path, build(balanced())).state, whole.state)


@pytest.mark.parametrize("mode", ["mesh", "pmap"])
def test_a_state_is_the_same_on_several_devices(mode):
    model, devices = build(balanced()), jax.local_devices()[:2]
    step = parallel.wrap(model.step, mode, (1,), devices)
    reals = np.stack([POINTS[:8], POINTS[8:16]])
    alone, alone_metrics = model.step(model.init(KEY), reals)
    state, metrics = step(parallel.replicate(model.init(KEY), mode, devices), reals)
    for a, b in zip(
        jax.tree.leaves((plain(state), metrics)),
        jax.tree.leaves((plain(alone), alone_metrics)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_seeds_have_states_of_their_own():
    model = build(balanced())
    several = jaxgan.over_seeds(model)
    keys = jax.random.split(KEY, 2)
    reals = jnp.stack([REAL, REAL + 1])
    states, _ = several.step(several.init(keys), jnp.stack([reals, reals]))
    for index in range(2):
        alone, _ = model.step(model.init(keys[index]), reals)
        np.testing.assert_allclose(states.loss[index], alone.loss, rtol=1e-5)
    assert states.loss[0] != states.loss[1]


def test_a_skipped_update_leaves_the_losss_state():
    model = build(balanced(), skip_nonfinite=True)
    before = model.init(KEY)
    after, metrics = model.d_step(before, REAL.at[0].set(np.inf), KEY)
    assert after.loss == before.loss and metrics["skipped"] == 1


def test_a_state_that_breaks_is_named():
    broken = balanced()._replace(update=lambda k, metrics: k / 0)
    with pytest.raises(jaxgan.DivergedError, match="critic's loss's state"):
        jaxgan.fit(build(broken), POINTS, steps=3, batch_size=8, log_every=1, parallel="jit")


# Traced numbers.


def test_numbers_may_be_mapped():
    def gradients(penalty, gamma):
        loss = losses.with_r2(losses.wgan_gp(penalty), gamma)
        model = build(loss)
        return model.d_grad(build(losses.bce()).init(KEY), REAL, KEY)[0]

    numbers = jnp.array([0.5, 7.0]), jnp.array([3.0, 0.0])
    together = jax.vmap(gradients)(*numbers)
    alone = [gradients(*map(float, pair)) for pair in zip(*numbers, strict=True)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(stacked), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# R1 and R2.


def quadratic(a, b):
    """f(x) = ½ a‖x‖² + b·x, whose gradient is a·x + b."""
    return lambda x: a / 2 * jnp.sum(x**2, axis=1) + x @ b


@pytest.mark.parametrize(
    ("wrap", "name", "at"), [(losses.with_r1, "r1", "real"), (losses.with_r2, "r2", "fake")]
)
def test_the_penalty_is_gamma_over_two_times_the_mean_squared_slope(wrap, name, at):
    batch = {"real": REAL, "fake": 2 * REAL[::-1] - 1}
    a, b, gamma = 1.5, jnp.array([0.5, -2.0]), 0.7

    def value(a, loss):
        return loss.critic(quadratic(a, b), batch["real"], batch["fake"], KEY)

    (plain_value, plain_metrics), plain_slope = jax.value_and_grad(value, has_aux=True)(
        a, losses.bce()
    )
    (ours, metrics), slope = jax.value_and_grad(value, has_aux=True)(a, wrap(losses.bce(), gamma))
    x = np.float64(batch[at])
    penalty = np.mean(np.sum((a * x + np.float64(b)) ** 2, axis=1))
    derivative = np.mean(np.sum(2 * (a * x + np.float64(b)) * x, axis=1))
    assert metrics[name] == pytest.approx(penalty, rel=1e-6)
    assert ours - plain_value == pytest.approx(gamma / 2 * penalty, rel=1e-5)
    assert slope - plain_slope == pytest.approx(gamma / 2 * derivative, rel=1e-5)
    assert metrics["d_loss"] == ours
    assert metrics.keys() - plain_metrics.keys() == {name}


def test_both_add_up_and_leave_the_generators_loss_and_the_projection():
    loss = losses.wgan(clip=0.3)
    both = losses.with_r2(losses.with_r1(loss, 2.0), 4.0)
    f, fake = quadratic(1.0, jnp.array([1.0, 0.0])), REAL + 1
    value, metrics = both.critic(f, REAL, fake, KEY)
    bare, _ = loss.critic(f, REAL, fake, KEY)
    np.testing.assert_allclose(value, bare + metrics["r1"] + 2 * metrics["r2"], rtol=1e-6)
    assert both.generator is loss.generator and both.project is loss.project


def test_gamma_0_changes_nothing_and_slopes_of_0_have_derivatives():
    def flat(w):
        value, _ = losses.with_r1(losses.wgan(), 1.0).critic(lambda x: x @ w, REAL, REAL, KEY)
        return value

    np.testing.assert_allclose(jax.grad(flat)(jnp.zeros(2)), 0)
    f = quadratic(1.0, jnp.ones(2))
    off, bare = losses.with_r1(losses.bce(), 0.0), losses.bce()
    assert off.critic(f, REAL, REAL, KEY)[0] == bare.critic(f, REAL, REAL, KEY)[0]


# What a user's own loss may be.


class Own:
    """Not a Loss, but with the three functions of one."""

    def critic(self, critic_fn, real, fake, key):
        """The Wasserstein critic's."""
        return jnp.mean(critic_fn(fake)) - jnp.mean(critic_fn(real)), {}

    def generator(self, critic_fn, real, fake, key):
        """The Wasserstein generator's."""
        return -jnp.mean(critic_fn(fake)), {}

    def project(self, params):
        """Changes nothing."""
        return params


def test_a_loss_of_four_arguments_is_as_it_was():
    own, ours = build(Own()), build(losses.wgan(clip=1e6))
    reals = jnp.stack([REAL, REAL])
    assert_same(own.step(own.init(KEY), reals)[0], ours.step(ours.init(KEY), reals)[0])


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (balanced()._replace(init=0.25), "the loss's init must be a function; got 0.25"),
        (balanced()._replace(at=lambda k, step: None), "loss must be a Loss.*got None"),
        (lambda step: losses.wgan, r"got the function wgan: call it, wgan\(\)"),
        (lambda step: losses.bce() if step < 2 else losses.wgan(), "gets a traced step"),
        (lambda: losses.wgan(), "loss must be a Loss"),
        (losses.with_r1, "loss must be a Loss.*got the function with_r1"),
    ],
)
def test_what_is_no_loss_is_refused(loss, words):
    with pytest.raises(ValueError, match=words):
        build(loss)


@pytest.mark.parametrize("update", [lambda k, m: jnp.stack([k, k]), lambda k, m: (k, k)])
def test_a_state_keeps_its_shape(update):
    model = build(balanced()._replace(update=update))
    with pytest.raises(ValueError, match=r"must keep the shapes .* given float32\(\) and returned"):
        model.d_step(model.init(KEY), REAL, KEY)


def test_a_wrapper_takes_a_loss():
    with pytest.raises(ValueError, match="call with_r1 inside it"):
        losses.with_r1(lambda step: losses.bce(), 1.0)
    with pytest.raises(ValueError, match="gamma must be a finite number, 0 or more; got -1"):
        losses.with_r1(losses.bce(), -1)


def test_a_penalised_critic_may_not_normalise_by_its_batch():
    _, critic = networks.dcgan((16, 16, 1), 2, width=2, critic_norm=True)
    generator, _ = networks.dcgan((16, 16, 1), 2, width=2)
    sgd = optax.sgd(0.1)
    with pytest.raises(ValueError, match="must not use BatchNorm"):
        jaxgan.gan(generator, critic, lambda step: losses.with_r1(losses.bce(), 1.0), sgd, sgd)
