"""What is to be explained: single photographs, or the rows of a table."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fundus_diag import manifest as manifests
from fundus_diag.errors import DataError, UsageError
from fundus_diag.imaging.imagefile import check_files
from fundus_diag.inputs import describe_bad, load_inputs

EYES = ("left", "right")


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
        _complain(bad, on_bad_image)
        wrong = {name for name, _ in bad}
        good = [Path(p) for p in paths if str(p) not in wrong]
        stems = [p.stem for p in good]
        names = [p.stem if stems.count(p.stem) == 1 else f"{k:04d}_{p.name}"
                 for k, p in enumerate(good)]  # fmt: skip
        return [Case(n, "", {"": str(p)}, {"": p}) for n, p in zip(names, good, strict=True)]

    return cases


def cases_of_manifest(manifest, image_root, split=None, on_bad_image="fail"):
    """Function of a run to `Case`s of a table's rows, for `explain`."""

    def cases(run):
        known = manifests.read_manifest(Path(manifest), need_labels=False)
        if split is not None and split not in set(known.table.get("split", ())):
            raise UsageError(f"--split {split}: {manifest} has no row in it")
        inputs = load_inputs(
            known,
            image_root,
            image_size=run.config["image_size"],
            crop=run.config["crop"],
            unit=run.config["unit"],
            splits=None if split is None else (split,),
            on_bad_image="skip",
        )
        _complain(inputs.bad, on_bad_image)
        rows = inputs.splits[split or "all"]
        pair = run.config["unit"] == "patient"
        found = []
        for (_, row), numbers in zip(rows.table.iterrows(), rows.pictures, strict=True):
            eyes = EYES if pair else (row["eye"] or "",)
            numbers = dict(zip(eyes, np.atleast_1d(numbers), strict=True))
            images = {e: row[f"image_{e}"] if pair else row["image"] for e in eyes}
            seen = {e: n for e, n in numbers.items() if n >= 0}
            name = row["patient"] if pair else str(Path(row["image"]).with_suffix(""))
            found.append(
                Case(
                    name.replace("/", "__"),
                    row["patient"],
                    {e: images[e] for e in seen},
                    {e: inputs.pictures.paths[n] for e, n in seen.items()},
                )
            )
        if not found:
            raise DataError(f"{manifest}: no row with a readable photograph")
        return found

    return cases


def _complain(bad, on_bad_image):
    if bad and on_bad_image == "fail":
        raise DataError(describe_bad(bad))
    if bad:
        print(f"warning: left out: {describe_bad(bad)}", file=sys.stderr)
