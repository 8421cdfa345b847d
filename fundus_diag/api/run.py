"""A run, opened: ask it, have it explained, reported, exported."""

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from fundus_diag.api.explanation import Explanation, explanations
from fundus_diag.data.gather import check_paths, gather
from fundus_diag.data.labels import EYES
from fundus_diag.explain.explain import explain_batch, label_numbers, layers_of
from fundus_diag.explain.settings import Settings
from fundus_diag.runs import run as runs
from fundus_diag.runs.answer_files import full_fields, full_row
from fundus_diag.runs.answers import Answer, answers, units_of
from fundus_diag.runs.cases import cases_of_photographs, load_batches, usable_cases
from fundus_diag.runs.salt import salt_maker
from fundus_diag.utils.errors import DataError, UsageError

Files: TypeAlias = str | os.PathLike | Sequence[Any] | pd.DataFrame | np.ndarray


class Run(runs.Run):
    """A trained classifier with everything that its use needs.

    `labels` are its L names, `thresholds` (L,) those on the calibrated probability, `config` is
    what its config.json holds, `model` the Keras network: pictures (B, S, S, 3) in [0, 255] to
    logits (B, L).
    """

    def predict(
        self,
        images: Files,
        mask: np.ndarray | None = None,
        batch_size: int = 16,
        *,
        frame: bool = False,
        image_root: str | os.PathLike | None = None,
    ) -> np.ndarray | pd.DataFrame:
        """Calibrated probabilities in [0, 1], computed in float32.

        Args:
            images: files (a list; of runs over two eyes of (left, right), None for a missing one),
                one file, a folder that is searched through, or a table with a column `image`,
                and `patient` and `eye` where they are known; or prepared pictures: (N, S, S, 3) RGB
                in [0, 255], of pairs (N, 2, S, S, 3), left first.
            mask: (N, 2), 1 where the eye was photographed; with pairs of pictures alone.
            batch_size: photographs, or pairs, at a time.
            frame: return a table, a row a photograph or patient: who, probabilities `p_<label>`,
                what is called, whether it is gradable and why not. What cannot be read has no
                probabilities there; without `frame` it is an error.
            image_root: folder that the files of a table start from; by default this one.

        Returns:
            (N, L), in the order in which photographs were given, of a folder by name; or the table.

        Raises:
            DataError: a file cannot be read, pictures have another size, range or type.
        """
        if isinstance(images, pd.Series):
            images = images.tolist()
        if hasattr(images, "shape") and not isinstance(images, pd.DataFrame):
            found = super().predict(images, mask, batch_size)
            return pd.DataFrame(found, columns=[f"p_{x}" for x in self.labels]) if frame else found
        if not isinstance(images, str | os.PathLike | pd.DataFrame) and not frame:
            return super().predict(images, mask, batch_size)
        if mask is not None:
            raise DataError("a mask is for pairs of prepared pictures")
        units = units_of(self, self._photographs(images, image_root))
        given = list(answers(self, units, batch_size))
        if frame:
            return self._table(given)
        bad = [x for x in given if x.probabilities is None]
        if bad:
            more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
            named = "; ".join(f"{' and '.join(x.images.values())} ({x.why})" for x in bad[:3])
            raise DataError(f"{len(bad)} of {len(given)} have no answer: {named}{more}")
        return np.stack([x.probabilities for x in given])

    def explain(
        self,
        files: Files,
        labels: Sequence[str] | None = None,
        *,
        image_root: str | os.PathLike | None = None,
        **settings: Any,
    ) -> list[Explanation]:
        """Maps of photographs.

        Args:
            files: as `predict` takes them, prepared pictures aside.
            labels: names; None is those that are called, or else the likeliest.
            image_root: folder that the files of a table start from; by default this one.
            settings: of `explain.settings.Settings`: methods, layers, median, adaptive ..

        Returns:
            One a photograph (of pairs one an eye) and method.

        Raises:
            DataError: a file cannot be read.
            UsageError: the run has no such label, its network no such method or layer, or a setting
                is unknown.
        """
        unknown = set(settings) - {x.name for x in dataclasses.fields(Settings)}
        if unknown:
            raise UsageError(f"{', '.join(sorted(unknown))}: no setting of maps")
        chosen = Settings(**settings)
        layers = layers_of(self.model, chosen)
        wanted = None if labels is None else label_numbers(self, labels)
        cases = usable_cases(cases_of_photographs(self, self._photographs(files, image_root)))
        out: list[Explanation] = []
        for batch in load_batches(self, cases, chosen.batch_size):
            each = wanted and [wanted] * len(batch)
            for found in explain_batch(self, batch, layers, chosen, each, together=bool(wanted)):
                out += explanations(found)
        return out

    def report(self, split: str = "test", resamples: int = 1000) -> Path:
        """Scores a split of the run's own table; see `fundus-diag report`. The page's path."""
        from fundus_diag.report.report import report_run

        return report_run(self.run_dir, split=split, resamples=resamples)[0]

    def export(self, out: str | os.PathLike, format: str = "saved_model", **more: Any) -> dict:
        """Writes a folder for serving; see `fundus-diag export`. What its export.json holds.

        Args:
            out: folder.
            format: "saved_model", "onnx" or "openvino".
            more: of `export.export.export`: precision, explain, overwrite, version.
        """
        from fundus_diag.export.export import export

        return export(self.run_dir, Path(out), format, **more)

    def _photographs(self, files: Files, image_root: str | os.PathLike | None) -> pd.DataFrame:
        """Table of `gather.Gathered` of what the user named."""
        if isinstance(files, str | os.PathLike):
            files = [files]
        if isinstance(files, pd.DataFrame):
            if "image" not in files.columns:
                raise DataError("a table of photographs needs a column image")
            names = ["image", "patient", "eye"]
            table = files.reindex(columns=names).astype(object).fillna("").astype(str)
            wrong = sorted(set(table["eye"]) - {*EYES, ""})
            if wrong:
                raise DataError(f"column eye: left, right or nothing, not {', '.join(wrong)}")
            table["path"] = [os.path.join(image_root or "", x) for x in table["image"]]
            return table
        files = list(files)
        if any(not isinstance(x, str | os.PathLike) for x in files):
            self.check_listed(files)
            rows = [
                (str(x), Path(x), str(k), eye)
                for k, pair in enumerate(files)
                for eye, x in zip(EYES, pair, strict=True)
                if x is not None
            ]
            return pd.DataFrame(rows, columns=["image", "path", "patient", "eye"])
        paths = [Path(x) for x in files]
        check_paths(paths)
        found = gather(paths, None, image_root, salt_maker(self.run_dir))
        for note in found.notes:
            print(f"note: {note}", file=sys.stderr)
        return found.table

    def _table(self, given: list[Answer]) -> pd.DataFrame:
        table = pd.DataFrame([full_row(self, x) for x in given], columns=full_fields(self))
        numbers = [*(f"p_{x}" for x in self.labels), "distance"]
        table[numbers] = table[numbers].replace("", "nan").astype("float64")
        table["gradable"] = table["gradable"].astype(bool)
        names = np.array(self.labels)
        table["called"] = [
            ", ".join(names[x.called]) if x.gradable and x.called is not None else "" for x in given
        ]
        return table


def load_run(run_dir: str | os.PathLike) -> Run:
    """Opens a finished run.

    Args:
        run_dir: folder that `train` made.

    Raises:
        DataError: no run is there, it is not finished, or its files do not fit each other.
    """
    return runs.load_run(run_dir, kind=Run)
