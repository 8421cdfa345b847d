"""`fundus-diag`: every command reads files, writes files, and can be run again alone.

Exit status: 0 done, 1 a file or photograph is wrong, 2 a flag is wrong; one line on stderr says
which. Heavy modules are imported by the command that needs them, so that --help is quick.
"""

import sys
from pathlib import Path
from typing import Literal

import tyro

from fundus_diag import __version__
from fundus_diag.config import TrainConfig
from fundus_diag.errors import DataError, UsageError
from fundus_diag.parsing import parse
from fundus_diag.quiet import import_tensorflow

File = tyro.conf.Positional[Path]
DISCLAIMER = "A research tool, not for clinical use."


def build(
    name: tyro.conf.Positional[Literal["odir5k", "retinamnist", "folders", "csv"]],
    /,
    root: Path,
    out: Path,
    labels: str | None = None,
    mapping: Path | None = None,
    table: Path | None = None,
):
    """Make a manifest of a data set as it is published; data_manifests/NAME.toml describes it.

    Args:
        name: The data set.
        root: Its folder.
        out: Manifest (CSV) to write.
        labels: Which labels, where there is a choice: eye or patient (odir5k), grade or odir
            (retinamnist). Default: the first.
        mapping: TOML that maps its classes or columns to labels (folders, csv).
        table: Its table, where it is not found by itself (odir5k, csv).
    """
    from fundus_diag.datasets import build as build_manifest

    made = build_manifest(name, root, out, labels=labels, mapping=mapping, table=table)
    for note in made["notes"]:
        print(f"note: {note}")
    for reason, number in made["left_out"].items():
        print(f"left out: {number} rows, {reason}")
    _print_counts(made["splits"])
    print(f"licence: {made['licence']}")
    print(f"{made['out']}: image root {made['image_root']}")


def check(file: File, /, image_root: Path):
    """Check a manifest and its photographs; errors end with status 1, warnings do not.

    Args:
        file: Manifest.
        image_root: Folder that its image paths start from.
    """
    from fundus_diag.manifest import check as check_manifest

    errors, warnings = check_manifest(file, image_root)
    for text in warnings:
        print(f"warning: {text}")
    for text in errors:
        print(f"error: {text}", file=sys.stderr)
    print(f"{file}: {len(errors)} errors, {len(warnings)} warnings")
    return 1 if errors else 0


def split(
    file: File,
    /,
    out: Path,
    ratios: tuple[float, float, float] = (0.7, 0.1, 0.2),
    seed: int = 0,
):
    """Split a manifest by patient into train, val and test, labels balanced.

    Args:
        file: Manifest.
        out: Manifest to write, with a column split.
        ratios: Shares of the patients for train, val and test.
        seed: The same seed gives the same split.
    """
    from fundus_diag.splitting import split as split_file

    made = split_file(file, out, ratios, seed)
    _print_counts(made["splits"])
    print(made["out"])


def merge(files: tyro.conf.Positional[tuple[Path, ...]], /, out: Path):
    """Merge manifests; a label that one of them does not grade stays empty there.

    Args:
        files: Manifests.
        out: Manifest to write.
    """
    from fundus_diag.manifest import merge as merge_files

    made = merge_files(files, out)
    _print_counts(made["splits"])
    print(made["out"])


def _print_counts(splits):
    for name, part in splits.items():
        counts = " ".join(f"{label} {n}" for label, n in part["positives"].items())
        print(f"{name}: {part['rows']} rows, {part['patients']} patients, positives {counts}")


def train(config: tyro.conf.OmitArgPrefixes[TrainConfig]):
    """Train a classifier in two phases: the head alone, then everything."""
    from fundus_diag.report import write_report
    from fundus_diag.training import train as train_run

    run_dir = train_run(config)
    page = write_report(run_dir, split="val")
    print(f"validation report: {page}")
    print(f"score test, once, with: fundus-diag report {run_dir}")


def predict(
    run: File,
    /,
    manifest: Path,
    image_root: Path,
    out: Path,
    split: str | None = None,
    precision: Literal["float32", "auto"] = "float32",
    batch_size: int = 16,
    on_bad_image: Literal["fail", "skip"] = "fail",
):
    """Write calibrated probabilities of every photograph (or patient) of a table.

    Args:
        run: Run directory.
        manifest: Table with image, patient, eye; labels are carried along.
        image_root: Folder that its image paths start from.
        out: CSV to write.
        split: Rows of this split only.
        precision: float32, or auto: the fast path, to about two decimals.
        batch_size: Rows at a time.
        on_bad_image: Stop at a photograph that cannot be read, or leave its row out.
    """
    from fundus_diag.prediction import predict as predict_table

    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: at least 1")
    table = predict_table(
        run, manifest, image_root, out, split, precision, batch_size, on_bad_image
    )
    print(f"{out}: {len(table)} rows")


