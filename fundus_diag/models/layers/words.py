"""A head that scores a map by words: phrases look for themselves in the map, by cross-attention.

Sources:
    Vaswani et al. 2017, "Attention Is All You Need", section 3.2 (cross-attention)
    Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", section 3.2: a logit for each
        pair of image and text, a scale and a bias that are learned, https://arxiv.org/abs/2303.15343
    Bojanowski et al. 2017, "Enriching Word Vectors with Subword Information", section 3.2: a word
        as a bag of hashed character n-grams, https://arxiv.org/abs/1607.04606

The text encoder is two layers on such bags. It needs no download, takes misspelt words and Chinese
alike, and a phrase that it has never seen lies near those that it shares n-grams with. What words
mean it learns from the photographs alone: "macular hole" and "drusen" share nothing to it before.
"""

import zlib

import keras
import numpy as np
from keras import layers, ops

from fundus_diag.models.layers.transformer import exact_gelu

NGRAMS = (1, 2, 3, 4)  # characters; words as a whole too
BUCKETS = 4096


def bag(text):
    """A text as hashed character n-grams: (BUCKETS,) float32 of length 1.

    Each word is taken with its ends marked, so that the beginning of one is not the end of another.
    """
    counts = np.zeros(BUCKETS, np.float32)
    for word in text.split():
        marked = f"<{word}>"
        parts = [marked]
        for n in NGRAMS:
            parts += [marked[i : i + n] for i in range(len(marked) - n + 1)]
        for part in parts:
            counts[zlib.crc32(part.encode("utf-8")) % BUCKETS] += 1
    length = np.linalg.norm(counts)
    return counts / length if length else counts


@keras.saving.register_keras_serializable("fundus_diag")
class WordsHead(layers.Layer):
    """[map (B, h, w, C), its mean (B, C)] to a logit for each of P phrases, (B, P) float32.

    A phrase attends to the cells of the map, and to the mean of all of them: the haze of a cataract
    is everywhere.

    The logit is s cos(v, t) + b(t): t the embedding of the phrase, v what it finds in the map, s a
    scale.

    Args:
        texts: P tuples of texts, each of one phrase: in training one of them is drawn at random, at
            other times the first speaks for it.
        width: of the common space.
        heads: of the cross-attention; a divisor of `width`.
        hidden: units between bag and embedding.
    """

    def __init__(self, texts, width=128, heads=4, hidden=256, seed=None, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.texts = tuple(tuple(x) for x in texts)
        self.width, self.heads, self.hidden = width, heads, hidden
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.bags = np.stack([bag(text) for own in self.texts for text in own])
        self.counts = np.array([len(own) for own in self.texts], np.int32)
        self.starts = np.cumsum([0, *self.counts[:-1]]).astype(np.int32)

    def build(self, shapes):
        # Weights of its own, not layers within: files of weights know one level of layers.
        sides = {"text1": (BUCKETS, self.hidden), "text2": (self.hidden, self.width)}
        sides |= {name: (self.width, self.width) for name in ("query", "out")}
        sides |= {name: (shapes[0][-1], self.width) for name in ("key", "value")}
        sides["bias"] = (self.width, 1)
        self.maps = {
            name: (
                self.add_weight(name=f"{name}_kernel", shape=shape),
                self.add_weight(name=f"{name}_bias", shape=shape[1:], initializer="zeros"),
            )
            for name, shape in sides.items()
        }
        self.gamma = self.add_weight(name="gamma", shape=shapes[0][-1:], initializer="ones")
        self.beta = self.add_weight(name="beta", shape=shapes[0][-1:], initializer="zeros")
        self.log_scale = self.add_weight(
            name="log_scale", shape=(1,), initializer=keras.initializers.Constant(np.log(10.0))
        )

    def call(self, inputs, training=False):
        bags = ops.convert_to_tensor(self.first_bags)
        if training:
            drawn = keras.random.uniform((len(self.texts),), seed=self.seed_generator)
            picked = self.starts + ops.cast(drawn * self.counts, "int32")
            bags = ops.take(ops.convert_to_tensor(self.bags), picked, axis=0)
        return self.scored(inputs, bags)[0]

    @property
    def first_bags(self):
        """(P, N) float32 of the text that speaks for each phrase."""
        return self.bags[self.starts]

    def scored(self, inputs, bags):
        """Of phrases as `bag`s (P, N): (logits, attention, parts).

        Logits (B, P). Attention (B, P, 1 + h w), of the mean of the map first, then row by row of
        its cells; its sum is 1. Parts, of the same shape, are what each of them adds to what the
        phrase finds, along the phrase's own direction, beyond what the average cell of the map
        would add in its place: of a rare phrase all cells speak against it, some less than others.
        """
        x, mean = (ops.cast(one, "float32") for one in inputs)
        b, n, c = ops.shape(x)[0], 1 + x.shape[1] * x.shape[2], x.shape[3]
        cells = ops.concatenate([mean[:, None], ops.reshape(x, (b, n - 1, c))], axis=1)
        # Layer normalisation: maps of networks differ in their scale.
        mean, variance = ops.moments(cells, axes=-1, keepdims=True)
        cells = (cells - mean) * ops.rsqrt(variance + 1e-6) * self.gamma + self.beta
        text = self._dense("text2", exact_gelu(self._dense("text1", bags)))  # (P, D)
        share = self.width // self.heads
        query = ops.reshape(self._dense("query", text), (-1, self.heads, share))
        key = ops.reshape(self._dense("key", cells), (b, n, self.heads, share))
        value = ops.reshape(self._dense("value", cells), (b, n, self.heads, share))
        weights = ops.softmax(ops.einsum("phd,bnhd->bhpn", query, key) * share**-0.5, axis=-1)
        found = ops.einsum("bhpn,bnhd->bphd", weights, value)
        found = self._dense("out", ops.reshape(found, (b, -1, self.width)))
        direction = ops.normalize(text, axis=-1)
        cosine = ops.sum(ops.normalize(found, axis=-1) * direction, axis=-1)
        logits = ops.exp(self.log_scale) * cosine + self._dense("bias", text)[:, 0]
        out = ops.reshape(self.maps["out"][0], (self.heads, share, self.width))
        own = ops.einsum("hsd,pd->phs", out, direction)
        speaks = ops.einsum("bnhs,phs->bhpn", value, own)
        speaks = speaks - ops.mean(speaks[..., 1:], axis=-1, keepdims=True)
        parts = ops.sum(weights * speaks, axis=1)
        return logits, ops.mean(weights, axis=1), parts

    def _dense(self, name, x):
        kernel, bias = self.maps[name]
        return ops.matmul(x, kernel) + bias

    def compute_output_shape(self, shapes):
        return (shapes[0][0], len(self.texts))

    def get_config(self):
        own = {"texts": self.texts, "width": self.width, "heads": self.heads, "hidden": self.hidden}
        return {**super().get_config(), **own}
