"""The pages of docs/reference that are made of code are what the code makes of itself."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import reference

HAND_MADE = {"run-folder.md", "tables.md"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The pages made anew, by a process that has no encoders of tests."""
    folder = tmp_path_factory.mktemp("reference")
    subprocess.run([sys.executable, reference.__file__, folder], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_does_not_lag(name, made):
    lags = "run `make reference`"
    assert (reference.FOLDER / name).read_text("utf-8") == (made / name).read_text("utf-8"), lags


def test_no_page_is_left_of_what_is_made_no_more():
    assert {x.name for x in reference.FOLDER.glob("*.md")} == {*reference.PAGES, *HAND_MADE}


def test_every_command_and_flag_is_there():
    from fundus_diag.cli.main import COMMANDS, GROUPS

    page = reference.page("commands.md")
    for name in set(COMMANDS) - set(GROUPS):
        assert f"\n## {name}\n" in page
    for group, (known, _) in GROUPS.items():
        assert all(f"\n## {group} {name}\n" in page for name in known)
    for flag in ("--manifest PATH", "--criterion TEXT", "--patient-pattern TEXT", "--soft-masks"):
        assert f"- `{flag}`" in page


def test_help_is_taken_apart_as_it_is_drawn():
    """Where the help is drawn in another way, the page has to be made in another way, too."""
    for words in (("train",), ("manifest", "split")):
        section = reference.command_section(words)
        assert section.count("\n- `") >= 5


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a_b *c* `d_e`", "a\\_b \\*c\\* `d_e`"), ("[0, 1]", "\\[0, 1\\]")],
)
def test_text_of_the_code_is_no_markdown(text, shown):
    assert reference.plain(text) == shown


def test_docstrings_become_lists():
    doc = "Does.\n\nArgs:\n    a: first,\n        and more.\n    b: second.\n\nReturns:\n    (N,)."
    assert reference.docstring(doc) == (
        "Does.\n\n**Args**\n\n- `a`: first, and more.\n- `b`: second.\n\n**Returns**\n\n(N,)."
    )
