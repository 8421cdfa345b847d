"""Data sets of several diseases, and of one that is no grade, in the layout as published."""

import pandas as pd
import pytest
from published import cells, made, text, tree, workbook

from fundus_diag.data.datasets.descriptions import describe
from fundus_diag.data.labels import LABELS

OWN = "pictures are patients of their own"
A, B, C = (f"1. Original Images/{x} Set" for x in ("a. Training", "b. Validation", "c. Testing"))


@pytest.mark.parametrize("kaggle", [False, True])
def test_rfmid_counts_from_one_in_each_part(tmp_path, data_dir, kaggle):
    content = (data_dir / "headers/rfmid_training_labels.csv").read_text("utf-8-sig")
    read = pd.read_csv(data_dir / "headers/rfmid_training_labels.csv", encoding="utf-8-sig")
    names = list(read.columns[2:])
    assert len(names) == 45
    folders, tables = (A, B, C), [f"2. Groundtruths/{x}. RFMiD" for x in "abc"]
    if kaggle:
        at = ["Training_Set/Training_Set", "Evaluation_Set/Evaluation_Set", "Test_Set/Test_Set"]
        folders = [f"{x}/{y}" for x, y in zip(at, ("Training", "Validation", "Test"), strict=True)]
        tables = [f"{x}/RFMiD" for x in at]
    root = tree(tmp_path / "r", *(f"{folders[0]}/{k}.png" for k in read["ID"]))
    tree(root, *(f"{folders[1]}/{k}.png" for k in (1, 2, 3, 4)), f"{folders[2]}/1.png")
    text(root / f"{tables[0]}_Training_Labels.csv", content, "utf-8-sig")

    def rows(*found):
        head = content.splitlines()[0] + "\n"
        body = [[str(k), str(int(bool(x)))] + [str(int(n in x)) for n in names] for k, x in found]
        return head + "".join(",".join(row) + "\n" for row in body)

    found = rows((1, []), (2, ["ODC"]), (3, ["ARMD", "HR"]), (4, ["MYA", "ODC"]))
    text(root / f"{tables[1]}_Validation_Labels.csv", found, "utf-8-sig")
    text(root / f"{tables[2]}_Testing_Labels.csv", rows((1, ["MH"])), "utf-8-sig")
    table, built = made("rfmid", root, tmp_path / "out.csv")
    assert table["split"].value_counts().to_dict() == {"train": len(read), "val": 4, "test": 1}
    assert cells(table[table["split"] != "train"], *LABELS) == {
        f"{folders[1]}/1.png": "1 0 - - 0 - 0 0",
        f"{folders[1]}/2.png": "0 0 - - 0 - 0 -",  # a cupped disc: other, or glaucoma
        f"{folders[1]}/3.png": "0 0 - - 1 - 0 1",  # HR is not hypertensive
        f"{folders[1]}/4.png": "0 0 - - 0 - 1 -",
        f"{folders[2]}/1.png": "0 0 - - 0 - 0 1",
    }
    own, _ = made("rfmid", root, tmp_path / "out.csv", "own")
    assert list(own.columns[-46:]) == ["N", *names]
    train = own[own["split"] == "train"]
    assert train.index.tolist() == [f"{folders[0]}/{k}.png" for k in read["ID"]]
    assert (train[names].astype(int).to_numpy() == read[names].to_numpy()).all()
    assert train["N"].astype(int).tolist() == (1 - read["Disease_Risk"]).tolist()
    assert built["notes"][0].startswith(f"{len(table)} of {len(table)} {OWN}")


