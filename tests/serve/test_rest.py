"""The REST form of TensorFlow Serving, read and written: by rows, by columns, and what is wrong."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_diag.serve import rest

SIGNATURES = {
    "serving_default": {"image_bytes": ("string", ())},
    "explain": {"image_bytes": ("string", ()), "label": ("int32", ())},
    "serve_pixels": {"images": ("float32", (2, 2, 3))},
}


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


def parse(request):
    return rest.parse(json.dumps(request).encode(), SIGNATURES)


def test_one_input_may_stand_without_its_name_by_rows_and_by_columns():
    data = [b"a", b"", b"\xff\0b"]
    rows = [b64(x) for x in data]
    for request in (
        {"instances": rows},
        {"instances": [{"image_bytes": x} for x in rows]},
        {"signature_name": "serving_default", "inputs": rows},
        {"inputs": {"image_bytes": rows}},
    ):
        name, inputs, by_rows = parse(request)
        assert name == "serving_default"
        assert inputs["image_bytes"].tolist() == data
        assert by_rows == ("instances" in request)


def test_several_inputs_have_names():
    rows = [{"image_bytes": b64(b"x"), "label": k} for k in (-1, 2)]
    columns = {"image_bytes": [b64(b"x")] * 2, "label": [-1, 2]}
    for sent in ({"instances": rows}, {"inputs": columns}):
        _, inputs, _ = parse({"signature_name": "explain", **sent})
        assert inputs["image_bytes"].tolist() == [b"x", b"x"]
        assert inputs["label"].tolist() == [-1, 2]
        assert inputs["label"].dtype == np.int32


def test_pictures_are_arrays():
    images = np.arange(24, dtype=float).reshape(2, 2, 2, 3)
    _, inputs, _ = parse({"signature_name": "serve_pixels", "instances": images.tolist()})
    np.testing.assert_array_equal(inputs["images"], images)
    assert inputs["images"].dtype == np.float32


GOOD = {"image_bytes": b64(b"x"), "label": 0}
PIXELS = np.zeros((1, 2, 2, 3)).tolist()


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ([1], "the request is no JSON object"),
        ({}, "one of instances (rows) and inputs (columns) is expected"),
        ({"instances": [], "inputs": []}, "one of instances (rows) and inputs"),
        ({"instances": []}, "there is no row"),
        ({"instances": {}}, "instances: a list of rows is expected"),
        ({"instance": []}, "instance: there are signature_name, and instances or inputs"),
        ({"signature_name": "x", "instances": [1]}, "signature_name x: there are serving_default"),
        ({"signature_name": 1, "instances": [1]}, "signature_name 1: there are"),
        ({"instances": [1]}, 'image_bytes[0]: {"b64": ".."} is expected'),
        ({"instances": [None]}, 'image_bytes[0]: {"b64": ".."} is expected'),
        ({"instances": [b64(b"x"), {"b64": "*"}]}, "image_bytes[1]: broken base64"),
        ({"instances": [{"b64": "YQ"}]}, "image_bytes[0]: broken base64"),
        ({"instances": [{"b64": 1}]}, 'image_bytes[0]: {"b64": ".."} is expected'),
        ({"instances": [{"b64": "", "x": 1}]}, 'image_bytes[0]: {"b64": ".."} is expected'),
        ({"inputs": b64(b"x")}, "inputs image_bytes: a list of rows is expected"),
        ({"signature_name": "explain", "instances": [{"label": 1}]},
         "instances[0]: an object with image_bytes, label is expected"),
        ({"signature_name": "explain", "instances": [GOOD | {"more": 1}]},
         "instances[0]: an object with image_bytes, label is expected"),
        ({"signature_name": "explain", "instances": [GOOD | {"label": 1.5}]},
         "label: a number, whole ones, in each row expected"),
        ({"signature_name": "explain", "instances": [GOOD | {"label": True}]}, "label: a number"),
        ({"signature_name": "explain", "instances": [GOOD | {"label": "1"}]}, "label: a number"),
        ({"signature_name": "explain", "instances": [GOOD | {"label": None}]}, "label: a number"),
        ({"signature_name": "explain", "instances": [GOOD | {"label": [1]}]}, "label: a number"),
        ({"signature_name": "explain", "instances": [GOOD | {"label": 2**40}]},
         "label: numbers of 32 bits are expected"),
        ({"signature_name": "explain", "instances": [GOOD | {"label": 2**80}]}, "label: a number"),
        ({"signature_name": "explain", "instances": [GOOD | {"label": -(2**63)}]},
         "label: numbers of 32 bits are expected"),
        ({"signature_name": "\ud800", "instances": [1]}, "signature_name ?: there are"),
        ({"signature_name": "explain", "inputs": {"image_bytes": [b64(b"x")], "label": [1, 2]}},
         "inputs of different numbers of rows: {'image_bytes': 1, 'label': 2}"),
        ({"signature_name": "explain", "inputs": [1]},
         "inputs: an object with image_bytes, label is expected"),
        ({"signature_name": "serve_pixels", "instances": [[[1]]]},
         "images: 2x2x3 numbers in each row expected"),
        ({"signature_name": "serve_pixels", "instances": [*PIXELS, [[1], [2, 3]]]},
         "images: 2x2x3 numbers in each row are expected"),
        ({"signature_name": "serve_pixels", "instances": ["abc"]}, "images: 2x2x3 numbers"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_in_a_line(request_, said):
    with pytest.raises(rest.Wrong) as error:
        parse(request_)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_text_that_has_no_bytes_is_taken_as_a_question_mark():
    _, inputs, _ = parse({"instances": ["a\ud800"]})
    assert inputs["image_bytes"].tolist() == [b"a?"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"instances": [NaN]}'])
def test_what_is_no_json_is_said(body):
    with pytest.raises(rest.Wrong, match="JSON"):
        rest.parse(body, SIGNATURES)


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(
            st.sampled_from(["instances", "inputs", "signature_name", "b64", "image_bytes",
                             "label", "images"]) | st.text(max_size=3), x, max_size=3),
        max_leaves=12,
    )
)  # fmt: skip
def test_anything_is_parsed_or_refused(value):
    said = ""
    try:
        name, inputs, _ = parse(value)
        assert set(inputs) == set(SIGNATURES[name])
    except rest.Wrong as error:
        said = str(error)
    assert said == " ".join(said.split())


def test_answers_are_rows_or_columns_and_hold_no_nan():
    found = {
        "probability": np.array([[0.25, np.nan], [np.inf, 1]], np.float32),
        "positive": np.array([[True, False], [False, True]]),
        "label": np.array([[b"A", b"B"], [b"A", b"\xc3\xa9"]], object),
        "error": np.array([b"", b"bad"], object),
        "map_overlay_bytes": np.array([b"\x89P", b""], object),
    }
    first = {
        "probability": [0.25, None],
        "positive": [True, False],
        "label": ["A", "B"],
        "error": "",
        "map_overlay_bytes": {"b64": "iVA="},
    }
    rows = json.loads(rest.reply(found, by_rows=True))["predictions"]
    assert rows[0] == first
    assert rows[1]["label"] == ["A", "é"]
    assert rows[1]["probability"] == [None, 1]
    columns = json.loads(rest.reply(found, by_rows=False))["outputs"]
    assert {name: values[0] for name, values in columns.items()} == first
    one = {"x": np.array([1, 2])}
    assert json.loads(rest.reply(one, by_rows=True)) == {"predictions": [1, 2]}
    assert json.loads(rest.reply(one, by_rows=False)) == {"outputs": [1, 2]}
