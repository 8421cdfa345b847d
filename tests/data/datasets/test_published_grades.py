"""Data sets that are graded for diabetic retinopathy, in the layout as published."""

import pandas as pd
import pytest
from published import cells, made, text, tree, unpacked, workbook

GRADES = [f"grade_{k}" for k in range(5)]
OWN = "pictures are patients of their own"


def grade(table):
    """{picture: grade}."""
    return {image: GRADES.index(row.eq("1").idxmax()) for image, row in table[GRADES].iterrows()}


B = "B. Disease Grading"
TRAIN = f"{B}/1. Original Images/a. Training Set"
TEST = f"{B}/1. Original Images/b. Testing Set"
IDRID = "Image name,Retinopathy grade,Risk of macular edema ,,,,,,,,,\r\n"


@pytest.fixture
def idrid(tmp_path):
    root = tree(
        tmp_path / "idrid", *(f"{TRAIN}/IDRiD_00{k}.jpg" for k in (1, 2)), f"{TEST}/IDRiD_001.jpg"
    )
    end = ",,,,,,,,,\r\n"
    table = IDRID + f"IDRiD_001,3,2{end}IDRiD_002,0,1{end}IDRiD_003,1,0{end}"
    text(root / f"{B}/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv", table)
    table = IDRID + f"IDRiD_001,4,0{end}"
    text(root / f"{B}/2. Groundtruths/b. IDRiD_Disease Grading_Testing Labels.csv", table)
    return root


def test_idrid_has_the_same_names_in_both_parts(idrid, tmp_path):
    table, built = made("idrid", idrid, tmp_path / "out.csv")
    one, two, three = f"{TRAIN}/IDRiD_001.jpg", f"{TRAIN}/IDRiD_002.jpg", f"{TEST}/IDRiD_001.jpg"
    assert grade(table) == {one: 3, two: 0, three: 4}
    assert cells(table, "patient", "eye", "split", "dataset") == {
        one: f"idrid-{one} - train idrid",
        two: f"idrid-{two} - train idrid",
        three: f"idrid-{three} - test idrid",
    }
    assert built["left_out"] == ["1 row, picture missing (such as 'IDRiD_003', line 4)"]
    assert len(built["notes"]) == 1
    assert built["notes"][0].startswith(f"3 of 3 {OWN}")
    assert built["licence"] == "CC BY 4.0"
    table, _ = made("idrid", idrid, tmp_path / "out.csv", "odir")
    assert cells(table, *"NDGCAHMO") == {
        one: "- 1 - - - - - -", two: "- 0 - - - - - -", three: "- 1 - - - - - -",
    }  # fmt: skip
    table, _ = made("idrid", idrid, tmp_path / "out.csv", "own")
    assert cells(table, "DR", "edema risk") == {one: "1 1", two: "0 1", three: "1 0"}


def test_of_idrid_a_part_may_be_missing(idrid, tmp_path):
    """Without the test pictures those of training must not be taken for them."""
    for path in (idrid / TEST).iterdir():
        path.unlink()
    table, built = made("idrid", idrid, tmp_path / "out.csv")
    assert set(table["split"]) == {"train"}
    assert len(table) == 2
    assert built["left_out"] == ["2 rows, picture missing (such as 'IDRiD_003', line 4)"]
    (idrid / f"{B}/2. Groundtruths/b. IDRiD_Disease Grading_Testing Labels.csv").unlink()
    table, built = made("idrid", idrid, tmp_path / "out.csv")
    (note,) = [x for x in built["notes"] if "not there" in x]
    assert note.startswith(
        f"a part is not there: {idrid}: none of the files {B}/2. Groundtruths/b."
    )


def test_the_real_table_and_pictures_of_idrid(data_dir, tmp_path):
    root = unpacked(data_dir, "idrid_grading/train_512.tar", tmp_path)
    (root / TRAIN).parent.mkdir(parents=True)
    (root / "train_512").rename(root / TRAIN)
    published = data_dir / "idrid_grading/train_labels.csv"
    at = root / f"{B}/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv"
    text(at, published.read_text("utf-8"))
    table, built = made("idrid", root, tmp_path / "out.csv")
    truth = pd.read_csv(published).set_index("Image name")["Retinopathy grade"]
    found = {image.rpartition("/")[2].removesuffix(".jpg"): g for image, g in grade(table).items()}
    assert len(found) == 395
    assert all(truth[name] == g for name, g in found.items())
    missing = len(truth) - 395
    assert built["left_out"] == [] or built["left_out"][0].startswith(f"{missing} rows, picture ")
    assert bool(built["left_out"]) == bool(missing)


