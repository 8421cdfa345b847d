"""Writes efficientnet_lite.npz: feature maps of PyTorch's EfficientNet-Lite, of published weights.

    pip install torch==2.13.0 '.[parity,pretrained]'
    python tests/goldens/make_lite.py        (torch 2.13.0, efficientnet-lite-pytorch 0.1.0)

`{encoder}_{side}`: every sixteenth channel of the map (2, h, w, 80) of `pictures(side)`.
"""

from pathlib import Path

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet

from fundus_diag.models.weights.lite_packages import weights_file

SIDES = {
    "efficientnet_lite0": (224, 161),
    "efficientnet_lite1": (240, 97),
    "efficientnet_lite2": (260, 192),
}


def pictures(side):
    """(2, side, side, 3) float32 in [0, 255]: noise that is bent by a ramp."""
    noise = np.random.default_rng(side).uniform(0, 255, (2, side, side, 3))
    return (noise * np.linspace(0.2, 1, side)[:, None]).astype("float32")


def main():
    found = {}
    for name, sides in SIDES.items():
        state = torch.load(weights_file(name), weights_only=True)
        for side in sides:
            model = EfficientNet.from_name(name.replace("_", "-"), image_size=side).eval()
            model.load_state_dict(state)
            x = torch.tensor((pictures(side) - 127) / 128).permute(0, 3, 1, 2)
            with torch.no_grad():
                maps = model.extract_features(x).permute(0, 2, 3, 1).numpy()
            found[f"{name}_{side}"] = maps[..., ::16]
    np.savez_compressed(Path(__file__).with_name("efficientnet_lite.npz"), **found)


if __name__ == "__main__":
    main()
