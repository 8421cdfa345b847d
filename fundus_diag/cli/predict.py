"""`fundus-diag predict`: a run on other photographs."""

import os
from pathlib import Path
from typing import Literal

from fundus_diag.cli.parsing import File
from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.files import check_writable


def predict(
    run: File,
    /,
    manifest: Path,
    image_root: Path,
    out: Path,
    split: str | None = None,
    precision: Literal["float32", "auto"] = "float32",
    batch_size: int = 16,
    on_bad_image: Literal["fail", "skip"] = "fail",
):
    """Write calibrated probabilities of every photograph (or patient) of a table.

    Args:
        run: Run directory.
        manifest: Table with image, patient, eye; labels are carried along.
        image_root: Folder that its image paths start from.
        out: CSV to write.
        split: Rows of this split only.
        precision: float32, or auto: the fast path, to about two decimals.
        batch_size: Rows at a time.
        on_bad_image: Stop at a photograph that cannot be read, or leave its row out.
    """
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: at least 1")
    # What is mistyped is said before TensorFlow is imported, which takes seconds.
    from fundus_diag.data.manifest import for_run, read_manifest, resolve_images
    from fundus_diag.runs.run_files import read_config

    config = read_config(run)
    table = read_manifest(manifest, need_labels=False)
    chosen = for_run(table, config["labels"], split)
    resolve_images(chosen, image_root, missing_ok=on_bad_image == "skip")
    if out.is_dir() or not out.name:
        raise UsageError(f"--out {out}: a folder; name a CSV file to write")
    own = [x for x in run.glob("*.*") if x.exists() and not x.match("predictions_*.csv")]
    if out.exists() and any(os.path.samefile(out, x) for x in (manifest, *own)):
        raise UsageError(f"--out {out}: is the table, or a file of the run; name another file")
    check_writable(out)
    import_tensorflow()
    from fundus_diag.runs.predict import predict as predict_table
    from fundus_diag.runs.run import load_run

    opened = load_run(run, config)
    rows = predict_table(opened, table, image_root, out, split, precision, batch_size, on_bad_image)
    print(f"{out}: {rows} rows")