def test_eyepacs_tells_patients_and_eyes_by_name(tmp_path):
    root = tree(
        tmp_path / "k", "train/10_left.jpeg", "train/10_right.jpeg", "test/1_right.jpeg",
        "test/1_left.JPEG",
    )  # fmt: skip
    text(root / "trainLabels.csv", "image,level\n10_left,0\n10_right,4\n13_left,1\n")
    text(
        root / "retinopathy_solution.csv", "image,level,Usage\n1_left,2,Private\n1_right,0,Public\n"
    )
    table, built = made("eyepacs", root, tmp_path / "out.csv")
    assert grade(table) == {
        "train/10_left.jpeg": 0, "train/10_right.jpeg": 4, "test/1_left.JPEG": 2,
        "test/1_right.jpeg": 0,
    }  # fmt: skip
    assert cells(table, "patient", "eye", "split") == {
        "train/10_left.jpeg": "eyepacs-10 left train",
        "train/10_right.jpeg": "eyepacs-10 right train",
        "test/1_left.JPEG": "eyepacs-1 left test",
        "test/1_right.jpeg": "eyepacs-1 right test",
    }
    assert built["notes"] == []
    assert built["left_out"] == ["1 row, picture missing (such as '13_left', line 4)"]


def test_the_real_photographs_of_eyepacs(data_dir, tmp_path):
    root = unpacked(data_dir, "eyepacs1098/images.tar", tmp_path)
    (root / "images").rename(root / "train")
    truth = pd.read_csv(data_dir / "eyepacs1098/labels.csv")
    truth["image"] = truth["file"].str.removesuffix(".jpeg")
    truth.rename(columns={"dr_grade": "level"})[["image", "level"]].to_csv(
        root / "trainLabels.csv", index=False
    )
    table, built = made("eyepacs", root, tmp_path / "out.csv")
    assert len(table) == 1098
    assert built["patients"] == 549
    assert built["left_out"] == []
    counts = pd.Series(list(grade(table).values())).value_counts().sort_index()
    assert counts.tolist() == [816, 65, 167, 30, 20]
    truth = truth.set_index("train/" + truth["file"])
    assert (table["eye"] == truth["eye"].reindex(table.index)).all()
    table, _ = made("eyepacs", root, tmp_path / "out.csv", "odir")
    assert (table["D"] == "1").sum() == 282
    assert (table["N"] == "").all()


def test_eyeq_judges_pictures_and_not_eyes(tmp_path, data_dir):
    names = [f"{k}_{eye}" for k in (10009, 10014, 10015) for eye in ("left", "right")]
    root = tree(tmp_path / "q", *(f"train/{name}.jpeg" for name in names))
    text(root / "Label_EyeQ_train.csv", (data_dir / "headers/eyeq_train.csv").read_text("utf-8"))
    header = pd.read_csv(data_dir / "headers/eyeq_train.csv").set_index("image")
    table, built = made("eyeq", root, tmp_path / "out.csv")
    assert len(table) >= 4
    for image, row in table.iterrows():
        quality = header.loc[image.removeprefix("train/"), "quality"]
        assert row[["good", "usable", "reject"]].tolist() == [
            str(int(quality == k)) for k in range(3)
        ]
        assert row["patient"] == "eyepacs-" + image[6:11]
        assert row["eye"] == image[12:].removesuffix(".jpeg")
        assert row["split"] == "train"
    assert any("a part is not there" in note for note in built["notes"])
    assert grade(made("eyeq", root, tmp_path / "out.csv", "grade")[0]) == {
        image: header.loc[image.removeprefix("train/"), "DR_grade"] for image in table.index
    }
    assert set(made("eyeq", root, tmp_path / "out.csv", "odir")[0]["N"]) == {""}


def test_aptos(tmp_path, data_dir):
    text(tmp_path / "a/train.csv", (data_dir / "headers/aptos_train.csv").read_text("utf-8"))
    header = pd.read_csv(data_dir / "headers/aptos_train.csv")
    root = tree(tmp_path / "a", *(f"train_images/{x}.png" for x in header["id_code"]))
    table, built = made("aptos", root, tmp_path / "out.csv")
    assert grade(table) == {f"train_images/{x}.png": g for x, g in header.to_numpy()}
    assert "split" not in table
    assert set(table["eye"]) == {""}
    assert [OWN in note for note in built["notes"]] == [True]


