"""How well two measures tell photographs that a run knows from others: `metrics.ood`, and energy.

    python benchmarks/familiarity.py --run RUN --manifest odir_split.csv --image-root ODIR \
        [--other eyepacs.csv --other-root EYEPACS ..]

Fitted on the rows of train, known are those of test. Against them: drawn shapes, noise, photographs
of no eye (scikit-image's), drawn eyes, and the photographs of the other tables. ROC AUC of each.
"""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands do

import cv2
import keras
import numpy as np
from common import machine

from fundus_diag import load_run
from fundus_diag.data.labels import EYES, LABELS
from fundus_diag.data.manifest import read_manifest
from fundus_diag.data.synthetic.eye import draw_eye
from fundus_diag.imaging.preprocess import load_picture, resize_square
from fundus_diag.metrics.classification import macro_auc
from fundus_diag.metrics.ood import fit_mahalanobis, mahalanobis

COUNT = 200  # drawn ones, and of noise


def energy(logits):
    """Minus the joint energy of independent labels of logits (N, L): (N,).

    Wang et al. 2021, https://arxiv.org/abs/2111.12797, equation 4: the lower, the less a photograph
    looks like any of the labels.
    """
    return np.logaddexp(0, np.asarray(logits, np.float64)).sum(axis=1)


def shapes(rng, size):
    """Rectangles and circles of any colour on a ground of any colour."""
    picture = np.full((size, size, 3), rng.uniform(0, 255, 3), np.float32)
    for _ in range(rng.integers(2, 9)):
        colour = tuple(map(float, rng.uniform(0, 255, 3)))
        a, b = (tuple(map(int, rng.integers(0, size, 2))) for _ in range(2))
        if rng.random() < 0.5:
            cv2.rectangle(picture, a, b, colour, -1)
        else:
            cv2.circle(picture, a, int(rng.integers(size // 20, size // 3)), colour, -1)
    return picture


def noise(rng, size):
    """Noise of any coarseness and colour."""
    coarse = int(rng.integers(2, size))
    small = rng.uniform(0, 255, (coarse, coarse, 3)).astype(np.float32)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)


def everyday(size, crop):
    """scikit-image's photographs of other things, whole and in parts."""
    from skimage import data

    found = []
    for name in ("astronaut", "chelsea", "coffee", "rocket", "immunohistochemistry"):
        image = getattr(data, name)()[..., :3]
        height, width = image.shape[:2]
        parts = [image, image[: height // 2], image[height // 2 :], image[:, : width // 2],
                 image[:, width // 2 :]]  # fmt: skip
        found += [resize_square(part, size, crop)[0].numpy() for part in parts]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--image-root", type=Path, required=True)
    parser.add_argument("--other", type=Path, nargs="*", default=[])
    parser.add_argument("--other-root", type=Path)
    args = parser.parse_args()
    run = load_run(args.run)
    size, crop = run.config["image_size"], run.config["crop"]
    pooled = run.model.get_layer("head_pool").output
    network = keras.Model(run.model.input, [pooled, run.model.output])

    def read(table, root):
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda x: load_picture(root / x, size, crop), table["image"]))

    def looked_at(pictures):
        return network.predict(np.stack(pictures), batch_size=32, verbose=0)

    table = read_manifest(args.manifest, need_split=True).table
    seen, known = (
        looked_at(read(table[table["split"] == x], args.image_root)) for x in ("train", "test")
    )
    fitted = fit_mahalanobis(seen[0])
    rng = np.random.default_rng(0)
    drawn = [draw_eye((9, k), {LABELS[k % 7]}, EYES[k % 2], 512)[0] for k in range(COUNT)]
    others = {
        "drawn shapes": [shapes(rng, size) for _ in range(COUNT)],
        "noise": [noise(rng, size) for _ in range(COUNT)],
        "photographs of no eye": everyday(size, crop),
        "drawn eyes": [resize_square(x, size, crop)[0].numpy() for x in drawn],
    }
    for path in args.other:
        others[path.stem] = read(read_manifest(path, need_labels=False).table, args.other_root)
    print(f"{run.config['encoder']}, {size} px, {len(seen[0])} photographs seen, {machine()}")
    for name, pictures in others.items():
        found = looked_at(pictures)
        truth = np.repeat([0.0, 1.0], [len(known[0]), len(pictures)])[:, None]
        scores = {
            "Mahalanobis": [np.asarray(mahalanobis(x[0], fitted)) for x in (known, found)],
            "energy": [-energy(x[1]) for x in (known, found)],
        }
        said = []
        for measure, parts in scores.items():
            ranks = np.concatenate(parts).argsort().argsort()[:, None] / (len(truth) - 1)
            said.append(f"{measure} {macro_auc(truth, ranks):.3f}")
        print(f"{name} ({len(pictures)}): {', '.join(said)}", flush=True)


if __name__ == "__main__":
    main()
