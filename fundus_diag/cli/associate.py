"""`fundus-diag associate`: which segments belong to which labels, by a run's maps."""

from pathlib import Path
from typing import Literal

import tyro

from fundus_diag.cli.parsing import File
from fundus_diag.cli.paths import check_file, check_folder
from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.explain.settings import Settings
from fundus_diag.utils.errors import UsageError

ONE_METHOD = Settings()


def associate(
    run: File,
    /,
    manifest: Path,
    image_root: Path,
    out: Path,
    regions: tuple[str, ...],
    segment: Path | None = None,
    split: Literal["train", "val", "test"] | None = None,
    resamples: int = 1000,
    settings: tyro.conf.OmitArgPrefixes[Settings] = ONE_METHOD,
):
    """Tell how much of each label's map lies in each region, beside what chance would give.

    Args:
        run: Run directory, over single eyes.
        manifest: Table with image, patient, eye and labels; with columns mask_<region>, unless
            --segment finds the regions.
        image_root: Folder of photographs and masks.
        out: Folder to write to: associations.csv, a row for each photograph, region and label, and
            associations_summary.csv.
        regions: Which regions are signs of which label: D=MA,HE,EX,SE.
        segment: Run of `segment train`, whose classes are the regions.
        split: Rows of this split only.
        resamples: Of the bootstrap over patients.
        settings: Of the maps; the first method counts.

    Example:
        fundus-diag associate reports/odir --manifest masked.csv --image-root MASKED \\
            --out reports/where --regions D=MA,HE,EX,SE
    """
    check_file(manifest)
    check_folder(image_root)
    if not regions:
        raise UsageError("--regions: which of them are signs of which label?")
    from fundus_diag.runs.run_files import SEGMENTER, read_config

    config = read_config(run)  # what is mistyped is said before TensorFlow is imported
    if segment is not None:
        read_config(segment, SEGMENTER)
    import_tensorflow()
    from fundus_diag.data.masks import read_lesions
    from fundus_diag.explain.associate import associate as associated
    from fundus_diag.runs.run import load_run
    from fundus_diag.runs.segmenter import load_segmenter

    opened = load_run(run, config)
    right = read_lesions(regions, opened.labels, "--regions")
    segmenter = load_segmenter(segment) if segment else None
    where = {"split": split, "segmenter": segmenter, "resamples": resamples}
    summary = associated(opened, manifest, image_root, out, right, settings, **where)
    for row in summary.to_dict("records"):
        print(
            f"{row['label']}: its own region is first in {row['first']:.2f} of {row['n']} "
            f"photographs ({row['first_low']:.2f} to {row['first_high']:.2f}); by chance "
            f"{row['chance']:.2f}"
        )
    print(out)
    return 0
