"""The slow and the lenient part of `manifest check`: the pictures, and what looks odd."""

import functools
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from fundus_diag.data import duplicates, patients
from fundus_diag.data.manifest import Manifest, examine, labels_without_positive
from fundus_diag.data.paths import NO_FILE, escaped, inside, not_there
from fundus_diag.utils.errors import DataError, counted

AGES = (5, 105)  # years; outside, an age is taken for a placeholder or a slip
NAMED = 3  # how many cases of one kind a warning names
GROUP = 20  # how many of a group of equal files a line names
NARROW = "hold {} bits in 16 and so are nearly black"
WORKERS = 4
AT_ONCE = 64  # pictures that a worker of Ray is given at a time


class Line(str):
    """A line that a check says, and the `images` that it is about."""

    images: tuple[str, ...] = ()

    def about(self, images) -> "Line":
        """The line, with the images that it is about."""
        self.images = tuple(images)
        return self


class Checked(NamedTuple):
    """What a check finds.

    Attributes:
        manifest: the table.
        errors, warnings: `Line`s.
        pictures: image, height, width (px), bytes and sharpness (`quality.sharpness`) of each
            picture that can be read; None where the table alone was looked at.
    """

    manifest: Manifest
    errors: list[Line]
    warnings: list[Line]
    pictures: pd.DataFrame | None


def looker(root: Path, judge=None):
    """A function that looks at one picture of a table; see `check`.

    It returns what is wrong or None, hash, thumbnail, what is odd, facts: little: all can be held.
    """
    # TensorFlow takes seconds to import: tables alone shall not wait for it.
    from fundus_diag.imaging.depth import narrow_bits
    from fundus_diag.imaging.image_file import MORE, open_file
    from fundus_diag.imaging.quality import NOTHING, is_blank, sharpness

    def look(image):
        picture = inside(root, image)
        if picture is None:
            return "", None, None, None, None  # reported among the table's own mistakes
        missing = not_there(picture)
        if missing:
            reason = f"{missing} under {root}" if missing == NO_FILE else missing
            return reason, None, None, None, None
        content, pixels, reason, more = open_file(picture)
        if reason:
            return reason, None, None, None, None
        bits = narrow_bits(content, pixels)
        odd = [NARROW.format(bits)] if bits else [NOTHING] if is_blank(pixels) else []
        odd += [MORE] if more else []
        poor = judge(picture) if judge and not odd else ""
        odd += [f"are poor: {poor}"] if poor else []
        facts = (image, *pixels.shape[:2], len(content), sharpness(pixels))
        return None, hashlib.sha256(content).digest(), duplicates.thumbnail(pixels), odd, facts

    return look


def _looks(images: list[str], root: Path, judge, engine: str, workers: int | None):
    """What `looker` says of each of them."""
    from fundus_diag.utils.over_ray import over_ray
    from fundus_diag.utils.progress import track

    if engine == "ray":
        parts = [images[k : k + AT_ONCE] for k in range(0, len(images), AT_ONCE)]
        make = functools.partial(_worker, root, judge)
        found = dict(over_ray(make, parts, workers, f"checking pictures, {AT_ONCE} at a time"))
        return [one for k in range(len(parts)) for one in found[k]]
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(track(pool.map(looker(root, judge), images), "checking pictures", len(images)))


def _worker(root, judge, cores):
    """The function of images that a worker runs; see `over_ray.over_ray`."""
    from fundus_diag.utils.over_ray import share_of_cores

    share_of_cores(cores)
    look = looker(root, judge)
    return lambda images: list(map(look, images))


def check_pictures(
    table: pd.DataFrame,
    labels: Sequence[str],
    path: Path,
    root: Path,
    judge=None,
    engine: str = "local",
    workers: int | None = None,
) -> tuple[list[Line], list[Line], pd.DataFrame]:
    """(errors, warnings, `Checked.pictures`) of the files that a table names.

    Each is read and decoded once, and once more by `judge`, of `check`.
    """
    table = table.drop_duplicates("image").reset_index(drop=True)
    looks = _looks(table["image"].tolist(), root, judge, engine, workers)
    errors = [
        Line(f"{path}: {image}: {why}").about([image])
        for image, (why, *_) in zip(table["image"], looks, strict=True)
        if why
    ]
    table = table[[why is None for why, *_ in looks]].reset_index(drop=True)
    fine = [x for x in looks if x[0] is None]
    hashes, thumbnails, odd, facts = ([x[k] for x in fine] for k in (1, 2, 3, 4))
    warnings = _oddities(table["image"], odd, path)
    for group in duplicates.same_content(hashes):
        same = table.loc[group]
        who = _some([f"{image} (patient {patient})" for image, patient in _pairs(same)], GROUP)
        who = f"{len(same)} files: {who}" if len(same) > GROUP else who
        for label in labels:
            if {0.0, 1.0} <= set(same[label]):
                pairs = zip(same["image"], same[label], strict=True)
                said = [f"{image} ({label} {value:g})" for image, value in pairs]
                line = f"{path}: the same picture under two labels: {_some(said, GROUP)}"
                errors.append(Line(line).about(same["image"]))
        if same["patient"].nunique() > 1:
            line = (
                f"{path}: the same picture under two patients: {who}: leave one out, call both one "
                "patient, or keep them together by `manifest split --keep-together`"
            )
            errors.append(Line(line).about(same["image"]))
        else:
            warnings.append(Line(f"{path}: the same picture twice: {who}").about(same["image"]))
    for i, j, alike in duplicates.near_pairs(thumbnails, table["patient"], hashes):
        who = " and ".join(f"{image} (patient {p})" for image, p in _pairs(table.loc[[i, j]]))
        line = Line(f"{path}: nearly the same picture ({alike:.2f}): {who}")
        warnings.append(line.about(table.loc[[i, j], "image"]))
    columns = ["image", "height", "width", "bytes", "sharpness"]
    return errors, warnings, pd.DataFrame(facts, columns=columns)


