"""What is to be explained: single photographs, or the rows of a table."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fundus_diag.data.inputs import load_table, settle_bad
from fundus_diag.data.labels import EYES
from fundus_diag.imaging.image_file import check_files
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.utils.errors import UsageError


@dataclass(frozen=True)
class Case:
    """One row to explain: a photograph, or a patient's two.

    Attributes:
        name: of its files.
        patient: as the table says, or "".
        images: {eye: path as the table has it}; the eye of a single photograph may be "".
        paths: {eye: file}.
    """

    name: str
    patient: str
    images: dict
    paths: dict


def cases_of_files(paths, on_bad_image="fail"):
    """Function of a run to `Case`s of single photographs, for `explain`."""

    def cases(run):
        if run.config["unit"] != "eye":
            raise UsageError("--images: this run reads pairs of eyes; name them by --manifest")
        bad = [[str(path), reason] for path, reason in check_files(paths)]
        settle_bad(bad, on_bad_image)
        wrong = {name for name, _ in bad}
        good = [Path(p) for p in paths if str(p) not in wrong]
        names = _names([p.stem for p in good])
        return [Case(n, "", {"": str(p)}, {"": p}) for n, p in zip(names, good, strict=True)]

    return cases


def cases_of_manifest(manifest, image_root, split=None, on_bad_image="fail"):
    """Function of a run to `Case`s of a table's rows, for `explain`."""

    def cases(run):
        _, pictures, rows = load_table(manifest, image_root, run.config, split, on_bad_image)
        pair = run.config["unit"] == "patient"
        column = rows.table["patient" if pair else "image"]
        names = _names(column if pair else [str(Path(x).with_suffix("")) for x in column])
        found = []
        for name, (_, row), numbers in zip(
            names, rows.table.iterrows(), rows.pictures, strict=True
        ):
            eyes = EYES if pair else (row["eye"] or "",)
            numbers = dict(zip(eyes, np.atleast_1d(numbers), strict=True))
            images = {e: row[f"image_{e}"] if pair else row["image"] for e in eyes}
            seen = {e: n for e, n in numbers.items() if n >= 0}
            found.append(
                Case(
                    name,
                    row["patient"],
                    {e: images[e] for e in seen},
                    {e: pictures.paths[n] for e, n in seen.items()},
                )
            )
        return found

    return cases


def _names(texts):
    """Names of files, all different: numbered where any two would be alike."""
    names = [text.replace("/", "__") for text in texts]
    if len({name.casefold() for name in names}) == len(names):
        return names
    return [f"{k:04d}_{name}" for k, name in enumerate(names)]


def load_cases(run, cases):
    """Photographs of cases as the network takes them.

    Returns:
        loaded: per case {eye: (picture, box, photograph)} of `preprocess.load_photograph`.
        images: (B, S, S, 3), or pairs (B, 2, S, S, 3).
        mask: None, or (B, 2) of the pairs.

    Raises:
        DataError: a file cannot be read.
    """
    size, crop = run.config["image_size"], run.config["crop"]
    loaded = [{e: load_photograph(p, size, crop) for e, p in case.paths.items()} for case in cases]
    if run.config["unit"] == "eye":
        return loaded, np.stack([next(iter(eyes.values()))[0] for eyes in loaded]), None
    blank = np.zeros((size, size, 3), np.float32)  # masked: the model does not see it
    images = [[eyes[e][0] if e in eyes else blank for e in EYES] for eyes in loaded]
    mask = np.array([[float(e in eyes) for e in EYES] for eyes in loaded], np.float32)
    return loaded, np.array(images), mask
