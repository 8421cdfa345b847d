"""Makes the goldens of tests/test_port.py with upstream's own PyTorch code, tiny and by hand.

    pip install '.[parity]' einops
    git clone https://github.com/microsoft/CvT
    python tests/goldens/make_goldens.py CvT

Each `.npz` holds the pictures (RGB, [0, 255]), the state dict as upstream publishes it
(`state/<name>`), and what upstream computes from the pictures standardised by ImageNet's mean and
deviation: every stage and the output.

    cvt_microsoft   Microsoft's model file (QuickGELU), from the clone (MIT)
    cvt_hf          Hugging Face's CvtModel (exact GELU; its LayerNorms add 1e-5 as Microsoft's do)
    vit_timm        timm's VisionTransformer
    vit_mae_hf      Hugging Face's ViTMAEForPreTraining with nothing masked; its LayerNorms are set
                    to 1e-6, as MAE's own code has them, in place of the class's 1e-12

Weights are random and large enough that each block changes the tokens. Statistics of BatchNorm are
those of one pass in training mode: with fresh ones the signal dies, and wrong weights go unnoticed.
"""

import collections.abc
import importlib
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

HERE = Path(__file__).parent
SIZE = 64  # px
MEAN = np.array((123.675, 116.28, 103.53), np.float32)
STD = np.array((58.395, 57.12, 57.375), np.float32)
DEPTHS, WIDTHS, HEADS = (1, 2, 3), (8, 12, 18), (1, 2, 3)
MAX_BYTES = 300_000


def main(clone):
    pictures = draw()
    x = torch.from_numpy((pictures.astype(np.float32) - MEAN) / STD).permute(0, 3, 1, 2)
    cvt_microsoft(clone, pictures, x)
    cvt_hf(pictures, x)
    vit_timm(pictures, x)
    vit_mae_hf(pictures, x)


def draw():
    """Three smooth random pictures, uint8."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(0, 255, (3, 3, 6, 6)))
    fine = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear")
    return fine.permute(0, 2, 3, 1).numpy().astype(np.uint8)


def shake(model, seed):
    """Random weights: deviation 1 / sqrt(inputs) for kernels, scales about 1, shifts about 0."""
    rng = np.random.default_rng(seed)
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            fan_in = weight[0].numel() if not name.endswith(("token", "embed", "embeddings")) else 4
            value = rng.normal(0, fan_in**-0.5, weight.shape)
        elif name.endswith(".weight"):
            value = rng.uniform(0.7, 1.3, weight.shape)
        else:
            value = rng.normal(0, 0.2, weight.shape)
        weight.data = torch.from_numpy(value.astype(np.float32))


def calibrate(model, *inputs, **options):
    """Sets the statistics of BatchNorm to those of the inputs, and ends in inference mode."""
    norms = [x for x in model.modules() if isinstance(x, torch.nn.BatchNorm2d)]
    model.eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        model(*inputs, **options)
    model.eval()


def cvt_microsoft(clone, pictures, x):
    package = types.ModuleType("upstream")
    package.__path__ = [str(Path(clone) / "lib" / "models")]
    sys.modules["upstream"] = package
    # The file imports a name that PyTorch has dropped since.
    old = types.ModuleType("torch._six")
    old.container_abcs = collections.abc
    sys.modules["torch._six"] = old
    upstream = importlib.import_module("upstream.cls_cvt")
    lists = {
        "PATCH_SIZE": (7, 3, 3), "PATCH_STRIDE": (4, 2, 2), "PATCH_PADDING": (2, 1, 1),
        "DIM_EMBED": WIDTHS, "NUM_HEADS": HEADS, "DEPTH": DEPTHS, "MLP_RATIO": (4.0,) * 3,
        "QKV_BIAS": (True,) * 3, "DROP_RATE": (0.0,) * 3, "ATTN_DROP_RATE": (0.0,) * 3,
        "DROP_PATH_RATE": (0.0,) * 3, "CLS_TOKEN": (False, False, True),
        "QKV_PROJ_METHOD": ("dw_bn",) * 3, "KERNEL_QKV": (3,) * 3, "PADDING_Q": (1,) * 3,
        "PADDING_KV": (1,) * 3, "STRIDE_KV": (2,) * 3, "STRIDE_Q": (1,) * 3,
    }  # fmt: skip
    spec = types.SimpleNamespace(SPEC={"NUM_STAGES": 3, **lists}, NUM_CLASSES=2, INIT_WEIGHTS=False)
    model = upstream.get_cls_model(types.SimpleNamespace(MODEL=spec, VERBOSE=False))
    shake(model, 1)
    calibrate(model, x)
    stages, maps = [model.stage0, model.stage1, model.stage2], []
    with torch.no_grad():
        for stage in stages:
            x, token = stage(x)
            maps.append(channels_last(x))
    save("cvt_microsoft", pictures, model.state_dict(), maps, maps[-1], token=token[:, 0].numpy())


def cvt_hf(pictures, x):
    from transformers import CvtConfig, CvtForImageClassification

    config = CvtConfig(depth=DEPTHS, embed_dim=WIDTHS, num_heads=HEADS, num_labels=2)
    model = CvtForImageClassification(config)
    shake(model, 2)
    calibrate(model, x)
    with torch.no_grad():
        got = model.cvt(x, output_hidden_states=True)
    maps = [channels_last(m) for m in got.hidden_states]
    token = got.cls_token_value[:, 0].numpy()
    save("cvt_hf", pictures, published(model), maps, channels_last(got[0]), token=token)


def vit_timm(pictures, x):
    import timm

    model = timm.models.VisionTransformer(
        img_size=SIZE, embed_dim=24, depth=3, num_heads=3, num_classes=2
    )
    shake(model, 3)
    model.eval()
    tokens = []
    for block in model.blocks:
        block.register_forward_hook(lambda *call: tokens.append(call[-1].numpy()))
    with torch.no_grad():
        output = model.forward_features(x).numpy()
    save("vit_timm", pictures, model.state_dict(), tokens, output)


def vit_mae_hf(pictures, x):
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config = ViTMAEConfig(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=96,
        image_size=SIZE, decoder_hidden_size=8, decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2, decoder_intermediate_size=16,
        layer_norm_eps=1e-6, mask_ratio=0.0,
    )  # fmt: skip
    model = ViTMAEForPreTraining(config)
    shake(model, 4)
    model.eval()
    order = torch.arange((SIZE // 16) ** 2).expand(len(x), -1)  # MAE sorts the patches by noise
    with torch.no_grad():
        got = model.vit(x, noise=order, output_hidden_states=True)
    tokens = [x.numpy() for x in got.hidden_states[1:]]
    save("vit_mae_hf", pictures, published(model), tokens, got.last_hidden_state.numpy())


def channels_last(x):
    return x.permute(0, 2, 3, 1).numpy()


def published(model):
    """The state dict with the names that stand in a published file."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


def save(name, pictures, state, stages, output, **more):
    spread = np.std(output, axis=0).mean()
    assert spread > 0.1, f"{name}: the output hardly varies with the picture ({spread})"
    arrays = {f"state/{k}": np.asarray(x) for k, x in state.items()}
    arrays |= {f"stage{i}": x for i, x in enumerate(stages)}
    path = HERE / f"{name}.npz"
    np.savez_compressed(path, images=pictures, output=output, **arrays, **more)
    print(f"{path.name}: {path.stat().st_size} bytes, output spread {spread:.2f}")
    assert path.stat().st_size <= MAX_BYTES


if __name__ == "__main__":
    main(sys.argv[1])
