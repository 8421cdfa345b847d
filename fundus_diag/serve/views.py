"""What the page shows of photographs that it was sent: answers, maps, the case report's parts."""

from dataclasses import dataclass

import cv2
import numpy as np
import tensorflow as tf

from fundus_diag.data.labels import EYES, label_text
from fundus_diag.explain.explain import explain_batch
from fundus_diag.explain.explainer import layers_of
from fundus_diag.explain.laying import over_photograph
from fundus_diag.explain.methods.registry import METHODS, possible
from fundus_diag.explain.output import shrunk
from fundus_diag.explain.overlay import blend, layer
from fundus_diag.explain.settings import Settings
from fundus_diag.imaging.decode import traced_decode
from fundus_diag.imaging.image_file import decodable, decoding, why_not
from fundus_diag.imaging.preprocess import loaded
from fundus_diag.report.answers import card_of
from fundus_diag.report.pictures import jpeg_url, resized, size_within
from fundus_diag.runs.answers import Answer
from fundus_diag.runs.cases import Case
from fundus_diag.utils.errors import DataError

SEVERAL = "The file holds several pictures, of which the first was taken."
SHOWN = ("label", "probability", "threshold", "called", "n", "had")  # of a row of an answer
PREVIEW = 1024  # px, longest side of a photograph as the page shows it
FILTERS = {
    "median": {"median": 3},
    "none": {"median": 0},
    "adaptive": {"median": 3, "adaptive": True},
}
FILTER_NAMES = {"median": "median", "none": "none", "adaptive": "median, adaptive threshold"}


@dataclass(frozen=True)
class Sent:
    """A photograph that was sent.

    Attributes:
        eye: "left", "right" or "".
        data: what the graph takes of it; as it was sent where it cannot be read.
        why: why it cannot be read, or "".
        more: whether the file holds further pictures.
    """

    eye: str
    data: bytes
    why: str = ""
    more: bool = False


def sent(eye, content):
    """`Sent` of the content of a file of any kind that `predict` reads."""
    try:
        data, more = decodable(content)
    except DataError as error:
        return Sent(eye, content, str(error))
    return Sent(eye, data, more=more)


def rows_of(served, photographs):
    """What the signature `serving_default` is asked: {input: (B,) strings}.

    One row of all photographs where the run reads both eyes, else a row a photograph.
    """
    if served.pair:
        given = {x.eye: x.data for x in photographs}
        return {f"{eye}_bytes": _strings([given.get(eye, b"")]) for eye in EYES}
    return {"image_bytes": _strings([x.data for x in photographs])}


def _strings(values):
    found = np.empty(len(values), object)
    found[:] = values
    return found


def answers(served, photographs, found):
    """Answers as the page takes them: a list of dicts, one a row of `rows_of`.

    Args:
        served: `Served`.
        photographs: list of `Sent`.
        found: what `serving_default` says of `rows_of`.
    """
    groups = [photographs] if served.pair else [[x] for x in photographs]
    return [_answer(served, group, found, k) for k, group in enumerate(groups)]


def _answer(served, group, found, k):
    error = found["error"][k].decode()
    # What no graph takes is said as `predict` says it, which knows more kinds of files.
    own = [f"{x.eye} eye: {x.why}" if served.pair else x.why for x in group if x.why]
    scored = found["probability"][k] if (found["probability"][k] >= 0).all() else None
    distance = found["distance"][k] if "distance" in found else -1.0
    poor = found["quality_reason"][k].decode() if "quality_reason" in found else None
    answer = Answer(
        {x.eye: x.eye for x in group},
        {},
        "",
        scored,
        None if scored is None else found["positive"][k],
        "; ".join(own) or error,
        poor=poor,
        distance=None if distance < 0 else float(distance),
    )
    card = card_of(served, answer, served.validation)
    card["rows"] = [
        {"name": label, **{key: row[key] for key in SHOWN}}
        for row, label in zip(card["rows"], served.labels, strict=False)
    ]
    card["pictures"] = [{"eye": x.eye, "url": preview(x)} for x in group]
    card["notes"] = [SEVERAL for x in group if x.more]
    return card


def preview(photograph):
    """A JPEG of a photograph as a data URL, without anything of its file but pixels; None: there is
    none."""
    if photograph.why:
        return None
    try:
        seen = _decoded(photograph)
        return jpeg_url(resized(seen, size_within(seen.shape, PREVIEW)))
    except tf.errors.OpError:
        return None


def _decoded(photograph):
    with decoding(photograph.data):
        return np.asarray(memoryview(traced_decode(photograph.data)))


def choices(served):
    """What maps there are: a list of {"method", "layers": names, "same": whether for all labels}.

    Of an export there is the one that its signature `explain` makes, if it has it.
    """
    if served.run is None:
        fixed = {"method": "layer_cam", "layers": [], "same": False}
        return [fixed] if "explain" in served.functions else []
    found = []
    for name in possible(served.run.model):
        layers = layers_of(served.run.model, Settings(methods=(name,)))[name]
        same = METHODS[name].same_for_all_labels
        found.append(
            {"method": name, "layers": list(layers) if len(layers) > 1 else [], "same": same}
        )
    return found


