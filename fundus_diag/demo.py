"""The whole way on drawn photographs: draw, train in two phases, score, report."""

from pathlib import Path

from fundus_diag.data.synthetic.dataset import draw_dataset
from fundus_diag.training.config import TrainConfig
from fundus_diag.utils.progress import bar

DRAWN_SIZE = 224  # px
IMAGE_SIZE = 128  # px


def draw(out, patients, size, seed):
    """Draws photographs with a progress bar; returns the path of their manifest."""
    with bar() as progress:
        task = progress.add_task("drawing photographs")

        def show(done, total):
            progress.update(task, completed=done, total=total)

        return draw_dataset(out, patients=patients, size=size, seed=seed, progress=show)


def run_demo(out, patients, seed):
    """Draws, trains and reports; returns (page, metrics on test).

    The photographs lie in a folder beside the run, and are drawn again only when asked for others.
    """
    from fundus_diag.report.report import report_run
    from fundus_diag.training.train import train

    out = Path(out)
    photographs = out.with_name(out.name + "_photographs")
    photographs.mkdir(parents=True, exist_ok=True)
    manifest = draw(photographs, patients, DRAWN_SIZE, seed)
    config = TrainConfig(
        manifest=manifest,
        image_root=photographs,
        run_dir=out,
        encoder="se_xception_small",
        weights="none",
        image_size=IMAGE_SIZE,
        seed=seed,
        overwrite=True,
        batch_size=16,
        phase2_epochs=13,
    )
    return report_run(train(config))
