"""`fundus-diag port`: weights that others published, for our encoders."""

from pathlib import Path

from fundus_diag.cli.parsing import File
from fundus_diag.cli.paths import check_file
from fundus_diag.cli.quiet import import_tensorflow


def port(source: File, /, encoder: str, out: Path, image_size: int | None = None):
    """Write a published checkpoint as weights of an encoder, for `train --weights FILE`.

    CvT of Microsoft or Hugging Face, ViT of timm, MAE, RETFound or Hugging Face, Xception of Keras.
    Every array is used or left out by name, and every weight filled; otherwise all that does not
    fit is listed and nothing is written.

    Args:
        source: Checkpoint, .safetensors, .pth, .pt, .bin; .h5 of Keras.
        encoder: Encoder that it is for.
        out: File to write, .weights.h5.
        image_size: Width and height of the pictures, px. Default: the source's, or 224.

    Example:
        fundus-diag port CvT-13.pth --encoder cvt_13 --out cvt_13.weights.h5
    """
    check_file(source)
    import_tensorflow()
    from fundus_diag.models.weights.port import note_of
    from fundus_diag.models.weights.port import port as port_file

    record = port_file(source, encoder, out, image_size)
    if record["left_out"]:
        print(f"left out: {', '.join(record['left_out'])}")
    if note := note_of(record["naming"]):
        print(note)
    print(f"{out}: {encoder} at {record['image_size']} px, of {record['naming']}")
