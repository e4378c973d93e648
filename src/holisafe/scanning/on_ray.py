"""A scan over the machines of a Ray cluster: the same reader in actors, the same rows in the same folder.

    listing   the units without a row, as parquet              here, where the folder is
    prints    each unit's bytes hashed                         tasks on any machine
    copies    of one content the first unit alone is read on   here
    readings  fetched, decoded and read by the guard           actors, one a GPU where there are some
    rows      as they come                                     here

Everything that Ray computes is streamed to this process, which keeps it as a local scan does: killed, the same command
goes on, with either engine. Bytes are read twice, to hash and to be seen: that is what a deterministic choice among
copies costs where no machine sees them all. Ray's own checkpoint would hold all ids in memory and cannot leave out
copies. Sources and models must be reachable from every machine.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..guards.policy import Policy
from .fetching import Fetched, content_hash, fetch, fetched_ahead
from .folder import ScanFolder
from .rows import as_table, copy_row, unread_row
from .sampling import Sampler
from .seen import AT_ONCE
from .shown import reads_text, rows_of
from .sources import Source
from .units import Place, Unit

if TYPE_CHECKING:
    import pyarrow as pa

LISTED = 50_000
"""Units of one file of a listing."""

AT_A_TIME = 256
"""Units that a task hashes or an actor reads at once: a crash of its machine loses no more."""

THREADS = 8
"""Threads of an actor that fetch and decode."""


@dataclass(frozen=True)
class Reading:
    """What every actor is told: how to open the guard, and what to keep for the sample."""

    source: Source
    guard: str
    policy: Policy | None
    line: float | None
    sample: int


def scan_on_ray(
    reading: Reading, with_text: bool, folder: ScanFolder, workers: int | None, done: Callable[[], None]
) -> None:
    """Give every unit of the source that has none a row in the folder, as `local.scan_here`. Raises InputError where
    Ray is missing or no source of other machines."""
    ray = _ray()
    listings = folder.path / "listings"
    shutil.rmtree(listings, ignore_errors=True)
    try:
        _hash_all(ray, reading.source, with_text, folder, listings, done)
        if _write_listing(_originals(reading.source, folder, done), listings / "originals"):
            _read_all(ray, reading, folder, listings, workers, done)
        folder.close_part()
        folder.seen.forget_prints()
    finally:
        shutil.rmtree(listings, ignore_errors=True)


def _ray() -> Any:
    """Ray, connected to the cluster that RAY_ADDRESS or the machine itself tells of, else to this machine alone."""
    try:
        import ray.data

        import ray
    except ModuleNotFoundError as error:
        raise InputError(f"this needs {error.name}, try: pip install 'holisafe[ray]'") from None
    if not ray.is_initialized():
        ray.init(logging_level="ERROR", log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    return ray


def _hash_all(
    ray: Any, source: Source, with_text: bool, folder: ScanFolder, listings: Path, done: Callable[[], None]
) -> None:
    """Have every unit hashed that is not yet; one whose bytes cannot be read has its row at once."""

    def unhashed() -> Iterator[Unit]:
        for some in _some(folder.without_row(source.units(data=False))):
            known = folder.seen.prints([unit.id for unit in some])
            for unit in some:
                if unit.fault is not None:
                    folder.add(unread_row(Fetched(unit, fault=unit.fault)))
                    done()
                elif unit.id not in known:
                    yield unit

    if not _write_listing(unhashed(), listings / "unhashed"):
        return
    how = {"source": source, "with_text": with_text}
    work = _work(ray, listings / "unhashed")
    for some in _streamed(work.map_batches(hashed, fn_kwargs=how, batch_size=None, batch_format="pyarrow")):
        folder.seen.add_prints((row["id"], row["content"]) for row in some if row["fault"] is None)
        for row in some:
            if row["fault"] is not None:
                folder.add(unread_row(Fetched(_unit(row), fault=row["fault"])))
                done()


def _originals(source: Source, folder: ScanFolder, done: Callable[[], None]) -> Iterator[Unit]:
    """The first unit of each content, in the source's order; each other one has its row at once."""
    for some in _some(folder.without_row(source.units(data=False))):
        contents = folder.seen.prints([unit.id for unit in some])
        firsts = folder.seen.claim_all([(contents[unit.id], unit.id) for unit in some if unit.id in contents])
        for unit in some:
            if unit.id not in contents:
                continue  # it came after the others were hashed: the next scan has it
            content = contents[unit.id]
            if firsts[content] == unit.id:
                yield unit
            else:
                folder.add(copy_row(Fetched(unit, content), firsts[content]))
                done()


