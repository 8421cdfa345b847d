"""What is said before any work: mistyped paths, settings of Keras, what the help promises."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest
from report_runs import write_run
from tiny import main, make_photographs

from fundus_diag.cli import demo
from fundus_diag.cli.main import COMMANDS
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.files import sha256
from fundus_diag.utils.keras_settings import check_backend
from fundus_diag.utils.version import __version__


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    make_photographs(folder / "photographs", patients=3)
    write_run(folder / "run", n_patients=10)
    (folder / "masks").mkdir()
    return folder


def mistyped(folder):
    """(status, words) of commands each of which names one thing that is not there."""
    root, run, gone = folder / "photographs", folder / "run", folder / "nowhere" / "gone"
    table, out = root / "manifest.csv", folder / "out"
    picture = root / "000_left.png"
    train = ["--run-dir", out, "--encoder", "se_xception_small", "--image-size", 32]
    pages = ["--out", out]
    return [
        (1, ["train", "--manifest", gone, "--image-root", root, *train]),
        (1, ["train", "--manifest", table, "--image-root", gone, *train]),
        (1, ["train", "--manifest", table, "--image-root", root, *train, "--weights", gone]),
        (2, ["train", "--run-dir", gone, "--resume"]),
        (1, ["train", "--manifest", gone, "--image-root", root, *train, "--dry-run"]),
        (1, ["runs", gone]),
        (1, ["pretrain", "--manifest", gone, "--image-root", root, "--run-dir", out]),
        (1, ["pretrain", "--manifest", table, "--image-root", gone, "--run-dir", out]),
        (1, ["report", gone]),
        (1, ["report", run, "--predictions", gone, *pages]),
        (2, ["report", run, "--resamples", 50, "--split", "gone"]),
        (2, ["report", run, "--split", "../gone"]),
        (1, ["explain", gone, "--images", picture, *pages]),
        (1, ["explain", run, "--images", picture, gone, *pages]),
        (1, ["explain", run, "--manifest", gone, "--image-root", root, *pages]),
        (1, ["explain", run, "--manifest", table, "--image-root", gone, *pages]),
        (1, ["explain-eval", run, "--masks", gone, "--images", picture, *pages]),
        (1, ["export", gone, "--out", out]),
        (1, ["segment", "train", "--manifest", gone, "--image-root", root, "--run-dir", out]),
        (1, ["segment", "train", "--manifest", table, "--image-root", gone, "--run-dir", out]),
        (2, ["segment", "train", "--run-dir", gone, "--resume"]),
        (1, ["segment", "predict", gone, picture, *pages]),
        (1, ["segment", "report", gone]),
        (1, ["case", gone, "--images", picture, *pages]),
        (1, ["case", run, "--images", gone, *pages]),
        (1, ["case", "--rating-summary", gone, gone]),
        (1, ["retrieve", gone, picture, "--phrases", "drusen", *pages]),
        (1, ["retrieve", run, gone, "--phrases", "drusen", *pages]),
        (
            1,
            [
                "associate",
                gone,
                "--manifest",
                table,
                "--image-root",
                root,
                *pages,
                "--regions",
                "D=a",
            ],
        ),
        (
            1,
            [
                "associate",
                run,
                "--manifest",
                gone,
                "--image-root",
                root,
                *pages,
                "--regions",
                "D=a",
            ],
        ),
        (1, ["port", gone, "--encoder", "cvt_13", "--out", out]),
        (1, ["manifest", "check", gone, "--image-root", root]),
        (1, ["manifest", "check", table, "--image-root", gone]),
    ]


PROGRAM = """
import contextlib, io, json, sys
from fundus_diag.cli import main
for words in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        status = main(words)
    heavy = sorted({"tensorflow", "keras"} & set(sys.modules))
    print(json.dumps([status, said.getvalue(), heavy]), flush=True)
"""


def test_the_command_line_is_imported_with_no_library_that_it_can_do_without():
    code = """
