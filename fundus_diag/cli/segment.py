"""`fundus-diag segment`: networks that outline lesions, vessels, discs."""

import sys
from pathlib import Path
from typing import Literal

import tyro

from fundus_diag.cli.parsing import File
from fundus_diag.cli.paths import check_file, check_folder, check_start
from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.cli.resume import with_switches
from fundus_diag.training.segment_config import SegmentConfig
from fundus_diag.utils.errors import UsageError


def train(config: tyro.conf.OmitArgPrefixes[SegmentConfig], dry_run: bool = False):
    """Train a segmenter in two phases: the decoder alone, then everything.

    The table has a column mask_<name> for each class: a file per photograph; none: somebody looked
    and there is none; nothing: nobody looked. --config FILE takes flags from the config.json of
    another one.

    Args:
        config: Of the run.
        dry_run: Say what would be trained, on what and how, and stop: nothing is written.

    Example:
        fundus-diag segment train --manifest masked.csv --image-root MASKED \\
            --run-dir reports/outlines
    """
    config = with_switches(config)
    check_start(config)
    import_tensorflow()
    from fundus_diag.training.segment import train_segmenter

    run_dir = train_segmenter(config, dry_run)
    if dry_run:
        return 0
    print(f"run: {run_dir}")
    return 0


def predict(
    run: File,
    paths: tyro.conf.Positional[tuple[Path, ...]],
    /,
    out: Path,
    image_root: Path | None = None,
    patient_pattern: str | None = None,
    probabilities: bool = False,
    maps: Literal["chefer", "rollout"] | None = None,
    precision: Literal["float32", "auto"] = "float32",
):
    """Outline what a segmenter sees in photographs: masks, a table, a page.

    Args:
        run: Run directory of `segment train`.
        paths: Photographs: files, folders, a table, or - for a list on stdin.
        out: Folder to write to: masks/CLASS/NAME.png of each photograph's own size, segments.csv,
            segments.html.
        image_root: Folder that the image paths of a table start from.
        patient_pattern: Regular expression that finds (?P<patient>..) and (?P<eye>..) in the name
            of a photograph.
        probabilities: Whether probabilities are written too, in 255ths, beside the masks.
        maps: Whether maps of where each class's pixels come from are written too, over the
            photograph: maps/CLASS/NAME.jpg. Of transunet and unetr, whose attention is read.
        precision: float32, or auto: the fast path, to about two decimals.

    Example:
        fundus-diag segment predict reports/outlines PHOTOS/ --out outlined
    """
    from fundus_diag.data.gather import check_paths
    from fundus_diag.runs.run_files import SEGMENTER, read_config

    read_config(run, SEGMENTER)  # what is mistyped is said before TensorFlow is imported
    check_paths(paths)
    import_tensorflow()
    from fundus_diag.explain.of_pixels import check_method
    from fundus_diag.report.segmented import (
        MOST,
        PAGE,
        outlined_jpeg,
        write_maps,
        write_segmented,
    )
    from fundus_diag.runs.cases import cases_of_files
    from fundus_diag.runs.segment import segment
    from fundus_diag.runs.segmenter import load_segmenter
    from fundus_diag.utils.progress import track

    opened = load_segmenter(run, precision)
    cases = cases_of_files(opened, paths, patient_pattern, image_root)
    if maps:
        check_method(opened.model, maps)
    shown, unread = [], []
    found = segment(opened, cases, out, probabilities)
    for case, loaded, called, field in track(found, "segmenting", len(cases)):
        if called is None:
            unread.append((next(iter(case.images.values())), loaded))
            continue
        if maps:
            write_maps(out, opened, case, loaded, called, maps)
        if len(shown) < MOST:
            share = called.sum(axis=(0, 1)) / max(1, field.sum())
            shares = dict(zip(opened.classes, map(float, share), strict=True))
            shown.append((case.title, outlined_jpeg(loaded.photograph, called), shares))
    for image, why in unread:
        print(f"warning: {image}: {why}", file=sys.stderr)
    write_segmented(out / PAGE, opened, shown, unread, len(cases))
    print(f"{len(cases) - len(unread)} of {len(cases)} photographs: {out / PAGE}")
    return 0 if len(unread) < len(cases) else 1


def report(
    run: File,
    /,
    split: str | None = None,
    manifest: Path | None = None,
    image_root: Path | None = None,
    out: Path | None = None,
    precision: Literal["float32", "auto"] = "float32",
):
    """Score a segmenter on photographs with masks: Dice, distances, lesions found, a page.

    Args:
        run: Run directory of `segment train`.
        split: Rows of this split only. Default: test; of a --manifest all rows.
        manifest: Another table with mask_<name> columns than the run's own.
        image_root: Folder that its paths start from.
        out: Folder to write to. Default: the run's; needed with --manifest.
        precision: float32, or auto: the fast path, to about two decimals.

    Example:
        fundus-diag segment report reports/outlines
    """
    if (manifest is None) != (image_root is None):
        raise UsageError("--manifest and --image-root: one needs the other")
    if manifest is not None and out is None:
        raise UsageError("--manifest needs --out")
    if manifest is None and split is None:
        split = "test"
    from fundus_diag.runs.run_files import SEGMENTER, read_config

    read_config(run, SEGMENTER)
    if manifest is not None:
        check_file(manifest)
        check_folder(image_root)
    import_tensorflow()
    from fundus_diag.report.segments import segment_report
    from fundus_diag.runs.segmenter import load_segmenter

    opened = load_segmenter(run, precision)
    page, means = segment_report(opened, split, manifest, image_root, out)
    for row in means.to_dict("records"):
        print(
            f"{row['class']}, {row['by']}: Dice {row['dice']:.3f} "
            f"({row['dice_low']:.3f} to {row['dice_high']:.3f}), {row['n']} photographs"
        )
    print(f"report: {page}")
    return 0


COMMANDS = {"train": train, "predict": predict, "report": report}
