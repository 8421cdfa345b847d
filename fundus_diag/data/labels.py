"""The vocabulary of tables: labels and their names, grades, patients, eyes, splits.

Two texts are the same name where their composed forms (Unicode's NFC) are: what a Mac writes
decomposed and a PC composed looks alike, and is meant alike.
"""

import re
import unicodedata

from fundus_diag.utils.errors import DataError

LABEL_NAMES = {
    "N": "normal",
    "D": "diabetic retinopathy",
    "G": "glaucoma",
    "C": "cataract",
    "A": "macular degeneration",
    "H": "hypertensive retinopathy",
    "M": "myopia",
    "O": "other",
}
LABELS = tuple(LABEL_NAMES)  # ODIR's eight, in its order
HEALTHY, OTHER = "N", "O"  # no disease; a disease that no other label names
# What the label of no disease is called in tables that do not call it N; see `is_healthy`.
HEALTHY_NAMES = {
    "n", "normal", "normal eye", "normal fundus", "normal retina", "healthy", "healthy eye",
    "no disease", "no finding", "no findings", "no abnormality", "no dr", "nodr", "正常", "健康",
}  # fmt: skip
LABEL_RULE = "a letter, digit or _ first, then also blanks and . + ( ) -, at most 64 characters"
GRADE = re.compile(r"grade_\d+")
EYES = ("left", "right")
EYE_VALUES = (*EYES, "")  # of a table: "" where nobody knows
EYE_WORDS = {
    **dict.fromkeys(("left", "l", "os", "左", "左眼"), "left"),
    **dict.fromkeys(("right", "r", "od", "右", "右眼"), "right"),
}
SPLITS = ("train", "val", "test")
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def nfc(text: str) -> str:
    """The text with its accents composed: the form in which names are compared and kept."""
    return unicodedata.normalize("NFC", text)


def is_label(name: str) -> bool:
    """Whether a label may be called so (`LABEL_RULE`): it becomes part of file and column names.

    Marks within a word, such as the vowel signs of Hindi, are letters.
    """
    inside = False  # a word
    for at, character in enumerate(name):
        mark = unicodedata.category(character) in ("Mn", "Mc")
        inside = character.isalnum() or character == "_" or (mark and inside)
        if not inside and (at == 0 or character not in " .+()-"):
            return False
    return 0 < len(name) <= 64


def wrong_label(name: str) -> str:
    """What to say of a name that no label may have."""
    return f"{name!r} cannot be the name of a label: {LABEL_RULE}"


def is_healthy(label: str) -> bool:
    """Whether a label says that there is no disease: by its name, N or one of `HEALTHY_NAMES`."""
    return re.sub(r"[\s_-]+", " ", nfc(label).casefold()) in HEALTHY_NAMES


def eye_of(word: str) -> str | None:
    """ "left" or "right" of one of the usual words in any case, "" of nothing, else None."""
    word = nfc(word).strip().casefold()
    return EYE_WORDS.get(word) if word else ""


def label_text(label):
    """The label as a reader knows it: "D diabetic retinopathy", "grade 2", or as it stands."""
    if label in LABEL_NAMES:
        return f"{label} {LABEL_NAMES[label]}"
    return label.replace("_", " ") if GRADE.fullmatch(label) else label


def task_of(path, labels) -> str:
    """What is learned: `grade` where the labels are grade_0 .. grade_k, else `multi_label`.

    Raises:
        DataError: grades are mixed with labels, or one of them is missing or out of order.
    """
    grades = [name for name in labels if GRADE.fullmatch(name)]
    if not grades:
        return "multi_label"
    if len(grades) < len(labels):
        other = next(name for name in labels if name not in grades)
        raise DataError(f"{path}: grades ({grades[0]}) and the label {other!r} in one table")
    if len(grades) < 2 or grades != [f"grade_{k}" for k in range(len(grades))]:
        raise DataError(f"{path}: grades must be the columns grade_0, grade_1 .. in that order")
    return "grade"
