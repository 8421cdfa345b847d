"""`fundus-diag explain` and `explain-eval`: maps of a run, and how good they are."""

from pathlib import Path
from typing import Literal

import tyro

from fundus_diag.cli.parsing import File
from fundus_diag.cli.paths import check_file, check_folder
from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.explain.settings import Settings
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.over_ray import check_engine

Paths = tyro.conf.Positional[tuple[Path, ...]]
ONE_METHOD, ALL_METHODS = Settings(), Settings(methods=())


def explain(
    run: File,
    paths: Paths = (),
    /,
    images: tuple[Path, ...] = (),
    manifest: Path | None = None,
    image_root: Path | None = None,
    patient_pattern: str | None = None,
    split: str | None = None,
    out: Path | None = None,
    labels: tuple[str, ...] = (),
    phrases: tuple[str, ...] = (),
    on_bad_image: Literal["fail", "skip"] = "fail",
    pages: bool = True,
    over: Literal["local", "ray"] = "local",
    workers: int | None = None,
    settings: tyro.conf.OmitArgPrefixes[Settings] = ONE_METHOD,
):
    """Show where in photographs the predictions of a run come from.

    Args:
        run: Run directory.
        paths: Photographs: files, folders, a table, or - for a list on stdin.
        images: The same, after the other flags.
        manifest: In place of photographs: table with image, patient, eye, by --image-root.
        image_root: Folder that the image paths of a table start from.
        patient_pattern: Regular expression that finds (?P<patient>..) and (?P<eye>..) in the name
            of a photograph, for runs that read both eyes.
        split: Rows of this split of the manifest only.
        out: Folder to write to. Default: cams in the run.
        labels: Labels to explain. Default: those above their thresholds, else the likeliest.
        phrases: Of a run of --task findings: in place of its labels, any words, all explained;
            --methods words shows where they look.
        on_bad_image: Stop at a photograph that cannot be read, or leave it out.
        pages: The page of every photograph, so that maps and table are written alone.
        over: This process, or workers of Ray, one model each, on this machine or on the cluster of
            RAY_ADDRESS: what other commands call their --engine.
        workers: Of --over ray; one a machine by default.
        settings: Of the maps.

    Example:
        fundus-diag explain reports/odir left.jpg right.jpg --methods layer_cam grad_cam
    """
    check_engine(over, workers, flag="--over")
    if phrases and (labels or over != "local"):
        raise UsageError("--phrases: stand in place of --labels, and are of --over local")
    opened, cases = _opened(
        run, (*paths, *images), manifest, image_root, patient_pattern, split, on_bad_image, phrases
    )
    from fundus_diag.explain.explain import explain as explain_run
    from fundus_diag.report.explained import case_pages, write_index

    out = out or run / "cams"
    wanted = list(labels or phrases) or None
    how = {"page": case_pages(opened)} if pages else {}
    counts = explain_run(
        opened, out, cases, settings, wanted, on_bad_image, pages, over, workers, **how
    )
    if pages:
        print(write_index(out, opened))
    zero = f", {counts['zero']} of them zero: nothing spoke for the label" if counts["zero"] else ""
    print(f"{out}: {counts['cases']} explained, {counts['maps']} maps{zero}")


