"""`fundus-diag retrieve`: photographs by what is said of them."""

from pathlib import Path

import tyro

from fundus_diag.cli.parsing import File
from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.utils.errors import UsageError


def retrieve(
    run: File,
    paths: tyro.conf.Positional[tuple[Path, ...]],
    /,
    phrases: tuple[str, ...],
    out: Path,
    top: int = 8,
    image_root: Path | None = None,
    patient_pattern: str | None = None,
    batch_size: int = 16,
):
    """Find the photographs that words speak of, by a run of --task findings.

    Args:
        run: Run directory.
        paths: Photographs: files, folders, a table, or - for a list on stdin.
        phrases: What is looked for, in English or Chinese: any words, also such as no photograph of
            training was described by.
        out: Folder to write to: retrieved.csv, a score for each photograph and phrase, and
            retrieved.html, the best of each phrase with where it looks.
        top: Photographs of each phrase on the page.
        image_root: Folder that the image paths of a table start from.
        patient_pattern: Regular expression that finds (?P<patient>..) and (?P<eye>..) in the name
            of a photograph.
        batch_size: Photographs at a time.

    Example:
        fundus-diag retrieve reports/words PHOTOS/ --phrases "macular hole" --out found
    """
    if not 1 <= top <= 100:
        raise UsageError(f"--top {top}: must lie from 1 to 100")
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: at least 1")
    from fundus_diag.runs.run_files import read_config

    config = read_config(run)  # a mistyped folder is said before TensorFlow is imported
    from fundus_diag.data.gather import check_paths

    check_paths(paths)
    import_tensorflow()
    from fundus_diag.report.retrieval import retrieve as retrieved
    from fundus_diag.runs.cases import cases_of_files
    from fundus_diag.runs.run import load_run
    from fundus_diag.runs.words import asked

    opened = asked(load_run(run, config), phrases)
    cases = cases_of_files(opened, paths, patient_pattern, image_root)
    page, best = retrieved(opened, cases, out, top, batch_size)
    for phrase, found in best.items():
        named = ", ".join(f"{image} {score:.2f}" for score, image in found[:3])
        print(f"{phrase}: {named}")
    print(page)
    return 0