@pytest.mark.parametrize("kaggle", [True, False])
def test_messidor_leaves_out_what_nobody_could_grade(tmp_path, kaggle):
    head = "id_code,diagnosis" if kaggle else "image_id,adjudicated_dr_grade"
    table = f"{head},adjudicated_dme,adjudicated_gradable\n20051020_43808_0100_PP.png,0,0,1\n"
    table += "IM000123.jpg,3.0,1.0,1\n20051020_45004_0100_PP.png,,,0\nIM000124.jpg,0,,0\n"
    root = tree(
        tmp_path / "m", "IMAGES/20051020_43808_0100_PP.png", "IMAGES/IM000123.JPG",
        "IMAGES/20051020_45004_0100_PP.png", "IMAGES/IM000124.JPG",
    )  # fmt: skip
    text(root / "messidor_data.csv", table)
    table, built = made("messidor2", root, tmp_path / "out.csv")
    assert grade(table) == {"IMAGES/20051020_43808_0100_PP.png": 0, "IMAGES/IM000123.JPG": 3}
    assert built["left_out"] == [
        "2 rows, not gradable (such as '20051020_45004_0100_PP.png', line 4)"
    ]
    table, _ = made("messidor2", root, tmp_path / "out.csv", "own")
    assert cells(table, "DR", "DME")["IMAGES/IM000123.JPG"] == "1 1"
    assert cells(table, "DR", "DME")["IMAGES/20051020_43808_0100_PP.png"] == "0 0"


def test_the_real_lines_of_messidor(tmp_path, data_dir):
    header = data_dir / "headers/messidor2_kaggle_mariaherrerot.csv"
    text(tmp_path / "m/messidor_data.csv", header.read_text("utf-8"))
    read = pd.read_csv(header)
    root = tree(tmp_path / "m", *(f"IMAGES/{x}" for x in read["id_code"]))
    table, _ = made("messidor2", root, tmp_path / "out.csv")
    read = read[read["adjudicated_gradable"] == 1]
    assert grade(table) == {
        f"IMAGES/{x}": int(g) for x, g in zip(read["id_code"], read["diagnosis"], strict=True)
    }


DEEPDRID = (
    "patient_id,image_id,image_path,Overall quality,left_eye_DR_Level,right_eye_DR_Level,"
    "patient_DR_Level,Clarity,Field definition,Artifact\n"
)


def test_deepdrid_fills_the_column_of_the_eye_of_the_row(tmp_path):
    root, at = tmp_path / "d", "regular_fundus_images/regular-fundus-training"
    images = ["1_l1", "1_r1", "1_r2"]
    tree(root, *(f"{at}/Images/1/{x}.jpg" for x in images), f"{at}/Images/56/56_r3.jpg")
    table = DEEPDRID
    for name, grades in (("1_l1", "0,"), ("1_r1", ",4"), ("1_r2", ",2"), ("56_r3", "1,")):
        at_windows = rf"\regular-fundus-training\{name.split('_')[0]}\{name}.jpg"
        table += f"{name.split('_')[0]},{name},{at_windows},0,{grades},4,8,8,4\n"
    text(root / at / "regular-fundus-training.csv", table)
    evaluation = "regular_fundus_images/Online-Challenge1&2-Evaluation"
    tree(root, f"{evaluation}/Images/347/347_l1.jpg")
    workbook(
        root / evaluation / "Challenge1_labels.xlsx", [["image_id", "DR_Levels"], ["347_l1", 1]]
    )
    table, built = made("deepdrid", root, tmp_path / "out.csv")
    one, last = f"{at}/Images/1", f"{evaluation}/Images/347/347_l1.jpg"
    assert grade(table) == {
        f"{one}/1_l1.jpg": 0, f"{one}/1_r1.jpg": 4, f"{one}/1_r2.jpg": 2, last: 1,
    }  # fmt: skip
    assert cells(table, "patient", "eye", "split") == {
        f"{one}/1_l1.jpg": "deepdrid-1 left train",
        f"{one}/1_r1.jpg": "deepdrid-1 right train",
        f"{one}/1_r2.jpg": "deepdrid-1 right train",
        last: "deepdrid-347 left test",
    }
    assert built["left_out"] == [
        "1 row, graded as the other eye (such as 'Images/56/56_r3', line 5)"
    ]
    (note,) = built["notes"]
    assert "regular-fundus-validation.csv" in note


