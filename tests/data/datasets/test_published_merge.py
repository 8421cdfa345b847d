"""Tables of data sets that grade different labels, as one, and what a training makes of it."""

import json

import numpy as np
import pandas as pd
import pytest
from published import text, tree
from tiny import make_photographs, train_only

from fundus_diag.cli import main
from fundus_diag.data.datasets.build import build
from fundus_diag.data.labels import LABELS
from fundus_diag.data.manifest import check_trainable, read_manifest
from fundus_diag.data.merge import merge
from fundus_diag.data.splits import split
from fundus_diag.runs.run_files import read_history
from fundus_diag.utils.errors import DataError

IDRID = "B. Disease Grading"
FOLDER = f"{IDRID}/1. Original Images/a. Training Set"


def three_sets(root):
    """idrid (20 eyes, four of each grade), airogs_light (16, half RG), fives (16)."""
    tree(root / "idrid", *(f"{FOLDER}/IDRiD_{k:03}.jpg" for k in range(20)))
    table = "Image name,Retinopathy grade,Risk of macular edema ,,\n"
    table += "".join(f"IDRiD_{k:03},{k % 5},0,,\n" for k in range(20))
    path = f"{IDRID}/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv"
    text(root / "idrid" / path, table)
    classes = [(k, "RG" if k % 2 else "NRG") for k in range(16)]
    tree(root / "airogs", *(f"train/{name}/{k}.jpg" for k, name in classes))
    tree(root / "fives", *(f"train/Original/{k}_{'ADGN'[k % 4]}.png" for k in range(16)))
    made = []
    for name, folder in (("idrid", "idrid"), ("airogs_light", "airogs"), ("fives", "fives")):
        out = root / f"{folder}.csv"
        build(name, root / folder, out, labels="odir", image_root=root)
        made.append(out)
    return made


def test_what_a_set_does_not_grade_stays_empty(tmp_path):
    tables = three_sets(tmp_path)
    merged = merge(tables, tmp_path / "all.csv", drop_splits=True)
    assert merged["notes"][0] == "no row is graded for C, H, M, O: left out"
    assert merged["labels"] == ["N", "D", "G", "A"]
    table = pd.read_csv(tmp_path / "all.csv", dtype=str, keep_default_na=False)
    by_set = {name: part for name, part in table.groupby("dataset")}
    graded = {name: [x for x in LABELS[:5] if x in part and (part[x] != "").any()]
              for name, part in by_set.items()}  # fmt: skip
    assert graded == {"idrid": ["D"], "airogs_light": ["G"], "fives": ["N", "D", "G", "A"]}
    assert all((part[x] != "").all() for name, part in by_set.items() for x in graded[name])
    counts = {x: (table[x] == "1").sum() for x in ("N", "D", "G", "A")}
    assert counts == {"N": 4, "D": 16 + 4, "G": 8 + 4, "A": 4}
    with pytest.raises(DataError, match="rows without a split"):
        check_trainable(read_manifest(tmp_path / "all.csv"))
    split(tmp_path / "all.csv", tmp_path / "split.csv", (0.5, 0.25, 0.25), 0)
    manifest = read_manifest(tmp_path / "split.csv")
    warnings = check_trainable(manifest)
    assert [w for w in warnings if "patients of their own" not in w] == []
    assert len(manifest.table) == 52


def test_a_single_table_loses_the_labels_it_does_not_grade(tmp_path):
    tables = three_sets(tmp_path)
    assert merge(tables[:1], tmp_path / "d.csv")["labels"] == ["D"]
    nothing = tmp_path / "nothing.csv"
    nothing.write_text("image,patient,eye,D,G\na.jpg,1,left,,\n")
    assert merge([nothing], tmp_path / "n.csv")["labels"] == ["D", "G"]  # of nothing, as it is


@pytest.mark.slow
def test_a_training_on_tables_that_grade_different_labels(tmp_path, capsys):
    """Of each label only those rows count that one of the tables grades."""
    first = make_photographs(tmp_path / "a", patients=20, seed=1)
    second = make_photographs(tmp_path / "b", patients=20, seed=2)
    one, two = pd.read_csv(first, dtype=str), pd.read_csv(second, dtype=str)
    one["image"], two["image"] = "a/" + one["image"], "b/" + two["image"]
    two["patient"] = "b" + two["patient"]
    one.drop(columns="B").to_csv(tmp_path / "one.csv", index=False)
    two.drop(columns="A").to_csv(tmp_path / "two.csv", index=False)
    words = [str(tmp_path / x) for x in ("one.csv", "two.csv")]
    assert main(["manifest", "merge", *words, "--out", str(tmp_path / "all.csv")]) == 0
    run = tmp_path / "run"
    assert train_only(tmp_path / "all.csv", run, phase2_epochs=1) == 0
    history = read_history(run / "history.csv")
    assert np.isfinite(history[["loss", "val_loss"]].to_numpy()).all()
    assert (history["loss"] > 0).all()
    counts = json.loads((run / "config.json").read_text())["data"]["splits"]
    for part in ("train", "val"):
        for label, table in (("A", one), ("B", two)):
            graded = table.loc[table["split"] == part, label].dropna()
            assert counts[part]["positives"][label] == (graded == "1").sum()
            assert counts[part]["negatives"][label] == (graded == "0").sum()
