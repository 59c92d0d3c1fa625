"""The losses: hand-computed values and gradients, closed forms, properties, refusals."""

import math

import chex
import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from absl.testing import parameterized

from jaxgan import losses

LOSSES = {
    "bce": losses.bce(),
    "minimax": losses.minimax(),
    "wgan": losses.wgan(),
    "wgan_gp": losses.wgan_gp(),
}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
# Examples are few, since each new shape compiles, and have no deadline, for the same reason.
few_examples = hypothesis.settings(max_examples=20, deadline=None, derandomize=True)

# Two points each, and the linear critic f(x) = w·x, ‖w‖ = 2.5.
REAL = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32)
FAKE = np.array([[0.0, 1.0], [-2.0, 0.5]], np.float32)
W = np.array([1.5, -2.0], np.float32)
KEY = jax.random.key(0)


def floats(bound):
    # XLA flushes subnormal numbers to zero, numpy does not.
    return st.floats(-bound, bound, width=32, allow_subnormal=False)


def linear(w):
    """f(x) = w·x over all non-batch axes."""
    return lambda x: jnp.sum(x * w, axis=tuple(range(1, x.ndim)))


def zero(x):
    return jnp.zeros(x.shape[0])


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def softplus(a):
    return np.log1p(np.exp(a))


def penalty_at(w, target=1.0):
    return (np.linalg.norm(w) - target) ** 2


class HandComputed(chex.TestCase):
    """Values and gradients of every loss on a linear critic, on paper and in jax."""

    @chex.all_variants
    @parameterized.named_parameters(*((name, name) for name in LOSSES))
    def test_critic_value_and_gradient(self, name):
        a, b = REAL @ W, FAKE @ W  # −2.5, 6.5 and −2, −4
        # −E log σ(a) − E log(1 − σ(b)) = E softplus(−a) + E softplus(b)
        bce = np.mean(softplus(-a)) + np.mean(softplus(b))
        bce_gradient = (-sigmoid(-a) @ REAL + sigmoid(b) @ FAKE) / 2
        wgan = np.mean(b) - np.mean(a)
        wgan_gradient = FAKE.mean(0) - REAL.mean(0)
        expected, expected_gradient = {
            "bce": (bce, bce_gradient),
            "minimax": (bce, bce_gradient),
            "wgan": (wgan, wgan_gradient),
            # d/dw (‖w‖ − 1)² = 2 (‖w‖ − 1) w/‖w‖
            "wgan_gp": (wgan + 10 * 1.5**2, wgan_gradient + 10 * 2 * 1.5 * W / 2.5),
        }[name]

        @self.variant
        def f(w, real, fake, key):
            def loss(w):
                return LOSSES[name].critic(linear(w), real, fake, key)

            return jax.value_and_grad(loss, has_aux=True)(w)

        (value, metrics), gradient = f(W, REAL, FAKE, KEY)
        chex.assert_shape([value, *metrics.values()], ())
        chex.assert_shape(gradient, W.shape)
        chex.assert_tree_all_finite((value, metrics, gradient))
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5)
        np.testing.assert_allclose(metrics["d_loss"], expected, rtol=1e-5)
        if name in ("wgan", "wgan_gp"):
            np.testing.assert_allclose(metrics["wasserstein"], -wgan, rtol=1e-5)
        else:
            np.testing.assert_allclose(metrics["js"], (math.log(4) - bce) / 2, rtol=1e-5)
            np.testing.assert_allclose(metrics["d_real"], np.mean(sigmoid(a)), rtol=1e-5)
            np.testing.assert_allclose(metrics["d_fake"], np.mean(sigmoid(b)), rtol=1e-5)
        if name == "wgan_gp":
            np.testing.assert_allclose(metrics["gradient_penalty"], 1.5**2, rtol=1e-5)

    @chex.all_variants
    @parameterized.named_parameters(*((name, name) for name in LOSSES))
    def test_generator_value_and_gradient(self, name):
        b = FAKE @ W
        # d/dz of a mean over two samples: f′(b)·w/2 for each.
        expected, slope = {
            "bce": (np.mean(softplus(-b)), -sigmoid(-b)),
            "minimax": (-np.mean(softplus(b)), -sigmoid(b)),
            "wgan": (-np.mean(b), -np.ones(2)),
            "wgan_gp": (-np.mean(b), -np.ones(2)),
        }[name]

        @self.variant
        def f(fake, real, key):
            def loss(fake):
                return LOSSES[name].generator(linear(W), real, fake, key)

            return jax.value_and_grad(loss, has_aux=True)(fake)

        (value, metrics), gradient = f(FAKE, REAL, KEY)
        chex.assert_shape([value, *metrics.values()], ())
        chex.assert_tree_all_finite((value, metrics, gradient))
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        np.testing.assert_allclose(metrics["g_loss"], expected, rtol=1e-5)
        np.testing.assert_allclose(gradient, slope[:, None] * W / 2, rtol=1e-5)

    @chex.all_variants
    def test_gradient_penalty_value_and_gradient(self):
        @self.variant
        def f(w, real, fake, key):
            return jax.value_and_grad(
                lambda w: losses.gradient_penalty(linear(w), real, fake, key, target=0.5)
            )(w)

        value, gradient = f(W, REAL, FAKE, KEY)
        chex.assert_shape(value, ())
        np.testing.assert_allclose(value, (2.5 - 0.5) ** 2, rtol=1e-6)
        np.testing.assert_allclose(gradient, 2 * (2.5 - 0.5) * W / 2.5, rtol=1e-6)


