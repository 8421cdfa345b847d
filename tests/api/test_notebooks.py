"""The notebooks of docs/notebooks run from start to end, and without a run say so in a line."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NAMES = ["from_folder_to_report", "reading_maps"]  # the second reads the run of the first
# Of jupyter_client, whose kernels take one file descriptor more than they give back.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


def executed(name, folder):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources=where).execute()
    return notebook


def code_of(name):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.slow
def test_the_notebooks_run(tmp_path):
    for name in NAMES:
        found = executed(name, tmp_path)
        pictures = [
            output
            for cell in found.cells
            for output in cell.get("outputs", [])
            if "image/jpeg" in output.get("data", {})
        ]
        assert len(pictures) == (3 if name == "reading_maps" else 0)
    assert (tmp_path / "notebook" / "run" / "report.html").is_file()


@pytest.mark.slow
def test_a_notebook_without_a_run_says_so_in_a_line(tmp_path):
    with pytest.raises(CellExecutionError) as caught:
        executed("reading_maps", tmp_path)
    said = str(caught.value).strip().splitlines()
    assert caught.value.ename == "DataError"
    assert "is notebook/run a run directory?" in caught.value.evalue
    assert not [line for line in said if "Traceback" in line]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_reader_sees_was_run_in_order_and_holds_no_fault(name):
    cells = code_of(name)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert kinds <= {"stream", "execute_result", "display_data"}
    text = (FOLDER / f"{name}.ipynb").read_text("utf-8")
    assert "/work" not in text
    assert "/tmp" not in text
    assert len(text) < 400_000
