"""A run's settings, and which of them go together.

One frozen dataclass holds all of a run's settings. It is what the command line reads, what a preset
is a value of, and what `config.json` in a run's folder holds, so that the folder alone is enough
to rebuild the model.
"""

import dataclasses
import difflib
import shlex
from collections.abc import Iterable
from typing import Any

from jaxgan import augment, parallel
from jaxgan.data import TOYS, height_and_width
from jaxgan.losses.f_divergence import DIVERGENCES

ON_DIVERGENCE = ("stop", "skip")
# Choices, each with the settings that are its own.
LOSSES: dict[str, tuple[str, ...]] = {
    "bce": (),
    "minimax": (),
    "wgan": ("clip",),
    "wgan-gp": ("penalty",),
    "wgan-lp": ("penalty",),
    "wgan-div": ("k", "p"),
    "hinge": (),
    "lsgan": (),
    "f-gan": ("divergence", "direct"),
    "dragan": ("penalty",),
    "rpgan": (),
    "r3gan": (),  # rpgan with R1 and R2
    "began": ("gamma", "rate"),
}
# Those with a penalty on the slope at each example.
PENALISED = ("wgan-gp", "wgan-lp", "wgan-div", "dragan")
# Those that aim at scores above 0 for data and below for samples.
OF_SIGNS = ("bce", "minimax", "hinge", "dragan")
MODELS: dict[str, tuple[str, ...]] = {
    "auto": ("depth",),
    "mlp": ("depth",),
    "dcgan": ("critic_norm",),
    "resnet": (),
    "r3gan": (),
}
OPTIMIZERS = {"adam": ("b1", "b2"), "rmsprop": ("b2",), "sgd": ()}
# Without effect, and so in no run's config: folders of before these settings go on.
OFF: dict[str, Any] = {"r1": 0.0, "r2": 0.0, "pack": 1, "spectral_norm": False, "flip": False}
OFF |= {"augment": "none", "ada": 0.0, "channels": None, "cache_dir": None}
OFF |= {"score_every": 0, "patience": 0, "devices": 1}
PRECISIONS = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Config:
    """Train a generative adversarial network.

    Defaults, in brackets, are those of the loss, data set and model beside --help.
    """

    loss: str
    """bce, minimax, wgan, wgan-gp, wgan-lp, wgan-div, hinge, lsgan, f-gan, dragan, rpgan, r3gan or
    began."""
    dataset: str = "digits"
    """digits, ring8, grid25, swissroll, stacked_mnist, an image set of tensorflow-datasets (mnist,
    cifar10, ...), folder:PATH of images, or npy:FILE."""
    model: str = "auto"
    """mlp, dcgan, resnet (SNGAN's with --spectral-norm, else WGAN-GP's), r3gan, or auto."""
    steps: int = 20_000
    """Generator updates. Raise it to extend a run."""
    batch_size: int = 64
    """Examples in a batch, over all devices."""
    n_critic: int = 5
    """Critic updates for each, on fresh data."""
    seed: int = 0
    """Of weights, noise and the order of the data."""
    num_seeds: int = 1
    """Train so many runs, of seeds SEED, SEED + 1, ..."""
    workdir: str | None = None
    """The run's folder, or gs://BUCKET/FOLDER."""
    data_dir: str | None = None
    """Where tensorflow-datasets keeps its sets."""
    cache_dir: str | None = None
    """Where decoded images of folders are kept."""
    parallel: str = "auto"
    """jit (one device), pmap or mesh (all), or auto."""
    devices: int = 1
    """Cores that share each batch, on a CPU."""
    precision: str = "float32"
    """Of networks: float32 or bfloat16."""
    checkpoint_every: int = 5000
    """Steps between checkpoints; 0: only at the end."""
    keep_every: int = 10
    """Checkpoints to one kept for good; 0: none."""
    on_divergence: str = "stop"
    """stop at an update not finite, or skip it."""
    log_every: int = 100
    """Steps between lines of metrics."""
    sample_every: int = 1000
    """Steps between pictures; 0: only at the end."""
    score_every: int = 0
    """Steps between scores of samples; 0: no scores."""
    patience: int = 0
    """Stop after so many scores no better; 0: never."""
    latent_dim: int = 64
    """Size of the generator's normal input."""
    width: int = 256
    """Units of a layer (mlp), or channels (others)."""
    depth: int = 3
    """Hidden layers (mlp)."""
    critic_norm: bool = False
    """BatchNorm in the critic (dcgan, without a penalty)."""
    optimizer: str = "adam"
    """adam, rmsprop or sgd."""
    g_learning_rate: float = 1e-4
    """The generator's learning rate."""
    d_learning_rate: float = 1e-4
    """The critic's learning rate."""
    decay_steps: int = 0
    """Let both rates fall to a hundredth in so many."""
    b1: float = 0.5
    """Adam's decay of the first moment."""
    b2: float = 0.9
    """Decay of the second moment (adam, rmsprop)."""
    clip: float = 0.01
    """Bound on the critic's weights (wgan)."""
    penalty: float = 10.0
    """Weight of a penalty (wgan-gp, -lp, dragan)."""
    k: float = 2.0
    """Weight of the slope's power (wgan-div)."""
    p: float = 6.0
    """That power (wgan-div)."""
    divergence: str = "kl"
    """kl, reverse_kl, pearson, hellinger, js (f-gan)."""
    direct: bool = False
    """The generator lowers the divergence itself (f-gan)."""
    gamma: float = 0.5
    """Samples' error over the data's (began)."""
    rate: float = 0.001
    """How fast the balance k moves (began)."""
    r1: float = 0.0
    """γ of R1, on the critic's slope at data; 0: off."""
    r2: float = 0.0
    """γ of R2, on its slope at samples; 0: off."""
    pack: int = 1
    """Samples that the critic sees at once (PacGAN)."""
    spectral_norm: bool = False
    """Normalise the critic's kernels (SNGAN)."""
    augment: str = "none"
    """Vary images: color,translation,cutout or none."""
    ada: float = 0.0
    """ADA's target of overfitting, as 0.5; 0: always."""
    ema_decay: float = 0.999
    """Of the averaged generator; 0: no average."""
    image_size: int | str | None = None
    """Resize images to this side, or HEIGHTxWIDTH."""
    channels: int | None = None
    """1: grey, 3: colours, 4: with transparency."""
    flip: bool = False
    """Mirror half of the images, others in each epoch."""
    num_classes: int | None = None
    """Train on labels of so many classes (sub-folders)."""


