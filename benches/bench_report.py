"""How long the report of two runs takes, and how large its page is.

    python benches/bench_report.py RUN RUN          # such as two runs of 4,031 pairs over 1,796 pictures

Any two run folders will do. CPU time counts all threads; the wall clock is worth reading on a quiet machine alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from holisafe.cli.report import pictures
from holisafe.report import write_page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        for name, opener in (("without pictures", None), ("with pictures", pictures())):
            begun, busy = time.perf_counter(), time.process_time()
            page = write_page(runs, Path(folder) / "report.html", opener)
            wall, cpu = time.perf_counter() - begun, time.process_time() - busy
            print(f"{name}: {wall:.1f} s, {cpu:.1f} s of CPU, {page.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