def check_values(table: pd.DataFrame, labels: tuple[str, ...], path: Path) -> list[str]:
    """Warnings about what a table says: nothing here stops a run."""
    warnings = []
    if "age" in table:
        odd = table["age"].notna() & ~table["age"].between(*AGES)
        ages = sorted(Counter(table.loc[odd, "age"]).items(), key=lambda item: -item[1])
        text = ", ".join(f"{age:g} ({counted(count, 'row')})" for age, count in ages[:NAMED])
        if ages:
            line = Line(f"{path}: {counted(int(odd.sum()), 'row')} with an odd age: {text}")
            warnings.append(line.about(table.loc[odd, "image"]))
    ungraded = table[table[list(labels)].isna().all(axis=1)]["image"]
    if not labels:
        warnings.append(f"{path}: no label: `predict` and `pretrain` take it, `train` does not")
    elif len(ungraded):
        line = Line(
            f"{path}: {counted(len(ungraded), 'row')} without a graded label: {_some(ungraded)}"
        )
        warnings.append(line.about(ungraded))
    eyes = table[table["eye"] != ""].drop_duplicates(["patient", "eye"])
    count = eyes.groupby("patient", sort=False).size()
    single = count.index[count == 1]
    if len(single):
        warnings.append(
            f"{path}: {counted(len(single), 'patient')} with one eye only: {_some(single)}"
        )
    return warnings + labels_without_positive(table, labels, path)


def _pairs(rows):
    return zip(rows["image"], rows["patient"], strict=True)


def _oddities(images, odd, path):
    """A warning for each thing that is odd about photographs, in the order of their first."""
    images = images.reset_index(drop=True)
    kinds = list(dict.fromkeys(kind for kinds in odd for kind in kinds))
    found = {kind: images[[kind in x for x in odd]] for kind in kinds}
    return [
        Line(f"{path}: photographs that {kind} ({len(names)}): {_some(names)}").about(names)
        for kind, names in found.items()
    ]


def _some(names, count=NAMED):
    return ", ".join(map(escaped, list(names)[:count])) + (" .." if len(names) > count else "")


def check(
    path: Path,
    image_root: Path | None = None,
    judge=None,
    engine: str = "local",
    workers: int | None = None,
) -> Checked:
    """Everything that is wrong with a manifest and its pictures, a line each.

    Errors: rows that break a rule of the table (duplicates and patients in two splits among them),
    pictures that are missing or unreadable, equal files under two patients or two labels.
    Warnings: pictures of different patients that nearly agree, that show nothing, hold 12 or 14
    bits in 16 or are the first of several in their file, ages that can hardly be, rows without a
    graded label, eyes without a fellow, labels without a positive in a split, no label at all, what
    is odd about the patients.

    Args:
        path: manifest.
        image_root: folder that its image paths start from; None looks at the table alone.
        judge: function of a file to why its photograph is poor, or "": one more warning.
        engine: "local", or "ray": pictures are looked at by so many `workers`, see
            `over_ray.over_ray`, for all of whom they have to lie at the same place.

    Raises:
        DataError: the file cannot be read as a manifest, or the root is no folder.
    """
    manifest, errors = examine(path, need_labels=None)
    table, warnings, pictures = manifest.table, [], None
    if image_root is not None:
        if not os.path.isdir(image_root):
            raise DataError(f"{image_root}: the image root is not a folder")
        more, warnings, pictures = check_pictures(
            table, manifest.labels, manifest.path, Path(image_root), judge, engine, workers
        )
        errors = errors + more
    warnings += check_values(table, manifest.labels, manifest.path)
    warnings += [f"{manifest.path}: {note}" for note in patients.notes(table)]
    errors, warnings = (
        [x if isinstance(x, Line) else Line(x) for x in lines] for lines in (errors, warnings)
    )
    return Checked(manifest, errors, warnings, pictures)