def check(config: Config) -> None:
    """Raises ValueError, in one line, for the first setting that is out of its range."""
    check_choice("--loss", config.loss, LOSSES)
    check_choice("--model", config.model, MODELS)
    check_choice("--parallel", config.parallel, ("auto", *parallel.MODES))
    check_choice("--on-divergence", config.on_divergence, ON_DIVERGENCE)
    check_choice("--optimizer", config.optimizer, OPTIMIZERS)
    check_choice("--precision", config.precision, PRECISIONS)
    # The step is an int32, a key's seed a uint32; a hidden layer and a critic update of a program
    # are written out, so that very many of them would be compiled for hours.
    for name, most in {
        "steps": 2**31 - 1,
        "n_critic": 10_000,
        "num_seeds": 1000,
        "depth": 100,
        "devices": 1000,
        **dict.fromkeys(("batch_size", "log_every", "latent_dim", "width", "pack"), 2**31 - 1),
        **({} if config.num_classes is None else {"num_classes": 2**31 - 1}),
    }.items():
        _check_range(config, name, lambda v, most=most: 1 <= v <= most, f"from 1 to {most}")
    if not images_fit(config.image_size):
        raise ValueError(
            f"--image-size must be a side from 1 to {2**31 - 1}, or HEIGHTxWIDTH; got "
            f"{config.image_size}."
        )
    _check_range(config, "channels", lambda v: v in (None, 1, 3, 4), "1, 3 or 4")
    of_steps = ("checkpoint_every", "keep_every", "sample_every", "score_every", "patience")
    for name in (*of_steps, "decay_steps"):
        _check_range(config, name, lambda v: 0 <= v < 2**31, f"from 0 to {2**31 - 1}")
    last = 2**32 - config.num_seeds
    _check_range(config, "seed", lambda v: 0 <= v <= last, f"from 0 to {last}")
    # In float32, which is what they are computed in.
    for name in ("g_learning_rate", "d_learning_rate", "clip", "penalty", "k", "gamma", "rate"):
        _check_range(config, name, lambda v: 1e-37 <= v <= 1e38, "from 1e-37 to 1e38")
    for name in ("r1", "r2"):
        _check_range(config, name, lambda v: v == 0 or 1e-37 <= v <= 1e38, "0, or 1e-37 to 1e38")
    for name in ("b1", "b2", "ema_decay"):
        _check_range(config, name, lambda v: 0 <= v <= 0.9999999, "from 0 to 0.9999999")
    if "devices" not in unused(config) and config.batch_size % config.devices:
        raise ValueError(
            f"--devices={config.devices} cannot share --batch-size={config.batch_size}: choose a "
            f"multiple of {config.devices}, or --devices=1."
        )
    if config.critic_norm and config.model not in ("auto", "dcgan"):
        raise ValueError(
            f"--critic-norm goes with --model=dcgan: the critic of {config.model} has no BatchNorm."
        )
    _check_range(config, "p", lambda v: 1 < v <= 100, "above 1 and at most 100")
    _check_range(config, "gamma", lambda v: v <= 1, "at most 1")
    check_choice("--divergence", config.divergence, DIVERGENCES)
    _check_penalties(config)
    _check_augmentation(config)
    if config.loss == "began" and config.model not in ("auto", "mlp"):
        raise ValueError("--loss=began goes with --model=mlp: its critic is an autoencoder.")
    if config.loss == "began" and config.num_classes is not None:
        raise ValueError(
            f"--num-classes={config.num_classes} cannot go with --loss=began: its critic is an "
            "autoencoder, which takes no labels. Leave --num-classes out, or choose another loss."
        )
    if config.loss == "began" and config.pack > 1:
        raise ValueError(
            f"--pack={config.pack} cannot go with --loss=began: its critic makes examples again, "
            "not packs. Leave --pack out, or choose another loss."
        )


