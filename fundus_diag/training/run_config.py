"""What every training is asked, whatever it learns; its own configuration adds the rest."""

import dataclasses
from pathlib import Path
from typing import Literal

from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.flags import check_limits


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Table, folders, arithmetic, seed and resumption of a run."""

    manifest: Path
    """Table of photographs: image, patient, eye, split and one column per label."""
    image_root: Path
    """Folder that the table's image paths start from."""
    run_dir: Path
    """Folder of the run; made here."""

    crop: Literal["fundus", "none"] = "fundus"
    """Crop to the field of view, or not at all (OCT)."""
    cache: Literal["ram", "disk", "none"] = "ram"
    """Where decoded photographs are kept between epochs."""
    cache_dir: Path | None = None
    """Folder of --cache disk, shared between runs. Default: .pictures beside the run."""
    on_bad_image: Literal["fail", "skip"] = "fail"
    """A photograph that cannot be read stops the run, or its row is left out and counted."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of training; auto takes the fastest that the device has."""
    seed: int = 0
    """Start of every random number."""
    deterministic: bool = False
    """Equal results bit by bit on equal machines, slower. Without it batches are the same
    too, but sums differ in their last bits by the order of threads."""
    resume: bool = False
    """Go on with an interrupted run from its last epoch."""
    overwrite: bool = False
    """Replace an earlier run in the same folder."""

    @property
    def reading(self):
        """How its photographs are read and kept: arguments of `inputs.load_inputs`."""
        cache_dir = self.cache_dir or self.run_dir.parent / ".pictures"
        return {"crop": self.crop, "cache": self.cache, "cache_dir": cache_dir}

    def check(self, limits):
        """Refuses what no run can do.

        Args:
            limits: {field: (low, high)} of the run's own fields.

        Raises:
            UsageError: a value out of its range, or flags that contradict each other.
        """
        check_limits(self, {**limits, "seed": (0, 2**31 - 1)})
        if self.resume and self.overwrite:
            raise UsageError("--resume and --overwrite: one or the other")
