"""What ophthalmologists wrote: the vocabulary, complete on ODIR's table, and how it is read."""

import re
import tomllib
import unicodedata
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fundus_diag.data import findings
from fundus_diag.data.datasets.descriptions import describe, described, descriptions_dir
from fundus_diag.data.datasets.odir import eye_labels
from fundus_diag.data.findings import find, phrases_of, plain, read_findings, read_vocabulary
from fundus_diag.data.labels import HEALTHY, LABELS
from fundus_diag.data.tables import read_table
from fundus_diag.utils.errors import DataError

CHALLENGE, KAGGLE = "ODIR-5K_Training_Annotations.xlsx", "full_df.csv"
OWN = {"image": "filename", "text": "keywords", "patient": "ID", "eye": "side"}
VOCABULARY = read_vocabulary()
FINDINGS = list(VOCABULARY.finding.values())
WAYS = [(x, text) for x in FINDINGS for text in (x.phrase, *x.synonyms, *x.zh)]
WIDE = {ord(" "): "\u3000"} | {at: at + 0xFEE0 for at in range(0x21, 0x7F)}  # full-width forms
SMALL = """
tables = "odir5k"
unmapped = ["see the letter"]
[finding.drusen]
synonyms = ["Druse"]
zh = ["玻璃膜疣"]
label = "O"
where = ["macula"]
segment = []
"""


def labels_of(phrases):
    """Labels of an eye: it is normal where no phrase speaks for a disease."""
    labels = {find(VOCABULARY, phrase).label for phrase in phrases} - {""}
    return labels - {HEALTHY} or labels


def save(tmp_path, text):
    path = tmp_path / "words.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.fixture(scope="module")
def odir(data_dir):
    """{a table of ODIR: (what it says of each eye, phrases that nobody knows)}."""
    if not (data_dir / "odir5k").is_dir():
        pytest.skip(f"no odir5k in {data_dir}")
    read = {x: read_findings(data_dir / "odir5k" / x, VOCABULARY) for x in (CHALLENGE, KAGGLE)}
    own = read_findings(data_dir / "odir5k" / "labels.csv", VOCABULARY, OWN)
    return read | {"labels.csv": own}


@pytest.mark.parametrize(
    ("name", "eyes", "written", "found"),
    [(CHALLENGE, 5742, 98, 92), (KAGGLE, 4960, 84, 49), ("labels.csv", 4917, 48, 46)],
)
def test_every_phrase_of_odir_has_a_finding(data_dir, odir, name, eyes, written, found):
    """Kaggle's rows name both eyes of a patient, but 33 phrases stand at eyes without a row."""
    table, unknown = odir[name]
    assert unknown == {}
    assert len(table) == eyes
    assert table["image"].is_unique
    assert not table["unmapped"].map(len).any()
    assert table["phrases"].map(len).all()
    assert len(set().union(*table["phrases"])) == found
    text = read_table(data_dir / "odir5k" / name, strict=False)
    columns = [x for x in text.columns if "keywords" in x.casefold()]
    cells = [cell for column in columns for cell in text.column(column)]
    # Counted by another way than `phrases_of`: ODIR has commas of two widths, small letters alone.
    words = {word.strip() for cell in cells for word in re.split("[，,]", cell)}
    assert len(words) == written
    assert {find(VOCABULARY, x).phrase for x in words} >= set().union(*table["phrases"])
    assert VOCABULARY.unmapped == ()


def test_both_publications_say_the_same_of_an_eye(odir):
    challenge, kaggle = (odir[x][0].set_index("image") for x in (CHALLENGE, KAGGLE))
    assert challenge.loc[kaggle.index].equals(kaggle)
    own = odir["labels.csv"][0].set_index("image")
    assert kaggle.loc[own.index, ["eye", "phrases"]].equals(own[["eye", "phrases"]])
    assert ("odir-" + own["patient"]).equals(kaggle.loc[own.index, "patient"])
    assert Counter(challenge["eye"]) == {"left": 2871, "right": 2871}
    assert all(eye in image for image, eye in zip(own.index, own["eye"], strict=True))


