"""Measures of what models make, on arrays or tensors.

>>> float(psnr([[1.0, 0.0]], [[0.0, 0.0]]).round(2))
3.01
"""

from .frechet import frechet_distance, gaussian_frechet_distance
from .images import psnr, ssim
from .ranking import ndcg_at_k, recall_at_k
from .manifold import PrecisionRecall, SampleQuality, precision_recall

__all__ = [
    "ndcg_at_k", "recall_at_k",
    "PrecisionRecall", "SampleQuality",
    "frechet_distance", "gaussian_frechet_distance", "precision_recall", "psnr", "ssim",
]  # fmt: skip