def test_jsiec_has_two_dots_and_may_hold_itself_once_more(tmp_path):
    classes = describe("jsiec").classes
    assert len(classes) == 39
    assert len({label for given in classes.values() for label in given}) == 39
    images = [f"{name}/{k:02}-8d87-11e8..JPG" for k, name in enumerate(classes)]
    root = tree(tmp_path / "j", *images, *(f"1000images/{x}" for x in images[:3]), "readme.jpg")
    table, built = made("jsiec", root, tmp_path / "out.csv", "own")
    assert len(table) == 39
    values = table.iloc[:, -39:].astype(int)
    assert (values.sum(axis=1) == 1).all()
    named = values.idxmax(axis=1)
    assert named["0.0.Normal/00-8d87-11e8..JPG"] == "N"
    for image, label in named.items():  # the folder's name without its number
        if label != "N":
            assert image.split("/")[-2].lstrip("0123456789.") == label
    assert sorted(built["notes"][:2]) == [
        "left out: 1 files whose path is of no picture here ('readme.jpg')",
        f"left out: 3 files that are there once more ('1000images/{images[0]}')",
    ]
    table, _ = made("jsiec", root, tmp_path / "out.csv", "odir")
    table.index = [image.split("/")[-2] for image in table.index]
    expected = {
        "0.0.Normal": "1 0 - - - 0 0 0",
        "0.1.Tessellated fundus": "0 0 - - - 0 - 1",
        "0.2.Large optic cup": "0 0 - - - 0 0 -",
        "0.3.DR1": "0 1 - - - 0 0 0",
        "1.1.DR3": "0 1 - - - 0 0 0",
        "2.0.BRVO": "0 0 - - - 0 0 1",
        "6.Maculopathy": "0 - - - - 0 0 -",
        "9.Pathological myopia": "0 0 - - - 0 1 0",
        "10.0.Possible glaucoma": "0 0 - - - 0 0 -",
        "11.Severe hypertensive retinopathy": "0 0 - - - 1 0 0",
        "22.Cotton-wool spots": "0 - - - - - 0 -",
        "29.1.Blur fundus with suspected PDR": "0 - - - - - - -",
    }
    found = cells(table, *LABELS)
    assert {name: found[name] for name in expected} == expected


def test_octid_by_any_of_the_names_of_its_folders(tmp_path):
    root = tree(
        tmp_path / "o", "NORMAL/1.jpeg", "AMRD/1.jpeg", "CSR/CSR/1.jpeg", "DR/1.jpeg", "MH/1.jpeg",
        "Macular_Hole/2.jpeg",
    )  # fmt: skip
    table, built = made("octid", root, tmp_path / "out.csv", "odir")
    assert cells(table, *LABELS) == {
        "NORMAL/1.jpeg": "1 0 - - 0 - - 0",
        "AMRD/1.jpeg": "0 0 - - 1 - - 0",
        "CSR/CSR/1.jpeg": "0 0 - - 0 - - 1",
        "DR/1.jpeg": "0 1 - - 0 - - 0",
        "MH/1.jpeg": "0 0 - - 0 - - 1",
        "Macular_Hole/2.jpeg": "0 0 - - 0 - - 1",
    }
    assert built["notes"][0].startswith("octid.toml: its layout was not seen")


def test_fives_and_hrf_have_their_disease_in_the_name(tmp_path):
    root = tree(tmp_path / "f", *(f"train/Original/{k}_{x}.png" for k, x in enumerate("ADGN")))
    tree(root, "test/Original/7_G.png", "test/Groud truth/7_G.png", "test/Original/Thumbs.db")
    table, built = made("fives", root, tmp_path / "out.csv", "odir")
    assert cells(table, "split", *LABELS) == {
        "train/Original/0_A.png": "train 0 0 0 - 1 - - -",
        "train/Original/1_D.png": "train 0 1 0 - 0 - - -",
        "train/Original/2_G.png": "train 0 0 1 - 0 - - -",
        "train/Original/3_N.png": "train 1 0 0 - 0 - - -",
        "test/Original/7_G.png": "test 0 0 1 - 0 - - -",
    }
    assert [OWN in note for note in built["notes"]] == [True]
    root = tree(tmp_path / "h", "images/01_dr.JPG", "images/01_g.jpg", "images/01_h.jpg")
    tree(root, "manual1/01_h.tif", "mask/01_h_mask.tif")
    table, built = made("hrf", root, tmp_path / "out.csv", "own")
    assert cells(table, "N", "D", "G") == {
        "images/01_dr.JPG": "0 1 0", "images/01_g.jpg": "0 0 1", "images/01_h.jpg": "1 0 0",
    }  # fmt: skip
    assert [OWN in note for note in built["notes"]] == [True]


