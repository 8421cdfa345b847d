"""`fundus-diag predict`: a run on other photographs."""

from pathlib import Path
from typing import Literal

from fundus_diag.cli.parsing import File
from fundus_diag.utils.errors import UsageError


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
    from fundus_diag.runs.predict import predict as predict_table

    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: at least 1")
    table = predict_table(
        run, manifest, image_root, out, split, precision, batch_size, on_bad_image
    )
    print(f"{out}: {len(table)} rows")
