"""A run's progress as a GIF, made of its pictures."""

import io

import numpy as np
from etils import epath
from PIL import Image, ImageDraw, ImageFont

from jaxgan.commands import settings
from jaxgan.training.pictures import saved_samples

GIF_FRAMES, GIF_MILLISECONDS, GIF_LAST_MILLISECONDS = 60, 6000, 2000


def make_gif(folder: epath.Path) -> bytes:
    """The pictures of a run's samples one after another, the last one longer.

    Raises:
      ValueError: if the folder holds no run, or no pictures yet.
    """
    settings.of_run(folder)
    pictures = saved_samples(folder)
    if not pictures:
        raise ValueError(f"{folder} has no pictures of samples yet")
    chosen = np.unique(np.linspace(0, len(pictures) - 1, GIF_FRAMES).round().astype(int))
    frames = [
        add_caption(path.read_bytes(), f"step {step:,}")
        for step, path in (pictures[i] for i in chosen)
    ]
    each = min(500, max(40, GIF_MILLISECONDS // len(frames)))
    durations = [each] * (len(frames) - 1) + [GIF_LAST_MILLISECONDS]
    file = io.BytesIO()
    frames[0].save(
        file, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0
    )
    return file.getvalue()


def add_caption(png: bytes, text: str) -> Image.Image:
    """The picture with a line of text under it."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    font = ImageFont.load_default(size=max(12, picture.height // 30))
    margin = 4
    height = round(font.getbbox("step 0,")[3]) + 2 * margin
    framed = Image.new("RGB", (picture.width, picture.height + height), "white")
    framed.paste(picture)
    ImageDraw.Draw(framed).text((margin, picture.height + margin), text, fill="black", font=font)
    return framed
