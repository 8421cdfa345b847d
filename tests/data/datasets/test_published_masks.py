"""Data sets with outlines, in the layout as published: columns of masks."""

import shutil

import pytest
from published import cells, made, tree, unpacked

OWN = "pictures are patients of their own"
A = "A. Segmentation/1. Original Images"
TRUTH = "A. Segmentation/2. All Segmentation Groundtruths"
LESIONS = {
    "MA": "1. Microaneurysms", "HE": "2. Haemorrhages", "EX": "3. Hard Exudates",
    "SE": "4. Soft Exudates",
}  # fmt: skip
ALL = ("MA", "HE", "EX", "SE", "OD")


def test_idrid_has_no_lesion_where_there_is_no_file(tmp_path):
    one, two = f"{A}/a. Training Set/IDRiD_01.jpg", f"{A}/b. Testing Set/IDRiD_55.jpg"
    root = tree(
        tmp_path / "i", one, two,
        "B. Disease Grading/1. Original Images/a. Training Set/IDRiD_001.jpg",
        *(f"{TRUTH}/a. Training Set/{LESIONS[x]}/IDRiD_01_{x}.tif" for x in ("MA", "EX")),
        f"{TRUTH}/b. Testing Set/{LESIONS['HE']}/IDRiD_55_HE.tif",
        f"{TRUTH}/b. Testing Set/5. Optic Disc/IDRiD_55_OD.tif",
    )  # fmt: skip
    table, built = made("idrid", root, tmp_path / "out.csv", "masks")
    masks = table[[x for x in table if x.startswith("mask_")]]
    first = f"{TRUTH}/a. Training Set"
    assert masks.T.to_dict() == {
        one: {
            "mask_MA": f"{first}/{LESIONS['MA']}/IDRiD_01_MA.tif",
            "mask_HE": "none",
            "mask_EX": f"{first}/{LESIONS['EX']}/IDRiD_01_EX.tif",
            "mask_OD": "",  # every eye has a disc: nobody outlined it
        },
        two: {
            "mask_MA": "none",
            "mask_HE": f"{TRUTH}/b. Testing Set/{LESIONS['HE']}/IDRiD_55_HE.tif",
            "mask_EX": "none",
            "mask_OD": f"{TRUTH}/b. Testing Set/5. Optic Disc/IDRiD_55_OD.tif",
        },
    }
    assert table["split"].tolist() == ["train", "test"]
    assert built["notes"][0] == "mask_SE: none of its files is there, for any of the pictures"
    assert OWN in built["notes"][1]
    assert len(built["notes"]) == 2


def test_the_real_outlines_of_idrid(data_dir, tmp_path):
    source = unpacked(data_dir, "idrid_lesions/train.tar", tmp_path / "tar")
    root = tmp_path / "i"
    shutil.copytree(source / "images", root / A / "a. Training Set")
    count = {}
    for kind in ALL:
        folder = root / TRUTH / "a. Training Set" / LESIONS.get(kind, "5. Optic Disc")
        shutil.copytree(source / "masks" / kind, folder)
        count[kind] = len(list(folder.iterdir()))
    table, _ = made("idrid", root, tmp_path / "out.csv", "masks")
    assert len(table) == 54
    for kind in ALL:
        files = table[f"mask_{kind}"]
        assert files.isin(["none"]).sum() == 54 - count[kind]
        found = files[files != "none"]
        for image, file in found.items():
            assert file.rpartition("/")[2] == image[-12:-4] + f"_{kind}.png"
            assert (root / file).is_file()
    assert count["SE"] == 26


def test_drive_has_a_second_observer_for_test_only(tmp_path):
    root = tree(
        tmp_path / "d", "training/images/21_training.tif", "training/1st_manual/21_manual1.gif",
        "training/mask/21_training_mask.gif", "test/images/01_test.tif",
        "test/1st_manual/01_manual1.gif", "test/2nd_manual/01_manual2.gif",
        "test/mask/01_test_mask.gif",
    )  # fmt: skip
    table, built = made("drive", root, tmp_path / "out.csv")
    assert cells(table, "split", "mask_vessels", "mask_vessels_2", "mask_fov") == {
        "test/images/01_test.tif": "test test/1st_manual/01_manual1.gif "
        "test/2nd_manual/01_manual2.gif test/mask/01_test_mask.gif",
        "training/images/21_training.tif": "train training/1st_manual/21_manual1.gif - "
        "training/mask/21_training_mask.gif",
    }
    assert [OWN in note for note in built["notes"]] == [True]


