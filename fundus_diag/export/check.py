"""Whether an export computes what the run does, and by how much it does not."""

import numpy as np
import tensorflow as tf

from fundus_diag.data.inputs import load_table
from fundus_diag.data.pipeline import scoring_batches
from fundus_diag.explain import explainer
from fundus_diag.explain.filters import clean
from fundus_diag.explain.laying import map_box, reached
from fundus_diag.explain.methods.registry import layer_names
from fundus_diag.export.pixels import as_arrays
from fundus_diag.export.samples import drawn_photographs
from fundus_diag.imaging.inside import picture_field
from fundus_diag.imaging.preprocess import loaded
from fundus_diag.metrics.calibration import apply_calibration
from fundus_diag.metrics.classification import macro_auc
from fundus_diag.runs.run_files import own_table
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.progress import track

# Largest difference of a probability, by arithmetic; of a map, which lies in [0, 1], for all but a
# hundredth of its cells: rounding turns a ReLU on or off here and there, and its gradient jumps.
SAVED_MODEL = {"float32": 1e-5, "bfloat16": 0.1}
MAPS = {"float32": 0.02, "bfloat16": 0.5}
RUNTIME = {"float32": 1e-3, "bfloat16": 0.1, "int8": 0.3}
MAX_LOSS = 0.02  # of the macro ROC AUC on val: above, reduced arithmetic does not hold
BATCH = 16


def check_saved_model(run, folder, precision):
    """Loads a SavedModel and compares its answers with the run's on drawn photographs.

    Returns:
        (function of inputs {name: array} to [probability, positive], {"photographs",
        "largest_difference"[, "largest_difference_of_map"]}).

    Raises:
        DataError: they differ by more than `SAVED_MODEL` or `MAPS` allows.
    """
    served = tf.saved_model.load(str(folder)).signatures
    files, inputs = _samples(run)
    want = _reference(run, inputs)

    def call(name, inputs):
        found = served[name](**{k: tf.constant(v) for k, v in inputs.items()})
        return [found[k].numpy() for k in ("probability", "positive")]

    apart = [
        _difference(run, want, call(name, sent), SAVED_MODEL[precision])
        for name, sent in (("serving_default", files), ("serve_pixels", inputs))
    ]
    record = {"photographs": len(want), "largest_difference": max(apart)}
    if "explain" in served:
        most, record["largest_difference_of_map"] = _maps_apart(run, served["explain"], files)
        _refuse("a map", most, MAPS[precision])
    return lambda inputs: call("serve_pixels", inputs), record


def check_pixels(run, answer, precision):
    """As `check_saved_model`, of a function of inputs {name: array} to [probability, positive].

    Returns:
        {"photographs", "largest_difference"}.
    """
    _, inputs = _samples(run)
    want = _reference(run, inputs)
    apart = _difference(run, want, answer(inputs), RUNTIME[precision])
    return {"photographs": len(want), "largest_difference": apart}