def test_airogs_says_glaucoma_and_nothing_else(tmp_path):
    at = "eyepac-light-v2-512-jpg"
    root = tree(
        tmp_path / "g", f"{at}/train/RG/EyePACS-TRAIN-RG-1.jpg", f"{at}/validation/NRG/x.jpg",
        f"{at}/test/RG/y.jpg",
    )  # fmt: skip
    table, _ = made("airogs_light", root, tmp_path / "out.csv")
    assert cells(table, "split", *LABELS) == {
        f"{at}/train/RG/EyePACS-TRAIN-RG-1.jpg": "train - - 1 - - - - -",
        f"{at}/validation/NRG/x.jpg": "val - - 0 - - - - -",
        f"{at}/test/RG/y.jpg": "test - - 1 - - - - -",
    }
    first = tree(
        tmp_path / "one", *(f"release-{x}/train/RG/TRAIN1.jpg" for x in ("crop", "pad", "raw"))
    )
    table, built = made("airogs_light", first, tmp_path / "out.csv")
    assert table.index.tolist() == ["release-crop/train/RG/TRAIN1.jpg"]
    note = "left out: 2 files that are there once more ('release-pad/train/RG/TRAIN1.jpg')"
    assert built["notes"][0] == note


def test_eye_diseases_has_a_folder_that_is_not_what_it_is_called(tmp_path):
    root = tree(
        tmp_path / "e", "dataset/normal/2329_left.jpg", "dataset/cataract/_0_4015166.jpg",
        "dataset/glaucoma/1209_right.jpg", "dataset/diabetic_retinopathy/10_left.jpeg",
        "dataset/diabetic_retinopathy/10_right.jpeg",
    )  # fmt: skip
    table, built = made("eye_diseases", root, tmp_path / "out.csv")
    rows = {
        "dataset/cataract/_0_4015166.jpg": "- 0 - 0 1",
        "dataset/glaucoma/1209_right.jpg": "right 0 - 1 0",
        "dataset/normal/2329_left.jpg": "left 1 - 0 0",
    }
    assert cells(table, "eye", "N", "D", "G", "C") == rows
    assert table["patient"]["dataset/normal/2329_left.jpg"] == "eye_diseases-2329"
    folder = "dataset/diabetic_retinopathy"
    counted = "left out: 2 files whose path is of no picture here"
    assert built["notes"][0] == f"{counted} ('{folder}/10_left.jpeg')"
    assert "a part is not there" in built["notes"][1]
    assert "is unselected EyePACS" in built["notes"][1]
    text(root / "trainLabels.csv", "image,level\n10_left,0\n10_right,2\n13_left,1\n")
    table, built = made("eye_diseases", root, tmp_path / "out.csv")
    assert cells(table, "eye", "N", "D", "G", "C") == rows | {
        f"{folder}/10_left.jpeg": "left - 0 - -",
        f"{folder}/10_right.jpeg": "right - 1 - -",
    }
    assert table["patient"][f"{folder}/10_left.jpeg"] == "eye_diseases-eyepacs-10"
    assert built["left_out"] == ["1 row, picture missing (such as '13_left', line 4)"]
    assert [note[:5] for note in built["notes"]] == ["1 of "]


def test_palm_knows_more_of_training_than_of_validation(tmp_path, data_dir):
    root = tree(tmp_path / "p", *(f"PALM-Training400/{x}0001.jpg" for x in "HNP"))
    read = pd.read_csv(data_dir / "headers/palm_validation_labels.csv")
    tree(root, *(f"PALM-Validation400/{x}" for x in read["imgName"]), "PALM-Testing400/T0001.jpg")
    at = root / "PALM-Validation-GT/PM_Label_and_Fovea_Location.xlsx"
    workbook(at, [list(read.columns), *read.astype(object).to_numpy().tolist()])
    table, built = made("palm", root, tmp_path / "out.csv")
    assert cells(table, "split", "N", "M", "D") == {
        "PALM-Training400/H0001.jpg": "train - 0 -",
        "PALM-Training400/N0001.jpg": "train 1 0 -",
        "PALM-Training400/P0001.jpg": "train 0 1 -",
    } | {
        f"PALM-Validation400/{name}": f"val - {label} -"
        for name, label in zip(read["imgName"], read["Label"], strict=True)
    }
    assert (
        "left out: 1 files whose path is of no picture here ('PALM-Testing400/T0001.jpg')"
        in (built["notes"])
    )
    own, _ = made("palm", root, tmp_path / "out.csv", "own")
    assert own["high myopia"]["PALM-Training400/H0001.jpg"] == "1"