def test_the_real_pictures_of_drive_and_stare(data_dir, tmp_path):
    root = unpacked(data_dir, "vessels/drive.tar", tmp_path)
    for part in ("training", "test"):  # this copy calls the fields of view otherwise
        for path in (root / f"drive/{part}/mask").iterdir():
            path.rename(path.with_name(path.name.replace("_mask", f"_{part}_mask")))
    table, built = made("drive", root, tmp_path / "out.csv")
    assert table["split"].value_counts().to_dict() == {"train": 20, "test": 20}
    assert (table["mask_vessels_2"] != "").sum() == 20
    for image, row in table.iterrows():
        number = image.rpartition("/")[2][:2]
        assert (
            row["mask_vessels"]
            == f"{image[: image.index('/images')]}/1st_manual/{number}_manual1.png"
        )
        assert (root / row["mask_fov"]).is_file()
        assert row["mask_fov"].rpartition("/")[2].startswith(number)
    assert len(built["notes"]) == 1
    root = unpacked(data_dir, "vessels/stare.tar", tmp_path / "s")
    table, built = made("stare", root, tmp_path / "out.csv")
    assert len(table) == 20
    for image, row in table.iterrows():
        stem = image.removeprefix("stare/images/").removesuffix(".png")
        assert row["mask_vessels"] == f"stare/labels-ah/{stem}.ah.png"
        assert row["mask_vessels_2"] == f"stare/labels-vk/{stem}.vk.png"
    assert len(built["notes"]) == 1


def test_the_real_people_of_les_av(data_dir, tmp_path):
    root = unpacked(data_dir, "vessels/les_av.tar", tmp_path)
    table, built = made("les_av", root, tmp_path / "out.csv", "masks")
    assert len(table) == 22
    one = table.loc["les_av/images/15.jpg"]
    assert (one["patient"], one["eye"], str(one["age"]), one["sex"]) == (
        "les-av-15", "right", "74", "female",
    )  # fmt: skip
    for image, row in table.iterrows():
        stem = image.rpartition("/")[2].removesuffix(".jpg")
        assert row["mask_vessels"] == f"les_av/vessel-segmentations/{stem}.png"
        assert row["mask_disc"] == f"les_av/od-masks/{stem}.png"
        assert row["mask_fov"] == f"les_av/masks/{stem}_mask.png"
        assert all((root / row[x]).is_file() for x in row.index if x.startswith("mask_"))
    assert built["notes"][0].startswith("les_av.toml: ")
    table, _ = made("les_av", root, tmp_path / "labels.csv", "odir")
    assert table[["N", "G"]].astype(float).sum().tolist() == [11, 11]
    assert table.loc["les_av/images/111.jpg", ["N", "G"]].astype(float).tolist() == [0, 1]


def test_chase_has_both_eyes_of_a_child(tmp_path):
    root = tree(
        tmp_path / "c", "Image_01L.jpg", "Image_01R.jpg", "Image_01L_1stHO.png",
        "Image_01R_1stHO.png", "Image_01L_2ndHO.png",
    )  # fmt: skip
    table, built = made("chase_db1", root, tmp_path / "out.csv")
    assert cells(table, "patient", "eye", "mask_vessels", "mask_vessels_2") == {
        "Image_01L.jpg": "chase-01 left Image_01L_1stHO.png Image_01L_2ndHO.png",
        "Image_01R.jpg": "chase-01 right Image_01R_1stHO.png -",
    }
    assert built["notes"] == []