def report(
    run: File,
    /,
    predictions: Path | None = None,
    out: Path | None = None,
    split: str = "test",
    resamples: int = 1000,
    explain: bool = True,
):
    """Score a split of a run (test, once) or other predictions, and write the report.

    Args:
        run: Run directory.
        predictions: Predictions of this run on other photographs, scored instead; needs --out.
        out: Folder to write to. Default: the run.
        split: Split of the run's own manifest.
        resamples: Of the bootstrap over patients, for the 95 % intervals.
        explain: Write the page of explanations too: the surest hits, the worst errors.
    """
    from fundus_diag.reporting import report_run

    page, metrics = report_run(run, predictions, out, split, resamples)
    if explain and predictions is None and out is None:
        from fundus_diag.explanations_page import write_explanations

        explanations = write_explanations(run, split)
        print(explanations or f"no page of explanations: the photographs of {run} are not here")
    print(headline(page, metrics))


def explain(
    run: File,
    /,
    images: tuple[Path, ...] = (),
    manifest: Path | None = None,
    image_root: Path | None = None,
    split: str | None = None,
    out: Path | None = None,
    methods: tuple[str, ...] = ("layer_cam",),
    labels: tuple[str, ...] = (),
    layers: tuple[str, ...] = (),
    median: int = 3,
    adaptive: bool = False,
    aug_smooth: bool = False,
    eigen_smooth: bool = False,
    level: float = 0.5,
    batch_size: int = 8,
    on_bad_image: Literal["fail", "skip"] = "fail",
):
    """Show where in photographs the predictions of a run come from: class activation maps.

    Args:
        run: Run directory.
        images: Photographs; or a table of them by --manifest and --image-root.
        manifest: Table with image, patient, eye.
        image_root: Folder that its image paths start from.
        split: Rows of this split of the manifest only.
        out: Folder to write to. Default: cams in the run.
        methods: layer_cam, grad_cam, grad_cam_pp, score_cam; the first is shown layer by layer.
        labels: Labels to explain. Default: those above their thresholds, else the likeliest.
        layers: Layers of the network. Default: the encoder's, from fine to coarse.
        median: Side of the median filter on the fused map, cells; 0: off.
        adaptive: Set to 0 what does not stand out of its surroundings.
        aug_smooth: Average over mirrored, darker and brighter pictures.
        eigen_smooth: First principal component of the channels instead of their sum.
        level: Outline of a fused map, which lies from 0 to 1.
        batch_size: Photographs at a time.
        on_bad_image: Stop at a photograph that cannot be read, or leave it out.
    """
    from fundus_diag import explaining

    cases = _cases(images, manifest, image_root, split, on_bad_image)
    settings = explaining.Settings(
        methods=methods,
        layers=layers or None,
        median=median,
        adaptive=adaptive,
        aug_smooth=aug_smooth,
        eigen_smooth=eigen_smooth,
        level=level,
        batch_size=batch_size,
    )
    out = out or run / "cams"
    counts = explaining.explain(run, out, cases, settings, list(labels) or None)
    zero = f", {counts['zero']} of them zero: nothing spoke for the label" if counts["zero"] else ""
    print(f"{out}: {counts['cases']} explained, {counts['maps']} maps{zero}")


