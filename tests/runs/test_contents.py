"""What belongs to a run in its folder: only that is removed, and nothing else is taken for one."""

import dataclasses
import json
import os

import pytest
import tiny  # noqa: F401, its encoder
from failing import Killed, bury, failing, gone_process

from fundus_diag.runs import contents, directory, same_flags
from fundus_diag.runs.run_files import CLASSIFIER
from fundus_diag.training.config import TrainConfig
from fundus_diag.utils.errors import DataError, UsageError

GONE = gone_process()
OWN = [
    "config.json", "model.weights.h5", "history.csv", "thresholds.json", "photographs.csv",
    "predictions_val.csv", "predictions_test.csv.partial", "metrics_test.json", "report.html",
    "report_val.html", "explanations.html", "checkpoint/epoch-00003.npz",
    "checkpoint/best-00002.npz", f"checkpoint/.partial-{GONE}-epoch-00004.npz",
    "figures/roc_test.png", "figures/curve_loss.png",
    "tensorboard/events.out.tfevents.1.host.2.0.v2",
    "cams/12_left.png", "cams/12_left.npz", "cams/explanations.csv",
    "faithfulness/faithfulness.csv", "faithfulness/deletion_insertion_D.png", "loss.png",
    "reconstructions/epoch-0010.png", "encoder.weights.h5", f".partial-{GONE}-config.json",
]  # fmt: skip
FOREIGN = [
    "images/a.jpg", "masks/HE/a.png", "manifest.csv", "notes.txt", "figures/mine.png",
    "checkpoint/mine.npz", "tensorboard/notes.txt", "my_report.html", "saved_model/1/a.pb",
    "cams/why.md", "cams/my_annotation.png", "history.csv.old",
]  # fmt: skip


