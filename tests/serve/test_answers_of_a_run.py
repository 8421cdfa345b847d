"""What is answered of a run: to programs as its graph does, to the page as `predict` does."""

import base64
import re
import struct
import zlib

import cv2
import numpy as np
import odd_images
import pytest
from asking import b64, refused, sent
from bad_images import BAD, HUGE
from exported import contents, different, photographs, run_of
from PIL import Image
from starlette.testclient import TestClient

from fundus_diag.explain import explainer
from fundus_diag.explain.filters import clean
from fundus_diag.explain.laying import over_photograph
from fundus_diag.export.graph import signatures
from fundus_diag.imaging.inside import picture_field
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.runs.run_files import read_predictions
from fundus_diag.serve import guard
from fundus_diag.serve.app import make_app

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_graphs")]
HOSTS = guard.known_hosts("127.0.0.1") | {"testserver"}


@pytest.fixture(scope="module")
def client(eye):
    with TestClient(make_app(eye, HOSTS)) as made:
        yield made


@pytest.fixture(scope="module")
def pairs(patient):
    with TestClient(make_app(patient, HOSTS)) as made:
        yield made


def test_rows_and_columns_are_answered_as_the_graph_answers(folder, client):
    data = different(folder)
    want = signatures(run_of(folder, "eye"))["serving_default"](image_bytes=data)
    rows = client.post(
        "/v1/models/eye:predict", json={"instances": [{"b64": b64(x)} for x in data]}
    )
    columns = client.post(
        "/v1/models/eye/versions/1:predict",
        json={"inputs": {"image_bytes": [{"b64": b64(x)} for x in data]}},
    )
    found = rows.json()["predictions"]
    assert set(found[0]) == set(want)
    for name, values in want.items():
        one = [row[name] for row in found]
        assert one == columns.json()["outputs"][name]
        if name == "probability":
            np.testing.assert_allclose(one, values.numpy(), atol=1e-6)
        else:
            plain = values.numpy().astype(str) if values.dtype == "string" else values.numpy()
            assert one == plain.tolist()


def test_maps_are_those_of_the_graph(folder, client):
    (data,) = contents("", photographs(folder, count=1))
    want = signatures(run_of(folder, "eye"))["explain"](image_bytes=[data], label=[-1])
    row = {"image_bytes": {"b64": b64(data)}, "label": -1}
    what = {"signature_name": "explain", "instances": [row]}
    (found,) = client.post("/v1/models/eye:predict", json=what).json()["predictions"]
    np.testing.assert_allclose(found["map"], want["map"][0].numpy(), atol=1e-5)
    png = base64.b64decode(found["map_overlay_bytes"]["b64"])
    assert png == want["map_overlay_bytes"][0].numpy()


def test_an_answer_is_what_predict_says(folder, client, eye):
    run = run_of(folder, "eye")
    files = photographs(folder, count=2)
    want = run.predict(files)
    data = contents("", files)
    response = client.post("/answer", json=sent(("right", data[0]), ("left", data[1])))
    first, second = response.json()["answers"]
    val = read_predictions(folder / "eye" / "predictions_val.csv", ["A", "B"], "eye")
    for answer, scores, name in ((first, want[0], "right"), (second, want[1], "left")):
        assert answer["eyes"] == [name]
        assert answer["why"] == ""
        assert [row["name"] for row in answer["rows"]] == ["A", "B"]
        np.testing.assert_allclose(
            [row["probability"] for row in answer["rows"]], scores, atol=1e-5
        )
        row = answer["rows"][0]
        assert row["threshold"] == pytest.approx(0.51)
        assert row["called"] == (scores[0] >= 0.51)
        near = np.sort(np.abs(val["p_A"] - row["probability"]))
        assert row["n"] == max((near <= 0.05).sum(), min(10, len(val)))
        assert answer["rows"][1]["threshold"] is None
        assert not answer["rows"][1]["called"]
        picture = answer["pictures"][0]
        assert picture["eye"] == name
        assert picture["url"].startswith("data:image/jpeg;base64,")


def test_both_eyes_are_answered_together_and_one_alone(folder, pairs):
    run = run_of(folder, "patient")
    left, right = photographs(folder, count=2)
    for given in ({"left": left, "right": right}, {"right": right}):
        want = run.predict([(given.get("left"), given.get("right"))])[0]
        what = sent(*((eye, file.read_bytes()) for eye, file in given.items()))
        (answer,) = pairs.post("/answer", json=what).json()["answers"]
        np.testing.assert_allclose([x["probability"] for x in answer["rows"]], want, atol=1e-5)
        assert answer["eyes"] == list(given)
        maps = pairs.post("/map", json=what | {"label": "A"}).json()["maps"]
        assert set(maps) == set(given)


def test_a_preview_is_upright_small_and_without_what_the_file_says_of_somebody(client):
    picture = odd_images.pixels()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    exif[0x010E] = "Jane Doe"
    large = Image.fromarray(np.kron(picture, np.ones((20, 30, 1), np.uint8)))
    data = odd_images.save(large, "JPEG", exif=exif)
    (answer,) = client.post("/answer", json=sent(("left", data))).json()["answers"]
    shown = base64.b64decode(answer["pictures"][0]["url"].partition(",")[2])
    assert b"Jane" not in shown
    assert b"Exif" not in shown
    height, width = cv2.imdecode(np.frombuffer(shown, np.uint8), 1).shape[:2]
    assert max(height, width) == 1024
    turned = picture.shape[1] * 30 / (picture.shape[0] * 20)
    assert height / width == pytest.approx(turned, rel=0.01)


