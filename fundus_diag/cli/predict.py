"""`fundus-diag predict`: a run on other photographs."""

import os
import sys
from pathlib import Path
from typing import Literal

import tyro

from fundus_diag.cli.parsing import File
from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.utils.errors import UsageError, counted
from fundus_diag.utils.files import check_writable
from fundus_diag.utils.over_ray import check_engine

SHOWN = 40  # photographs that are told of on the terminal


def predict(
    run: File,
    paths: tyro.conf.Positional[tuple[Path, ...]] = (),
    /,
    manifest: Path | None = None,
    image_root: Path | None = None,
    out: Path | None = None,
    format: Literal["csv", "json", "xlsx"] | None = None,
    patient_pattern: str | None = None,
    page: bool = True,
    maps: bool = False,
    split: str | None = None,
    precision: Literal["float32", "auto"] = "float32",
    batch_size: int = 16,
    on_bad_image: Literal["fail", "skip"] = "fail",
    resume: bool = False,
    engine: Literal["local", "ray"] = "local",
    workers: int | None = None,
):
    """Say what a run sees in photographs, or write the probabilities of a whole table.

    Args:
        run: Run directory.
        paths: Photographs: files, folders, a table, or - for a list on stdin. Answers for people
            are written: what is called, with what a score like this meant on validation.
        manifest: In place of paths: table with image, patient, eye, whose labels are carried along;
            one row each with all figures in full is written, which `report` takes.
        image_root: Folder that the image paths of a table start from.
        out: File to write. Of paths answers.csv by default; beside it lie the page, .html, and the
            figures in full, _full.csv.
        format: Of the answers; by default as --out ends, or csv.
        patient_pattern: Regular expression that finds (?P<patient>..) and (?P<eye>..) in the name
            of a photograph. By default common forms are known, such as 123_left and 123-OD.
        page: The page, with bars and links to the maps.
        maps: Whether maps are made of every photograph and linked on the page.
        split: Of a manifest: rows of this split only.
        precision: float32, or auto: the fast path, to about two decimals.
        batch_size: Rows at a time.
        on_bad_image: Of a manifest: stop at a photograph that cannot be read, or leave its row out.
            Of paths it has an answer that says so.
        resume: Go on after a kill with what is not there yet.
        engine: Of a manifest: this process, or workers of Ray, one model each, on this machine or
            on the cluster of RAY_ADDRESS.
        workers: Of --engine ray; one a machine by default.

    Example:
        fundus-diag predict reports/odir PHOTOS/ --maps
        fundus-diag predict reports/odir --manifest new.csv --image-root NEW \\
            --out new_predictions.csv
    """
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: at least 1")
    if bool(paths) == (manifest is not None):
        raise UsageError("name photographs, or a table of them by --manifest: one of the two")
    if manifest is None:
        if split is not None:
            raise UsageError("--split: of a table that is named by --manifest")
        if engine != "local":
            raise UsageError(f"--engine {engine}: of a table that is named by --manifest")
        return _answer(run, paths, image_root, out, format, patient_pattern, page, maps, precision,
                       batch_size, resume)  # fmt: skip
    for flag, given in (("--format", format), ("--patient-pattern", patient_pattern),
                        ("--maps", maps or None)):  # fmt: skip
        if given is not None:
            raise UsageError(f"{flag}: of photographs that are named without --manifest")
    if image_root is None or out is None:
        raise UsageError("--manifest needs --image-root and --out")
    check_engine(engine, workers)
    how = {"precision": precision, "batch_size": batch_size, "on_bad_image": on_bad_image}
    if engine == "ray":
        how["workers"] = workers
    _predict(run, manifest, image_root, out, split, {**how, "resume": resume})


def _predict(run, manifest, image_root, out, split, how):
    # What is mistyped is said before TensorFlow is imported, which takes seconds.
    from fundus_diag.data.manifest import for_run, read_manifest, resolve_images
    from fundus_diag.runs.run_files import read_config

    config = read_config(run)
    table = read_manifest(manifest, need_labels=False)
    chosen = for_run(table, config["labels"], split)
    resolve_images(chosen, image_root, missing_ok=how["on_bad_image"] == "skip")
    _check_out(run, out, [manifest])
    import_tensorflow()
    from fundus_diag.runs.predict import predict as predict_table
    from fundus_diag.runs.predict_ray import predict_over_ray
    from fundus_diag.runs.run import load_run

    write = predict_over_ray if "workers" in how else predict_table
    rows = write(load_run(run, config), table, image_root, out, split, **how)
    print(f"{out}: {counted(rows, 'row')}")


def _check_out(run, out, read):
    """Refuses a file to write that is a folder, or one that is read or the run's own."""
    if out.is_dir() or not out.name:
        raise UsageError(f"--out {out}: a folder; name a file to write")
    own = [x for x in run.glob("*.*") if x.exists() and not x.match("predictions_*.csv")]
    read = [x for x in read if os.path.exists(x)]
    if out.exists() and any(os.path.samefile(out, x) for x in (*read, *own)):
        raise UsageError(f"--out {out}: is the table, or a file of the run; name another file")
    check_writable(out)


def _answer(
    run, paths, image_root, out, format, pattern, page, maps, precision, batch_size, resume
):
    from fundus_diag.data.gather import check_paths, gather
    from fundus_diag.data.names import patient_pattern
    from fundus_diag.runs.run_files import read_config
    from fundus_diag.runs.salt import salt_maker

    config = read_config(run)
    out = out or Path(f"answers.{format or 'csv'}")
    kind = format or out.suffix.lower().removeprefix(".")
    if kind not in ("csv", "json", "xlsx"):
        raise UsageError(f"--out {out}: ends in .csv, .json or .xlsx, or say --format")
    if maps and not page:
        raise UsageError("--maps: are linked on the page, and --no-page writes none")
    files = {"answers": out, "full": out.with_name(f"{out.stem}_full.csv")}
    if page:
        files["page"] = out.with_name(f"{out.stem}.html")
    for file in files.values():
        _check_out(run, file, [x for x in paths if str(x) != "-"])
    check_paths(paths)
    pattern = pattern and patient_pattern(pattern)
    import_tensorflow()
    found = gather(paths, pattern, image_root, salt_maker(run))
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    from fundus_diag.report.answers import write_answers
    from fundus_diag.runs.run import load_run

    opened = load_run(run, config)
    told, counts = write_answers(
        opened, found.table, files, kind, precision, batch_size, maps, shown=SHOWN, resume=resume
    )
    for line in told:
        print(line)
    if counts["answers"] > len(told):
        print(f".. and {counts['answers'] - len(told)} more")
    unread = f", {counts['not_gradable']} not gradable" if counts["not_gradable"] else ""
    print(f"{files.get('page', out)}: {counts['answers']} answers{unread}")
