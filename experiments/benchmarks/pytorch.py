"""The same models in PyTorch, as its users would write them well.

Eager, with what speeds that up: channels_last images, fused optimizers, data on the device, no
gradients where none are needed; on a GPU cudnn.benchmark, TF32 and, for bfloat16, autocast. With
`compiled`, torch.compile of each player's whole loss, where it can: it has no second derivatives.

PyTorch's strided convolutions pad alike on both sides, flax's pad one more after than before. The
same function comes out of both if one sees the images in a mirror: see `copy_params`.
"""

import copy
import itertools
import math
import time
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.workloads import Program, Workload, count_cores


class Model:
    """The two players of a workload, and what each minimises."""

    def __init__(self, workload: Workload, device: str):
        self.config = workload.config
        shape = workload.data_shape
        self.image = (shape[2], *shape[:2]) if len(shape) == 3 else None
        layers = _mlp_layers if self.config.model == "mlp" else _dcgan_layers
        self.generator, self.critic = (
            nn.Sequential(*each).to(device, memory_format=torch.channels_last)
            for each in layers(self.config, self.image, shape)
        )
        self._autocast = torch.autocast(
            device, torch.bfloat16, enabled=self.config.precision == "bfloat16"
        )

    def critic_loss(self, real, z, epsilon):
        """The critic's loss on real data and on samples from z."""
        with torch.no_grad(), self._autocast:
            fake = self.generator(z)
        fake = fake.float()
        with self._autocast:
            real_scores, fake_scores = self.critic(real).float(), self.critic(fake).float()
        if self.config.loss == "bce":
            return F.softplus(-real_scores).mean() + F.softplus(fake_scores).mean()
        loss = fake_scores.mean() - real_scores.mean()
        if self.config.loss == "wgan":
            return loss
        epsilon = epsilon.view(-1, *[1] * (real.ndim - 1))
        mixed = torch.lerp(fake, real, epsilon).requires_grad_()
        with self._autocast:
            scores = self.critic(mixed)
        (gradients,) = torch.autograd.grad(scores.float().sum(), mixed, create_graph=True)
        norms = torch.linalg.vector_norm(gradients, dim=tuple(range(1, real.ndim)))
        return loss + self.config.penalty * (norms - 1).square().mean()

    def generator_loss(self, z):
        """The generator's loss on samples from z."""
        with self._autocast:
            scores = self.critic(self.generator(z)).float()
        return (F.softplus(-scores) if self.config.loss == "bce" else -scores).mean()

    def to_data(self, x: np.ndarray) -> torch.Tensor:
        """Examples as they are here: images channels first, mirrored in both axes."""
        x = torch.from_numpy(np.ascontiguousarray(x))
        if self.image is None:
            return x
        return x.permute(0, 3, 1, 2).flip(2, 3).contiguous(memory_format=torch.channels_last)


def copy_params(module: nn.Sequential, params: dict) -> list[np.ndarray]:
    """A flax module's parameters, or their gradients, in the order and layout of this one's.

    Both count the layers of a kind in order. Images are mirrored, which turns the kernels of the
    convolutions around, but not those of the transposed ones, which scatter instead of gather.
    """
    counts, arrays = {}, []
    for layer in module:
        kind = _FLAX.get(type(layer))
        if kind is None:
            continue
        index = counts[kind] = counts.get(kind, -1) + 1
        leaves = {name: np.asarray(leaf) for name, leaf in params[f"{kind}_{index}"].items()}
        if kind == "BatchNorm":
            arrays += [leaves["scale"], leaves["bias"]]
            continue
        kernel, bias = leaves["kernel"], leaves["bias"]
        if kind == "Dense":
            kernel, bias = kernel.T, bias
            if getattr(layer, "reads", None):
                kernel = _mirror_vectors(kernel, layer.reads)
            if getattr(layer, "writes", None):
                kernel = _mirror_vectors(kernel.T, layer.writes).T
                bias = _mirror_vectors(bias[None], layer.writes)[0]
        elif kind == "Conv":
            kernel = kernel[::-1, ::-1].transpose(3, 2, 0, 1)
        else:
            kernel = kernel.transpose(2, 3, 0, 1)
        arrays += [kernel, bias]
    return arrays


def ask(model, d_params, g_params, real, d_latents, g_latents, epsilon) -> list:
    """Both players' losses, each with a list of its gradients, from flax's parameters and noise."""
    with torch.no_grad():
        for module, params in ((model.critic, d_params), (model.generator, g_params)):
            for p, array in zip(module.parameters(), copy_params(module, params), strict=True):
                p.copy_(torch.tensor(array.copy()))
    d_latents, g_latents, epsilon = map(torch.from_numpy, (d_latents, g_latents, epsilon))
    answers = []
    for loss, module in (
        (model.critic_loss(model.to_data(real), d_latents, epsilon), model.critic),
        (model.generator_loss(g_latents), model.generator),
    ):
        gradients = torch.autograd.grad(loss, list(module.parameters()))
        answers += [loss.item(), [gradient.numpy() for gradient in gradients]]
    return answers


