"""Plans are read whole and refused in a line, before anything trains."""

from pathlib import Path

import pytest

from fundus_diag.training.plan import PLANS, find_plan, read_plan
from fundus_diag.utils.errors import DataError, UsageError

PLAN = """
title = "One against the other"
baseline = "b"
split = "test"
seeds = [3, 1]
manifest = "tables/odir.csv"
image_root = "/photographs"

[flags]
encoder = "efficientnet_lite0"
image-size = 64
phase2_epochs = 2
encoder_options = ["depth=0.5"]

[variants."a"]
"--phase1-epochs" = 0
note = "at once"
[variants."b"]
image_size = 96
seeds = [7]
train_share = 0.25
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "my_plan.toml"
        path.write_text(text, "utf-8")
        return path

    return write


def test_flags_of_all_are_those_of_a_variant_but_for_its_own(written):
    plan = read_plan(written(PLAN))
    assert (plan.title, plan.baseline, plan.split) == ("One against the other", "b", "test")
    assert plan.manifest == plan.path.parent / "tables" / "odir.csv"
    assert plan.image_root == Path("/photographs")
    a, b = plan.variants
    common = {"encoder": "efficientnet_lite0", "phase2_epochs": 2}
    common["encoder_options"] = ("depth=0.5",)
    assert a.flags == {**common, "image_size": 64, "phase1_epochs": 0}
    assert b.flags == {**common, "image_size": 96}
    assert (a.name, a.seeds, a.train_share, a.note) == ("a", (3, 1), 1.0, "at once")
    assert (b.name, b.seeds, b.train_share, b.note) == ("b", (7,), 0.25, "")


def test_the_command_line_says_more_than_the_file(written):
    plan = read_plan(written(PLAN), "x.csv", "y", seeds=[5], split="val")
    assert (plan.manifest, plan.image_root, plan.split) == (Path("x.csv"), Path("y"), "val")
    assert [x.seeds for x in plan.variants] == [(5,), (5,)]


def test_what_is_not_said_has_defaults(written):
    plan = read_plan(written('[variants.one]\nencoder = "cvt_13"\n'), "x.csv", "y")
    assert (plan.title, plan.split, plan.baseline) == ("my plan", "val", "one")
    assert plan.variants[0].seeds == (0,)
    with pytest.raises(UsageError, match="my_plan.toml names no manifest: --manifest$"):
        read_plan(plan.path, image_root="y")
    with pytest.raises(UsageError, match="names no image_root: --image-root$"):
        read_plan(plan.path, "x.csv")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("image_size = 96", "image_siz = 96", "variant b: image_siz is no flag"),
        ("image_size = 96", "run_dir = 'x'", "variant b: run_dir is not a plan's to say"),
        ("image_size = 96", "seed = 3", "variant b: seed is not a plan's to say"),
        ("image_size = 96", "image_size = '96'", "variant b: flag image_size: "),
        ("image_size = 96", "image_size = 2.5", "variant b: flag image_size: "),
        ("image_size = 96", "image_size = 9", "variant b: --image-size 9: must lie from 16"),
        ("image_size = 96", "image_size = 1979-05-27", "variant b: image_size: not a number"),
        ("image_size = 96", "augment = 1", "variant b: flag augment: "),
        ("image_size = 96", "schedule = 'line'", "variant b: flag schedule: "),
        ("image_size = 96", "encoder = 'resnet51'", "variant b: --encoder resnet51: unknown"),
        ("image_size = 96", "dropout = nan", "variant b: "),
        ("image_size = 96", "weights = 'pretrained'", "variant b: weights: there is no [pretrain]"),
        ('"depth=0.5"', '"dept=0.5"', "variant a: --encoder-options dept=0.5: "),
        ("image_size = 96", "image_size = 96\nimage-size = 96", "image_size stands twice"),
        ('[variants."b"]', '[variants."a"]', "not TOML: Cannot declare"),
        ("seeds = [3, 1]", "seeds = [3, 'x']", "seeds [3, 'x']: a list of whole numbers"),
        ("seeds = [3, 1]", "seeds = [3, -1]", "seeds [3, -1]: a list of whole numbers"),
        ("seeds = [3, 1]", "seeds = [true]", "seeds [True]: a list of whole numbers"),
        ("seeds = [3, 1]", "seeds = 3", "seeds 3: a list of whole numbers"),
        ("seeds = [3, 1]", "seeds = []", "seeds []: a list of whole numbers"),
        ("seeds = [3, 1]", "seeds = [3, 3]", "seeds [3, 3]: one of them stands twice"),
        ("seeds = [7]", "seeds = [2.5]", "variant b: seeds [2.5]: a list of whole numbers"),
        ("train_share = 0.25", "train_share = 0", "variant b: train_share 0: above 0"),
        ("train_share = 0.25", "train_share = '.5'", "variant b: train_share '.5': above 0"),
        ("train_share = 0.25", "against = 'c'", "variant b: against: no variant of that name"),
        ("train_share = 0.25", "against = 3", "the rest texts"),
        ("train_share = 0.25", "split_eyes_on_purpose = 1", "split_eyes_on_purpose is true"),
        ('baseline = "b"', 'baseline = "c"', "baseline 'c' is no variant"),
        ('baseline = "b"', "baseline = 3", "baseline is no text"),
        ('title = "One', 'titel = "x"\ntitle = "One', "titel: a plan has title, baseline"),
        ("[flags]", "[[flags]]", "[flags] is no table"),
        ("title", "\x00", "not TOML: "),
    ],
)
def test_what_is_wrong_is_said_in_a_line_that_names_the_file_and_the_variant(
    written, old, new, said
):
    assert PLAN.count(old) == 1
    path = written(PLAN.replace(old, new))
    with pytest.raises(DataError) as caught:
        read_plan(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_plans_are_refused(tmp_path):
    path = tmp_path / "x.toml"
    for content in (b"\xff\xfe", b"a" * 2_000_000, b"", b"[variants]\n", b"a = " + b"[" * 9999):
        path.write_bytes(content)
        with pytest.raises(DataError, match="x.toml: (not TOML|larger|no .variants.)"):
            read_plan(path, "a", "b")
    with pytest.raises(DataError, match="^nowhere: no such file; plans that come along: balance, "):
        find_plan("nowhere")
    assert find_plan(str(path)) == path


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.toml")), ids=lambda x: x.stem)
def test_plans_that_come_along_can_be_read(path):
    plan = read_plan(find_plan(path.stem), "a.csv", "b")
    assert plan.path == path
    assert plan.baseline in [x.name for x in plan.variants]
    assert len(plan.title) > 10


def test_a_tenth_of_the_labels_is_held_against_a_tenth():
    plan = read_plan(PLANS / "pretraining.toml", "a.csv", "b")
    assert [x.against for x in plan.variants] == ["", "", "", plan.variants[2].name]


def test_balance_has_every_way_of_raising_rare_labels():
    plan = read_plan(PLANS / "balance.toml", "a.csv", "b")
    found = [(x.flags.get("oversample_to"), x.flags.get("pos_weight")) for x in plan.variants]
    assert found == [(0, "none"), (None, "none"), (0, None), (None, "multiplied"), (None, None)]
