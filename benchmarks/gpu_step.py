"""Training steps of SE-Xception on JAX beside the same network in PyTorch, on one GPU.

    python benchmarks/gpu_step.py [--image-size 299] [--batch-size 32] [--repeats 5]

Needs JAX and Keras alone: TensorFlow, which reads pictures, is not imported. Phase 1 is the head on
a frozen encoder, phase 2 everything but BatchNorm, both in mixed bfloat16 (float32 where there is
no GPU), on a batch that lies on the device; PyTorch, where it is installed, has the same weights,
channels last, autocast and `torch.compile`. Both sides do `--steps` steps in turn.
"""

import argparse
import importlib.util
import os
from types import SimpleNamespace

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np
from common import in_turn, machine, ratio

from fundus_diag.models import build_classifier
from fundus_diag.training.losses import WeightedBinaryCrossentropy
from fundus_diag.training.phases import compile_phase

LABELS = 8
# What `train` asks of SE-Xception with weights of ImageNet.
CONFIG = SimpleNamespace(
    unfreeze_from=None,
    **{"phase1_rate": 1e-3, "phase2_rate": 1e-4, "phase1_epochs": 5, "phase2_epochs": 20},
    **{"warmup": 0.0, "schedule": "cosine", "final_rate": 0.01, "layer_decay": 1.0},
    **{"weight_decay": 0.0, "clip_norm": 1.0, "ema": 0.0},
)


def ours(model, phase, images, y, steps):
    """A function that fits so many steps, as `train` does."""
    loss = WeightedBinaryCrossentropy(np.ones(LABELS))
    compile_phase(model, phase, CONFIG, loss, steps=1000, pretrained=True)
    ready = jax.device_put(images), jax.device_put(y)

    def batches():
        while True:
            yield ready

    def run():
        model.fit(batches(), steps_per_epoch=steps, shuffle=False, verbose=0)

    return run


def theirs(network, phase, images, y, steps, device):
    """The same steps of PyTorch."""
    import torch
    from torch import nn

    half = device == "cuda"
    network = network.to(device, memory_format=torch.channels_last).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.requires_grad_(False)
    for name, value in network.named_parameters():
        if phase == 1:
            value.requires_grad_("head_" in name)
    weights = [x for x in network.parameters() if x.requires_grad]
    optimizer = torch.optim.AdamW(weights, 1e-4, fused=half)
    compiled = torch.compile(network)
    data = torch.from_numpy(images).permute(0, 3, 1, 2).to(device)
    target = torch.from_numpy(y).to(device)

    def run():
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.bfloat16, enabled=half):
                logits = compiled(data)
            loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), target)
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
        loss.item()  # waits for the device

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="se_xception")
    parser.add_argument("--image-size", type=int, default=299, help="px")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    kind = jax.default_backend()
    where = jax.devices()[0].device_kind if kind == "gpu" else machine()
    policy = "mixed_bfloat16" if kind == "gpu" else "float32"
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    shape = (args.batch_size, args.image_size, args.image_size, 3)
    images = rng.uniform(0, 255, shape).astype(np.float32)
    y = (rng.random((args.batch_size, LABELS)) < 0.2).astype(np.float32)
    print(f"{args.encoder}, {args.image_size} px, batch {args.batch_size}, {policy}, {where}")
    beside = importlib.util.find_spec("torch") is not None
    if not beside:
        print("PyTorch is left out: pip install torch")
    for phase in (1, 2):
        model = build_classifier(args.encoder, args.image_size, LABELS, dropout=0.0)
        steps = {"JAX": ours(model, phase, images, y, args.steps)}
        if beside:
            from torch_se_xception import SEXception

            network, device = SEXception(model), "cuda" if kind == "gpu" else "cpu"
            steps["PyTorch"] = theirs(network, phase, images, y, args.steps, device)
        times = in_turn(steps, args.repeats)
        for name, seconds in times.items():
            speed = args.steps * args.batch_size / np.median(seconds)
            print(f"phase {phase}: {name:8} {speed:8.1f} pictures a second", flush=True)
        if beside:
            print(f"phase {phase}: JAX / PyTorch, time: {ratio(times['JAX'], times['PyTorch'])}")


if __name__ == "__main__":
    main()
