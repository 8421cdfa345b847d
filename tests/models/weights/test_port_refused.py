"""Checkpoints that do not fit or cannot be trusted: one line that tells all, nothing written."""

import builtins
import os
import shlex
import zipfile

import h5py
import keras
import numpy as np
import pytest
from narrow import SIZE, golden, narrow_presets

from fundus_diag.cli import main

save_file = pytest.importorskip("safetensors.numpy").save_file


@pytest.fixture(scope="module", autouse=True)
def presets():
    with narrow_presets():
        yield


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def refused(tmp_path, capsys):
    """Ports a file that must be refused; returns the complaint."""

    def run(source, encoder="mae_vit_narrow", out="a.weights.h5", status=1, **flags):
        words = ["port", source, "--encoder", encoder, "--out", tmp_path / out]
        words += [x for k, v in flags.items() for x in (f"--{k.replace('_', '-')}", v)]
        before = sorted(tmp_path.rglob("*"))
        assert main([str(x) for x in words]) == status
        assert sorted(tmp_path.rglob("*")) == before
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert "Traceback" not in lines[0]
        return lines[0]

    return run


def write(folder, state, name="source.safetensors"):
    save_file({k: np.ascontiguousarray(x) for k, x in state.items()}, folder / name)
    return folder / name


def test_all_that_is_missing_left_over_and_misshapen_is_listed(tmp_path, refused):
    _, state = golden("cvt_microsoft")
    del state["stage1.blocks.0.attn.conv_proj_k.bn.running_var"], state["stage2.cls_token"]
    state["stage3.patch_embed.proj.weight"] = np.zeros((4, 2, 3, 3), "float32")
    state["head.extra"] = np.zeros(7, "float32")
    state["stage0.patch_embed.proj.weight"] = np.zeros((8, 3, 5, 7), "float32")
    state["stage2.blocks.1.mlp.fc1.weight"] = state["stage2.blocks.1.mlp.fc1.weight"].T
    state["stage2.blocks.0.attn.conv_proj_v.conv.weight"] = np.zeros((18, 2, 3, 3), "float32")
    line = refused(write(tmp_path, state), "cvt_narrow", image_size=SIZE)
    for part in (
        "source.safetensors: does not fit --encoder cvt_narrow",
        "stage1.blocks.0.attn.conv_proj_k.bn.running_var (12,) is missing",
        "stage2.cls_token (1, 1, 18) is missing",
        "stage3.patch_embed.proj.weight (4, 2, 3, 3) is not used",
        "head.extra (7,) is not used",
        "stage0.patch_embed.proj.weight is (8, 3, 5, 7), not (8, 3, 7, 7)",
        "stage2.blocks.1.mlp.fc1.weight is (18, 72), not (72, 18)",
        "stage2.blocks.0.attn.conv_proj_v.conv.weight is (18, 2, 3, 3), not (18, 1, 3, 3)",
    ):
        assert part in line
    assert line.count(";") == 6


def test_the_parts_of_a_joint_projection_are_counted_too(tmp_path, refused):
    _, state = golden("vit_timm")
    state["blocks.0.attn.qkv.weight"] = np.zeros((72, 25), "float32")
    state["blocks.1.attn.qkv.bias"] = np.zeros(71, "float32")
    line = refused(write(tmp_path, state))
    for kind in "qkv":
        assert f"blocks.0.attn.qkv.weight ({kind}) is (24, 25), not (24, 24)" in line
        assert f"blocks.1.attn.{kind}.bias (24,) is missing" in line
    assert "blocks.1.attn.qkv.bias (71,) is not used" in line


def test_every_block_of_a_deeper_network_is_listed(tmp_path, refused):
    _, state = golden("vit_timm")
    deeper = {k.replace("blocks.2", "blocks.3"): x for k, x in state.items() if "blocks.2" in k}
    line = refused(write(tmp_path, {**state, **deeper}))
    assert [line.count(f"{name} ") for name in deeper if "qkv" not in name] == [1] * 10
    assert line.count("is not used") == 10 + 2 * 3