def test_other_kinds_of_files_are_taken_as_predict_takes_them(folder, client, tmp_path):
    (file,) = photographs(folder, count=1)
    pixels = cv2.imread(str(file))
    path = tmp_path / "a.tif"
    cv2.imwrite(str(path), pixels)
    want = run_of(folder, "eye").predict([path])[0]
    (answer,) = client.post("/answer", json=sent(("", path.read_bytes()))).json()["answers"]
    np.testing.assert_allclose([x["probability"] for x in answer["rows"]], want, atol=1e-5)
    assert answer["pictures"][0]["url"]


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_photograph_is_an_answer_that_says_why(client, name):
    content, reason = BAD[name]
    response = client.post("/answer", json=sent(("left", content)))
    assert response.status_code == 200
    (answer,) = response.json()["answers"]
    assert answer["rows"] == []
    assert answer["why"]
    assert answer["pictures"] == [{"eye": "left", "url": None}]


def test_a_huge_picture_is_not_decoded(client):
    (answer,) = client.post("/answer", json=sent(("left", HUGE))).json()["answers"]
    assert "megapixels" in answer["why"]
    refused(client.post("/map", json=sent(("left", HUGE)) | {"label": "A"}), 422, "megapixels")


def test_a_blank_photograph_is_called_nothing(client):
    blank = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    (answer,) = client.post("/answer", json=sent(("left", blank))).json()["answers"]
    assert answer["why"] == "no field of view: nothing stands out"
    assert answer["called"] == []


def test_of_pairs_each_eye_has_to_be_known(pairs):
    refused(pairs.post("/answer", json=sent(("", b"x"))), 422, "say which eye")


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        ({"label": "Z"}, 404, "there are A, B"),
        ({}, 404, "label"),
        ({"label": ["A"]}, 404, "label"),
        ({"label": "A", "method": "rollout"}, 422, "rollout"),
        ({"label": "A", "method": "magic"}, 422, "magic"),
        ({"label": "A", "method": 1}, 400, "names"),
        ({"label": "A", "layer": "nothing"}, 422, "nothing"),
        ({"label": "A", "filter": "blur"}, 422, "there are median"),
        ({"label": "A", "filter": ["median"]}, 400, "names"),
    ],
)
def test_maps_that_there_are_not_are_refused(folder, client, more, status, said):
    (data,) = contents("", photographs(folder, count=1))
    refused(client.post("/map", json=sent(("left", data)) | more), status, said)


@pytest.mark.parametrize(
    ("method", "layer", "filter"),
    [("layer_cam", "", "median"), ("layer_cam", "conv2_act", "none"), ("grad_cam", "", "adaptive")],
)
def test_a_map_is_that_of_explain_as_colours_to_lay_over(folder, client, method, layer, filter):
    (file,) = photographs(folder, count=1)
    what = sent(("left", file.read_bytes()))
    what |= {"label": "A", "method": method, "layer": layer, "filter": filter}
    found = client.post("/map", json=what).json()
    png = base64.b64decode(found["maps"]["left"].partition(",")[2])
    got = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)

    run = run_of(folder, "eye")
    seen = load_photograph(file, run.config["image_size"])
    names = (layer,) if layer else None
    inside = picture_field(seen)
    maps = explainer.maps(run.model, seen.picture[None], method, [0], names, inside=inside[None])
    names = explainer.layer_names(run.model, method, names)
    settings = {"median": (3, False), "none": (0, False), "adaptive": (3, True)}[filter]
    map = clean(maps[0], median_size=settings[0], adaptive=settings[1])[0]
    grid = explainer.grid_of(run.model, method, names)
    whole = np.ones(seen.photograph.shape[:2], bool)
    laid = over_photograph(map, grid, seen.box, whole)
    assert got.shape == (*laid.shape, 4)
    # Away from the edge of the field of view, beyond which nothing is laid.
    cover = got[..., 3] / 255
    middle = (slice(12, -12), slice(12, -12))
    np.testing.assert_allclose(cover[middle], 0.75 * np.minimum(2 * laid, 1)[middle], atol=0.02)
    assert found["nothing"] == (not laid.any())


def test_a_case_report_holds_pictures_answers_and_the_card(folder, client):
    (data,) = contents("", photographs(folder, count=1))
    response = client.post("/case", json=sent(("left", data)))
    assert response.headers["content-disposition"] == 'attachment; filename="case.html"'
    text = response.text
    assert "<script" not in text
    assert len(re.findall(r'<img src="data:image/jpeg', text)) == 2
    assert "Left eye" in text or "left eye" in text
    assert "not for clinical use" in text
    assert "Network: tiny at 40 px" in text  # of the model card
    (answer,) = client.post("/answer", json=sent(("left", data))).json()["answers"]
    for row in answer["rows"]:
        assert f"{row['probability']:.3f}" in text
    bad = client.post("/case", json=sent(("left", b"%PDF-1.7")))
    assert "Not gradable" in bad.text


def test_a_png_bomb_in_a_small_file_is_an_answer(client):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    (answer,) = client.post("/answer", json=sent(("left", bomb))).json()["answers"]
    assert "more than 100 megapixels" in answer["why"]
