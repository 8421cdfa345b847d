"""What the cells of a table from outside mean: words, numbers and parts of names."""

import re
from collections import Counter

import numpy as np

from fundus_diag.data.labels import nfc
from fundus_diag.data.patients import is_nobody
from fundus_diag.utils.errors import DataError

_AGE = re.compile(r"0*(\d{1,3})(?:[.,](\d{1,3}))?\s*(?:y|yr|yrs|years?|岁|a)?\s*\+?", re.IGNORECASE)


def plain(word):
    """A word as it is compared: composed, without case, a whole number without its fraction."""
    word = nfc(word).strip().lower()
    return word.split(".")[0] if re.fullmatch(r"-?\d+\.0+", word) else word


def cells(text, rule, required=True, name=""):
    """What a rule takes from each row of a table: "" where there is nothing.

    Args:
        text: `tables.TextTable`.
        rule: `schema.Rule`. A column may be a text with columns in braces, as "train/{id}.png";
            such a text counts where all its columns do.
        required: whether the columns have to be there, or one of several.
        name: of the pattern's group that counts, where it has one of that name; else its first.

    Returns:
        (cells, texts that the pattern does not fit).

    Raises:
        DataError: a column is not there.
    """
    needed = required and len(rule.column) == 1
    columns = [_filled(text, column, needed) for column in rule.column]
    found = [next(filter(None, row), "") for row in zip(*columns, strict=True)]
    whole, strange = found, []
    if rule.pattern is not None:
        pattern, parts = re.compile(rule.pattern, re.IGNORECASE), []
        group = name if name in pattern.groupindex else 1
        for cell in found:
            match = pattern.fullmatch(nfc(cell))
            if cell and not match:
                strange.append(cell)
            parts.append((match[group] or "").strip() if match else "")
        found = parts
    if rule.text is not None:
        given = zip(found, whole, strict=True)
        found = [rule.text.replace("{}", x).replace("{cell}", y) if x else "" for x, y in given]
    return found, strange


def _filled(text, column, required):
    names = re.findall(r"{([^{}]+)}", column)
    if not names:
        return text.column(column) if required or text.has(column) else [""] * len(text.lines)
    if not required and not all(map(text.has, names)):
        return [""] * len(text.lines)
    parts = {name: text.column(name) for name in names}
    return [
        re.sub(r"{([^{}]+)}", lambda m, i=i: parts[m.group(1)][i], column)
        if all(parts[name][i] for name in names)
        else ""
        for i in range(len(text.lines))
    ]


def translated(text, name, found, meanings):
    """The cells by their meanings; nothing means nothing.

    Args:
        text: the table, to name its lines.
        name: what the cells are of.
        found: the cells.
        meanings: {word of the table: what it means}; words are compared as `plain` has them.

    Raises:
        DataError: cells without a meaning: the first of them, and how many there are of which.
    """
    meanings = {"": None} | {plain(word): meant for word, meant in meanings.items()}
    words = [plain(cell) for cell in found]
    strange = [i for i, word in enumerate(words) if word not in meanings]
    if strange:
        first = strange[0]
        kinds = Counter(found[i] for i in strange)
        others = f" ({len(strange)} rows: {_listed(kinds)})" if len(strange) > 1 else ""
        raise DataError(
            f"{text.path} line {text.lines[first]}: {name} {found[first]!r} has no meaning in the "
            f"mapping{others}"
        )
    return [meanings[word] for word in words]


def _listed(kinds):
    return ", ".join(f"{word!r} {n}" for word, n in kinds.most_common(5))


def grades(text, rule, found):
    """{grade_0, grade_1 ..: [1.0, 0.0 or None]}; None in all of them of a row without a grade."""
    meanings = {word: None for word in rule.not_graded}
    meanings |= {word: k for k, words in enumerate(rule.values) for word in words}
    given = translated(text, "grade", found, meanings)
    return {
        f"grade_{k}": [None if x is None else float(x == k) for x in given]
        for k in range(len(rule.values))
    }


def label(text, name, rule, found):
    """[1.0, 0.0 or None] of one label."""
    meanings = {word: None for word in rule.not_graded}
    meanings |= {word: 1.0 for word in rule.positive} | {word: 0.0 for word in rule.negative}
    return translated(text, name, found, meanings)


def ages(found):
    """((N,) float64 years, NaN where nothing is said, ages that are no number of years).

    As written: 61, 061Y, 65,5, 90+, "54 years".
    """
    years, strange = np.full(len(found), np.nan), []
    for i, cell in enumerate(found):
        match = _AGE.fullmatch(cell)
        if match:
            years[i] = float(f"{match[1]}.{match[2] or 0}")
        elif cell and not is_nobody(cell):
            strange.append(cell)
    return years, strange
