"""A plan: variants of a training that are to be compared, as a TOML file says them.

    title = "Two phases against one"
    baseline = "two phases"
    split = "val"                     # what is compared; test once all choices are made
    seeds = [0, 1, 2]
    manifest = "odir_split.csv"       # or --manifest; from the plan's folder
    image_root = "ODIR"               # or --image-root

    [flags]                           # of `fundus-diag train`, for all variants
    encoder = "efficientnet_lite0"
    image_size = 128

    [variants."two phases"]
    [variants."end to end"]
    phase1_epochs = 0

A variant may also have `train_share` (the labels of so many of the training patients),
`split_eyes_on_purpose` (a table split by eyes, see `manifest split`), `seeds`, a `note`, and a
variant that it is held `against` in place of the baseline. Where there is a table `[pretrain]`, of
flags of `fundus-diag pretrain`, `weights = "pretrained"` starts from what that run learns. Other
weights are `imagenet`, `none`, or a file, from the plan's folder.
"""

import dataclasses
import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from fundus_diag.models.options import parse_options
from fundus_diag.runs.schema import values_of
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.pretraining.config import PretrainConfig
from fundus_diag.utils.errors import DataError, UsageError

# That come with us.
PLANS = Path(str(resources.files("fundus_diag"))) / "training" / "plans"
SEARCHES = PLANS.with_name("searches")
TOP = ("title", "baseline", "split", "seeds", "manifest", "image_root", "flags", "pretrain",
       "variants")  # fmt: skip
OWN = (
    "train_share",
    "split_eyes_on_purpose",
    "seeds",
    "note",
    "against",
)  # of a variant, beside its flags
# Flags that are not a plan's: they say where a run stands, or are its seeds.
NOT_HERE = ("manifest", "image_root", "run_dir", "seed", "resume", "overwrite")
PRETRAINED = "pretrained"  # what `weights` says of the plan's own pretraining
MAX_BYTES = 1_000_000
MAX_RUNS = 1000


@dataclass(frozen=True)
class Variant:
    """One row of the comparison.

    Attributes:
        name: of it.
        flags: {field of `TrainConfig`: value}, with those of all.
        seeds: of its runs.
        train_share: of the training patients, whose rows are kept; 1 is all.
        split_eyes: whether it is trained and scored on a table split by eyes, on purpose.
        note: a sentence for its readers.
        against: variant that it is held against; "" for the baseline.
    """

    name: str
    flags: dict
    seeds: tuple
    train_share: float = 1.0
    split_eyes: bool = False
    note: str = ""
    against: str = ""


@dataclass(frozen=True)
class Plan:
    """What a file asks for; see the module's text."""

    path: Path
    title: str
    split: str
    baseline: str
    manifest: Path
    image_root: Path
    variants: list = field(default_factory=list)
    pretrain: dict | None = None


def find_plan(name, folder=PLANS):
    """The file of a plan: `name` itself, or one of those that come with the package.

    Args:
        name: a path, or the stem of a file in `folder`.
        folder: `PLANS` or `SEARCHES`.

    Raises:
        DataError: there is no such file, and none of that name comes with the package.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = {x.stem: x for x in sorted(folder.glob("*.toml"))}
    if str(name) in known:
        return known[str(name)]
    raise DataError(f"{path}: no such file; plans that come along: {', '.join(known)}")


def read_plan(path, manifest=None, image_root=None, seeds=None, split=None):
    """Reads a plan and checks all of it.

    Args:
        path: TOML file.
        manifest, image_root, seeds, split: in place of what it says.

    Returns:
        `Plan`.

    Raises:
        DataError: the file is not what a plan may be; names the variant and the flag.
        UsageError: no table or folder of photographs is named, by it or by the command.
    """
    content = content_of(path)
    only(path, content, TOP)
    common = as_fields(path, table_of(path, content, "flags"), "[flags]")
    named = table_of(path, content, "variants")
    if not named:
        raise DataError(f"{path}: no [variants]: nothing to compare")
    every = _seeds(path, content.get("seeds", [0]), "seeds") if seeds is None else tuple(seeds)
    pretrain = table_of(path, content, "pretrain") if "pretrain" in content else None
    if pretrain is not None:
        checked_flags(path, PretrainConfig, pretrain, "[pretrain]")
    variants = [
        _variant(path, name, common, table_of(path, named, name), every, seeds is None)
        for name in named
    ]
    if sum(len(x.seeds) for x in variants) > MAX_RUNS:
        raise DataError(f"{path}: more than {MAX_RUNS} runs")
    for variant in variants:
        if variant.flags.get("weights") == PRETRAINED and pretrain is None:
            raise DataError(f"{path}: variant {variant.name}: weights: there is no [pretrain]")
        if variant.against and variant.against not in named:
            raise DataError(f"{path}: variant {variant.name}: against: no variant of that name")
    baseline = text_of(path, content, "baseline", variants[0].name)
    if baseline not in named:
        raise DataError(f"{path}: baseline {baseline!r} is no variant")
    places = {}
    for key, given in (("manifest", manifest), ("image_root", image_root)):
        said = text_of(path, content, key, "")
        if given is None and not said:
            raise UsageError(f"{path} names no {key}: --{key.replace('_', '-')}")
        places[key] = Path(given) if given is not None else path.parent / said
    return Plan(
        path=path,
        title=text_of(path, content, "title", path.stem.replace("_", " ")),
        split=split or text_of(path, content, "split", "val"),
        baseline=baseline,
        variants=variants,
        pretrain=pretrain,
        **places,
    )


def content_of(path):
    """The content of a TOML file. Raises DataError where it is none, or too large."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: larger than a plan may be ({MAX_BYTES // 1000} kB)")
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not TOML: {error}") from error


