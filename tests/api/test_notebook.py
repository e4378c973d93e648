"""docs/notebook.ipynb runs from top to bottom, and is kept without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the client's own sockets


def test_it_is_kept_as_ten_cells_without_outputs() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert len(cells) == 10
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


def test_every_cell_runs_and_shows_what_it_says(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    small = {
        "limit=60": "limit=10",
        '"optimiser.epochs": 40': '"optimiser.max_steps": 2',
        'max_examples": 600': 'max_examples": 60',
    }
    for cell in notebook.cells:
        for written, here in small.items():
            cell.source = cell.source.replace(written, here)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = ["".join(out.data.get("text/html", "") for out in cell.outputs if "data" in out)
             for cell in notebook.cells if cell.cell_type == "code"]  # fmt: skip
    words = ("mASR, pooled", "Change, points", "Holm", "<th>rate</th>", "Content warning", "tuning 2/2", "false alarms")
    assert [word in html for word, html in zip(words, shown, strict=True)] == [True] * len(words)
    assert not [out for cell in notebook.cells for out in cell.get("outputs", ()) if out.output_type == "error"]
