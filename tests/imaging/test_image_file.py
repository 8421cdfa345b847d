"""What header and end of a file tell, without decoding it."""

import pytest
from bad_images import BAD, FILES, TIFFS

from fundus_diag.imaging import convert, image_file
from fundus_diag.imaging.image_file import check_files, check_header

UNSEEN = {"damaged.png", "closed.jpg"}  # between header and end


@pytest.fixture
def undecoded(monkeypatch):
    """Whoever decodes fails."""
    monkeypatch.setattr(image_file, "traced_decode", None)
    monkeypatch.setattr(convert.cv2, "imdecode", None)


@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize("name", [*FILES, *TIFFS])
def test_nothing_is_said_against_a_good_file(name, tmp_path):
    (tmp_path / name).write_bytes({**FILES, **TIFFS}[name])
    assert check_header(tmp_path / name) is None


@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize("name", BAD)
def test_of_a_bad_file_the_same_is_said_as_by_decoding_it(name, tmp_path):
    content, reason = BAD[name]
    (tmp_path / name).write_bytes(content)
    assert check_header(tmp_path / name) == (None if name in UNSEEN else reason)


@pytest.mark.usefixtures("undecoded")
def test_a_file_that_is_not_there_is_said_so(tmp_path):
    assert check_header(tmp_path / "none.jpg") == "no such file"
    (tmp_path / "cut.tif").write_bytes(TIFFS["plain.tif"][:3000])  # its directory stands in front
    paths = [tmp_path / "none.jpg", tmp_path / "cut.tif", tmp_path]
    assert check_files(paths, check=check_header) == [
        (paths[0], "no such file"),
        (paths[2], "cannot be read: Is a directory"),
    ]
