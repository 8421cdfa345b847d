"""Pictures that lie under another form of their name, or that cannot be looked at."""

import errno
import ntpath
import os
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fundus_diag.data.checks import check
from fundus_diag.data.datasets.build import build
from fundus_diag.data.inputs import load_inputs
from fundus_diag.data.manifest import from_table, resolve_images
from fundus_diag.data.paths import NO_FILE, check_names, escaped, inside, not_there, wrong_path
from fundus_diag.utils.errors import DataError

FORMS = {form: unicodedata.normalize(form, "gauche_é/Ä.png") for form in ("NFC", "NFD")}


def put(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def failing(monkeypatch):
    """Makes the system answer every question about a file called STALE with an error."""

    def fail(number):
        real = os.stat

        def answer(path, *args, **kwargs):
            if "STALE" in os.fspath(path):
                raise OSError(number, os.strerror(number), os.fspath(path))
            return real(path, *args, **kwargs)

        monkeypatch.setattr(os, "stat", answer)
        monkeypatch.setattr(Path, "stat", lambda self, **kwargs: answer(self, **kwargs))

    return fail


def table(*images):
    rows = [(image, f"p{k}", "left", 1.0) for k, image in enumerate(images)]
    return from_table(pd.DataFrame(rows, columns=["image", "patient", "eye", "D"]))


@pytest.mark.parametrize("there", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_a_name_is_found_in_either_form(tmp_path, there, written):
    assert FORMS["NFC"] != FORMS["NFD"]
    path = put(tmp_path / FORMS[there])
    assert inside(tmp_path, FORMS[written]) == path
    assert resolve_images(table(FORMS[written]), tmp_path) == [path]


def test_the_form_that_is_written_comes_first_and_folders_may_mix(tmp_path):
    for path in FORMS.values():
        put(tmp_path / path)
    for written in FORMS.values():
        assert inside(tmp_path, written) == tmp_path / written
    folder, name = FORMS["NFC"].split("/")[0], FORMS["NFD"].split("/")[1]
    (tmp_path / FORMS["NFC"]).unlink()
    mixed = put(tmp_path / folder / name)
    assert inside(tmp_path, FORMS["NFC"]) == mixed
    absent = inside(tmp_path, "ü.png")
    assert absent == tmp_path / "ü.png"
    assert not_there(absent) == "no such file"


LONG = "眼" * 90 + ".jpg"  # 274 bytes


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EACCES])
def test_a_picture_that_cannot_be_looked_at_is_named_and_not_missing(tmp_path, failing, number):
    put(tmp_path / "STALE.jpg")
    failing(number)
    reason = f"cannot be read: {os.strerror(number)}"
    assert not_there(tmp_path / "STALE.jpg") == reason
    assert resolve_images(table("STALE.jpg"), tmp_path) == [tmp_path / "STALE.jpg"]
    inputs = load_inputs(table("STALE.jpg"), tmp_path, image_size=32, crop="none", unit="eye")
    assert inputs.bad == [["STALE.jpg", reason]]
    path = tmp_path / "t.csv"
    path.write_text("image,patient,eye,D\nSTALE.jpg,1,left,1\n")
    assert check(path, tmp_path).errors == [f"{path}: STALE.jpg: {reason}"]
    with pytest.raises(DataError, match=f"t.csv line 2: image 'STALE.jpg' {reason}"):
        build("csv", tmp_path, tmp_path / "out.csv", table=path)


def test_a_name_that_is_too_long_is_named(tmp_path):
    reason = f"cannot be read: {os.strerror(errno.ENAMETOOLONG)}"
    assert not_there(tmp_path / LONG) == reason
    assert inside(tmp_path, LONG) == tmp_path / LONG
    assert resolve_images(table(LONG), tmp_path) == [tmp_path / LONG]


def test_folders_and_broken_links_are_no_files(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere")
    put(tmp_path / "file")
    for name in ("folder.jpg", "link.jpg", "file/x.jpg", "none.jpg"):
        assert not_there(tmp_path / name) == "no such file"


@given(st.text(st.sampled_from("a./\\\\:C é") | st.characters(), max_size=12))
@example("a:b")
@example("0:")
@example("ab:c/..d")
def test_a_path_leaves_the_root_where_a_system_would_go_elsewhere(image):
    flavours = PurePosixPath(image), PureWindowsPath(image)
    leaves = any(x.is_absolute() or x.root or ".." in x.parts for x in flavours)
    leaves |= bool(ntpath.splitdrive(image)[0])  # also 0: and such, which pathlib lets pass
    why = wrong_path(image)
    if why in (None, "leaves the image root"):
        assert bool(why) == leaves


ODD = os.fsdecode(b"\xd5\xc5_left.jpg")


def test_names_that_are_not_utf_8_are_said_by_their_bytes():
    assert escaped(ODD) == r"\xd5\xc5_left.jpg"
    assert escaped("é a.jpg") == "é a.jpg"
    assert escaped("\x1b[2Ja\u3000\n.jpg") == r"\x1b[2Ja\u3000\n.jpg"
    assert wrong_path(ODD) == "is not UTF-8"
    with pytest.raises(DataError, match="UTF-8") as caught:
        check_names([Path("fine.jpg"), Path("root") / ODD])
    assert str(caught.value).startswith(r"root/\xd5\xc5_left.jpg: the name of the file is not")
    str(caught.value).encode()
    check_names([Path("é.jpg")])


@pytest.mark.parametrize("image", [" a.jpg", "a.jpg\u3000", "a.jpg\x85"])
def test_a_name_with_blanks_around_it_would_not_be_read_back(image):
    assert wrong_path(image) == "begins or ends with a blank"


def test_backslashes_are_folders_where_no_name_has_them(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "1.jpg").touch()
    assert inside(tmp_path, "a\\b\\1.jpg") == tmp_path / "a" / "b" / "1.jpg"
    assert inside(tmp_path, "a\\b/1.jpg") == tmp_path / "a" / "b" / "1.jpg"
    assert inside(tmp_path, "a\\b\\2.jpg") == tmp_path / "a\\b\\2.jpg"
    (tmp_path / "a\\b\\1.jpg").touch()
    assert inside(tmp_path, "a\\b\\1.jpg") == tmp_path / "a\\b\\1.jpg"
    for outside in ("a\\..\\..\\x", "\\a\\b\\1.jpg", "C:\\a", "..\\x"):
        assert inside(tmp_path, outside) is None


def test_a_frame_lies_where_its_file_does(tmp_path):
    (tmp_path / "s.dcm").touch()
    (tmp_path / unicodedata.normalize("NFD", "é.dcm")).touch()
    assert not_there(inside(tmp_path, "s.dcm#2")) is None
    assert not_there(inside(tmp_path, "t.dcm#2")) == NO_FILE
    assert not_there(inside(tmp_path, unicodedata.normalize("NFC", "é.dcm#2"))) is None
