"""Training of EfficientNet-Lite with weights of ImageNet: its step beside PyTorch's, and all.

    python benchmarks/lite_step.py [--image-size 192] [--batch-size 32] [--repeats 7]

PyTorch (`pip install torch efficientnet-lite-pytorch`) trains the same network, of equal weights
and answers, channels last, as phase 1 (the head on a frozen encoder) and phase 2 (everything but
BatchNorm): AdamW, the norm of the gradient held to 1. Ours takes batches that lie ready, as
PyTorch does; then an epoch of `model.fit` with augmentation and pipeline, against that step.
"""

import argparse
import importlib.util
import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands do

import keras
import numpy as np
import tensorflow as tf
from common import in_turn, machine, ratio
from train_step import compiled

from fundus_diag.data.pictures import Pictures
from fundus_diag.data.pipeline import training_batches
from fundus_diag.runs.freeze import inference_frozen
from fundus_diag.training.classify import augmentation
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.devices import at_work
from fundus_diag.training.features import head_alone
from fundus_diag.training.losses import WeightedBinaryCrossentropy
from fundus_diag.training.phases import compile_phase
from fundus_diag.utils.mixed_precision import precision

LABELS = 8
STEPS = 12  # of an epoch that is timed


def epoch(model, name, images, y, encoder):
    """A function that fits `STEPS` steps, with augmentation and pipeline."""
    size, batch = images.shape[1], len(y)
    rows = 256
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (rows, size, size, 3), np.uint8)
    pictures = Pictures(tuple(map(str, range(rows))), size, "fundus", array)
    labels = (rng.random((rows, LABELS)) < 0.2).astype(np.float32)
    config = TrainConfig("", "", "", encoder=encoder, image_size=size).resolved()
    order = rng.integers(0, rows, batch * STEPS)
    batches = training_batches(
        pictures, np.arange(rows), labels, order, batch, augmentation(config, 1)
    )

    def run():
        with precision(name):
            model.fit(batches, epochs=1, verbose=0, shuffle=False)

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="efficientnet_lite0")
    parser.add_argument("--image-size", type=int, default=192, help="px")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    shape = (args.batch_size, args.image_size, args.image_size, 3)
    images = rng.uniform(0, 255, shape).astype(np.float32)
    y = (rng.random((args.batch_size, LABELS)) < 0.2).astype(np.float32)
    print(f"{args.encoder}, {args.image_size} px, batch {args.batch_size}, {machine()}")
    config = TrainConfig("", "", "", encoder=args.encoder, image_size=args.image_size).resolved()
    with at_work(config, None) as auto:  # what training takes
        pass
    beside = all(map(importlib.util.find_spec, ("torch", "efficientnet_lite_pytorch")))
    if not beside:
        print("PyTorch is left out: pip install torch efficientnet-lite-pytorch")
    ready = tf.constant(images), tf.constant(y)
    for phase in (1, 2):
        model = compiled(args.encoder, args.image_size, LABELS, phase, auto, "imagenet")

        ours = of_head(model, config, auto, ready) if phase == 1 else of_all(model, auto, ready)
        steps = {f"here, {auto}": ours}
        if beside:
            from torch_efficientnet_lite import step, with_weights_of

            for name in ("float32", "bfloat16"):
                upstream = with_weights_of(model, args.encoder, images[:4])
                half = name == "bfloat16"
                steps[f"PyTorch, {name}"] = step(upstream, images, y, phase, half)
        times = in_turn(steps, args.repeats)
        for name, seconds in times.items():
            each = 1000 * np.median(seconds) / args.batch_size
            print(f"phase {phase}: {name:18} {each:7.2f} ms per image")
        mine, *theirs = times.values()
        if beside:
            fastest = min(theirs, key=np.median)
            print(f"phase {phase}: here / the faster of PyTorch: {ratio(mine, fastest)}")
        if phase == 2:
            whole(model, ours, images, y, args, auto)


def of_all(model, name, ready):
    """A step of phase 2."""

    def step():
        with precision(name):
            model.train_on_batch(*ready)

    return step


def of_head(model, config, name, ready):
    """A step of phase 1 as training takes it: what the frozen encoder says, and the head on it.

    Training does the first part once for all epochs, and here it is in every step.
    """
    images, y = ready
    with precision(name):
        ask = inference_frozen(keras.Model(model.input, model.get_layer("head_pool").output))
        head = head_alone(model)
        loss = WeightedBinaryCrossentropy(np.ones(LABELS))
        compile_phase(head, 1, config, loss, steps=1000, pretrained=True)

    def step():
        with precision(name):
            head.train_on_batch(ask(images), y)

    return step


def whole(model, ours, images, y, args, auto):
    """An epoch of training against as many steps on a batch that lies ready, in turn."""

    def steps():
        for _ in range(STEPS):
            ours()

    fitted = epoch(model, auto, images, y, args.encoder)
    times = in_turn({"steps": steps, "epoch": fitted}, max(3, args.repeats // 2), warmups=1)
    speed = {name: STEPS * args.batch_size / np.median(x) for name, x in times.items()}
    print(f"pictures a second: {speed['epoch']:.1f} of training, {speed['steps']:.1f} of its step")
    print(f"training / step, pictures a second: {ratio(times['steps'], times['epoch'])}")


if __name__ == "__main__":
    main()
