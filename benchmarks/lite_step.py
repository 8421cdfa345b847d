"""Training of EfficientNet-Lite with weights of ImageNet: its step beside PyTorch's, and all.

    python benchmarks/lite_step.py [--image-size 192] [--batch-size 32] [--repeats 7]

PyTorch (`pip install torch efficientnet-lite-pytorch`) trains the same network, of equal weights
and answers, channels last, as phase 1 (the head on a frozen encoder) and phase 2 (everything but
BatchNorm): AdamW, the norm of the gradient held to 1. Ours takes batches that lie ready, as
PyTorch does; then an epoch of `model.fit` with augmentation and pipeline, against that step.
"""

import argparse

import keras
import numpy as np
import tensorflow as tf
import torch
from common import in_turn, machine, ratio
from efficientnet_lite_pytorch import EfficientNet
from torch.nn import functional
from train_step import compiled

from fundus_diag.data.pictures import Pictures
from fundus_diag.data.pipeline import training_batches
from fundus_diag.models.weights.lite_packages import weights_file
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.loop import augmentation
from fundus_diag.utils.mixed_precision import precision, resolve_precision

LABELS = 8
STEPS = 12  # of an epoch that is timed


def pytorch_model(name, keras_model):
    """Upstream's network with the classifier's logits on its pooled features."""
    model = EfficientNet.from_name(name.replace("_", "-", 1), num_classes=LABELS)
    state = torch.load(weights_file(name), weights_only=True)
    kernel, bias = keras_model.get_layer("head_logits").get_weights()
    model.load_state_dict(
        {**state, "_fc.weight": torch.from_numpy(kernel.T), "_fc.bias": torch.from_numpy(bias)}
    )
    return model.to(memory_format=torch.channels_last)


def pytorch_step(model, images, y, phase, bfloat16):
    """A function that runs one training step of a phase."""
    model.eval()  # BatchNorm as it was published, and no dropout of branches
    for part in model.modules():
        frozen = isinstance(part, torch.nn.BatchNorm2d)
        for parameter in part.parameters(recurse=False):
            parameter.requires_grad_(not frozen and (phase == 2 or part is model._fc))
    trained = [x for x in model.parameters() if x.requires_grad]
    optimizer = torch.optim.AdamW(trained, 3e-4, weight_decay=0.01)
    data = torch.from_numpy(images).permute(0, 3, 1, 2)  # channels last already
    assert data.is_contiguous(memory_format=torch.channels_last)
    truth = torch.from_numpy(y)

    def logits():
        with torch.set_grad_enabled(phase == 2):
            features = model.extract_features((data - 127) / 128).mean(dim=(2, 3))
        return model._fc(functional.dropout(features, 0.2))

    def run():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            found = logits()
        functional.binary_cross_entropy_with_logits(found.float(), truth).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    return run


def same_answers(keras_model, torch_model, images):
    with torch.no_grad():
        data = torch.from_numpy(images).permute(0, 3, 1, 2)
        theirs = torch_model.eval()((data - 127) / 128).numpy()
    ours = keras_model.predict(images, verbose=0)
    worst = np.abs(ours - theirs).max() / np.abs(theirs).max()
    print(f"largest difference of a logit: {worst:.1e} of the largest logit")
    assert worst < 1e-3


def epoch(model, name, images, y, encoder):
    """Seconds a step of `model.fit`, with augmentation and pipeline."""
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
    auto = resolve_precision("auto")
    ready = tf.constant(images), tf.constant(y)
    for phase in (1, 2):
        model = compiled(args.encoder, args.image_size, LABELS, phase, auto, "imagenet")
        upstream = pytorch_model(args.encoder, model)
        same_answers(model, upstream, images[:4])
        half = pytorch_model(args.encoder, model)

        def ours(model=model):
            with precision(auto):
                model.train_on_batch(*ready)

        steps = {
            f"here, {auto}": ours,
            "PyTorch, float32": pytorch_step(upstream, images, y, phase, False),
            "PyTorch, bfloat16": pytorch_step(half, images, y, phase, True),
        }
        times = in_turn(steps, args.repeats)
        for name, seconds in times.items():
            each = 1000 * np.median(seconds) / args.batch_size
            print(f"phase {phase}: {name:18} {each:7.2f} ms per image")
        mine, *theirs = times.values()
        fastest = min(theirs, key=np.median)
        print(f"phase {phase}: here / the faster of PyTorch: {ratio(mine, fastest)}")
        if phase == 2:
            whole(model, ours, images, y, args, auto)


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
