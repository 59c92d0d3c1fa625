"""The same models in PyTorch, as its users would write them well.

Eager, with what speeds that up: channels_last images, fused optimizers, data on the device, no
gradients where none are needed; on a GPU cudnn.benchmark, TF32 where jax has it (`products_in`)
and, for bfloat16, autocast. With
`compiled`, torch.compile of each player's whole loss, where it can: it has no second derivatives.

It trains as jaxgan does, from the same first weights, so that `verify` can compare what becomes of
both. One thing is left as PyTorch has it: its running variance is the unbiased one, flax's is not.
"""

import copy
import time
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.limit import products_in
from benchmarks.ours import first_weights
from benchmarks.pytorch_networks import LAYERS, load, statistics, to_flax
from benchmarks.workloads import Answer, Inputs, Program, Weights, Workload
from jaxgan.commands.presets import count_cores


class Model:
    """The two players of a workload, what each minimises, and how it is updated."""

    def __init__(self, workload: Workload, device: str, dtype: torch.dtype = torch.float32):
        config, shape = workload.config, workload.data_shape
        self.config, self.dtype, self._step = config, dtype, 0
        self.image = (shape[2], *shape[:2]) if len(shape) == 3 else None
        self.generator, self.critic = (
            nn.Sequential(*each).to(device, dtype, memory_format=torch.channels_last)
            for each in LAYERS[config.model](config, self.image, shape)
        )
        self._autocast = torch.autocast(
            device, torch.bfloat16, enabled=config.precision == "bfloat16"
        )
        self._g_params = list(self.generator.parameters())
        self._d_params = list(self.critic.parameters())
        self.g_tx = optimizer(config, self._g_params, config.g_learning_rate)
        self.d_tx = optimizer(config, self._d_params, config.d_learning_rate)
        statistics = [t for t in self.generator.buffers() if t.is_floating_point()]
        self._averaged = [*self._g_params, *statistics]

    def load(self, first: Weights) -> None:
        """Starts from flax's parameters, and the averaged generator from its own."""
        self._first = first
        load(self.critic, first.d_params)
        load(self.generator, first.g_params)
        self.average = copy.deepcopy(self._averaged)

    def weights(self) -> Weights:
        """What training has made of them by now, as flax has it."""
        stats = statistics(self.generator, self._step)
        average = self.average[: len(self._g_params)]
        return Weights(
            to_flax(self._d_params, self.critic, self._first.d_params),
            to_flax(self._g_params, self.generator, self._first.g_params),
            to_flax(average, self.generator, self._first.g_params),
            {"batch_stats": stats} if stats else {},
        )

    def d_step(self, real: torch.Tensor, z: torch.Tensor, epsilon: torch.Tensor) -> None:
        """One update of the critic."""
        self.d_tx.zero_grad()
        self.critic_loss(real, z, epsilon).backward()
        self.d_tx.step()
        if self.config.loss == "wgan":
            with torch.no_grad():
                torch._foreach_clamp_min_(self._d_params, -self.config.clip)
                torch._foreach_clamp_max_(self._d_params, self.config.clip)

    def g_step(self, z: torch.Tensor) -> None:
        """One update of the generator and of its average, whose decay grows as jaxgan's does."""
        self.critic.requires_grad_(False)
        self.g_tx.zero_grad()
        self.generator_loss(z).backward()
        self.g_tx.step()
        self.critic.requires_grad_(True)
        self._step += 1
        decay = min(self.config.ema_decay, self._step / (9 + self._step))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self._averaged, 1 - decay)

    def critic_loss(self, real, z, epsilon):
        """The critic's loss on real data and on samples from z."""
        with torch.no_grad(), self._autocast:
            fake = self.generator(z)
        fake = fake.to(self.dtype)
        real_scores, fake_scores = self._scores(real), self._scores(fake)
        if self.config.loss in ("bce", "minimax"):
            return F.softplus(-real_scores).mean() + F.softplus(fake_scores).mean()
        loss = fake_scores.mean() - real_scores.mean()
        if self.config.loss == "wgan":
            return loss
        epsilon = epsilon.view(-1, *[1] * (real.ndim - 1))
        mixed = torch.lerp(fake, real, epsilon).requires_grad_()
        (gradients,) = torch.autograd.grad(self._scores(mixed).sum(), mixed, create_graph=True)
        norms = torch.linalg.vector_norm(gradients, dim=tuple(range(1, real.ndim)))
        return loss + self.config.penalty * (norms - 1).square().mean()

    def generator_loss(self, z):
        """The generator's loss on samples from z."""
        with self._autocast:
            fake = self.generator(z)
        scores = self._scores(fake)
        if self.config.loss == "bce":
            return F.softplus(-scores).mean()
        return -(F.softplus(scores) if self.config.loss == "minimax" else scores).mean()

    def _scores(self, x):
        with self._autocast:
            return self.critic(x).to(self.dtype)

    def to_data(self, x: np.ndarray) -> torch.Tensor:
        """Examples as they are here: images channels first, mirrored in both axes."""
        x = torch.tensor(x, dtype=self.dtype)
        if self.image is None:
            return x
        return x.permute(0, 3, 1, 2).flip(2, 3).contiguous(memory_format=torch.channels_last)


