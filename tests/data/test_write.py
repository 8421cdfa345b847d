"""Nothing is written that the reader refuses."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_diag.data.labels import nfc
from fundus_diag.data.manifest import read_manifest
from fundus_diag.data.write import write_manifest
from fundus_diag.utils.errors import DataError

GOOD = {
    "image": ["a.jpg", "b.jpg"], "patient": ["1", "2"], "eye": ["left", ""],
    "split": ["train", ""], "age": [60.0, np.nan], "D": [1.0, np.nan],
}  # fmt: skip


def as_objects(columns):
    """A table that holds any text: where pyarrow is, the text of pandas' own is UTF-8 only."""
    texts = ("image", "patient", "eye", "split")
    return pd.DataFrame(
        {n: pd.Series(cells, dtype=object if n in texts else None) for n, cells in columns.items()}
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"age": [np.nan, np.inf]},
            r"line 3: age 'inf' is not a .* \(picture 'b.jpg'\)",
        ),
        ({"patient": ["1", ""]}, r"line 3: patient '' is empty \(picture 'b.jpg'\)"),
        (
            {"patient": ["1", " 2"]},
            r"line 3: patient ' 2' has blanks around it .*'b.jpg'",
        ),
        ({"image": ["a.jpg", "b\n.jpg"]}, r"image 'b\\n.jpg' is not the path of a file"),
        ({"image": ["a.jpg", "a.jpg"]}, "line 3: image 'a.jpg' stands already on line 2"),
        ({"image": ["a.jpg", "\udcd5.jpg"]}, r"image '\\xd5.jpg' is not UTF-8"),
        ({"image": ["a.jpg", "b.jpg "]}, "line 3: image 'b.jpg ' has blanks around it"),
        ({"eye": ["left", "both"]}, "line 3: eye 'both' is not one of"),
        (
            {"patient": ["1", "1"], "split": ["train", "val"]},
            "line 3: patient '1' stands in 'train'",
        ),
        ({"D": [1.0, 0.5]}, r"line 3: label 'D' is '0.5'.*\(picture 'b.jpg'\)"),
        ({"grade_0": [1.0, 0.0], "D": None, "grade_1": [0.0, 0.0]}, "line 3: exactly one"),
    ],
)
def test_a_row_that_the_reader_refuses_is_not_written(tmp_path, changes, message):
    columns = {name: cells for name, cells in {**GOOD, **changes}.items() if cells is not None}
    path = tmp_path / "out.csv"
    with pytest.raises(DataError, match=message) as caught:
        write_manifest(as_objects(columns), path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_error_names_the_row_of_the_source(tmp_path):
    table = pd.DataFrame({**GOOD, "patient": ["1", "1"], "split": ["train", "val"]})
    where = ["line 7", "line 9"]
    with pytest.raises(
        DataError, match="^s.csv line 9: patient '1' stands in 'train' .line 7. and"
    ):
        write_manifest(table, tmp_path / "out.csv", "s.csv", where)


def test_a_sheet_is_not_what_is_written(tmp_path):
    with pytest.raises(DataError, match="out.xlsx: a manifest is written as CSV"):
        write_manifest(pd.DataFrame(GOOD), tmp_path / "out.xlsx")


TEXTS = ["a", "é", "e\u0301", '"', ",", "\n", "\r", " ", "x y", "\0", "\udcd5", "/", ".."]
cells = st.lists(st.sampled_from(TEXTS), max_size=3).map("".join)
eyes, ages = (
    st.sampled_from(["left", "right", "", "x"]),
    st.sampled_from([1.0, 61.5, np.nan, np.inf]),
)
values = st.sampled_from([1.0, 0.0, np.nan])


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(cells, cells, eyes, ages, values), min_size=1, max_size=3))
def test_what_is_written_is_what_is_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("any") / "t.csv"
    columns = zip(*rows, strict=True)
    table = as_objects(dict(zip(["image", "patient", "eye", "age", "D"], columns, strict=True)))
    try:
        write_manifest(table, path)
    except DataError as error:
        str(error).encode()
        assert not path.exists()
        return
    read = read_manifest(path).table
    texts = table[["image", "patient", "eye"]].astype("str")
    texts["patient"] = texts["patient"].map(nfc)
    expected = table.assign(**texts, D=table["D"].astype("float32"))
    pd.testing.assert_frame_equal(read, expected)
