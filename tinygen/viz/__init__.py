"""Pictures of what a model makes and of how its training went.

Importing this package loads neither Pillow nor matplotlib; image grids work without both.
"""

from tinygen.viz.attention import draw_attention
from tinygen.viz.curves import plot_curves
from tinygen.viz.grid import image_grid, save_grid, save_image, save_jpeg
from tinygen.viz.panels import overlay_attention, save_panels

__all__ = [
    "draw_attention", "image_grid", "overlay_attention", "plot_curves", "save_grid",
    "save_image", "save_jpeg", "save_panels",
]  # fmt: skip
