"""SE-Xception in PyTorch, with the weights of a Keras classifier: for timing beside it."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class SEXception(nn.Module):
    """The classifier of `build_classifier("se_xception", ..)`: pictures (B, 3, S, S) to logits.

    Args:
        keras_model: whose weights are taken, layer by layer, by name.
    """

    def __init__(self, keras_model):
        super().__init__()
        self.parts = nn.ModuleDict()
        for layer in keras_model.layers:
            made = _layer(layer)
            if made is not None:
                self.parts[layer.name] = made
        self.blocks = [x.name[: -len("_add")] for x in keras_model.layers if x.name[-4:] == "_add"]

    def forward(self, images):
        x = images / 127.5 - 1
        for name in ("block1_conv1", "block1_conv2"):
            x = functional.relu(self.parts[f"{name}_bn"](self.parts[name](x)))
        for name in self.blocks:
            x = self._residual(x, name)
        for name in ("block14_sepconv1", "block14_sepconv2"):
            x = functional.relu(self.parts[f"{name}_bn"](self.parts[name](x)))
        x = functional.relu(self.parts["head_dense"](x.mean(dim=(2, 3))))
        return self.parts["head_logits"](x)

    def _residual(self, x, name):
        shortcut, count = x, 0
        while f"{name}_sepconv{count + 1}" in self.parts:
            count += 1
            part = f"{name}_sepconv{count}"
            x = self.parts[f"{part}_bn"](self.parts[part](functional.relu(x)))
        if f"{name}_shortcut" in self.parts:
            x = _pool(x)
            shortcut = self.parts[f"{name}_shortcut_bn"](self.parts[f"{name}_shortcut"](shortcut))
        gate = functional.relu(self.parts[f"{name}_se_reduce"](x.mean(dim=(2, 3))))
        gate = torch.sigmoid(self.parts[f"{name}_se_expand"](gate))
        return x * gate[:, :, None, None] + shortcut


def _pool(x):
    """3 x 3 maximum at stride 2, padded as TensorFlow's "same": more below and to the right."""
    pads = []
    for n in (x.shape[3], x.shape[2]):
        total = max((-(-n // 2) - 1) * 2 + 3 - n, 0)
        pads += [total // 2, total - total // 2]
    return functional.max_pool2d(functional.pad(x, pads, value=float("-inf")), 3, 2)


def _layer(layer):
    arrays = [torch.from_numpy(np.array(x)) for x in layer.get_weights()]
    kind = type(layer).__name__
    if kind == "Conv2D":
        kernel = arrays[0].permute(3, 2, 0, 1).contiguous()
        return _conv(kernel, layer.strides[0], padding=0)
    if kind == "SeparableConv2D":
        depth = arrays[0].permute(2, 3, 0, 1).contiguous()
        point = arrays[1].permute(3, 2, 0, 1).contiguous()
        return nn.Sequential(_conv(depth, 1, padding=1, groups=len(depth)), _conv(point, 1, 0))
    if kind == "BatchNormalization":
        made = nn.BatchNorm2d(len(arrays[0]), eps=layer.epsilon)
        names = ("weight", "bias", "running_mean", "running_var")
        made.load_state_dict(dict(zip(names, arrays, strict=True)), strict=False)
        return made
    if kind == "Dense":
        made = nn.Linear(*arrays[0].shape)
        made.load_state_dict({"weight": arrays[0].T.contiguous(), "bias": arrays[1]})
        return made
    return None


def _conv(kernel, stride, padding, groups=1):
    outputs, inputs, height, width = kernel.shape
    made = nn.Conv2d(
        inputs * groups, outputs, (height, width), stride, padding, groups=groups, bias=False
    )
    made.load_state_dict({"weight": kernel})
    return made


def pytorch(keras_model, images, bfloat16=False):
    """A function without arguments to probabilities (B, L): channels last, no gradients.

    Args:
        keras_model: whose weights are taken.
        images: (B, S, S, 3) float32 array.
        bfloat16: whether products and convolutions are in bfloat16 (`torch.autocast`).
    """
    network = SEXception(keras_model).eval().to(memory_format=torch.channels_last)
    data = torch.from_numpy(images).permute(0, 3, 1, 2)  # channels last already
    assert data.is_contiguous(memory_format=torch.channels_last)

    def run():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return network(data).float().sigmoid().numpy()

    return run
