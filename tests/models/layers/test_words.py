"""The head that scores a map by words: what it computes, and what a text becomes."""

import keras
import numpy as np
import pytest
import tiny  # noqa: F401  (adds the encoder of that name)
from hypothesis import given
from hypothesis import strategies as st

from fundus_diag.models import build_classifier
from fundus_diag.models.layers.words import BUCKETS, WordsHead, bag

TEXTS = (("hard exudate", "exudates", "硬性渗出"), ("drusen",), ("macular hole", "hole"))


@pytest.fixture(scope="module")
def head():
    keras.utils.set_random_seed(3)
    layer = WordsHead(TEXTS, width=8, heads=2, hidden=16)
    layer.build([(None, 3, 4, 6), (None, 6)])
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        if weight.name != "log_scale":
            weight.assign(rng.normal(0, 0.5, weight.shape))
    return layer


def by_hand(layer, cells, mean, bags):
    """Logits, attention and parts by loops, in float64."""
    w = {x.name: x.numpy().astype("float64") for x in layer.weights if "seed" not in x.path}

    def dense(name, x):
        return x @ w[f"{name}_kernel"] + w[f"{name}_bias"]

    def gelu(x):
        return np.asarray(keras.activations.gelu(keras.ops.convert_to_tensor(x)))

    rows = np.concatenate([mean[:, None], cells.reshape(len(cells), -1, cells.shape[-1])], axis=1)
    rows = (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + 1e-6)
    rows = rows * w["gamma"] + w["beta"]
    text = dense("text2", gelu(dense("text1", bags)))
    shape = (len(cells), len(bags), rows.shape[1])
    logits, attention, parts = np.zeros(shape[:2]), np.zeros(shape), np.zeros(shape)
    for b in range(shape[0]):
        for p in range(shape[1]):
            way, found = text[p] / np.linalg.norm(text[p]), w["out_bias"].copy()
            for h in range(2):
                part = slice(4 * h, 4 * h + 4)
                scores = dense("key", rows[b])[:, part] @ dense("query", text)[p, part] / 2
                weights = np.exp(scores) / np.exp(scores).sum()
                says = dense("value", rows[b])[:, part] @ w["out_kernel"][part]
                attention[b, p] += weights / 2
                average = np.mean([cell @ way for cell in says[1:]])  # without the mean's own
                parts[b, p] += [
                    x * (one @ way - average) for x, one in zip(weights, says, strict=True)
                ]
                found = found + (weights[:, None] * says).sum(axis=0)
            cosine = found @ way / np.linalg.norm(found)
            logits[b, p] = np.exp(w["log_scale"][0]) * cosine + dense("bias", text)[p, 0]
    return logits, attention, parts


def test_it_computes_what_it_says(head):
    rng = np.random.default_rng(1)
    cells, mean = rng.normal(size=(2, 3, 4, 6)), rng.normal(size=(2, 6))
    bags = np.stack([bag(own[0]) for own in TEXTS])
    want = by_hand(head, cells, mean, bags)
    got = head.scored([cells.astype("float32"), mean.astype("float32")], bags)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(np.asarray(a), b, atol=2e-4)
    np.testing.assert_allclose(np.asarray(got[1]).sum(axis=-1), 1, atol=1e-5)
    logits = head([cells.astype("float32"), mean.astype("float32")])
    np.testing.assert_allclose(np.asarray(logits), want[0], atol=2e-4)


def test_in_training_a_phrase_is_called_by_any_of_its_names(head):
    rng = np.random.default_rng(1)
    inputs = [rng.normal(size=(1, 3, 4, 6)).astype("float32"), np.ones((1, 6), "float32")]
    each = [np.asarray(head.scored(inputs, bag(text)[None])[0])[0, 0] for text in TEXTS[0]]
    seen = {round(float(np.asarray(head(inputs, training=True))[0, 0]), 4) for _ in range(60)}
    assert seen == {round(float(x), 4) for x in each}


@given(st.text(alphabet="abcdefgh 硬性渗出", min_size=1))
def test_a_bag_has_length_one_and_words_have_ends(text):
    found = bag(text)
    assert found.shape == (BUCKETS,)
    length = np.linalg.norm(found)
    assert length == pytest.approx(1, abs=1e-5) if text.split() else length == 0
    np.testing.assert_array_equal(found, bag(f"  {text} "))


def test_what_is_alike_lies_near():
    near = bag("hard exudates") @ bag("hard exudate")
    assert near > 0.8 > 0.2 > bag("hard exudates") @ bag("glaucoma")
    assert bag("macula hole") @ bag("macular hole") > 0.6
    assert bag("ab cd") @ bag("abcd") < 0.9


def test_phrases_are_no_weights():
    """So a network that was trained on some can be asked for others."""
    one = build_classifier("tiny", 32, 3, phrases=TEXTS)
    other = build_classifier("tiny", 32, 2, phrases=[("retinal hole",), ("drusen",)])
    other.set_weights(one.get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    a, b = (np.asarray(x(images)) for x in (one, other))
    np.testing.assert_allclose(a[:, 1], b[:, 1], atol=1e-5)
    assert np.abs(a[:, 0] - b[:, 0]).min() > 1e-4
