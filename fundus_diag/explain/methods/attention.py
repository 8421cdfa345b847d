"""Maps from the attention of a transformer: rollout, and relevance that knows the label.

Sources:
    Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3,
    https://arxiv.org/abs/2005.00928
    Chefer et al. 2021, "Generic Attention-model Explainability for Interpreting Bi-Modal and
    Encoder-Decoder Transformers", equations 5 and 6, https://arxiv.org/abs/2103.15679

Both multiply the blocks' matrices of who attends to whom into one, from each token that leaves the
last block to the tokens that entered the first. Which of its rows are read is the classifier's
doing: where it pools the mean of the patches, the mean of their rows; where it pools the class
token, that token's row; of a segmenter (`segmenter.of_classes`) the rows of the tokens that the
class's own pixels lie in, so that there rollout has a map for each class, too. Columns of the class
token are no place of the picture and are left out.

Only blocks over one grid can be multiplied: all of a ViT, the last stage of CvT. CvT's keys stand
at every second cell; `key_shares` says how their columns are spread back over the grid.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from fundus_diag.explain.laying import on_grid
from fundus_diag.models import geometry
from fundus_diag.models.layers.attention import AttentionWeights, FusedAttention, WeightedValues
from fundus_diag.models.layers.decoding import ClassOfPixels
from fundus_diag.models.layers.tokens import FirstToken
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.kept import kept

FUSIONS = {"mean": tf.reduce_mean, "max": tf.reduce_max, "min": tf.reduce_min}


def rollout(attention, reading, head_fusion="mean", discard_ratio=0.0, shares=None):
    """Attention rollout: the product over blocks of .5 A + .5 I, its rows made to sum to 1.

    It asks where the network looks, not for which label: the same map for all of them.

    Args:
        attention: weights (N, heads, t, s) of each block, first to last; s < t where keys are
            strided.
        reading: (t,) shares in which the rows of the product are read, or each picture's (N, t).
        head_fusion: "mean", "max" or "min" over heads.
        discard_ratio: share of a block's fused weights, the lowest of each picture, that is set to
            0, in [0, 1). The paper has none. The class token's column never is; of equal weights
            none is dropped before the others.
        shares: of `key_shares` where keys are strided, the same for all blocks.

    Returns:
        (N, t), not below 0, with sum 1: the share of each token that entered the first block.
    """
    size = attention[0].shape[2]
    rows = _row(reading)  # (1 or N, 1, t)
    # From the last block on: a row times a matrix each, where the whole product would cost t times.
    for weights in reversed(attention):
        kept = discard(FUSIONS[head_fusion](weights, axis=1), discard_ratio)
        mixed = 0.5 * over_grid(kept, shares) + 0.5 * tf.eye(size)
        rows = rows @ (mixed / tf.reduce_sum(mixed, axis=-1, keepdims=True))
    return rows[:, 0]


def chefer(attention, gradients, reading, shares=None):
    """Relevance for one logit: R = R + A' R over the blocks, A' = mean over heads of (dA * A)+.

    R starts as the identity, which is left out of what is read: that every token is relevant to
    itself says nothing of the picture.

    Args:
        attention: weights (N, heads, t, s) of each block, first to last.
        gradients: of the logit by these weights, of the same shapes.
        reading: shares in which the rows of R are read, see `rollout`.
        shares: see `rollout`.

    Returns:
        (N, t), not below 0: the relevance of each token that entered the first block.
    """
    own = _row(reading)
    gained = tf.zeros_like(own)  # by itself: beside the identity small values would lose digits
    for weights, slopes in zip(reversed(attention), reversed(gradients), strict=True):
        relevance = over_grid(tf.reduce_mean(tf.nn.relu(slopes * weights), axis=1), shares)
        gained += (own + gained) @ relevance
    return gained[:, 0]


def _row(reading):
    """Shares (t,) or (N, t) as (1 or N, 1, t)."""
    reading = tf.convert_to_tensor(reading, tf.float32)
    return tf.reshape(reading, (-1, 1, reading.shape[-1]))


def discard(fused, ratio):
    """Fused weights (N, t, s) with the lowest share `ratio` of each picture's set to 0."""
    if not ratio:
        return fused
    first = _class_tokens(fused.shape[2])
    patches = fused[:, :, first:]
    count = patches.shape[1] * patches.shape[2]
    in_order = tf.sort(tf.reshape(patches, (-1, count)), axis=-1)
    least = in_order[:, int(ratio * count), None, None]
    return tf.concat([fused[:, :, :first], tf.where(patches < least, 0.0, patches)], axis=-1)


def over_grid(matrix, shares):
    """Queries by keys (N, t, s) to queries by tokens (N, t, t): strided keys spread by shares."""
    return matrix if shares is None else matrix @ tf.constant(shares)


def key_shares(queries, keys, first):
    """Shares (first + m, first + n) in which strided keys stand for the tokens of the grid.

    A cell takes of the keys on both sides of it as they are near, as every map is laid out, so that
    a key's weight stays centred on the place that its convolution is centred on; beyond the
    outermost keys, of those alone. All is scaled so that even attention makes an even map. In the
    middle of the grid a key so gives away just its weight: half of it to its own cell, a quarter to
    each neighbour along a side. At the edges, where the keys are not as far from them on either
    side, it may be half as much again, or less.

    Args:
        queries, keys: their `geometry.Grid`s, of n and m cells.
        first: class tokens before both, each its own key.
    """
    n, m = (math.prod(grid.shape) for grid in (queries, keys))
    each = np.eye(m, dtype=np.float32).reshape(1, *keys.shape, m)
    spread = on_grid(each, keys, queries).numpy().reshape(n, m).T
    shares = np.zeros((first + m, first + n), np.float32)
    shares[:first, :first] = np.eye(first)
    shares[first:, first:] = spread * (m / n)
    return shares


