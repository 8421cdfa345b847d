"""The salt of a run: made once, kept, never anybody else's."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from fundus_diag.runs import contents
from fundus_diag.runs.salt import _make, salt_of
from fundus_diag.utils.errors import DataError


def test_a_salt_is_made_once_however_many_ask_and_is_of_this_run_alone(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: salt_of(tmp_path), range(32)))
    (salt,) = found
    assert len(bytes.fromhex(salt)) == 32
    assert salt_of(tmp_path) == salt
    _make(tmp_path / "salt")  # of one that was second
    assert salt_of(tmp_path) == salt
    assert [x.name for x in tmp_path.iterdir()] == ["salt"]
    assert (tmp_path / "salt").stat().st_mode & 0o777 == 0o600
    (tmp_path / "other").mkdir()
    assert salt_of(tmp_path / "other") != salt
    assert contents.own_files(tmp_path) == [tmp_path / "salt"]


def test_a_salt_that_is_none_or_cannot_be_made_is_said(tmp_path):
    (tmp_path / "salt").write_text("abc\n")
    with pytest.raises(DataError, match="salt: no salt of a run"):
        salt_of(tmp_path)
    with pytest.raises(DataError, match="salt: cannot be read or written: No such file"):
        salt_of(tmp_path / "none")


def test_a_disk_without_links_keeps_a_salt_too(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    assert salt_of(tmp_path) == salt_of(tmp_path)
