"""A mapping for a table or folder that nobody has described: an offer, with a why for each line.

What is not known is a line that begins with `# ??`. The mapping is read by the rules of all
(`schema`); nothing is built by it before somebody has looked at it.
"""

import os
import re
from collections import Counter
from pathlib import Path

from fundus_diag.data.datasets.guess_folder import of_folder
from fundus_diag.data.datasets.guess_form import guess_form
from fundus_diag.data.datasets.guess_words import fit, key, listed, odir_label, quoted
from fundus_diag.data.datasets.lookup import ANYWHERE, Lookup, stem_of
from fundus_diag.data.datasets.values import ages, plain
from fundus_diag.data.labels import EYE_WORDS, SPLIT_WORDS, nfc
from fundus_diag.data.names import PATTERN
from fundus_diag.data.patients import is_nobody
from fundus_diag.data.tables import read_table
from fundus_diag.utils.errors import DataError

ROWS = 400  # of a table that are looked at, from all of it
MOST = 0.8  # share of values that have to fit
KINDS = 12  # different values of a column that may be a label or a grade
PATIENT = re.compile(r"patient|subject|person|\bpid\b|\bmrn\b|病人|患者|姓名", re.IGNORECASE)
AGE = re.compile(r"\bage\b|_age\b|\bage_|years|年龄", re.IGNORECASE)
SEX = re.compile(r"\b(sex|gender)\b|_sex\b|_gender\b|性别", re.IGNORECASE)
EYE = re.compile(r"\beye\b|_eye\b|lateral|\bside\b|眼", re.IGNORECASE)
GRADE = re.compile(r"grade|level|diagnosis|icdr|retinopathy|stage|severity|分级", re.IGNORECASE)
UNGRADED = {"-1", "na", "n/a", "nan", "u", "unknown", "ungradable", "x", "?"}
YES = {"1", "yes", "y", "true", "positive", "pos", "+", "是", "阳性"}
NO = {"0", "no", "n", "false", "negative", "neg", "-", "否", "阴性"}


