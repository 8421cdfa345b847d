"""What a run writes into its folder, by name: nothing else is ever removed from it."""

import contextlib
import re
from pathlib import Path

from fundus_diag.data.tables import read_table
from fundus_diag.runs.lock import LOCK, check_free, holder
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import PARTIAL
from fundus_diag.utils.processes import alive

CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
ENCODER_WEIGHTS = "encoder.weights.h5"
HISTORY = "history.csv"
LOG = "log.txt"
THRESHOLDS = "thresholds.json"
PHOTOGRAPHS = "photographs.csv"
QUALITY = "quality.json"
FAMILIARITY = "familiarity.npz"
SALT = "salt"
INDEX = "index.html"  # of explained cases
SCORED = "scored.json"  # how often its test split has been
FIGURES = ("roc", "precision_recall", "reliability", "confusion", "overview", "curve")
# {folder of the run: patterns of files in it}; of a training, of `report`, `predict`, `explain`,
# `explain-eval`, and what a kill leaves behind.
FILES = {
    "": (
        CONFIG, WEIGHTS, ENCODER_WEIGHTS, HISTORY, THRESHOLDS, "thresholds_*.json", PHOTOGRAPHS,
        QUALITY, FAMILIARITY, SALT, LOG, SCORED, "loss.png",
        "predictions_*.csv", "predictions_*.csv.partial*", "metrics_*.json", "metrics_*.csv",
        "segments_*.csv", "segments_*.json", "segments_*.npz",
        "report.html", "report_*.html", "explanations.html", "explanations_*.html",
    ),
    "checkpoint": ("epoch-*.npz", "best-*.npz"),
    "tensorboard": ("events.out.tfevents.*",),
    "reconstructions": ("epoch-*.png",),
    "figures": tuple(f"{name}_*.{kind}" for name in FIGURES for kind in ("png", "pdf")),
    # .. and what its table names, `_explained`.
    "cams": ("explanations.csv", "explanations.csv.partial", INDEX),
    "faithfulness": (
        "faithfulness.csv", "faithfulness_images.csv", "faithfulness_images.csv.partial",
        "faithfulness.json", "faithfulness.html", "randomised.csv", "deletion_insertion_*.png",
        "deletion_*.svg", "insertion_*.svg",
    ),
}  # fmt: skip
LEFT_BEHIND = (f"{PARTIAL}*", f"{LOCK}-*")  # by a kill, in any of the folders


def own_files(folder, patterns=FILES):
    """Files below a run's folder that a run writes, without its lock.

    What lies behind a link in place of one of its folders is somebody's.
    """
    # What a table names before the table itself: a kill in between leaves nobody's files behind.
    found = _explained(folder / "cams") if patterns is FILES else []
    for name, wanted in patterns.items():
        if name and (folder / name).is_symlink():
            continue
        for pattern in wanted:
            found += sorted((folder / name).glob(pattern))
    return [path for path in found if path.is_symlink() or not path.is_dir()]


def _explained(folder):
    """Pages and arrays in `cams/` that its table names: other pictures there are somebody's."""
    found = set()
    for table in (folder / "explanations.csv", folder / "explanations.csv.partial"):
        if folder.is_symlink() or not table.is_file():
            continue
        with contextlib.suppress(DataError):  # no table: it names nothing
            rows = read_table(table, strict=False)
            names = set(rows.column("file")) if rows.has("file") else set()
            ends = ("_maps.html", "_map.jpg", ".png", ".npz")
            ends += tuple(f"{eye}_methods.png" for eye in ("", "_left", "_right"))
            found |= {folder / f"{x}{end}" for x in names if x == Path(x).name for end in ends}
    return sorted(path for path in found if path.is_file())


def foreign(folder):
    """Names of what lies in a run's folder and is no run's, sorted; folders end in a slash."""
    known = set(own_files(folder)) | set(own_files(folder, dict.fromkeys(FILES, LEFT_BEHIND)))
    known.add(folder / LOCK)
    found = []
    for path in folder.iterdir():
        if path in known:
            continue
        if path.name in FILES and path.is_dir() and not path.is_symlink():
            inner = (x for x in path.iterdir() if x not in known and x.name != LOCK)
            found += [f"{path.name}/{x.name}{'/' * x.is_dir()}" for x in inner]
        else:
            found.append(f"{path.name}{'/' * path.is_dir()}")
    return sorted(found)


def clear(folder, keep=(CONFIG,)):
    """Removes what a run wrote; folders that are empty then go too.

    Args:
        folder: of the run.
        keep: names of files at its top that stay.

    Returns:
        Names of what is somebody else's and stays, of `foreign`.

    Raises:
        UsageError: another process is writing into one of its folders.
    """
    check_all_free(folder)
    stays = {folder / name for name in keep}
    for path in own_files(folder):
        if path not in stays:
            path.unlink()
    sweep(folder)
    for name in FILES:
        if name and not (folder / name).is_symlink():
            with contextlib.suppress(OSError):  # not there, or somebody's files are in it
                (folder / name).rmdir()
    return foreign(folder)


def check_all_free(folder):
    """Raises UsageError where another process is writing into one of a run's folders."""
    for name in FILES:
        if name:
            check_free(folder / name)


def sweep(folder):
    """Removes what killed processes left half-written; the caller holds the folder's lock."""
    for name in FILES:
        if name and holder(folder / name):
            continue
        for path in own_files(folder, {name: LEFT_BEHIND}):
            number = re.match(rf"(?:{re.escape(LOCK)}|{re.escape(PARTIAL)})-?(\d+)", path.name)
            if not (number and alive(int(number[1]))):  # else it asks for the lock, or writes
                path.unlink(missing_ok=True)


def check_place(run_dir, manifest, image_root, images=()):
    """Refuses a run's folder that is, or holds, what the run reads.

    Args:
        run_dir: folder of the run.
        manifest: file of its table.
        image_root: folder of its photographs.
        images: their paths below it.

    Raises:
        UsageError: it does.
    """
    folder, root = run_dir.resolve(), image_root.resolve()
    for flag, path in (("--manifest", manifest.resolve()), ("--image-root", root)):
        if path.is_relative_to(folder):
            raise UsageError(f"--run-dir {run_dir}: holds {flag} {path}; name a folder of its own")
    below = folder.relative_to(root).parts if folder.is_relative_to(root) else None
    if below is None:
        return
    start = "/".join(below) + "/"
    inside = next((x for x in images if str(x).replace("\\", "/").startswith(start)), None)
    if inside is not None:
        raise UsageError(
            f"--run-dir {run_dir}: holds photographs of the table ({inside}); "
            "name a folder of its own"
        )