def explain_eval(
    run: File,
    paths: Paths = (),
    /,
    *,
    masks: Path,
    images: tuple[Path, ...] = (),
    manifest: Path | None = None,
    image_root: Path | None = None,
    patient_pattern: str | None = None,
    split: str | None = None,
    out: Path | None = None,
    lesions: tuple[str, ...] = (),
    phrases: tuple[str, ...] = (),
    tolerance: float = 0.02,
    steps: int = 20,
    randomised: int = 16,
    resamples: int = 1000,
    seed: int = 0,
    on_bad_image: Literal["fail", "skip"] = "fail",
    settings: tyro.conf.OmitArgPrefixes[Settings] = ALL_METHODS,
):
    """Score the maps of a run against masks of lesions, beside maps that know nothing.

    Args:
        run: Run directory.
        masks: Folder of masks, LESION/<stem of the image>_<lesion>.png; TIFF and BMP too. The
            image's own folders may stand between.
        paths: Photographs: files, folders, a table, or - for a list on stdin.
        images: The same, after the other flags.
        manifest: In place of photographs: table with image, patient, eye, by --image-root.
        image_root: Folder that the image paths of a table start from.
        patient_pattern: Regular expression that finds (?P<patient>..) and (?P<eye>..) in the name
            of a photograph, for runs that read both eyes.
        split: Rows of this split of the manifest only.
        out: Folder to write to. Default: faithfulness in the run.
        lesions: Which folders are signs of which label: D=MA,HE,EX,SE. Default: those of the drawn
            photographs.
        phrases: Of a run of --task findings: words in place of its labels, such as "hard exudate",
            which --lesions then names.
        tolerance: Distance at which a peak still hits, share of the photograph's longer side.
        steps: Of the deletion and insertion curves.
        randomised: Photographs whose maps are compared with those of a network with random
            weights; 0: none.
        resamples: Of the bootstrap over patients.
        seed: Of the bootstrap and the random weights.
        on_bad_image: Stop at a photograph that cannot be read, or leave it out.
        settings: Of the maps; their filters are compared with none.

    Example:
        fundus-diag explain-eval reports/odir MASKED/ --masks MASKS --lesions D=MA,HE,EX,SE
    """
    check_folder(masks, "the folder of masks")
    opened, cases = _opened(
        run, (*paths, *images), manifest, image_root, patient_pattern, split, on_bad_image, phrases
    )
    from fundus_diag.data.manifest import read_manifest
    from fundus_diag.explain.evaluate import explain_eval as evaluate
    from fundus_diag.report.faithfulness import write_faithfulness

    out = out or run / "faithfulness"
    figures = tolerance, steps, randomised, resamples, seed
    known = ()
    if manifest is not None:
        known = tuple(read_manifest(manifest, need_labels=False).table["image"])
    table, facts = evaluate(
        opened, masks, cases, out, lesions, settings, *figures, on_bad_image, known
    )
    for label, number in facts["without_lesion"].items():
        print(f"note: {label}: {number} of {facts['photographs']} photographs without a lesion")
    for label, number in facts["outside_field"].items():
        print(f"note: {label}: {number} lesions outside of the field of view, not scored")
    others = facts["masks_of_others"]
    if others["files"]:
        (one,) = others["such_as"]
        print(f"note: {others['files']} masks of none of these photographs, such as {one}")
    if facts["resized_masks"]:
        print(f"note: {facts['resized_masks']} masks of another size, resized by nearest neighbour")
    shown = ["pointing", "energy", "overlap", "iou", "deletion", "insertion"]
    print(table[["label", "method", "filter", "n", *shown]].round(3).to_string(index=False))
    print(write_faithfulness(out, opened, table, facts))


def _opened(run_dir, paths, manifest, image_root, pattern, split, on_bad_image, phrases=()):
    """The run, and the cases that the flags name; asked for phrases where some are given."""
    if bool(paths) == (manifest is not None):
        raise UsageError("name photographs, or a table of them by --manifest: one of the two")
    if manifest is not None and image_root is None:
        raise UsageError("--manifest needs --image-root")
    from fundus_diag.data.names import patient_pattern
    from fundus_diag.imaging.frames import split_frame
    from fundus_diag.runs.run_files import read_config

    config = read_config(run_dir)  # what is mistyped is said before TensorFlow is imported
    pattern = pattern and patient_pattern(pattern)
    for path in paths if on_bad_image == "fail" else ():
        if str(path) != "-" and not path.is_dir():
            check_file(split_frame(path)[0])
    if manifest is not None:
        check_file(manifest)
        check_folder(image_root)
    import_tensorflow()
    from fundus_diag.runs.cases import cases_of_files, cases_of_manifest
    from fundus_diag.runs.run import load_run

    run = load_run(run_dir, config)
    if phrases:
        from fundus_diag.runs.words import asked

        run = asked(run, phrases)
    if paths:
        return run, cases_of_files(run, paths, pattern, image_root, on_bad_image)
    return run, cases_of_manifest(run, manifest, image_root, split)
