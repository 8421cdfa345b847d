"""Several manifests as one."""

import pytest

from fundus_diag.cli import main
from fundus_diag.data.manifest import read_manifest
from fundus_diag.data.merge import merge
from fundus_diag.data.splits import split
from fundus_diag.utils.errors import DataError, UsageError


def save(path, header, *rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_merged_labels_that_one_table_lacks_stay_empty(tmp_path):
    a = save(tmp_path / "a.csv", "image,patient,eye,split,dataset,G", "a,1,,train,airogs,1")
    b = save(tmp_path / "b.csv", "image,patient,eye,age,dataset,extra,D", "b,2,left,60,odir,1,0")
    counts = merge([a, b], tmp_path / "c.csv")
    assert counts["rows"] == 2
    assert (tmp_path / "c.csv").read_text() == (
        "image,patient,eye,split,age,dataset,D,G,extra\n"
        "a,1,,train,,airogs,,1,\n"
        "b,2,left,,60,odir,0,,1\n"
    )


def test_merging_refuses_what_cannot_stand_in_one_table(tmp_path):
    head = "image,patient,eye,D"
    a = save(tmp_path / "a.csv", head, "a,1,left,1")
    same_image = save(tmp_path / "b.csv", head, "./a,2,left,1")
    same_id = save(tmp_path / "c.csv", head, "c,1,left,1")
    grades = save(tmp_path / "d.csv", "image,patient,eye,grade_0,grade_1", "d,4,left,1,0")
    out = tmp_path / "out.csv"
    for other, message in (
        (same_image, "image './a' stands in"),
        (same_id, "patient '1' stands in"),
        (grades, "d.csv: has 2 grades, and .*a.csv has 1 labels"),
    ):
        with pytest.raises(DataError, match=message):
            merge([a, other], out)
        assert not out.exists()


def test_one_person_may_stand_in_two_tables_of_one_data_set(tmp_path):
    head = "image,patient,eye,dataset,D"
    a = save(tmp_path / "a.csv", head, "a,1,left,odir,1")
    b = save(tmp_path / "b.csv", head, "b,1,right,odir,0")
    assert merge([a, b], tmp_path / "out.csv")["rows"] == 2


def test_grades_of_two_lengths_are_refused_with_both_files_named(tmp_path):
    three = save(tmp_path / "a.csv", "image,patient,eye,grade_0,grade_1,grade_2", "a,1,left,1,0,0")
    two = save(tmp_path / "b.csv", "image,patient,eye,grade_0,grade_1", "b,2,left,1,0")
    for one, other, counts in ((three, two, (3, 2)), (two, three, (2, 3))):
        with pytest.raises(DataError, match="not one scale") as caught:
            merge([one, other], tmp_path / "out.csv")
        assert f"{other}: has {counts[1]} grades, and {one} has {counts[0]}" in str(caught.value)
        assert not (tmp_path / "out.csv").exists()
    again = save(tmp_path / "c.csv", "image,patient,eye,grade_0,grade_1", "c,3,left,0,1")
    assert merge([two, again], tmp_path / "out.csv")["rows"] == 2


def test_a_person_in_two_splits_is_named_with_what_to_do(tmp_path):
    head = "image,patient,eye,split,dataset,D"
    a = save(tmp_path / "a.csv", head, "a,1,left,train,odir,1", "x,2,left,val,odir,0")
    b = save(tmp_path / "b.csv", head, "b,1,right,val,odir,0", "y,3,left,,odir,1")
    out = tmp_path / "out.csv"
    with pytest.raises(
        DataError, match="b.csv: patient '1' stands in 'val', and in .*a.csv in"
    ) as e:
        merge([a, b], out)
    assert "--drop-splits" in str(e.value)
    assert not out.exists()
    merge([a, b], out, drop_splits=True)
    assert "split" not in read_manifest(out).table
    split(out, tmp_path / "split.csv")
    assert read_manifest(tmp_path / "split.csv", need_split=True).table["patient"].nunique() == 3


def test_an_id_of_the_two_tables_that_has_no_split_in_one_is_fine(tmp_path):
    head = "image,patient,eye,split,dataset,D"
    a = save(tmp_path / "a.csv", head, "a,1,left,train,odir,1")
    b = save(tmp_path / "b.csv", head, "b,1,right,,odir,0")
    assert merge([b, a], tmp_path / "out.csv")["rows"] == 2


def test_two_forms_of_a_name_are_one_label_and_one_patient(tmp_path):
    a = save(tmp_path / "a.csv", "image,patient,eye,dataset,\u00c9t\u00e9", "a,\u00e9,left,x,1")
    b = save(tmp_path / "b.csv", "image,patient,eye,dataset,E\u0301te\u0301", "b,e\u0301,right,x,0")
    assert merge([a, b], tmp_path / "out.csv")["labels"] == ["\u00c9t\u00e9"]
    assert set(read_manifest(tmp_path / "out.csv").table["patient"]) == {"\u00e9"}


def test_nothing_to_merge_is_a_wrong_flag(tmp_path, capsys):
    with pytest.raises(UsageError, match="no manifest is named"):
        merge([], tmp_path / "out.csv")
    assert main(["manifest", "merge", "--out", str(tmp_path / "out.csv")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no manifest is named" in line
