"""Long work says how far it is, in a log too."""

from fundus_diag.utils import progress
from fundus_diag.utils.progress import track


def test_a_log_gets_a_line_a_minute_and_one_at_the_end(monkeypatch, capsys):
    seconds = iter(range(0, 25 * 100, 25))  # each look at the clock is 25 s after the last
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    assert list(track(iter("abcdef"), "reading", 6)) == list("abcdef")
    assert capsys.readouterr().err.splitlines() == [
        "reading: 2 of 6, 75 s",
        "reading: 5 of 6, 150 s",
        "reading: 6 in 175 s",
    ]


def test_nothing_to_do_is_said_too(capsys):
    assert list(track([], "reading", 0)) == []
    assert capsys.readouterr().err.splitlines() == ["reading: 0 in 0 s"]
