"""Splits by patient, stratified over all labels at once.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of
multi-label data", Algorithm 1, https://doi.org/10.1007/978-3-642-23808-6_10) carried over to
groups: what is dealt out is a patient, who brings as many positives of a label as there are rows
with it. The sizes of the splits are fixed beforehand. Afterwards patients of two splits change
places as long as that evens the labels out: the greedy deal leaves a few rows to gain.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from fundus_diag.data import patients
from fundus_diag.data.kept_splits import as_in, kept_splits
from fundus_diag.data.labels import SPLITS
from fundus_diag.data.manifest import Manifest, read_manifest, summary
from fundus_diag.data.same_people import same_people
from fundus_diag.data.tables import read_table
from fundus_diag.data.write import write_manifest
from fundus_diag.utils.errors import UsageError

TRIED_PATIENTS = 40_000  # a small table is dealt out several times and the best is kept ..
MAX_TRIES = 8  # .. at most so often
ROUNDS = 5
MAX_SWAPS = 200  # per pair of splits and round
MAX_KINDS = 128  # kinds of patients looked at for one swap


def split(
    path: Path,
    out: Path,
    ratios: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    keep: Sequence[str] = (),
    keep_together: Path | None = None,
    split_eyes_on_purpose: bool = False,
    like: Path | None = None,
) -> dict:
    """Writes the manifest `path` to `out` with a new column `split`.

    Args:
        path: manifest; a split that it has already is replaced, whatever stands in it, unless it
            is kept.
        ratios: shares of the patients for train, val and test; their sum is 1. Of those who are
            not in a split that is kept: the shares of the others, in proportion.
        seed: the same seed gives the same split, in whatever order the rows stand.
        keep: splits that stay as they are; everybody else is dealt out over the others.
        keep_together: folder of the pictures; where it is given, patients who share a picture, the
            same or nearly so, are dealt out together (see `same_people`).
        split_eyes_on_purpose: whether every photograph is made a patient of its own, so that both
            eyes of a person stand in two splits: a mistake, to show how much it flatters.
        like: another manifest, whose patients stand in the splits that they have there; those that
            it does not name are dealt out over all.

    Returns:
        {"out", "rows", "replaced": whether there was a split before, "notes": [line, ..],
        "splits": see `manifest.summary`}.

    Raises:
        DataError: the manifest is wrong or cannot be written.
        UsageError: the ratios, the seed or the splits to keep are wrong.
    """
    text = read_table(path)
    replaced = text.has("split") and any(text.column("split"))
    before = read_manifest(path, need_labels=None, keep_split=bool(keep))
    if like is not None:
        if keep:
            raise UsageError("--like and --keep: one or the other")
        before, keep, notes_of_it = as_in(before, like)
    if split_eyes_on_purpose:
        before = replace(before, table=before.table.assign(patient=before.table["image"]))
    people, notes = before.table["patient"], patients.notes(before.table)
    notes += notes_of_it if like is not None else []
    if replaced and not keep:
        notes.append("the splits that the table had are dealt anew (--keep keeps them)")
    if keep_together is not None:
        people, shared = same_people(before.table, keep_together)
        notes += shared
    kept = kept_splits(before, np.asarray(people), keep, notes)
    table = split_manifest(before, ratios, seed, people, kept, like is not None)
    write_manifest(table, out)
    made = {"out": str(out), "rows": len(table), "replaced": replaced, "notes": notes}
    return made | {"splits": summary(table, before.labels)}


def split_manifest(
    manifest: Manifest,
    ratios: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    people: Sequence[str] | None = None,
    kept: Sequence[str] | None = None,
    over_all: bool = False,
) -> pd.DataFrame:
    """The manifest's table with a new column `split`; see `split_patients`.

    Args:
        people: whom each row is of, where that is not its patient.
        kept: the split that each row stays in, "" of rows that are dealt out; None for all.
        over_all: whether these are dealt out over the splits that are kept, too.
    """
    y = manifest.table[list(manifest.labels)].to_numpy()
    people = np.asarray(manifest.table["patient"] if people is None else people)
    names = np.full(len(people), "", object) if kept is None else np.array(kept, object)
    ratios, free = _check_ratios(ratios), names == ""
    if not free.all() and not over_all:
        ratios = np.where(np.isin(SPLITS, names[~free]), 0, ratios)
        if free.any() and not ratios.sum():
            raise UsageError("--ratios: no share for the splits that are not kept")
        ratios = ratios / (ratios.sum() or 1)
    if free.any():
        names[free] = split_patients(people[free], y[free], ratios, seed)
    return manifest.table.assign(split=names)


def split_patients(
    patients: Sequence[str],
    y: np.ndarray,
    ratios: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
) -> np.ndarray:
    """Deals patients out to train, val and test.

    Args:
        patients: (n,) id of each row's patient.
        y: (n, L) of 1, 0 and NaN (not graded).
        ratios: shares of train, val and test; the number of patients in each is exact to within
            one (largest remainder).
        seed: draws the order in which equal patients are dealt out.

    Returns:
        (n,) array of "train", "val" and "test".

    Raises:
        UsageError: the ratios are negative or their sum is not 1; the seed is negative.
    """
    ratios = _check_ratios(ratios)
    if seed < 0:
        raise UsageError(f"--seed {seed}: at least 0")
    people, who = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    counts = _count(who, np.asarray(y, "float64").reshape(len(who), -1))  # (patients, features)
    sizes = _sizes(len(people), ratios)
    rng = np.random.default_rng(seed)
    tries = []
    for _ in range(int(np.clip(TRIED_PATIENTS // len(people), 1, MAX_TRIES))):
        dealt = _deal(counts, sizes, rng)
        _swap(counts, dealt, sizes, rng)
        tries.append((_error(counts, dealt, sizes), dealt))
    best = min(tries, key=lambda attempt: attempt[0])[1]
    return np.array(SPLITS, dtype=object)[best[who]]


def _check_ratios(ratios):
    ratios = np.asarray(ratios, "float64")
    if ratios.shape != (3,) or not (ratios >= 0).all() or abs(ratios.sum() - 1) > 1e-6:
        given = " ".join(f"{ratio:g}" for ratio in np.ravel(ratios))
        raise UsageError(f"--ratios {given}: three shares of train, val and test whose sum is 1")
    return ratios


def _count(who, y):
    """(patients, features): positives per label, graded rows per label, rows; constants left out.

    The last two keep ungraded rows and patients with one eye in equal shares; they are constant,
    so absent, in a table with one fully graded row per patient.
    """
    features = np.concatenate([y == 1, ~np.isnan(y), np.ones((len(y), 1))], axis=1)
    counts = np.zeros((who.max() + 1, features.shape[1]))
    np.add.at(counts, who, features)
    counts = counts[:, (counts != counts[:1]).any(axis=0)]
    return np.unique(counts, axis=1)  # equal columns would weigh twice


def _sizes(n, ratios):
    """(splits,) integers of sum n, each within one of its share: the largest remainders get one."""
    exact = n * ratios / ratios.sum()
    sizes = np.floor(exact + 1e-9).astype(int)
    rest = n - sizes.sum()
    lacking = np.round(exact - sizes, 9)  # so that equal remainders are equal: train comes first
    sizes[np.argsort(-lacking, kind="stable")[:rest]] += 1
    return sizes


def _deal(counts, sizes, rng):
    """(patients,) split of each: the rarest label first, to the split that lacks most of it."""
    n, features = counts.shape
    order = rng.permutation(n)
    wanted = (counts.sum(axis=0) * (sizes / n)[:, None]).tolist()  # [split][feature]
    rows = counts.tolist()
    room = sizes.tolist()
    dealt = np.full(n, -1)
    for _ in range(features):
        left = dealt[order] < 0
        totals = (counts[order][left] > 0).sum(axis=0)
        if not totals.any():
            break
        rarest = int(np.where(totals > 0, totals, n + 1).argmin())
        for i in order[left & (counts[order, rarest] > 0)].tolist():
            # Ties go to the split with most room, then to the first: the order is random already.
            open_splits = [s for s in range(len(room)) if room[s] > 0]
            best = max(open_splits, key=lambda s: (wanted[s][rarest], room[s]))
            dealt[i] = best
            room[best] -= 1
            row, target = rows[i], wanted[best]
            for feature, value in enumerate(row):
                if value:
                    target[feature] -= value
    dealt[order[dealt[order] < 0]] = np.repeat(np.arange(len(room)), room)
    return dealt


def _target(counts, sizes):
    """(splits, features) count asked for, and what a miss by one weighs.

    A miss counts as a share of the label's positives and as a share of the split's patients; with
    the factor 3 neither lost to the package `iterative-stratification` at equal sizes (60 tables).
    """
    total = counts.sum(axis=0)
    return total * (sizes / len(counts))[:, None], 1 / total + 3 / np.maximum(sizes, 1)[:, None]


def _error(counts, dealt, sizes):
    """Weighted sum over splits and features of |count - count asked for|."""
    target, weight = _target(counts, sizes)
    got = np.stack([counts[dealt == s].sum(axis=0) for s in range(len(sizes))])
    return float((np.abs(got - target) * weight).sum())


def _swap(counts, dealt, sizes, rng):
    """Exchanges patients of two splits, in place, while the error falls (see `_error`).

    Its squares go first: they still tell exchanges apart where the error itself is at rest.
    """
    if not counts.shape[1]:
        return
    kinds, kind = np.unique(counts, axis=0, return_inverse=True)
    target, weight = _target(counts, sizes)
    pairs = [(s, t) for s, t in ((0, 1), (0, 2), (1, 2)) if sizes[s] and sizes[t]]
    for power in (2, 1):
        for _ in range(ROUNDS):
            goal = target, weight, power
            if not sum(_swap_pair(kinds, kind, dealt, goal, pair, rng) for pair in pairs):
                break


def _swap_pair(kinds, kind, dealt, goal, pair, rng):
    """Best exchanges between the two splits of `pair`, one after the other; returns how many."""
    target, weight, power = goal
    members = []
    for s in pair:
        people = np.flatnonzero(dealt == s)
        people = people[np.argsort(kind[people], kind="stable")]
        found, first = np.unique(kind[people], return_index=True)
        groups = np.split(people, first[1:])
        members.append({int(k): g.tolist() for k, g in zip(found, groups, strict=True)})
    error = np.stack([kinds[kind[dealt == s]].sum(axis=0) - target[s] for s in pair])
    w = weight[list(pair)]
    for done in range(MAX_SWAPS):
        mine, theirs = (_some_kinds(m, rng) for m in members)
        # What split s gains, and t loses, when a patient of each changes sides.
        gain = kinds[theirs][None, :] - kinds[mine][:, None]  # (mine, theirs, features)
        after = np.abs(error[0] + gain) ** power @ w[0] + np.abs(error[1] - gain) ** power @ w[1]
        i, j = np.unravel_index(after.argmin(), after.shape)
        if after[i, j] > (np.abs(error) ** power * w).sum() - 1e-9:
            return done
        for here, there, k in ((0, 1, mine[i]), (1, 0, theirs[j])):
            person = members[here][k].pop()
            if not members[here][k]:
                del members[here][k]
            members[there].setdefault(k, []).append(person)
            dealt[person] = pair[there]
        error += np.stack([gain[i, j], -gain[i, j]])
    return MAX_SWAPS


def _some_kinds(members, rng):
    keys = np.array(sorted(members))
    return keys if len(keys) <= MAX_KINDS else rng.choice(keys, MAX_KINDS, replace=False)
