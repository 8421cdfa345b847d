"""Blocks of README and docs that are run, page by page, as a reader would run them.

On drawn photographs in a folder of their own that has what the pages speak of: `PICTURES`, `ODIR`,
`reports/odir` .. Trainings are of a tiny network, one epoch a phase; every other command and all
Python are as they stand there.
"""

import ast
import base64
import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import openpyxl
import pandas as pd
import pytest
from documents import DOCS, ROOT, blocks, commands
from tiny import make_photographs, ready_run

from fundus_diag.cli import main

pytestmark = pytest.mark.slow
QUICK = {  # in place of what the page says
    "--encoder": "tiny",
    "--weights": "none",
    "--image-size": "32",
    "--batch-size": "8",
    "--phase1-epochs": "1",
    "--phase2-epochs": "1",
    "--precision": "float32",
}
# Pages whose commands are run, all of them; `make` and `pip` aside, which tests/test_wheel.py and
# .ci/run do.
COMMANDS = (
    "start.md",
    "how-to/own-csv.md",
    "how-to/clinic.md",
    "how-to/two-eyes.md",
    "how-to/grades.md",
    "how-to/oct.md",
    "how-to/operating-points.md",
)
LABELS = ["N", "D", "G", "C", "A", "H", "M", "O"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The folder that pages are read in. A page's files stay for the next ones."""
    folder = tmp_path_factory.mktemp("world")
    table = make_photographs(folder / "drawn", patients=40)
    rows = pd.read_csv(table, dtype={"A": int})
    drawn = {x: cv2.imread(str(folder / "drawn" / x)) for x in rows["image"]}

    def put(name, picture):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture)

    clinic, odir, grades = [], [], {"a": [], "b": []}
    for at, (name, bright, eye) in enumerate(
        zip(rows["image"], rows["A"], rows["eye"], strict=True)
    ):
        picture, stem = drawn[name], Path(name).stem
        put(f"PICTURES/{'glaucoma' if bright else 'normal'}/{stem}.png", picture)
        put(f"EXPORT/2024/P{stem}.png", picture)
        clinic.append([f"2024/P{stem}.png", f"P{stem[:3]}", eye, ("no", "yes")[bright],
                       ("no", "yes", "")[at % 3], 40 + at % 30])  # fmt: skip
        put(f"OCTID/{('NORMAL', 'AMD', 'CSR')[at % 3]}/{at}.png", picture)
        part, text = ("a", "Training") if at < 50 else ("b", "Testing")
        where = f"IDRID/1. Original Images/{part}. {text} Set/IDRiD_{at:03d}.jpg"
        put(where, picture)
        grades[part].append([f"IDRiD_{at:03d}", at % 5, at % 3])
    for part, text in (("a", "Training"), ("b", "Testing")):
        path = folder / f"IDRID/2. Groundtruths/{part}. IDRiD_Disease Grading_{text} Labels.csv"
        path.parent.mkdir(exist_ok=True)
        head = ["Image name", "Retinopathy grade", "Risk of macular edema"]
        pd.DataFrame(grades[part], columns=head).to_csv(path, index=False)
    for patient in range(40):
        names = [f"{patient:03d}_{eye}.png" for eye in ("left", "right")]
        if not set(names) <= set(drawn):
            continue
        words = [
            "glaucoma" if rows["A"][rows["image"] == x].item() else "normal fundus" for x in names
        ]
        for name in names:
            put(f"ODIR/images/{name}", drawn[name])
        odir.append([patient + 1, 50, "Male", *names, *words]
                    + [int(x in ("N",)) for x in LABELS])  # fmt: skip
    head = ["ID", "Patient Age", "Patient Sex", "Left-Fundus", "Right-Fundus",
            "Left-Diagnostic Keywords", "Right-Diagnostic Keywords", *LABELS]  # fmt: skip
    workbook(folder / "ODIR/data.xlsx", [head, *odir])
    head = ["file", "id", "eye", "glaucoma", "retinopathy", "age"]
    workbook(folder / "EXPORT/clinic.xlsx", [head, *clinic])
    clinic = [[x[0].replace("2024/P", "").replace(".png", ""), *x[1:]] for x in clinic]
    workbook(folder / "clinic.xlsx", [head, *clinic])
    for name in ("000_left.png", "000_right.png"):
        put(f"NEW_PICTURES/{name}", drawn[name])
        put(f"{name[4:-4]}.jpg", drawn[name])
    # The same photographs under labels of ODIR: a finished run, and a clinic's own table.
    rows = rows.rename(columns={"A": "D", "B": "G"})
    rows.to_csv(folder / "drawn/odir.csv", index=False)
    ready_run(folder / "drawn/odir.csv", folder / "reports_odir")
    (folder / "reports").mkdir()
    (folder / "reports_odir").rename(folder / "reports/odir")
    local = pd.read_csv(make_photographs(folder / "LOCAL", patients=90, seed=1))
    local = local.rename(columns={"A": "D", "B": "G"}).drop(columns="split")
    local.to_csv(folder / "local.csv", index=False)
    return folder


