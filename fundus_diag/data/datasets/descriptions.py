"""What is known about a data set: `data_manifests/<name>.toml`, read and checked."""

import re
import tomllib
from importlib import resources
from pathlib import Path

from fundus_diag.utils.errors import DataError


def describe(name: str, mapping: Path | None = None) -> dict:
    """The description of a data set: its TOML file as a dict.

    Raises:
        DataError: the file is missing or no TOML, or lacks what every description has.
    """
    path = Path(mapping) if mapping else descriptions_dir() / f"{name}.toml"
    try:
        description = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a TOML file: {error}".replace("\n", " ")) from error
    # What a user's own mapping need not say.
    defaults = {"title": path.stem, "dataset": "", "patient_prefix": "", "licence": "not stated"}
    return {**defaults, "path": path, **description}


def descriptions_dir() -> Path:
    """The folder of the descriptions: in the installed package, or beside it in the repository."""
    package = Path(str(resources.files("fundus_diag")))
    installed = package / "data_manifests"
    return installed if installed.is_dir() else package.parent / "data_manifests"


def dataset_facts(predictions):
    """Title, licence and citation of every described data set that the table names."""
    if "dataset" not in predictions:
        return []

    facts = []
    for name in sorted(set(predictions["dataset"]) - {""}):
        path = descriptions_dir() / f"{name}.toml"
        known = {}
        if re.fullmatch(r"\w+", name, re.ASCII) and path.is_file():
            known = tomllib.loads(path.read_text("utf-8"))
        facts.append({"name": name} | {k: known.get(k) for k in ("title", "licence", "citation")})
    return facts


def section(description, name):
    if not isinstance(description.get(name), dict):
        raise DataError(f"{description['path']}: no table [{name}]")
    return description[name]


def find_file(root: Path, names: list[str]) -> Path:
    """The first of the files that is there.

    Raises:
        DataError: none is.
    """
    for name in names:
        if (root / name).is_file():
            return root / name
    raise DataError(f"{root}: none of the files {', '.join(names)}")
