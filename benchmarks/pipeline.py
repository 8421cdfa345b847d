"""What the input pipeline delivers: batches against a training step, originals against OpenCV.

    python benchmarks/pipeline.py [--image-size 299] [--photographs LARGE/*.jpg]

Batches come from pictures in memory, with the augmentation that is the default, while nothing else
works; a step of phase 1 takes batches that lie ready. Originals are read, decoded and reduced by
the pipeline of `--cache none`, with its search for the field of view and without (`--crop none`),
and by `cv2.imread` and `cv2.resize` (INTER_AREA) in a thread a core.
"""

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands do

import cv2
import keras
import numpy as np
import tensorflow as tf
from common import machine, ratio, timed
from train_step import step

from fundus_diag.data.pictures import Pictures
from fundus_diag.data.pipeline import scoring_batches, training_batches
from fundus_diag.training.classify import augmentation
from fundus_diag.training.config import TrainConfig
from fundus_diag.utils.mixed_precision import resolve_precision
from fundus_diag.utils.processes import cores

LABELS = 8
STARTING = 4  # batches, before the clock starts: the graph is made, the buffers fill
COUNTED = 40  # batches
PASSES = 4  # over the originals
AT_ONCE = 4  # photographs in a batch, so that the first one, which is not counted, is small


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="se_xception")
    parser.add_argument("--image-size", type=int, default=299, help="px")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--photographs", type=Path, nargs="*", default=[])
    args = parser.parse_args()
    print(f"{args.encoder}, {args.image_size} px, batch {args.batch_size}, {machine()}")
    batches(args)
    if args.photographs:
        originals(args)


def batches(args):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    size, rows = args.image_size, args.batch_size * (STARTING + COUNTED + 2)
    array = rng.integers(0, 256, (256, size, size, 3), np.uint8)
    pictures = Pictures(tuple(map(Path, map(str, range(256)))), size, "fundus", array)
    y = (rng.random((256, LABELS)) < 0.2).astype(np.float32)
    order = rng.integers(0, 256, rows)
    config = TrainConfig("", "", "", encoder=args.encoder, weights="none", image_size=size)
    options = augmentation(config.resolved(), 1)

    def delivered():
        """Seconds a batch."""
        made = iter(training_batches(pictures, np.arange(256), y, order, args.batch_size, options))
        for _ in range(STARTING):
            next(made)
        started = time.perf_counter()
        for _ in range(COUNTED):
            next(made)
        return (time.perf_counter() - started) / COUNTED

    images = tf.constant(array[: args.batch_size], tf.float32)
    labels = tf.constant(y[: args.batch_size])
    steps = {
        name: step(args.encoder, size, images, labels, 1, name)
        for name in dict.fromkeys(("float32", resolve_precision("auto")))
    }
    for run in steps.values():
        run(), run()
    found = {name: [] for name in ("a batch", *steps)}
    for _ in range(args.repeats):
        found["a batch"].append(delivered())
        for name, run in steps.items():
            found[name].append(np.median([timed(run) for _ in range(3)]))
    found = {name: np.array(times) for name, times in found.items()}
    for name, times in found.items():
        what = "a batch" if name == "a batch" else f"a step of phase 1, {name}"
        print(f"{what}: {1000 * np.median(times):.0f} ms")
    for name in steps:
        print(f"step of phase 1, {name} / batch: {ratio(found[name], found['a batch'])}")


def originals(args):
    size, paths = args.image_size, args.photographs * PASSES

    def package(crop):
        """Seconds a photograph, once the graph is made (4 s) and the first batch is there."""
        pictures = Pictures(tuple(paths), size, crop, None)
        made = iter(scoring_batches(pictures, np.arange(len(paths)), AT_ONCE))
        next(made)
        started = time.perf_counter()
        count = sum(len(batch) for batch in made)
        return (time.perf_counter() - started) / count

    def read(path):
        return cv2.resize(cv2.imread(str(path)), (size, size), interpolation=cv2.INTER_AREA)

    def opencv():
        started = time.perf_counter()
        with ThreadPoolExecutor(cores()) as pool:
            for _ in pool.map(read, paths):
                pass
        return (time.perf_counter() - started) / len(paths)

    readers = {
        "the package": lambda: package("fundus"),
        "the package, --crop none": lambda: package("none"),
        "OpenCV": opencv,
    }
    found = {name: [] for name in readers}
    for turn in range(args.repeats + 1):
        for name, reader in readers.items():
            seconds = reader()
            if turn:  # the first warms up
                found[name].append(seconds)
    found = {name: np.array(times) for name, times in found.items()}
    megapixels = np.median([np.prod(cv2.imread(str(x)).shape[:2]) / 1e6 for x in args.photographs])
    print(f"{len(args.photographs)} photographs, {megapixels:.1f} megapixels")
    for name, times in found.items():
        print(f"{name}: {1000 * np.median(times):.0f} ms a photograph")
    for name in list(readers)[:-1]:
        print(f"{name} / OpenCV: {ratio(found[name], found['OpenCV'])}")


if __name__ == "__main__":
    main()
