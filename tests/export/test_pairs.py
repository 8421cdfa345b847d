"""What is answered of pairs: equal to the run, whatever is sent. One file: tracing them is dear."""

import numpy as np
import pytest
from exported import SIZE, alike, contents, different, photographs, rest, run_of, serve, texts

from fundus_diag.imaging.preprocess import load_picture

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_graphs")]


def test_pairs_are_answered_as_the_run_does_with_one_eye_or_two(folder, models):
    models("patient")  # makes the run
    run = run_of(folder, "patient")
    left, right = photographs(folder, "left"), photographs(folder, "right")
    pairs = [(left[0], right[0]), (left[1], None), (None, right[2]), (left[3], right[3])]
    want = run.predict(pairs)
    assert np.ptp(want, axis=0).min() > 1e-3
    sent = {
        f"{eye}_bytes": [b"" if pair[k] is None else pair[k].read_bytes() for pair in pairs]
        for k, eye in enumerate(("left", "right"))
    }
    for name in ("serving_default", "serve_pair"):
        got = serve(models("patient"), name, **sent)
        np.testing.assert_allclose(got["probability"], want, atol=1e-5)
        np.testing.assert_array_equal(got["positive"], run.call(want))
        assert got["gradable"].all()
    images = np.full((4, 2, SIZE, SIZE, 3), np.nan, np.float32)  # must not reach the network
    for row, pair in enumerate(pairs):
        for k, eye in enumerate(pair):
            if eye:
                images[row, k] = load_picture(eye, SIZE)
    mask = [[1, 1], [1, 0], [0, 1], [1, 1]]
    got = serve(models("patient"), "serve_pixels", images=images, mask=mask)
    np.testing.assert_allclose(got["probability"], want, atol=1e-5)
    assert got["gradable"].all()


def test_a_bad_eye_is_named_and_a_pair_without_eyes_is_none(folder, models):
    one, other = contents("", photographs(folder, count=2))
    got = serve(
        models("patient"),
        left_bytes=[one, b"", b"text", one, b"text", one],
        right_bytes=[other, b"", other, other[:-40], b"\xff\xd8\xff\xe0", b""],
    )
    assert texts(got["error"]) == [
        "",
        "no photograph of either eye",
        "left eye: not an image (JPEG, PNG, BMP)",
        "right eye: truncated",
        "left eye: not an image (JPEG, PNG, BMP); right eye: broken header",
        "",
    ]
    assert got["gradable"].tolist() == [True, False, False, False, False, True]
    np.testing.assert_array_equal((got["probability"] == -1).all(axis=1), ~got["gradable"])
    images = np.zeros((3, 2, SIZE, SIZE, 3))
    images[1, 1] = 300
    got = serve(models("patient"), "serve_pixels", images=images, mask=[[0, 0], [1, 1], [0, 1]])
    assert texts(got["error"]) == [
        "no photograph of either eye",
        "right eye: not a picture: values must lie from 0 to 255",
        "right eye: no field of view: nothing stands out",
    ]
    assert (got["probability"] == -1).all(axis=1).tolist() == [True, True, False]


def test_merged_requests_are_answered_as_alone(folder, models):
    data = different(folder)
    pairs = list(zip(data, data[::-1], strict=True))
    requests = [
        {"left_bytes": [x for x, _ in part], "right_bytes": [x for _, x in part]}
        for part in (pairs[:1], pairs[1:4], pairs[4:])
    ]
    alike(models("patient"), "serving_default", requests)


def test_no_pairs_are_answered_by_no_rows(models):
    nothing = {"images": np.zeros((0, 2, SIZE, SIZE, 3)), "mask": np.zeros((0, 2))}
    for got in (
        serve(models("patient"), left_bytes=[], right_bytes=[]),
        serve(models("patient"), "serve_pixels", **nothing),
    ):
        shapes = {k: v.shape for k, v in got.items()}
        assert shapes == {
            **dict.fromkeys(("probability", "positive", "label"), (0, 2)),
            **dict.fromkeys(
                ("gradable", "error", "quality_reason", "distance", "unfamiliar"), (0,)
            ),
        }


def test_what_cannot_be_answered_of_a_pair_is_strict_json(models):
    (row,) = rest(models("patient"), "serve_pair", [{"left_bytes": b"", "right_bytes": b"x"}])
    assert row["probability"] == [-1, -1]
