"""The page in a real browser: a photograph is chosen, answered, explained, all by keyboard."""

import time

import cv2
import numpy as np
import pytest
from browser import page, screenshot, script
from exported import photographs
from test_serve_command import serving

pytestmark = [pytest.mark.slow, pytest.mark.browser]
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


@pytest.fixture(scope="module")
def address(folder):
    with serving(folder / "eye") as (_, address, _):
        yield address


def choose(call, eye, path):
    (element,) = call("elements", {"using": "css selector", "value": f"#file-{eye}"})
    call(f"element/{next(iter(element.values()))}/value", {"text": str(path)})


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
