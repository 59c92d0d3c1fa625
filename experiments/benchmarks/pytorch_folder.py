"""A folder of images, as a PyTorch user reads it."""

import pathlib

import numpy as np
import torch
from PIL import Image, ImageOps


class Pictures(torch.utils.data.Dataset):
    """Every image under a folder, scaled and cut to a square `[3, side, side]` in [−1, 1]."""

    def __init__(self, folder: str, side: int):
        self.files = sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file())
        self.side = side

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        with Image.open(self.files[index]) as image:
            image = ImageOps.fit(image.convert("RGB"), (self.side, self.side))
        return torch.from_numpy(np.asarray(image, np.float32) / 127.5 - 1).permute(2, 0, 1)
