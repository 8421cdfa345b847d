"""Blinded cases for readers, and what their files come to."""

import re

import browser
import numpy as np
import pandas as pd
import pytest
from tiny import make_photographs, ready_run

from fundus_diag.cli import main
from fundus_diag.metrics.agreement import fleiss_kappa
from fundus_diag.report.rating import QUESTIONS, SCALE, rating_summary
from fundus_diag.utils.errors import DataError


@pytest.fixture(scope="module")
def sheet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rating")
    manifest = make_photographs(folder / "photographs", patients=20)
    ready_run(manifest, folder / "run")
    assert main(command(folder / "sheet")) == 0
    return folder / "sheet"


def command(sheet, seed=3):
    folder = sheet.parent
    images = sorted(map(str, (folder / "photographs").glob("*.png")))[:5]
    words = ["--images", *images, "--rating", str(sheet), "--seed", str(seed)]
    methods = ["--methods", "layer_cam", "grad_cam", "grad_cam_pp"]
    return ["case", str(folder / "run"), *words, *methods]


def test_the_same_command_makes_the_same_key_and_another_does_not_replace_it(sheet, capsys):
    key = (sheet / "key.csv").read_text()
    assert main(command(sheet)) == 0
    assert (sheet / "key.csv").read_text() == key
    capsys.readouterr()
    assert main(command(sheet, seed=4)) == 2
    assert "key.csv is the key of another page" in capsys.readouterr().err
    assert (sheet / "key.csv").read_text() == key


def test_the_page_names_no_method_and_the_key_all(sheet):
    page, key = (sheet / "rating.html").read_text(), pd.read_csv(sheet / "key.csv")
    assert not re.search("layer|grad|cam", page.lower().split("<script>")[0].split("</style>")[1])
    assert len(key) == 5 * 3
    for _, one in key.groupby("case"):
        assert sorted(one["method"]) == ["grad_cam", "grad_cam_pp", "layer_cam"]
        assert one["map"].tolist() == ["A", "B", "C"]
    assert key.groupby("map")["method"].nunique().max() > 1  # not the same letter for one method
    assert page.count("<figure>") == 5 * 4
    assert page.count('type="radio"') == 5 * 3 * len(QUESTIONS) * len(SCALE)
    assert not re.search(r"(src|href)=.?https?:", page)


def filled(sheet, path, rate):
    key = pd.read_csv(sheet / "key.csv", dtype={"page": str})
    rows = [
        {"page": row.page, "case": row.case, "map": row.map, **{x: rate(row, x) for x in QUESTIONS}}
        for row in key.itertuples()
    ]
    pd.DataFrame(rows, dtype=str).to_csv(path, index=False)
    return path