def changed(**arrays):
    """Puts arrays in the place of those of a state dict."""
    return lambda state: {**state, **{k.replace("__", "."): x for k, x in arrays.items()}}


NAN = np.full(24, np.nan, "float32")
UNUSABLE = {
    "NaN": (changed(norm__bias=NAN), "norm.bias holds NaN or infinity"),
    "int": (changed(norm__bias=np.arange(24)), "norm.bias is I64, not float"),
    "odd name": (changed(**{"a\x1b[2J\n": NAN}), r"'a\x1b[2J\n' (24,) is not used"),
    "no norm": (
        lambda state: {k: x for k, x in state.items() if k[:5] != "norm."},
        "norm.weight (24,) is missing",
    ),
    "no class token": (
        lambda state: {**state, "pos_embed": state["pos_embed"][:, 1:]},
        "pos_embed is (1, 16, 24), not (1, 1",
    ),
    "huge grid": (
        changed(pos_embed=np.zeros((1, 1 + 200**2, 24), "float32")),
        "pos_embed is (1, 40001, 24), not (1, 197, 24)",
    ),
    "prefix": (
        lambda state: {"module." + k: x for k, x in state.items()},
        "names of no network that is known",
    ),
    "empty": (lambda state: {}, "holds 0 arrays"),
}


@pytest.mark.parametrize(("change", "part"), UNUSABLE.values(), ids=UNUSABLE)
def test_arrays_that_cannot_be_used_are_named(tmp_path, refused, change, part):
    _, state = golden("vit_timm")
    assert part in refused(write(tmp_path, change(state)))


def test_one_array_under_two_names_is_refused(tmp_path, refused):
    _, state = golden("vit_mae_hf")
    state["layernorm.bias"] = state["vit.layernorm.bias"]
    assert "layernorm.bias (24,) is not used" in refused(write(tmp_path, state))


def test_files_that_are_no_checkpoint_are_refused(tmp_path, refused):
    _, state = golden("vit_timm")
    whole = write(tmp_path, state).read_bytes()
    for content in (b"", b"text", whole[:-5], b"\xff" * 8 + whole[8:], whole[:8] + b"{" * 5000):
        path = tmp_path / "broken.safetensors"
        path.write_bytes(content)
        assert "broken.safetensors: not a safetensors file" in refused(path)
    with path.open("r+b") as file:
        file.truncate(9 * 2**30)  # takes no room on the disk
    assert "broken.safetensors: larger than 8 GiB" in refused(path)
    assert "gone.pth: cannot be read: No such file" in refused(tmp_path / "gone.pth")
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    assert "cannot be read: Is a directory" in refused(folder)


def test_wrong_flags_are_named(tmp_path, refused):
    _, state = golden("vit_timm")
    source = write(tmp_path, state)
    line = refused(source, "cvt_narrow", status=2)
    assert "--encoder cvt_narrow" in line
    assert "timm's ViT, MAE or RETFound, for mae_vit_tiny" in line
    assert "--encoder resnet_900" in refused(source, "resnet_900", status=2)
    assert "must end in .weights.h5" in refused(source, out="a.h5", status=2)
    assert "a multiple of 16; nearest 96" in refused(source, status=2, image_size=100)
    assert "--image-size 0" in refused(source, status=2, image_size=0)
    (tmp_path / "b.weights.h5").write_bytes(b"")
    assert "not in .weights.h5" in refused(tmp_path / "b.weights.h5", status=2)
    (tmp_path / "b.h5").write_bytes(b"")
    assert "is for se_xception" in refused(tmp_path / "b.h5", status=2)
    assert "b.h5: cannot be read" in refused(tmp_path / "b.h5", "se_xception")


