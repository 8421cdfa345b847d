"""Patients who share a photograph are one person, whatever they are called."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fundus_diag.data import duplicates
from fundus_diag.data.paths import inside
from fundus_diag.utils.errors import counted

NAMED = 3  # groups that a note names
WORKERS = 4


def same_people(table: pd.DataFrame, image_root: Path) -> tuple[list[str], list[str]]:
    """Whom each row is of, where patients with the same picture, or nearly so, are one person.

    Pictures are compared as `manifest check` does it; one that cannot be read is like nothing.

    Args:
        table: a manifest's.
        image_root: folder that its image paths start from.

    Returns:
        (one of the person's patients for each row, notes of a line each).
    """
    # TensorFlow takes seconds to import: tables alone shall not wait for it.
    from fundus_diag.imaging.image_file import open_file
    from fundus_diag.utils.progress import track

    def look(image):
        """(hash of the file, thumbnail), or None."""
        picture = inside(Path(image_root), image)
        found = open_file(picture) if picture else None
        if found is None or found.reason:
            return None
        return hashlib.sha256(found.content).digest(), duplicates.thumbnail(found.picture)

    with ThreadPoolExecutor(WORKERS) as pool:
        looks = list(track(pool.map(look, table["image"]), "comparing pictures", len(table)))
    seen = [i for i, found in enumerate(looks) if found]
    owners = table["patient"].iloc[seen].tolist()
    hashes, thumbnails = ([looks[i][k] for i in seen] for k in (0, 1))
    links = [(group[0], i) for group in duplicates.same_content(hashes) for i in group[1:]]
    links += [(i, j) for i, j, _ in duplicates.near_pairs(thumbnails, owners, hashes)]
    person = one_person(table["patient"], [(owners[i], owners[j]) for i, j in links])
    unread = len(looks) - len(seen)
    notes = [f"{counted(unread, 'picture')} unreadable and not compared"] if unread else []
    shared = table["patient"].groupby(np.array(person), sort=False).unique()
    shared = [", ".join(group) for group in shared if len(group) > 1]
    if shared:
        more = " .." if len(shared) > NAMED else ""
        named = "; ".join(shared[:NAMED])
        notes.append(f"patients who share a picture are dealt out together: {named}{more}")
    return person, notes


def one_person(patients: Sequence[str], links: list[tuple[str, str]]) -> list[str]:
    """Of each patient the first one whom a chain of links leads to, in the order of `patients`."""
    code, names = pd.factorize(np.asarray(patients, dtype=object))
    at = {name: i for i, name in enumerate(names)}
    edges = np.array([(at[one], at[other]) for one, other in links], int).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(len(names), len(names)))
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    return names[first[component]][code].tolist()
