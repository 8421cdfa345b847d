"""`fundus-diag port`: a published checkpoint to a `.weights.h5` of ours, strictly.

Which checkpoints there are and how they name their arrays stands in the files of the encoders.
"""

import re
from pathlib import Path

from fundus_diag.models.encoders import (
    FAMILIES,
    PRESETS,
    build_encoder,
    defaults,
    members,
    preset_of,
)
from fundus_diag.models.weights import h5
from fundus_diag.models.weights.namings import POSITIONS, torch_targets, translate
from fundus_diag.models.weights.pytorch import PICKLES, checkpoint_arrays
from fundus_diag.models.weights.strict import fill, fit_positions, grid
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import sha256
from fundus_diag.utils.version import __version__

KINDS = (".safetensors", *PICKLES, ".h5")


def port(source, encoder, out, image_size=None):
    """Writes a published checkpoint as weights of one of our encoders.

    Args:
        source: `.safetensors`, `.pth`, `.pt`, `.bin`; the `.h5` without top of
            `keras.applications`, for encoders whose network is there.
        encoder: name in `ENCODERS`.
        out: `.weights.h5` to write; an older one is replaced.
        image_size: px. Position embeddings are resized to it. None: that of the source's, or
            else of the preset.

    Returns:
        The record kept in `out`: source, sha256, naming, encoder, image_size, left_out.

    Raises:
        DataError: the source cannot be read, or does not fit: every array that is missing, left
            over or misshapen is listed. Nothing is written.
        UsageError: the source is not for this encoder, or a flag is impossible.
    """
    source, out = Path(source), Path(out)
    if not source.is_file():
        raise DataError(f"{source}: no such file")
    if source.suffix not in KINDS or source.name.endswith(".weights.h5"):
        raise UsageError(f"{source}: a source ends in {', '.join(KINDS)}, not in .weights.h5")
    if not out.name.endswith(".weights.h5"):
        raise UsageError(f"--out {out}: must end in .weights.h5")
    read = _keras if source.suffix == ".h5" else _torch
    model, facts = read(source, encoder, image_size)
    record = {
        "source": source.name,
        "sha256": sha256(source),
        "encoder": encoder,
        "image_size": model.input.shape[1],
        "version": __version__,
        **facts,
    }
    h5.save(model, out, record)
    return record


def namings():
    """[(module of the family, `Naming`)] of all families."""
    return [(family, naming) for family in FAMILIES for naming in family.NAMINGS]


def note_of(title):
    """What who ports weights should know, by the title of their naming; "" where nothing."""
    return next((naming.note for _, naming in namings() if naming.title == title), "")


def _recognise(names):
    """(module of the family, `Naming`) that array names follow, or None."""
    for family, naming in namings():
        if any(re.fullmatch(naming.mark, name) for name in names):
            return family, naming
    return None


def _keras(source, encoder, image_size):
    upstream = preset_of(encoder).published
    if upstream is None or upstream.suffix != ".h5":
        known = [k for k, x in PRESETS.items() if x.published and x.published.suffix == ".h5"]
        raise UsageError(f"--encoder {encoder}: a .h5 of Keras is for {', '.join(known)}")
    size = preset_of(encoder).image_size if image_size is None else image_size
    model = build_encoder(encoder, size)
    upstream.file(source, model)
    return model, {"naming": upstream.title, "left_out": []}


def _torch(source, encoder, image_size):
    arrays, beside = checkpoint_arrays(source)
    found = _recognise(arrays)
    if found is None:
        titles = ", ".join(naming.title for _, naming in namings())
        raise DataError(f"{source}: names of no network that is known: {titles}")
    family, naming = found
    known = members(family)
    if encoder not in known:
        raise UsageError(
            f"--encoder {encoder}: {source} holds {naming.title}, for {', '.join(known)}"
        )
    arrays, left_out = translate(naming, arrays)
    options = {}
    names = [name for found in left_out.values() for name in found]
    fine_tuned = any(name.startswith("fc_norm.") for name in names)
    if fine_tuned and not any(key.startswith("norm.") for key in arrays):
        options["final_norm"] = False  # fine-tuning on the mean of patches has no other
    size = _size(encoder, arrays) if image_size is None else image_size
    model = build_encoder(encoder, size, **options)
    targets = torch_targets(model)
    fill(source, f"--encoder {encoder}", targets, fit_positions(targets, arrays, POSITIONS))
    return model, {"naming": naming.title, "left_out": sorted(names) + beside}


def _size(encoder, arrays):
    side = grid(arrays[POSITIONS].shape) if POSITIONS in arrays else None
    patch = defaults(encoder).get("patch")
    return side * patch if side and patch else preset_of(encoder).image_size