class Code:
    """Runs when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {shlex.quote(str(self.marker))}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_holds_code_is_refused_and_the_code_not_run(
    tmp_path, refused, torch, zipped
):
    path, marker = tmp_path / "evil.pth", tmp_path / "ran"
    torch.save({"model": {"norm.bias": torch.zeros(24)}, "args": Code(marker)}, path,
               _use_new_zipfile_serialization=zipped)  # fmt: skip
    line = refused(path)
    assert "evil.pth: refused" in line
    assert "posix.system" in line
    assert "weights_only" not in line  # PyTorch's advice is to run it
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # it would have


def test_pickles_that_hold_no_plain_arrays_are_refused(tmp_path, refused, torch):
    path = tmp_path / "odd.pth"
    zero = torch.zeros(3, 3)
    for content, part in (
        ({"norm.bias": [1.0, 2.0]}, "no arrays: norm.bias"),
        ({"model": {"norm.bias": zero}, "ema": {"norm.bias": zero}}, "unknown beside 'model': ema"),
        ({"norm.bias": zero.to_sparse()}, "it names torch.serialization._get_layout"),
        (
            {"norm.bias": torch.empty(3, device="meta")},
            "it calls torch._utils._rebuild_meta_tensor_no_storage",
        ),
        ([zero], "not a dictionary"),
        ({3: zero}, "not a dictionary"),
    ):
        torch.save(content, path)
        assert part in refused(path)
    whole = path.read_bytes()
    for broken in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(broken)
        assert "odd.pth: refused" in refused(path)
    # An expanded array is 12 bytes on disk and could be any size in memory.
    torch.save({"patch_embed.proj.bias": torch.zeros(1).expand(2**40)}, path)
    assert "no arrays: patch_embed.proj.bias" in refused(path)


def test_a_damaged_archive_and_one_that_asks_for_all_memory_are_refused(tmp_path, refused, torch):
    path = tmp_path / "bad.pth"
    torch.save({"norm.bias": torch.zeros(24)}, path)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 1] = 0  # the last entry of the archive's directory
    path.write_bytes(content)
    assert "bad.pth: refused: a damaged archive" in refused(path)
    # Protocol 2: bytearray(10 ** 14).
    path.write_bytes(b"\x80\x02c__builtin__\nbytearray\n\x8a\x06" + (10**14).to_bytes(6, "little")
                     + b"\x85R.")  # fmt: skip
    assert "bad.pth: refused" in refused(path)


def test_a_compressed_archive_is_refused(tmp_path, refused, torch):
    torch.save({"norm.bias": torch.zeros(24)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    assert "bomb.pth: refused: compressed" in refused(tmp_path / "bomb.pth")


def test_without_safetensors_the_line_says_what_to_install(tmp_path, refused, monkeypatch):
    _, state = golden("vit_timm")
    source = write(tmp_path, state)
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "safetensors":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", missing)
        line = refused(source)
    assert "pip install '.[port]' in the clone" in line


@pytest.mark.slow
def test_an_xception_that_does_not_fit_is_told_in_full(tmp_path, refused):
    keras.utils.set_random_seed(0)
    upstream = keras.applications.Xception(weights=None, include_top=False)
    path = tmp_path / "xception.h5"
    upstream.save(path)
    with h5py.File(path, "r+") as file:
        layers = file["model_weights"]
        for layer, part in (
            ("block5_sepconv1", "pointwise_kernel"),
            ("block6_sepconv1_bn", "gamma"),
        ):
            group = layers[layer]
            names = [x for x in group.attrs["weight_names"] if part not in str(x)]
            group.attrs["weight_names"] = names
        group = layers["block9_sepconv2"]
        name = next(x for x in group.attrs["weight_names"] if "pointwise" in str(x))
        del group[name]
        group[name] = np.zeros((1, 1, 728, 5), "float32")
        layers.create_group("top").attrs["weight_names"] = [b"w"]
        layers["top"]["w"] = np.zeros(3, "float32")
        layers.attrs["layer_names"] = [*map(str, layers.attrs["layer_names"]), "top"]
    line = refused(path, "se_xception", image_size=96)
    for part in (
        "block5_sepconv1/1 (1, 1, 728, 728) is missing",
        "block6_sepconv1_bn/3 (728,) is missing",
        "block9_sepconv2/1 is (1, 1, 728, 5), not (1, 1, 728, 728)",
        "top/0 (3,) is not used",
    ):
        assert part in line
