"""Operating points of a run: calibration and thresholds per label, fitted on validation rows.

Calibration is Platt scaling, p = sigmoid(slope * logit + intercept) per label, by maximum
likelihood: a temperature alone cannot take back what class weights and sampling shift. Exclusive
grades get one temperature, softmax(logits / temperature), and a threshold on the probability of all
grades that are referred.

Where validation is too thin to say more, the slope is shrunk towards 1, the network's own, by a
normal prior: with fewer positives than `FEW_POSITIVES` the harder the fewer they are (`_lean`), and
with its variance at 1 where the slope's 95 % interval by the likelihood ratio reaches 0. A note
of the label says so.

Sources: Platt 1999, "Probabilistic outputs for support vector machines" (hard targets here, with
a weak prior on the slope in place of his smoothed ones); Guo et al. 2017 (temperature).
"""

import math

import numpy as np
from scipy import optimize, special

from fundus_diag.metrics.grades import cut_of, referable
from fundus_diag.metrics.thresholds import choose_threshold, parse_criterion

# A normal prior on the slope, mean 1 and variance 1 / SLOPE_PRIOR: it keeps the slope finite on
# perfectly separated rows and says next to nothing beside a dozen positives. None on the intercept,
# so the mean calibrated probability is the share of positives exactly.
SLOPE_PRIOR = 0.1
# Where rows do not show that a higher logit means more positives: slopes of networks lie about 1.
UNSURE_PRIOR = 1.0
REACHES_0 = 3.841  # of twice the log of the likelihood ratio: 95 % of chi squared
# With fewer positives than this the fit leans on what was known before: see `_lean`.
FEW_POSITIVES = 10
TEMPERATURES = (0.05, 20.0)
NEUTRAL = {"threshold": None, "slope": 1.0, "intercept": 0.0}


def fit_operating_points(
    y_true, logits, labels, criterion="f1", task="multi_label", split="val", cut=None
):
    """Fits calibration and threshold of every label.

    Args:
        y_true: (N, L) of 1, 0, NaN.
        logits: (N, L), finite.
        labels: L names.
        criterion: "f1" (largest F1), "sensitivity=S" (the fewest false alarms that leave a
            sensitivity of at least S) or "specificity=S" (the most found that leave a
            specificity of at least S); S in (0, 1).
        task: "multi_label", or "grade" for exclusive grades: a temperature, and one threshold, of
            those that are referred.
        split: the name of the split that the rows come from, for the record.
        cut: of grades, the first that is referred; see `grades.cut_of`.

    Returns:
        {"split", "criterion", "labels": {label: {"threshold", "slope", "intercept", "positives",
        "negatives"[, "note"]}}[, "temperature", "referable": see `referable_point`]}. A label
        without a positive or without a negative has threshold None, slope 1, intercept 0: nothing
        can be fitted to it. A label that rows say too little of leans on the network's own logits,
        and its note says so: see the module's text.

    Raises:
        UsageError: the criterion is none of these. ValueError: shapes or values are wrong.
    """
    y_true, logits = np.asarray(y_true, "float64"), np.asarray(logits, "float64")
    if y_true.ndim != 2 or y_true.shape != logits.shape or y_true.shape[1] != len(labels):
        raise ValueError(
            f"y_true and logits must be (N, {len(labels)}); got {y_true.shape}, {logits.shape}"
        )
    if not np.isfinite(logits).all():
        raise ValueError("the logits are not finite")
    parse_criterion(criterion)
    entries = {}
    for k, label in enumerate(labels):
        graded = ~np.isnan(y_true[:, k])
        truth, z = y_true[graded, k] == 1, logits[graded, k]
        entry = NEUTRAL | {"positives": int(truth.sum()), "negatives": int((~truth).sum())}
        if task != "grade" and too_few(entry["positives"], split):
            entry["note"] = too_few(entry["positives"], split)
        if task != "grade" and entry["positives"] and entry["negatives"]:
            slope, intercept, note = _platt(truth, z, split)
            entry |= {"slope": slope, "intercept": intercept}
            if note:
                entry["note"] = "; ".join(x for x in (entry.get("note"), note) if x)
            probability = special.expit(entry["slope"] * z + entry["intercept"])
            entry["threshold"] = threshold_of(truth, probability, criterion)
        entries[label] = entry
    if task != "grade":
        return {"split": split, "criterion": criterion, "labels": entries}
    points = {"split": split, "criterion": "argmax", "labels": entries}
    points["temperature"] = _temperature(y_true, logits)
    probability = apply_calibration(logits, points, labels)
    cut = cut_of(len(labels), cut)
    return points | {"referable": referable_point(y_true, probability, criterion, cut, split)}


def referable_point(y_true, probability, criterion, cut, split):
    """The operating point of "to be referred", of rows (N, K) of grades and their probabilities.

    Returns:
        {"cut", "criterion", "threshold" (None without a positive or a negative), "positives",
        "negatives"[, "note"]}.
    """
    truth, score = referable(y_true, probability, cut)
    graded = ~np.isnan(truth)
    ill = truth[graded] == 1
    point = {"cut": cut, "criterion": criterion}
    point["threshold"] = threshold_of(ill, score[graded], criterion)
    point |= {"positives": int(ill.sum()), "negatives": int((~ill).sum())}
    note = too_few(point["positives"], split)
    return point | ({"note": note} if note else {})