def test_adam_and_refuge_say_one_disease_only(tmp_path):
    root = tree(tmp_path / "a", "Training400/AMD/A0001.jpg", "Training400/Non-AMD/N0001.jpg")
    tree(root, "Annotation/Disc_Masks/AMD/A0001.bmp")
    table, built = made("adam", root, tmp_path / "out.csv")
    assert cells(table, "split", *LABELS) == {
        "Training400/AMD/A0001.jpg": "train - - - - 1 - - -",
        "Training400/Non-AMD/N0001.jpg": "train - - - - 0 - - -",
    }
    assert [note[:10] for note in built["notes"]] == ["adam.toml:", "2 of 2 pic"]
    root = tree(
        tmp_path / "r", "Training400/Glaucoma/g0001.jpg", "Training400/Non-Glaucoma/n0001.jpg",
        "REFUGE-Validation400/V0001.jpg", "REFUGE-Validation400/V0002.jpg", "Test400/T0001.jpg",
        "Annotation-Training400/Disc_Cup_Masks/Glaucoma/g0001.bmp",
    )  # fmt: skip
    head = ["ID", "ImgName", "Fovea_X", "Fovea_Y"]
    workbook(
        root / "REFUGE-Validation400-GT/Fovea_locations.xlsx",
        [[*head, "Glaucoma Label"], [1, "V0001.jpg", 1.5, 2.5, 1], [2, "V0002.jpg", 1.5, 2.5, 0]],
    )
    workbook(
        root / "REFUGE-Test-GT/Glaucoma_label_and_Fovea_location.xlsx",
        [["ID", "ImgName", "Label(Glaucoma=1)", "Fovea_X"], [1, "T0001.jpg", 0, 2.5]],
    )
    table, built = made("refuge", root, tmp_path / "out.csv")
    assert cells(table, "split", "N", "G") == {
        "Training400/Glaucoma/g0001.jpg": "train - 1",
        "Training400/Non-Glaucoma/n0001.jpg": "train - 0",
        "REFUGE-Validation400/V0001.jpg": "val - 1",
        "REFUGE-Validation400/V0002.jpg": "val - 0",
        "Test400/T0001.jpg": "test - 0",
    }
    assert [OWN in note for note in built["notes"]] == [True]


def test_drishti_has_one_table_for_both_parts(tmp_path):
    at = "Drishti-GS1_files"
    root = tree(
        tmp_path / "d", f"{at}/Training/Images/drishtiGS_002.png",
        f"{at}/Training/Images/drishtiGS_004.png", f"{at}/Test/Images/drishtiGS_001.png",
    )  # fmt: skip
    rows = [
        ["Drishti-GS1 diagnosis"], [], [None, None, None, "by experts"],
        ["Patient ID", "Drishti-GS File", "Marking 1", "Total"], [None, None, "remark", None],
        [11, "drishtiGS_001'", "x", "Normal"], [12, "drishtiGS_002'", "x", "Glaucomatous"],
        [13, "drishtiGS_003'", "x", "Normal"], [12, "drishtiGS_004'", "x", "Normal"],
    ]  # fmt: skip
    workbook(root / at / "Drishti-GS1_diagnosis.xlsx", rows)
    table, built = made("drishti_gs", root, tmp_path / "out.csv", "odir")
    assert cells(table, "patient", "split", *LABELS) == {
        f"{at}/Test/Images/drishtiGS_001.png": "drishti-11 test 1 - 0 - - - - -",
        f"{at}/Training/Images/drishtiGS_002.png": "drishti-12 train 0 - 1 - - - - -",
        f"{at}/Training/Images/drishtiGS_004.png": "drishti-12 train 1 - 0 - - - - -",
    }
    assert sorted(built["left_out"]) == [
        "1 row, no picture is named (such as '', line 5)",
        "1 row, picture missing (such as 'drishtiGS_003', line 8)",
    ]