def _read_all(
    ray: Any, reading: Reading, folder: ScanFolder, listings: Path, workers: int | None, done: Callable[[], None]
) -> None:
    """Have the originals read by actors: one a GPU, or half as many as there are processors."""
    there = ray.cluster_resources()
    gpus, cpus = int(there.get("GPU", 0)), there.get("CPU", 1.0)
    actors = workers or gpus or max(1, int(cpus) // 2)
    rows = _work(ray, listings / "originals").map_batches(
        Actor, fn_constructor_args=(reading,), batch_size=None, batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=actors), num_gpus=1 if gpus else 0, num_cpus=min(1.0, cpus / actors),
    )  # fmt: skip
    for some in _streamed(rows):
        for row in some:
            folder.add({**row, "scores": dict(row["scores"] or ())})
            done()


def hashed(work: pa.Table, source: Source, with_text: bool) -> pa.Table:
    """The units with their content's hash, or the fault for which there is none."""
    import pyarrow as pa

    contents: list[str | None] = []
    faults: list[str | None] = []
    listed = _listed(work)
    for row in listed.to_pylist():
        unit = _unit(row)
        try:
            contents.append(content_hash(source.read(unit), unit.text if with_text else ""))
            faults.append(None)
        except InputError as fault:
            contents.append(None)
            faults.append(fault.problem)
    text = pa.string()
    return listed.append_column("content", pa.array(contents, text)).append_column("fault", pa.array(faults, text))


class Actor:
    """The reader on one machine: it opens the guard once and reads whatever it is sent."""

    def __init__(self, reading: Reading) -> None:
        from .scan import open_scanner

        self.source, self.guard = reading.source, open_scanner(reading.guard, reading.policy)
        self.sampler = Sampler(reading.line, reading.sample)

    def __call__(self, work: pa.Table) -> pa.Table:
        fetch_one = partial(fetch, source=self.source, with_text=reads_text(self.guard), known=lambda content: False)
        fetched = fetched_ahead(map(_unit, _listed(work).to_pylist()), fetch_one, THREADS)
        return as_table(rows_of(fetched, self.guard, self.sampler))


def _write_listing(units: Iterable[Unit], listing: Path) -> bool:
    """Units as parquet, `LISTED` a file; whether there is any."""
    import pyarrow as pa
    from pyarrow import parquet

    listing.mkdir(parents=True)
    remaining, number = iter(units), 0
    while some := list(islice(remaining, LISTED)):
        columns = {
            "id": [unit.id for unit in some],
            "place": [json.dumps(unit.place) for unit in some],
            "text": [unit.text for unit in some],
            "name": pa.array([unit.name for unit in some], pa.string()),
        }
        parquet.write_table(pa.table(columns), listing / f"{number:06}.parquet")
        number += 1
    return number > 0


def _work(ray: Any, listing: Path) -> Any:
    """A listing as a dataset of Ray's: a block for every few units, which says where they stand. Ray's own reader would
    wait for a processor while actors that wait for it hold them all."""
    from pyarrow import parquet

    files = ((file, parquet.read_metadata(file).num_rows) for file in sorted(listing.iterdir()))
    blocks = [{"file": str(file), "start": start} for file, rows in files for start in range(0, rows, AT_A_TIME)]
    return ray.data.from_items(blocks, override_num_blocks=len(blocks))


def _listed(work: pa.Table) -> pa.Table:
    """The units that a block speaks of."""
    import pyarrow as pa

    blocks = work.to_pylist()
    return pa.concat_tables([_file(block["file"]).slice(block["start"], AT_A_TIME) for block in blocks])


@lru_cache(maxsize=1)
def _file(path: str) -> pa.Table:
    from pyarrow import parquet

    return parquet.read_table(path)


def _unit(row: Mapping[str, Any]) -> Unit:
    return Unit(row["id"], Place(*json.loads(row["place"])), row["text"], row["name"])


def _some(units: Iterable[Unit]) -> Iterator[list[Unit]]:
    remaining = iter(units)
    while some := list(islice(remaining, AT_ONCE)):
        yield some


def _streamed(table: Any) -> Iterator[list[dict[str, Any]]]:
    """The rows of a Ray dataset as they are computed, a batch at a time."""
    for batch in table.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield batch.to_pylist()
