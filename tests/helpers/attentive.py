"""Networks whose attention and logits vary with the picture, and pictures for them."""

import functools

import keras
import numpy as np
import tensorflow as tf
from small_encoders import NARROW, shake

from fundus_diag.models import build_classifier
from fundus_diag.models.batch_norm import calibrate_batch_norm

SIZE = 64  # 4 x 4 patches of a ViT, 4 x 4 cells of CvT's last stage with 2 x 2 keys
LABELS = 3
FAMILIES = ("mae_vit_tiny", "cvt_13")
NEW = ("rollout", "chefer", "vit_cx")


def pictures():
    """(4, SIZE, SIZE, 3) smooth colours."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (4, 8, 8, 3)).astype("float32")
    return tf.image.resize(coarse, (SIZE, SIZE), "bicubic").numpy().clip(0, 255)


def as_pairs(images, mask=((1, 1), (1, 0))):
    pairs = images.reshape(2, 2, *images.shape[1:])
    return {"images": pairs, "mask": np.array(mask, "float32")}


@functools.lru_cache(maxsize=8)
def classifier(name, unit="eye", pool="mean", readable=False):
    """A classifier whose attention and logits vary with the picture; always of the same weights."""
    keras.utils.set_random_seed(0)
    options = {**NARROW[name], "readable": readable}
    model = build_classifier(name, SIZE, LABELS, unit=unit, pool=pool, **options)
    shake(model)
    sharpen(model)
    pictures = np.random.default_rng(2).uniform(0, 255, (4, SIZE, SIZE, 3)).astype("float32")
    calibrate_batch_norm(model, [pictures if unit == "eye" else as_pairs(pictures)])
    return model


def sharpen(model):
    """Larger queries and keys: with fresh weights every token attends to all others alike."""
    rng = np.random.default_rng(3)
    for layer in model.layers:
        if layer.name.rsplit(".", 1)[-1] in ("q", "k", "proj_q", "proj_k"):
            shape = layer.kernel.shape
            layer.kernel.assign(rng.normal(0, 1.5 * shape[0] ** -0.5, shape))
