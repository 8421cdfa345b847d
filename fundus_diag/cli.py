"""`fundus-diag`: every command reads files, writes files, and can be run again alone.

Exit status: 0 done, 1 a file or photograph is wrong, 2 a flag is wrong; one line on stderr says
which. Heavy modules are imported by the command that needs them, so that --help is quick.
"""

import sys
from pathlib import Path
from typing import Literal

import tyro

from fundus_diag import cli_manifest
from fundus_diag.cli_explain import explain, explain_eval
from fundus_diag.cli_export import export
from fundus_diag.cli_pretrain import pretrain
from fundus_diag.cli_weights import port
from fundus_diag.parsing import parse
from fundus_diag.quiet import import_tensorflow
from fundus_diag.training.config import TrainConfig
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.version import __version__

File = tyro.conf.Positional[Path]
DISCLAIMER = "A research tool, not for clinical use."


def train(config: tyro.conf.OmitArgPrefixes[TrainConfig]):
    """Train a classifier in two phases: the head alone, then everything."""
    from fundus_diag.report.page import write_report
    from fundus_diag.training.train import train as train_run

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
    from fundus_diag.runs.predict import predict as predict_table

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
    from fundus_diag.report.report import report_run

    page, metrics = report_run(run, predictions, out, split, resamples)
    if explain and predictions is None and out is None:
        _explain_report(run, split)
    print(headline(page, metrics))


def _explain_report(run, split):
    from fundus_diag.report.explanations import write_explanations

    explanations = write_explanations(run, split)
    print(explanations or f"no page of explanations: the photographs of {run} are not here")


def demo(out: Path = Path("reports/demo"), patients: int = 1200, seed: int = 0):
    """Draw photographs, train a small SE-Xception on them in two phases, report and explain.

    Args:
        out: Run directory; an earlier demo in it is replaced.
        patients: Number of patients drawn, most with two eyes.
        seed: Of the drawing and the training.
    """
    from fundus_diag.demo import run_demo

    page, metrics = run_demo(out, patients, seed)
    _explain_report(out, "test")
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
    "pretrain": pretrain,
    "predict": predict,
    "report": report,
    "explain": explain,
    "explain-eval": explain_eval,
    "export": export,
    "port": port,
    "demo": demo,
    "draw": draw,
}
NEED_TENSORFLOW = (
    train,
    pretrain,
    predict,
    report,
    explain,
    explain_eval,
    export,
    port,
    demo,
    cli_manifest.check,
)


def main(argv=None, program="fundus-diag"):
    """Runs one command; returns its exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    commands, description = COMMANDS, f"Diagnosis of fundus photographs. {DISCLAIMER}"
    if argv[:1] == ["--version"]:
        print(f"fundus-diag {__version__}")
        return 0
    if argv[:1] == ["manifest"]:
        argv, program = argv[1:], f"{program} manifest"
        commands, description = cli_manifest.COMMANDS, "Tables of photographs."
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
