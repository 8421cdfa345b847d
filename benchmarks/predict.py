"""Time of a prediction: the fast path (`predict --precision auto`) against `model.predict`.

python benchmarks/predict.py [--image-size 299] [--batch-size 16] [--repeats 15]
"""

import argparse
import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands do

import keras
import numpy as np
import tensorflow as tf
from common import in_turn, machine, ratio

from fundus_diag.models import build_classifier
from fundus_diag.models.batch_norm import calibrate_batch_norm
from fundus_diag.runs.freeze import fast_logits
from fundus_diag.utils.mixed_precision import resolve_precision


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="se_xception")
    parser.add_argument("--image-size", type=int, default=299, help="px")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    shape = (args.batch_size, args.image_size, args.image_size, 3)
    images = tf.constant(rng.uniform(0, 255, shape), tf.float32)
    model = build_classifier(args.encoder, args.image_size, 8)
    calibrate_batch_norm(model, [images])
    fast = fast_logits(model, "auto")
    outputs = {}

    def plain():
        outputs["plain"] = model.predict(images, batch_size=args.batch_size, verbose=0)

    def quick():
        outputs["fast"] = fast(images).numpy()

    times = in_turn({"plain": plain, "fast": quick}, args.repeats, warmups=3)
    print(f"{args.encoder}, {args.image_size} px, batch {args.batch_size}, {machine()}")
    for name, seconds in times.items():
        print(f"{name:6} {1000 * np.median(seconds) / args.batch_size:7.1f} ms per image")
    print(f"fast ({resolve_precision('auto')}) / plain: {ratio(times['fast'], times['plain'])}")
    apart = np.abs(outputs["fast"] - outputs["plain"]).max() / np.abs(outputs["plain"]).max()
    print(f"largest difference of a logit, over the largest logit: {apart:.4f}")


if __name__ == "__main__":
    main()
