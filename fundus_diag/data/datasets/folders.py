"""Pictures in one folder per class."""

import re
from pathlib import Path

from fundus_diag.data.datasets.descriptions import section
from fundus_diag.utils.errors import DataError


def folder_rows(root: Path, description: dict, labels: str, table: Path | None, out: Path) -> dict:
    """Rows of the pictures in DIR/<class>/ and DIR/<split>/<class>/.

    A picture is 1 for the labels of its own folder and 0 for those of the other folders.
    """
    classes = {
        name.lower(): [label] if isinstance(label, str) else list(label)
        for name, label in section(description, "classes").items()
    }
    graded = list(dict.fromkeys(label for given in classes.values() for label in given))
    splits = {name.lower(): split for name, split in description.get("splits", {}).items()}
    files = section(description, "files")
    endings = tuple(ending.lower() for ending in files.get("extensions", [".jpg", ".png"]))
    name = re.compile(files.get("name", "(?!)"))  # matches nothing
    found, strange = [], []
    for folder in _folders(root):
        inner = _folders(folder) if folder.name.lower() in splits else [folder]
        for class_folder in inner:
            if class_folder.name.lower() not in classes:
                strange.append(str(class_folder.relative_to(root)))
                continue
            split = splits.get(folder.name.lower(), "") if class_folder != folder else ""
            for picture in sorted(class_folder.iterdir()):
                hidden = picture.name.startswith(".")  # macOS leaves a ._x.jpg beside every x.jpg
                if picture.name.lower().endswith(endings) and not hidden:
                    found.append((split, class_folder.name.lower(), picture))
    rows = []
    for split, class_name, picture in found:
        match = name.fullmatch(picture.stem)
        image = picture.relative_to(root).as_posix()
        parts = match.groupdict() if match else {}
        # Without a patient in its name, a picture is told apart by its path: classes may each have
        # a picture 001.jpg.
        patient = parts.get("patient") or image
        rows.append(
            {
                "image": image,
                "patient": description["patient_prefix"] + patient,
                "eye": parts.get("eye") or "",
                "split": split,
                "line": len(rows) + 1,
                "left_out": None,
            }
            | {label: float(label in classes[class_name]) for label in graded}
        )
    notes = [f"folder {path!r} stands for no class: left out" for path in strange]
    return {"rows": rows, "labels": graded, "source": root, "image_root": root, "notes": notes}


def _folders(root):
    try:
        return sorted(path for path in root.iterdir() if path.is_dir())
    except OSError as error:
        raise DataError(f"{root}: cannot be read: {error.strerror}") from error
