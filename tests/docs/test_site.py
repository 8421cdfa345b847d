"""The site of docs/: built with warnings as errors; every link leads somewhere; it needs nobody."""

import re
import shutil
import subprocess
import sys
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest
from browser import page, script
from documents import DOCS, ROOT, pages

ASSETS = {("img", "src"), ("script", "src"), ("link", "href"), ("source", "src"), ("iframe", "src")}


def build(folder):
    """Builds the site of `folder`, which has mkdocs.yml and docs/; (status, what was said)."""
    program = shutil.which("zensical") or str(Path(sys.executable).with_name("zensical"))
    if not Path(program).exists():
        pytest.skip("needs pip install '.[docs]'")
    words = [program, "build", "--clean", "--strict"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    shutil.copytree(DOCS, folder / "docs")
    return folder


@pytest.fixture(scope="module")
def site(copy):
    status, said = build(copy)
    assert status == 0, said
    return copy / "site"


class Links(HTMLParser):
    """The links and the names of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.names = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append((tag, name, value, dict(attrs)))
            elif name in ("id", "name") and value:
                self.names.add(value)


@pytest.fixture(scope="module")
def read(site):
    return {path: Links(path.read_text("utf-8")) for path in site.rglob("*.html")}


def test_every_page_is_built_and_in_the_navigation(site):
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    names = re.findall(r"([\w/-]+\.md)$", navigation, re.MULTILINE)
    assert sorted(names) == sorted(x.relative_to(DOCS).as_posix() for x in DOCS.rglob("*.md"))
    assert [x for x in names if not (site / x).with_suffix(".html").is_file()] == []


def test_links_lead_to_pages_and_places_that_are_there(site, read):
    checked = 0
    for path, found in read.items():
        if path.name == "404.html":
            continue  # its links begin at the root of a host
        for _, _, link, _ in found.links:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "mailto", "data"):
                assert parts.scheme == "data" or parts.netloc or parts.path, link
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path.relative_to(site)}: {link}"
            if parts.fragment and target.suffix == ".html":
                assert unquote(parts.fragment) in read[target].names, f"{path}: {link}"
            checked += 1
    assert checked > 1000


def test_nothing_is_loaded_from_elsewhere(site, read):
    """No font, script, style or picture: the site works offline, and tells nobody who reads it."""
    for path, found in read.items():
        for tag, name, link, attrs in found.links:
            asset = (tag, name) in ASSETS and attrs.get("rel") != "canonical"
            assert not (asset and urlsplit(link).netloc), f"{path}: {link}"
    for path in site.rglob("*.css"):
        text = path.read_text("utf-8")
        assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//", text), path


def test_figures_of_the_site_have_words_for_who_does_not_see_them():
    for path in pages():
        for words in re.findall(r"!\[(.*?)\]\(", path.read_text("utf-8"), re.DOTALL):
            assert len(words) > 20, path


@pytest.mark.parametrize("wrong", ["[x](nowhere.md)", "[x](start.md#no-such-place)"])
def test_a_broken_link_ends_the_build(copy, site, tmp_path, wrong):
    shutil.copy(copy / "mkdocs.yml", tmp_path)
    shutil.copytree(copy / "docs", tmp_path / "docs")
    with open(tmp_path / "docs" / "index.md", "a", encoding="utf-8") as file:
        file.write(f"\n{wrong}\n")
    status, said = build(tmp_path)
    assert status != 0
    assert "does not exist" in said


def test_links_of_the_files_beside_docs_lead_somewhere():
    """README, CONTRIBUTING, SECURITY, CHANGELOG and benchmarks/README.md: read as plain files."""
    beside = [x for x in [*pages(), ROOT / "CHANGELOG.md"] if DOCS not in x.parents]
    for path in beside:
        for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
            target, _, place = link.partition("#")
            if not link.startswith("http"):
                assert (path.parent / target).exists(), f"{path.name}: {link}"
                if place:
                    heads = re.findall(
                        r"^#+ (.*)$", (path.parent / target).read_text(), re.MULTILINE
                    )
                    assert place in {re.sub(r"[^\w]+", "-", x.lower()).strip("-") for x in heads}, (
                        link
                    )


def test_docs_that_the_code_names_are_there():
    for path in [*(ROOT / "fundus_diag").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        for name in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text("utf-8")):
            assert (ROOT / name).is_file() or "templates/applications" in name, f"{path}: {name}"


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1400])
def test_pages_fit_their_window_and_ask_nobody_else(site, tmp_path, width):
    handler = partial(QuietHandler, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}/"
        with page(f"{root}index.html", width, tmp_path / "profile") as call:
            for name in ("index", "start", "results/odir", "results/maps", "reference/commands",
                         "what-can-go-wrong", "how-to/index", "glossary"):  # fmt: skip
                call("url", {"url": f"{root}{name}.html"})
                found = script(
                    call, "return [window.innerWidth, document.documentElement.scrollWidth]"
                )
                assert found == [width, width], name
                asked = "return performance.getEntriesByType('resource').map(x => x.name)"
                assert [
                    x for x in script(call, asked) if not x.startswith((root, "data:", "blob:"))
                ] == []
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass
