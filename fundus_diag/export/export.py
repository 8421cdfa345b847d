"""`export`: a run as one folder that programs without this package can use."""

import contextlib
import glob
import importlib.util
import os
import shutil
from pathlib import Path

import tensorflow as tf

from fundus_diag.export.card import DOCUMENTS, write_documents
from fundus_diag.export.check import check_pixels, check_saved_model, measured_on_val
from fundus_diag.export.formats import FORMATS, MODULES
from fundus_diag.export.onnx import load_onnx, write_onnx
from fundus_diag.export.openvino import load_openvino, write_openvino
from fundus_diag.export.pixels import pixel_function
from fundus_diag.export.saved_model import VERSION, check_size, write_saved_model
from fundus_diag.runs.freeze import frozen_precision
from fundus_diag.runs.run import load_run
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.mixed_precision import cpu_has_bfloat16
from fundus_diag.utils.mixed_precision import precision as arithmetic
from fundus_diag.utils.processes import alive

# What an export may consist of; a folder with anything else in it is not overwritten.
FILES = {VERSION, "model.onnx", "model.xml", "model.bin", *DOCUMENTS}


def export(run_dir, out, format="saved_model", precision="float32", explain=True, overwrite=False):
    """Writes a run as a folder for serving, checks it, and says how far it is from the run.

    Args:
        run_dir: a finished run.
        out: folder to write; it appears when all of it is there and checked.
        format: one of `FORMATS`.
        precision: one of the format's. "auto" is bfloat16 where this processor computes in it.
            "int8" is fitted on photographs of the training rows, which have to be here.
        explain: whether a SavedModel gets its signature `explain`, a second copy of the weights.
        overwrite: whether an export that lies in `out` may be replaced.

    Returns:
        What `export.json` holds: how large the difference from the run is, on drawn photographs
        and, with reduced precision, on the photographs of `val` where they are here.

    Raises:
        UsageError: a flag is wrong, or what the format needs is not installed.
        DataError: the run cannot be read, or the export does not compute what the run does.
    """
    _check_flags(format, precision, explain)
    out = Path(out).resolve()
    _check_folder(out, overwrite)
    run = load_run(run_dir)
    # What is exact is compared without TF32, which would hide or make differences on GPUs.
    exact = arithmetic("float32") if precision == "float32" else contextlib.nullcontext()
    with exact, _new_folder(out) as folder:
        if format == "saved_model":
            record = _saved_model(run, folder, frozen_precision(precision), explain)
            folder = folder / VERSION
        else:
            record = _pixels(run, folder, format, precision)
        beside = folder / "assets.extra" if format == "saved_model" else folder
        write_documents(beside, folder, run, {"format": format, **record})
    return record


def _saved_model(run, folder, precision, explain):
    check_size(run, precision, explain)
    write_saved_model(run, folder, precision, explain)
    record = {"precision": precision, "explain": explain}
    answer, record["drawn"] = check_saved_model(run, folder / VERSION, precision)
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
    if precision != "float32":
        record["val"] = measured_on_val(run, answer)
    if format == "openvino" and cpu_has_bfloat16():
        own = load_openvino(folder / "model.xml")
        limits = "bfloat16" if precision == "float32" else precision
        record["bfloat16"] = {"drawn": check_pixels(run, own, limits)}
        record["bfloat16"]["val"] = measured_on_val(run, own)
    return record


def _check_flags(format, precision, explain):
    if format not in FORMATS:
        raise UsageError(f"--format {format}: one of {', '.join(FORMATS)}")
    if precision not in FORMATS[format]:
        raise UsageError(f"--precision {precision}: {format} has {', '.join(FORMATS[format])}")
    if not explain and format != "saved_model":
        raise UsageError(f"--no-explain: {format} has no maps in any case")
    needed = MODULES.get(format, ()) + (("nncf",) if precision == "int8" else ())
    missing = [x for x in needed if importlib.util.find_spec(x) is None]
    if missing:
        raise UsageError(
            f"--format {format}{' --precision int8' * (precision == 'int8')}: "
            f"{' and '.join(missing)} not installed; pip install '.[{format}]' in the clone"
        )
    frozen_precision("float32" if precision == "int8" else precision)


def _check_folder(out, overwrite):
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"--out {out}: not a folder")
    if not overwrite:
        raise UsageError(
            f"--out {out}: exists; --overwrite replaces it, once the new one is complete"
        )
    if not {x.name for x in out.iterdir()} <= FILES:
        raise UsageError(f"--out {out}: holds something else than an export, not overwritten")


def _mend(out):
    """Puts right what processes that are gone left beside `out`: half a new one, or the old one."""
    for path in out.parent.glob(f".*-{glob.escape(out.name)}"):
        kind, _, number = path.name.removesuffix(f"-{out.name}").partition("-")
        if kind not in (".partial", ".replaced") or not number.isdecimal() or alive(int(number)):
            continue
        if kind == ".replaced" and not out.exists():
            path.rename(out)
        else:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _new_folder(out):
    """Yields a folder that takes the place of `out`, whole, when the block ends without error."""
    new = out.with_name(f".partial-{os.getpid()}-{out.name}")
    old = out.with_name(f".replaced-{os.getpid()}-{out.name}")
    _mend(out)
    try:
        new.mkdir(parents=True)
        yield new
        if out.exists():
            out.rename(old)
        new.rename(out)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise DataError(f"{out}: cannot be written: {reason}") from error
    finally:
        if old.exists() and not out.exists():
            old.rename(out)
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)