# The Jensen–Shannon divergence that BCE certifies.


@pytest.mark.parametrize("name", ["bce", "minimax"])
def test_zero_logits_cost_two_log_two_and_certify_nothing(name):
    loss, metrics = LOSSES[name].critic(zero, REAL, FAKE, KEY)
    np.testing.assert_allclose(loss, 2 * math.log(2), rtol=1e-6)
    np.testing.assert_allclose(metrics["js"], 0, atol=1e-7)
    assert metrics["d_real"] == metrics["d_fake"] == 0.5


def one_hot(outcomes):
    return np.eye(3, dtype=np.float32)[outcomes]


def jensen_shannon(p, q):
    m = (p + q) / 2
    return np.sum(scipy.special.rel_entr(p, m) + scipy.special.rel_entr(q, m)) / 2


def test_optimal_discriminator_reaches_the_jensen_shannon_divergence():
    real, fake = one_hot(np.repeat([0, 1, 2], [5, 3, 2])), one_hot(np.repeat([0, 1, 2], [1, 3, 6]))
    p, q = real.mean(0), fake.mean(0)

    # D*(x) = p/(p + q) has the logit log p/q, and V has its maximum there.
    def loss(logits):
        return LOSSES["bce"].critic(linear(logits), real, fake, KEY)

    gradient, metrics = jax.grad(loss, has_aux=True)(jnp.log(p / q))
    np.testing.assert_allclose(metrics["js"], jensen_shannon(p, q), rtol=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-7)


@few_examples
@hypothesis.given(
    real=hnp.arrays(int, 10, elements=st.integers(0, 2)),
    fake=hnp.arrays(int, 10, elements=st.integers(0, 2)),
    logits=hnp.arrays(np.float32, 3, elements=floats(20)),
)
def test_no_discriminator_certifies_more_than_the_jensen_shannon_divergence(real, fake, logits):
    real, fake = one_hot(real), one_hot(fake)
    _, metrics = LOSSES["bce"].critic(linear(logits), real, fake, KEY)
    assert metrics["js"] <= jensen_shannon(real.mean(0), fake.mean(0)) + 1e-6


# The Wasserstein losses.


