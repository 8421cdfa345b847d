"""What attention, words and several scales are worth, to segments and to their explanation.

    python benchmarks/ablation.py --out reports/ablation

On drawn photographs, whose lesions are known to the pixel: half of them with diabetic retinopathy,
people kept apart. A segmenter of four kinds of lesions in several forms, trained alike, and for
each lesion of test the map that the form offers: none (a uniform map, which knows nothing), the
attention of a transformer (Chefer et al. 2021), the cross-attention of a phrase, class activation
maps of one scale and of all five, and the mean of what the last form has. "Words" also start the
segmenter's encoder, from the network that learned them. Trainings that are there are used: the same
command goes on.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from common import machine

from fundus_diag.data.outlined import looked_at, outlined, read_masks
from fundus_diag.explain.explainer import grid_of, maps
from fundus_diag.explain.laying import highest, over_photograph
from fundus_diag.explain.methods.layers import usable
from fundus_diag.explain.metrics.localization import energy_inside, overlap, pointing_game, within
from fundus_diag.imaging.inside import picture_field
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.metrics.summary import summarise
from fundus_diag.models.encoders import CAM_LAYERS
from fundus_diag.models.segmenter import of_classes
from fundus_diag.runs.run import load_run
from fundus_diag.runs.segmenter import load_segmenter

LESIONS = {  # a class of the drawn masks: the phrase that it is called by
    "microaneurysm": "microaneurysm",
    "haemorrhage": "retinal hemorrhage",
    "hard_exudate": "hard exudate",
    "cotton_wool": "cotton wool spot",
}
ENCODER = "efficientnet_lite0"
FORMS = {  # network, start of its encoder, what makes its maps
    "none": ("unet", "imagenet", ("uniform",)),
    "self-attention": ("transunet", "imagenet", ("chefer",)),
    "words": ("unet", "words", ("words",)),
    "one scale": ("unet", "imagenet", ("grad_cam",)),
    "several scales": ("unet", "imagenet", ("layer_cam",)),
    "all": ("transunet", "words", ("chefer", "words", "layer_cam")),
}
FIGURES = ["peak", "energy", "jaccard"]
TOLERANCE = 0.02  # of the photograph's side, as explain-eval


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--patients", type=int, default=600)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=12, help="of phase 2 of a segmenter")
    parser.add_argument("--word-epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(machine())
    manifest, drawn = photographs(args)
    common = ["--manifest", manifest, "--image-root", drawn, "--seed", args.seed, "--patience", 0]
    common += ["--image-size", args.size, "--encoder", ENCODER]
    words = args.out / "words"
    trained(
        words, "train", "--task", "findings", *common, "--phase2-epochs", args.word_epochs,
        "--oversample-to", 0, "--pos-weight", "none",
    )  # fmt: skip
    dice, found = [], []
    for network, start in dict.fromkeys(x[:2] for x in FORMS.values()):
        run = args.out / f"{network}_{start}"
        weights = words / "model.weights.h5" if start == "words" else start
        small = ["channels=192", "depth=4", "heads=3"] if network == "transunet" else []
        trained(
            run, "segment", "train", *common, "--network", network, "--weights", weights,
            "--classes", *LESIONS, "--patch-size", args.size, "--phase2-epochs", args.epochs,
            *(["--decoder-options", *small] if small else []),
        )  # fmt: skip
        if not (run / "segments_test_images.csv").is_file():
            command("segment", "report", run)
    for form, (network, start, methods) in FORMS.items():
        run = args.out / f"{network}_{start}"
        each = pd.read_csv(run / "segments_test_images.csv", dtype={"patient": str})
        dice.append(each[each["by"] == "network"].assign(form=form))
        found.append(explained(run, words, methods, manifest, drawn).assign(form=form))
    found = pd.concat(found, ignore_index=True)
    found.to_csv(args.out / "maps.csv", index=False)
    both = summarise(found, "form", FIGURES).merge(
        summarise(pd.concat(dice, ignore_index=True), "form", ["dice", "average_precision"]),
        on="form", suffixes=("_maps", "_segments"),
    )  # fmt: skip
    both.to_csv(args.out / "ablation.csv", index=False)
    for row in both.to_dict("records"):
        said = [
            f"{name} {row[name]:.3f} ({row[f'{name}_low']:.3f} to {row[f'{name}_high']:.3f})"
            for name in ("dice", "average_precision", *FIGURES)
        ]
        print(f"{row['form']}, {row['n_maps']} maps: {', '.join(said)}")


def photographs(args):
    """(table, folder): all drawn photographs with a lesion, and as many without, by patient."""
    drawn, path = args.out / "drawn", args.out / "lesions.csv"
    if not (drawn / "manifest.csv").is_file():
        size = ["--patients", args.patients, "--size", args.size, "--seed", args.seed]
        command("draw", "--out", drawn, *size)
    table = pd.read_csv(drawn / "manifest.csv", dtype=str, keep_default_na=False)
    for lesion, phrase in LESIONS.items():
        table[phrase] = (table[f"mask_{lesion}"] != "none").astype(int)
    ill = table[list(LESIONS.values())].any(axis=1)
    well = table[~ill].sample(ill.sum(), random_state=args.seed)
    keep = ["image", "patient", "eye", *(f"mask_{x}" for x in LESIONS), *LESIONS.values()]
    own = pd.concat([table[ill], well]).sort_index()[keep]
    whole = args.out / "chosen.csv"
    own.to_csv(whole, index=False)
    if not path.is_file():
        ratios = ["--ratios", 0.6, 0.15, 0.25, "--seed", args.seed]
        command("manifest", "split", whole, "--out", path, *ratios)
    return path, drawn


def explained(run, words, methods, manifest, drawn):
    """A row for each lesion of test: figures of its map."""
    segmenter = load_segmenter(run)
    model, names = of_classes(segmenter.model), tuple(LESIONS)
    spoken = load_run(words)
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    table, rows = table[table["split"] == "test"], []
    for patient, row in zip(table["patient"], outlined(table, drawn, names), strict=True):
        loaded = load_photograph(row.path, segmenter.config["image_size"])
        masks = read_masks(row, names, loaded.photograph.shape[:2]) > 0
        inside = looked_at(row, loaded)
        there = [k for k in range(len(names)) if (masks[..., k] & inside).any()]
        if not there:
            continue
        laid = [
            made_by(method, model, spoken, loaded, inside, [names[k] for k in there])
            for method in methods
        ]
        for j, k in enumerate(there):
            map = np.mean([x[j] for x in laid], axis=0)
            mask = masks[..., k] & inside
            near = within(mask, TOLERANCE * max(mask.shape))
            peak = np.argwhere(highest(map)) + 0.5
            rows.append(
                {
                    "patient": patient,
                    "lesion": names[k],
                    "peak": pointing_game(peak, near),
                    "energy": energy_inside(map, mask),
                    "jaccard": overlap(map, mask),
                }
            )
    return pd.DataFrame(rows)


def made_by(method, model, spoken, loaded, inside, lesions):
    """Maps (H, W) of some lesions on the photograph, in [0, 1]."""
    if method == "uniform":
        return [inside.astype(np.float32) for _ in lesions]
    if method == "words":
        model = spoken.model
        numbers = [spoken.labels.index(LESIONS[x]) for x in lesions]
    else:
        numbers = [tuple(LESIONS).index(x) for x in lesions]
    layers = None
    if method in ("grad_cam", "layer_cam"):
        seen = set(usable(model))
        every = [x for x in CAM_LAYERS[ENCODER]([x.name for x in model.layers]) if x in seen]
        layers = every[-1:] if method == "grad_cam" else every
    field = picture_field(loaded)[None]
    made = maps(model, loaded.picture[None], method, numbers, layers, inside=field)[0]
    grid = grid_of(model, method, layers or ())
    return [np.clip(over_photograph(x, grid, loaded.box, inside), 0, 1) for x in made]


def trained(run, *words):
    """A training, which goes on where it was stopped; one that is there is used."""
    if (run / "thresholds.json").is_file():
        return
    begun = ["--resume"] if (run / "config.json").is_file() else []
    command(*words, "--run-dir", run, *begun)


def command(*words):
    subprocess.run([sys.executable, "-m", "fundus_diag", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