def _variant(path, name, common, values, every, own_seeds):
    where = f"variant {name}"
    values = {**common, **as_fields(path, values, where)}
    own = {key: values.pop(key) for key in OWN if key in values}
    found = checked_flags(path, TrainConfig, values, where)
    seeds = own.get("seeds")
    share, note = own.get("train_share", 1.0), own.get("note", "")
    split_eyes = own.get("split_eyes_on_purpose", False)
    if not is_number(share) or not 0 < share <= 1:
        raise DataError(f"{path}: {where}: train_share {share!r}: above 0, at most 1")
    against = own.get("against", "")
    if not isinstance(split_eyes, bool) or not isinstance(note, str) or type(against) is not str:
        raise DataError(f"{path}: {where}: split_eyes_on_purpose is true or false, the rest texts")
    seeds = _seeds(path, seeds, f"{where}: seeds") if seeds is not None and own_seeds else every
    return Variant(name, found, seeds, float(share), split_eyes, note, against)


def checked_flags(path, kind, values, where):
    """{field: value} of flags, checked by the types and the limits of their configuration."""
    known = [x.name for x in dataclasses.fields(kind) if x.name not in NOT_HERE]
    values = as_fields(path, values, where)
    for name, value in values.items():
        if name not in known:
            why = "is not a plan's to say" if name in NOT_HERE else "is no flag"
            raise DataError(f"{path}: {where}: {name} {why}")
        if not _plain(value):
            raise DataError(f"{path}: {where}: {name}: not a number, text, true, false or list")
    found = values_of(f"{path}: {where}", kind, values)
    here = Path()
    try:
        config = kind(manifest=here, image_root=here, run_dir=here, **found).resolved()
        if kind is TrainConfig:
            parse_options(config.encoder, config.encoder_options)
    except UsageError as error:
        raise DataError(f"{path}: {where}: {error}") from error
    return found


def as_fields(path, values, where):
    """The same with names as fields have them, however a flag is written."""
    found = {}
    for name, value in values.items():
        short = name.removeprefix("--").replace("-", "_")
        if short in found:
            raise DataError(f"{path}: {where}: {short} stands twice")
        found[short] = value
    return found


def _plain(value):
    if isinstance(value, list):
        return all(not isinstance(x, list) and _plain(x) for x in value)
    return isinstance(value, (str, int, float, bool))


def _seeds(path, values, where):
    whole = isinstance(values, list) and values
    if not whole or not all(is_number(x, int) and 0 <= x < 2**31 for x in values):
        raise DataError(f"{path}: {where} {values!r}: a list of whole numbers from 0")
    if len(set(values)) < len(values):
        raise DataError(f"{path}: {where} {values!r}: one of them stands twice")
    return tuple(values)


def is_number(value, kind=(int, float)):
    """Whether a value is a number, which true and false are not."""
    return isinstance(value, kind) and not isinstance(value, bool)


def table_of(path, content, key):
    """A table of the content, empty where there is none."""
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise DataError(f"{path}: [{key}] is no table")
    return value


def text_of(path, content, key, default):
    """A text of the content."""
    value = content.get(key, default)
    if not isinstance(value, str) or len(value) > 1000:
        raise DataError(f"{path}: {key} is no text")
    return value


def only(path, content, known):
    """Raises DataError where the content has other keys than those that are known."""
    odd = [key for key in content if key not in known]
    if odd:
        raise DataError(f"{path}: {odd[0]}: a plan has {', '.join(known)}")