def workbook(path, rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)


def quick(words):
    """The words of a training, of a network that takes seconds."""
    said = dict(zip(words, words[1:], strict=False))
    kept = [x for x in words if x not in QUICK and x not in {said.get(flag) for flag in QUICK}]
    return [*kept, *(x for pair in QUICK.items() for x in pair)]


def run(words):
    if words[0] == "python":
        words = ["fundus-diag", "train", *words[2:]]
    if words[0] != "fundus-diag":
        return
    words = words[1:]
    words = quick(words) if words[0] == "train" else words
    words = [*words, "--resamples", "100"] if words[0] in ("report", "operate") else words
    assert main(words) == 0, " ".join(words)


@pytest.fixture
def there(world, monkeypatch):
    monkeypatch.chdir(world)
    Path("mapping.toml").unlink(missing_ok=True)  # each page guesses its own
    return world


@pytest.mark.parametrize("name", COMMANDS)
def test_the_commands_of_a_page_run(name, there, capsys):
    if "operating" in name:
        table = ["--manifest", "drawn/odir.csv", "--image-root", "drawn", "--split", "val"]
        out = ["--out", "reports/odir/predictions_val.csv"]
        run(["fundus-diag", "predict", "reports/odir", *table, *out])
    for block in blocks(DOCS / name):
        if block.kind == "sh":
            for words in commands(block.text):
                run(words)
        elif block.kind == "toml":
            Path("mapping.toml").write_text(block.text)
        elif block.kind == "python":
            exec(compile(block.text, str(block), "exec"), {"__name__": "page"})


def test_the_readme_has_the_lines_of_the_start_page():
    """Which are run above; and of ODIR, which nobody has here, those of its page of results."""
    pages = (DOCS / "start.md", DOCS / "results" / "odir.md")
    lines = {x for page in pages for block in blocks(page) for x in block.text.splitlines()}
    for block in blocks(ROOT / "README.md"):
        assert [x for x in block.text.splitlines() if x not in lines] == [], str(block)


def python_of(name):
    return [x for x in blocks(DOCS / name) if x.kind == "python"]


@pytest.mark.parametrize(
    "name",
    ["how-to/python.md", "how-to/new-encoder.md", "how-to/new-method.md", "concepts/thresholds.md"],
)
def test_the_python_of_a_page_runs(name, there):
    from fundus_diag import models
    from fundus_diag.explain.methods.registry import METHODS

    known = [
        (x, dict(x)) for x in (models.ENCODERS, models.FEATURE_MAPS, models.CAM_LAYERS, METHODS)
    ]
    space = {"__name__": "page"}
    try:
        for block in python_of(name):
            exec(compile(block.text, str(block), "exec"), space)
    finally:
        for here, before in known:
            here.clear()
            here.update(before)
    if "encoder" in name:
        assert space["model"].output_shape == (None, 8)


