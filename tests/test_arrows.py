"""Rooms know only the rooms below them: docs/layout.md draws the arrows."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fundus_diag"
BELOW = {  # the rooms that each may import, beside itself
    "utils": set(),
    "imaging": {"utils"},
    "metrics": {"utils"},
    "models": {"utils"},
    "data": {"imaging", "utils"},
    "runs": {"data", "imaging", "models", "metrics", "utils"},
    "training": {"runs", "data", "imaging", "models", "metrics", "utils"},
    "explain": {"runs", "data", "imaging", "models", "metrics", "utils"},
    "report": {"explain", "training", "runs", "data", "imaging", "models", "metrics", "utils"},
    "export": {"explain", "runs", "data", "imaging", "models", "metrics", "utils"},
}
BELOW["serve"] = {"report", "export"} | BELOW["report"] - {"training"}
BELOW["cli"] = set(BELOW)
BELOW["api"] = {"report", "export"} | BELOW["report"]
BELOW["__init__.py"] = {"api", "explain", "models", "training", "utils"}  # hands names on
BELOW["__main__.py"] = {"cli"}
ENTRIES, LINES = 16, 300


def imported(path):
    """(line, module) of every import of the package in a file, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports name the whole path"
            yield from ((node.lineno, f"{node.module}.{x.name}") for x in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, x.name) for x in node.names)


def arrows_up(package):
    found = []
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0]
        for line, module in imported(path):
            first, _, rest = module.partition(".")
            if first != "fundus_diag":
                continue
            # A name of the package itself (`load_run`, the version) comes from its top.
            there = rest.partition(".")[0] if (package / rest.partition(".")[0]).is_dir() else None
            if there != room and there not in BELOW[room]:
                found.append(f"{path.relative_to(package)}:{line} imports {module}")
    return found


def test_no_arrow_points_up():
    assert arrows_up(PACKAGE) == []


def test_an_arrow_up_would_be_seen(tmp_path):
    for name, text in {
        "models/cvt.py": "from fundus_diag.data import labels\n",
        "data/inputs.py": "def f():\n    import fundus_diag.runs.run\n",
        "runs/run.py": "from fundus_diag import load_run\n",
        "training/loop.py": "from fundus_diag.explain import maps\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "explain").mkdir()
    assert [x.split(" imports ")[0] for x in arrows_up(tmp_path)] == [
        "data/inputs.py:2", "models/cvt.py:1", "runs/run.py:1", "training/loop.py:1",
    ]  # fmt: skip


def test_the_root_holds_rooms_alone_and_no_file_is_long():
    entries = [x for x in PACKAGE.iterdir() if x.name != "__pycache__"]
    assert len(entries) <= ENTRIES
    assert {x.name for x in entries if x.is_file()} == {"__init__.py", "__main__.py", "py.typed"}
    assert {x.name for x in entries} - {"py.typed"} == set(BELOW)
    lengths = {p: len(p.read_text("utf-8").splitlines()) for p in PACKAGE.rglob("*.py")}
    assert [str(p) for p, n in lengths.items() if n > LINES] == []
    assert len(list((PACKAGE / "utils").glob("*.py"))) <= 14


@pytest.mark.parametrize(
    "room", sorted(set(BELOW) - {"__init__.py", "__main__.py", "api", "models", "explain", "cli"})
)
def test_these_rooms_have_no_face(room):
    """A function `export` in `export/__init__` would hide the module `export/export.py`."""
    for path in (PACKAGE / room).rglob("__init__.py"):
        (docstring,) = ast.parse(path.read_text("utf-8")).body
        assert isinstance(docstring.value, ast.Constant)
