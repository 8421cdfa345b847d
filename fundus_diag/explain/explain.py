"""`explain`: a run's predictions on photographs, answered with maps: pictures, arrays, a table."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fundus_diag.data.labels import EYES
from fundus_diag.explain.explainer import explainer, model_inputs
from fundus_diag.explain.filters import MEDIAN, OFFSET, clean, filter_maps
from fundus_diag.explain.methods.registry import layer_names, method_name, possible
from fundus_diag.explain.output import FIELDS, table_rows, write_case
from fundus_diag.runs.cases import load_cases
from fundus_diag.runs.run import load_run
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import atomic
from fundus_diag.utils.progress import track

LEVEL = 0.5  # of a fused map: what is outlined as lying inside


@dataclass(frozen=True)
class Settings:
    """How maps are made: see `explain.maps` and `explain.filters`.

    `methods` None is all that the network has maps by but `vit_cx`, which runs it hundreds
    of times for a map.
    """

    methods: tuple | None = ("layer_cam",)
    layers: tuple | None = None
    median: int = MEDIAN
    adaptive: bool = False
    adaptive_block: int | None = None
    adaptive_offset: float = OFFSET
    aug_smooth: bool = False
    eigen_smooth: bool = False
    head_fusion: str = "mean"
    discard_ratio: float = 0.0
    level: float = LEVEL
    batch_size: int = 8

    def check(self, model):
        """{method: its layers}.

        Raises:
            UsageError: a method or layer is unknown, or a value out of its range.
        """
        if not 0 < self.level <= 1:
            raise UsageError(f"--level {self.level}: must lie above 0, up to 1")
        if self.batch_size < 1:
            raise UsageError(f"--batch-size {self.batch_size}: at least 1")
        filter_maps(np.zeros((1, 1)), self.median, *self._threshold)  # refuses wrong sizes
        if self.methods is None:
            names = [x for x in possible(model) if x != "vit_cx"]
        else:
            names = [method_name(x) for x in self.methods]
        if not names:
            raise UsageError("--methods: none is given")
        layers = {name: layer_names(model, name, self.layers) for name in names}
        for name in names:  # refuses what has no meaning before anything is written
            explainer(model, name, layers[name], **self.options)
        return layers

    @property
    def options(self):
        """What `explainer` takes besides a method and its layers."""
        names = ("aug_smooth", "eigen_smooth", "head_fusion", "discard_ratio")
        return {name: getattr(self, name) for name in names}

    @property
    def _threshold(self):
        return self.adaptive, self.adaptive_block, self.adaptive_offset

    @property
    def filter_name(self):
        """What is done to fused maps: "none", "median 3", "median 3 + adaptive"."""
        parts = [f"median {self.median}"] * bool(self.median) + ["adaptive"] * self.adaptive
        return " + ".join(parts) or "none"

    def clean(self, maps):
        """Fused maps (..., h, w), filtered."""
        return clean(maps, self.median, *self._threshold)


def explain(run_dir, out, cases, settings=None, labels=None):
    """Writes the explanations of photographs.

    Per case: NAME.png (a row per label), NAME.npz (raw maps), with several methods
    NAME_methods.png as well; for all together explanations.csv. Everything is written as soon as
    it is there, so memory does not grow with the number of photographs.

    Args:
        run_dir: a finished run.
        out: folder to write to.
        cases: function of the run to a list of `Case`, such as `cases_of_files`.
        settings: `Settings`.
        labels: names of labels; None is those above their thresholds, or else the likeliest one,
            which is then marked.

    Returns:
        {"cases", "maps", "zero"}: numbers of what was explained, and of maps that are zero.

    Raises:
        DataError: the run or a photograph cannot be read.
        UsageError: a flag is wrong.
    """
    run, settings = load_run(run_dir), settings or Settings()
    layers = settings.check(run.model)
    wanted = None if labels is None else label_numbers(run, labels)
    cases = cases(run)
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be made a folder: {error.strerror}") from error
    counts = {"cases": 0, "maps": 0, "zero": 0}

    def every_case():
        for start in range(0, len(cases), settings.batch_size):
            part = cases[start : start + settings.batch_size]
            yield from explain_batch(run, part, layers, settings, wanted)

    with atomic(out / "explanations.csv") as partial, partial.open("w", newline="") as file:
        table = csv.DictWriter(file, FIELDS, lineterminator="\n")
        table.writeheader()
        for found in track(every_case(), "explaining", len(cases)):
            rows = table_rows(found)
            table.writerows(rows)
            write_case(out, found, settings.level)
            counts["cases"] += 1
            counts["maps"] += len(rows)
            counts["zero"] += sum(row["zero"] for row in rows)
    return counts


def label_numbers(run, labels):
    """Positions of labels in the run's order.

    Raises:
        UsageError: the run has no such label.
    """
    unknown = [x for x in labels if x not in run.labels]
    if unknown or not labels:
        raise UsageError(
            f"--labels {', '.join(unknown) or '(none)'}: the run has {', '.join(run.labels)}"
        )
    return [run.labels.index(x) for x in labels]


def explain_batch(run, cases, layers, settings, wanted=None):
    """Maps of a batch of cases, one dict a case.

    Args:
        layers: {method: its layers}, from `Settings.check`.
        wanted: numbers of labels; None is those above threshold, or the likeliest.

    Yields:
        {"case", "loaded": {eye: (picture, box, photograph)}, "labels": names, "probability",
        "threshold": (K,), "called": (K,) bool, "top": whether the only label is below its
        threshold, "layers": as given, "fused": {method: {eye: (K, h, w)}}, filtered,
        "single": {method: {eye: (K, layers, h, w)}}}.
    """
    loaded, images, mask = load_cases(run, cases)
    probability = run.predict(images, mask, batch_size=settings.batch_size)
    called = run.call(probability)
    chosen = [wanted or _chosen(p, c) for p, c in zip(probability, called, strict=True)]
    made = {m: _maps(run.model, images, mask, m, layers[m], chosen, settings, bool(wanted))
            for m in layers}  # fmt: skip
    for k, case in enumerate(cases):
        eyes = EYES if mask is not None else tuple(case.paths)
        fused, single = {}, {}
        for method in layers:
            per_eye = made[method][k] if mask is not None else [made[method][k]]
            pick = dict(zip(eyes, per_eye, strict=True))
            fused[method] = {e: settings.clean(pick[e][0]) for e in case.paths}
            single[method] = {e: pick[e][1] for e in case.paths}
        yield {
            "case": case,
            "loaded": loaded[k],
            "labels": [run.labels[n] for n in chosen[k]],
            "probability": probability[k, chosen[k]],
            "threshold": run.thresholds[chosen[k]],
            "called": called[k, chosen[k]],
            "top": not wanted and not called[k].any(),
            "layers": layers,
            "fused": fused,
            "single": single,
        }


def _chosen(probability, called):
    return np.flatnonzero(called).tolist() or [int(np.argmax(probability))]


def _maps(model, images, mask, method, layers, chosen, settings, same):
    """Per case: (fused, single) of its labels, or one such pair an eye; see `explainer`."""
    make = explainer(model, method, layers, **settings.options)

    def run(rows, labels):
        inputs = model_inputs(model, images[rows], None if mask is None else mask[rows])
        return [np.asarray(x) for x in make(inputs, np.asarray(labels, np.int32))]

    if same:  # one graph for all labels; else one label at a time, whatever their number
        fused, single = run(np.arange(len(images)), chosen)
    else:
        rows = np.repeat(np.arange(len(images)), [len(x) for x in chosen])
        flat = np.concatenate(chosen)[:, None]
        step = settings.batch_size
        parts = [run(rows[i : i + step], flat[i : i + step]) for i in range(0, len(rows), step)]
        fused, single = (np.concatenate([part[k] for part in parts]) for k in range(2))
        ends = np.cumsum([len(x) for x in chosen])[:-1]
        fused, single = (
            [x[:, 0] if mask is None else x[:, :, 0].swapaxes(0, 1) for x in np.split(maps, ends)]
            for maps in (fused, single)
        )
    if mask is None:
        return list(zip(fused, single, strict=True))
    return [list(zip(f, s, strict=True)) for f, s in zip(fused, single, strict=True)]
