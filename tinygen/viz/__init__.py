"""Pictures of what a model makes and of how its training went.

Importing this package loads neither Pillow nor matplotlib; image grids work without both.
"""

from tinygen.viz.curves import plot_curves
from tinygen.viz.grid import image_grid, save_grid, save_image, save_jpeg
from tinygen.viz.panels import save_panels

__all__ = ["image_grid", "plot_curves", "save_grid", "save_image", "save_jpeg", "save_panels"]
