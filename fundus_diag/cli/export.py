"""`fundus-diag export`: a run for programs that do not know this package."""

from pathlib import Path
from typing import Literal

from fundus_diag.cli.parsing import File
from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.export.formats import FORMATS, PRECISIONS


def export(
    run: File,
    /,
    out: Path,
    format: Literal[*FORMATS] = "saved_model",
    precision: Literal[*PRECISIONS] = "float32",
    explain: bool = True,
    version: int | None = None,
    overwrite: bool = False,
):
    """Write a run for serving: TensorFlow's SavedModel, ONNX or OpenVINO.

    A SavedModel takes photographs as they are, JPEG, PNG or BMP; the others take pictures. All give
    calibrated probabilities and what is positive at the run's thresholds. The export is compared
    with the run before it takes its place.

    Args:
        run: Run directory.
        out: Folder to write; of saved_model the folder of its versions.
        format: saved_model; onnx or openvino with these extras installed.
        precision: float32; of saved_model bfloat16, or auto: where this processor has it; of
            openvino int8.
        explain: LayerCAM maps, which a SavedModel gives by a second copy of the weights.
        version: Number of a saved_model; by default the one after the newest in OUT. A server that
            is running takes the newest by itself.
        overwrite: Replace what lies in OUT, once the new one is complete; of saved_model this
            version alone, by default the newest.

    Example:
        fundus-diag export reports/odir --out models/odir
    """
    from fundus_diag.runs.contents import CONFIG
    from fundus_diag.runs.run_files import CLASSIFIER, SEGMENTER, read_config
    from fundus_diag.utils.files import read_json

    # A mistyped folder is said before TensorFlow is imported.
    kind = read_json(run / CONFIG).get("kind", CLASSIFIER)
    read_config(run, SEGMENTER if kind == SEGMENTER else CLASSIFIER)
    import_tensorflow()
    from fundus_diag.export.check import differences
    from fundus_diag.export.export import export as export_run

    record = export_run(run, out, format, precision, explain, overwrite, version)
    written = out / str(record.get("model_version", ""))
    print(f"{written}: {format} in {record['precision']}")
    print(f"largest difference from the run: {differences(record)}")
    if "bfloat16" in record:
        print(f"as OpenVINO computes here, in bfloat16: {differences(record['bfloat16'])}")
