"""EfficientNet-Lite in PyTorch, with the weights of a Keras classifier: for timing beside it."""

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch.nn import functional

from fundus_diag.models.weights.lite_packages import weights_file


def with_weights_of(keras_model, name, images):
    """Upstream's network with weights of ImageNet and the classifier's logits, channels last.

    Args:
        keras_model: the classifier, of an encoder that nothing has changed.
        name: of the encoder.
        images: (B, S, S, 3) float32, of which both have to say the same.
    """
    kernel, bias = keras_model.get_layer("head_logits").get_weights()
    model = EfficientNet.from_name(name.replace("_", "-", 1), num_classes=len(bias))
    state = torch.load(weights_file(name), weights_only=True)
    model.load_state_dict(
        {**state, "_fc.weight": torch.from_numpy(kernel.T), "_fc.bias": torch.from_numpy(bias)}
    )
    model = model.eval().to(memory_format=torch.channels_last)
    with torch.no_grad():
        theirs = model(_pictures(images)).numpy()
    apart = np.abs(keras_model.predict(images, verbose=0) - theirs).max() / np.abs(theirs).max()
    if apart > 1e-3:
        raise SystemExit(f"logits differ by {apart:.1e} of the largest: not the same network")
    return model


def step(model, images, y, phase, bfloat16):
    """A function that runs one training step: phase 1 of the logits, phase 2 of all but BatchNorm.

    Args:
        model: of `with_weights_of`; it stays in `eval`, with BatchNorm as it was published.
        images: (B, S, S, 3) float32.
        y: (B, L) float32.
        phase: 1 or 2.
        bfloat16: whether convolutions are in bfloat16 (`torch.autocast`).
    """
    for part in model.modules():
        norm = isinstance(part, torch.nn.BatchNorm2d)
        for parameter in part.parameters(recurse=False):
            parameter.requires_grad_(not norm and (phase == 2 or part is model._fc))
    trained = [x for x in model.parameters() if x.requires_grad]
    optimizer = torch.optim.AdamW(trained, 3e-4, weight_decay=0.01)
    truth = torch.from_numpy(y)

    def run():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            with torch.set_grad_enabled(phase == 2):
                features = model.extract_features(_pictures(images)).mean(dim=(2, 3))
            logits = model._fc(functional.dropout(features, 0.2))
        functional.binary_cross_entropy_with_logits(logits.float(), truth).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    return run


def _pictures(images):
    data = torch.from_numpy(images).permute(0, 3, 1, 2)  # channels last already
    assert data.is_contiguous(memory_format=torch.channels_last)
    return (data - 127) / 128
