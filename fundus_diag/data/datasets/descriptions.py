"""What is known about a data set: `data_manifests/<name>.toml`, read and checked."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from fundus_diag.data.datasets.lookup import ANYWHERE, Lookup
from fundus_diag.data.labels import nfc
from fundus_diag.data.paths import NO_FILE, inside, not_there
from fundus_diag.utils.errors import DataError, UsageError

if TYPE_CHECKING:  # to build it takes a tenth of a second, which the command line does without
    from fundus_diag.data.datasets.schema import Description


VOCABULARY = "findings"  # lies beside the descriptions and is none: `data/findings.py` reads it


class NotThere(DataError):
    """Of the files that a description names none is there."""


def described() -> list[str]:
    """The names of all data sets that have a description."""
    return sorted({path.stem for path in descriptions_dir().glob("*.toml")} - {VOCABULARY})


def describe(name: str, mapping: Path | None = None) -> Description:
    """The description of a data set; its `path` is the file's.

    Args:
        name: one of `described()`.
        mapping: TOML file to use in its place; it need not say `reader` and `label_choices`.

    Raises:
        UsageError: no such data set.
        DataError: a file is missing or no TOML, or says what no description may say.
    """
    from fundus_diag.data.datasets.schema import checked

    if name not in described():
        raise UsageError(f"no data set {name!r}: choose from {', '.join(described())}")
    path = descriptions_dir() / f"{name}.toml"
    content = _read(path)
    if mapping:
        path = Path(mapping)
        kept = {key: content[key] for key in ("reader", "label_choices") if key in content}
        content = kept | _read(path)
    return checked(path, content)


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
        {"name": name}
        | {k: getattr(known.get(name), k, None) for k in ("title", "licence", "citation")}
        for name in sorted(named)
    ]


def parts_of(description: Description, labels: str) -> list[Description]:
    """The parts of a data set that `labels` is made of; all of it where it has no parts.

    What a part says counts in place of what stands above the parts, key by key.
    """
    parts = [part for part in description.parts if not part.only or labels in part.only]
    return [_with(description, part) for part in parts] or [description]


def _with(whole, part):
    from fundus_diag.data.datasets.schema import Files, TableForm

    said = {}
    for name in part.model_fields_set:
        value = getattr(part, name)
        before = getattr(whole, name, None)
        if isinstance(value, dict) and isinstance(before, dict):
            value = before | value
        elif isinstance(value, Files | TableForm):
            value = before.model_copy(update={x: getattr(value, x) for x in value.model_fields_set})
        said[name] = value
    return whole.model_copy(update=said)


def find_file(root: Path, description: Description, kind: str) -> Path:
    """The first of the files that `[files]` of the description names, by `kind`, and that is there.

    A name that begins with "**/" is looked up in any folder.

    Raises:
        DataError: none is, or none is named; several are called so.
    """
    names = getattr(description.files, kind)
    if not names:
        raise DataError(
            f"{description.path}: names no file ([files] {kind}): name it there or by --table"
        )
    for name in names:
        if name.startswith(f"{ANYWHERE}/"):
            name = Lookup(root, [ANYWHERE]).find(name.removeprefix(f"{ANYWHERE}/")) or ""
        path = inside(root, name)
        if path and not_there(path) != NO_FILE:
            return path
    raise NotThere(f"{root}: none of the files {', '.join(names)}")


def _read(path):
    try:
        return tomllib.loads(nfc(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a TOML file: {error}".replace("\n", " ")) from error
