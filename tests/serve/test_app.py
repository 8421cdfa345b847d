"""What the server answers whatever it serves: addresses, who may ask, what is wrong."""

import re

import cv2
import numpy as np
import pytest
from asking import b64, refused, sent
from starlette.testclient import TestClient

from fundus_diag.serve import guard
from fundus_diag.serve.app import make_app
from fundus_diag.serve.served import Served

HOSTS = guard.known_hosts("127.0.0.1") | {"testserver"}


def answer(inputs):
    """The graph of no network: a row is its number of bytes, none is "bad"."""
    data = inputs["image_bytes"].tolist()
    sizes = np.array([len(x) % 100 / 100 for x in data], np.float32)
    error = np.array([b"" if x else b"bad" for x in data], object)
    probability = np.where((error == b"")[:, None], np.stack([sizes, 1 - sizes], axis=1), -1)
    return {
        "probability": probability.astype(np.float32),
        "positive": probability > 0.5,
        "label": np.array([[b"A", b"B"]] * len(data), object),
        "gradable": error == b"",
        "error": error,
    }


@pytest.fixture(scope="module")
def eye():
    config = {"labels": ["A", "B"], "unit": "eye", "task": "multi_label", "image_size": 40,
              "crop": "fundus", "encoder": "tiny", "data": {}}  # fmt: skip
    points = {"labels": {"A": {"threshold": 0.5}, "B": {"threshold": None}}}
    specs = {"serving_default": {"image_bytes": ("string", ())}}
    return Served("eye", "1", config, points, {"serving_default": answer}, specs, "# A card")


@pytest.fixture(scope="module")
def client(eye):
    with TestClient(make_app(eye, HOSTS)) as made:
        yield made


def test_rows_come_back_in_their_order_whoever_else_asks(client):
    data = [b"x" * k for k in (7, 0, 30)]
    what = {"instances": [{"b64": b64(x)} for x in data]}
    found = client.post("/v1/models/eye:predict", json=what).json()["predictions"]
    assert [row["error"] for row in found] == ["", "bad", ""]
    assert [row["probability"][0] for row in found] == pytest.approx([0.07, -1, 0.3])


def test_the_status_is_that_of_tensorflow_serving(client):
    fine = {"error_code": "OK", "error_message": ""}
    entry = {"version": "1", "state": "AVAILABLE", "status": fine}
    for path in ("/v1/models/eye", "/v1/models/eye/versions/1"):
        assert client.get(path).json() == {"model_version_status": [entry]}
    assert client.get("/healthz").json() == {"status": "ok"}


def test_what_is_not_there_or_wrong_is_said(client):
    refused(client.get("/v1/models/other"), 404, "not found")
    refused(client.post("/v1/models/eye/versions/2:predict", json={}), 404, "not found")
    refused(client.get("/nothing"), 404, "not found")
    refused(client.get("/static/..%2Fapp.py"), 404, "not found")
    refused(client.get("/static/app.py"), 404, "not found")
    refused(client.get("/examples/9.jpg"), 404, "not found")
    refused(client.post("/v1/models/eye:predict", content=b"{"), 400, "JSON")
    wrong = {"instances": [{"b64": "*"}]}
    refused(client.post("/v1/models/eye:predict", json=wrong), 400, "broken base64")
    other = {"signature_name": "x", "instances": [1]}
    refused(client.post("/v1/models/eye:predict", json=other), 400, "signature_name")
    assert client.get("/v1/models/eye:predict").status_code == 405


def test_what_counts_is_told_without_what_was_asked(client):
    client.get("/secret-of-somebody")
    text = client.get("/metrics").text
    assert re.search(r'fundus_diag_requests_total\{path="/v1/models/eye",status="200"\} \d', text)
    assert 'gradable="yes"' in text
    assert "fundus_diag_seconds_bucket" in text
    assert "secret" not in text


def test_the_page_is_whole_and_may_run_nothing_else(client):
    response = client.get("/")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["cache-control"] == "no-store"
    for link in re.findall(r'(?:src|href)="([^"]+)"', response.text):
        assert link.startswith(("data:", "static/")), link
        if link.startswith("static/"):
            assert client.get(f"/{link}").status_code == 200
    assert "not for clinical use" in response.text
    for k in range(3):
        example = client.get(f"/examples/{k}.jpg")
        assert cv2.imdecode(np.frombuffer(example.content, np.uint8), 1).shape == (512, 512, 3)


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        ({"photographs": []}, 422, "no photograph"),
        ({}, 400, "a list of photographs"),
        ([1], 400, "a list of photographs"),
        ({"photographs": [1]}, 400, "a list of photographs"),
        ({"photographs": [{"eye": "left"}]}, 400, "eye and data"),
        ({"photographs": [{"eye": "left", "data": "*"}]}, 400, "broken base64"),
        ({"photographs": [{"eye": "third", "data": ""}]}, 422, "left, right or nothing"),
        ({"photographs": [{"eye": ["left"], "data": ""}]}, 422, "left, right or nothing"),
        ({"photographs": [{"eye": "left", "data": ""}] * 2}, 422, "two photographs of the left"),
        ({"photographs": [{"eye": "", "data": ""}] * 3}, 422, "one or two"),
    ],
)
def test_wrong_questions_are_told_what_is_wrong(client, what, status, said):
    for path in ("/answer", "/map", "/case"):
        refused(client.post(path, json=what), status, said)


def test_requests_of_other_sites_and_names_are_refused(client):
    refused(client.get("/", headers={"host": "evil.example"}), 400, "Host")
    answer = client.post("/answer", json={}, headers={"origin": "http://evil.example"})
    refused(answer, 403, "another site")


def test_a_token_opens_page_and_answers(eye):
    with TestClient(make_app(eye, HOSTS, token="sesame"), follow_redirects=False) as client:
        refused(client.get("/"), 401, "token")
        refused(client.get("/?token=other"), 401, "token")
        refused(client.post("/v1/models/eye:predict", json={}), 401, "token")
        assert client.get("/healthz").status_code == 200
        bearer = {"Authorization": "Bearer sesame"}
        assert client.post("/v1/models/eye:predict", json={}, headers=bearer).status_code == 400
        opened = client.get("/?token=sesame")
        assert opened.status_code == 303
        assert opened.headers["location"] == "/"
        assert "HttpOnly" in opened.headers["set-cookie"]
        assert "samesite=strict" in opened.headers["set-cookie"].lower()
        assert client.get("/").status_code == 200  # by the cookie


def test_bodies_that_are_too_large_are_refused(eye):
    room = guard.Room(1000)
    with TestClient(make_app(eye, HOSTS, room=room)) as client:
        answer = client.post("/answer", content=b"x" * 2000)
        refused(answer, 503, "too many")
        assert answer.headers["retry-after"] == "1"
        headers = {"content-length": str(3 * 2**30)}
        refused(client.post("/answer", content=b"", headers=headers), 413, "more than")
    assert room.free == 1000


def test_what_goes_wrong_inside_is_not_told(eye, capsys, monkeypatch):
    with TestClient(make_app(eye, HOSTS), raise_server_exceptions=False) as client:
        monkeypatch.setattr("fundus_diag.serve.views.sent", lambda *_: 1 / 0)
        refused(client.post("/answer", json=sent(("left", b"x"))), 500, "internal error")
    assert "ZeroDivisionError" in capsys.readouterr().err
