"""Drives Debian's chromium through chromedriver's plain HTTP interface (W3C WebDriver)."""

import base64
import contextlib
import json
import re
import shutil
import subprocess
import urllib.request

import pytest

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --hide-scrollbars"
).split()


@contextlib.contextmanager
def page(url, width, profile, height=900):
    """Opens `url` in a window as wide as a phone or a desktop; yields `call(path, body)`.

    Headless chromium makes no window narrower than 500 px, so the screen is emulated.
    """
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs Debian's chromium and chromium-driver")
    process = subprocess.Popen(
        [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        base = f"http://127.0.0.1:{_port(process)}/session"
        options = {
            "binary": chromium,
            "args": [*FLAGS, f"--user-data-dir={profile}"],
            "mobileEmulation": {
                "deviceMetrics": {"width": width, "height": height, "pixelRatio": 1}
            },
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        answer = _post(base, {"capabilities": {"alwaysMatch": wanted}})
        session = f"{base}/{answer['sessionId']}"

        def call(path, body):
            return _post(f"{session}/{path}", body)

        call("url", {"url": url})
        yield call
        with contextlib.suppress(OSError):
            urllib.request.urlopen(urllib.request.Request(session, method="DELETE"), timeout=20)
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()


def script(call, code):
    """The value of a piece of JavaScript in the page."""
    return call("execute/sync", {"script": code, "args": []})


def screenshot(call, path):
    """Writes a picture of the whole page."""
    size = {"x": 0, "y": 0, "scale": 1}
    for side in ("Width", "Height"):
        size[side.lower()] = script(call, f"return document.documentElement.scroll{side}")
    body = {
        "cmd": "Page.captureScreenshot",
        "params": {"clip": size, "captureBeyondViewport": True},
    }
    path.write_bytes(base64.b64decode(call("goog/cdp/execute", body)["data"]))


def pages(call):
    """How many pages of A4 the page is when it is printed."""
    params = {"paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": True}
    body = {"cmd": "Page.printToPDF", "params": params}
    content = base64.b64decode(call("goog/cdp/execute", body)["data"])
    return len(re.findall(rb"/Type\s*/Page\b", content))


def _port(process):
    for line in process.stdout:
        found = re.search(r"started successfully on port (\d+)", line)
        if found:
            return found[1]
    raise RuntimeError("chromedriver did not start")


def _post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["value"]


def check_fit(call, width):
    """Sees that a page fits its window, shows every picture and says nothing in the console."""
    found = script(call, "return [window.innerWidth, document.documentElement.scrollWidth]")
    assert found == [width, width]
    pictures = "[...document.images].filter(x => !x.complete || !x.naturalWidth || !x.width)"
    assert script(call, f"return {pictures}.length") == 0
    # Nothing sticks out of the page but what scrolls inside its own box.
    outside = (
        "return [...document.querySelectorAll('main *')].filter(x => !x.closest('.scroll') "
        f"&& x.getBoundingClientRect().right > {width} + 1).length"
    )
    assert script(call, outside) == 0
    assert call("se/log", {"type": "browser"}) == []
