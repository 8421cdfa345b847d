"""Nothing that photographs hold about people is in what the commands write or say."""

import io
import re
from base64 import b64decode

import numpy as np
import pandas as pd
import pytest
from narrow_vit import pretrain_flags, register
from PIL import Image
from private import make_private, marks_in, private_dicom
from tiny import command, make_photographs, train_flags

from fundus_diag.cli import main
from fundus_diag.imaging import dicom
from fundus_diag.runs.salt import salt_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def written(tmp_path_factory, plain_graphs):
    """(folder of all that was written, all that was said) of every command on such photographs."""
    folder = tmp_path_factory.mktemp("private")
    manifest = make_photographs(folder / "in", patients=20)
    table = pd.read_csv(manifest, keep_default_na=False)
    names = make_private(folder / "in", table)
    table["image"] = table["image"].map(names)
    table.to_csv(manifest, index=False)
    out = folder / "out"
    out.mkdir()
    run, root = out / "run", ["--manifest", manifest, "--image-root", manifest.parent]
    masked = manifest.with_name("masked.csv")
    mask = np.zeros((48, 56), np.uint8)
    mask[20:30, 20:30] = 255
    manifest.with_name("masks").mkdir()
    Image.fromarray(mask).save(manifest.with_name("masks") / "mask.png")
    table.assign(mask_spot="masks/mask.png").to_csv(masked, index=False)
    worded = manifest.with_name("worded.csv")
    table.rename(columns={"A": "hard exudate", "B": "drusen"}).to_csv(worded, index=False)
    outlines = {"encoder": "tiny", "weights": "none", "patch_size": 32, "patches": 2,
                "phase1_epochs": 1, "phase2_epochs": 1, "patience": 0, "precision": "float32",
                "image_size": 64}  # fmt: skip
    pair = [manifest.with_name(x) for x in table["image"][:2]]  # the second is a DICOM file
    capture = pytest.MonkeyPatch()
    register(capture.setitem)  # the encoder of the pretraining
    said = io.StringIO()
    for stream in ("sys.stdout", "sys.stderr"):
        capture.setattr(stream, said)
    commands = [
        ["manifest", "check", manifest, "--image-root", manifest.parent],
        train_flags(manifest, run, phase2_epochs=1),
        ["report", run, "--resamples", "100"],
        ["predict", run, *root, "--out", out / "predictions.csv"],
        ["explain", run, *root, "--split", "test"],
        pretrain_flags(manifest, out / "pretrained", epochs=2, pictures_every=1),
        ["export", run, "--out", out / "model"],
        ["manifest", "split", manifest, "--keep-together", root[-1], "--out", out / "split.csv"],
        ["predict", run, manifest.parent, "--out", out / "answers.csv", "--maps"],
        ["predict", run, manifest.parent, "--out", out / "answers.xlsx", "--no-page"],
        ["operate", run, "--criterion", "f1", "--resamples", "100"],
        ["segment", *command("train", masked, out / "outlines", outlines)],
        ["segment", "predict", out / "outlines", manifest.parent, "--out", out / "outlined"],
        ["segment", "report", out / "outlines"],
        train_flags(worded, out / "words", phase2_epochs=1, task="findings"),
        ["retrieve", out / "words", manifest.parent, "--phrases", "drusen", "--out", out / "found"],
        [
            "associate",
            run,
            "--manifest",
            masked,
            *root[2:],
            "--regions",
            "A=spot",
            "--out",
            out / "associated",
        ],
        [
            "case",
            run,
            "--images",
            pair[1],
            "--segment",
            out / "outlines",
            "--findings",
            out / "words",
            "--out",
            out / "case",
        ],
        [
            "case",
            run,
            "--images",
            *pair,
            "--rating",
            out / "rating",
            "--methods",
            "layer_cam",
            "grad_cam",
        ],
    ]
    try:
        for words in commands:
            assert main([str(word) for word in words]) == 0, said.getvalue()[-2000:]
    finally:
        capture.undo()
    assert (run / "salt").is_file()  # people of the folder were told apart by it
    return folder, said.getvalue()


def test_nothing_planted_is_in_any_file_or_line(written):
    folder, said = written
    files = [path for path in (folder / "out").rglob("*") if path.is_file()]
    assert len(files) > 40
    assert {
        str(path): marks_in(path.read_bytes()) for path in files if marks_in(path.read_bytes())
    } == {}
    assert marks_in(said.encode()) == set()
    assert "photographs" in said
    for path in (folder / "in").glob("*.*"):
        assert path.suffix == ".csv" or marks_in(path.read_bytes()), path


def test_pictures_that_are_written_hold_pixels_and_nothing_else(written):
    folder, _ = written
    pictures = [path.read_bytes() for path in (folder / "out").rglob("*.png")]
    for page in (folder / "out").rglob("*.html"):
        found = re.findall(rb"base64,([A-Za-z0-9+/=]+)", page.read_bytes())
        pictures += [b64decode(part) for part in found]
    assert len(pictures) > 20
    assert list((folder / "out" / "pretrained" / "reconstructions").glob("*.png"))
    for content in pictures:
        image = Image.open(io.BytesIO(content))
        known = {"dpi", "jfif", "jfif_version", "jfif_unit", "jfif_density", "Software"}
        known |= {"background", "loop"}  # what Pillow says of any WebP
        assert set(image.info) <= known
        assert not dict(image.getexif())


def test_the_salt_of_a_run_is_not_exported_nor_said(written):
    folder, said = written
    salt = salt_of(folder / "out" / "run")
    held = [
        path.relative_to(folder / "out").as_posix()
        for path in (folder / "out").rglob("*")
        if path.is_file() and salt.encode() in path.read_bytes()
    ]
    assert held == ["run/salt"]
    assert salt not in said


def test_what_is_said_of_damaged_files_holds_nothing_of_them(tmp_path, capfd):
    from fundus_diag.imaging.image_file import open_file

    content = private_dicom(np.zeros((20, 20, 3), "u1"), 1)
    path, said = tmp_path / "x.dcm", []
    for k in range(132, len(content), 97):
        path.write_bytes(
            content[: k - 5] + bytes((7 * k + j) % 256 for j in range(9)) + content[k:]
        )
        said.append(str(open_file(path).reason))
        try:
            said.append(str(dicom.facts(path, "s")))
        except ValueError as error:
            said.append(str(error))
    printed = capfd.readouterr()
    assert marks_in("\n".join([*said, printed.out, printed.err]).encode()) == set()
    assert len(set(said)) > 4