@pytest.mark.parametrize("name", ["wgan", "wgan_gp"])
def test_wasserstein_is_positive_where_the_critic_scores_real_higher(name):
    real, fake = np.ones((4, 1), np.float32), np.zeros((4, 1), np.float32)
    _, metrics = LOSSES[name].critic(linear(3.0), real, fake, KEY)
    assert metrics["wasserstein"] == 3.0
    _, metrics = LOSSES[name].critic(linear(3.0), fake, real, KEY)
    assert metrics["wasserstein"] == -3.0


def test_wasserstein_is_not_mixed_with_the_penalty():
    for penalty in (0.5, 100.0):
        loss, metrics = losses.wgan_gp(penalty).critic(linear(W), REAL, FAKE, KEY)
        _, plain = LOSSES["wgan"].critic(linear(W), REAL, FAKE, KEY)
        assert metrics["wasserstein"] == plain["wasserstein"]
        np.testing.assert_allclose(metrics["gradient_penalty"], penalty_at(W), rtol=1e-6)
        np.testing.assert_allclose(
            loss, -metrics["wasserstein"] + penalty * metrics["gradient_penalty"], rtol=1e-6
        )


@pytest.mark.parametrize("name", ["wgan", "wgan_gp"])
def test_a_constant_added_to_the_critic_changes_no_critic_loss(name):
    loss, _ = LOSSES[name].critic(linear(W), REAL, FAKE, KEY)
    shifted, _ = LOSSES[name].critic(lambda x: linear(W)(x) + 8.0, REAL, FAKE, KEY)
    np.testing.assert_allclose(shifted, loss, rtol=1e-6)


# Where the losses saturate, and where they must not.


def generator_slope(name, score):
    """|d loss/d score| of one sample that the critic gives this score."""
    fake = jnp.full((1, 1), score)
    return abs(
        jax.grad(lambda x: LOSSES[name].generator(linear(1.0), fake, x, KEY)[0])(fake).item()
    )


def test_minimax_saturates_where_the_discriminator_wins_and_bce_does_not():
    np.testing.assert_allclose(generator_slope("minimax", -20.0), np.exp(-20), rtol=1e-5)
    np.testing.assert_allclose(generator_slope("bce", -20.0), 1, rtol=1e-5)


def test_minimax_and_bce_agree_where_the_discriminator_cannot_tell():
    assert generator_slope("minimax", 0.0) == generator_slope("bce", 0.0) == 0.5


@each_loss
@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_extreme_scores_give_finite_values_and_gradients(loss, scale):
    real, fake = jnp.ones((2, 1)), -jnp.ones((2, 1))
    d = jax.value_and_grad(lambda w: loss.critic(linear(w), real, fake, KEY), has_aux=True)(scale)
    g = jax.value_and_grad(lambda z: loss.generator(linear(scale), real, z, KEY), has_aux=True)(
        fake
    )
    chex.assert_tree_all_finite((d, g))


def test_bce_of_extreme_scores_is_linear_where_it_is_wrong_and_zero_where_it_is_right():
    real, fake = np.ones((2, 1), np.float32), -np.ones((2, 1), np.float32)
    assert LOSSES["bce"].critic(linear(1e4), real, fake, KEY)[0] == 0
    assert LOSSES["bce"].critic(linear(-1e4), real, fake, KEY)[0] == 2e4
    assert LOSSES["bce"].generator(linear(1e4), real, fake, KEY)[0] == 1e4


# The gradient penalty.


@few_examples
@hypothesis.given(
    w=hnp.arrays(np.float32, 3, elements=floats(4)),
    target=st.sampled_from([0.0, 1.0, 2.5]),
    seed=st.integers(0, 2**32 - 1),
)
def test_linear_critic_penalty_is_norm_minus_target_squared(w, target, seed):
    real, fake = np.random.default_rng(seed).normal(size=(2, 4, 3)).astype(np.float32)
    value = losses.gradient_penalty(linear(w), real, fake, jax.random.key(seed), target)
    np.testing.assert_allclose(value, penalty_at(w, target), rtol=1e-4, atol=1e-6)


