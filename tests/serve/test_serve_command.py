"""`fundus-diag serve` as a process: started, asked, looked at in a browser, refused, ended."""

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from browser import page, screenshot, script
from exported import photographs

from fundus_diag.cli import main
from fundus_diag.serve import served

POST = {"Content-Type": "application/json"}


@contextlib.contextmanager
def serving(*words, **environment):
    """A server; yields (process, address, what it printed before)."""
    command = [sys.executable, tiny.__file__, "serve", *map(str, words), "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    printed = []
    try:
        for line in process.stdout:
            printed.append(line)
            if line.startswith("programs: "):
                break
        else:
            raise RuntimeError(process.stderr.read())
        yield process, re.search(r"http://[^/]+", printed[-1])[0], "".join(printed)
    finally:
        process.kill()
        process.wait(timeout=30)
        process.stdout.close()
        process.stderr.close()


def ask(url, what=None, **headers):
    """(status, JSON) of an address."""
    data = None if what is None else json.dumps(what).encode()
    request = urllib.request.Request(url, data, {**POST, **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def complaint(capsys, *words):
    status = main(["serve", *map(str, words)])
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("fundus-diag: ")]
    return status, line


def test_what_is_wrong_is_said_before_anything_is_loaded(tmp_path, capsys):
    assert complaint(capsys) == (
        2, "fundus-diag: name a run, or an export by --model: one of the two"
    )  # fmt: skip
    for flags, said in (
        (["--port", "70000"], "--port 70000: must lie from 0 to 65535"),
        (["--max-batch", "0"], "--max-batch 0: at least 1"),
        (["--wait-ms", "nan"], "--wait-ms nan: at least 0"),
        (["--name", "a/b"], "--name 'a/b': letters, digits, - and _"),
        (["--host", "no such host"], "--host no such host: no such address"),
    ):
        status, line = complaint(capsys, tmp_path, *flags)
        assert (status, said in line) == (2, True), line
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, line = complaint(capsys, tmp_path, "--port", taken.getsockname()[1])
    assert status == 2
    assert "Address already in use" in line


def test_what_cannot_be_served_is_said(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    status, line = complaint(capsys, tmp_path / "empty", "--port", 0)
    assert status == 1
    assert f"{tmp_path / 'empty' / 'config.json'}: not found" in line
    status, line = complaint(capsys, "--model", tmp_path / "empty", "--port", 0)
    assert status == 1
    assert "no SavedModel that export wrote is there" in line


@pytest.mark.parametrize(
    ("folder_name", "name"),
    [("odir", "odir"), ("my run {1}", "my-run-1"), ("眼底", "model"), ("a.b_c-d", "a-b_c-d")],
)
def test_any_folder_gives_a_name_that_may_stand_in_an_address(folder_name, name):
    assert served._name(Path("/somewhere") / folder_name) == name


def test_without_its_packages_it_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fundus_diag.cli.serve.NEEDED", ("fastapi", "no_such_package"))
    status, line = complaint(capsys, tmp_path)
    assert status == 2
    assert "no_such_package not installed; pip install '.[serve]'" in line


@pytest.fixture(scope="module")
def running(folder, tmp_path_factory):
    """(process, address, its folder of temporary files) of a server of the run `eye`."""
    own = tmp_path_factory.mktemp("temporary")
    with serving(folder / "eye", "--name", "odir", TMPDIR=str(own)) as (process, address, _):
        yield process, address, own


@pytest.mark.slow
def test_a_run_and_its_export_answer_alike_by_the_lines_of_the_documents(
    folder, exported_eye, running
):
    with serving("--model", exported_eye) as (_, address, _):
        one, of_run = answers_of(folder, running[1], "odir")
        other, of_export = answers_of(folder, address, "eye_model")
    assert one == pytest.approx(other, abs=1e-5)
    for rows in (of_run, of_export):
        assert [x["probability"] for x in rows] == pytest.approx(one, abs=1e-5)
    assert all(x["n"] for x in of_run)
    assert not any(x["n"] for x in of_export)  # what was scored on val is not exported


def answers_of(folder, address, name):
    """(probabilities, rows on the page) of a photograph, asked as docs/how-to/serving.md does."""
    document = (Path(__file__).parents[2] / "docs" / "how-to" / "serving.md").read_text("utf-8")
    assert 'json={"instances": [{"b64": data}]}' in document
    assert '"instances": [{"image_bytes": {"b64": data}, "label": -1}]}' in document
    data = base64.b64encode(photographs(folder, count=1)[0].read_bytes()).decode()
    maps = {"signature_name": "explain", "instances": [{"image_bytes": {"b64": data}, "label": -1}]}
    url = f"{address}/v1/models/{name}"
    assert ask(url)[1]["model_version_status"][0]["state"] == "AVAILABLE"
    first = ask(f"{url}:predict", {"instances": [{"b64": data}]})[1]["predictions"][0]
    columns = ask(f"{url}:predict", {"inputs": {"image_bytes": [{"b64": data}]}})[1]["outputs"]
    assert columns["probability"] == [first["probability"]]
    row = ask(f"{url}:predict", maps)[1]["predictions"][0]
    assert base64.b64decode(row["map_overlay_bytes"]["b64"])[:4] == b"\x89PNG"
    sent = {"photographs": [{"eye": "left", "data": data}]}
    shown = ask(f"{address}/map", sent | {"label": "A"})[1]
    assert shown["maps"]["left"].startswith("data:image/png;base64,")
    return first["probability"], ask(f"{address}/answer", sent)[1]["answers"][0]["rows"]


@pytest.mark.slow
def test_beyond_this_machine_a_token_is_drawn_and_asked_for(folder):
    with serving(folder / "eye", "--host", "0.0.0.0") as (_, address, printed):
        token = re.search(r"\?token=(\S+)", printed)[1]
        assert len(token) >= 32
        assert ask(f"{address}/v1/models/eye")[0] == 401
        assert ask(f"{address}/v1/models/eye", Authorization=f"Bearer {token}")[0] == 200
        assert ask(f"{address}/v1/models/eye", Host="evil.example")[0] == 400


@pytest.mark.slow
def test_an_export_that_was_changed_is_not_served(exported_eye, tmp_path, capsys):
    changed = tmp_path / "model"
    shutil.copytree(exported_eye, changed)
    (changed / "1" / "assets.extra" / "labels.txt").write_text("X\nY\n")
    status, line = complaint(capsys, "--model", changed, "--port", 0)
    assert status == 1
    assert "labels.txt: is not the file of" in line
    (changed / "1" / "assets.extra" / "labels.txt").unlink()
    assert "is missing" in complaint(capsys, "--model", changed, "--port", 0)[1]
    (changed / "1" / "more.txt").write_text("")
    assert "more.txt: is not listed in" in complaint(capsys, "--model", changed, "--port", 0)[1]


# The page, in a real browser.

KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Left": "\ue012", "Down": "\ue015"}


def press(call, key):
    keys = [{"type": kind, "value": KEYS[key]} for kind in ("keyDown", "keyUp")]
    call("actions", {"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})


def go_to(call, selector):
    """Presses Tab until what `selector` names has the focus."""
    for _ in range(40):
        if script(call, f"return document.activeElement.matches({selector!r})"):
            return
        press(call, "Tab")
    raise AssertionError(f"{selector}: not reached by Tab")


def wait_for(call, code, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = script(call, f"return {code}")
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{code}: not in {seconds} s; {script(call, STATUS)}")


STATUS = "return document.querySelector('#status').textContent"
OVER = "document.querySelector('.over')?.src"


@pytest.fixture
def address(running):
    return running[1]


def choose(call, eye, path):
    (element,) = call("elements", {"using": "css selector", "value": f"#file-{eye}"})
    call(f"element/{next(iter(element.values()))}/value", {"text": str(path)})


@pytest.mark.slow
@pytest.mark.browser
def test_by_keyboard_from_a_photograph_to_the_case_report(address, folder, tmp_path):
    (file,) = photographs(folder, count=1)
    with page(f"{address}/", 1400, tmp_path / "profile") as call:
        go_to(call, "#file-right")
        choose(call, "right", file)
        wait_for(call, "document.querySelectorAll('tbody tr').length === 2")
        cells = script(
            call,
            "return [...document.querySelectorAll('tbody tr')].map(row => "
            "[row.cells[1].textContent, row.querySelector('.rail i').style.width])",
        )
        for text, width in cells:
            assert float(width.rstrip("%")) == pytest.approx(100 * float(text), abs=0.06)
        first = wait_for(call, OVER)
        go_to(call, "input[type=range]")
        before = script(call, "return document.querySelector('.over').style.opacity")
        for _ in range(5):
            press(call, "Left")
        after = script(call, "return document.querySelector('.over').style.opacity")
        assert float(after) == pytest.approx(float(before) - 0.05)
        script(call, "document.querySelector('#file-right').focus()")
        go_to(call, "select.method")
        press(call, "Down")
        assert script(call, "return document.querySelector('select.method').value") == "grad_cam"
        wait_for(call, f"{OVER} && {OVER} !== {first!r}")
        behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
        call("goog/cdp/execute", {"cmd": "Browser.setDownloadBehavior", "params": behaviour})
        go_to(call, "#case")
        press(call, "Enter")
        wait_for(call, "document.querySelector('#status').textContent.includes('downloaded')")
        end = time.monotonic() + 20
        while not (tmp_path / "case.html").exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert "grad cam" in (tmp_path / "case.html").read_text("utf-8")
        errors = call("se/log", {"type": "browser"})
        assert [x for x in errors if x["level"] == "SEVERE"] == []


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390])
def test_it_fits_its_screen_and_says_what_is_wrong(address, folder, tmp_path, width):
    bad = tmp_path / "a document.jpg"
    bad.write_bytes(b"%PDF-1.7\n")
    with page(f"{address}/", width, tmp_path / "profile") as call:
        choose(call, "left", bad)
        why = wait_for(call, "document.querySelector('.why')?.textContent")
        assert why.startswith("Not gradable: ")
        script(call, "document.querySelector('[data-example=\"1\"]').click()")
        wait_for(call, "document.querySelector('h2')?.textContent.startsWith('right')")
        wait_for(call, OVER)
        assert script(call, "return document.documentElement.scrollWidth") <= width
        screenshot(call, tmp_path / "page.png")
        picture = cv2.imread(str(tmp_path / "page.png"))
        assert picture.shape[1] == width
        # The map lies over the photograph: within it, and of its size.
        boxes = script(
            call,
            "return [...document.querySelectorAll('.frame img')].map(x => "
            "{ const b = x.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })",
        )
        np.testing.assert_allclose(boxes[0], boxes[1], atol=1)


# Last: it ends the server.


@pytest.mark.slow
def test_a_body_of_gigabytes_is_refused_at_its_head_and_nothing_is_written(folder, running):
    process, address, own = running
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as one:
        head = f"POST /answer HTTP/1.1\r\nHost: {host}\r\nContent-Length: {2 * 2**30}\r\n\r\n"
        one.sendall(head.encode() + b"x" * 1000)
        assert one.recv(1000).startswith(b"HTTP/1.1 413")
    data = base64.b64encode(photographs(folder, count=1)[0].read_bytes()).decode()
    what = {"photographs": [{"eye": "left", "data": data, "name": "../../evil"}]}
    assert ask(f"{address}/answer", what)[0] == 200
    files = [x for x in own.rglob("*") if x.is_file()]
    assert [x for x in files if "__autograph" not in x.name] == []  # TensorFlow's, at its start
    process.terminate()
    assert process.wait(timeout=30) in (0, -signal.SIGTERM)
    output = process.stderr.read()
    assert "evil" not in output
    assert "POST" not in output  # nobody logs who asked what
