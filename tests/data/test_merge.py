"""Several manifests as one."""

import pytest

from fundus_diag.data.merge import merge
from fundus_diag.utils.errors import DataError


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
        (grades, "grades"),
    ):
        with pytest.raises(DataError, match=message):
            merge([a, other], out)
        assert not out.exists()


def test_one_person_may_stand_in_two_tables_of_one_data_set(tmp_path):
    head = "image,patient,eye,dataset,D"
    a = save(tmp_path / "a.csv", head, "a,1,left,odir,1")
    b = save(tmp_path / "b.csv", head, "b,1,right,odir,0")
    assert merge([a, b], tmp_path / "out.csv")["rows"] == 2
