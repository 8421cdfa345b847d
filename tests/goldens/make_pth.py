"""Writes checkpoint.pth and checkpoint_older.pth with PyTorch, and checkpoint.npz of their arrays.

python tests/goldens/make_pth.py        (torch 2.13.0)
"""

import argparse
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent


def weights():
    """Every type of number that is read, and tensors that share what is stored."""
    torch.manual_seed(0)
    shared = torch.randn(5, 6)
    found = OrderedDict(
        conv=torch.randn(4, 3, 3, 3),
        part=shared[1:3, ::2],
        turned=shared.t(),
        whole=shared,
        parameter=torch.nn.Parameter(torch.randn(7)),
        one=torch.tensor(3.5),
        none=torch.zeros(0, 4),
        last=torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
    )
    types = "float64 float16 bfloat16 int64 int32 int16 int8 uint8".split()
    for name in types:
        found[name] = torch.arange(-3, 4).to(getattr(torch, name))
    found["bool"] = torch.tensor([True, False, True])
    return found


def main():
    content = {
        "model": weights(),
        "epoch": 7,
        "args": argparse.Namespace(lr=1.5e-3, name="größe", sizes=[1, 2], pair=(1, None), no=False),
        "optimizer": {"state": {0: {"step": 3, "exp_avg": torch.randn(4)}}, "param_groups": []},
        "scaler": {"scale": 65536.0, "big": 2**70},
    }
    torch.save(content, HERE / "checkpoint.pth")
    torch.save(content, HERE / "checkpoint_older.pth", _use_new_zipfile_serialization=False)
    arrays = {}
    for name, tensor in content["model"].items():
        tensor = tensor.detach()
        arrays[name] = (tensor.float() if name == "bfloat16" else tensor).numpy()
    np.savez_compressed(HERE / "checkpoint.npz", **arrays)


if __name__ == "__main__":
    main()