import sys, fundus_diag.cli
heavy = {"numpy", "rich", "pydantic", "pandas", "scipy", "PIL", "cv2", "keras", "tensorflow"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_mistyped_is_said_without_tensorflow(folder):
    cases = [(status, [str(x) for x in words]) for status, words in mistyped(folder)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps([words for _, words in cases]),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    answers = [json.loads(x) for x in done.stdout.splitlines()]
    assert len(answers) == len(cases), done.stderr
    for (want, words), (status, said, heavy) in zip(cases, answers, strict=True):
        assert heavy == [], words
        assert status == want, (words, said)
        assert len(said.splitlines()) == 1, (words, said)
        assert "gone" in said or "--resamples 50" in said, (words, said)
    assert not (folder / "out").exists()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_name_that_the_output_cannot_show_ends_nothing(tmp_path, encoding):
    root = tmp_path / "数据"
    for name in ("normal", "cataract"):
        make_photographs(root / name, patients=1)
        (root / name / "manifest.csv").unlink()
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    words = ["manifest", "build", "folders", "--root", root, "--out", tmp_path / "m.csv"]
    code = "import sys; from fundus_diag.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, env=environment,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert rb"\u6570\u636e" in done.stdout
    assert (tmp_path / "m.csv").exists()


@pytest.mark.parametrize(
    ("variable", "content", "expected"),
    [
        ("jax", None, "KERAS_BACKEND=jax: the commands need"),
        ("torch", '{"backend": "tensorflow"}', "KERAS_BACKEND=torch: the commands need"),
        (None, '{"backend": "theano"}', r"KERAS_BACKEND=theano \(of .*keras\.json\)"),
        ("tensorflow", '{"backend": "jax"}', None),
        (None, '{"backend": "tensorflow", "floatx": "float16"}', None),
        (None, "{", None),
        (None, "[1]", None),
        (None, None, None),
    ],
)
def test_another_backend_is_one_line(tmp_path, monkeypatch, variable, content, expected):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if variable:
        monkeypatch.setenv("KERAS_BACKEND", variable)
    if content is not None:
        (tmp_path / "keras.json").write_text(content)
    if expected is None:
        check_backend()
        return
    with pytest.raises(UsageError, match=expected):
        check_backend()


@pytest.mark.slow
def test_settings_of_another_project_change_nothing(tmp_path):
    from tiny import make_photographs, ready_run

    manifest = make_photographs(tmp_path / "photographs", patients=10)
    small = {"image_size": 32, "encoder_options": ("width=0.25", "depth=0.3")}
    ready_run(manifest, tmp_path / "run", encoder="efficientnet_lite0", **small)
    table = ["--manifest", str(manifest), "--image-root", str(manifest.parent)]
    words = ["predict", str(tmp_path / "run"), *table]
    assert main([*words, "--out", str(tmp_path / "usual.csv")]) == 0
    odd = {"image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.1}
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "tensorflow", **odd}))
    code = """
import sys
from fundus_diag.cli import main
status = main(sys.argv[1:])
print(sorted({"sklearn", "matplotlib"} & set(sys.modules)))  # as long to import as they take
import matplotlib
sys.exit(status)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--out", str(tmp_path / "odd.csv")],
        env={**os.environ, "KERAS_HOME": str(tmp_path)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    usual, other = (pd.read_csv(tmp_path / name) for name in ("usual.csv", "odd.csv"))
    pd.testing.assert_frame_equal(other, usual, atol=1e-6, rtol=0)


def test_a_demo_replaces_a_demo_and_nothing_else(tmp_path):
    out, drawn = tmp_path / "demo", tmp_path / "demo_photographs"
    demo.check_demo(out, drawn)
    out.mkdir()
    demo.check_demo(out, drawn)
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else than a demo"):
        demo.check_demo(out, drawn)
    (out / "thesis.txt").unlink()
    write_run(out, n_patients=10)
    with pytest.raises(UsageError, match="a run that is no demo"):
        demo.check_demo(out, drawn)
    assert main(["demo", "--out", str(out)]) == 2
    config = json.loads((out / "config.json").read_text())
    config["data"]["image_root"] = str(drawn)
    (out / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="a run that is no demo"):  # one's own, on its photographs
        demo.check_demo(out, drawn)
    for name, value in demo.SETTINGS.items():
        (config if name in config else config["flags"])[name] = value
    (out / "config.json").write_text(json.dumps(config))
    demo.check_demo(out, drawn)
    with pytest.raises(UsageError, match="a run that is no demo"):  # on other photographs
        demo.check_demo(out, tmp_path / "other_photographs")
    outlines = tmp_path / "demo_outlines"
    outlines.mkdir()
    (outlines / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"demo_outlines: holds something else than a demo"):
        demo.check_demo(out, drawn)
    (outlines / "notes.txt").unlink()
    trained = json.loads(json.dumps(demo.OUTLINED))  # as a file has it
    config |= {
        **trained, "kind": "segmenter", "network": "unet", "overlap": 0.5, "soft_masks": False,
        "crop": "fundus", "weights": "none", "pretrained": False, "flags": trained,
    }  # fmt: skip
    for where, refused in ((drawn, False), (tmp_path / "mine", True)):
        config["data"]["image_root"] = str(where)
        (outlines / "config.json").write_text(json.dumps(config, default=str))
        if refused:
            with pytest.raises(UsageError, match=r"demo_outlines: holds a run that is no demo"):
                demo.check_demo(out, drawn)
        else:
            demo.check_demo(out, drawn)


@pytest.mark.slow
def test_a_demo_outlines_its_own_photographs_once(tmp_path, monkeypatch):
    small = {
        **demo.OUTLINED, "encoder": "tiny", "image_size": 64, "patch_size": 64, "patches": 1,
        "phase2_epochs": 1,
    }  # fmt: skip
    monkeypatch.setattr(demo, "OUTLINED", small)
    monkeypatch.setattr(demo, "OUTLINED_ROWS", {"train": 6, "val": 2, "test": 3})
    manifest = demo.draw_photographs(tmp_path / "demo_photographs", 24, 96, 0)
    page = demo.outline(tmp_path / "demo", manifest, 0)
    run = tmp_path / "demo_outlines"
    assert page.parent == run
    figures = pd.read_csv(run / "segments_test.csv").set_index("class")
    assert figures["n"].to_dict() == {"disc": 3, "macula": 3, "vessels": 3}
    text = page.read_text()
    assert text.count("<figure>") == 3 * 3
    demo.check_demo(tmp_path / "demo", tmp_path / "demo_photographs")  # its own may be replaced
    first = (run / "history.csv").stat().st_mtime_ns
    demo.outline(tmp_path / "demo", manifest, 0)
    assert (run / "history.csv").stat().st_mtime_ns == first  # what is there is used
    demo.outline(tmp_path / "demo", manifest, 1)
    assert json.loads((run / "config.json").read_text())["seed"] == 1


def test_an_interrupted_demo_is_gone_on_with_and_every_other_is_made_anew(tmp_path):
    out, manifest = tmp_path / "demo", tmp_path / "manifest.csv"
    manifest.write_text("image\n")

    def begins(seed=0):
        config = demo.demo_config(out, manifest, seed)
        return config.resume, config.overwrite

    assert begins() == (False, False)
    write_run(out, n_patients=10)
    path = out / "config.json"
    config = json.loads(path.read_text())
    config |= {"version": __version__, "seed": 0, "finished": None}
    config["data"]["sha256"] = sha256(manifest)
    path.write_text(json.dumps(config))
    assert begins() == (True, False)
    assert begins(seed=1) == (False, True)
    for change in ({"finished": "2026-01-01"}, {"version": "0.0.1"}):
        path.write_text(json.dumps(config | change))
        assert begins() == (False, True)
    path.write_text(json.dumps(config))
    manifest.write_text("image\nother.png\n")
    assert begins() == (False, True)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            PermissionError(13, "no", "/data/x.csv"),
            "x.csv: cannot be read or written: Permis",
        ),
        (OSError(5, "io"), "a file cannot be read or written: Input/output error"),
        (MemoryError(), "out of memory"),
    ],
)
def test_what_the_system_answers_is_one_line(monkeypatch, capsys, error, expected):
    def fail():
        """Fails."""
        raise error

    monkeypatch.setitem(COMMANDS, "fail", fail)
    assert main(["fail"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


def test_what_tensorflow_cannot_write_is_one_line_and_other_errors_are_not_hidden(
    monkeypatch, capsys
):
    import tensorflow as tf

    def fail():
        """Fails."""
        raise errors.pop()

    errors = [
        tf.errors.InvalidArgumentError(None, None, "a bug"),
        tf.errors.PermissionDeniedError(None, None, "/x/events; Permission denied"),
    ]
    monkeypatch.setitem(COMMANDS, "fail", fail)
    assert main(["fail"]) == 1
    assert "/x/events; Permission denied" in capsys.readouterr().err
    with pytest.raises(tf.errors.InvalidArgumentError):
        main(["fail"])
