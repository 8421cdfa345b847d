"""`fundus-diag port`: a published checkpoint to a `.weights.h5` of ours, strictly.

Sources of the weights:
    CvT: https://github.com/microsoft/CvT, and on Hugging Face microsoft/cvt-13 and others (MIT
        there, Apache-2.0 here by their cards).
        Hugging Face's class computes the exact GELU where Microsoft's code, with which the weights
        were trained, approximates it; ported weights are the same, and our encoder approximates
        (`cvt.feature_map(activation=exact_gelu)` does not). All LayerNorms add 1e-5, here and
        there. The norm before the head is left out.
    MAE: https://github.com/facebookresearch/mae, facebook/vit-mae-base and others; RETFound:
        https://github.com/rmaphoh/RETFound (both CC BY-NC 4.0). LayerNorm adds 1e-6 here as in
        their code (Hugging Face's class adds 1e-12).
    Xception: `keras.applications`.

Our encoders standardise pictures by ImageNet's mean and standard deviation, as all of these were
trained; a ViT of timm that was trained on other values (.5 and .5) must not be ported.
"""

from pathlib import Path

from fundus_diag.models.encoders import ENCODERS
from fundus_diag.models.weights import h5, keras_xception
from fundus_diag.models.weights.namings import (
    NAMINGS,
    POSITIONS,
    recognise,
    torch_targets,
    translate,
)
from fundus_diag.models.weights.pytorch import PICKLES, checkpoint_arrays
from fundus_diag.models.weights.strict import fill, fit_positions, grid
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import sha256
from fundus_diag.utils.version import __version__

DEFAULT_SIZE = 224  # px, where the source does not tell
PATCH = 16  # px, of every ViT preset
KINDS = (".safetensors", *PICKLES, ".h5")


def port(source, encoder, out, image_size=None):
    """Writes a published checkpoint as weights of one of our encoders.

    Args:
        source: `.safetensors`; `.pth`, `.pt` or `.bin`, which need PyTorch; for `se_xception` the
            `.h5` of Keras's Xception without top.
        encoder: name in `ENCODERS`.
        out: `.weights.h5` to write; an older one is replaced.
        image_size: px. Position embeddings are resized to it. None: that of the source's, or 224.

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


def _keras(source, encoder, image_size):
    if encoder != "se_xception":
        raise UsageError(f"--encoder {encoder}: a .h5 of Keras is for se_xception")
    model = ENCODERS[encoder](DEFAULT_SIZE if image_size is None else image_size)
    keras_xception.port_xception_file(source, model)
    return model, {"naming": keras_xception.TITLE, "left_out": []}


def _torch(source, encoder, image_size):
    arrays, beside = checkpoint_arrays(source)
    naming = recognise(arrays)
    if naming is None:
        raise DataError(
            f"{source}: names of no network that is known: {', '.join(x.title for x in NAMINGS)}"
        )
    known = [x for x in ENCODERS if x.startswith(naming.encoders)]
    if encoder not in known:
        raise UsageError(
            f"--encoder {encoder}: {source} holds {naming.title}, for {', '.join(known)}"
        )
    arrays, left_out = translate(naming, arrays)
    options = {}
    fine_tuned = any(name.startswith("fc_norm.") for names in left_out.values() for name in names)
    if fine_tuned and not any(key.startswith("norm.") for key in arrays):
        options["final_norm"] = False  # fine-tuning on the mean of patches has no other
    model = ENCODERS[encoder](_size(arrays) if image_size is None else image_size, **options)
    targets = torch_targets(model)
    fill(source, f"--encoder {encoder}", targets, fit_positions(targets, arrays, POSITIONS))
    names = [name for found in left_out.values() for name in found]
    return model, {"naming": naming.title, "left_out": sorted(names) + beside}


def _size(arrays):
    side = grid(arrays[POSITIONS].shape) if POSITIONS in arrays else None
    return side * PATCH if side else DEFAULT_SIZE
