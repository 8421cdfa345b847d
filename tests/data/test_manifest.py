import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_diag.data import manifest
from fundus_diag.data.paths import inside, wrong_path
from fundus_diag.data.write import write_manifest
from fundus_diag.utils.errors import DataError

HEADER = "image,patient,eye,split,age,sex,D,G\n"
GOOD = HEADER + "a.jpg,007,left,train,61,male,1,\nb.jpg,007,right,train,61,male,0,0\n"


@pytest.fixture
def write(tmp_path):
    def write(text, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_values_arrive_as_text_numbers_and_nan(write):
    read = manifest.read_manifest(write(GOOD), need_split=True)
    assert read.labels == ("D", "G")
    assert read.task == "multi_label"
    assert list(read.table["patient"]) == ["007", "007"]
    np.testing.assert_array_equal(read.table[["D", "G"]], [[1, np.nan], [0, 0]])
    assert read.table["D"].dtype == "float32"
    assert read.table["age"].tolist() == [61, 61]


def test_byte_order_mark_blanks_and_1_0_are_read(write):
    text = "\ufeffimage,patient,eye, D\nx/a.jpg , 1 ,left,1.0\n\nb.jpg,2,,0.0\n"
    read = manifest.read_manifest(write(text))
    assert read.table["D"].tolist() == [1, 0]
    assert read.table["image"].tolist() == ["x/a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty"),
        (HEADER, "no row"),
        ("image,patient,D\na.jpg,1,1\n", "no column 'eye'"),
        ("image,patient,eye,D\na.jpg,1,left,1\n", "no column 'split'"),
        (GOOD.replace("age", "D"), "line 1: two columns are named 'D'"),
        (GOOD.replace("age", ""), "line 1: column 5 has no name"),
        (GOOD.replace(",0,0", ",0,2"), "line 3: label 'G' is '2'"),
        (GOOD.replace(",0,0", ",0,yes"), "line 3: label 'G' is 'yes'"),
        (GOOD.replace(",0,0", ",0"), "line 3: 7 cells where the header names 8"),
        (GOOD.replace(",0,0", ",0,0,0"), "line 3: 9 cells"),
        (GOOD.replace("b.jpg", "a.jpg"), "line 3: image 'a.jpg' stands already on line 2"),
        (GOOD.replace("b.jpg", "./a.jpg"), "line 3: image './a.jpg' stands already on line 2"),
        (GOOD.replace("right,train", "right,val"), "line 3: patient '007' stands in 'train'"),
        (GOOD.replace("b.jpg", "../b.jpg"), "line 3: image '../b.jpg' leaves the image root"),
        (GOOD.replace("b.jpg", "x/../../b.jpg"), "leaves the image root"),
        (GOOD.replace("b.jpg", "/etc/passwd"), "leaves the image root"),
        (GOOD.replace("b.jpg", r"C:\b.jpg"), "leaves the image root"),
        (GOOD.replace("b.jpg", r"..\b.jpg"), "leaves the image root"),
        (GOOD.replace("b.jpg", ""), "line 3: image '' is empty"),
        (GOOD.replace("b.jpg,007", "b.jpg,"), "line 3: patient '' is empty"),
        (
            GOOD.replace("b.jpg,007", "b.jpg,\x1b[31m7"),
            "line 3: patient .* holds control characters",
        ),
        (GOOD.replace("right", "both"), "line 3: eye 'both' is not one of left, right, nothing"),
        (GOOD.replace("right,train", "right,dev"), "line 3: split 'dev' is not one of"),
        (GOOD.replace("right,train", "right,"), "line 3: split ''"),
        (
            GOOD.replace("b.jpg,007,right,train,61", "b.jpg,007,right,train,old"),
            "line 3: age 'old'",
        ),
        (
            GOOD.replace("b.jpg,007,right,train,61", "b.jpg,007,right,train,nan"),
            "line 3: age 'nan'",
        ),
        ("image,patient,eye,split\na.jpg,1,left,train\n", "no label column"),
        (GOOD.replace(",D,", ",../x,"), "cannot be the name of a label"),
        (GOOD.encode() + b"\xff\xfe,1\n", "line 4: not UTF-8"),
        (GOOD.encode() + b"a\0b,1\n", "line 4: a NUL byte"),
        (GOOD + '"a.jpg,1\n', "line 4: "),
        (GOOD.replace("D,G", "D,grade_0"), r"grades \(grade_0\) and the label 'D'"),
        (GOOD.replace("D,G", "grade_1,grade_0"), "in that order"),
        (GOOD.replace("D,G", "grade_0,grade_2"), "in that order"),
        (GOOD.replace("D,G", "grade_0,grade_1"), "line 2: exactly one of the grades"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(write, text, message):
    path = write(text)
    with pytest.raises(DataError, match=message) as caught:
        manifest.read_manifest(path, need_split=True)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("image", ["", "../b", "x/../b", "/b", r"C:\b", r"x\..\b", "a\0b", "a\nb"])
def test_a_path_that_a_table_may_not_hold_leads_nowhere(tmp_path, image):
    assert wrong_path(image)
    assert inside(tmp_path, image) is None
    table = pd.DataFrame({"image": [image], "patient": ["1"], "eye": [""]})
    with pytest.raises(DataError, match="image "):
        manifest.resolve_images(manifest.from_table(table), tmp_path)


def test_a_path_under_the_root_leads_there(tmp_path):
    for image in ("a.jpg", "x/a.jpg", "..a/b..jpg", "a b.jpg"):
        assert wrong_path(image) is None
        assert inside(tmp_path, image) == tmp_path / image


cells = st.sampled_from(
    ["", "1", "0", "a.jpg", "../b", "left", "train", "nan", "1e400", '"', "x\ny"]
)
rows = st.lists(st.lists(cells | st.text(max_size=5), max_size=6), max_size=5)


@given(rows=rows, header=st.sampled_from(["image,patient,eye,D", "image,patient,eye,split,age,D"]))
@settings(max_examples=200, deadline=None)
def test_whatever_stands_in_a_table_is_read_or_refused(tmp_path_factory, rows, header):
    path = tmp_path_factory.mktemp("any") / "t.csv"
    text = "\n".join([header, *(",".join(row) for row in rows)])
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    message, table = "", None
    try:
        table = manifest.read_manifest(path).table
    except DataError as error:
        message = str(error)
    assert "\n" not in message
    assert table is None or table["D"].isin([0, 1]).eq(table["D"].notna()).all()


def test_a_table_that_is_too_large_is_refused_unread(tmp_path):
    path = tmp_path / "huge.csv"
    with path.open("wb") as stream:
        stream.truncate(200_000_001)  # sparse: takes no room
    with pytest.raises(DataError, match="200 MB, more than 200"):
        manifest.read_manifest(path)


def test_missing_file_and_folder_are_one_line(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError, match=str(path)):
            manifest.read_manifest(path)


def test_the_first_mistake_is_named_and_the_others_counted(write):
    with pytest.raises(DataError, match=r"line 2: label 'D' is '7'.* \(and 1 more\)"):
        manifest.read_manifest(write(GOOD.replace(",1,\n", ",7,\n").replace(",0,0", ",0,8")))


def test_a_line_number_counts_lines_inside_quotes(write):
    text = GOOD.replace("male,1,", '"ma\nle",1,').replace(",0,0", ",0,9")
    with pytest.raises(DataError, match="line 4: label 'G'"):
        manifest.read_manifest(write(text))


def test_prediction_needs_no_labels_and_leaves_out_what_is_no_label(write):
    text = "image,patient,eye,notes,D\na.jpg,1,left,good,1\n"
    assert manifest.read_manifest(write(text), need_labels=False).labels == ("D",)
    with pytest.raises(DataError, match="label 'notes'"):
        manifest.read_manifest(write(text))
    with pytest.raises(DataError, match="label 'D' is '3'"):
        manifest.read_manifest(write(text.replace("good,1", "good,3")), need_labels=False)


def test_grades_are_a_task_of_their_own(write):
    text = "image,patient,eye,grade_0,grade_1,grade_2\na.jpg,1,left,0,0,1\n"
    assert manifest.read_manifest(write(text)).task == "grade"
    ungraded = text.replace("0,0,1", ",,")
    assert manifest.read_manifest(write(ungraded), need_labels=False).task == "grade"
    with pytest.raises(DataError, match="exactly one"):
        manifest.read_manifest(write(ungraded))


def test_what_is_written_is_read_back(write, tmp_path):
    read = manifest.read_manifest(write(GOOD))
    out = tmp_path / "new" / "copy.csv"
    write_manifest(read.table, out)
    assert out.read_text() == GOOD
    again = manifest.read_manifest(out)
    pd.testing.assert_frame_equal(again.table, read.table)
    assert [p.name for p in out.parent.iterdir()] == ["copy.csv"]


def test_writing_onto_a_folder_is_a_data_error_and_leaves_nothing(write, tmp_path):
    read = manifest.read_manifest(write(GOOD))
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="cannot be written"):
        write_manifest(read.table, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "table.csv"]


def test_pictures_are_found_under_the_root_also_through_links(write, tmp_path):
    root = tmp_path / "root"
    (tmp_path / "store").mkdir()
    (root / "real").mkdir(parents=True)
    (tmp_path / "store" / "a.jpg").write_bytes(b"x")
    (root / "b.jpg").symlink_to(tmp_path / "store" / "a.jpg")
    (root / "a.jpg").write_bytes(b"x")
    read = manifest.read_manifest(write(GOOD))
    assert manifest.resolve_images(read, root) == [root / "a.jpg", root / "b.jpg"]


def test_missing_pictures_and_a_missing_root_are_named(write, tmp_path):
    read = manifest.read_manifest(write(GOOD))
    with pytest.raises(DataError, match="a.jpg, b.jpg"):
        manifest.resolve_images(read, tmp_path)
    with pytest.raises(DataError, match="nowhere: the image root is not a folder"):
        manifest.resolve_images(read, tmp_path / "nowhere")
    outside = manifest.from_table(read.table.assign(image=["a.jpg", "../table.csv"]))
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="leaves the image root"):
        manifest.resolve_images(outside, tmp_path / "root")


