"""`export`: a run as one folder that programs without this package can use."""

import contextlib
import importlib.util
from pathlib import Path

from fundus_diag.export.card import write_documents
from fundus_diag.export.check import check_pixels, check_saved_model, measured_on_val
from fundus_diag.export.folders import new_folder, target
from fundus_diag.export.formats import FORMATS, MODULES
from fundus_diag.export.onnx import load_onnx, write_onnx
from fundus_diag.export.openvino import load_openvino, write_openvino
from fundus_diag.export.pixels import pixel_function
from fundus_diag.export.saved_model import check_size, write_saved_model
from fundus_diag.export.segments import check_segments, windows_of
from fundus_diag.runs.contents import CONFIG
from fundus_diag.runs.freeze import frozen_precision
from fundus_diag.runs.run import load_run
from fundus_diag.runs.run_files import SEGMENTER
from fundus_diag.runs.segmenter import Segmenter, load_segmenter
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.files import read_json
from fundus_diag.utils.mixed_precision import cpu_has_bfloat16
from fundus_diag.utils.mixed_precision import precision as arithmetic


def export(
    run_dir,
    out,
    format="saved_model",
    precision="float32",
    explain=True,
    overwrite=False,
    version=None,
):
    """Writes a run as a folder for serving, checks it, and says how far it is from the run.

    Args:
        run_dir: a finished run.
        out: folder to write, of a SavedModel the one of its versions; what is new in it appears
            when all of it is there and checked.
        format: one of `FORMATS`.
        precision: one of the format's. "auto" is bfloat16 where this processor computes in it.
            "int8" is fitted on photographs of the training rows, which have to be here.
        explain: whether a SavedModel gets its signature `explain`, a second copy of the weights.
        overwrite: whether an export that lies in `out` may be replaced: of a SavedModel `version`,
            by default the newest; the others stay.
        version: of a SavedModel, by default the one after the newest in `out`.

    Returns:
        What `export.json` holds: how large the difference from the run is, on drawn photographs
        and, with reduced precision, on the photographs of `val` where they are here.

    Raises:
        UsageError: a flag is wrong, or what the format needs is not installed.
        DataError: the run cannot be read, or the export does not compute what the run does.
    """
    _check_flags(format, precision, explain, version)
    served = format == "saved_model"
    out = target(Path(out).resolve(), served, version, overwrite)
    outlines = read_json(Path(run_dir) / CONFIG).get("kind") == SEGMENTER
    if outlines and precision == "int8":
        raise UsageError("--precision int8: of classifiers")
    run = load_segmenter(run_dir) if outlines else load_run(run_dir)
    # What is exact is compared without TF32, which would hide or make differences on GPUs.
    exact = arithmetic("float32") if precision == "float32" else contextlib.nullcontext()
    with exact, new_folder(out) as folder:
        if served:
            explain = explain and not outlines  # a segmenter's masks are its maps
            record = _saved_model(run, folder, frozen_precision(precision), explain)
            record["model_version"] = int(out.name)
        else:
            record = _pixels(windows_of(run) if outlines else run, folder, format, precision)
        beside = folder / "assets.extra" if served else folder
        write_documents(beside, folder, run, {"format": format, **record})
    return record


def _saved_model(run, folder, precision, explain):
    check_size(run, precision, explain)
    write_saved_model(run, folder, precision, explain)
    record = {"precision": precision, "explain": explain}
    if isinstance(run, Segmenter):
        record["drawn"] = check_segments(run, folder, precision)
        return record
    answer, record["drawn"] = check_saved_model(run, folder, precision)
    if precision != "float32":
        record["val"] = measured_on_val(run, answer)
    return record


def _pixels(run, folder, format, precision):
    function = pixel_function(run)
    if format == "onnx":
        write_onnx(folder / "model.onnx", function, run)
        answer = load_onnx(folder / "model.onnx")
    else:
        write_openvino(folder / "model.xml", function, run, precision)
        answer = load_openvino(folder / "model.xml", "f32")
    record = {"precision": precision, "drawn": check_pixels(run, answer, precision)}
    if isinstance(run, Segmenter):
        return record
    if precision != "float32":
        record["val"] = measured_on_val(run, answer)
    if format == "openvino" and cpu_has_bfloat16():
        own = load_openvino(folder / "model.xml")
        limits = "bfloat16" if precision == "float32" else precision
        record["bfloat16"] = {"drawn": check_pixels(run, own, limits)}
        record["bfloat16"]["val"] = measured_on_val(run, own)
    return record


def _check_flags(format, precision, explain, version):
    if format not in FORMATS:
        raise UsageError(f"--format {format}: one of {', '.join(FORMATS)}")
    if precision not in FORMATS[format]:
        raise UsageError(f"--precision {precision}: {format} has {', '.join(FORMATS[format])}")
    if not explain and format != "saved_model":
        raise UsageError(f"--no-explain: {format} has no maps in any case")
    if version is not None and format != "saved_model":
        raise UsageError(f"--version {version}: {format} has no versions")
    needed = MODULES.get(format, ()) + (("nncf",) if precision == "int8" else ())
    missing = [x for x in needed if importlib.util.find_spec(x) is None]
    if missing:
        raise UsageError(
            f"--format {format}{' --precision int8' * (precision == 'int8')}: "
            f"{' and '.join(missing)} not installed; pip install '.[{format}]' in the clone"
        )
    frozen_precision("float32" if precision == "int8" else precision)
