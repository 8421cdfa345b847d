"""Multi-label diagnosis of fundus photographs. A research tool, not for clinical use.

    import fundus_diag as fd

    run = fd.train({"manifest": "odir.csv", "image_root": "ODIR", "run_dir": "reports/odir"})
    run = fd.load_run("reports/odir")
    run.predict("PHOTOS/", frame=True)                      # a DataFrame
    run.explain(["left.jpg"], labels=["G"])[0].overlay()    # a figure
    fd.score(truth, probabilities, patients)                # figures with intervals

Each says what it takes and gives: `help(fd.score)`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fundus_diag.utils.version import __version__

if TYPE_CHECKING:
    from fundus_diag import explain
    from fundus_diag.api.explanation import Explanation
    from fundus_diag.api.run import Run, load_run
    from fundus_diag.api.score import score
    from fundus_diag.api.train import read_manifest, train
    from fundus_diag.models.encoders import ENCODERS
    from fundus_diag.training.config import TrainConfig
    from fundus_diag.utils.errors import DataError, UsageError

__all__ = [
    "ENCODERS", "DataError", "Explanation", "Run", "TrainConfig", "UsageError", "__version__",
    "explain", "load_run", "read_manifest", "score", "train",
]  # fmt: skip
_WHERE = {
    "Explanation": "fundus_diag.api.explanation",
    "Run": "fundus_diag.api.run",
    "load_run": "fundus_diag.api.run",
    "read_manifest": "fundus_diag.api.train",
    "score": "fundus_diag.api.score",
    "train": "fundus_diag.api.train",
    "ENCODERS": "fundus_diag.models.encoders",
    "TrainConfig": "fundus_diag.training.config",
    "DataError": "fundus_diag.utils.errors",
    "UsageError": "fundus_diag.utils.errors",
}


def __getattr__(name: str) -> Any:
    # On first use: TensorFlow takes seconds to import.
    if name == "explain":
        return importlib.import_module("fundus_diag.explain")
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