def maps(served, photographs, label, method="layer_cam", layer_name="", filter="median"):
    """The maps of one label over photographs that are answered together.

    Args:
        served: `Served`.
        photographs: list of `Sent`, of one row of `rows_of`.
        label: name of the label.
        method, layer_name, filter: of `choices` and `FILTERS`; no layer is all of them.

    Returns:
        {eye: PNG bytes to lay over the photograph}, and whether nothing speaks for the label.

    Raises:
        DataError: a photograph cannot be read.
        UsageError: there is no such method or layer.
    """
    if served.run is None:
        return _exported_maps(served, photographs, label)
    found = explained(served, photographs, label, method, layer_name, filter)
    pngs, nothing = {}, True
    for eye, (_, laid) in laid_out(found, method, label).items():
        nothing &= not laid.any()
        pngs[eye] = cv2.imencode(".png", cv2.cvtColor(layer(laid), cv2.COLOR_RGBA2BGRA))[
            1
        ].tobytes()
    return pngs, nothing


def explained(served, photographs, label, method, layer_name, filter):
    """What `explain_batch` finds of one label."""
    settings = Settings(
        methods=(method,), layers=(layer_name,) if layer_name else (), **FILTERS[filter]
    )
    layers = layers_of(served.run.model, settings)
    case = Case("case", "", {x.eye: "" for x in photographs}, {})
    seen = {x.eye: whole(served, x) for x in photographs}
    batch = [(case, seen)]
    return next(explain_batch(served.run, batch, layers, settings, [[served.labels.index(label)]]))


def whole(served, photograph):
    """`preprocess.Loaded` of a photograph that was sent.

    Raises:
        DataError: it cannot be read.
    """
    if photograph.why:
        raise DataError(photograph.why)
    try:
        with decoding(photograph.data):
            return loaded(photograph.data, served.config["image_size"], served.config["crop"])
    except tf.errors.OpError as error:
        raise DataError(why_not(photograph.data)) from error


def laid_out(found, method, label):
    """{eye: (photograph, map at its pixels)} of what was explained, both small."""
    k, grid = found["labels"].index(label), found["grids"][method]
    laid = {}
    for eye, seen in found["loaded"].items():
        photograph, box, inside = shrunk(seen)
        laid[eye] = photograph, over_photograph(found["fused"][method][eye][k], grid, box, inside)
    return laid


def _exported_maps(served, photographs, label):
    if "explain" not in served.functions:
        raise DataError("the export was made with --no-explain: it has no maps")
    wanted = np.array([served.labels.index(label)], np.int32)
    found = served.functions["explain"]({**rows_of(served, photographs), "label": wanted})
    error = found["error"][0].decode()
    if not found["map_label"][0]:
        raise DataError(error)
    names = {x.eye: f"map_{x.eye}" if served.pair else "map" for x in photographs}
    pngs = {eye: found[f"{name}_overlay_bytes"][0] for eye, name in names.items()}
    return pngs, not any(found[name].any() for name in names.values())


def case_parts(served, photographs, answer, method, layer_name, filter, most=3):
    """Of one answer, for the case report: its maps, as pictures.

    Args:
        served: `Served`.
        photographs: list of `Sent`, of one row of `rows_of`.
        answer: of `answers`.
        method, layer_name, filter: see `maps`.
        most: labels that maps are made of: those called, else the likeliest.

    Returns:
        List of {"label": text, "eye", "url"}.
    """
    if not answer["rows"]:
        return []
    ranked = sorted(answer["rows"], key=lambda row: -row["probability"])
    chosen = [row for row in ranked if row["called"]] or ranked[:1]
    parts = []
    for row in chosen[:most]:
        if served.run is None:
            pngs, _ = _exported_maps(served, photographs, row["name"])
            shown = {x.eye: _over(x, pngs[x.eye]) for x in photographs}
        else:
            found = explained(served, photographs, row["name"], method, layer_name, filter)
            shown = {
                eye: blend(*pair) for eye, pair in laid_out(found, method, row["name"]).items()
            }
        for eye, picture in shown.items():
            text = label_text(row["name"])
            parts.append({"label": text, "eye": eye, "url": jpeg_url(picture)})
    return parts


def _over(photograph, png):
    """A photograph with an overlay of the graph on it."""
    over = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    under = cv2.resize(
        _decoded(photograph), over.shape[1::-1], interpolation=cv2.INTER_AREA
    ).astype(np.float32)
    cover = over[..., 3:].astype(np.float32) / 255
    return np.rint(under + cover * (over[..., 2::-1] - under)).astype(np.uint8)
