"""PNG files a person looks at: samples, curves of training, comparisons.

`save_...` writes a picture, `draw_...` gives its matplotlib figure. All work without pyplot and
without a display, and leave matplotlib's settings as they are. A path may be remote (`gs://...`):
bytes are written through etils.
"""

from jaxgan.plots.comparison import draw_comparison, save_comparison
from jaxgan.plots.curves import draw_curves, save_curves
from jaxgan.plots.grids import image_grid, png_of
from jaxgan.plots.projections import draw_projection
from jaxgan.plots.samples import (
    can_draw,
    draw_neighbours,
    draw_points,
    draw_samples_and_data,
    save_samples,
    save_samples_and_data,
)
from jaxgan.plots.style import drawn, look, png, texts

__all__ = [
    "can_draw",
    "draw_comparison",
    "draw_curves",
    "draw_neighbours",
    "draw_points",
    "draw_projection",
    "draw_samples_and_data",
    "drawn",
    "image_grid",
    "look",
    "png",
    "png_of",
    "save_comparison",
    "save_curves",
    "save_samples",
    "save_samples_and_data",
    "texts",
]
