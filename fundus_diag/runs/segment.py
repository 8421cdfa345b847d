"""`segment predict`: a segmenter's masks of photographs, as files, and a table of them."""

import cv2
import numpy as np
from scipy import ndimage

from fundus_diag.data.labels import file_name
from fundus_diag.imaging.inside import field_on_photograph
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import csv_text, growing, make_folder, partial_of, write_bytes

TABLE = "segments.csv"
FIELDS = (
    "image", "patient", "eye", "class", "area", "share_of_field", "regions", "probability",
    "threshold", "mask", "problem",
)  # fmt: skip
REGION = np.ones((3, 3), bool)  # pixels that touch by a corner are one region


def segment(run, cases, out, probabilities=False):
    """Writes the masks of photographs, and segments.csv, a row for each photograph and class.

    Masks are PNG files of the photograph's size, `masks/CLASS/NAME.png`, 255 where the class is
    called; probabilities beside them, `probabilities/CLASS/NAME.png`, in 255ths. A photograph that
    cannot be read has one row that says why.

    Args:
        run: `segmenter.Segmenter`.
        cases: `cases.Case`s.
        out: folder.
        probabilities: whether these are written too.

    Yields:
        (case, `Loaded`, (H, W, K) bool of what is called, (H, W) bool of the field of view) of each
        photograph; of one that cannot be read (case, why, None, None).

    Raises:
        DataError: nothing can be written.
        UsageError: the folder holds files of these names that are of no prediction.
    """
    check_folder(out)
    make_folder(out)
    with growing(out / TABLE, "rows") as write:
        write(csv_text([dict(zip(FIELDS, FIELDS, strict=True))], FIELDS))
        for case in cases:
            ((eye, path),) = case.paths.items()
            who = {"image": case.images[eye], "patient": case.patient, "eye": eye}
            try:
                loaded = load_photograph(path, run.config["image_size"], run.config["crop"])
            except DataError as error:
                problem = str(error).removeprefix(f"{path}: ")
                write(csv_text([dict.fromkeys(FIELDS, "") | who | {"problem": problem}], FIELDS), 1)
                yield case, problem, None, None
                continue
            height, width = loaded.photograph.shape[:2]
            field = field_on_photograph(loaded.field, height, width).numpy()
            said = run.on_photograph(loaded) * field[..., None]
            called = said >= np.maximum(run.thresholds, 1e-9).astype(np.float32)
            rows = []
            for k, name in enumerate(run.classes):
                folder = file_name(name)
                file = f"masks/{folder}/{case.name}.png"
                _write(out / file, called[..., k])
                if probabilities:
                    _write(out / "probabilities" / folder / f"{case.name}.png", said[..., k])
                rows.append(
                    who | {"class": name, "mask": file} | _facts(run, k, said, called, field)
                )
            write(csv_text(rows, FIELDS), len(rows))
            yield case, loaded, called, field


def check_folder(out):
    """Raises UsageError where masks lie in a folder that no prediction made: maybe the truth."""
    known = (out / TABLE).is_file() or partial_of(out / TABLE).is_file()
    for name in ("masks", "probabilities"):
        if not known and (out / name).exists():
            raise UsageError(f"--out {out}: its {name} are of no prediction; name another folder")


def _facts(run, k, said, called, field):
    mask = called[..., k]
    return {
        "area": int(mask.sum()),
        "share_of_field": f"{mask.sum() / max(1, field.sum()):.6f}",
        "regions": int(ndimage.label(mask, REGION)[1]),
        "probability": f"{said[..., k][mask].mean():.4f}" if mask.any() else "",
        "threshold": f"{run.thresholds[k]:.4f}",
        "problem": "",
    }


def _write(path, values):
    """A PNG of (H, W) values in [0, 1]."""
    make_folder(path.parent)
    levels = np.rint(np.asarray(values, np.float32) * 255).astype(np.uint8)
    write_bytes(path, cv2.imencode(".png", levels)[1].tobytes())
