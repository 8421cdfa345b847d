"""Sanity check of maps: they have to change when the network's weights are randomised.

Adebayo et al. 2018, "Sanity Checks for Saliency Maps", section 3.1, cascading randomisation from
the top down, https://arxiv.org/abs/1810.03292
"""

import keras
import numpy as np
from scipy import stats

from fundus_diag.models.batch_norm import calibrate_batch_norm
from fundus_diag.models.classifier import block_of
from fundus_diag.utils.progress import track

SALT = 1810_03292


def cascade(model, inputs, draws, seed=0):
    """Rank correlation of maps with those of a network randomised further and further down.

    The weights of one block after the other, the head first, are drawn anew as before a training,
    and its BatchNorm statistics are taken from `inputs`: at the stored ones the signal would die,
    and the maps with it.

    Args:
        model: flat classifier; its weights are as before when this returns.
        inputs: of the model, a batch of at least a few pictures.
        draws: {key: function of nothing to n maps, or parts of maps} that explain the model as it
            stands.
        seed: of the new weights.

    Returns:
        List of (block randomised last, {key: (n,) Spearman correlations}); a correlation is NaN
        where one of the two maps is constant.
    """
    # Never a training's own seed: its first weights are still seen in those that it ended with.
    keras.utils.set_random_seed(int(np.random.SeedSequence([seed, SALT]).generate_state(1)[0]))
    fresh = keras.models.clone_model(model)
    before = {x.name: x.get_weights() for x in model.layers if x.weights}
    real = {key: draw() for key, draw in draws.items()}
    stages, blocks, done = [], _blocks(model), set()
    try:
        for block, names in track(blocks, "randomising blocks", len(blocks)):
            for name in names:
                model.get_layer(name).set_weights(fresh.get_layer(name).get_weights())
            done |= set(names)
            calibrate_batch_norm(model, [inputs])
            for name in before.keys() - done:
                model.get_layer(name).set_weights(before[name])
            correlations = {
                key: np.array(
                    [rank_correlation(a, b) for a, b in zip(real[key], draw(), strict=True)]
                )
                for key, draw in draws.items()
            }
            stages.append((block, correlations))
    finally:
        for name, weights in before.items():
            model.get_layer(name).set_weights(weights)
    return stages


def _blocks(model):
    """[(name of a block, its layers)] from the head down."""
    blocks = {}
    for layer in reversed(model.layers):
        if layer.weights:
            blocks.setdefault(block_of(layer.name), []).append(layer.name)
    return list(blocks.items())


def rank_correlation(a, b):
    """Spearman's correlation of two maps over their pixels, ties at their mean rank; in [-1, 1].

    For the sanity check: the maps of a model and of the same model with weights randomised. NaN
    when one of them is constant, or empty.

    Raises:
        ValueError: shapes differ, or a value is not finite.
    """
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(f"maps must be finite and of one shape; got {a.shape} and {b.shape}")
    if not a.size or np.ptp(a) == 0 or np.ptp(b) == 0:  # SciPy would warn
        return float("nan")
    return float(stats.spearmanr(a.ravel(), b.ravel()).statistic)
