"""Every block of README and docs is checked by what it says it is; see also test_blocks_run.py.

sh       bash reads it, and each command is taken by the parser of its program
python   it compiles, and what it imports is there; test_blocks_run.py runs it
toml     the code that reads such files takes it
csv      it has a row beside its header
html     its tags close
text     shows something: a tree of files, which are there
"""

import csv
import importlib
import io
import json
import re
import tomllib
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from documents import ROOT, blocks, check_command, commands, pages, syntax_error
from tiny import make_photographs, ready_run

ALL = [block for path in pages() for block in blocks(path)]


def of_kind(kind):
    return [pytest.param(x, id=str(x)) for x in ALL if x.kind == kind]


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A folder that commands are parsed in: what is read before the flags are lies there."""
    monkeypatch.chdir(tmp_path)
    Path("reports/search").mkdir(parents=True)
    Path("reports/search/best.toml").write_text('encoder = "efficientnet_lite0"\n')
    return tmp_path


def begun(run, manifest):
    """A run whose flags `--resume` reads back."""
    ready_run(manifest, run)
    config = json.loads((run / "config.json").read_text())
    config["flags"] |= {"image_root": str(manifest.parent), "encoder": "tiny"}
    (run / "config.json").write_text(json.dumps(config))


def test_no_block_is_of_a_kind_that_nobody_checks():
    kinds = Counter(x.kind for x in ALL)
    assert set(kinds) == {"sh", "python", "toml", "csv", "html", "text"}, [
        str(x) for x in ALL if x.kind not in ("sh", "python", "toml", "csv", "html", "text")
    ]
    assert kinds["sh"] > 50
    assert kinds["python"] > 8


@pytest.mark.parametrize("block", of_kind("sh"))
def test_commands_are_taken_by_their_parsers(block, beside, capsys):
    assert syntax_error(block.text) == ""
    found = commands(block.text)
    assert found
    if any("--resume" in words and "--manifest" not in words for words in found):
        begun(beside / "reports/odir", make_photographs(beside / "photographs", patients=10))
    for words in found:
        check_command(words)


@pytest.mark.parametrize("block", of_kind("python"))
def test_python_compiles_and_its_imports_are_there(block):
    compile(block.text, str(block), "exec")
    for module, names in re.findall(r"^from (\S+) import (.+)$", block.text, re.MULTILINE):
        there = importlib.import_module(module)
        for name in re.split(r",\s*", names):
            assert hasattr(there, name) or importlib.import_module(f"{module}.{name}")


@pytest.mark.parametrize("block", of_kind("toml"))
def test_toml_is_taken_by_what_reads_it(block, tmp_path):
    from fundus_diag.data.datasets.descriptions import describe
    from fundus_diag.training.plan import read_plan
    from fundus_diag.training.search_plan import read_search

    content, path = tomllib.loads(block.text), tmp_path / "block.toml"
    path.write_text(block.text)
    table = make_photographs(tmp_path / "ODIR", patients=10)
    table.rename(tmp_path / "odir_split.csv")
    if "variants" in content:
        read_plan(path)
    elif "space" in content:
        read_search(path, manifest=tmp_path / "odir_split.csv", image_root=tmp_path / "ODIR")
    else:
        describe("csv", path)


@pytest.mark.parametrize("block", of_kind("csv"))
def test_tables_have_rows_as_wide_as_their_header(block):
    rows = list(csv.reader(io.StringIO(block.text), delimiter=";"))
    assert len(rows) > 1
    assert {len(row) for row in rows} == {len(rows[0])}
    assert len(rows[0]) > 1


class Tags(HTMLParser):
    """What is open, and whether it was closed in order."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("img", "br", "input", "meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("block", of_kind("html"))
def test_tags_close(block):
    tags = Tags()
    tags.feed(block.text)
    assert tags.open == []


def test_the_tree_of_the_code_is_that_of_the_code():
    """docs/layout.md: every room and every file that it names, and no room that it does not."""
    (tree,) = [x for x in ALL if x.path.name == "layout.md" and "fundus_diag/\n" in x.text]
    rooms, at = {}, [ROOT / "fundus_diag"]
    for line in tree.text.splitlines()[1:]:
        found = re.match(r"( +)([\w.]+/?) ", line)
        if found and len(found[1]) <= 4:
            at = [*at[: len(found[1]) // 2], ROOT / "fundus_diag"][: len(found[1]) // 2]
            path = at[-1] / found[2]
            rooms[path.relative_to(ROOT / "fundus_diag").as_posix()] = path
            at.append(path)
    assert [name for name, path in rooms.items() if not path.exists()] == []
    there = {
        path.parent.relative_to(ROOT / "fundus_diag").as_posix()
        for path in (ROOT / "fundus_diag").rglob("__init__.py")
    } - {"."}
    assert there == {name for name, path in rooms.items() if path.is_dir()}


@pytest.mark.parametrize("name", ["README.md", "docs/start.md"])
def test_the_two_commands_stand_where_one_begins(name):
    text = (ROOT / name).read_text("utf-8")
    assert "\nmake demo " in text
    assert "\nmake test " in text