def make(rows, columns="image patient eye split N D"):
    table = pd.DataFrame(rows, columns=columns.split())
    return manifest.from_table(table)


def test_summary_counts_by_hand():
    nan = np.nan
    rows = [("a", "1", "left", "train", 1, 0), ("b", "1", "right", "train", 0, 1)]
    rows += [("c", "2", "left", "val", nan, nan), ("d", "3", "left", "train", nan, 1)]
    made = make(rows)
    assert manifest.summary(made.table, made.labels) == {
        "train": {
            "rows": 3,
            "patients": 2,
            "positives": {"N": 1, "D": 2},
            "negatives": {"N": 1, "D": 1},
            "ungraded": {"N": 1, "D": 0},
        },
        "val": {
            "rows": 1,
            "patients": 1,
            "positives": {"N": 0, "D": 0},
            "negatives": {"N": 0, "D": 0},
            "ungraded": {"N": 1, "D": 1},
        },
    }


def test_training_needs_rows_in_train_and_val_and_graded_labels():
    rows = [("a", "1", "left", "train", 1, 0), ("b", "2", "left", "val", 1, 1)]
    warnings = manifest.check_trainable(make(rows))
    assert any("no row in split 'test'" in line for line in warnings)
    assert any("label 'D' has no positive in split 'train'" in line for line in warnings)
    rows[1] = (*rows[1][:4], 0, 0)
    warnings = manifest.check_trainable(make(rows))
    assert sum("no positive" in line for line in warnings) == 2  # one for each split
    assert any("labels 'N', 'D' have no positive in split 'val'" in line for line in warnings)
    for wrong, message in (
        ([rows[0]], "no row in split 'val'"),
        ([rows[1]], "no row in split 'train'"),
        ([("a", "1", "left", "train", 1, np.nan), rows[1]], "label 'D' has no graded row"),
        ([("a", "1", "left", "", 1, 0), rows[1]], "without a split"),
    ):
        with pytest.raises(DataError, match=message):
            manifest.check_trainable(make(wrong))
