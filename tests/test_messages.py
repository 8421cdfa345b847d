"""docs/what-can-go-wrong.md has every message, in the words that the commands print.

What is compared are the fixed words: of the page what stands between `..`, of the source the
string literals, docstrings left out.
"""

import ast
import re
from collections import deque
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE, PAGE = ROOT / "fundus_diag", ROOT / "docs" / "what-can-go-wrong.md"
HEAD = "| it says | what it means and what to do |"
LEAST = 8  # characters of fixed words that are looked for
LONG = 12  # .. of fixed words that the page has to have
RAISED = {"DataError", "UsageError", "Refused"}

# What is said by other ways than a `raise`: functions and names whose texts reach the user, by
# themselves or as a part of a message.
TOLD = {
    "cli/main.py": {"_said"},
    "data/checks.py": {"NARROW", "check_pictures", "check_values", "_oddities"},
    "data/columns.py": {"row_problems", "_read_meta", "_read_age", "_read_label", "_check_grades"},
    "data/datasets/build.py": {"NOT_VERIFIED", "_left_out", "_read", "_strange"},
    "data/datasets/by_path.py": {"path_rows"},
    "data/datasets/csv_table.py": {"MISSING", "csv_rows", "_meta", "_located"},
    "data/datasets/folders.py": {"NOT_READ", "_pictures", "_note"},
    "data/datasets/masks.py": {"unseen"},
    "data/datasets/odir.py": {"odir_rows"},
    "data/gather.py": {"gather", "NOTHING"},
    "data/datasets/schema.py": {
        "_word",
        "_expression",
        "_pattern",
        "_encoding",
        "_delimiter",
        "_said",
    },
    "data/inputs.py": {"settle_bad", "_describe_bad"},
    "data/manifest.py": {"check_trainable", "labels_without_positive"},
    "data/merge.py": {"_graded"},
    "data/pairing.py": {"without_healthy"},
    "data/paths.py": {"NO_FILE", "wrong_path", "not_there"},
    "data/patients.py": {"notes", "_said"},
    "data/cache_files.py": {"in_memory", "_room"},
    "data/sample.py": {"_sharpest"},
    "data/same_people.py": {"same_people"},
    "data/kept_splits.py": {"as_in", "kept_splits"},
    "data/splits.py": {"split"},
    "data/write.py": {"_check_written"},
    "explain/methods/attention.py": {"obstacle"},
    "explain/methods/score_cam.py": {"no_pairs"},
    "explain/methods/vit_cx.py": {"obstacle"},
    "export/check.py": {"measured_on_val"},
    "export/chunks.py": {"UNEQUAL"},
    "export/maps.py": {"explained"},
    "export/reading.py": {"NO_EYE", "NO_ANSWER"},
    "export/saved_model.py": {"check_size"},
    "imaging/header.py": {"PROBLEMS"},
    "imaging/convert.py": {"unreadable"},
    "imaging/dicom_header.py": {"NO_PYDICOM", "BROKEN", "NO_PICTURE"},
    "imaging/dicom_pixels.py": {"TRUNCATED", "DAMAGED"},
    "imaging/foreign.py": {"NO_HEIF"},
    "imaging/image_file.py": {
        "MORE", "NO_FRAME", "NO_IMAGE", "why_not", "_unknown", "_read", "_png",
    },
    "imaging/limits.py": {"beyond", "too_heavy"},
    "imaging/quality.py": {"BLANK", "RANGE"},
    "metrics/calibration.py": {"too_few", "_platt"},
    "models/weights/strict.py": {"differences", "fill"},
    "report/parts.py": {"what_was_seen"},
    "runs/answers.py": {"NO_EYE", "ANOTHER"},
    "runs/cases.py": {"NOTHING"},
    "runs/directory.py": {"_check_claim", "claimed", "begin"},
    "runs/below.py": {"describe"},
    "runs/lock.py": {"_in_use", "locked"},
    "runs/recalibrate.py": {"_notes"},
    "runs/schema.py": {"_label", "_unlike"},
    "runs/scored.py": {"said"},
    "runs/run_files.py": {"leaks", "own_table", "read_history"},
    "training/sampling.py": {"held_back"},
}  # fmt: skip

# Words of these places that are no message by themselves, and why.
NO_MESSAGE = {
    "Value error,": "what pydantic puts before a text of ours, taken off",
    ": not inside the image root": "caught: the report counts such photographs",
    "an answer on val": "stands in `the export is not what the run is: ..`",
    "checking pictures": "title of a bar",
    "comparing on val": "title of a bar",
    "comparing pictures": "title of a bar",
}


def modules(package=PACKAGE):
    """{path below the package: its tree}."""
    return {
        path.relative_to(package).as_posix(): ast.parse(path.read_text("utf-8"))
        for path in sorted(package.rglob("*.py"))
    }


def literals(tree, but=()):
    """The texts below a node: each a list of its fixed parts, of an f-string several.

    `but`: ids of nodes that are left out, with all below them.
    """
    found, inner, waiting = [], set(), deque([tree])
    while waiting:
        node = waiting.popleft()
        if id(node) in but:
            continue
        waiting.extend(ast.iter_child_nodes(node))
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            inner.add(id(body[0].value))  # a docstring, or nothing
        if id(node) in inner:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = [x for x in node.values if isinstance(x, ast.Constant)]
            inner |= set(map(id, parts))
            found.append([x.value for x in parts])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append([node.value])
    return found