def measured_on_val(run, answer):
    """What reduced arithmetic costs on the photographs of `val`.

    Args:
        run: `run.Run`.
        answer: function of inputs {name: array} to [probability, positive].

    Returns:
        {"rows", "largest_difference", "changed", "roc_auc", "roc_auc_float32", "loss"}: `changed`
        is the share of `positive` that is another, the AUCs are macro averages.
        {"not_measured": why} where the photographs are not here.

    Raises:
        DataError: an answer is no number, or the loss of AUC is above `MAX_LOSS`.
    """
    table, root, reason = own_table(run.config)
    if reason:
        return {"not_measured": reason}
    pictures, rows = load_table(table.path, root, run.config, "val", "skip", cache="ram")
    batches = scoring_batches(pictures, rows.pictures, BATCH)
    steps = -(-len(rows.pictures) // BATCH)
    parts = [
        (_reference(run, inputs), *answer(inputs))
        for inputs in track(map(as_arrays, batches), "comparing on val", steps)
    ]
    want, found, positive = (np.concatenate(x) for x in zip(*parts, strict=True))
    apart = _apart(want, found)
    _refuse("an answer on val", apart, 1)
    exact, reduced = macro_auc(rows.y, want), macro_auc(rows.y, found)
    loss = None if exact is None else exact - reduced
    if loss is not None and loss > MAX_LOSS:
        raise DataError(
            f"the export loses {loss:.3f} of the macro ROC AUC on val, more than {MAX_LOSS:g}: "
            "nothing was written"
        )
    return {
        "rows": len(want),
        "largest_difference": apart,
        "changed": float((run.call(want) != positive).mean()),
        "roc_auc": reduced,
        "roc_auc_float32": exact,
        "loss": loss,
    }


def _samples(run):
    """Drawn photographs as a server is sent them and as the network is: two {name: array}."""
    files = list(drawn_photographs())
    size, crop = run.config["image_size"], run.config["crop"]
    pictures = np.stack([loaded(data, size, crop).picture for data in files])
    if run.config["unit"] == "eye":
        return {"image_bytes": files}, {"images": pictures}
    left, right = files[::2], [*files[1:-1:2], b""]  # the last has one eye
    mask = np.ones((len(left), 2), np.float32)
    mask[-1, 1] = 0
    pairs = np.stack([pictures[::2], pictures[1::2]], axis=1)
    return {"left_bytes": left, "right_bytes": right}, {"images": pairs, "mask": mask}


def _reference(run, inputs):
    """(N, L) float64 probabilities of the run."""
    inputs = {name: tf.constant(value) for name, value in inputs.items()}
    inputs = inputs if len(inputs) > 1 else inputs["images"]
    return apply_calibration(run.model(inputs, training=False), run.points, run.labels)


def _difference(run, want, found, limit):
    """Largest difference of a probability; what is positive has to be what these call.

    Not where a probability lies at its threshold, as near as the two may differ.
    """
    probability, positive = found
    apart = _apart(want, probability)
    _refuse("a probability", apart, limit)
    settled = np.abs(probability - np.nan_to_num(run.thresholds, nan=np.inf)) > limit
    if ((run.call(probability) != positive) & settled).any():
        raise DataError("the export calls other labels than its probabilities and thresholds do")
    return apart


def _apart(want, found, share=1):
    """Difference that `share` of the values stay within; infinite where any is no number."""
    apart = np.abs(np.asarray(found, "float64") - want)
    return float(np.quantile(apart, share)) if np.isfinite(apart).all() else float("inf")


def _refuse(what, apart, limit):
    if not apart <= limit:
        raise DataError(
            f"the export is not what the run is: {what} differs by {apart:.2g}, more than "
            f"{limit:g}: nothing was written"
        )


def _maps_apart(run, explain, files):
    """Difference of the maps of one photograph or pair: of 99 % of their cells, of all of them.

    Where they lie counts as a cell does, as a share of the photograph's side.
    """
    one = {name: values[:1] for name, values in files.items()}
    label = len(run.labels) - 1
    found = explain(**{k: tf.constant(v) for k, v in one.items()}, label=tf.constant([label]))
    size, crop = run.config["image_size"], run.config["crop"]
    seen = [loaded(data[0], size, crop) for data in one.values()]
    pictures = np.stack([x.picture for x in seen])
    inside = np.stack([picture_field(x) for x in seen])
    grid = explainer.grid_of(run.model, "layer_cam", layer_names(run.model, "layer_cam"))
    there = reached(inside, grid).numpy()
    pairs = run.config["unit"] == "patient"
    if pairs:
        pictures, inside = pictures[None], inside[None]
    maps = explainer.maps(run.model, pictures, labels=[label], inside=inside)
    wanted = clean(maps[0, :, 0] if pairs else maps[0]) * there
    most = largest = 0.0
    for k, name in enumerate(("map_left", "map_right") if pairs else ("map",)):
        served = found[name][0].numpy()
        far = _apart(map_box(seen[k].box, grid).numpy(), found[f"{name}_box"][0].numpy())
        far /= max(seen[k].photograph.shape)
        most = max(most, far, _apart(wanted[k], served, share=0.99))
        largest = max(largest, far, _apart(wanted[k], served))
    return most, largest


def differences(record):
    """How far an export is from its run, and what that costs, as one line."""
    drawn, val = record["drawn"], record.get("val", {})
    parts = [f"{drawn['largest_difference']:.2g} on {drawn['photographs']} drawn cases"]
    if drawn.get("largest_difference_of_map", 0) > 1e-3:
        parts.append(f"{drawn['largest_difference_of_map']:.2g} of a map in [0, 1]")
    if "not_measured" in val:
        parts.append(f"loss of ROC AUC not measured: {val['not_measured']}")
    elif val:
        parts.append(f"{val['largest_difference']:.2g} on {val['rows']} rows of val")
        parts.append(f"{val['changed']:.2%} of what is positive there is another")
    if val.get("loss") is not None:
        parts.append(
            f"macro ROC AUC there {val['roc_auc']:.4f} for {val['roc_auc_float32']:.4f} "
            f"(loss {val['loss']:+.4f})"
        )
    return "; ".join(parts)