def test_penalty_takes_the_norm_of_a_whole_image_not_of_a_pixel_or_channel():
    real, fake, w = np.random.default_rng(0).normal(size=(3, 4, 5, 5, 3)).astype(np.float32)
    w = w[0]
    value = losses.gradient_penalty(linear(w), real, fake, KEY)
    np.testing.assert_allclose(value, penalty_at(w), rtol=1e-5)


def test_penalty_is_a_mean_over_examples_of_each_ones_own_norm():
    # f(x) = s·|x| with s = 1, 2, 3, 4 has the gradient norms 1, 2, 3, 4.
    real, fake = np.ones((4, 1), np.float32), np.full((4, 1), 2, np.float32)
    slopes = jnp.arange(1.0, 5.0)
    value = losses.gradient_penalty(lambda x: slopes * x[:, 0], real, fake, KEY)
    np.testing.assert_allclose(value, np.mean([0, 1, 4, 9]), rtol=1e-6)


def test_penalty_of_a_zero_critic_has_a_finite_gradient():
    # Two layers, so that the gradient flows through weights that are zero too.
    def f(params):
        w, v = params
        return losses.gradient_penalty(lambda x: jnp.tanh(x @ w) @ v, REAL, FAKE, KEY)

    value, gradient = jax.value_and_grad(f)((jnp.zeros((2, 3)), jnp.zeros(3)))
    assert value == 1
    chex.assert_trees_all_equal(gradient, (jnp.zeros((2, 3)), jnp.zeros(3)))


def test_penalty_counts_examples_where_the_gradient_is_exactly_zero():
    # relu(w·x): dead on the first two examples, of gradient w on the last two.
    x = np.array([[-1.0], [-2.0], [1.0], [2.0]], np.float32)

    def f(w):
        return losses.gradient_penalty(lambda x: jax.nn.relu(x[:, 0] * w), x, x, KEY)

    value, gradient = jax.value_and_grad(f)(3.0)
    np.testing.assert_allclose(value, (1 + 1 + 4 + 4) / 4)
    np.testing.assert_allclose(gradient, (0 + 0 + 2 * 2 + 2 * 2) / 4)


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1.0, 1e6])
def test_norm_has_no_bias_of_a_guard_against_zero(scale):
    # sqrt(‖g‖² + ε) would show here: with target 0 the penalty is the squared norm itself.
    w = np.float32(scale) * np.array([3.0, -4.0], np.float32)
    value = losses.gradient_penalty(linear(w), REAL, FAKE, KEY, target=0.0)
    np.testing.assert_allclose(value, (5 * scale) ** 2, rtol=1e-5)


def test_penalty_parameter_gradient_is_that_of_finite_differences():
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        real, fake = jnp.asarray(rng.normal(size=(2, 5, 3)))
        params = {
            "w": jnp.asarray(rng.normal(size=(3, 4))),
            "b": jnp.asarray(rng.normal(size=4)),
            "v": jnp.asarray(rng.normal(size=4)),
        }
        flat, unflatten = jax.flatten_util.ravel_pytree(params)

        def critic(p, x):
            return jnp.tanh(x @ p["w"] + p["b"]) @ p["v"]

        @jax.jit
        def penalty(flat):
            return losses.gradient_penalty(
                lambda x: critic(unflatten(flat), x), real, fake, jax.random.key(0)
            )

        gradient = jax.grad(penalty)(flat)
        assert gradient.dtype == jnp.float64
        # A central difference errs by about h² f‴ = 1e-10, and by 1e-16/h = 1e-11 of rounding.
        h = 1e-5
        steps = h * jnp.eye(len(flat))
        numeric = jax.vmap(lambda s: (penalty(flat + s) - penalty(flat - s)) / (2 * h))(steps)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-7, atol=1e-8)


# The interpolates.


