"""Ray lies beside .venv, in .venv-ray, and stands on .venv's packages: these come first on the path."""

from __future__ import annotations

import os
import sys
from pathlib import Path

BESIDE = [str(path) for path in (Path(__file__).parents[2] / ".venv-ray").glob("lib/python*/site-packages")]
sys.path += BESIDE
os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), *BESIDE])
