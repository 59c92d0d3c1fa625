"""Latents: paths between them, grids of them, and those whose samples are nearest to images.

run = jaxgan.load("runs/digits-wgan-0")
found = jaxgan.latents.project(run, images, key=jax.random.key(0))
frames = run.generate(jaxgan.latents.path(found.latents, 10))
"""

from jaxgan.latents.paths import class_grid, path, spherical_interpolation
from jaxgan.latents.projection import Projection, project
from jaxgan.noise import truncate

__all__ = ["Projection", "class_grid", "path", "project", "spherical_interpolation", "truncate"]