def explain_eval(
    run: File,
    /,
    masks: Path,
    images: tuple[Path, ...] = (),
    manifest: Path | None = None,
    image_root: Path | None = None,
    split: str | None = None,
    out: Path | None = None,
    lesions: tuple[str, ...] = (),
    methods: tuple[str, ...] = ("layer_cam", "grad_cam", "grad_cam_pp", "score_cam"),
    layers: tuple[str, ...] = (),
    median: int = 3,
    level: float = 0.5,
    tolerance: float = 0.02,
    steps: int = 20,
    randomised: int = 16,
    resamples: int = 1000,
    seed: int = 0,
    on_bad_image: Literal["fail", "skip"] = "fail",
):
    """Score the maps of a run against masks of lesions, beside maps that know nothing.

    Args:
        run: Run directory.
        masks: Folder of masks, LESION/<stem of the image>*.png.
        images: Photographs; or a table of them by --manifest and --image-root.
        manifest: Table with image, patient, eye.
        image_root: Folder that its image paths start from.
        split: Rows of this split of the manifest only.
        out: Folder to write to. Default: faithfulness in the run.
        lesions: Which folders are signs of which label: D=MA,HE,EX,SE. Default: those of the drawn
            photographs.
        methods: layer_cam, grad_cam, grad_cam_pp, score_cam.
        layers: Layers of the network. Default: the encoder's.
        median: Side of the median filter that is compared with none, cells; 0: none only.
        level: Of a fused map, for the IoU.
        tolerance: Distance at which a peak still hits, share of the photograph's longer side.
        steps: Of the deletion and insertion curves.
        randomised: Photographs whose maps are compared with those of a network with random
            weights; 0: none.
        resamples: Of the bootstrap over patients.
        seed: Of the bootstrap and the random weights.
        on_bad_image: Stop at a photograph that cannot be read, or leave it out.
    """
    from fundus_diag.explain_eval import explain_eval as evaluate
    from fundus_diag.explaining import Settings

    cases = _cases(images, manifest, image_root, split, on_bad_image)
    settings = Settings(methods=methods, layers=layers or None, median=median, level=level)
    out = out or run / "faithfulness"
    table, facts = evaluate(
        run, masks, cases, out, lesions, settings, tolerance, steps, randomised, resamples, seed
    )
    for label, number in facts["without_lesion"].items():
        print(f"note: {label}: {number} of {facts['photographs']} photographs without a lesion")
    if facts["resized_masks"]:
        print(f"note: {facts['resized_masks']} masks of another size, resized by nearest neighbour")
    shown = ["pointing", "energy", "overlap", "iou", "deletion", "insertion"]
    print(table[["label", "method", "filter", "n", *shown]].round(3).to_string(index=False))
    print(out)


def _cases(images, manifest, image_root, split, on_bad_image):
    from fundus_diag.explain.cases import cases_of_files, cases_of_manifest

    if bool(images) == (manifest is not None):
        raise UsageError("--images or --manifest: one of the two")
    if images:
        return cases_of_files(images, on_bad_image)
    if image_root is None:
        raise UsageError("--manifest needs --image-root")
    return cases_of_manifest(manifest, image_root, split, on_bad_image)


def demo(out: Path = Path("reports/demo"), patients: int = 1200, seed: int = 0):
    """Draw photographs, train a small SE-Xception on them in two phases, and report.

    Args:
        out: Run directory; an earlier demo in it is replaced.
        patients: Number of patients drawn, most with two eyes.
        seed: Of the drawing and the training.
    """
    from fundus_diag.demo import run_demo

    page, metrics = run_demo(out, patients, seed)
    print(headline(page, metrics))


def draw(out: Path, patients: int = 1200, size: int = 256, seed: int = 0):
    """Draw fundus photographs with lesions, their masks, and a manifest.

    Args:
        out: Folder to write to.
        patients: Number of patients.
        size: Width and height, px.
        seed: The same seed gives the same photographs.
    """
    from fundus_diag.demo import draw as draw_photographs

    print(draw_photographs(out, patients, size, seed))


def headline(page, metrics):
    """The last line of a report: where it lies and its first figure."""
    macro = metrics["macro"]
    if macro["roc_auc"] is None:
        return f"{page}: macro ROC AUC undefined (no label with both classes)"
    figure = f"macro ROC AUC {macro['roc_auc']:.3f}"
    if macro.get("roc_auc_ci"):
        figure += " (95 % interval {:.3f} to {:.3f})".format(*macro["roc_auc_ci"])
    return f"{page}: {figure}"


COMMANDS = {
    "train": train,
    "predict": predict,
    "report": report,
    "explain": explain,
    "explain-eval": explain_eval,
    "demo": demo,
    "draw": draw,
}
MANIFEST_COMMANDS = {"build": build, "check": check, "split": split, "merge": merge}
NEED_TENSORFLOW = (train, predict, report, explain, explain_eval, demo, check)


def main(argv=None, program="fundus-diag"):
    """Runs one command; returns its exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    commands, description = COMMANDS, f"Diagnosis of fundus photographs. {DISCLAIMER}"
    if argv[:1] == ["--version"]:
        print(f"fundus-diag {__version__}")
        return 0
    if argv[:1] == ["manifest"]:
        argv, program = argv[1:], f"{program} manifest"
        commands, description = MANIFEST_COMMANDS, "Tables of photographs."
    elif program == "fundus-diag":
        # Listed in the help; its own commands are reached above.
        commands = {"manifest": _manifest, **COMMANDS}
    try:
        called = parse(commands, argv, program, description)
        if called is None:
            return 0
        command, args, kwargs = called
        if command in NEED_TENSORFLOW:
            import_tensorflow()
        return command(*args, **kwargs) or 0
    except DataError as error:
        return _complain(program, error, 1)
    except UsageError as error:
        return _complain(program, error, 2)
    except KeyboardInterrupt:
        return _complain(program, "interrupted", 130)


def _manifest():
    """Tables of photographs: build, check, split, merge."""


def _complain(program, error, status):
    print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
    return status
