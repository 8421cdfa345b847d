"""`fundus-diag manifest`: commands over tables of photographs."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fundus_diag.cli.parsing import File
from fundus_diag.cli.paths import check_file, check_folder
from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.data.datasets.descriptions import describe, described
from fundus_diag.utils.errors import DataError, UsageError, counted
from fundus_diag.utils.files import check_writable
from fundus_diag.utils.over_ray import check_engine


def _choices(default):
    """What --labels may be, for the help."""
    return "; ".join(f"{x}: {' or '.join(describe(x).label_choices)}" for x in described())


# Looked up when a command is parsed: a data set is there as soon as its description is.
DataSet = Annotated[str, tyro.conf.arg(constructor_factory=lambda: Literal[*described()])]
Labels = Annotated[str | None, tyro.conf.arg(help_behavior_hint=_choices)]


def build(
    name: tyro.conf.Positional[DataSet],
    /,
    root: Path,
    out: Path,
    labels: Labels = None,
    mapping: Path | None = None,
    table: Path | None = None,
    image_root: Path | None = None,
):
    """Make a manifest of a data set as it is published; data_manifests/NAME.toml describes it.

    Args:
        name: The data set.
        root: Its folder.
        out: Manifest (CSV) to write.
        labels: Which labels; where there is a choice, the first is the default.
        mapping: TOML to use in place of the description, for classes or columns of one's own.
        table: Its table, where it is not found by itself.
        image_root: A folder above --root that paths start from, to merge tables of several sets;
            without it they start from --root.

    Example:
        fundus-diag manifest build folders --root PICTURES --out all.csv
        fundus-diag manifest build csv --root PICTURES --mapping mapping.toml --out clinic.csv
    """
    from fundus_diag.data.datasets.build import build as build_manifest

    made = build_manifest(name, root, out, labels, mapping, table, image_root)
    for note in made["notes"]:
        print(f"note: {note}")
    for line in made["left_out"]:
        print(f"left out: {line}")
    _print_counts(made["splits"])
    print(f"licence: {made['licence']}")
    print(f"{made['out']}: image root {made['image_root']}")


def guess(file: File, /, root: Path, out: Path = Path("mapping.toml")):
    """Offer a mapping for a table, or a folder of classes, that nobody has described.

    Args:
        file: The table, or the folder.
        root: Folder that the pictures lie under.
        out: TOML to write, for `manifest build csv --mapping`, or `folders`; look at it first.

    Example:
        fundus-diag manifest guess clinic.xlsx --root PICTURES
    """
    from fundus_diag.data.datasets.guess import guess as guess_mapping
    from fundus_diag.data.datasets.guess import unknown
    from fundus_diag.utils.files import write_text

    if out.exists():
        raise UsageError(f"--out {out}: is there already; name another file")
    check_writable(out)
    text = guess_mapping(file, root)
    write_text(out, text)
    for question in unknown(text):
        print(f"?? {question}")
    reader = "folders" if os.path.isdir(file) else "csv"
    print(f"{out}: look at every line, then: fundus-diag manifest build {reader} --mapping {out}")


def check(
    file: File,
    /,
    image_root: Path | None = None,
    page: Path | None = None,
    run: Path | None = None,
    engine: Literal["local", "ray"] = "local",
    workers: int | None = None,
):
    """Check a manifest and its photographs; errors end with status 1, warnings do not.

    Args:
        file: Manifest.
        image_root: Folder that its image paths start from. Without it the table alone is looked at.
        page: HTML page to write: figures, and pictures of every label and of every fault.
        run: Run whose training photographs set the limits: those that do not keep them are named
            as poor, with the reason.
        engine: Pictures are looked at by this process, or by workers of Ray, on this machine or on
            the cluster of RAY_ADDRESS.
        workers: Of --engine ray; one a machine by default.

    Example:
        fundus-diag manifest check odir.csv --image-root ODIR --page check.html
    """
    check_engine(engine, workers)
    check_file(file)
    if run is not None and image_root is None:
        raise UsageError("--run: looks at photographs; name their folder by --image-root")
    if page is not None:
        check_writable(page)
    if image_root is not None:
        check_folder(image_root)
        import_tensorflow()
    from fundus_diag.data.checks import check as check_manifest
    from fundus_diag.data.overview import lines, overview

    judge = None
    if run is not None:
        from fundus_diag.runs.quality import judge_of

        judge = judge_of(run)
    checked = check_manifest(file, image_root, judge, engine, workers)
    for text in checked.warnings:
        print(f"warning: {text}")
    for text in checked.errors:
        print(f"error: {text}", file=sys.stderr)
    facts = overview(checked.manifest, checked.pictures)
    for text in lines(facts):
        print(text)
    if page is not None:
        from fundus_diag.report.check_page import write_check

        write_check(page, checked, facts, image_root)
        print(page)
    errors, warnings = checked.errors, checked.warnings
    print(f"{file}: {counted(len(errors), 'error')}, {counted(len(warnings), 'warning')}")
    return 1 if errors else 0


def split(
    file: File,
    /,
    out: Path,
    ratios: tuple[float, float, float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    keep: tuple[Literal["train", "val", "test"], ...] = (),
    keep_together: Path | None = None,
    split_eyes_on_purpose: bool = False,
    like: Path | None = None,
):
    """Split a manifest by patient into train, val and test, labels balanced.

    Args:
        file: Manifest; a split that it has is replaced, unless it is kept.
        out: Manifest to write, with a column split.
        ratios: Shares of the patients for train, val and test.
        seed: The same seed gives the same split.
        keep: Splits that stay as they are; the others are dealt anew in proportion to their shares.
        keep_together: Folder of the pictures: patients who share one, the same or nearly so, stay
            on one side.
        split_eyes_on_purpose: A mistake, to show how much it flatters: every photograph is made a
            patient of its own, so that both eyes of a person may stand in two splits.
        like: Another manifest: its patients stand in the splits that they have there.

    Example:
        fundus-diag manifest split odir.csv --out odir_split.csv --ratios .7 .1 .2
    """
    if keep_together is not None:
        if not os.path.isdir(keep_together):
            raise DataError(f"{keep_together}: the image root is not a folder")
        import_tensorflow()
    from fundus_diag.data.splits import split as split_file

    made = split_file(file, out, ratios, seed, keep, keep_together, split_eyes_on_purpose, like)
    _print_made(made)


def merge(files: tyro.conf.Positional[tuple[Path, ...]], /, out: Path, drop_splits: bool = False):
    """Merge manifests; a label that one of them does not grade stays empty there.

    Args:
        files: Manifests.
        out: Manifest to write.
        drop_splits: Leave the splits out, to make one of all.

    Example:
        fundus-diag manifest merge a.csv b.csv --out both.csv
    """
    from fundus_diag.data.merge import merge as merge_files

    _print_made(merge_files(files, out, drop_splits))


def sample(
    file: File,
    /,
    out: Path,
    per_label: int | None = None,
    one_per_eye: bool = False,
    image_root: Path | None = None,
    seed: int = 0,
):
    """Take a balanced part of a manifest: whole patients, rare labels no longer rare.

    Args:
        file: Manifest.
        out: Manifest to write.
        per_label: Positives of each label, in each split; all where there are fewer.
        one_per_eye: Of several pictures of a patient's eye keep the sharpest.
        image_root: Folder of the pictures, for --one-per-eye.
        seed: The same seed gives the same part.

    Example:
        fundus-diag manifest sample odir.csv --out some.csv --per-label 50
    """
    if one_per_eye:
        import_tensorflow()
    from fundus_diag.data.sample import sample as take

    _print_made(take(file, out, per_label, one_per_eye, image_root, seed))


def _print_made(made):
    for note in made["notes"]:
        print(f"note: {note}")
    _print_counts(made["splits"])
    print(made["out"])


def _print_counts(splits):
    for name, part in splits.items():
        counts = " ".join(f"{label} {n}" for label, n in part["positives"].items()) or "of no label"
        print(f"{name}: {part['rows']} rows, {part['patients']} patients, positives {counts}")


COMMANDS = {
    "build": build,
    "guess": guess,
    "check": check,
    "split": split,
    "merge": merge,
    "sample": sample,
}