def test_labels_follow_from_the_phrases_for_every_eye(data_dir, odir):
    table, _ = odir["labels.csv"]
    text = read_table(data_dir / "odir5k" / "labels.csv")
    given = {x: text.column(x) for x in LABELS}
    assert len(table) == 4917
    wrong = [
        image
        for i, (image, phrases) in enumerate(zip(table["image"], table["phrases"], strict=True))
        if labels_of(phrases) != {x for x in LABELS if given[x][i] == "1"}
    ]
    assert wrong == []


def test_labels_are_those_of_the_build_for_every_eye_of_the_challenge(data_dir, odir):
    rules = describe(VOCABULARY.tables).keywords
    table = odir[CHALLENGE][0].set_index("image")["phrases"]
    text = read_table(data_dir / "odir5k" / CHALLENGE)
    for side in ("Left", "Right"):
        cells = text.column(f"{side}-Diagnostic Keywords")
        for image, cell in zip(text.column(f"{side}-Fundus"), cells, strict=True):
            assert labels_of(table[image]) == eye_labels(cell, rules)
    assert sum(not labels_of(phrases) for phrases in table) == 24  # remarks alone


def test_eyes_together_give_the_published_patient_for_all_but_4149(data_dir, odir):
    table, _ = odir[CHALLENGE]
    text = read_table(data_dir / "odir5k" / CHALLENGE)
    given = {x: text.column(x) for x in LABELS}
    both = table.groupby("patient")["phrases"].sum()
    exceptions = [
        name
        for i, name in enumerate(text.column("ID"))
        if labels_of(both[f"odir-{name}"]) != {x for x in LABELS if given[x][i] == "1"}
    ]
    assert len(both) == 2871
    assert exceptions == ["4149"]
    assert labels_of(both["odir-4149"]) == set()  # pictures of low quality, published as normal


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda x: x.phrase)
def test_labels_are_those_of_the_challenge(finding):
    rules = describe(VOCABULARY.tables).keywords
    assert eye_labels(finding.phrase, rules) == {finding.label} - {""}
    for text in finding.synonyms:  # a term of its own may be unknown there, which is O
        assert eye_labels(text, rules) <= {finding.label, "O"}


def test_phrases_of_the_challenge_are_all_there():
    rules = describe(VOCABULARY.tables).keywords
    for text in (*rules["remarks"], *rules["normal"], *rules["other"]):
        assert find(VOCABULARY, text), text


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda x: x.phrase)
def test_a_finding_says_what_is_known(finding):
    assert finding.phrase == plain(finding.phrase)
    assert finding.synonyms
    assert finding.label in (*LABELS, "")
    assert set(finding.where) <= set(findings.PLACES)
    assert set(finding.segment) <= set(findings.SEGMENTS)
    assert len(set(finding.where)) == len(finding.where)
    assert len(set(finding.segment)) == len(finding.segment)
    assert bool(finding.where) == (finding.label not in ("", HEALTHY))
    assert finding.where or not finding.segment
    for text in (finding.phrase, *finding.synonyms):
        assert text.isascii()
    for text in finding.zh:
        assert re.fullmatch("[\u4e00-\u9fff]+", text)


def test_nothing_stands_twice():
    texts = [plain(text) for _, text in WAYS]
    assert len(FINDINGS) == 97
    assert [text for text, n in Counter(texts).items() if n > 1] == []
    raw = tomllib.loads((descriptions_dir() / "findings.toml").read_text("utf-8"))
    assert sorted(raw["finding"]) == sorted(x.phrase for x in FINDINGS)


def test_segments_are_the_outlines_of_data_sets():
    """But for the macula, which none of them outlines and `explain` knows by its place."""
    parts = [x for name in described() for x in (describe(name), *describe(name).parts)]
    masks = set().union(*(part.masks for part in parts))
    assert set(findings.SEGMENTS) - masks == {"macula"}


