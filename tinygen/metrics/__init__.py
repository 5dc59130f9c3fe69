"""Measures of what models make, on arrays or tensors.

>>> float(psnr([[1.0, 0.0]], [[0.0, 0.0]]).round(2))
3.01
"""

from .frechet import frechet_distance, gaussian_frechet_distance
from .images import psnr, ssim
from .moments import temporal_iou
from .shares import Shares, corrected_shares
from .ranking import ndcg_at_k, recall_at_k
from .retrieval import retrieval_ranks, retrieval_recall
from .summaries import rouge_l
from .manifold import PrecisionRecall, SampleQuality, precision_recall
from .translation import BLEU, bleu

__all__ = [
    "Shares", "corrected_shares",
    "BLEU", "bleu",
    "ndcg_at_k", "recall_at_k", "rouge_l",
    "retrieval_ranks", "retrieval_recall",
    "PrecisionRecall", "SampleQuality",
    "frechet_distance", "gaussian_frechet_distance", "precision_recall", "psnr", "ssim",
    "temporal_iou",
]  # fmt: skip