def raised(tree):
    """(line, fixed parts) of every `raise DataError(..)` and `raise UsageError(..)`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
            continue
        if getattr(node.exc.func, "id", None) in RAISED:
            for argument in node.exc.args:
                yield from ((node.lineno, parts) for parts in literals(argument))


def told(tree, names):
    """(line, fixed parts) of the texts of functions and names, without what they raise."""
    seen = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in names:
            seen.add(node.name)
            but = {id(x) for x in ast.walk(node) if isinstance(x, ast.Raise)}  # see `raised`
            yield from ((node.lineno, parts) for parts in literals(node, but))
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) in names:
            seen.add(node.targets[0].id)
            yield from ((node.lineno, parts) for parts in literals(node.value))
    assert seen == set(names), f"no {', '.join(sorted(set(names) - seen))}: mend TOLD"


def announced(tree):
    """(line, fixed parts) of the texts that begin as warnings and notes do."""
    for parts in literals(tree):
        if parts and parts[0].startswith(("warning: ", "note: ")):
            yield 0, [parts[0].split(": ", 1)[1], *parts[1:]]


def pieces(message):
    """Fixed words of a message of the page."""
    found = [x for x in re.split(r"\s*\.\.\s*", message) if x]
    return [x for x in found if len(x) >= LEAST] or found


def rows(text):
    """(line, messages, advice) of every row of the page's tables."""
    found, inside = [], False
    for number, line in enumerate(text.splitlines(), start=1):
        inside = line == HEAD or (inside and line.startswith("|"))
        if inside and line != HEAD and not line.startswith("|---"):
            says, means = re.fullmatch(r"\| (.+?) \| (.+) \|", line).groups()
            spans = [x[1].strip() for x in re.findall(r"(`+)(.+?)\1(?!`)", says)]
            found.append((number, spans, means))
    return found


def not_in_source(messages, trees):
    """Messages of which no module has all fixed words."""
    texts = ["\0".join(x for parts in literals(tree) for x in parts) for tree in trees.values()]
    return [
        message
        for message in messages
        if not any(all(piece in text for piece in pieces(message)) for text in texts)
    ]


def not_on_page(messages, trees):
    """Where the source says something of which no message of the page has all fixed words."""
    known = [pieces(x) for x in messages]
    missing = []
    for name, tree in trees.items():
        said = [*raised(tree), *announced(tree)]
        said += told(tree, TOLD.get(name, set()))
        for line, parts in said:
            words = [x.strip() for x in parts if x.strip() not in NO_MESSAGE]
            words = [x for x in words if len(x) >= LONG and " " in x]  # not names of columns
            fits = (all(any(_same(x, p) for p in own) for x in words) for own in known)
            if words and not any(fits):
                missing.append(f"{name}:{line}: {' .. '.join(words)}")
    return missing


def _same(said, piece):
    """Whether fixed words of the source are those of the page, or the page has most of them."""
    return said in piece or (piece in said and 2 * len(piece) >= len(said))


@pytest.fixture(scope="module")
def trees():
    return modules()


@pytest.fixture(scope="module")
def page():
    return rows(PAGE.read_text("utf-8"))


@pytest.fixture(scope="module")
def messages(page):
    return [message for _, spans, _ in page for message in spans]


def test_the_page_says_what_the_source_says(messages, trees):
    assert len(messages) > 200
    assert not_in_source(messages, trees) == []


def test_every_message_of_the_source_is_on_the_page(messages, trees):
    assert not_on_page(messages, trees) == []


def test_no_message_stands_twice_and_every_row_has_an_advice(page, messages):
    assert [x for x in messages if messages.count(x) > 1] == []
    assert [number for number, spans, means in page if not spans or len(means) < LEAST] == []


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("data/tables.py", "the table is empty", "the table has nothing in it"),
        ("runs/directory.py", "holds a run; use --resume", "in use already; give --resume"),
        ("data/cache_files.py", "--cache ram needs", "--cache ram takes"),
        ("imaging/header.py", "BMP of an unusual kind", "BMP of a strange kind"),
        ("training/train.py", "no readable photograph in split", "nothing to read in the split"),
        ("data/patients.py", "are patients of their own", "have nobody else's"),
    ],
)
def test_a_message_that_is_reworded_is_seen(messages, name, before, after):
    source = (PACKAGE / name).read_text("utf-8")
    assert before in source
    reworded = {name: ast.parse(source.replace(before, after))}
    assert any(after in x for x in not_on_page(messages, reworded))


def test_words_that_are_in_no_source_are_seen(trees):
    page = ["..: the table is empty", "..: the table is .. quite empty"]
    assert not_in_source(page, trees) == page[1:]


def test_a_new_message_is_seen(messages):
    new = {"data/new.py": ast.parse("def f(x):\n    raise DataError(f'{x}: a quite new text')\n")}
    assert not_on_page(messages, new) == ["data/new.py:2: : a quite new text"]
