"""Data sets of one's own: a folder of pictures per class, or any table, read through a mapping."""

import re
from pathlib import Path

from fundus_diag.sources.odir import find_file
from fundus_diag.tables.rules import wrong_path
from fundus_diag.tables.text import TextTable, read_table
from fundus_diag.utils.errors import DataError


def folder_rows(root: Path, description: dict, labels: str, table: Path | None, out: Path) -> dict:
    """Rows of the pictures in DIR/<class>/ and DIR/<split>/<class>/.

    A picture is 1 for the labels of its own folder and 0 for those of the other folders.
    """
    classes = {
        name.lower(): [label] if isinstance(label, str) else list(label)
        for name, label in _section(description, "classes").items()
    }
    graded = list(dict.fromkeys(label for given in classes.values() for label in given))
    splits = {name.lower(): split for name, split in description.get("splits", {}).items()}
    files = _section(description, "files")
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


def csv_rows(root: Path, description: dict, labels: str, table: Path | None, out: Path) -> dict:
    """Rows of a table through the mapping of its columns and values."""
    names = description.get("files", {}).get("tables", [])
    text = read_table(table or find_file(root, names))
    columns = _section(description, "columns")
    values = {
        name: {str(given).lower(): meant for given, meant in meanings.items()}
        for name, meanings in description.get("values", {}).items()
    }
    meta = {}
    for name in ("image", "patient", "eye", "split", "age", "sex"):
        meta[name] = _cells(text, columns.get(name, ""), required=name in ("image", "patient"))
        if name in values:
            meta[name] = _translate(text, name, meta[name], values[name])
    graded = _grades(text, description["grades"]) if "grades" in description else {}
    for label, rule in description.get("labels", {}).items() if not graded else ():
        cells = _cells(text, rule["column"], required=not rule.get("optional", False))
        given = {str(value).lower(): 1.0 for value in rule["positive"]}
        given |= {str(value).lower(): 0.0 for value in rule["negative"]}
        if any(cells):
            graded[label] = _translate(text, label, cells, given | {"": None})
    if not graded:
        raise DataError(f"{text.path}: no label that {description['path']} names")
    rows = []
    for i, line in enumerate(text.lines):
        row = {name: cells[i] for name, cells in meta.items()}
        if columns.get("patient") and not row["patient"]:
            raise DataError(f"{text.path} line {line}: no patient")
        row["patient"] = description["patient_prefix"] + (row["patient"] or row["image"])
        row["age"] = _number(text, line, row["age"])
        row |= {label: cells[i] for label, cells in graded.items()}
        wrong = wrong_path(row["image"])
        if wrong:
            raise DataError(f"{text.path} line {line}: image {row['image']!r} {wrong}")
        left_out = None if (root / row["image"]).is_file() else "picture missing"
        if "grades" in description and row["grade_0"] is None:
            left_out = "no grade"
        rows.append(row | {"line": line, "left_out": left_out})
    return {
        "rows": rows,
        "labels": list(graded),
        "source": text.path,
        "image_root": root,
        "notes": [],
    }


def _section(description, name):
    if not isinstance(description.get(name), dict):
        raise DataError(f"{description['path']}: no table [{name}]")
    return description[name]


def _folders(root):
    try:
        return sorted(path for path in root.iterdir() if path.is_dir())
    except OSError as error:
        raise DataError(f"{root}: cannot be read: {error.strerror}") from error


def _cells(text: TextTable, column: str, required: bool) -> list[str]:
    """Cells of a column, or of a text with columns in braces; empty where there is no column."""
    if "{" in column:
        names = re.findall(r"{([^{}]+)}", column)
        parts = {name: text.column(name) for name in names}
        return [
            re.sub(r"{([^{}]+)}", lambda m, i=i: parts[m.group(1)][i], column)
            for i in range(len(text.lines))
        ]
    if column and (required or column in text.columns):
        return text.column(column)
    return [""] * len(text.lines)


def _translate(text, name, cells, meanings):
    meanings = {"": ""} | meanings
    for line, cell in zip(text.lines, cells, strict=True):
        if cell.lower() not in meanings:
            raise DataError(
                f"{text.path} line {line}: {name} {cell!r} has no meaning in the mapping"
            )
    return [meanings[cell.lower()] for cell in cells]


def _grades(text, rule):
    """One column per grade; a row without a grade is NaN in all of them."""
    order = [str(value).lower() for value in rule["values"]]
    cells = _translate(text, "grade", text.column(rule["column"]), {v: v for v in order})
    return {
        f"grade_{k}": [float(cell == value) if cell else None for cell in cells]
        for k, value in enumerate(order)
    }


def _number(text, line, cell):
    try:
        return float(cell) if cell else float("nan")
    except ValueError:
        raise DataError(f"{text.path} line {line}: age {cell!r} is not a number") from None
