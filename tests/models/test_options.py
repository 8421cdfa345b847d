"""Options of encoders as words, and what is kept of them."""

import pytest
from small_encoders import NARROW
from tiny import make_photographs, train_only

from fundus_diag.models import build_classifier
from fundus_diag.models.options import parse_options
from fundus_diag.runs.run import load_run
from fundus_diag.utils.errors import UsageError


def test_options_are_read_from_words():
    assert parse_options("cvt_13", ["depths=1,1,4", "widths=8,16,24"]) == {
        "depths": (1, 1, 4), "widths": (8, 16, 24),
    }  # fmt: skip
    assert parse_options("mae_vit_tiny", ["patch=8"]) == {"patch": 8}
    assert parse_options("med_former", ["windows=4,2", "fusion=none"]) == {
        "windows": (4, 2), "fusion": "none",
    }  # fmt: skip
    assert parse_options("se_xception", ["se_ratio=none", "width=0.5"]) == {
        "se_ratio": None, "width": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("encoder", "word", "message"),
    [
        ("cvt_13", "depth=3", "cvt_13 has depths, widths, heads"),
        ("cvt_13", "depths=3", "such as depths=1,2,10"),
        ("cvt_13", "depths", "NAME=VALUE"),
        ("mae_vit_tiny", "patch=1e9", "such as patch=16"),
        ("mae_vit_tiny", "patch=x", "such as patch=16"),
        ("mae_vit_tiny", "depth=1.5", "such as depth=12"),
        ("mae_vit_tiny", "width=none", "such as width=192"),
        ("cvt_13", "depths=none,1,1", "such as depths=1,2,10"),
        ("med_former", "windows=.5,4", "such as windows=8,4"),
        ("mae_vit_tiny", "final_norm=true", "mae_vit_tiny has width, depth, heads, patch"),
        ("mae_vit_none", "patch=8", "unknown; there are"),
    ],
)
def test_wrong_options_are_one_line(encoder, word, message):
    with pytest.raises(UsageError, match=message):
        parse_options(encoder, [word])


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_a_run_keeps_its_options_and_its_drop_path(tmp_path):
    manifest = make_photographs(tmp_path / "photographs", patients=10)
    flags = {"encoder": "mae_vit_tiny", "image_size": 32, "drop_path": 0.1, "recipe": "mae",
             "phase2_epochs": 0, "batch_size": 8,
             "encoder_options": ("width=24", "depth=2", "patch=8")}  # fmt: skip
    assert train_only(manifest, tmp_path / "run", **flags) == 0
    model = load_run(tmp_path / "run").model
    assert model.get_layer("head_pool").input.shape[1:] == (4, 4, 24)
    assert model.get_layer("blocks.1.mlp.drop_path").rate == 0.1


def test_what_an_encoder_does_not_have_is_said(tmp_path, capsys):
    manifest = make_photographs(tmp_path / "photographs")
    for flags, expected in (
        ({"drop_path": 0.1}, "--drop-path 0.1 (given, or of --recipe scratch): --encoder tiny"),
        ({"pool": "class_token"}, "--pool class_token: --encoder tiny has none"),
    ):
        assert train_only(manifest, tmp_path / "run", **flags) == 2
        assert expected in capsys.readouterr().err.strip().splitlines()[-1]


def test_the_class_token_can_be_pooled():
    model = build_classifier("cvt_13", 64, 2, pool="class_token", **NARROW["cvt_13"])
    assert model.get_layer("head_pool").output.shape == (None, 24)
    assert model.get_layer("head_norm").output.shape == (None, 24)
