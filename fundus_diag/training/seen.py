"""Which photographs the weights of a run have seen: those that it starts from, and its own."""

import numpy as np

from fundus_diag.models.weights import h5
from fundus_diag.models.weights.load import weights_record
from fundus_diag.runs import photographs


def start_record(config, manifest, seen):
    """`weights_record` of the weights to start from, with what they saw of val and test.

    Args:
        seen: rows of `photographs.take`, of this run.
    """
    if not str(config.weights).endswith(".weights.h5"):
        return None  # none, or Keras's of natural images
    record = weights_record(config.weights) or {}
    known, before = h5.read_seen(config.weights), record.get("pretrained_on")
    same = isinstance(before, dict) and before.get("sha256") == manifest.sha256
    # Of the same table the splits say it, also of copies of its photographs; of another one that
    # has no fingerprints nothing does.
    if known is None:
        return record if same else record | {"held_out": None}
    held_out = photographs.held_out(seen, known)
    splits = before.get("splits") if same else None
    learned = splits if isinstance(splits, list) else []
    for split, (_, total) in held_out.items():
        if split in learned or "all" in learned:
            held_out[split] = [total, total]
    return record | {"held_out": held_out}


def learned_by(config, manifest, seen):
    """What the weights will have been learned from, for runs that start from them.

    Returns:
        (record, as that of a pretraining; fingerprints of the photographs, those that the weights
        to start from had seen among them), or (None, None) where these are not known.
    """
    learned = photographs.numbers([x for x in seen if x["split"] == "train"])
    if str(config.weights).endswith(".weights.h5"):
        before = h5.read_seen(config.weights)
        if before is None:
            return None, None
        learned = np.union1d(before, learned)
    return photographs.learned_from(config, manifest, ["train"]), learned