def interpolates(real, fake, key):
    """The points at which the penalty takes the critic's gradient."""
    seen = []

    def critic_fn(x):
        jax.debug.callback(seen.append, x)
        return linear(1.0)(x)

    losses.gradient_penalty(critic_fn, real, fake, key)
    jax.effects_barrier()
    [x_hat] = seen
    return np.asarray(x_hat)


def epsilons(key, batch):
    """The share of `real` in each interpolate."""
    return interpolates(np.ones((batch, 1), np.float32), np.zeros((batch, 1), np.float32), key)[
        :, 0
    ]


def test_interpolates_lie_on_segments_with_one_epsilon_for_all_of_an_example():
    real, fake = np.random.default_rng(0).normal(size=(2, 8, 4, 4, 3)).astype(np.float32)
    epsilon = epsilons(KEY, 8)[:, None, None, None]
    expected = epsilon * real + (1 - epsilon) * fake
    np.testing.assert_allclose(interpolates(real, fake, KEY), expected, atol=1e-6)


def test_epsilon_is_uniform_and_each_examples_own():
    for key in (KEY, jax.random.split(KEY, 2000)):
        epsilon = epsilons(key, 2000)
        assert np.all((epsilon >= 0) & (epsilon < 1))
        # 23 random bits each: of 2,000 draws about a quarter of a pair coincide.
        assert len(np.unique(epsilon)) >= 1998
        # A normal, clipped or not, or a Beta(1/2, 1/2), fails this by tens of orders of magnitude.
        assert scipy.stats.kstest(epsilon, "uniform").pvalue > 1e-3


def test_another_key_gives_other_epsilons():
    assert not np.any(epsilons(KEY, 16) == epsilons(jax.random.key(1), 16))


def test_with_a_key_per_example_noise_belongs_to_the_example():
    keys = jax.random.split(KEY, 8)
    epsilon = epsilons(keys, 8)
    order = np.array([3, 1, 4, 0, 5, 7, 2, 6])
    np.testing.assert_array_equal(epsilons(keys[order], 8), epsilon[order])
    np.testing.assert_array_equal(epsilons(keys[2:5], 3), epsilon[2:5])


@each_loss
def test_a_batch_loss_is_the_mean_of_its_parts_when_each_example_has_its_key(loss):
    # What averaging over devices relies on.
    real, fake = np.random.default_rng(0).normal(size=(2, 8, 3)).astype(np.float32)
    keys = jax.random.split(KEY, 8)

    def critic_fn(x):
        return jnp.sum(jnp.sin(2 * x), axis=1)

    for f in (loss.critic, loss.generator):
        whole = f(critic_fn, real, fake, keys)
        parts = [f(critic_fn, real[s], fake[s], keys[s]) for s in (slice(4), slice(4, 8))]
        mean = jax.tree.map(lambda a, b: (a + b) / 2, *parts)
        # Sums of 8 numbers of order 1 in another order: a few units in the last place, 1e-7.
        chex.assert_trees_all_close(whole, mean, rtol=1e-5, atol=1e-6)


# The projection.


@few_examples
@hypothesis.given(
    w=hnp.arrays(np.float32, (3, 2), elements=floats(1)),
    clip=st.sampled_from([0.01, 0.1, 0.5]),
)
def test_wgan_projects_on_the_box_and_leaves_what_is_inside(w, clip):
    params = {"layer": {"kernel": jnp.asarray(w), "bias": jnp.asarray(w[0])}}
    projected = losses.wgan(clip).project(params)
    chex.assert_trees_all_equal_shapes_and_dtypes(projected, params)
    expected = np.minimum(np.maximum(w, np.float32(-clip)), np.float32(clip))
    np.testing.assert_array_equal(projected["layer"]["kernel"], expected)
    np.testing.assert_array_equal(projected["layer"]["bias"], expected[0])