def test_the_real_lines_of_deepdrid(tmp_path, data_dir):
    header, at = data_dir / "headers/deepdrid_regular_training.csv", "regular-fundus-training"
    read = pd.read_csv(header)
    text(tmp_path / "d" / at / f"{at}.csv", header.read_text("utf-8"))
    paths = [f"{at}/Images/{p}/{i}.jpg" for p, i in read[["patient_id", "image_id"]].to_numpy()]
    table, _ = made("deepdrid", tree(tmp_path / "d", *paths), tmp_path / "out.csv")
    levels = read["left_eye_DR_Level"].fillna(read["right_eye_DR_Level"])
    assert grade(table) == dict(zip(paths, levels.astype(int), strict=True))


def test_ddr_lists_without_a_header(tmp_path):
    root = tree(
        tmp_path / "ddr", "DR_grading/train/007-0004-000.jpg", "DR_grading/train/007-0005-000.jpg",
        "DR_grading/valid/007-0009-000.jpg", "DR_grading/test/007-0010-000.jpg",
    )  # fmt: skip
    text(root / "DR_grading/train.txt", "007-0004-000.jpg 0\n007-0005-000.jpg 5\n")
    text(root / "DR_grading/valid.txt", "007-0009-000.jpg 4\n")
    text(root / "DR_grading/test.txt", "007-0010-000.jpg 2\n")
    table, built = made("ddr", root, tmp_path / "out.csv")
    assert list(grade(table).values()) == [0, 4, 2]
    assert table["split"].tolist() == ["train", "val", "test"]
    assert built["left_out"] == ["1 row, not gradable (such as '007-0005-000.jpg', line 2)"]
    assert built["notes"][0].startswith("ddr.toml: its layout was not seen as published")
    table, _ = made("ddr", root, tmp_path / "out.csv", "odir")
    assert table["D"].tolist() == ["0", "1", "1"]
    assert set(table["N"]) == {""}


def test_brset_with_a_mark_and_carriage_returns(tmp_path, data_dir):
    header = (data_dir / "headers/brset_labels_HEADER_ONLY.csv").read_text("utf-8-sig").strip()
    names = header.split(",")

    def row(image, patient, eye, **given):
        values = dict.fromkeys(names, "0") | given
        values |= {"image_id": image, "patient_id": patient, "exam_eye": eye, "patient_age": "48"}
        return ",".join(values[name] for name in names)

    rows = [
        row("img00001", "1", "1", DR_ICDR="2", diabetic_retinopathy="1", drusens="1"),
        row("img00002", "1", "2", increased_cup_disc="1"),
        row("img00003", "2", "2", myopic_fundus="1", hypertensive_retinopathy="1"),
    ]
    root = tree(tmp_path / "b", *(f"fundus_photos/img0000{k}.jpg" for k in (1, 2, 3)))
    text(root / "labels.csv", "\r\n".join([header, *rows, ""]), "utf-8-sig")
    table, built = made("brset", root, tmp_path / "out.csv")
    at = "fundus_photos/img0000"
    assert cells(table, "patient", "eye", "age") == {
        f"{at}1.jpg": "brset-1 right 48",
        f"{at}2.jpg": "brset-1 left 48",
        f"{at}3.jpg": "brset-2 left 48",
    }
    assert cells(table, *"NDGCAHMO") == {
        f"{at}1.jpg": "- 1 - - 0 0 0 1",
        f"{at}2.jpg": "- 0 - - 0 0 0 -",  # a sign of glaucoma: nobody knows of which label
        f"{at}3.jpg": "- 0 - - 0 1 1 0",
    }
    assert "sex" not in table
    assert built["notes"][0].startswith("brset.toml: ")
    assert list(grade(made("brset", root, tmp_path / "out.csv", "grade")[0]).values()) == [2, 0, 0]
    own, _ = made("brset", root, tmp_path / "out.csv", "own")
    assert own.loc[f"{at}2.jpg", "increased_cup_disc"] == "1"
    assert list(own.columns[4:]) == names[20:-1]