@pytest.mark.parametrize(
    ("text", "phrase", "segment"),
    [
        ("微血管瘤", "microaneurysm", {"MA"}),
        ("视网膜出血", "retinal hemorrhage", {"HE"}),
        ("Retinal Haemorrhages", "retinal hemorrhage", {"HE"}),
        ("硬性渗出", "hard exudate", {"EX"}),
        ("棉絮斑", "cotton wool spot", {"SE"}),
        ("soft exudate", "cotton wool spot", {"SE"}),
        ("糖尿病视网膜病变", "diabetic retinopathy", {"MA", "HE", "EX", "SE"}),
        ("青光眼", "glaucoma", {"disc", "cup"}),
        ("白内障", "cataract", set()),
        ("optic disk oedema", "optic disc edema", {"disc"}),
        ("myopia retinopathy", "myopic retinopathy", {"disc", "macula"}),
        ("epiretinal membrane over the macula", "macular epiretinal membrane", {"macula"}),
        ("old BRVO", "old branch retinal vein occlusion", {"vessels"}),
        ("suspicious diabetic retinopathy", "suspected diabetic retinopathy", None),
        ("正常眼底", "normal fundus", set()),
    ],
)
def test_terms_of_both_languages_are_found(text, phrase, segment):
    found = find(VOCABULARY, text)
    assert found.phrase == phrase
    assert segment is None or set(found.segment) == segment


def test_every_way_to_say_it_finds_it():
    for finding, text in WAYS:
        assert find(VOCABULARY, text) is finding
        assert find(VOCABULARY, text.upper().translate(WIDE)) is finding


@given(
    st.lists(st.sampled_from(WAYS), max_size=6),
    st.lists(st.sampled_from([*"，,、､﹐", " ， ", ",，", "\u3000、\n"]), min_size=7),
    st.sampled_from([str.upper, str.title, str.casefold, lambda x: x.translate(WIDE)]),
    st.sampled_from([" ", "  ", "\u3000", "\xa0", "\t"]),
)
def test_case_commas_and_blanks_do_not_matter(ways, commas, cased, blank):
    said = [cased(text).replace(" ", blank) for _, text in ways]
    text = "".join(comma + x for comma, x in zip(commas, [*said, ""], strict=False))
    found = phrases_of(text)
    assert found == tuple(dict.fromkeys(plain(x) for _, x in ways))
    assert {find(VOCABULARY, x).phrase for x in found} == {x.phrase for x, _ in ways}


@given(st.text(st.sampled_from("aÅßΐﬁ𝐌①，,、､ \u3000\u0301\u0345") | st.characters(), max_size=20))
@example("𝐌")  # small only once it is a plain letter
@example("ΐ")  # decomposed by its small form
def test_phrases_are_plain_and_none_is_lost(text):
    found = phrases_of(text)
    assert plain(plain(text)) == plain(text)
    assert unicodedata.is_normalized("NFKC", plain(text))
    assert phrases_of("，".join(found)) == found
    words = re.sub("[,、]", " ", plain(text)).split()
    assert set(" ".join(found).split()) == set(words)
    for phrase in found:
        assert phrase == plain(phrase) != ""
        assert not set(phrase) & set(",，、､")


def test_an_unknown_phrase_is_counted_and_returned(tmp_path):
    vocabulary = read_vocabulary(save(tmp_path, SMALL))
    path = tmp_path / "t.csv"
    path.write_text(
        "photo,whose,side,words\n"
        'a.jpg,7,OS,"DRUSE，Zebra  Stripes，drusen, see the letter"\n'
        "b.jpg,7,右,zebra stripes、odd\n"
        "c.jpg,,,\n",
        "utf-8",
    )
    columns = {"image": "photo", "text": "words", "patient": "whose", "eye": "side"}
    table, unknown = read_findings(path, vocabulary, columns)
    assert table.to_numpy().tolist() == [
        ["a.jpg", "7", "left", ("drusen",), ("zebra stripes", "see the letter")],
        ["b.jpg", "7", "right", (), ("zebra stripes", "odd")],
        ["c.jpg", "c.jpg", "", (), ()],
    ]
    assert unknown == {"zebra stripes": (2, "a.jpg"), "odd": (1, "b.jpg")}
    least, _ = read_findings(path, vocabulary, {"image": "photo", "text": "words"})
    assert least[["patient", "eye"]].to_numpy().tolist() == [[f"{x}.jpg", ""] for x in "abc"]
    assert find(vocabulary, "zebra stripes") is None
    assert find(vocabulary, "") is None


def test_a_wrong_table_is_one_line(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("filename,keywords,side\na.jpg,drusen,up\n")
    columns = {"image": "filename", "text": "keywords"}
    head = "ID,Left-Fundus,Right-Fundus,Left-Diagnostic Keywords,Right-Diagnostic Keywords,filename"
    (tmp_path / "o.csv").write_text(f"{head}\n1,1_left.jpg,1_right.jpg,drusen,drusen,2_left.jpg\n")
    for name, asked, said in [
        ("t.csv", columns | {"eye": "side"}, "t.csv line 2: 'up' is no word for an eye"),
        ("t.csv", columns | {"text": "words"}, "no column 'words'"),
        ("t.csv", None, "no column 'ID'"),
        ("o.csv", None, "o.csv line 2: '2_left.jpg' is neither eye of its row"),
        ("none.csv", None, "none.csv: cannot be read"),
    ]:
        with pytest.raises(DataError, match=re.escape(said)) as caught:
            read_findings(tmp_path / name, VOCABULARY, asked)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[finding", "[finding\n[", "words.toml: not a TOML file: "),
        ('label = "O"', 'label = "Q"', "words.toml: finding.drusen.label: Input should be 'N', "),
        ('label = "O"', "", "finding.drusen.label: Field required"),
        ('["macula"]', '["nose"]', "finding.drusen.where.0: Input should be 'disc', 'macula'"),
        ("segment = []", 'segment = ["OD"]', "finding.drusen.segment.0: Input should be 'MA'"),
        ("segment = []", "segment = []\nicd = 1", "finding.drusen.icd: Unexpected keyword"),
        ('["玻璃膜疣"]', "[]", "finding.drusen.zh: Tuple should have at least 1 item"),
        ('["玻璃膜疣"]', "[7]", "finding.drusen.zh.0: Input should be a valid string"),
        ('"Druse"', '"a, b"', "finding.drusen.synonyms.0: one phrase is meant, without a comma"),
        ('"Druse"', '"druse，"', "finding.drusen.synonyms.0: one phrase is meant"),
        ('"Druse"', '" "', "finding.drusen.synonyms.0: one phrase is meant"),
        ('"Druse"', '"ＤＲＵＳＥＮ"', "words.toml: finding: 'drusen' stands twice"),
        ('"see the letter"', '"druse"', "finding: 'druse' stands twice"),
        ('"see the letter"', "1, 2, 3, 4, 5, 6, 7", "; and 2 more"),
        ("[finding.drusen]", '[finding."dru\\nsen"]\nx = 1', "finding.dru sen.x: "),
        ("unmapped", "known", "words.toml: known: Extra inputs are not permitted"),
        ("[finding.drusen]", "[found.drusen]", "words.toml: finding: Field required"),
    ],
)
def test_a_broken_vocabulary_is_one_line(tmp_path, old, new, said):
    assert old in SMALL
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        read_vocabulary(save(tmp_path, SMALL.replace(old, new)))
    assert "\n" not in str(caught.value)
    assert "Value error" not in str(caught.value)


def test_a_vocabulary_that_cannot_be_read_is_one_line(tmp_path):
    for text in ("finding = 7\ntables = ''", "finding = { drusen = 7 }\ntables = ''"):
        with pytest.raises(DataError, match=r"words.toml: finding.*: Input should be") as caught:
            read_vocabulary(save(tmp_path, text))
        assert "\n" not in str(caught.value)
    (tmp_path / "words.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="words.toml: not a TOML file: "):
        read_vocabulary(tmp_path / "words.toml")
    with pytest.raises(DataError, match="none.toml: cannot be read: "):
        read_vocabulary(tmp_path / "none.toml")


def test_the_vocabulary_is_no_data_set():
    assert (descriptions_dir() / "findings.toml").is_file()
    assert "findings" not in described()
    assert VOCABULARY.tables in described()
