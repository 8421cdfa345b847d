"""What thresholds reach: sensitivity, specificity, predictive values, each with its interval."""

import numpy as np

from fundus_diag.metrics import bootstrap, classification

FIGURES = ("recall", "specificity", "precision", "npv")


def reached(truth, probability, threshold, patients, resamples=1000, seed=0, prevalence=None):
    """Figures of one label called at a threshold.

    Args:
        truth: (N,) 1, 0, NaN where nobody graded.
        probability: (N,) calibrated.
        threshold: positive is called at or above it; NaN calls nothing and has no figures.
        patients: (N,) whom each row is of; they are drawn together.
        resamples, seed: of the bootstrap.
        prevalence: share of the ill, in (0, 1), that the predictive values are wanted at; None for
            that of the rows.

    Returns:
        {name of `FIGURES`: (value, [low, high] or None)}; NaN where undefined.
    """
    known = ~np.isnan(truth)
    called = (probability[known] >= threshold).astype(float)[:, None]
    y, p, who = truth[known][:, None], probability[known][:, None], np.asarray(patients)[known]
    if np.isnan(threshold) or not len(y):
        return dict.fromkeys(FIGURES, (float("nan"), None))
    counted = classification.statistic(y, p, called, figures=("recall",))
    # Without disease everything turns round: who is called healthy, and is.
    turned = classification.statistic(1 - y, 1 - p, 1 - called, figures=("recall",))

    def figures(weights):
        one, other = counted(weights), turned(weights)
        found = {x: one[f"labels.{x}"][:, 0] for x in ("recall", "specificity", "precision")}
        found["npv"] = other["labels.precision"][:, 0]
        if prevalence is not None:
            found["precision"], found["npv"] = at_prevalence(
                found["recall"], found["specificity"], prevalence
            )
        return found

    values = figures(np.ones((len(y), 1)))
    drawn = bootstrap.distribution(figures, who, resamples, seed)
    return {
        x: (float(values[x][0]), bootstrap.interval(drawn[x])[0] if drawn else None)
        for x in FIGURES
    }


def at_prevalence(sensitivity, specificity, prevalence):
    """(positive, negative) predictive value where a share `prevalence` is ill: Bayes' rule."""
    ill, well = prevalence, 1 - prevalence
    with np.errstate(invalid="ignore", divide="ignore"):
        positive = sensitivity * ill / (sensitivity * ill + (1 - specificity) * well)
        negative = specificity * well / (specificity * well + (1 - sensitivity) * ill)
    return positive, negative
