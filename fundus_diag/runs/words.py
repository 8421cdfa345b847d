"""A run of findings, asked for other phrases than those that it was trained on."""

import sys
from dataclasses import replace

from fundus_diag.data.findings import find, plain, read_vocabulary
from fundus_diag.data.labels import is_label, wrong_label
from fundus_diag.runs.run import build_model, network
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.mixed_precision import precision

# Of a phrase that no photograph of val was judged by: its score is what the network says.
UNKNOWN = {"threshold": None, "slope": 1.0, "intercept": 0.0, "positives": 0, "negatives": 0}


def asked(run, phrases):
    """The same run with phrases in place of its labels: any that can be written.

    One that names a finding of the run, by any of its names, is that finding, with the calibration
    and threshold that were fitted on val; a new one has neither, which is said on stderr.

    Args:
        run: `run.Run` of --task findings.
        phrases: texts.

    Returns:
        `run.Run`, its labels the phrases.

    Raises:
        UsageError: the run scores labels, not words; or a phrase is empty, stands twice, or has
            letters that no label may have.
    """
    check_words(run, "--phrases")
    if not phrases:
        raise UsageError("--phrases: none is given")
    wrong = [x for x in phrases if not is_label(x)]
    if wrong:
        raise UsageError(f"--phrases: {wrong_label(wrong[0])}")
    if len({plain(x) for x in phrases}) < len(phrases):
        raise UsageError("--phrases: one stands twice")
    own = {text: label for label, texts in run.config["phrases"].items() for text in texts}
    vocabulary = read_vocabulary()
    points, texts, unlearned, unknown = {}, {}, [], []
    for phrase in phrases:
        known = find(vocabulary, phrase)
        label = own.get(plain(phrase)) or own.get(plain(known.phrase) if known else "")
        points[phrase] = run.points["labels"].get(label, UNKNOWN)
        # What was fitted on val was fitted for the finding's first name: that is asked then.
        texts[phrase] = run.config["phrases"][label] if label else [plain(phrase)]
        if not label:
            (unlearned if known else unknown).append(phrase)
    if unlearned:
        names = ", ".join(unlearned)
        print(f"warning: --phrases: not learned, scored uncalibrated: {names}", file=sys.stderr)
    if unknown:
        names = ", ".join(unknown)
        print(f"warning: --phrases: no finding of the vocabulary: {names}", file=sys.stderr)
    config = run.config | {"labels": list(phrases), "phrases": texts}
    with precision("float32"):
        model = build_model(**network(config))
    model.set_weights(run.model.get_weights())  # words are no weights: the network is the same
    return replace(run, config=config, model=model, points=run.points | {"labels": points})


def check_words(run, flag):
    """Raises UsageError where a run scores labels, not words; `flag` asks for words."""
    if run.config["task"] != "findings":
        raise UsageError(f"{flag}: of a run of --task findings; this one scores labels")