def optimizer(config, params, learning_rate):
    """PyTorch's fastest of the kind."""
    if config.optimizer == "adam":
        return torch.optim.Adam(params, learning_rate, (config.b1, config.b2), fused=True)
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(params, learning_rate, config.b2, foreach=True)
    return torch.optim.SGD(params, learning_rate, foreach=True)


def ask(workload: Workload, inputs: Inputs, dtype: torch.dtype = torch.float32) -> Answer:
    """What PyTorch makes of the inputs on the CPU, in flax's layout."""
    model = Model(workload, "cpu", dtype)
    model.load(inputs.first)
    d_latents, g_latents, epsilon = (
        torch.tensor(np.array(each), dtype=dtype)
        for each in (inputs.d_latents, inputs.g_latents, inputs.epsilon)
    )
    reals = [[model.to_data(np.array(real)) for real in each] for each in inputs.reals]
    d_loss = model.critic_loss(reals[0][0], d_latents[0, 0], epsilon[0, 0])
    d_gradients = torch.autograd.grad(d_loss, list(model.critic.parameters()))
    # Without a trace in the running statistics, which are updated below.
    before = copy.deepcopy(model.generator.state_dict())
    g_loss = model.generator_loss(g_latents[0])
    g_gradients = torch.autograd.grad(g_loss, list(model.generator.parameters()))
    model.generator.load_state_dict(before)
    trained = []
    for i, z in enumerate(g_latents):
        for update in zip(reals[i], d_latents[i], epsilon[i], strict=True):
            model.d_step(*update)
        model.g_step(z)
        trained.append(model.weights())
    return Answer(
        *(d_loss.item(), to_flax(d_gradients, model.critic, inputs.first.d_params)),
        *(g_loss.item(), to_flax(g_gradients, model.generator, inputs.first.g_params)),
        trained,
    )


def make_pytorch(workload: Workload, examples: np.ndarray, compiled: bool = False) -> Program:
    """A training loop on the GPU if there is one, else on all cores.

    Its memory is that of tensors: the state, and what an iteration allocates beside it.
    """
    device, config = choose_device(), workload.config
    model = Model(workload, device)
    model.load(first_weights(workload))
    if compiled:
        # To time the compiler, not its cache; of that it warns.
        torch.compiler.config.force_disable_caches = True
        warnings.filterwarnings("ignore", "dynamo_pgo force disabled")
        mode = "reduce-overhead" if device == "cuda" else "default"
        model.critic_loss = torch.compile(model.critic_loss, mode=mode)
        model.generator_loss = torch.compile(model.generator_loss, mode=mode)
    if examples.dtype == np.uint8:
        examples = examples.astype(np.float32) / 127.5 - 1
    data, batch = model.to_data(examples).to(device), config.batch_size

    def latents():
        return torch.randn(batch, config.latent_dim, device=device)

    def run(n):
        for _ in range(n):
            for _ in range(config.n_critic):
                real = data[torch.randint(len(data), (batch,), device=device)]
                model.d_step(real, latents(), torch.rand(batch, device=device))
            model.g_step(latents())
        if device == "cuda":
            torch.cuda.synchronize()

    began = time.perf_counter()
    run(1)
    compile_seconds = time.perf_counter() - began if compiled else None
    run(2)  # on a GPU a compiled loss is recorded as a graph in its second call
    tensors = [*model.generator.state_dict().values(), *model.critic.state_dict().values()]
    states = [each for tx in (model.g_tx, model.d_tx) for each in tx.state.values()]
    tensors += model.average + [t for each in states for t in each.values() if torch.is_tensor(t)]
    return Program(run, compile_seconds, sum(t.nbytes for t in tensors) + _allocated(run, device))


def choose_device() -> str:
    """The GPU if there is one, else the CPU; sets what makes PyTorch fast there."""
    if not torch.cuda.is_available():
        torch.set_num_threads(count_cores())
        return "cpu"
    full = products_in("cuda", "float32") == "float32"
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = not full
    torch.set_float32_matmul_precision("highest" if full else "high")  # which is TF32
    return "cuda"


def _allocated(run, device):
    """The most bytes of tensors that an iteration allocates and holds at once."""
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run(1)
        return torch.cuda.max_memory_allocated() - before
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        run(1)
    events = profile.profiler.kineto_results.events()
    held = np.cumsum([event.nbytes() for event in events if event.name() == "[memory]"])
    return int(held.max(initial=0))
