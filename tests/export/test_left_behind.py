"""What a kill leaves beside an export is put right by the next one."""

import os

from failing import gone_process

from fundus_diag.export.folders import _mend


def folder(path, name):
    (path / name).mkdir()
    (path / name / "labels.txt").write_text(name)


def test_half_an_export_goes_and_the_old_one_comes_back(tmp_path):
    gone, out = gone_process(), tmp_path / "model"
    stays = [f".partial-{os.getpid()}-model", f".partial-{gone}-other", "mine-model", ".git-model"]
    for name in (f".partial-{gone}-model", f".replaced-{gone}-model", *stays):
        folder(tmp_path, name)
    _mend(out)
    assert sorted(x.name for x in tmp_path.iterdir()) == sorted([*stays, "model"])
    assert (out / "labels.txt").read_text() == f".replaced-{gone}-model"
    folder(tmp_path, f".replaced-{gone}-model")
    _mend(out)
    assert (out / "labels.txt").read_text() == f".replaced-{gone}-model"
    assert not (tmp_path / f".replaced-{gone}-model").exists()
