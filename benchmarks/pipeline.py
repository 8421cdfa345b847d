"""What the input pipeline delivers: batches against a training step, originals against OpenCV.

    python benchmarks/pipeline.py [--image-size 299] [--photographs LARGE/*.jpg]

Batches come from pictures in memory, with the augmentation that is the default, while nothing else
works; a step of phase 1 takes batches that lie ready. Originals are read, decoded and reduced by a
thread a core, by the package, with its search for the field of view and without (`--crop none`),
and by `cv2.imread` and `cv2.resize` (INTER_AREA, which reads every pixel as the package does).
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf
from common import in_turn, machine, ratio, timed
from train_step import step

from fundus_diag.data.pictures import Pictures
from fundus_diag.data.pipeline import training_batches
from fundus_diag.imaging.preprocess import load_picture
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.loop import augmentation
from fundus_diag.utils.mixed_precision import resolve_precision
from fundus_diag.utils.processes import cores

LABELS = 8
STARTING = 4  # batches, before the clock starts: the graph is made, the buffers fill
COUNTED = 40  # batches


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
    size = args.image_size
    readers = {
        "the package": lambda path: load_picture(path, size),
        "the package, --crop none": lambda path: load_picture(path, size, "none"),
        "OpenCV": lambda path: cv2.resize(
            cv2.imread(str(path)), (size, size), interpolation=cv2.INTER_AREA
        ),
    }

    def all_of(read):
        with ThreadPoolExecutor(cores()) as pool:
            for _ in pool.map(read, args.photographs):
                pass

    found = in_turn(
        {name: lambda read=read: all_of(read) for name, read in readers.items()}, args.repeats, 1
    )
    megapixels = np.median([np.prod(cv2.imread(str(x)).shape[:2]) / 1e6 for x in args.photographs])
    print(f"{len(args.photographs)} photographs, {megapixels:.1f} megapixels")
    for name, times in found.items():
        print(f"{name}: {1000 * np.median(times) / len(args.photographs):.0f} ms a photograph")
    for name in list(readers)[:-1]:
        print(f"{name} / OpenCV: {ratio(found[name], found['OpenCV'])}")


if __name__ == "__main__":
    main()