@pytest.mark.parametrize("parted", [False, True])
def test_stare_and_hrf_and_fives(tmp_path, parted):
    root = tree(
        tmp_path / "s", "stare-images/im0001.ppm", "labels-ah/im0001.ah.ppm",
        "labels-vk/im0001.vk.ppm",
    )  # fmt: skip
    table, _ = made("stare", root, tmp_path / "out.csv")
    assert cells(table, "mask_vessels", "mask_vessels_2") == {
        "stare-images/im0001.ppm": "labels-ah/im0001.ah.ppm labels-vk/im0001.vk.ppm"
    }
    image, vessels, fov = "images/01_h.jpg", "manual1/01_h.tif", "mask/01_h_mask.tif"
    if parted:  # an archive for each disease
        image, vessels = "healthy/01_h.jpg", "healthy_manualsegm/01_h.tif"
        fov = "healthy_fovmask/01_h_mask.tif"
    table, built = made("hrf", tree(tmp_path / "h", image, vessels, fov), tmp_path / "out.csv")
    assert cells(table, "mask_vessels", "mask_fov") == {image: f"{vessels} {fov}"}
    assert "N" not in table
    word = "Ground truth" if parted else "Groud truth"
    root = tree(tmp_path / "f", "train/Original/1_A.png", f"train/{word}/1_A.png")
    table, _ = made("fives", root, tmp_path / "out.csv", "masks")
    assert table["mask_vessels"].tolist() == [f"train/{word}/1_A.png"]
    assert table["split"].tolist() == ["train"]


def test_discs_and_cups_of_refuge_and_drishti(tmp_path):
    root = tree(
        tmp_path / "r", "Training400/Glaucoma/g0001.jpg", "REFUGE-Validation400/V0001.jpg",
        "Test400/T0001.jpg", "Annotation-Training400/Disc_Cup_Masks/Glaucoma/g0001.bmp",
        "REFUGE-Validation400-GT/Disc_Cup_Masks/V0001.bmp",
    )  # fmt: skip
    table, _ = made("refuge", root, tmp_path / "out.csv", "masks")
    assert cells(table, "split", "mask_disc_cup") == {
        "REFUGE-Validation400/V0001.jpg": "val REFUGE-Validation400-GT/Disc_Cup_Masks/V0001.bmp",
        "Test400/T0001.jpg": "test -",
        "Training400/Glaucoma/g0001.jpg": "train "
        "Annotation-Training400/Disc_Cup_Masks/Glaucoma/g0001.bmp",
    }
    at = "Drishti-GS1_files"
    maps = [
        f"{at}/{folder}/{name}/SoftMap/{name}_{kind}segSoftmap.png"
        for folder, name in (("Training/GT", "drishtiGS_002"), ("Test/Test_GT", "drishtiGS_001"))
        for kind in ("OD", "cup")
    ]
    root = tree(
        tmp_path / "d", f"{at}/Training/Images/drishtiGS_002.png",
        f"{at}/Test/Images/drishtiGS_001.png", *maps,
    )  # fmt: skip
    table, built = made("drishti_gs", root, tmp_path / "out.csv")
    assert cells(table, "split", "mask_disc", "mask_cup") == {
        f"{at}/Test/Images/drishtiGS_001.png": f"test {maps[2]} {maps[3]}",
        f"{at}/Training/Images/drishtiGS_002.png": f"train {maps[0]} {maps[1]}",
    }
    assert built["notes"][0].startswith("drishti_gs.toml: ")


def test_the_real_maps_of_drishti(data_dir, tmp_path):
    source = unpacked(data_dir, "disc_cup/drishti_gs.tar", tmp_path / "tar") / "drishti_gs/training"
    root = tmp_path / "d"
    shutil.copytree(source / "images", root / "Training/Images")
    for path in (source / "softmap").iterdir():
        name, kind = path.stem.rsplit("_", 1)
        folder = root / f"Training/GT/{name}/SoftMap"
        folder.mkdir(parents=True, exist_ok=True)
        kind = {"od": "OD", "cup": "cup"}[kind]
        shutil.copy(path, folder / f"{name}_{kind}segSoftmap.png")
    table, _ = made("drishti_gs", root, tmp_path / "out.csv")
    assert len(table) == 50
    for column in ("mask_disc", "mask_cup"):
        assert all((root / file).is_file() for file in table[column])
        assert table[column].nunique() == 50
