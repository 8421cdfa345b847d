"""What a run says of photographs: probabilities, what is called, whether they can be graded."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from fundus_diag.data.inputs import warn_of_several
from fundus_diag.data.labels import EYES, is_healthy
from fundus_diag.data.pairing import stack_eyes
from fundus_diag.imaging.gradability import why_poor
from fundus_diag.imaging.preprocess import look_at
from fundus_diag.imaging.quality import BLANK
from fundus_diag.metrics.calibration import apply_calibration
from fundus_diag.runs.familiarity import asking
from fundus_diag.runs.run_files import read_predictions
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.mixed_precision import precision as arithmetic
from fundus_diag.utils.processes import cores
from fundus_diag.utils.progress import track

PART = 256  # photographs, or patients, in memory at a time
NO_EYE = "the run reads both eyes, and which eye this is nobody knows (--patient-pattern)"
AT_ODDS = "no disease and a disease are called at once: the run does not know"
ANOTHER = "the run reads one photograph of an eye, and took {}"


@dataclass(frozen=True)
class Answer:
    """Of one photograph, or of one patient where the run reads both eyes.

    Attributes:
        images: {eye: what the photograph is called}; of a single one the eye may be "".
        paths: {eye: file} of those that were read.
        patient: "" where nobody knows.
        probabilities: (L,) calibrated, or None where there is no answer.
        called: (L,) bool.
        why: "", or what keeps it from being graded; a photograph that shows nothing has an answer
            all the same.
        pictures: {eye: (S, S, 3) uint8} as the network sees them.
        poor: why its photographs are poor by the run's limits, "" where they are not; None where
            there are no limits, or no picture. A poor photograph is answered as others are.
        distance: of its photographs from those that the run has seen, above 1 they are unfamiliar;
            None where nobody knows. An unfamiliar photograph is answered as others are.
    """

    images: dict
    paths: dict
    patient: str
    probabilities: np.ndarray | None = None
    called: np.ndarray | None = None
    why: str = ""
    pictures: dict = field(default_factory=dict)
    poor: str | None = None
    distance: float | None = None

    @property
    def gradable(self):
        return not self.why

    @property
    def unfamiliar(self):
        """Whether it is unlike what the run has seen; None where nobody knows."""
        return None if self.distance is None else self.distance > 1


def answers(run, units, batch_size=16, precision="float32"):
    """Yields the `Answer` of each photograph, or patient, as they come.

    Memory does not grow with their number: nothing is kept.

    Args:
        run: an opened `Run`.
        units: of `units_of`.
        batch_size: of the network.
        precision: "float32", or "auto" for the fast path.
    """
    parts = [units[start : start + PART] for start in range(0, len(units), PART)]
    step, several = asking(run.model, run.familiar, precision), []
    with ThreadPoolExecutor(cores()) as pool:
        reading = [pool.map(partial(_look, run), _paths(part)) for part in parts[:1]]
        title = f"reading and predicting, {PART} at a time"
        for k, part in enumerate(track(parts, title, len(parts))):
            looks = iter(reading.pop(0))
            reading += [pool.map(partial(_look, run), _paths(x)) for x in parts[k + 1 : k + 2]]
            part = [_seen(unit, looks, several) for unit in part]
            there = [unit for unit in part if unit.pictures]
            found = _scored(run, there, step, batch_size, precision)
            for unit in part:
                yield _answered(run, unit, *next(found)) if unit.pictures else unit
    warn_of_several(several, sum(len(unit.paths) for unit in units))


def units_of(run, photographs):
    """An `Answer` without an answer for each photograph, or patient where the run reads both eyes.

    Args:
        run: an opened `Run`.
        photographs: table of `gather.Gathered`.
    """
    return _pairs(photographs) if run.config["unit"] == "patient" else _single(photographs)


def _single(photographs):
    columns = (photographs[name] for name in ("image", "path", "patient", "eye"))
    return [Answer({e: i}, {e: p}, who) for i, p, who, e in zip(*columns, strict=True)]


def _pairs(photographs):
    """The eyes of each patient together; what cannot be paired is an answer without any."""
    units, taken = [], {}
    for image, path, patient, eye in photographs[["image", "path", "patient", "eye"]].to_numpy():
        if eye not in EYES:
            units.append(Answer({"": image}, {}, patient, why=NO_EYE))
            continue
        if not patient:
            units.append(Answer({eye: image}, {eye: path}, patient))
            continue
        if patient not in taken:
            taken[patient] = Answer({}, {}, patient)
            units.append(taken[patient])
        unit = taken[patient]
        if eye in unit.images:
            why = ANOTHER.format(unit.images[eye])
            units.append(Answer({eye: image}, {}, patient, why=why))
        else:
            unit.images[eye], unit.paths[eye] = image, path
    return units


def _paths(units):
    return [path for unit in units for path in unit.paths.values()]


def _look(run, path):
    """What one reading of a photograph tells.

    Returns:
        picture (S, S, 3) uint8 or None; why it cannot be graded, or ""; whether there are more in
        the file; why it is poor, "" where it is not, None where nobody knows.
    """
    try:
        picture, seen, more = look_at(path, run.config["image_size"], run.config["crop"])
    except DataError as error:
        return None, str(error).removeprefix(f"{path}: "), False, None
    poor = why_poor(picture, run.limits, run.config["crop"]) if run.limits and seen else None
    # Whole levels: nothing is lost.
    return picture.astype(np.uint8), "" if seen else BLANK, more, poor


def _seen(unit, looks, several):
    """The unit with the pictures of its photographs, and what is wrong with them.

    `several` gets the files that hold further pictures.
    """
    if not unit.paths:
        return unit
    pictures, said, found = {}, [], {}
    for eye in unit.paths:
        picture, why, more, found[eye] = next(looks)
        if more:
            several.append(unit.paths[eye])
        if picture is not None:
            pictures[eye] = picture
        if why:
            said.append(f"{eye} eye: {why}" if len(unit.paths) > 1 else why)
    poor = {eye: text for eye, text in found.items() if text is not None}
    several = [f"{eye} eye: {x}" if len(unit.paths) > 1 else x for eye, x in poor.items() if x]
    return replace(
        unit, why="; ".join(said), pictures=pictures, poor="; ".join(several) if poor else None
    )


def _scored(run, units, step, batch_size, name):
    """Probabilities (L,) and distance, or None, of each unit with pictures."""
    for start in range(0, len(units), batch_size):
        rows = [unit.pictures for unit in units[start : start + batch_size]]
        if run.config["unit"] == "patient":
            images, mask = stack_eyes(rows, run.config["image_size"])
            inputs = {"images": images, "mask": mask}
        else:
            inputs = np.stack([next(iter(row.values())) for row in rows]).astype(np.float32)
        if name == "float32":  # exact, whatever the policy outside
            with arithmetic(name):
                logits, distances = step(inputs)
        else:
            logits, distances = step(inputs)
        distances = [None] * len(logits) if distances is None else distances.tolist()
        yield from zip(apply_calibration(logits, run.points, run.labels), distances, strict=True)


def _answered(run, unit, probabilities, distance):
    called = run.call(probabilities[None])[0]
    return replace(unit, probabilities=probabilities, called=called, distance=distance)


def at_odds(run, answer):
    """`AT_ODDS` where what is called contradicts itself, else ""."""
    if not answer.gradable or answer.probabilities is None:
        return ""
    called = [label for label, yes in zip(run.labels, answer.called, strict=True) if yes]
    return AT_ODDS if len(set(map(is_healthy, called))) == 2 else ""


def validation_of(run):
    """{label: (scores, truth)} of the run's predictions on val, None where they are not there."""
    path = run.run_dir / f"predictions_{run.points['split']}.csv"
    if not path.is_file():
        return None
    table = read_predictions(path, list(run.labels), run.config["unit"])
    return {x: (table[f"p_{x}"].to_numpy(), table[f"y_{x}"].to_numpy()) for x in run.labels}
