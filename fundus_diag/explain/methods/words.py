"""Maps of a phrase: where it looks, and what of that speaks for it.

A phrase attends to the cells of the network's map (`models.layers.words`). What it finds is a sum
over cells of attention times value, and its logit grows with that sum's share along the phrase's
own direction: so each cell adds a number of its own. The map is by how much that is above what the
average cell of the photograph would add in its place, what lies below left out: with what the mean
of the map adds, and constants of phrase and photograph, these numbers make up the whole.
"""

import keras
import tensorflow as tf

from fundus_diag.explain.methods.layers import pooled_map
from fundus_diag.models import geometry
from fundus_diag.models.layers.words import WordsHead
from fundus_diag.utils.kept import kept


def obstacle(model):
    """Why a classifier has no such maps; empty where it has."""
    if isinstance(model.get_layer("head_logits"), WordsHead):
        return ""
    return f"{model.name} scores labels, not words"


def grids(model, layers):
    """The grid of the map that the words read, of no layers."""
    return geometry.grids(model, [pooled_map(model)])


def make(method, model, layers, settings):
    """Raw maps by "words", of no layers; see `registry.Method`."""
    graph = kept(model, ("words",), lambda: _graph(model))

    def raw(inputs, chosen):
        return [graph(inputs, tf.convert_to_tensor(chosen))]

    return raw


def _graph(model):
    head = model.get_layer("head_logits")
    network = keras.Model(model.input, head.input)
    shape = head.input[0].shape[1:3]

    @tf.function(autograph=False, reduce_retracing=True)
    def maps(inputs, chosen):
        _, _, parts = head.scored(network(inputs, training=False), head.first_bags)
        parts = tf.gather(parts[:, :, 1:], chosen, axis=1, batch_dims=1)  # (B, K, h w)
        laid = tf.reshape(parts, (-1, tf.shape(chosen)[1], *shape))
        return tf.transpose(tf.nn.relu(laid), (0, 2, 3, 1))

    return maps
