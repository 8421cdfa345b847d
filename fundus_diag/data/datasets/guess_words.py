"""Words of a guessed mapping: names of labels, and texts as TOML has them."""

import re

from fundus_diag.data.labels import is_label

# Words of classes and columns that are one of ODIR's labels.
ODIR = (
    ("N", r"(?<!ab)normal|(?<!un)healthy|no.?disease|no.?dr\b|正常"),
    ("D", r"diabet|\bdr\b|(?<!hypertensive )retinopathy|糖尿病"),
    ("G", r"glauc|青光眼"),
    ("C", r"catar|白内障"),
    ("A", r"\ba?r?md\b|macular.?degen|黄斑变性"),
    ("H", r"hypert|高血压"),
    ("M", r"myop|近视"),
)


def odir_label(name):
    """The one label of ODIR that a name stands for, or None."""
    text = re.sub(r"[_-]+", " ", name)
    found = [label for label, words in ODIR if re.search(words, text, re.IGNORECASE)]
    return found[0] if len(found) == 1 else None


def fit(name):
    """A name that a label may have."""
    return name if is_label(name) else re.sub(r"[^\w .+()-]", "_", name)[:64] or "label"


def quoted(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
    return f'"{escaped}"'


def key(text):
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else quoted(text)


def listed(words):
    return f"[{', '.join(map(quoted, words))}]"