def fill(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
        if name == "cams/explanations.csv":
            (folder / name).write_text("image,file\na/12_left.jpg,12_left\nb.jpg,../b\n")


def names_in(folder):
    return sorted(str(x.relative_to(folder)) for x in folder.rglob("*") if not x.is_dir())


def config(run_dir, tmp_path, **flags):
    manifest = tmp_path / "photographs" / "manifest.csv"
    root = manifest.parent
    root.mkdir(exist_ok=True)
    manifest.touch()
    return TrainConfig(manifest, root, run_dir, encoder="tiny", weights="none", **flags).resolved()


def begun(run_dir, tmp_path, finished=None, **flags):
    """The config.json of a run with these flags."""
    run_dir.mkdir(parents=True, exist_ok=True)
    given = same_flags.flags(config(run_dir, tmp_path, **flags))
    counts = {"A": 1}
    part = {"rows": 1, "patients": 1, "positives": counts, "negatives": counts, "ungraded": counts}
    first = {k: given.pop(k) for k in ("encoder", "image_size", "unit", "task", "weights", "seed")}
    facts = first | {"labels": ["A"], "pretrained": False, "versions": {}, "flags": given}
    facts |= {"data": {"sha256": "1", "splits": {"train": part}}}
    facts |= {"started": "2026-01-01", "finished": finished}
    (run_dir / "config.json").write_text(json.dumps(facts))


def claim(config, sha256="1", images=()):
    with directory.claimed(config, sha256, CLASSIFIER, images) as before:
        return before


def test_own_and_foreign_files_are_told_by_name(tmp_path):
    fill(tmp_path, OWN + FOREIGN)
    known = contents.own_files(tmp_path)
    known += contents.own_files(tmp_path, dict.fromkeys(contents.FILES, contents.LEFT_BEHIND))
    assert sorted(str(x.relative_to(tmp_path)) for x in known) == sorted(OWN)
    assert contents.foreign(tmp_path) == sorted(
        ["images/", "masks/", "saved_model/", *(x for x in FOREIGN if x.split("/")[0] not in
                                                 ("images", "masks", "saved_model"))]
    )  # fmt: skip


def test_clearing_removes_what_is_own_and_folders_that_are_empty_then(tmp_path):
    fill(tmp_path, OWN + FOREIGN)
    outside = tmp_path.parent / f"{tmp_path.name}_outside"
    fill(outside, ["epoch-00001.npz", "mine.npz"])
    (tmp_path / "reconstructions" / "epoch-0010.png").unlink()
    (tmp_path / "reconstructions" / "epoch-0010.png").symlink_to(outside / "mine.npz")
    assert contents.clear(tmp_path) == contents.foreign(tmp_path)
    assert names_in(tmp_path) == sorted([*FOREIGN, "config.json"])
    assert not (tmp_path / "reconstructions").exists()
    assert (tmp_path / "figures").exists()  # somebody's picture is in it
    assert names_in(outside) == ["epoch-00001.npz", "mine.npz"]


def test_behind_a_link_nothing_is_a_runs(tmp_path):
    run, mine = tmp_path / "run", tmp_path / "mine"
    fill(run, ["config.json"])
    fill(mine, ["explanations.csv", "12_left.png"])
    (mine / "explanations.csv").write_text("file\n12_left\n")
    (run / "cams").symlink_to(mine)
    assert contents.foreign(run) == ["cams/"]
    assert contents.clear(run) == ["cams/"]
    assert names_in(mine) == ["12_left.png", "explanations.csv"]


def test_half_written_files_of_a_live_process_stay(tmp_path):
    mine, gone = f".partial-{os.getpid()}-x.csv", f".partial-{gone_process()}-x.csv"
    fill(tmp_path, [mine, gone])
    contents.sweep(tmp_path)
    assert names_in(tmp_path) == [mine]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_run_is_not_replaced_while_something_is_written_into_it(tmp_path, when):
    run = tmp_path / "run"
    begun(run, tmp_path)
    fill(run, ["cams/explanations.csv"])
    before, given = facts_of(run), config(run, tmp_path, overwrite=True)
    lock = json.dumps({"pid": 1, "host": "elsewhere"})
    if when == "before":
        (run / "cams" / ".lock").write_text(lock)
        with pytest.raises(UsageError, match="process 1 on elsewhere"):
            claim(given)
    else:
        with directory.claimed(given, "1", CLASSIFIER):
            (run / "cams" / ".lock").write_text(lock)
            with pytest.raises(UsageError, match="process 1 on elsewhere"):
                directory.begin(given, before | {"started": "now"})
    assert facts_of(run) == before


@pytest.mark.parametrize("flag", ["resume", "overwrite"])
def test_a_folder_that_is_no_run_is_neither_gone_on_with_nor_replaced(tmp_path, flag):
    run = tmp_path / "run"
    fill(run, ["images/a.jpg", "manifest.csv"])
    with pytest.raises(UsageError, match=r"something else than a run \(images/, manifest.csv\)"):
        claim(config(run, tmp_path, **{flag: True}))
    with pytest.raises(UsageError, match="not empty; name a new folder"):
        claim(config(run, tmp_path))
    assert names_in(run) == ["images/a.jpg", "manifest.csv"]


def test_what_a_kill_leaves_before_anything_is_written_is_gone_on_with(tmp_path):
    run = tmp_path / "run"
    fill(run, [".partial-3-config.json", ".lock-4"])
    (run / ".lock").write_text("{")
    assert claim(config(run, tmp_path, resume=True)) is None


@pytest.mark.parametrize("what", ["the table", "the root", "the root itself", "photographs"])
@pytest.mark.parametrize("flag", ["resume", "overwrite", None])
def test_a_folder_that_holds_what_the_run_reads_is_refused(tmp_path, what, flag):
    data = tmp_path / "data"
    fill(data, ["manifest.csv", "images/a.jpg", "images/sub/b.jpg"])
    run_dir = {"the table": data, "the root": data, "the root itself": data / "images"}.get(
        what, data / "images" / "sub"
    )
    root = data if what == "the table" else data / "images"
    table = data / "manifest.csv" if what == "the table" else tmp_path / "elsewhere.csv"
    images = ["a.jpg", "sub/b.jpg"]
    flags = {flag: True} if flag else {}
    given = TrainConfig(table, root, run_dir, encoder="tiny", weights="none", **flags).resolved()
    before = names_in(tmp_path)
    with pytest.raises(UsageError, match="name a folder of its own"):
        claim(given, images=images)
    assert names_in(tmp_path) == before


def test_a_run_below_the_root_but_beside_its_photographs_is_fine(tmp_path):
    data = tmp_path / "data"
    fill(data, ["manifest.csv", "images/a.jpg"])
    given = TrainConfig(data / "manifest.csv", data, data / "run", encoder="tiny", weights="none")
    assert claim(given.resolved(), images=["images/a.jpg"]) is None


def test_every_flag_that_differs_is_named_at_once_and_those_of_places_may(tmp_path):
    run = tmp_path / "run"
    begun(run, tmp_path, seed=3, dropout=0.1)
    moved = tmp_path / "moved"
    run.rename(moved)
    other = tmp_path / "other"
    other.mkdir()
    (other / "m.csv").touch()
    same = {"encoder": "tiny", "weights": "none", "seed": 3, "dropout": 0.1, "cache": "disk"}
    given = TrainConfig(other / "m.csv", other, moved, **same, resume=True).resolved()
    assert claim(given)["seed"] == 3
    with pytest.raises(DataError, match=r"m\.csv: has changed"):
        claim(given, sha256="2")
    given = TrainConfig(
        other / "m.csv", other, moved, encoder="tiny", weights="none", resume=True, mixup=0.2
    ).resolved()
    with pytest.raises(UsageError) as caught:
        claim(given)
    for part in ("--seed (3, not 0)", "--dropout (0.1, not 0.5)", "--mixup (0.0, not 0.2)"):
        assert part in str(caught.value)


def test_a_run_that_was_begun_before_a_flag_was_there_goes_on(tmp_path):
    run = tmp_path / "run"
    begun(run, tmp_path)
    facts = json.loads((run / "config.json").read_text())
    del facts["flags"]["rand_augment"]
    (run / "config.json").write_text(json.dumps(facts))
    assert claim(config(run, tmp_path, resume=True)) is not None


@pytest.mark.parametrize("file", ["encoder.weights.h5", "efficientnet-lite0-deadbeef.pth"])
def test_weights_are_known_by_their_place_from_every_folder(tmp_path, monkeypatch, file):
    run, flags = tmp_path / "run", {"weights": f"pre/{file}"}
    monkeypatch.chdir(tmp_path)
    given = config(run, tmp_path)
    placed = same_flags.flags(dataclasses.replace(given, **flags))
    assert placed["weights"] == str(tmp_path / "pre" / file)
    begun(run, tmp_path)
    facts, again = facts_of(run), dataclasses.replace(given, resume=True)
    for then in (placed["weights"], flags["weights"]):  # the second by an older version
        (run / "config.json").write_text(json.dumps(facts | {"weights": then}))
        assert claim(dataclasses.replace(again, **flags)) is not None
        with pytest.raises(UsageError, match="--weights"):
            claim(dataclasses.replace(again, weights="pre/another.weights.h5"))


def facts_of(run):
    return json.loads((run / "config.json").read_text())


def test_replacing_a_run_keeps_what_is_somebodys_and_says_so(tmp_path, capsys):
    run = tmp_path / "run"
    fill(run, OWN + FOREIGN)
    begun(run, tmp_path)
    given = config(run, tmp_path, overwrite=True)
    with directory.claimed(given, "1", CLASSIFIER):
        directory.begin(given, facts_of(run) | {"new": 1})
    assert names_in(run) == sorted([*FOREIGN, "config.json"])
    assert facts_of(run)["new"] == 1
    said = capsys.readouterr().err
    assert "left as they are: " in said
    assert "cams/my_annotation.png" in said


def test_a_run_is_replaced_wholly_though_its_replacement_was_killed(tmp_path):
    run, kept = tmp_path / "run", sorted([*FOREIGN, "config.json"])
    fill(run, OWN + FOREIGN)
    begun(run, tmp_path)
    given = config(run, tmp_path, overwrite=True)

    def replace(given):
        with directory.claimed(given, "1", CLASSIFIER) as before:
            directory.begin(given, facts_of(run) | {"new": 1, "started": "now"}, before)

    at, ended = 0, False
    while not ended:
        at += 1
        fill(run, [x for x in OWN if x != "config.json"])
        begun(run, tmp_path)
        with failing(run, at, None, removing=True) as disk:
            try:
                replace(given)
                ended = True
            except Killed:
                pass
        if ended:
            break
        assert disk.dead
        if not facts_of(run).get("new"):  # still the old run: then it is whole
            assert {x for x in OWN if ".partial" not in x} <= set(names_in(run)), at
        bury(run)
        # Whoever goes on with it meets no state of the old run beside the new one's facts.
        replace(config(run, tmp_path, resume=True) if facts_of(run).get("new") else given)
        left = [x for x in names_in(run) if x.startswith("checkpoint/e")]
        assert left == [], at
        assert set(kept) <= set(names_in(run))
    assert at > 4


def test_sessions_are_added_up(tmp_path):
    run = tmp_path / "run"
    begun(run, tmp_path)
    given = config(run, tmp_path, resume=True)
    facts = directory.begin(given, facts_of(run) | {"started": "2026-02-02"}, facts_of(run))
    assert facts["started"] == "2026-01-01"
    assert facts["sessions"] == ["2026-01-01", "2026-02-02"]
    facts = directory.begin(given, facts | {"started": "2026-03-03"}, facts)
    assert facts["sessions"] == ["2026-01-01", "2026-02-02", "2026-03-03"]


def test_ctrl_c_says_how_to_go_on(tmp_path):
    run = tmp_path / "run"
    given = config(run, tmp_path)

    def interrupted(begin):
        with directory.claimed(given, "1", CLASSIFIER):
            if begin:
                begun(run, tmp_path)
            raise KeyboardInterrupt

    for begin in (False, True):
        with pytest.raises(KeyboardInterrupt) as stop:
            interrupted(begin)
        said = f"interrupted; go on with: fundus-diag train --run-dir {run} --resume"
        assert str(stop.value) == (
            said if begin else "interrupted; nothing was begun in the folder"
        )


def test_a_folder_of_the_run_that_another_process_writes_into_is_not_cleared(tmp_path):
    fill(tmp_path, ["config.json", "cams/a.png"])
    (tmp_path / "cams" / ".lock").write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
    with pytest.raises(UsageError, match="process 1 on elsewhere"):
        contents.clear(tmp_path)
    assert (tmp_path / "cams" / "a.png").exists()