def guess(path, root):
    """The text of a mapping (TOML) for a table, or for a folder of classes.

    Args:
        path: table, or folder.
        root: folder that the pictures lie under.

    Raises:
        DataError: the table cannot be read in any form, or the folder has no folders.
    """
    path, root = Path(path), Path(root)
    if not os.path.isdir(root):
        raise DataError(f"{root}: not a folder")
    lines = of_folder(path) if os.path.isdir(path) else _of_table(path, root)
    return re.sub("\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def unknown(text):
    """The lines of a mapping that ask a question."""
    return [line.removeprefix("# ?? ") for line in text.splitlines() if line.startswith("# ??")]


def _of_table(path, root):
    form, why = guess_form(path)
    text = read_table(path, strict=False, form=form)
    step = max(1, len(text.rows) // ROWS)
    columns = {}
    for at, name in enumerate(text.columns):
        if name and text.columns.count(name) == 1:
            columns[name] = [row[at] for row in text.rows[::step]]
    image, found, share = _image(columns, root)
    lines = [f"# Guessed from {path.name}: look at every line; ?? marks what is not known.",
             'reader = "csv"', 'label_choices = ["own", "odir"]', 'dataset = ""',
             'patient_prefix = ""', ""]  # fmt: skip
    lines += ["[files]", f"tables = [{quoted(path.name)}]"]
    folders = sorted({os.path.dirname(x) or "." for x in found})
    if len(folders) > 5:
        lines += [f"# the pictures lie in {len(folders)} folders", f'folders = ["{ANYWHERE}"]']
    elif folders:
        lines.append(f"folders = [{', '.join(map(quoted, folders))}]")
    lines += ["", *why, *_form_lines(form), "", "[columns]"]
    if image is None:
        lines.append(f"# ?? no column names pictures under {root.name}/: say which, or --root")
    else:
        lines.append(f"# {share} of the values looked at are pictures there")
        lines.append(f"image = {quoted(image)}")
    used, more = _people(columns, image)
    lines += more
    for name, pattern, fits in (("age", AGE, _are_ages), ("sex", SEX, lambda cells: True)):
        match = next((x for x in columns if pattern.search(x) and fits(columns[x])), None)
        if match and match not in used:
            used.add(match)
            lines.append(f"{name} = {quoted(match)}")
    split = next((x for x in columns if x not in used and _all(columns[x], SPLIT_WORDS)), None)
    if split:
        used.add(split)
        lines += ["# its words are those of splits", f"split = {quoted(split)}"]
    return lines + _labels(columns, used | {image})


def _image(columns, root):
    """(column whose values are pictures under the root or None, some of these, share as text)."""
    lookup, best = Lookup(root, [ANYWHERE]), (None, [], 0)
    for name, cells in columns.items():
        values = [cell for cell in dict.fromkeys(cells) if cell]
        found = []
        for value in values:
            try:
                there = lookup.find(value)
            except DataError:  # several: its name is one of pictures all the same
                there = value
            if there:
                found.append(there)
        if values and len(found) / len(values) > best[2]:
            best = name, found, len(found) / len(values)
    name, found, share = best
    return (name, found, f"{share:.0%}") if share >= 0.05 else (None, [], "")


def _people(columns, image):
    """(columns used, lines) of patient and eye."""
    used, lines = set(), []
    names = [stem_of(x) for x in columns.get(image, []) if x]
    fits = sum(bool(re.fullmatch(PATTERN, nfc(x), re.IGNORECASE)) for x in names)
    by_name = names and fits >= MOST * len(names)
    patient = next((x for x in columns if PATIENT.search(x) and x != image
                    and not _are_ages_only(x)), None)  # fmt: skip
    pattern = PATTERN.replace("(?P<patient>", "(").replace("(?P<eye>", "(?:")
    ending = r"(?:\.\w+)?"
    if patient:
        used.add(patient)
        nobody = sum(map(is_nobody, columns[patient]))
        if nobody:
            lines.append(f"# {nobody} of {len(columns[patient])} values are nobody")
        lines.append(f"patient = {quoted(patient)}")
    elif by_name:
        lines.append(f"# {fits} of {len(names)} names are of the form 123_left")
        rule = f"'(?:.*[/\\\\])?{pattern}{ending}'"
        lines.append(f"patient = {{ column = {quoted(image)}, pattern = {rule} }}")
    else:
        lines.append("# ?? nothing tells of patients: every picture counts as a patient of its own")
        lines.append(f"patient = {quoted(image or '')}")
    eye = next((x for x in columns if x not in used and _all(columns[x], EYE_WORDS)), None)
    coded = next((x for x in columns if EYE.search(x) and _all(columns[x], {"1", "2"})), None)
    if eye:
        used.add(eye)
        lines += ["# its words are those of eyes", f"eye = {quoted(eye)}"]
    elif coded:
        used.add(coded)
        lines += [
            f"# ?? 1 and 2 in {coded!r}: is 1 the right eye? Then take the # away here:",
            f"# eye = {quoted(coded)}",
            '# .. and write below: [values]  eye = { 1 = "right", 2 = "left" }',
        ]
    elif by_name:
        pattern = PATTERN.replace("(?P<patient>", "(?:").replace("(?P<eye>", "(")
        rule = f"'(?:.*[/\\\\])?{pattern}{ending}'"
        lines.append(f"eye = {{ column = {quoted(image)}, pattern = {rule} }}")
    else:
        lines.append("# ?? nothing tells which eye it is")
    return used, lines


def _labels(columns, used):
    """Lines of grades and labels, and of the columns that are neither."""
    labels, grades, other, asked, taken = [], [], [], [], set()
    for name, cells in columns.items():
        if name in used:
            continue
        words = Counter(plain(x) for x in cells if x)
        kinds = set(words) - UNGRADED
        shown = ", ".join(f"{x} {n}" for x, n in words.most_common(5))
        whole = bool(kinds) and all(re.fullmatch("[0-9]", x) for x in kinds)
        if not kinds or len(kinds) > KINDS or any(re.search(r"[/\\]|\d[.,]\d", x) for x in kinds):
            other.append(f"# not taken: {name!r} ({len(words)} different values)")
        elif whole and GRADE.search(name) and not grades:
            grades = _grades(name, max(map(int, kinds)), words)
        elif kinds <= YES | NO and not GRADE.search(name):
            labels.append(_label(name, words, taken))
        else:
            asked.append(f"# ?? {name!r} holds {shown}: a label, or grades? Which are ill?")
    if grades and labels:
        asked.append("# ?? grades or labels: both are here; take one of the two away")
    lines = ["", "[labels]", *labels] if labels else [""]
    return [*lines, *asked, *other, *(["", *grades] if grades else [])]


def _label(name, words, taken):
    """A line of one label; what it is called is not among those taken, and then is."""
    named = odir_label(name)
    named = fit(name) if named in taken | {None} else named
    taken.add(named)
    positive, negative = ([x for x in words if x in some] for some in (YES, NO))
    not_graded = [x for x in words if x in UNGRADED]
    parts = [
        f"column = {quoted(name)}",
        f"positive = {listed(positive or ['1'])}",
        f"negative = {listed(negative or ['0'])}",
        *([f"not_graded = {listed(not_graded)}"] if not_graded else []),
    ]
    count = sum(words[x] for x in positive)
    return f"{key(named)} = {{ {', '.join(parts)} }} # {count} of {words.total()} positive"


def _grades(name, highest, words):
    """Lines of grades from 0 to the highest that is there."""
    found = [x for x in words if x in UNGRADED]
    missing = [str(k) for k in range(highest + 1) if str(k) not in words]
    lines = [f"# ?? the scale ends at {highest}, the highest that is there"]
    lines += [f"# ?? nobody has grade {', '.join(missing)}"] if missing else []
    lines += ["[grades]", f"column = {quoted(name)}"]
    lines.append(f"values = {listed(map(str, range(max(highest, 1) + 1)))}")
    return lines + ([f"not_graded = {listed(found)}"] if found else [])


def _form_lines(form):
    lines = []
    if form.delimiter != ",":
        lines.append(f"delimiter = {quoted(form.delimiter)}")
    if form.encoding != "utf-8":
        lines.append(f"encoding = {quoted(form.encoding)}")
    if form.sheet is not None:
        lines.append(f"sheet = {quoted(form.sheet)}")
    if form.header is not None:
        lines.append(f"header = {list(form.header)}")
    return ["[table]", *lines] if lines else []


def _all(cells, words):
    kinds = {plain(x) for x in cells if x}
    return bool(kinds) and kinds <= set(words)


def _are_ages(cells):
    _, odd = ages(cells)
    return len(odd) <= (1 - MOST) * len(cells) and any(cells)


def _are_ages_only(name):
    return bool(AGE.search(name) or SEX.search(name))