def test_wgan_clips_at_the_papers_bound_by_default():
    np.testing.assert_array_equal(losses.wgan().project(W), np.float32([0.01, -0.01]))


@pytest.mark.parametrize("name", ["bce", "minimax", "wgan_gp"])
def test_the_other_losses_project_nothing(name):
    params = {"kernel": jnp.asarray(W)}
    assert LOSSES[name].project(params) is params


# Precision.


@each_loss
def test_half_precision_scores_give_a_float32_loss(loss):
    real, fake = jnp.asarray(REAL, jnp.bfloat16), jnp.asarray(FAKE, jnp.bfloat16)

    def critic_fn(x):
        return linear(jnp.asarray(W, jnp.bfloat16))(x.astype(jnp.bfloat16))

    outputs = loss.critic(critic_fn, real, fake, KEY), loss.generator(critic_fn, real, fake, KEY)
    chex.assert_type(jax.tree.leaves(outputs), jnp.float32)


def test_epsilon_has_all_the_bits_of_float32_for_half_precision_data():
    ones = jnp.ones((100, 1), jnp.bfloat16)
    epsilon = interpolates(ones, 0 * ones, KEY)
    assert np.any(epsilon != np.asarray(jnp.asarray(epsilon, jnp.bfloat16), np.float32))


# Refusals: each names the values at fault.


def shape(*sizes):
    return r"\(" + ", ".join(map(str, sizes)) + r",?\)"


@each_loss
@pytest.mark.parametrize("player", ["critic", "generator"])
@pytest.mark.parametrize(
    ("critic_fn", "got"),
    [
        (lambda x: x @ W[:, None], shape(2, 1)),
        (lambda x: jnp.sum(x), r"\(\)"),
        (lambda x: x, shape(2, 2)),
    ],
    ids=["column", "scalar", "matrix"],
)
def test_critic_whose_scores_are_not_one_per_example_is_refused(loss, player, critic_fn, got):
    with pytest.raises(ValueError, match=f"shape {shape(2)}; got shape {got}.*{shape(2, 2)}"):
        getattr(loss, player)(critic_fn, REAL, FAKE, KEY)


def test_penalty_of_a_critic_whose_scores_are_a_column_is_refused():
    with pytest.raises(ValueError, match=f"shape {shape(2)}; got shape {shape(2, 1)}"):
        losses.gradient_penalty(lambda x: x @ W[:, None], REAL, FAKE, KEY)


@pytest.mark.parametrize(
    "f",
    [*(loss.critic for loss in LOSSES.values()), losses.gradient_penalty],
    ids=[*LOSSES, "gradient_penalty"],
)
@pytest.mark.parametrize("real", [np.ones((1, 2)), np.ones((2, 1)), np.ones(2)])
def test_real_and_fake_of_different_shapes_are_refused(f, real):
    with pytest.raises(ValueError, match=f"{shape(*real.shape)} and {shape(2, 2)}"):
        f(linear(1.0), real.astype(np.float32), FAKE, KEY)


@pytest.mark.parametrize("f", [LOSSES["wgan_gp"].critic, losses.gradient_penalty])
def test_penalty_refuses_a_legacy_key(f):
    with pytest.raises(ValueError, match=r"typed PRNG key.*uint32"):
        f(linear(W), REAL, FAKE, jax.random.PRNGKey(0))


def test_penalty_refuses_the_wrong_number_of_keys():
    with pytest.raises(ValueError, match=rf"each of the 2 examples.*{shape(3)}"):
        losses.gradient_penalty(linear(W), REAL, FAKE, jax.random.split(KEY, 3))


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, -math.inf, math.nan])
def test_clip_and_penalty_must_be_positive_and_finite(bad):
    with pytest.raises(ValueError, match=f"clip must be a positive finite number; got {bad}"):
        losses.wgan(clip=bad)
    with pytest.raises(ValueError, match=f"penalty must be a positive finite number; got {bad}"):
        losses.wgan_gp(penalty=bad)