def make_pytorch(workload: Workload, examples: np.ndarray, compiled: bool = False) -> Program:
    """A training loop on the GPU if there is one, else on all cores.

    Its memory is that of tensors: the state, and what an iteration allocates beside it.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")  # TF32, as in the convolutions by default
    else:
        torch.set_num_threads(count_cores())
    config, batch = workload.config, workload.config.batch_size
    model = Model(workload, device)
    if examples.dtype == np.uint8:
        examples = examples.astype(np.float32) / 127.5 - 1
    data = model.to_data(examples).to(device)
    g_params, d_params = list(model.generator.parameters()), list(model.critic.parameters())
    g_tx = _optimizer(config, g_params, config.g_learning_rate)
    d_tx = _optimizer(config, d_params, config.d_learning_rate)
    averaged = [t for t in model.generator.state_dict().values() if t.is_floating_point()]
    average = copy.deepcopy(averaged)
    critic_loss, generator_loss = model.critic_loss, model.generator_loss
    if compiled:
        # To time the compiler, not its cache; of that it warns.
        torch.compiler.config.force_disable_caches = True
        warnings.filterwarnings("ignore", "dynamo_pgo force disabled")
        mode = "reduce-overhead" if device == "cuda" else "default"
        critic_loss = torch.compile(critic_loss, mode=mode)
        generator_loss = torch.compile(generator_loss, mode=mode)

    def iterate():
        for _ in range(config.n_critic):
            real = data[torch.randint(len(data), (batch,), device=device)]
            z = torch.randn(batch, config.latent_dim, device=device)
            epsilon = torch.rand(batch, device=device)
            d_tx.zero_grad()
            critic_loss(real, z, epsilon).backward()
            d_tx.step()
            if config.loss == "wgan":
                with torch.no_grad():
                    torch._foreach_clamp_min_(d_params, -config.clip)
                    torch._foreach_clamp_max_(d_params, config.clip)
        model.critic.requires_grad_(False)
        g_tx.zero_grad()
        generator_loss(torch.randn(batch, config.latent_dim, device=device)).backward()
        g_tx.step()
        model.critic.requires_grad_(True)
        with torch.no_grad():
            torch._foreach_lerp_(average, averaged, 1 - config.ema_decay)

    def run(n):
        for _ in range(n):
            iterate()
        if device == "cuda":
            torch.cuda.synchronize()

    began = time.perf_counter()
    run(1)
    compile_seconds = time.perf_counter() - began if compiled else None
    state = [*model.generator.state_dict().values(), *model.critic.state_dict().values(), *average]
    for tx in (g_tx, d_tx):
        state += [t for s in tx.state.values() for t in s.values() if torch.is_tensor(t)]
    return Program(run, compile_seconds, sum(t.nbytes for t in state) + _allocated(run, device))


def _mlp_layers(config, image, shape):
    generator = _hidden(config.latent_dim, config) + [nn.Linear(config.width, math.prod(shape))]
    critic = _hidden(math.prod(shape), config) + [nn.Linear(config.width, 1), nn.Flatten(0)]
    if image:
        generator[-1].writes = critic[0].reads = image
        generator += [nn.Unflatten(1, image), nn.Tanh()]
        critic = [nn.Flatten(), *critic]
    return generator, critic


def _hidden(size, config):
    sizes = [size] + [config.width] * config.depth
    pairs = itertools.pairwise(sizes)
    return [layer for a, b in pairs for layer in (nn.Linear(a, b), nn.ReLU(inplace=True))]


def _dcgan_layers(config, image, shape):
    channels, side, _ = image
    critic, generator, width = [], [], config.width
    while side > 7:
        generator = [nn.ConvTranspose2d(width, channels, 5, 2, padding=2, output_padding=1)] + (
            [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), *generator] if generator else []
        )
        norm = [nn.BatchNorm2d(width)] if critic and config.critic_norm else []
        critic += [nn.Conv2d(channels, width, 5, 2, padding=2), *norm, nn.LeakyReLU(0.2, True)]
        channels, width, side = width, 2 * width, side // 2
    features = (channels, side, side)
    first, score = (
        nn.Linear(config.latent_dim, math.prod(features)),
        nn.Linear(math.prod(features), 1),
    )
    first.writes = score.reads = features
    start = [first, nn.Unflatten(1, features), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
    return [*start, *generator, nn.Tanh()], [*critic, nn.Flatten(), score, nn.Flatten(0)]


_FLAX = {
    nn.Linear: "Dense",
    nn.Conv2d: "Conv",
    nn.ConvTranspose2d: "ConvTranspose",
    nn.BatchNorm2d: "BatchNorm",
}


def _mirror_vectors(x, image):
    """Flattened images `[N, H·W·C]`, mirrored, to `[N, C·H·W]`."""
    c, h, w = image
    return x.reshape(-1, h, w, c)[:, ::-1, ::-1].transpose(0, 3, 1, 2).reshape(x.shape)


def _optimizer(config, params, learning_rate):
    if config.optimizer == "adam":
        return torch.optim.Adam(params, learning_rate, (config.b1, config.b2), fused=True)
    return torch.optim.RMSprop(params, learning_rate, config.b2, foreach=True)


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
