"""Time of an epoch's training batches: random numbers by place, against those of shared states.

    python benchmarks/batches.py [--image-size 299] [--batch-size 32] [--repeats 7]

Photographs in memory, augmented as by default, with Mixup and CutMix, and with RandAugment. The
layers of Keras draw from a state of their own, so that a batch depends on which thread was first;
one thread alone made them the same each time before.
"""

import argparse
import os
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands do

import keras
import numpy as np
from common import in_turn, machine, ratio

from fundus_diag.data import augment
from fundus_diag.data.pictures import Pictures
from fundus_diag.data.pipeline import training_batches

SETTINGS = {
    "plain": {},
    "mixup, cutmix": {"mixup": 0.8, "cutmix": 1.0},
    "rand_augment": {"rand_augment": 0.1},
}


class Shared(keras.random.SeedGenerator):
    """Keras's own: a state that all threads count up."""

    def begin(self, step):
        pass


def epoch(pictures, y, batch_size, settings, shared):
    """A function that makes every batch of an epoch."""

    def run():
        with mock.patch.object(augment, "Draws", Shared if shared else augment.Draws):
            rows = np.arange(len(y))
            batches = training_batches(
                pictures, rows, y, rows, batch_size, {"seed": [0, 1], **settings}
            )
        for _ in batches:
            pass

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, default=299, help="px")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=8, help="of an epoch")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    count, side = args.batches * args.batch_size, args.image_size
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (count, side, side, 3), "uint8")
    pictures = Pictures(tuple(Path(str(i)) for i in range(count)), side, "none", array)
    y = (rng.random((count, 8)) < 0.2).astype("float32")
    print(f"{side} px, {args.batches} batches of {args.batch_size}, {machine()}")
    for name, settings in SETTINGS.items():
        sides = {
            shared: epoch(pictures, y, args.batch_size, settings, shared)
            for shared in (False, True)
        }
        times = in_turn(sides, args.repeats, warmups=1)
        each = 1000 * np.median(times[False]) / count
        print(f"{name:14} {each:6.2f} ms a picture; to shared: {ratio(times[False], times[True])}")


if __name__ == "__main__":
    main()
