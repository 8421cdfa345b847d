"""`predict`: part by part, to the digit what it is in one piece."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from tiny import main, make_photographs, ready_run

from fundus_diag import load_run
from fundus_diag.data.manifest import read_manifest
from fundus_diag.runs import predict as predicting


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    manifest = make_photographs(folder / "photographs", patients=10)
    for unit in ("eye", "patient"):
        ready_run(manifest, folder / unit, unit=unit)
    return folder


@pytest.fixture
def bad(folder, tmp_path):
    """The photographs with two damaged: one eye of a patient, and the only eye of another."""
    root = tmp_path / "photographs"
    root.mkdir()
    for path in (folder / "photographs").iterdir():
        (root / path.name).write_bytes(path.read_bytes())
    for name in ("003_left.png", "006_left.png"):
        (root / name).write_bytes((root / name).read_bytes()[:60])
    return root


def run_predict(run, root, out, *words):
    table = root / "manifest.csv"
    flags = ["--manifest", table, "--image-root", root, "--out", out, "--batch-size", "2"]
    return main([str(x) for x in ("predict", run, *flags, *words)])


def table_of(path):
    return pd.read_csv(path, dtype={"patient": str}, keep_default_na=False, na_values=[""])


def same_rows(one, other):
    """Two tables are equal but for the last digits of probabilities, which batches change."""
    one, other = table_of(one), table_of(other)
    scores = ["p_A", "p_B"]
    pd.testing.assert_frame_equal(one.drop(columns=scores), other.drop(columns=scores))
    np.testing.assert_allclose(one[scores], other[scores], atol=1e-6)


def test_neither_the_table_nor_the_run_is_written_over(folder, tmp_path, capsys):
    root, run = folder / "photographs", folder / "eye"
    (tmp_path / "link.csv").symlink_to(root / "manifest.csv")
    for out in (root / "manifest.csv", tmp_path / "link.csv", run / "thresholds.json"):
        before = out.read_bytes()
        assert run_predict(run, root, out) == 2
        assert "is the table, or a file of the run" in capsys.readouterr().err
        assert out.read_bytes() == before


@pytest.mark.parametrize("unit", ["eye", "patient"])
def test_parts_are_the_whole(folder, tmp_path, monkeypatch, unit):
    root = folder / "photographs"
    assert run_predict(folder / unit, root, tmp_path / "whole.csv") == 0
    read = []
    load = predicting.load_inputs
    monkeypatch.setattr(predicting, "AT_ONCE", 2)
    monkeypatch.setattr(
        predicting, "load_inputs", lambda m, *a, **k: read.append(len(m.table)) or load(m, *a, **k)
    )
    assert run_predict(folder / unit, root, tmp_path / "parts.csv") == 0
    assert (tmp_path / "parts.csv").read_text() == (tmp_path / "whole.csv").read_text()
    assert max(read) <= 4 * (1 if unit == "eye" else 2)  # rows in memory, photographs of pairs
    assert sum(read) == len(pd.read_csv(root / "manifest.csv"))


@pytest.mark.parametrize("unit", ["eye", "patient"])
def test_the_fast_path_answers_alike(folder, tmp_path, unit):
    root = folder / "photographs"
    tables = []
    for precision in ("float32", "auto"):
        out = tmp_path / f"{precision}.csv"
        assert run_predict(folder / unit, root, out, "--precision", precision) == 0
        tables.append(table_of(out)[["p_A", "p_B"]])
    assert tables[0].std().min() > 1e-4
    np.testing.assert_allclose(tables[1], tables[0], atol=0.02)  # bfloat16 where there is any


def test_grades_that_the_run_does_not_know_still_say_which_eye_is_worse(tmp_path):
    manifest = make_photographs(tmp_path / "photographs", patients=10, grades=True)
    flags = {"unit": "patient", "task": "grade", "grade_head": "softmax"}
    ready_run(manifest, tmp_path / "run", **flags)
    table = pd.read_csv(manifest)
    table["grade_3"] = 0
    worse = (table["patient"] == "p0") & (table["eye"] == "left")
    table.loc[worse, ["grade_0", "grade_1", "grade_2", "grade_3"]] = [0, 0, 0, 1]
    table.to_csv(manifest, index=False)
    assert run_predict(tmp_path / "run", manifest.parent, tmp_path / "out.csv") == 0
    got = table_of(tmp_path / "out.csv").set_index("patient")
    assert got.loc["p0", ["y_grade_0", "y_grade_1", "y_grade_2"]].tolist() == [0, 0, 0]
    other = table[table["patient"] == "p1"][["grade_0", "grade_1", "grade_2"]]
    want = np.eye(3)[other.to_numpy().argmax(axis=1).max()]
    np.testing.assert_array_equal(got.loc["p1", [f"y_grade_{k}" for k in range(3)]].tolist(), want)


def test_rows_are_those_of_the_opened_run_and_of_the_table(folder, tmp_path):
    root = folder / "photographs"
    assert run_predict(folder / "eye", root, tmp_path / "out.csv", "--split", "test") == 0
    got, known = table_of(tmp_path / "out.csv"), table_of(root / "manifest.csv")
    known = known[known["split"] == "test"].reset_index(drop=True)
    for name in ("image", "patient", "eye", "age", "sex"):
        assert got[name].tolist() == known[name].tolist()
    for label in "AB":
        np.testing.assert_array_equal(got[f"y_{label}"], known[label])
    want = load_run(folder / "eye").predict([root / x for x in known["image"]])
    np.testing.assert_allclose(got[["p_A", "p_B"]], want, atol=1e-6)


def test_a_pair_with_one_readable_eye_is_predicted_by_that_eye(folder, bad, tmp_path, monkeypatch):
    monkeypatch.setattr(predicting, "AT_ONCE", 1)
    out = tmp_path / "out.csv"
    assert run_predict(folder / "patient", bad, out, "--on-bad-image", "skip") == 0
    got = table_of(out).set_index("patient")
    assert "p6" not in got.index  # no eye is left
    assert pd.isna(got.loc["p3", "image_left"])
    files = [(None, bad / "003_right.png")]
    want = load_run(folder / "patient").predict(files)[0]
    np.testing.assert_allclose(got.loc["p3", ["p_A", "p_B"]].astype(float), want, atol=1e-6)
    right = read_manifest(bad / "manifest.csv").table.set_index("image").loc["003_right.png"]
    known = got.loc["p3", ["y_A", "y_B"]].astype(float)
    np.testing.assert_array_equal(known, right[["A", "B"]].astype(float))


def test_all_bad_photographs_are_named_and_no_file_is_left(
    folder, bad, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(predicting, "AT_ONCE", 1)  # in parts of their own
    out = tmp_path / "out.csv"
    assert run_predict(folder / "eye", bad, out) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "003_left.png" in said
    assert "006_left.png" in said
    assert not out.exists()


def test_what_was_predicted_before_a_crash_is_kept(folder, tmp_path, monkeypatch):
    root, out = folder / "photographs", tmp_path / "out.csv"
    assert run_predict(folder / "eye", root, tmp_path / "whole.csv") == 0
    monkeypatch.setattr(predicting, "AT_ONCE", 2)
    calls = []

    def break_down(*given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return table(*given)

    table = predicting.prediction_table
    monkeypatch.setattr(predicting, "prediction_table", break_down)
    assert run_predict(folder / "eye", root, out) == 130
    assert not out.exists()
    kept = (tmp_path / "out.csv.partial").read_text().splitlines()
    assert kept == (tmp_path / "whole.csv").read_text().splitlines()[: 1 + 8]


@pytest.mark.parametrize("unit", ["eye", "patient"])
@pytest.mark.parametrize("cut", [0, 5])
def test_after_a_kill_it_goes_on_without_a_row_lost_or_twice(
    folder, bad, tmp_path, monkeypatch, capsys, unit, cut
):
    skip, out = ("--on-bad-image", "skip"), tmp_path / "out.csv"
    assert run_predict(folder / unit, bad, tmp_path / "whole.csv", *skip) == 0
    monkeypatch.setattr(predicting, "AT_ONCE", 2)
    calls, table = [], predicting.prediction_table

    def break_down(*given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return table(*given)

    monkeypatch.setattr(predicting, "prediction_table", break_down)
    assert run_predict(folder / unit, bad, out, *skip) == 130
    partial = tmp_path / "out.csv.partial"
    content = partial.read_bytes()
    partial.write_bytes(content[: len(content) - cut])  # killed in the middle of a line
    assert run_predict(folder / unit, bad, out, "--resume") == 2
    assert "was begun with other on_bad_image" in capsys.readouterr().err
    assert partial.exists()
    assert run_predict(folder / unit, bad, out, *skip, "--resume") == 0
    assert 3 < len(calls)
    same_rows(out, tmp_path / "whole.csv")
    assert sorted(x.name for x in tmp_path.iterdir() if x.is_file()) == ["out.csv", "whole.csv"]


def test_with_nothing_to_go_on_with_it_begins(folder, tmp_path):
    root = folder / "photographs"
    assert run_predict(folder / "eye", root, tmp_path / "a.csv", "--resume") == 0
    assert run_predict(folder / "eye", root, tmp_path / "b.csv") == 0
    same_rows(tmp_path / "a.csv", tmp_path / "b.csv")


@pytest.mark.parametrize("wrong", ["run", "manifest", "image_root", "out"])
def test_a_mistyped_path_is_said_without_tensorflow(folder, tmp_path, wrong):
    paths = {
        "run": folder / "eye",
        "manifest": folder / "photographs" / "manifest.csv",
        "image_root": folder / "photographs",
        "out": tmp_path / "out.csv",
    }
    paths[wrong] = tmp_path / "nowhere" / "gone.csv"
    run, manifest, root, out = (str(x) for x in paths.values())
    words = ["predict", run, "--manifest", manifest, "--image-root", root, "--out", out]
    code = (
        "import sys; from fundus_diag.cli import main; status = main(sys.argv[1:]); "
        "assert 'tensorflow' not in sys.modules; assert 'keras' not in sys.modules; "
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert "nowhere" in line
