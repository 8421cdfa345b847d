"""Encoders by name, and the classifier on top of them."""

from fundus_diag.models.classifier import build_classifier
from fundus_diag.models.encoders import CAM_LAYERS, ENCODERS, FEATURE_MAPS, HEADS, build_encoder

__all__ = [
    "CAM_LAYERS",
    "ENCODERS",
    "FEATURE_MAPS",
    "HEADS",
    "build_classifier",
    "build_encoder",
]
