"""A folder of images, as a PyTorch user trains on it."""

import pathlib

import numpy as np
import torch
from PIL import Image, ImageOps

from benchmarks.ours import first_weights
from benchmarks.pytorch import Model, choose_device
from benchmarks.whole_runs import SIDE, epochs
from benchmarks.workloads import Workload
from jaxgan.commands.config import Config
from jaxgan.commands.presets import count_cores

SUFFIXES = (".jpg", ".jpeg", ".png")


class Pictures(torch.utils.data.Dataset):
    """The images under a folder, scaled and cut to squares `[3, SIDE, SIDE]` in [−1, 1]."""

    def __init__(self, folder: str):
        found = pathlib.Path(folder).rglob("*")
        self.files = sorted(path for path in found if path.suffix.lower() in SUFFIXES)

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        with Image.open(self.files[index]) as image:
            image = ImageOps.fit(image.convert("RGB"), (SIDE, SIDE))
        return torch.from_numpy(np.asarray(image, np.float32) / 127.5 - 1).permute(2, 0, 1)


def train(config: Config) -> dict[str, float]:
    """Images a second."""
    workload, device = Workload("folder", config, (SIDE, SIDE, 3)), choose_device()
    model = Model(workload, device)
    model.load(first_weights(workload))
    loader = torch.utils.data.DataLoader(
        Pictures(config.dataset.removeprefix("folder:")),
        config.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=count_cores(),
        persistent_workers=True,
        pin_memory=device == "cuda",
    )

    def step(real):
        real = real.to(device, memory_format=torch.channels_last)
        z = torch.randn(2, len(real), config.latent_dim, device=device)
        model.d_step(real, z[0], epsilon=None)
        model.g_step(z[1])

    def epoch():
        for real in loader:
            step(real)
        if device == "cuda":
            torch.cuda.synchronize()

    step(torch.rand(config.batch_size, 3, SIDE, SIDE))
    return epochs(epoch, len(loader) * config.batch_size)
