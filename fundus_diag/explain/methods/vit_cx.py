"""ViT-CX: what the logit keeps of its value when only parts of a photograph are shown.

Source: Xie et al. 2023, "ViT-CX: Causal Explanation of Vision Transformers", section 4,
https://arxiv.org/abs/2211.03064. The values of the constants are those of the authors' code.

The parts are the network's own: each channel of the patch tokens is a map of the picture, maps that
are alike are added up, and what remains are the masks. It differs from the paper in two things.
Masks are compared, and the map is made, on the grid of tokens instead of on pixels. And it explains
logits, not softmax probabilities: since a logit has no zero of its own, the map is counted from its
lowest cell.
"""

import keras
import numpy as np
import tensorflow as tf
from scipy.cluster import hierarchy
from scipy.spatial import distance

from fundus_diag.explain.laying import on_grid
from fundus_diag.explain.methods.layers import last_map, usable
from fundus_diag.models import geometry
from fundus_diag.models.layers.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from fundus_diag.utils.kept import kept

APART = 0.1  # cosine distance below which masks are one
NOISE = 0.1  # standard deviation, in those of the normalised pixels
SEED = 2211_03064
AT_ONCE = 16  # pictures (or pairs) in the network at a time, however many masks there are


def obstacle(model):
    """Why a classifier has no such maps; empty where it has."""
    if any(x.name.endswith(".attend") for x in model.layers):
        return ""
    return f"{model.name} is no transformer"


def last_tokens(model):
    """The layer whose output enters the last block, as in the authors' code."""
    norms = [name for name in usable(model) if name.endswith(".norm1")]
    return norms[-1:] or last_map(model)


def make(method, model, layers, settings):
    """Raw maps of one layer's tokens; see `registry.Method`.

    In a pair one eye is masked at a time, the other stays as it is.
    """
    (layer,) = layers

    def raw(inputs, chosen):
        network = _network(model, layer)
        (grid,) = geometry.grids(model, layers)
        found = []
        for row, labels in enumerate(np.asarray(chosen)):
            if not isinstance(inputs, dict):
                found.append(explain(network, inputs[row].numpy(), labels, grid))
                continue
            pair, mask = (inputs[name][row].numpy() for name in ("images", "mask"))
            for eye in range(2):
                if mask[eye]:
                    predict = _in_pair(network, pair, mask, eye)
                    found.append(explain(predict, pair[eye], labels, grid))
                else:
                    found.append(np.zeros((*grid.shape, len(labels)), np.float32))
        return [np.stack(found)]

    return raw


def _in_pair(network, pair, mask, eye):
    """The network as a function of pictures of one eye, beside the other of a pair."""

    def predict(pictures):
        pairs = np.repeat(pair[None], len(pictures), axis=0)
        pairs[:, eye] = pictures
        logits, tokens = network({"images": pairs, "mask": np.repeat(mask[None], len(pairs), 0)})
        return logits, tokens[eye::2]

    return predict


def explain(predict, picture, labels, grid):
    """Map of one picture for each of the labels: (h, w, K) float32, not below 0, in logits.

    The impact of a mask M, with noise Z where it hides the picture X, is

        f(X M + Z (1 - M)) - f(X + Z (1 - M))

    whose second term takes away what the noise alone does. (The paper adds f(X), the same for every
    mask, which moves the whole map.) A cell's value is the mean impact of the masks, weighted by
    how far each shows it, so that a cell which many masks show gains nothing by that. It is given
    as what it exceeds the lowest cell's by.

    Args:
        predict: pictures (n, S, S, 3) to logits (n, L) and tokens, see `masks_of`. Hidden is
            ImageNet's mean colour, the 0 of a normalised picture.
        picture: (S, S, 3), RGB in [0, 255].
        labels: (K,) numbers of logits.
        grid: where the tokens stand in the picture, `geometry.Grid`.
    """
    masks = masks_of(np.asarray(predict(picture[None])[1][0]))
    rng = np.random.default_rng(SEED)
    total = np.zeros((*masks.shape[1:], len(labels)))
    step = AT_ONCE // 2
    for start in range(0, len(masks), step):
        part = masks[start : start + step]
        shown = on_grid(part[..., None], grid, geometry.pixels(grid.size)).numpy()
        noise = rng.normal(size=(len(part), *picture.shape)).astype(np.float32)
        noise *= (1 - shown) * NOISE * np.float32(IMAGENET_STD)
        hidden = shown * picture + (1 - shown) * np.float32(IMAGENET_MEAN) + noise
        logits = np.asarray(predict(np.concatenate([hidden, picture + noise]))[0])[:, labels]
        impact = logits[: len(part)] - logits[len(part) :]  # (n, K)
        total += np.einsum("nhw,nk->hwk", part, impact)
    coverage = masks.sum(axis=0)
    seen = coverage > 0  # a cell that no mask shows has no value: it stays 0
    mean = total[seen] / coverage[seen, None]
    total[seen] = mean - mean.min(axis=0, initial=np.inf)
    return total.astype(np.float32)


def masks_of(tokens):
    """Masks (n, h, h) in [0, 1] from tokens (t, C), a class token first or not, or a map (h, h, C).

    Every channel is scaled to [0, 1]. Channels are joined, nearest first, as long as the largest
    cosine distance within a cluster stays at `APART`; a cluster's sum, scaled again, is its mask.
    A channel of one value is none.
    """
    tokens = tokens.reshape(-1, tokens.shape[-1])
    side = int(len(tokens) ** 0.5)
    channels = _scaled(tokens[len(tokens) - side * side :].T.astype(np.float64))
    if len(channels) > 1:
        distances = distance.pdist(channels, "cosine").clip(0)  # rounding goes below 0
        tree = hierarchy.linkage(distances, "complete")
        clusters = hierarchy.fcluster(tree, APART, "distance")
        channels = np.stack([channels[clusters == k].sum(axis=0) for k in np.unique(clusters)])
        channels = _scaled(channels)
    return channels.reshape(-1, side, side).astype(np.float32)


def _scaled(rows):
    """Rows from 0 to 1, without those of one value."""
    low, high = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
    varied = high > low
    return ((rows - low) / np.where(varied, high - low, 1))[varied[:, 0]]


def _network(model, layer):
    """A compiled function of inputs to logits and the layer's output, for any number of rows."""

    def compiled():
        both = keras.Model(model.input, [model.output, model.get_layer(layer).output])
        inputs = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, tf.float32), model.input)
        return tf.function(
            lambda x: both(x, training=False), input_signature=[inputs], autograph=False
        )

    return kept(model, ("vit_cx", layer), compiled)
