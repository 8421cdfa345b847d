"""What is to be explained: single photographs, or the rows of a table, each decoded once."""

import hashlib
import re
import sys
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fundus_diag.data.gather import gather
from fundus_diag.data.inputs import settle_bad, warn_of_several
from fundus_diag.data.labels import EYES
from fundus_diag.data.manifest import for_run, pair_eyes, read_manifest, resolve_images
from fundus_diag.data.pairing import stack_eyes
from fundus_diag.imaging.frames import split_frame
from fundus_diag.imaging.image_file import check_files, check_header
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.runs.answers import units_of
from fundus_diag.runs.salt import salt_maker
from fundus_diag.utils.errors import DataError

NOTHING = "there is no photograph that can be read"
LONGEST = 150  # bytes of a case's name; of the whole file's name systems take 255
# Of the further files of a case, see `explain.output.write_case`.
ENDINGS = ("_methods", *(f"_{eye}_methods" for eye in EYES))
_UNFIT = re.compile(r'[\x00-\x1f\x7f<>:"\\|?*]|[. ]+$')  # in a name of a file, on any system


@dataclass(frozen=True)
class Case:
    """One row to explain: a photograph, or a patient's two.

    Attributes:
        name: of its files; short, and unlike any other's.
        title: of its pages: as the table or the command line names it.
        patient: as the table says, or "".
        images: {eye: path as the table has it}; the eye of a single photograph may be "".
        paths: {eye: file}.
    """

    name: str
    patient: str
    images: dict
    paths: dict
    title: str = ""


def cases_of_files(run, paths, pattern=None, image_root=None, on_bad_image="fail"):
    """`Case`s of the photographs of a command line; of patients where the run reads pairs.

    Args:
        run: `run.Run`.
        paths, pattern, image_root: see `gather.gather`.
        on_bad_image: "fail" or "skip", of photographs whose eye has to be known and is not.

    Raises:
        DataError: a name is not UTF-8, or an eye has to be known and is not.
    """
    found = gather(paths, pattern, image_root, salt_maker(run.run_dir))
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    return cases_of_photographs(run, found.table, on_bad_image)


def cases_of_photographs(run, photographs, on_bad_image="fail"):
    """`Case`s of a table of `gather.Gathered`; see `cases_of_files`."""
    units = units_of(run, photographs)
    settle_bad([[x, u.why] for u in units if not u.paths for x in u.images.values()], on_bad_image)
    cases = cases_of_answers([unit for unit in units if unit.paths])
    if not cases:
        raise DataError(NOTHING)
    return cases


def cases_of_answers(answers):
    """`Case`s of `answers.Answer`s, in their order; names are all different among them."""
    titles = [
        " and ".join(
            _title(image, answer.paths.get(eye, image)) for eye, image in answer.images.items()
        )
        for answer in answers
    ]
    names = _names([Path(title).name for title in titles])
    return [
        Case(name, answer.patient, answer.images, answer.paths, title)
        for name, answer, title in zip(names, answers, titles, strict=True)
    ]


def cases_of_manifest(run, manifest, image_root, split=None):
    """`Case`s of a table's rows: of photographs, or of patients where the run reads pairs.

    Args:
        run: `run.Run`.
        manifest: table with image, patient, eye.
        image_root: folder that its image paths start from.
        split: rows of this split only; None is every row.

    Raises:
        DataError: the table is wrong, has no row, or names a photograph that is not there.
        UsageError: the table has no such split.
    """
    known = for_run(read_manifest(Path(manifest), need_labels=False), run.labels, split)
    if not len(known.table):
        raise DataError(f"{manifest}: no row")
    # What is missing is among those that cannot be read, see `usable_cases`.
    paths = resolve_images(known, image_root, missing_ok=True)
    files = dict(zip(known.table["image"], paths, strict=True))
    pair = run.config["unit"] == "patient"
    table = pair_eyes(known).table if pair else known.table
    column = table["patient" if pair else "image"]
    titles = list(column) if pair else [_title(x, files[x]) for x in column]
    found = []
    for name, title, (_, row) in zip(_names(titles), titles, table.iterrows(), strict=True):
        if pair:
            images = {eye: row[f"image_{eye}"] for eye in EYES if row[f"image_{eye}"]}
        else:
            images = {row["eye"]: row["image"]}
        paths = {eye: files[image] for eye, image in images.items()}
        found.append(Case(name, row["patient"], images, paths, title))
    return found


def _title(image, path):
    """A photograph as it was named, without the ending of its file; a frame by its number.

    Of an absolute path the name alone.
    """
    image = Path(image).name if Path(image).is_absolute() else str(image)
    frame = split_frame(path)[1]
    if frame is None:
        return str(Path(image).with_suffix(""))
    return f"{Path(image.rpartition('#')[0]).with_suffix('')} #{frame}"


