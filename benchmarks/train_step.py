"""Time of a training step: reduced precision against float32, phase 1 against phase 2.

    python benchmarks/train_step.py [--image-size 299] [--batch-size 16] [--repeats 7]
    python benchmarks/train_step.py --network unet --encoder efficientnet_lite0 --image-size 256 \
        --batch-size 8

SE-Xception from scratch (BatchNorm trains in phase 2), random pictures: the arithmetic does not
care what they show. With --throughout also bfloat16 as TensorFlow would have it, convolutions of
single channels too. With --network a segmenter of four classes.
"""

import argparse
import os
from unittest import mock

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands do

import keras
import numpy as np
import tensorflow as tf
from common import in_turn, machine, ratio

from fundus_diag.models import build_classifier
from fundus_diag.models.segmenter import NETWORKS, build_segmenter
from fundus_diag.models.weights.load import load_encoder
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.losses import OverlapCrossentropy, WeightedBinaryCrossentropy
from fundus_diag.training.phases import compile_phase
from fundus_diag.utils import mixed_precision
from fundus_diag.utils.mixed_precision import precision, resolve_precision

THROUGHOUT = "bfloat16 throughout"


def compiled(encoder, size, labels, phase, name, weights="none", network=None):
    """A classifier, or a segmenter, compiled for a phase under a precision."""
    config = TrainConfig("", "", "", encoder=encoder, weights=weights, image_size=size).resolved()
    with precision(name):
        start, pretrained = load_encoder(encoder, size, weights)
        if network:
            model = build_segmenter(network, encoder, size, labels, weights=start)
            loss = OverlapCrossentropy()
        else:
            model = build_classifier(encoder, size, labels, weights=start, dropout=config.dropout)
            loss = WeightedBinaryCrossentropy(np.ones(labels))
        compile_phase(model, phase, config, loss, steps=1000, pretrained=pretrained)
    return model


def step(encoder, size, images, y, phase, name, network=None):
    """A function that runs one training step of a phase under a precision."""
    left_alone = "" if name == THROUGHOUT else mixed_precision.DEPTHWISE
    name = name.split()[0]
    model = compiled(encoder, size, y.shape[-1], phase, name, network=network)

    def run():
        with mock.patch.object(mixed_precision, "DEPTHWISE", left_alone), precision(name):
            model.train_on_batch(images, y)

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="se_xception")
    parser.add_argument("--network", choices=NETWORKS, help="a segmenter of it")
    parser.add_argument("--image-size", type=int, default=299, help="px")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--throughout", action="store_true")
    args = parser.parse_args()
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    shape = (args.batch_size, args.image_size, args.image_size, 3)
    images = tf.constant(rng.uniform(0, 255, shape), tf.float32)
    outputs = (*shape[:3], 4) if args.network else (args.batch_size, 8)
    y = tf.constant(rng.random(outputs) < 0.2, tf.float32)
    auto = resolve_precision("auto")
    names = dict.fromkeys(("float32", auto, *([THROUGHOUT] if args.throughout else [])))
    steps = {
        f"phase {phase}, {name}": step(
            args.encoder, args.image_size, images, y, phase, name, args.network
        )
        for name in names
        for phase in (1, 2)
    }
    times = in_turn(steps, args.repeats)
    print(f"{args.encoder}, {args.image_size} px, batch {args.batch_size}, {machine()}")
    for name, seconds in times.items():
        print(f"{name:28} {1000 * np.median(seconds) / args.batch_size:7.1f} ms per image")
    full = times["phase 2, float32"]
    for name in (x for x in names if x != "float32"):
        print(f"phase 2, {name} / float32: {ratio(times[f'phase 2, {name}'], full)}")
    for name in names:
        parts = times[f"phase 1, {name}"], times[f"phase 2, {name}"]
        print(f"phase 1 / phase 2, {name}: {ratio(*parts)}")


if __name__ == "__main__":
    main()
