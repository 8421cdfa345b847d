"""What TensorFlow Serving asks of signatures: rows that may be merged, cut, and many at once."""

import numpy as np
import pytest
import tensorflow as tf
from exported import SIZE, alike, contents, different, photographs, rest, run_of, serve, texts
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.protobuf import saved_model_pb2

from fundus_diag.export import graph
from fundus_diag.export.chunks import in_chunks
from fundus_diag.imaging.preprocess import load_picture

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_graphs")]


def unbatched(export):
    """Inputs and outputs, by name, whose first axis is not one of any number of rows."""
    saved = saved_model_pb2.SavedModel.FromString((export / "1" / "saved_model.pb").read_bytes())
    definitions = dict(saved.meta_graphs[0].signature_def)
    definitions.pop("__saved_model_init_op")
    assert set(definitions) >= {"serving_default", "serve_pixels", "explain"}
    return [
        (signature, name)
        for signature, definition in definitions.items()
        for name, tensor in (*definition.inputs.items(), *definition.outputs.items())
        if [x.size for x in tensor.tensor_shape.dim][:1] != [-1]
    ]


def test_every_input_and_output_has_a_batch_axis(models):
    assert unbatched(models("eye")) == []


def test_every_input_and_output_of_pairs_has_a_batch_axis(models):
    assert unbatched(models("patient", exported=True)) == []


def test_merged_requests_are_answered_as_alone(folder, models):
    data = different(folder)
    requests = [{"image_bytes": x} for x in (data[:1], data[1:4], data[4:])]
    alike(models("eye"), "serving_default", requests)
    label = [-1, 0, 1, 0, 9, -1, 0]
    requests = [
        {"image_bytes": data[i:j], "label": label[i:j]} for i, j in ((0, 1), (1, 4), (4, 7))
    ]
    alike(models("eye"), "explain", requests)


def test_many_rows_in_one_request_are_all_answered(folder, models):
    """Of photographs two chunks and a bit, of pictures, which are quicker, two hundred."""
    run = run_of(folder, "eye")
    files = photographs(folder)
    want = np.resize(run.predict(files), (200, 2))
    data = (contents("", files) * 6)[:34]
    data[33] = b"text"
    got = serve(models("eye"), image_bytes=data)
    np.testing.assert_allclose(got["probability"][:33], want[:33], atol=1e-5)
    assert got["gradable"].tolist() == [True] * 33 + [False]
    pictures = ([load_picture(x, SIZE) for x in files] * 34)[:200]
    got = serve(models("eye"), "serve_pixels", images=pictures)
    np.testing.assert_allclose(got["probability"], want, atol=1e-5)
    assert got["gradable"].all()


def test_rows_of_the_rest_api_are_strict_json(folder, models):
    sent = [{"image_bytes": x} for x in different(folder)]
    rows = rest(models("eye"), "serving_default", sent)
    assert [x["gradable"] for x in rows] == [True, False, True, False, True, False, True]
    for row in rows:
        assert (row["probability"] == [-1, -1]) == (row["error"] != "")


def test_what_is_not_finite_is_an_error_and_no_number(folder):
    run = run_of(folder, "eye")
    logits = tf.constant([[1.0, 2], [np.nan, 0], [0, np.inf], [3, np.nan]])
    got = graph._answer(
        run, logits, None, tf.constant(["", "", "", "text"]), tf.constant([""] * 4), None
    )
    wrong = "the network gives no finite answer"
    assert texts(got["error"]) == ["", wrong, wrong, "text"]
    assert (got["probability"][1:].numpy() == -1).all()
    assert not got["positive"][1:].numpy().any()
    assert (got["probability"][0].numpy() > 0).all()


def test_inputs_of_different_numbers_of_rows_are_refused(folder, models):
    (data,) = contents("", photographs(folder, count=1))
    for sent in (([data], [0, 1]), ([data] * 2, [0])):
        with pytest.raises(tf.errors.InvalidArgumentError, match="different numbers of rows"):
            serve(models("eye"), "explain", image_bytes=sent[0], label=sent[1])


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(0, 11), size=st.integers(1, 4))
def test_chunks_give_each_row_once_and_in_order(rows, size):
    seen = []

    def double(x, y):
        tf.py_function(lambda n: seen.append(int(n)), [tf.shape(x)[0]], [])
        return {"sum": x + y[:, None], "text": tf.strings.as_string(y)}

    x, y = np.arange(2 * rows).reshape(rows, 2), np.arange(rows)
    inputs = [tf.TensorSpec((None, 2), tf.int64), tf.TensorSpec((None,), tf.int64)]
    whole = tf.function(lambda *z: in_chunks(double, z, size), inputs, autograph=False)
    got = whole(x, y)
    np.testing.assert_array_equal(got["sum"], x + y[:, None])
    assert got["text"].numpy().tolist() == [str(k).encode() for k in y]
    assert sum(seen) == rows
    assert max(seen, default=0) <= size
