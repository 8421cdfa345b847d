"""The blocks of README and docs: found, told apart by what they say they are, and checked."""

import re
import shlex
import shutil
import subprocess
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MARKDOWN = MarkdownIt("commonmark").enable("table")
ENDS = {"&&", "||", "|", ";", "(", ")"}
# Of the shell and of others, whose words are not ours: bash has looked at the line.
OTHERS = {"base64", "curl", "docker", "echo"}


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its text. `kind` is "" where it says none."""

    path: Path
    line: int
    kind: str
    text: str

    def __str__(self):
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def pages():
    """What is written for people: README, what lies beside it, and docs/."""
    return [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
        ROOT / "benchmarks" / "README.md",
        *sorted(DOCS.rglob("*.md")),
    ]


def blocks(path):
    """Every block of code of a page, indented ones too, which are of no kind."""
    tokens = MARKDOWN.parse(path.read_text("utf-8"))
    return [
        Block(path, token.map[0] + 1, token.info.strip(), token.content)
        for token in tokens
        if token.type in ("fence", "code_block")
    ]


def commands(text):
    """The commands of a block of shell: lists of words, without settings before the program."""
    lines = re.sub(r"(\\|\|)\n", r"\1 ", text).replace("\\ ", " ").splitlines()
    found = []
    for line in lines:
        words = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
        words.whitespace_split = True
        one = []
        for word in [*words, ";"]:
            if set(word) <= set("();<>|&"):
                found.append(one)
                one = []
            else:
                one.append(word)
    bare = [drop_settings(words) for words in found]
    return [words for words in bare if words]


def drop_settings(words):
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def parsed(words):
    """(function, args, kwargs) that the words of a `fundus-diag` call, by its own parser."""
    from fundus_diag.cli import main  # noqa: F401
    from fundus_diag.cli.main import parse

    called = []

    def look(*args, **kwargs):
        called.append(parse(*args, **kwargs))

    with mock.patch("fundus_diag.cli.main.parse", look):
        status = main_of()(words)
    assert status == 0, f"fundus-diag {' '.join(words)}: status {status}"
    return called[0]


def main_of():
    from fundus_diag.cli import main

    return main


def check_command(words):
    """Sees that a command is one: program, flags and names exist. Paths are not looked at."""
    program = words[0].rpartition("/")[2] if words[0].startswith(".venv") else words[0]
    check = PROGRAMS.get(program)
    assert check or program in OTHERS, f"{program}: a program that nobody checks"
    if check:
        check(words[1:])


def _python(words):
    if words[0] == "train_two_phase.py":
        return parsed(["train", *words[1:]])
    if words[:2] == ["-m", "venv"]:
        return None
    if words[0] == "-c":
        return compile(words[1], "block", "exec")
    path = ROOT / words[0]
    text = path.read_text("utf-8")
    if "--" in words:  # what follows is handed on, with a table and a folder of its own
        at = words.index("--")
        places = ["--manifest", "x.csv", "--image-root", "x", "--run-dir", "x"]
        assert path.name == "segments.py"
        parsed(["segment", "train", *places, *words[at + 1 :]])
        words = words[:at]
    missing = [x for x in words if x.startswith("--") and f'"{x}"' not in text]
    assert not missing, f"{words[0]} has no {missing}"
    return None


def _pip(words):
    assert words[0] == "install", words
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    known = set(setup["options.extras_require"])
    for word in words[1:]:
        target = re.fullmatch(r"(?:-e|\.(?:\[([\w,]+)\])?|-r|-c)", word)
        assert target, f"pip install {word}: nothing of this repository"
        assert set((target[1] or "").split(",")) - {""} <= known, word


def _make(words):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(words) - set(targets) == {x for x in words if "=" in x}, words


def _saved_model_cli(words):
    from tensorflow.python.tools.saved_model_cli import create_parser

    create_parser().parse_args(words)


PROGRAMS = {
    "fundus-diag": parsed,
    "python": _python,
    "pip": _pip,
    "make": _make,
    "saved_model_cli": _saved_model_cli,
}


def syntax_error(text):
    """What bash says against a block; "" where it takes it."""
    bash = shutil.which("bash")
    done = subprocess.run([bash, "-n"], input=text, capture_output=True, text=True, check=False)
    return done.stderr
