"""What is known about a data set: `data_manifests/<name>.toml`, read and checked."""

import tomllib
from importlib import resources
from pathlib import Path

from fundus_diag.data.labels import nfc
from fundus_diag.data.paths import NO_FILE, inside, not_there
from fundus_diag.utils.errors import DataError, UsageError


def described() -> list[str]:
    """The names of all data sets that have a description."""
    return sorted(path.stem for path in descriptions_dir().glob("*.toml"))


def describe(name: str, mapping: Path | None = None) -> dict:
    """The description of a data set: its TOML file as a dict.

    Args:
        name: one of `described()`.
        mapping: TOML file to use in its place; it need not say `reader` and `label_choices`.

    Raises:
        UsageError: no such data set.
        DataError: a file is missing or no TOML, or `label_choices` is no list of names.
    """
    if name not in described():
        raise UsageError(f"no data set {name!r}: choose from {', '.join(described())}")
    path = descriptions_dir() / f"{name}.toml"
    description = _read(path)
    if mapping:
        path = Path(mapping)
        kept = {key: description.get(key) for key in ("reader", "label_choices")}
        description = kept | _read(path)
    choices = description.get("label_choices")
    if not (isinstance(choices, list) and choices and all(isinstance(x, str) for x in choices)):
        raise DataError(f"{path}: label_choices {choices!r} is no list of names")
    # What a user's own mapping need not say.
    defaults = {
        "title": path.stem,
        "reader": None,
        "dataset": "",
        "patient_prefix": "",
        "licence": "not stated",
    }
    return {**defaults, **description, "path": path}


def descriptions_dir() -> Path:
    """The folder of the descriptions: in the installed package, or beside it in the repository."""
    package = Path(str(resources.files("fundus_diag")))
    installed = package / "data_manifests"
    return installed if installed.is_dir() else package.parent / "data_manifests"


def dataset_facts(predictions):
    """Title, licence and citation of every data set that the table names, None where unknown.

    Raises:
        DataError: a description is no TOML.
    """
    named = set(predictions["dataset"]) - {""} if "dataset" in predictions else set()
    known = {name: describe(name) for name in named & set(described())}
    return [
        {"name": name} | {k: known.get(name, {}).get(k) for k in ("title", "licence", "citation")}
        for name in sorted(named)
    ]


def section(description, name):
    if not isinstance(description.get(name), dict):
        raise DataError(f"{description['path']}: no table [{name}]")
    return description[name]


def find_file(root: Path, description: dict, kind: str) -> Path:
    """The first of the files that `[files]` of the description names, by `kind`, and that is there.

    Raises:
        DataError: none is, or none is named.
    """
    names = description.get("files", {}).get(kind, [])
    if not names:
        raise DataError(
            f"{description['path']}: names no file ([files] {kind}): name it there or by --table"
        )
    for name in names:
        path = inside(root, name)
        if path and not_there(path) != NO_FILE:
            return path
    raise DataError(f"{root}: none of the files {', '.join(names)}")


def _read(path):
    try:
        return tomllib.loads(nfc(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a TOML file: {error}".replace("\n", " ")) from error
