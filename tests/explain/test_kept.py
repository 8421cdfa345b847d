"""What was explained or scored before an error or a kill is not lost."""

from urllib.parse import quote

import pytest
from explained import rows_of, spots
from tiny import main, make_photographs, ready_run

from fundus_diag.explain import evaluate, explain, output
from fundus_diag.utils.errors import DataError

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    ready_run(make_photographs(folder / "photographs", patients=10), folder / "run")
    return folder


def breaking(function, number, error):
    """`function`, but its call of that number fails."""
    calls = []

    def called(*args, **kwargs):
        calls.append(args)
        if len(calls) == number:
            raise error
        return function(*args, **kwargs)

    return called


def test_explain_keeps_a_row_of_every_photograph_that_is_done(
    folder, tmp_path, monkeypatch, capsys
):
    out, root = tmp_path / "cams", folder / "photographs"
    images = [str(root / f"{name}_left.png") for name in ("000", "001", "002")]
    words = ["explain", str(folder / "run"), "--images", *images, "--out", str(out)]
    monkeypatch.setattr(output, "explanation_page", lambda *_: b"page")
    error = DataError("third: broken")
    monkeypatch.setattr(explain, "write_case", breaking(explain.write_case, 3, error))
    assert main(words) == 1
    assert "explanations.csv.partial holds the first 2 photographs" in capsys.readouterr().err
    assert not (out / "explanations.csv").exists()
    assert files_named(out / "explanations.csv.partial") == ["000_left", "001_left"]
    for name in ("000_left", "001_left"):
        assert (out / f"{name}.png").exists()
        assert (out / f"{name}.npz").exists()
    assert not list(out.glob(".*"))
    monkeypatch.setattr(explain, "write_case", lambda *_: None)
    assert main(words) == 0
    assert files_named(out / "explanations.csv") == ["000_left", "001_left", "002_left"]
    assert rows_of(out / "explanations.csv")["image"].drop_duplicates().tolist() == images
    assert not (out / "explanations.csv.partial").exists()


def files_named(path):
    return rows_of(path)["file"].drop_duplicates().tolist()


def test_explain_eval_keeps_a_row_of_every_map_that_is_scored(
    folder, tmp_path, monkeypatch, capsys
):
    out, seen = tmp_path / "faithfulness", []

    def score(map, grid, target, *_):
        seen.append(target.where["image"])
        if len(set(seen)) == 3:
            raise DataError("third: broken")
        return {"peak": float(len(seen))}, {}

    monkeypatch.setattr(evaluate, "score", score)
    spots(folder / "photographs" / "manifest.csv", folder / "masks")
    words = ["explain-eval", folder / "run", "--masks", folder / "masks", "--out", out]
    words += ["--lesions", "A=bright", "--methods", "layer_cam"]
    words += ["--images", *sorted((folder / "photographs").glob("*.png"))]
    assert main([str(x) for x in words]) == 1
    assert f"holds the first {len(seen) - 1} rows" in capsys.readouterr().err
    kept = rows_of(out / "faithfulness_images.csv.partial")
    assert kept["image"].tolist() == seen[:-1]
    assert kept["peak"].tolist() == list(range(1, len(seen)))
    assert kept["image"].nunique() == 2


def test_long_names_and_any_script_are_explained(folder, tmp_path, monkeypatch):
    long, root, titles = "1.2.840." + "9" * 220, tmp_path / "root", []
    root.mkdir()
    picture = (folder / "photographs" / "000_left.png").read_bytes()
    names = [f"{long}.png", "黄斑.png", "a.png", "a_methods.png"]
    for name in names:
        (root / name).write_bytes(picture)
    out = tmp_path / "out"
    monkeypatch.setattr(
        output, "explanation_png", lambda photographs, rows, title: titles.append(title) or b"page"
    )
    monkeypatch.setattr(
        output, "methods_png", lambda photo, panels, title: titles.append(title) or b"page"
    )
    words = ["explain", folder / "run", "--images", *(root / x for x in names), "--out", out]
    words = [str(x) for x in [*words, "--methods", "layer_cam", "grad_cam", "--labels", "A"]]
    assert main(words) == 0
    files = files_named(out / "explanations.csv")
    assert len(set(files)) == 4
    for name in files:
        for ending in (".png", ".npz", "_methods.png", "_maps.html", "_map.jpg"):
            assert (out / f"{name}{ending}").exists(), (name, ending)
    assert len(list(out.iterdir())) == 4 * 5 + 2
    index = (out / "index.html").read_text()
    assert all(f'href="{quote(name)}_maps.html"' in index for name in files)
    stems = [x.removesuffix(".png") for x in names]
    assert titles == [y for x in stems for y in (f"{x}: layer_cam", x)]
