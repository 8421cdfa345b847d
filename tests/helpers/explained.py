"""Photographs with spots, the masks of these, and runs of random weights to explain."""

import cv2
import numpy as np
import pandas as pd
from tiny import make_photographs, ready_run

from fundus_diag.cli import main
from fundus_diag.imaging import image_file, preprocess


def make_explained(folder, patients=30, seed=0):
    """Photographs, the masks of their spots, and a run over eyes and one over pairs."""
    manifest = make_photographs(folder / "photographs", patients, seed=seed)
    for unit in ("eye", "patient"):
        ready_run(manifest, folder / unit, unit=unit)
    spots(manifest, folder / "masks")
    return folder


def spots(manifest, out):
    """Writes the masks of the bright and the dark spots of drawn photographs."""
    for row in pd.read_csv(manifest).to_dict("records"):
        gray = cv2.imread(str(manifest.parent / row["image"]), cv2.IMREAD_GRAYSCALE)
        stem = row["image"].removesuffix(".png")
        for lesion, mask in (("bright", gray > 200), ("dark", (gray > 5) & (gray < 15))):
            (out / lesion).mkdir(parents=True, exist_ok=True)
            if mask.any():
                path = out / lesion / f"{stem}_{lesion}.png"
                cv2.imwrite(str(path), mask.astype(np.uint8) * 255)


def files(folder, count=3):
    return sorted((folder / "photographs").glob("*.png"))[:count]


def rows_of(path):
    return pd.read_csv(path, keep_default_na=False)


def evaluate(folder, out, *words, run="eye"):
    manifest = folder / "photographs" / "manifest.csv"
    flags = ["--masks", folder / "masks", "--manifest", manifest, "--out", out]
    flags += ["--image-root", manifest.parent, "--split", "test", "--lesions", "A=bright"]
    flags += ["--randomised", "3", "--steps", "4", "--resamples", "100"]
    return main([str(w) for w in ("explain-eval", folder / run, *flags, *words)])


def damaged(path):
    """Content of a PNG whose header and end are whole, and whose pixels cannot be decoded."""
    content = path.read_bytes()
    return content[:60] + b"\xff" * 40 + content[100:]


def note_decoded(monkeypatch):
    """Contents of files as they are handed to a graph that decodes, in a list that grows."""
    seen = []

    def noting(graph):
        return lambda data, *further: seen.append(data) or graph(data, *further)

    reader = preprocess.reader
    monkeypatch.setattr(preprocess, "reader", lambda *of: noting(reader(*of)))
    for module in (preprocess, image_file):
        monkeypatch.setattr(module, "traced_decode", noting(module.traced_decode))
    return seen