def test_a_map_is_laid_as_the_page_says(there):
    """docs/how-to/explain.md: the arrays of `NAME.npz` on the photograph."""
    words = ["explain", "reports/odir", "left.jpg", "--methods", "layer_cam", "--out", "laid"]
    assert main(words) == 0
    (path,) = Path("laid").rglob("*.npz")
    with np.load(path) as file:
        arrays = dict(file)
    (block,) = python_of("how-to/explain.md")
    import scipy

    height, width = (int(x) for x in arrays["size"])
    fused, box = arrays["layer_cam_fused"][0], arrays["box"]
    rows = (np.arange(height) + 0.5 - box[0]) / (box[2] - box[0]) * arrays["picture"]
    offset, stride = arrays["layer_cam_offset"], arrays["layer_cam_stride"]
    offset, stride = (x[-1] if x.ndim > 1 else x for x in (offset, stride))
    columns = (np.arange(width) + 0.5 - box[1]) / (box[3] - box[1]) * arrays["picture"]
    space = {"np": np, "scipy": scipy, "height": height, "box": box, "picture": arrays["picture"],
             "offset": offset, "stride": stride, "map": fused,
             "columns": (columns - offset[1]) / stride[1]}  # fmt: skip
    *before, last = ast.parse(block.text).body
    exec(compile(ast.Module(before, []), str(block), "exec"), space)
    space["laid"] = eval(compile(ast.Expression(last.value), str(block), "eval"), space)
    assert space["laid"].shape == (height, width)
    assert rows.shape == (height,)
    assert space["laid"].max() <= fused.max() + 1e-6
    assert space["laid"].max() > 0


@pytest.mark.skipif(
    not all(importlib.util.find_spec(x) for x in ("onnxruntime", "openvino", "tf2onnx")),
    reason="needs the extras onnx and openvino",
)
def test_what_is_exported_answers_as_the_page_says(there, monkeypatch):
    """docs/how-to/serving.md: its Python, on exports of a run and against its own server."""
    from starlette.testclient import TestClient

    from fundus_diag.serve.app import make_app
    from fundus_diag.serve.served import served_run

    ready_run(there / "drawn/odir.csv", there / "reports/pairs_of_eyes", unit="patient")
    for out, form in (("odir", "saved_model"), ("onnx", "onnx"), ("openvino", "openvino")):
        assert main(["export", "reports/odir", "--out", f"models/{out}", "--format", form]) == 0
    served = {"eye": served_run(Path("reports/odir"), "odir"),
              "pair": served_run(Path("reports/pairs_of_eyes"), "odir")}  # fmt: skip
    hosts = {"localhost", "127.0.0.1"}
    with (
        TestClient(make_app(served["eye"], hosts), base_url="http://localhost:8501") as eye,
        TestClient(make_app(served["pair"], hosts), base_url="http://localhost:8501") as pair,
    ):
        answers = []

        def post(url, json):
            asked = pair if "left_bytes" in json["instances"][0] else eye
            answers.append(asked.post(url, json=json))
            assert answers[-1].status_code == 200, answers[-1].text
            return answers[-1]

        monkeypatch.setitem(sys.modules, "requests", SimpleNamespace(post=post))
        photograph = Path("left.jpg").read_bytes()
        space = {
            "paths": ["left.jpg", "right.jpg"],
            "left": base64.b64encode(photograph).decode(),
        }
        for block in python_of("how-to/serving.md"):
            exec(compile(block.text, str(block), "exec"), space)
    assert len(answers) == 3
    assert Path("overlay.png").read_bytes()[:4] == b"\x89PNG"
    run = served["eye"]
    assert space["probability"].shape == (2, 2)
    one = json.loads(answers[0].text)["predictions"][0]["probability"]
    np.testing.assert_allclose(one, space["probability"][0], atol=1e-4)
    assert run.name == "odir"


def test_every_block_of_python_is_run_by_one_of_these_tests():
    """Or, of a page that is not named above, nobody would."""
    ran = {*COMMANDS, "how-to/python.md", "how-to/new-encoder.md", "how-to/new-method.md",
           "concepts/thresholds.md", "how-to/explain.md", "how-to/serving.md"}  # fmt: skip
    having = {
        path.relative_to(DOCS).as_posix()
        for path in DOCS.rglob("*.md")
        if any(x.kind == "python" for x in blocks(path))
    }
    assert having <= ran