def test_means_and_agreement_are_those_of_the_files(sheet, tmp_path, capsys):
    rng = np.random.default_rng(0)
    good = {"layer_cam": 4, "grad_cam": 2, "grad_cam_pp": 3}
    files = [
        filled(sheet, tmp_path / f"r{k}.csv", lambda row, q: good[row.method] + rng.integers(0, 2))
        for k in range(3)
    ]
    out = tmp_path / "summary.csv"
    words = ["case", "--rating-summary", str(sheet / "key.csv"), *map(str, files)]
    assert main([*words, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.count("agreement: Fleiss") == len(QUESTIONS)
    means, agreements = rating_summary(sheet / "key.csv", files)
    key = pd.read_csv(sheet / "key.csv", dtype={"page": str})
    tables = [
        pd.read_csv(x, dtype={"page": str}).merge(key, on=["page", "case", "map"]) for x in files
    ]
    every = pd.concat(tables)
    for row in means.itertuples():
        own = every[every["method"] == row.method][row.question]
        assert row.rating == pytest.approx(own.mean())
        assert row.n == len(own) == 15
        assert row.rating_low <= row.rating <= row.rating_high
    for row in agreements.itertuples():
        ratings = np.stack([x[row.question] for x in tables], axis=1)
        assert row.fleiss == pytest.approx(fleiss_kappa(ratings, SCALE))
    assert "question,method" in out.read_text()


@pytest.mark.browser
def test_what_the_page_saves_is_what_the_summary_reads(sheet, tmp_path):
    """Two cases are answered by clicks, the page is opened again, its file is saved."""
    address, answers = (sheet / "rating.html").as_uri(), {}
    kept = (
        "const make = URL.createObjectURL; URL.createObjectURL = x => { window.saved = x; "
        "return make(x); };"
    )
    with browser.page(address, 1400, tmp_path / "profile") as call:
        browser.check_fit(call, 1400)
        names = browser.script(
            call, "return [...new Set([...document.querySelectorAll('#form input[type=radio]')]"
            ".map(x => x.name))]"
        )  # fmt: skip
        for k, name in enumerate(x for x in names if x.split("-")[0] in "12"):
            answers[name] = 1 + k % 5
            at = f"#form input[name='{name}'][value='{answers[name]}']"
            browser.script(call, f'document.querySelector("{at}").click()')
        call("refresh", {})
        told = browser.script(call, "return document.getElementById('count').textContent")
        assert told == f"{len(answers)} of {len(names)} answered"
        browser.script(call, kept + "document.getElementById('who').value = 'A. b';")
        browser.script(call, "document.getElementById('form').requestSubmit()")
        text = call("execute/async", {"script": "saved.text().then(arguments[0])", "args": []})
    path = tmp_path / "rating_Ab.csv"
    path.write_text(text)
    key = pd.read_csv(sheet / "key.csv", dtype={"page": str})
    given = pd.read_csv(path, dtype={"page": str})
    assert len(given) == len(key)
    for row in given.itertuples():
        for question in QUESTIONS:
            want = answers.get(f"{row.case}-{row.map}-{question}")
            got = getattr(row, question)
            assert got == want or (want is None and np.isnan(got))
    means, _ = rating_summary(sheet / "key.csv", [path])
    both = given.merge(key, on=["page", "case", "map"])
    for row in means.itertuples():
        own = both[both["method"] == row.method][row.question].dropna()
        assert (row.n - row.rating_undefined, row.rating) == (2, pytest.approx(own.mean()))
    with browser.page(address, 390, tmp_path / "telephone") as call:
        browser.check_fit(call, 390)


def test_what_was_left_open_counts_nowhere(sheet, tmp_path):
    def some(row, question):
        return "" if question == "trust" or row.case == 1 else 5

    means, agreements = rating_summary(
        sheet / "key.csv", [filled(sheet, tmp_path / "a.csv", some)], resamples=100
    )
    means = means.set_index(["question", "method"])
    assert np.isnan(means["rating"]["trust", "layer_cam"])
    assert means["rating"]["fits", "layer_cam"] == 5
    assert means["rating_undefined"]["fits", "layer_cam"] == 1
    assert agreements["fleiss"].isna().all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.assign(fits="6"), "line 2: fits is '6', not 1 to 5 or nothing"),
        (lambda t: t.assign(map="Z"), "line 2: the key has no map Z of case"),
        (lambda t: pd.concat([t, t]), "is rated twice"),
        (lambda t: t.assign(page="other"), "line 2: of another page than the key"),
        (lambda t: t.drop(columns="helps"), "no column helps"),
    ],
)
def test_a_wrong_file_is_named(sheet, tmp_path, change, said):
    path = filled(sheet, tmp_path / "a.csv", lambda row, q: 3)
    change(pd.read_csv(path, dtype=str)).to_csv(path, index=False)
    with pytest.raises(DataError, match=re.escape(said)):
        rating_summary(sheet / "key.csv", [path])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rating-summary", "key.csv"], "then a file of each reader"),
        ([], "name a run and --images"),
        (["run", "--images", "a.jpg"], "--out for a report, or --rating"),
    ],
)
def test_what_is_missing_is_said(capsys, words, said):
    assert main(["case", *words]) == 2
    assert said in capsys.readouterr().err
