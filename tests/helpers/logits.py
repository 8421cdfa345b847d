"""Logits whose calibration is known."""

import numpy as np
from scipy import special

from fundus_diag.metrics.calibration import fit_operating_points


def logits_of(n=800, slope=0.6, intercept=-1.0, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, n)
    return rng.random(n) < special.expit(slope * z + intercept), z


def fit(truth, z, **options):
    y = np.asarray(truth, float)[:, None]
    points = fit_operating_points(y, np.asarray(z)[:, None], ["D"], **options)
    return points, points["labels"]["D"]
