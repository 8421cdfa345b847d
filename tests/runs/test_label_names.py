"""What a table may call a label, a run may: one rule, from the table to the report."""

import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import main, make_photographs, ready_run, train_flags

from fundus_diag import load_run
from fundus_diag.data.labels import is_label
from fundus_diag.data.manifest import for_run, from_table, read_manifest
from fundus_diag.runs.run_files import read_config
from fundus_diag.runs.thresholds import check_possible
from fundus_diag.utils.errors import DataError

NAMES = (
    "AMD (wet)",
    "Œdème",
    "_x",
    "黄斑",
    "grade 2+",
    "a.b-c",
    "मोतियाबिंद",
    "R/O AMD",
    "Best's & other",
)


def renamed(folder, names):
    """The table of `make_photographs` with its labels called otherwise."""
    path = make_photographs(folder, patients=20)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.rename(columns=dict(zip("AB", names, strict=True))).to_csv(path, index=False)
    return path


@pytest.mark.slow
def test_a_run_trains_predicts_and_is_reported_with_labels_of_any_script(tmp_path):
    manifest = renamed(tmp_path / "photographs", ("R/O Best's & AMD (wet)", "黄斑"))
    run_dir = tmp_path / "run"
    flags = train_flags(manifest, run_dir, phase2_epochs=1)
    assert main(flags) == 0
    assert main([*flags, "--resume"]) == 0
    assert main(["report", str(run_dir), "--resamples", "100"]) == 0
    assert load_run(run_dir).labels == ("R/O Best's & AMD (wet)", "黄斑")
    assert set(json.loads((run_dir / "metrics_test.json").read_text())["labels"]) == {
        "R/O Best's & AMD (wet)", "黄斑",
    }  # fmt: skip
    assert "p_黄斑" in pd.read_csv(run_dir / "predictions_test.csv").columns


@pytest.mark.parametrize("name", NAMES)
def test_names_that_a_table_takes_open_a_run(tmp_path, name):
    path = tmp_path / "t.csv"
    path.write_text(f"image,patient,eye,{name},plain\na,1,,1,0\n", "utf-8")
    assert read_manifest(path).labels == (name, "plain")
    assert read_config(write_config(tmp_path, read_manifest(path).labels))["labels"][0] == name


def test_the_decomposed_form_of_a_name_is_the_run_s(tmp_path):
    """The same label typed on a Mac: what it says counts, under the name that the run has."""
    manifest = renamed(tmp_path / "photographs", ("E\u0301tat", "AMD (wet) मोतियाबिंद"))
    assert read_manifest(manifest).labels == ("\u00c9tat", "AMD (wet) मोतियाबिंद")
    ready_run(manifest, tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert run.labels == read_manifest(manifest).labels
    known = for_run(read_manifest(manifest, need_labels=False), run.labels)
    assert known.labels == run.labels


def test_a_run_of_an_older_version_keeps_a_name_that_is_not_composed():
    """The sign for angstrom was a letter and stays one; tables are read with the letter A ring."""
    rows = {"image": ["a"], "patient": ["1"], "eye": [""], "\u00c5": [1.0], "x": [0.0]}
    known = for_run(from_table(pd.DataFrame(rows)), ["x", "\u212b", "absent"])
    assert known.labels == ("x", "\u212b")
    assert known.table["\u212b"].tolist() == [1.0]
    assert is_label("\u212b")


@settings(max_examples=60, deadline=None)
@given(name=st.text(max_size=70) | st.from_regex(r"\w[\w .+()/&'-]{0,63}", fullmatch=True))
def test_a_run_refuses_the_names_that_a_table_refuses(tmp_path_factory, name):
    folder = write_config(tmp_path_factory.mktemp("run"), [name])
    if is_label(name):
        assert read_config(folder)["labels"] == [name]
        return
    with pytest.raises(DataError, match="labels.0: not the name of a label"):
        read_config(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 10**9}, "image_size: "),
        ({"image_size": True}, "image_size: "),
        ({"unit": "person"}, "unit: "),
        ({"labels": ["A", "A"]}, "labels: a label stands twice"),
        ({"labels": []}, "labels: "),
        ({"pretrained": 1}, "pretrained: "),
        ({"data": {"splits": {}}}, "data.splits.train: field required"),
    ],
)
def test_a_config_that_no_run_writes_is_one_line(tmp_path, change, message):
    folder = write_config(tmp_path, ["A", "B"])
    config = json.loads((folder / "config.json").read_text())
    assert read_config(folder) == config
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(DataError, match=f"config.json: {message}") as caught:
        read_config(folder)
    assert "\n" not in str(caught.value)


def test_a_count_of_any_split_is_a_count(tmp_path):
    folder = write_config(tmp_path, ["A"])
    config = json.loads((folder / "config.json").read_text())
    train = config["data"]["splits"]["train"]
    for wrong in ({"rows": -1}, {"positives": {"A": 1.5}}, {"patients": None}):
        config["data"]["splits"]["val"] = train | wrong
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(DataError, match=f"data.splits.val.{next(iter(wrong))}"):
            read_config(folder)


def test_what_could_not_be_written_at_the_end_is_said_before_a_training(tmp_path):
    check_possible("thresholds.json", NAMES, "sensitivity=0.9")
    for labels, criterion in ((["a\nb"], "f1"), (["A"], "best"), ([], "f1")):
        with pytest.raises(DataError, match="thresholds.json: "):
            check_possible("thresholds.json", labels, criterion)


def write_config(folder, labels):
    config = {
        "encoder": "tiny", "image_size": 32, "unit": "eye", "task": "multi_label",
        "labels": list(labels), "pretrained": False, "weights": "none", "flags": {}, "versions": {},
        "data": {"splits": {"train": {
            "positives": {}, "negatives": {}, "ungraded": {}, "rows": 1, "patients": 1,
        }}}, "finished": "today",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder
