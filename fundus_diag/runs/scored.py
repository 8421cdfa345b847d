"""How often a run's test split has been scored: whoever chooses by what it says no longer tests."""

import datetime
from pathlib import Path

from fundus_diag.runs import schema
from fundus_diag.runs.contents import SCORED
from fundus_diag.utils.files import read_json, write_json

UNKNOWN = "a day not noted"


def count_scoring(run_dir, split):
    """Counts one more scoring of a split, before anybody sees it; the caller holds the lock.

    Args:
        run_dir: of the run.
        split: name.

    Returns:
        {"times": with this one, "first": date of the first, or `UNKNOWN`}.

    Raises:
        DataError: the count cannot be read or written.
    """
    run_dir = Path(run_dir)
    path, counts = run_dir / SCORED, {}
    if path.exists():
        counts = read_json(path)
        schema.check(path, schema.Scored, counts)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    known = counts.get(split)
    if known is None:
        names = (f"metrics_{split}.json", f"segments_{split}.json")
        before = any((run_dir / name).exists() for name in names)  # by a version that did not count
        known = {"times": int(before), "first": UNKNOWN if before else today}
    counts[split] = known | {"times": known["times"] + 1}
    write_json(path, counts)
    return counts[split]


def said(scored):
    """What to say of a split that is scored again; None of one that is scored for once."""
    if scored["times"] < 2:
        return None
    return (
        f"its test split has been scored {scored['times']} times, first on "
        f"{scored['first']}: once a run is changed by what test says, test "
        "flatters it"
    )
