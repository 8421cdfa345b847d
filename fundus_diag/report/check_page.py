"""The page of a check: what a table holds, pictures of every label and of every fault."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fundus_diag.data.labels import label_text
from fundus_diag.data.manifest import summary
from fundus_diag.data.paths import inside
from fundus_diag.imaging.image_file import open_file
from fundus_diag.report.environment import environment
from fundus_diag.report.pictures import jpeg_url, resized, size_within
from fundus_diag.utils.files import write_text
from fundus_diag.utils.processes import cores

SHOWN = 6  # pictures of a label, and of a fault
FAULTS = 60  # lines of errors, and of warnings, that are shown with their pictures
THUMBNAIL = 150  # px
SEED = 0  # of the pictures that are shown of a label


def write_check(path, checked, facts, image_root):
    """Writes the page of a check.

    Args:
        path: HTML file.
        checked: `checks.Checked`.
        facts: `overview.overview` of it.
        image_root: folder of the pictures, or None.

    Raises:
        DataError: it cannot be written.
    """
    manifest, pictures = checked.manifest, checked.pictures
    rng, samples = np.random.default_rng(SEED), {}
    readable = set(pictures["image"]) if pictures is not None else set()
    for label in manifest.labels:
        images = manifest.table.loc[manifest.table[label] == 1, "image"].drop_duplicates()
        images = [image for image in images if image in readable]
        samples[label] = list(rng.permutation(images)[:SHOWN]) if images else []
    # The page may be handed on: it does not say where table and pictures lay.
    faults = {
        kind: [
            {
                "text": line.removeprefix(f"{manifest.path}: ").replace(f" under {image_root}", ""),
                "images": list(line.images[:SHOWN]),
            }
            for line in lines[:FAULTS]
        ]
        for kind, lines in (("errors", checked.errors), ("warnings", checked.warnings))
    }
    wanted = {image for images in samples.values() for image in images}
    wanted |= {x for lines in faults.values() for line in lines for x in line["images"]}
    wanted |= set(facts.get("blurred", []))
    shown = _thumbnails(sorted(wanted & readable), image_root) if image_root else {}
    splits = summary(manifest.table, manifest.labels)
    text = (
        environment()
        .get_template("check.html.j2")
        .render(
            name=Path(manifest.path).name,
            facts=facts,
            splits=splits,
            titles={label: label_text(label) for label in manifest.labels},
            samples=samples,
            faults=faults,
            counts={"errors": len(checked.errors), "warnings": len(checked.warnings)},
            shown=shown,
        )
    )
    write_text(path, text)


def _thumbnails(images, root):
    """{image: data URL} of small JPEGs; nothing of a file is in them but pixels."""

    def small(image):
        _, pixels, reason, _ = open_file(inside(Path(root), image))
        if reason:
            return None
        return jpeg_url(resized(pixels, size_within(pixels.shape, THUMBNAIL)))

    with ThreadPoolExecutor(cores()) as pool:
        found = dict(zip(images, pool.map(small, images), strict=True))
    return {image: url for image, url in found.items() if url}
