"""Made-up runs and their page, built once for all tests of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from holisafe.report import write_page
from report.fake_runs import make_run, open_image


@pytest.fixture(scope="session")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "before", "before")


@pytest.fixture(scope="session")
def after(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "after", "after", invalid=0.15, errors=3)


@pytest.fixture(scope="session")
def page(before: Path, after: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of both runs, with pictures."""
    return write_page([before, after], tmp_path_factory.mktemp("page") / "report.html", open_image)
