"""What a search looks for, as a TOML file says it.

title = "Lite0 on little pictures"
objectives = ["roc_auc", "ms"]    # see `OBJECTIVES`
trials = 30
seed = 0                          # of the trainings; what is drawn differs from time to time
manifest = "odir_split.csv"       # or --manifest; from the plan's folder
image_root = "ODIR"               # or --image-root

[flags]                           # of `fundus-diag train`, the same in all trials
encoder = "efficientnet_lite0"

[space]                           # flags that are drawn: a range, or a list of choices
image_size = { low = 64, high = 160, step = 32 }
phase2_rate = { low = 1e-5, high = 1e-3, log = true }
mixup = [0.0, 0.2]
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from fundus_diag.training import plan as plans
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.trainings import with_weights
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import sha256

# {name: (how it is called, whether more is better)}; scores are of val, of the epoch that is kept.
OBJECTIVES = {
    "roc_auc": ("macro ROC AUC on val", True),
    "average_precision": ("macro average precision on val", True),
    "f1": ("macro F1 on val", True),
    "accuracy": ("accuracy on val", True),
    "kappa": ("quadratic kappa on val", True),
    "ms": ("ms a picture", False),
    "parameters": ("parameters", False),
}
TOP = ("title", "objectives", "trials", "seed", "manifest", "image_root", "flags", "space")
RANGE = ("low", "high", "step", "log")
MAX_TRIALS = 100_000


@dataclass(frozen=True)
class SearchPlan:
    """See the module's text; `space` is {field: list of choices, or dict of a range}."""

    path: Path
    title: str
    objectives: tuple
    trials: int
    seed: int
    manifest: Path
    image_root: Path
    flags: dict
    space: dict

    @property
    def digest(self):
        """16 digits that differ between searches whose trials cannot stand in one study.

        Raises:
            DataError: the table or weights are missing.
        """
        files = [sha256(self.manifest)]
        drawn = self.space.get("weights", [])
        for name in [
            self.flags.get("weights", "none"),
            *(drawn if isinstance(drawn, list) else []),
        ]:
            files += with_weights({"weights": name}, self.path.parent, self.title)[1].values()
        said = [self.objectives, self.seed, self.flags, self.space, files]
        text = json.dumps(said, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_search(path, manifest=None, image_root=None, trials=None):
    """Reads a plan of a search and checks all of it.

    Args:
        path: TOML file.
        manifest, image_root, trials: in place of what it says.

    Raises:
        DataError: the file is not what such a plan may be; names the flag.
        UsageError: no table or folder of photographs is named, by it or by the command.
    """
    content = plans.content_of(path)
    plans.only(path, content, TOP)
    said = plans.as_fields(path, plans.table_of(path, content, "flags"), "[flags]")
    flags = plans.checked_flags(path, TrainConfig, said, "[flags]")
    space = plans.as_fields(path, plans.table_of(path, content, "space"), "[space]")
    if not space:
        raise DataError(f"{path}: no [space]: nothing to search")
    for name, drawn in space.items():
        if name in flags:
            raise DataError(f"{path}: {name} stands in [flags] and in [space]")
        for value in _ends(path, name, drawn):
            plans.checked_flags(path, TrainConfig, {**said, name: value}, "[space]")
    objectives = content.get("objectives", ["roc_auc", "ms"])
    if not isinstance(objectives, list) or not objectives:
        raise DataError(f"{path}: objectives: a list of {', '.join(OBJECTIVES)}")
    odd = [x for x in objectives if not isinstance(x, str) or x not in OBJECTIVES]
    if odd or len(set(objectives)) < len(objectives):
        raise DataError(f"{path}: objectives {objectives}: of {', '.join(OBJECTIVES)}, each once")
    task = flags.get("task", "multi_label")
    if task != "grade" and "kappa" in objectives:
        raise DataError(f"{path}: objectives: kappa is of --task grade")
    wanted, seed = content.get("trials", 30), content.get("seed", 0)
    wanted = wanted if trials is None else trials
    for name, value, least in (("trials", wanted, 1), ("seed", seed, 0)):
        if not plans.is_number(value, int) or not least <= value <= MAX_TRIALS:
            raise DataError(f"{path}: {name} {value!r}: a whole number from {least}")
    places = {}
    for key, given in (("manifest", manifest), ("image_root", image_root)):
        place = plans.text_of(path, content, key, "")
        if given is None and not place:
            raise UsageError(f"{path} names no {key}: --{key.replace('_', '-')}")
        places[key] = Path(given) if given is not None else path.parent / place
    title = plans.text_of(path, content, "title", path.stem.replace("_", " "))
    return SearchPlan(
        path, title, tuple(objectives), wanted, seed, flags=flags, space=space, **places
    )


def _ends(path, name, drawn):
    """Values of a flag's draws that are tried on its configuration: all choices, or both ends."""
    if isinstance(drawn, list) and len(drawn) > 1:
        if not all(isinstance(x, (str, int, float, bool)) for x in drawn):
            raise DataError(f"{path}: [space]: {name}: choices are numbers, texts, true or false")
        if len(set(drawn)) < len(drawn):
            raise DataError(f"{path}: [space]: {name}: a choice stands twice")
        return drawn
    wrong = not isinstance(drawn, dict) or not {"low", "high"} <= drawn.keys() <= set(RANGE)
    if wrong or not all(plans.is_number(drawn[x]) for x in ("low", "high")):
        raise DataError(
            f"{path}: [space]: {name}: a list of choices, or a range: low, high, step or log"
        )
    low, high, step, log = (drawn.get(x) for x in RANGE)
    if not low < high or (log and (low <= 0 or step)) or not isinstance(log, (bool, type(None))):
        raise DataError(f"{path}: [space]: {name}: low below high; log above 0 and without step")
    if step is not None and not (plans.is_number(step) and step > 0):
        raise DataError(f"{path}: [space]: {name}: step above 0")
    return [low, high]