def check_options(head_fusion, discard_ratio):
    """Refuses options of `rollout` that are out of range, with a UsageError."""
    if head_fusion not in FUSIONS:
        raise UsageError(f"--head-fusion {head_fusion}: there are {', '.join(FUSIONS)}")
    if not 0 <= discard_ratio < 1:
        raise UsageError(f"--discard-ratio {discard_ratio}: must lie from 0 to below 1")


def obstacle(model):
    """Empty where a classifier attends over its whole map (`attention.attend`), as both need it."""
    if any(isinstance(x, FusedAttention | AttentionWeights) for x in model.layers):
        return ""
    return f"{model.name} has no attention over its whole map"


def grids(model, layers):
    """The grid of the tokens that enter the last stage's blocks, of no layers."""
    last = [x for x in model.layers if isinstance(x, FusedAttention | AttentionWeights)][-1]
    return geometry.grids(model, [last.name])


def make(method, model, layers, settings):
    """Raw maps by "rollout" or "chefer", of no layers; see `registry.Method`.

    The maps of a missing eye are zero.
    """
    options = settings.head_fusion, settings.discard_ratio

    def raw(inputs, chosen):
        graph = _graph(model, method, *options, chosen.shape[1])
        return graph(inputs, tf.convert_to_tensor(chosen))

    return raw


def readable(model):
    """The same classifier, its attention weights readable; it shares all layers that hold weights.

    What happens to the model's weights happens to the twin's. Its attention is computed step by
    step instead of by the fused operation. A network that was built readable is its own twin.
    """
    if not any(isinstance(x, FusedAttention) for x in model.layers):
        return model
    return kept(model, "readable", lambda: _twin(model))


def _twin(model):
    def call(layer, *args, **kwargs):
        if not isinstance(layer, FusedAttention):
            return layer(*args, **kwargs)
        q, k, v = args[0]
        name = f"{layer.name.removesuffix('.attend')}.weights"
        options = {"dtype": layer.dtype_policy}
        weights = AttentionWeights(layer.heads, layer.scale, name=name, **options)([q, k])
        return WeightedValues(layer.heads, name=layer.name, **options)([weights, v])

    return keras.models.clone_model(model, clone_function=lambda x: x, call_function=call)


def _graph(model, *options):
    """A compiled function of inputs and chosen (B, count): `_compiled` of these, made once."""
    return kept(model, ("attention", *options), lambda: _compiled(model, *options))


def _compiled(model, method, head_fusion, discard_ratio, count):
    pixels = [x for x in model.layers if isinstance(x, ClassOfPixels)]
    twin = readable(keras.Model(model.input, pixels[0].input) if pixels else model)
    blocks = [x for x in twin.layers if isinstance(x, AttentionWeights)]
    size = blocks[-1].output.shape[2]
    found = [x.output for x in blocks if x.output.shape[2] == size]  # the last stage's
    first, side = _class_tokens(size), math.isqrt(size)
    shares = None
    if found[-1].shape[3] != size:
        shares = key_shares(*geometry.grids_of(twin, blocks[-1].input), first)
    reading = np.zeros(size, np.float32)
    if any(isinstance(x, FirstToken) for x in model.layers):
        reading[0] = 1
    else:
        reading[first:] = 1 / (size - first)
    scores = [twin.output, pixels[0](twin.output)] if pixels else [twin.output]
    network = keras.Model(twin.input, [*found, *scores])
    inputs = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, tf.float32), model.input)
    signature = [inputs, tf.TensorSpec((None, count), tf.int32)]

    def readings(logits, chosen):
        """Of each chosen label the shares in which rows are read."""
        if not pixels:
            return [reading] * count
        each = tf.image.resize(pixels[0].shares(logits), (side, side), method="area")
        each = tf.reshape(each, (-1, side * side, each.shape[-1]))
        each /= tf.reduce_sum(each, axis=1, keepdims=True)
        each = tf.pad(each, ((0, 0), (first, 0), (0, 0)))  # a class token is no place
        return [tf.gather(each, chosen[:, k], axis=2, batch_dims=1) for k in range(count)]

    @tf.function(input_signature=signature, autograph=False)
    def raw(inputs, chosen):
        if method == "rollout":
            *weights, _ = network(inputs, training=False)
            rows = readings(weights.pop() if pixels else None, chosen)
            weights = [tf.cast(x, tf.float32) for x in weights]
            made = rows if pixels else rows[:1]  # else it is the same map for every label
            tokens = [rollout(weights, x, head_fusion, discard_ratio, shares) for x in made]
            tokens *= count // len(made)
        else:
            with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
                tape.watch(inputs)
                *weights, logits = network(inputs, training=False)
                rows = readings(weights.pop() if pixels else None, chosen)
                scores = [tf.gather(logits, chosen[:, k], batch_dims=1) for k in range(count)]
            # The sum over pictures: each picture's logit depends on that picture alone.
            # Where the network computes in half precision, the products of the blocks do not.
            whole = [tf.cast(x, tf.float32) for x in weights]
            slopes = [tape.gradient(x, weights) for x in scores]
            slopes = [[tf.cast(x, tf.float32) for x in one] for one in slopes]
            tokens = [chefer(whole, *both, shares) for both in zip(slopes, rows, strict=True)]
        maps = tf.reshape(tf.stack(tokens, axis=-1)[:, first:], (-1, side, side, count))
        if isinstance(inputs, dict):
            maps *= tf.reshape(inputs["mask"], (-1, 1, 1, 1))
        return [maps]

    return raw


def _class_tokens(count):
    """How many of so many tokens are no place of a square grid: 1 or 0."""
    return count - math.isqrt(count) ** 2