def _check_penalties(config):
    """A penalty is on each example's own gradient, of a score of its own."""
    chosen = [assign(name, getattr(config, name)) for name in ("r1", "r2") if getattr(config, name)]
    penalty = [f"--loss={config.loss}"] * (config.loss in PENALISED) + chosen
    if penalty and config.critic_norm:
        raise ValueError(
            f"--critic-norm cannot go with {penalty[0]}: the penalty is on each example's own "
            "gradient, and BatchNorm mixes the examples (Gulrajani 2017, sec. 4). Add "
            "--no-critic-norm."
        )
    if penalty and config.pack > 1:
        raise ValueError(
            f"--pack={config.pack} cannot go with {penalty[0]}: the penalty is on each example's "
            "own gradient, and a pack has one score."
        )
    if config.pack > 1 and config.num_classes is not None:
        raise ValueError(
            f"--pack={config.pack} cannot go with --num-classes: packs are of several classes."
        )
    if config.batch_size % config.pack:
        raise ValueError(f"--pack={config.pack} does not divide --batch-size={config.batch_size}.")


def _check_augmentation(config):
    names = config.augment.split(",")
    for name in names:
        check_choice("--augment", name, ("none", *augment.NAMES))
    if len(set(names)) < len(names) or ("none" in names and len(names) > 1):
        raise ValueError(
            f"--augment must be none, or some of {','.join(augment.NAMES)}, each once; got "
            f"{config.augment}."
        )
    _check_range(config, "ada", lambda v: 0 <= v <= 1, "from 0 to 1")
    if config.ada and config.num_classes is not None and config.loss not in OF_SIGNS:
        raise ValueError(
            f"--ada={config.ada} with --num-classes goes with --loss={' or '.join(OF_SIGNS)}: "
            "other losses need held-out images of the batch's classes. Leave one of them out."
        )


def check_choice(name: str, value: str, allowed: Iterable[str]) -> None:
    """Raises ValueError, naming an allowed value that is near, unless value is one of them."""
    allowed = list(allowed)
    if value not in allowed:
        near = difflib.get_close_matches(value.lower(), allowed, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"unknown {name}={value}: {meant}One of {', '.join(allowed)}.")


def images_fit(size: int | str | None) -> bool:
    """Whether it is an image size, of sides that an int32 holds."""
    try:
        return max(height_and_width(size) or (1,)) < 2**31
    except ValueError:
        return False


def unused(config: Config) -> dict[str, str]:
    """The settings without effect, each with the flags that leave it without one, in words."""
    reasons = {}
    for choice, table in (("loss", LOSSES), ("model", MODELS), ("optimizer", OPTIMIZERS)):
        chosen = getattr(config, choice)
        for name in dict.fromkeys(name for own in table.values() for name in own):
            if name not in table[chosen]:
                takers = [option for option in table if name in table[option] and option != "auto"]
                only = f"{flag(choice)}={' or '.join(takers)}"
                reasons[name] = f"{flag(choice)}={chosen}, only with {only}"
    if config.dataset in TOYS:
        of_images = ("image_size", "data_dir", "channels", "flip", "augment", "ada")
        reasons |= dict.fromkeys(of_images, f"--dataset={config.dataset}")
    elif config.augment == "none":
        reasons["ada"] = f"--augment=none, only with --augment={','.join(augment.NAMES)}"
    if config.dataset == "stacked_mnist":
        reasons["channels"] = "--dataset=stacked_mnist, which has three"
    if config.dataset in (*TOYS, "digits", "stacked_mnist") or config.dataset.startswith("npy:"):
        only = "only with folder:PATH and large sets of tensorflow-datasets"
        reasons["cache_dir"] = f"--dataset={config.dataset}, {only}"
    for kind in ("folder:PATH", "npy:FILE"):
        if config.dataset.startswith(kind.partition(":")[0] + ":"):
            reasons["data_dir"] = f"--dataset={kind}, which says where"
    if config.dataset.startswith("npy:"):
        as_it_is = "--dataset=npy:FILE, which is trained on as it is"
        reasons |= dict.fromkeys(("image_size", "channels"), as_it_is)
    if config.parallel == "jit":
        reasons["devices"] = "--parallel=jit"
    elif config.num_seeds > 1:
        reasons["devices"] = f"--num-seeds={config.num_seeds}, which share the cores by themselves"
    if not config.score_every:
        reasons["patience"] = "--score-every=0"
    if not config.checkpoint_every:
        reasons["keep_every"] = "--checkpoint-every=0"
    return reasons


def flag(name: str) -> str:
    """A setting's flag."""
    return "--" + name.replace("_", "-")


def assign(name: str, value: Any) -> str:
    """The word of a command line that gives a setting its value."""
    if isinstance(value, bool):
        return flag(name if value else f"no_{name}")
    return f"{flag(name)}={shlex.quote(str(value))}"


def _check_range(config, name, allowed, says):
    value = getattr(config, name)
    if not allowed(value):
        raise ValueError(f"{flag(name)} must be {says}; got {value}.")