def _names(texts):
    """Names of files, short and all different: numbered where any two would be alike.

    Alike are names that some file system takes for one, and names of which one with an ending of
    `ENDINGS` is the other. Of a long name the middle is replaced by a hash of the whole.
    """
    names = [_short(_UNFIT.sub("_", text.replace("/", "__"))) for text in texts]
    alike = [unicodedata.normalize("NFC", name).casefold() for name in names]
    taken = set(alike)
    clash = any(name + ending in taken for name in taken for ending in ENDINGS)
    if len(taken) == len(names) and not clash:
        return names
    return [f"{k:04d}_{name}" for k, name in enumerate(names)]


def _short(name):
    """A name of at most `LONGEST` bytes; room is left for what is put before and after it."""
    content = name.encode("utf-8", "surrogateescape")
    if len(content) <= LONGEST:
        return name
    mark = hashlib.sha256(content).hexdigest()[:10]
    half = (LONGEST - len(mark) - 2) // 2
    start = content[:half].decode("utf-8", "ignore")
    return f"{start}~{mark}~{content[-half:].decode('utf-8', 'ignore')}"


def usable_cases(cases, on_bad_image="fail"):
    """Cases without the photographs that no decoder would take, by header and end of their files.

    Raises:
        DataError: there are such photographs and `on_bad_image` is "fail": all are named, with
            those that only decoding shows to be damaged. Or no photograph is left.
    """
    names = {case.paths[eye]: case.images[eye] for case in cases for eye in case.paths}
    bad = check_files(names, check=check_header)
    if bad and on_bad_image == "fail":
        bad = check_files(names)
    settle_bad([[names[path], reason] for path, reason in bad], on_bad_image)
    wrong = {path for path, _ in bad}
    good = []
    for case in cases:
        paths = {eye: path for eye, path in case.paths.items() if path not in wrong}
        if paths:
            images = {eye: case.images[eye] for eye in paths}
            good.append(replace(case, images=images, paths=paths))
    if not good:
        raise DataError(NOTHING)
    return good


def load_batches(run, cases, batch_size, on_bad_image="fail"):
    """Cases with their photographs, each decoded once, when its turn comes.

    Args:
        run: `run.Run`.
        cases: `Case`s, as `usable_cases` leaves them.
        batch_size: cases at a time.
        on_bad_image: "fail" or "skip".

    Yields:
        Lists of (case, {eye: `Loaded`}), see `load_case`. An eye whose photograph turns out to be
        damaged is not in it, and neither is a case without any eye.

    Raises:
        DataError: photographs are damaged and `on_bad_image` is "fail". After the first such one
            nothing more is yielded: the rest is decoded only, so that all of them are named. Or
            none of them can be read.
    """
    bad, several, readable = [], [], 0
    for start in range(0, len(cases), batch_size):
        part = cases[start : start + batch_size]
        batch = [(case, load_case(run, case, bad)) for case in part]
        batch = [(case, loaded) for case, loaded in batch if loaded]
        readable += len(batch)
        seen = ((case.paths[eye], x) for case, eyes in batch for eye, x in eyes.items())
        several += [path for path, x in seen if x.more]
        if batch and not (bad and on_bad_image == "fail"):
            yield batch
    warn_of_several(several, sum(len(case.paths) for case in cases))
    settle_bad(bad, on_bad_image)
    if not readable:
        raise DataError(NOTHING)


def load_case(run, case, bad=None):
    """Photographs of a case: {eye: `preprocess.Loaded`}.

    Args:
        run: `run.Run`.
        case: `Case`.
        bad: list to which [image, reason] of what cannot be read is added.

    Raises:
        DataError: a file cannot be read and there is no such list.
    """
    loaded = {}
    for eye, path in case.paths.items():
        try:
            loaded[eye] = load_photograph(path, run.config["image_size"], run.config["crop"])
        except DataError as error:
            if bad is None:
                raise
            bad.append([case.images[eye], str(error).removeprefix(f"{path}: ")])
    return loaded


def stack_pictures(run, rows):
    """Pictures as the run's network takes them.

    Args:
        run: `run.Run`.
        rows: per case {eye: picture (S, S, 3)}.

    Returns:
        images (B, S, S, 3), None; for runs over pairs images (B, 2, S, S, 3), mask (B, 2).
    """
    if run.config["unit"] == "patient":
        return stack_eyes(rows, run.config["image_size"])
    return np.stack([next(iter(row.values())) for row in rows]), None
