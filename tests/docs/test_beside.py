"""What lies beside the code for who comes to it: citation, container, environment, reports."""

import re
import tomllib
from pathlib import Path

import pytest
from documents import ROOT, check_command, commands

import fundus_diag

yaml = pytest.importorskip("yaml")


def loaded(name):
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


def test_the_citation_is_of_this_version_and_licence():
    """Its form was held against the schema of CFF 1.2.0 by cffconvert."""
    cited = loaded("CITATION.cff")
    assert set(cited) >= {"cff-version", "message", "title", "authors", "version", "license"}
    assert cited["version"] == fundus_diag.__version__
    setup = (ROOT / "setup.cfg").read_text("utf-8")
    assert f"license = {cited['license']}\n" in setup
    assert cited["authors"] == [{"name": re.search(r"author = (.*)", setup)[1]}]


def instructions():
    text = (ROOT / "Dockerfile").read_text("utf-8")
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]


def test_the_container_copies_what_is_there_and_installs_extras_that_are():
    known = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "ENTRYPOINT", "CMD"}
    found = instructions()
    assert found[0][0] == "FROM"
    assert {name for name, _ in found} <= known
    sent = [x[1:] for x in (ROOT / ".dockerignore").read_text().split() if x.startswith("!")]
    for name, rest in found:
        if name == "COPY":
            *sources, _ = rest.split()
            assert [x for x in sources if not (ROOT / x).exists() or x not in sent] == []
    (install,) = [rest for name, rest in found if name == "RUN" and "pip" in rest]
    check_extras(re.search(r"\.\[([\w,]+)\]", install)[1])
    # What setuptools reads while it builds is there before.
    copied = {x for name, rest in found if name == "COPY" for x in rest.split()}
    assert {"setup.cfg", "pyproject.toml", "README.md", "LICENSE", "fundus_diag"} <= copied
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]


def check_extras(names):
    check_command(["pip", "install", f".[{names}]"])


def test_the_commands_of_the_container_are_commands():
    text = (ROOT / "Dockerfile").read_text("utf-8")
    for line in re.findall(r"^#     docker run .*? fundus-diag (.*)$", text, re.MULTILINE):
        (words,) = commands(f"fundus-diag {line}")
        check_command(words)


def test_the_environment_is_this_package_as_it_is_tested():
    environment = loaded("environment.yml")
    *conda, pip = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    constraint, package = pip["pip"]
    assert (ROOT / constraint.removeprefix("--constraint ")).is_file()
    check_extras(re.fullmatch(r"--editable \.\[([\w,]+)\]", package)[1])


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda x: x.name
)
def test_forms_for_reports_are_forms(path):
    form = yaml.safe_load(path.read_text("utf-8"))
    if path.name == "config.yml":
        assert set(form) <= {"blank_issues_enabled", "contact_links"}
        return
    assert set(form) == {"name", "description", "labels", "body"}
    asked = [x for x in form["body"] if x["type"] != "markdown"]
    assert {x["type"] for x in asked} <= {"textarea", "input", "checkboxes", "dropdown"}
    assert len({x["id"] for x in asked}) == len(asked)
    assert all(x["attributes"]["label"] for x in asked)


def test_no_address_is_invented():
    """Nobody has published this yet: no host of code is named as its home."""
    for name in ("setup.cfg", "CITATION.cff", "mkdocs.yml", "README.md", "SECURITY.md"):
        text = Path(ROOT / name).read_text("utf-8")
        assert not re.search(r"github\.com|gitlab\.com|repo_url|site_url|Homepage", text), name
