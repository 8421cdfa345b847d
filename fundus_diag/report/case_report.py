"""`case`: a report about one person's photographs, a page and the JSON that it is made of."""

import dataclasses
import datetime
import math

import cv2
import numpy as np
from markdown_it import MarkdownIt

from fundus_diag.data.findings import find, read_vocabulary
from fundus_diag.data.labels import EYES, OTHER, label_text
from fundus_diag.explain.case import association_rows, maps_of, segments_of
from fundus_diag.explain.explainer import layers_of
from fundus_diag.explain.output import shrunk
from fundus_diag.explain.overlay import ALPHA, blend
from fundus_diag.explain.settings import Settings
from fundus_diag.metrics.meaning import share_interval
from fundus_diag.report.answers import card_of
from fundus_diag.report.environment import environment
from fundus_diag.report.pictures import data_url, jpeg_url, resized, size_within
from fundus_diag.report.segmented import COLOURS
from fundus_diag.report.sentences import STRONG, sentences
from fundus_diag.report.wording import percent, segment_name, short
from fundus_diag.runs.answers import answers, units_of, validation_of
from fundus_diag.runs.cases import cases_of_answers, load_case
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.files import make_folder, write_bytes, write_json
from fundus_diag.utils.version import __version__

SIDE = 640  # px, longest side of a photograph on the page
PAGE, FACTS = "case.html", "case.json"


def write_case_report(run, photographs, out, card, *, segmenter=None, words=None, settings=None):
    """Writes case.html and case.json of one person's photographs.

    Args:
        run: `run.Run`.
        photographs: table of `gather.Gathered`: one or two photographs, of different eyes.
        out: folder.
        card: the run's model card, Markdown.
        segmenter: `segmenter.Segmenter`, or None.
        words: `run.Run` of --task findings, or None.
        settings: `Settings` of the maps.

    Returns:
        (path of the page, facts, what case.json holds).

    Raises:
        DataError: a photograph cannot be read, or nothing can be written.
        UsageError: there are more than two photographs, or two of one eye.
    """
    settings = settings or Settings()
    eyes = photographs["eye"].tolist()
    # Of two photographs both eyes are known: else they may be of one.
    if len(eyes) != 1 and sorted(eyes) != sorted(EYES):
        raise UsageError(
            "case: one photograph, or one of each eye (eyes are read from names, such as "
            "7_left.jpg and 7_right.jpg, or by --patient-pattern)"
        )
    people = {x for x in photographs["patient"] if x}
    if len(people) > 1:
        raise UsageError(f"case: photographs of {len(people)} people: {', '.join(sorted(people))}")
    # Whoever it is, it is one: a run over both eyes reads them together.
    photographs = photographs.assign(patient=next(iter(people), "one"))
    found = list(answers(run, units_of(run, photographs)))
    facts = _about(run, segmenter, words, found)
    pictures, layers = {}, {}
    for case, answer in zip(cases_of_answers(found), found, strict=True):
        if not answer.pictures:
            continue
        loaded = load_case(run, case, bad=[])  # what cannot be read is said by its answer
        maps = maps_of(run, case, loaded, settings)
        for eye, seen in loaded.items():
            called = {
                label: bool(yes) and answer.gradable
                for label, yes in zip(run.labels, answer.called, strict=True)
            }
            one, drawn = _photograph(case, eye, seen, maps[eye], called, segmenter, words, settings)
            facts["photographs"][eye] = {"gradable": answer.gradable, **one}
            pictures[eye] = _shown(seen.photograph)
            layers[eye] = [*drawn, *_maps(seen, maps[eye], called)]
    outlined = any(one["segments"] for one in facts["photographs"].values())
    facts["not_looked_at"] = _left_out(run, segmenter if outlined else None, words, facts)
    facts["sentences"] = {x: sentences(facts, x) for x in ("en", "zh")}
    facts = _defined(facts)
    make_folder(out)
    write_json(out / FACTS, facts)
    maps_by = next(iter(layers_of(run.model, settings))).replace("_", " ")
    text = page_of(facts, pictures, layers, run.labels, maps_by, card)
    write_bytes(out / PAGE, text.encode())
    return out / PAGE, facts


def page_of(facts, pictures, layers, labels, maps_by, card):
    """The page's HTML.

    Args:
        facts: what case.json holds.
        pictures: {eye: URL of its photograph}.
        layers: {eye: [(id, title, colour or None, URL)]} that lie over it.
        labels: of the run.
        maps_by: the method of its maps.
        card: Markdown.
    """
    template = environment().get_template("case_report.html.j2")
    return template.render(
        facts=facts,
        pictures=pictures,
        layers=layers,
        titles={x: label_text(x) for x in labels},
        segment_name=segment_name,
        short=short,
        strong=STRONG,
        percent=percent,
        maps_by=maps_by,
        card=MarkdownIt("commonmark", {"html": False}).enable("table").render(card),
    )


def _about(run, segmenter, words, found):
    """The facts but those of photographs."""
    validation, answered = validation_of(run), []
    for k, answer in enumerate(found):
        card = card_of(run, answer, validation)
        rows = [
            {
                **row,
                "label": label,
                "title": row["label"],
                "id": f"answer-{k}-{i}",
                "interval": share_interval(row["had"], row["n"]) if row["n"] else None,
            }
            for i, (label, row) in enumerate(zip(run.labels, card["rows"], strict=False))
        ]
        # Names of files may be those of people: the page and its facts are of nobody.
        kept = {x: card[x] for x in card if x not in ("called", "names", "patient")}
        answered.append({**kept, "rows": rows, "poor": answer.poor, "distance": answer.distance})
    return {
        "version": __version__,
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "use": "research only, not for clinical use",
        "run": run.run_dir.resolve().name,
        "segment": segmenter.run_dir.resolve().name if segmenter else None,
        "findings": words.run_dir.resolve().name if words else None,
        "drawn": bool(run.config["data"].get("drawn")),
        "unit": run.config["unit"],
        "answers": answered,
        "photographs": {},
        "not_looked_at": [],
    }


def _left_out(run, segmenter, words, facts):
    """[[kind, names]] of what nobody looked at, see `sentences`."""
    eyes = {eye for answer in facts["answers"] for eye in answer["eyes"]}
    left = [["eye", [x]] for x in EYES if eyes and x not in eyes]
    if run.config["task"] == "grade":
        left.append(["grades", []])
    else:  # the label of any other disease names none
        left.append(["labels", [x for x in run.labels if x != OTHER]])
    left.append(["segments", list(segmenter.classes)] if segmenter else ["no_segments", []])
    left += [] if words else [["no_findings", []]]
    left += [["quality", []]] * all(x["poor"] is None for x in facts["answers"])
    return left


def _photograph(case, eye, seen, maps, called, segmenter, words, settings):
    """(facts of one photograph, [(id, title, colour, RGBA layer of the page)])."""
    facts = {"segments": [], "findings": [], "associations": [], "disc": None, "macula": None}
    drawn, masks, path = [], {}, case.paths[eye]
    if segmenter:
        measured, masks, _ = segments_of(segmenter, path, eye)
        facts |= {name: measured[name] for name in ("disc", "macula")}
        macula = measured["macula"] and measured["macula"]["how"]
        for k, (name, row) in enumerate(measured["classes"].items()):
            where = f"segment-{eye}-{k}"
            facts["segments"].append({"id": where, "class": name, "macula": macula, **row})
            if row["regions"]:
                colour = COLOURS[k % len(COLOURS)]
                drawn.append((where, segment_name(name), colour, _outline(masks[name], colour)))
    if words:
        facts["findings"] = _findings(words, path, eye, facts["segments"])
    if masks:
        rows = [
            {"phrase": None, "called": called[row["label"]], **row}
            for row in association_rows(maps, masks, seen, settings.level)
        ]
        if words:
            rows += _of_phrases(words, case, eye, masks, facts["findings"], settings)
        ids = {row["class"]: row["id"] for row in facts["segments"]}
        facts["associations"] = [
            {"id": f"association-{eye}-{k}", "outline": ids[row["region"]], **row}
            for k, row in enumerate(rows)
        ]
    return facts, drawn


def _of_phrases(words, case, eye, masks, findings, settings):
    """Associations of the phrases that are called; the other phrases' maps are the others."""
    called = {row["phrase"]: row["label"] for row in findings if row["called"]}
    if not called:
        return []
    case = dataclasses.replace(case, images={eye: case.images[eye]}, paths={eye: case.paths[eye]})
    loaded = load_case(words, case)
    own = dataclasses.replace(settings, methods=("words",), layers=())
    maps = maps_of(words, case, loaded, own)[eye]
    rows = association_rows(maps, masks, loaded[eye], settings.level)
    return [
        {**row, "phrase": row["label"], "label": called[row["label"]], "called": True}
        for row in rows
        if row["label"] in called
    ]


def _defined(value):
    """The same for JSON, which knows no NaN."""
    if isinstance(value, dict):
        return {k: _defined(x) for k, x in value.items()}
    if isinstance(value, list):
        return [_defined(x) for x in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _findings(words, path, eye, segments):
    vocabulary, scores = read_vocabulary(), words.predict([str(path)])[0]
    by_name, rows = {segment_name(x["class"]): x for x in segments}, []
    for k in np.argsort(-scores, kind="stable"):
        phrase, threshold = words.labels[k], words.thresholds[k]
        known = find(vocabulary, phrase)
        shown_by = [segment_name(x) for x in known.segment] if known else []
        rows.append(
            {
                "id": f"finding-{eye}-{k}",
                "phrase": phrase,
                "zh": known.zh[0] if known else None,
                "label": known.label if known else None,
                "where": list(known.where) if known else [],
                "outlined": [
                    {x: by_name[name][x] for x in ("id", "class", "regions")}
                    for name in shown_by
                    if name in by_name
                ],
                "score": float(scores[k]),
                "threshold": None if np.isnan(threshold) else float(threshold),
                "called": bool(scores[k] >= threshold),
            }
        )
    return rows


def _shown(photograph):
    return jpeg_url(resized(photograph, size_within(photograph.shape, SIDE)))


def _outline(mask, colour):
    """PNG of an outline, all else transparent, to lie over the photograph of the page."""
    small = resized(mask.astype(np.float32), size_within(mask.shape, SIDE)) > 0
    wide = cv2.dilate(small.astype(np.uint8), np.ones((3, 3), np.uint8))
    layer = np.zeros((*small.shape, 4), np.uint8)
    layer[(wide > 0) & ~small] = (*colour, 255)
    return data_url(cv2.imencode(".png", layer[..., [2, 1, 0, 3]])[1].tobytes(), "png")


def _maps(seen, maps, called):
    """[(id, title, None, URL)] of the maps of what is called."""
    photo, _, _ = shrunk(seen)
    chosen = [label for label, yes in called.items() if yes]
    layers = []
    for label in chosen:
        laid = blend(photo, np.clip(maps[label], 0, 1), ALPHA)
        layers.append((f"map-{label}", f"map of {label_text(label)}", None, jpeg_url(laid)))
    return layers