def notes(points):
    """What a reader of operating points must know of their labels: a list of lines."""
    entries = {f"label {x}": entry for x, entry in points["labels"].items()}
    if "referable" in points:
        entries[f"grade {points['referable']['cut']} and above"] = points["referable"]
    return [f"{x}: {entry['note']}" for x, entry in entries.items() if entry.get("note")]


def apply_calibration(logits, points, labels):
    """(N, L) logits to calibrated probabilities, by the operating points of a run."""
    logits = np.asarray(logits, "float64")
    if "temperature" in points:
        return special.softmax(logits / points["temperature"], axis=1)
    entries = [points["labels"][label] for label in labels]
    slope, intercept = (np.array([e[key] for e in entries]) for key in ("slope", "intercept"))
    return special.expit(slope * logits + intercept)


def thresholds_array(points, labels):
    """(L,) thresholds on the calibrated probability; NaN for a label that has none."""
    values = [points["labels"][label]["threshold"] for label in labels]
    return np.array([np.nan if v is None else v for v in values], "float64")


def threshold_of(truth, probability, criterion):
    """The threshold of one label by a criterion of `fit_operating_points`.

    Args:
        truth: (N,) bool.
        probability: (N,) calibrated.

    Returns:
        In [0, 1]; None without a positive or without a negative.
    """
    if truth.all() or not truth.any():
        return None
    kind, least = parse_criterion(criterion)
    # A share that is asked for is counted; the best F1 is a choice that few decide.
    lean = _lean(truth) if kind == "f1" else 0.0
    return choose_threshold((1 - lean) * truth + lean * probability, probability, kind, least)


def too_few(positives, split):
    """What to say of a label with so few positives, or None where there are enough."""
    if positives >= FEW_POSITIVES:
        return None
    if not positives:
        return f"no positive in {split}: no threshold, it is never called"
    plural = "" if positives == 1 else "s"
    return (
        f"{positives} positive{plural} in {split}, fewer than {FEW_POSITIVES}: threshold and "
        "calibration are little more than a guess, shrunk towards the network's own"
    )


def _lean(truth):
    """Share of the prior in a fit to so few positives: 0 from `FEW_POSITIVES` on.

    The best F1 of a single positive is reached at its own score, however many false alarms that
    takes. So each row counts as a positive by its label and, to this share, by its calibrated
    probability, as if the missing positives lay where the network expects them; and the slope is
    held at 1, the network's own, with this weight over the rest of it.
    """
    return max(0.0, 1 - truth.sum() / FEW_POSITIVES)


def _platt(truth, z, split):
    """(slope, intercept, note) by maximum likelihood; slope 1 where the best one is not above 0.

    A slope of 0 or less would turn the ranking round on the strength of a few rows.
    """
    lean = _lean(truth)
    prior, note = SLOPE_PRIOR + lean / (1 - lean), None
    slope, intercept = _fitted(truth, z, prior)
    if not _shown_above_0(truth, z, slope, intercept):
        note = f"the 95 % interval of the slope in {split} reaches 0: shrunk towards 1"
        if prior < UNSURE_PRIOR:
            slope, intercept = _fitted(truth, z, UNSURE_PRIOR)
    if slope > 0:
        return slope, intercept, note
    # Far enough out for every probability to be 0, or 1.
    ends = -z.max() - 50, 50 - z.min()
    intercept = optimize.brentq(lambda b: special.expit(z + b).sum() - truth.sum(), *ends)
    note = f"fitted slope {slope:.3g} is not above 0: slope 1, intercept only"
    return 1.0, float(intercept), note


def _fitted(truth, z, prior):
    """(slope, intercept) of the largest likelihood with a normal prior of the slope, mean 1.

    Args:
        prior: one over its variance.
    """
    share = truth.mean()

    def loss(theta):
        """Penalised negative log-likelihood and its gradient."""
        u, beyond = theta[0] * z + theta[1], theta[0] - 1
        rest = special.expit(u) - truth
        value = np.sum(np.logaddexp(0, u) - truth * u) + prior * beyond**2 / 2
        return value, np.array([rest @ z + prior * beyond, rest.sum()])

    def curvature(theta):
        p = special.expit(theta[0] * z + theta[1])
        w = p * (1 - p)
        return np.array([[w @ z**2 + prior, w @ z], [w @ z, w.sum()]])

    start = [1.0, math.log(share / (1 - share)) - np.median(z)]
    with np.errstate(over="ignore"):  # of steps that the method then takes back
        found = optimize.minimize(
            loss, start, jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-10}
        )
    return float(found.x[0]), float(found.x[1])


def _shown_above_0(truth, z, slope, intercept):
    """Whether the slope's 95 % interval, by the likelihood ratio, lies above 0.

    Not by a standard error: on rows that are all but separated that grows without end.
    """
    u, share = slope * z + intercept, truth.mean()
    with_it = np.sum(truth * u - np.logaddexp(0, u))
    without = truth.sum() * math.log(share) + (~truth).sum() * math.log(1 - share)
    return slope > 0 and 2 * (with_it - without) >= REACHES_0


def _temperature(y_true, logits):
    """The temperature of the largest likelihood of exclusive grades; 1 without a graded row."""
    graded = ~np.isnan(y_true).any(axis=1)
    if not graded.any():
        return 1.0
    grade, z = y_true[graded].argmax(axis=1), logits[graded]

    def loss(log_temperature):
        log_p = special.log_softmax(z / math.exp(log_temperature), axis=1)
        return -log_p[np.arange(len(z)), grade].mean()

    bounds = tuple(math.log(t) for t in TEMPERATURES)
    return math.exp(optimize.minimize_scalar(loss, bounds=bounds, method="bounded").x)
