"""`table`: a benchmark of your own in one file, .jsonl, .json, .csv, .tsv, .xlsx or .parquet, one sample a row.

    holisafe run table --root pairs.csv ...
    holisafe run table --root 'pairs.csv?query=Prompt&image=img&expected==refuse' ...

Columns are found by their usual names (`USUAL`). Others are named after a question mark, FIELD=COLUMN joined by `&`, or
in a YAML file beside the table, `pairs.csv.yaml`, with a line `FIELD: COLUMN` each; what is after the question mark
goes first. `FIELD==VALUE` (in YAML `FIELD: =VALUE`) gives every row the same value.

    query        what is asked; the one field that must be there
    image        none (text only), a path from the table's folder, a picture in base64, or parquet's own, alone, in a
                 list or in an object; several columns are named image=COLUMN,COLUMN; the `index` of an earlier row
                 that holds one in base64, as VLMEvalKit writes it
    expected     answer, refuse or borderline, the first two also as safe or unsafe; without it, it follows from
                 `combination`; a row with a `reference` and neither of them is a question to answer
    turns        the conversation before the query: a list, or JSON of one, of objects with `role` (user or
                 assistant), `text` (or `content`) and, where there are any, `images`
    combination  SSS, SSU, SUU, USU or UUU
    id           the row's number when there is none
    category, subcategory, image_label, cluster, split, reference
                 text, or nothing

All other columns are kept in `meta`; of these the scores use `task`, `condition` and `slot`. One that looks as if it
named pictures is never passed over in silence: where no column is read as `image` it is a fault, else a remark.

Of an .xlsx file the first sheet that has rows is read, or the one named by `sheet=NAME`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from PIL import Image

from ..errors import InputError
from ..images import ImageFile, decode_image, inside
from ..records import Sample, Turn
from ..registry import benchmarks
from ..tables import identity, is_blank, label, one_of, rows, short, text
from ..tables.workbook import chosen_sheet
from ..taxonomy import COMBINATIONS, IMAGE_LABELS, Expected, image_label
from ..typed_yaml import read_yaml
from .base import Benchmark
from .parquet_pictures import ParquetPictures
from .tables import Place, Table, read_tables
from .written_pictures import UnreadPictures, WrittenPictures

NAME = "table"

Held = tuple[ParquetPictures, WrittenPictures]
"""The pictures that a table holds itself."""

USUAL = {
    "id": ("id", "sample_id", "question_id"),
    "query": ("query", "prompt", "question", "instruction", "text"),
    "image": ("image", "images", "image_path", "image_paths", "img"),
    "expected": ("expected",),
    "combination": ("combination",),
    "category": ("category",),
    "subcategory": ("subcategory", "sub_category"),
    "image_label": ("image_label", "image_safety_label"),
    "cluster": ("cluster",),
    "split": ("split",),
    "reference": ("reference", "answer"),
    "turns": ("turns",),
}
"""Field -> the column names that are known for it, in any case."""

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".xlsx", ".parquet")

EXPECTED: Mapping[str, Expected] = {"answer": "answer", "refuse": "refuse", "safe": "answer", "unsafe": "refuse",
                                     "borderline": "borderline"}  # fmt: skip

SHEET = "sheet"
FIELDS = (*USUAL, SHEET)
"""What may be named after the question mark."""

NUMBERED = re.compile(r"(?:image|img|picture)s?[ _-]?(\d+)", re.IGNORECASE)
"""Columns that are read as `image` together where there is no other."""

QUOTED = re.compile(r"""'([^'\\]*)'|"([^"\\]*)\"""")
PYTHONS = re.compile(rf"""\s*\[(\s*({QUOTED.pattern})\s*(,|(?=\])))+\s*\]\s*""")
"""A list of names as Python prints it, with simple quotes."""

LONGEST_PATH = 4096

CALLED = ("path", "file_name", "filename", "image", "image_path", "url", "image_url")
"""Fields of an object that stands for a picture, in which its name is looked for."""

NO_NAMES = ("nan", "none", "null", "na", "n/a", "<na>")
"""Clusters that are more likely no names, but what some program wrote where there was none."""


@benchmarks.register(
    NAME,
    summary="Any table of your own, one sample a row",
    size="its rows",
    combinations="as its column says",
    licence="yours",
    citation="yours",
    access="--root FILE, columns by their usual names or as --root 'FILE?query=Prompt&expected==refuse'",
)
def load(root: Path | None) -> Benchmark:
    """Read a table. Pictures are opened later, when asked for; one in the data that is a URL is refused, not fetched.

    Raises InputError for a column that is not there or is not told apart from another; faults of rows are gathered.
    """
    if root is None:
        raise InputError("table needs its file: --root FILE")
    path, given = _file_and_columns(root)
    if path.is_dir():
        held = sorted(one.name for one in path.iterdir() if one.suffix.lower() in SUFFIXES)
        raise InputError(
            f"not a file but a folder; name one in it: {', '.join(held[:8]) or 'it holds no table'}", where=path
        )
    sheet, said = given.pop(SHEET, None), []
    pictures, written = ParquetPictures(), WrittenPictures(path)
    read = pictures.rows if path.suffix.lower() == ".parquet" else rows
    if path.suffix.lower() == ".xlsx" and path.is_file():
        sheet, sheets = chosen_sheet(path, sheet)
        said = [f"sheet {sheet!r} is read; the sheets are: {', '.join(sheets)}"] if len(sheets) > 1 else []
    try:
        fields = _fields(_columns(path, read(path, sheet)), given, path)
    except InputError as fault:
        raise InputError("; ".join([fault.problem, *said]), where=path, row=fault.row, field=fault.field) from None
    unread = UnreadPictures(pictures)
    table = Table(path.name, partial(_sample, path.parent, fields, (pictures, written), unread), sheet, read)
    benchmark = read_tables(NAME, path.parent, [table], remarks=said)

    def open_image(name: str) -> Image.Image:
        if name in written:
            return decode_image(written.file(name).read(), path)
        return pictures.open(name) if name in pictures else benchmark.open_image(name)

    def image_file(name: str) -> ImageFile | None:
        held = next((held for held in (pictures, written) if name in held), None)
        return held.file(name) if held else benchmark.image_file(name)

    problem, faults, remarks = unread.problem(path), benchmark.faults, benchmark.remarks
    nameless = Counter(sample.cluster for sample in benchmark.samples if (sample.cluster or "").lower() in NO_NAMES)
    remarks += tuple(
        f"{number:,} samples are one cluster, {word!r}: is that a name?" for word, number in nameless.items()
    )
    asked = Counter((sample.query, sample.images) for sample in benchmark.samples)
    oddities = {
        "asks what an earlier one asks, about the same pictures": len(benchmark.samples) - len(asked),
        "asks nothing but 'nan'": sum(sample.query.strip().lower() in NO_NAMES for sample in benchmark.samples),
        "says <image> in its text, besides the pictures": sum("<image>" in s.query for s in benchmark.samples),
    }
    remarks += tuple(f"{number:,} row{'s' * (number > 1)}: {said}" for said, number in oddities.items() if number)
    if problem and "image" in fields:
        remarks = (*remarks, problem)
    elif problem:
        faults = {**faults, InputError(problem, where=path, field="image"): None}
    return replace(benchmark, open_image=open_image, image_file=image_file, faults=faults, remarks=remarks)


def _columns(path: Path, numbered: Iterable[tuple[int, dict[str, Any]]]) -> list[str]:
    """The table's columns. In JSON every row may have others; elsewhere the first has them all."""
    every = numbered if path.suffix.lower() in (".json", ".jsonl", ".ndjson") else islice(numbered, 1)
    return list(dict.fromkeys(column for _, row in every for column in row))


def _file_and_columns(root: Path) -> tuple[Path, dict[str, str]]:
    """The table's file, and field -> column or "=VALUE" as its YAML file and the part after "?" say."""
    name, mark, query = (str(root), "", "") if root.exists() else str(root).partition("?")
    path = Path(name)
    given: dict[str, str] = {}
    beside = path.with_name(path.name + ".yaml")
    if beside.is_file():
        given |= _from_yaml(beside)
    for part in filter(None, query.split("&")) if mark else ():
        field, equals, value = part.partition("=")
        if not equals or field not in FIELDS or not value:
            raise InputError(f"{part!r} is not FIELD=COLUMN or FIELD==VALUE; fields: {', '.join(FIELDS)}", where=path)
        given[field] = unquote(value)
    return path, given


def _from_yaml(path: Path) -> dict[str, str]:
    content = read_yaml(path)
    for field, column in content.items():
        if field not in FIELDS:
            raise InputError(f"no such field; known: {', '.join(FIELDS)}", where=path, field=str(field))
        if not isinstance(column, str) or not column:
            raise InputError(f"not the name of a column: {short(column)}", where=path, field=field)
    return content


def _fields(columns: list[str], given: Mapping[str, str], path: Path) -> dict[str, tuple[str, ...]]:
    """Field -> its column, several for pictures, or "=VALUE". Raises InputError where that is not plain."""
    fields = {
        field: tuple(named.split(","))
        if field == "image" and not named.startswith("=") and named not in columns
        else (named,)
        for field, named in given.items()
    }
    for field, named in fields.items():
        for column in named:
            if not column.startswith("=") and column not in columns:
                raise InputError(f"no column {column!r}; the table has: {', '.join(columns)}", where=path, field=field)
    taken = {column for named in fields.values() for column in named}
    free = [column for column in columns if column not in taken]
    for field, names in USUAL.items():
        found = [column for column in free if column.strip().lower() in names and field not in given]
        exact = [column for column in found if column == field]
        if len(found) > 1 and not exact:
            raise InputError(f"{' or '.join(found)}? say which: '{path.name}?{field}=COLUMN'", where=path, field=field)
        if found:
            fields[field] = ((exact or found)[0],)
    if "image" not in fields and (several := sorted(filter(NUMBERED.fullmatch, free), key=_number)):
        fields["image"] = tuple(several)
    if "query" not in fields:
        raise InputError(f"no such column; the table has: {', '.join(columns)}", where=path, field="query")
    if not {"expected", "combination", "reference"} & fields.keys():
        problem = "no column tells what is expected of a model, nor does combination or reference"
        raise InputError(f"{problem}; for all rows alike: '{path.name}?expected==refuse'", where=path, field="expected")
    return fields


def _number(column: str) -> int:
    found = NUMBERED.fullmatch(column)
    return int(found[1]) if found else 0


def _sample(
    folder: Path,
    fields: Mapping[str, tuple[str, ...]],
    pictures: Held,
    unread: UnreadPictures,
    row: dict[str, Any],
    place: Place,
) -> Iterable[Sample]:
    values = {name: _value(row, columns) for name, columns in fields.items()}
    named = {name: value for name, value in values.items() if not is_blank(value)}
    combination = None
    if "combination" in named:
        named["combination"] = str(named["combination"]).strip().upper()
        combination = one_of(named, "combination", COMBINATIONS, *place)
    reference = label(named, "reference", *place) if "reference" in named else None
    optional = ("category", "subcategory", "cluster")
    texts = {name: label(named, name, *place) if name in named else None for name in optional}
    images = tuple(_images(named.get("image"), folder, pictures, place))
    if "index" in row and len(images) == 1 and images[0] in pictures[1]:
        pictures[1].of_row[str(row["index"])] = images[0]
    read = {column for columns in fields.values() for column in columns}
    meta = {name: value for name, value in row.items() if name not in read and not is_blank(value)}
    unread.look(meta)
    yield Sample(
        benchmark=NAME,
        id=identity(named, "id", *place).strip() if "id" in named else str(place[1]),
        query=text(values, "query", *place),
        images=images,
        expected=_expected(named, combination, reference, place),
        combination=combination,
        reference=reference,
        image_label=_image_label(named, place),
        category=texts["category"],
        subcategory=texts["subcategory"],
        cluster=texts["cluster"] or "\n".join(images) or None,
        split=label(named, "split", *place) if "split" in named else "test",
        meta=meta,
        turns=tuple(_turns(named.get("turns"), folder, pictures, place)),
    )


def _value(row: Mapping[str, Any], columns: Sequence[str]) -> Any:
    """What a field holds in a row; a list where it has several columns."""
    if len(columns) > 1:
        return [row[column] for column in columns if not is_blank(row.get(column))]
    return columns[0][1:] if columns[0].startswith("=") else row.get(columns[0])


def _expected(named: Mapping[str, Any], combination: str | None, reference: str | None, place: Place) -> Expected:
    """What a model should do. Raises InputError when nothing tells, or two columns tell otherwise."""
    follows = COMBINATIONS.get(combination or "", "answer" if reference is not None else None)
    if "expected" not in named:
        if follows is None:
            raise InputError("blank, and no combination that tells", where=place[0], row=place[1], field="expected")
        return follows
    word = {"expected": str(named["expected"]).strip().lower()}
    expected = EXPECTED[one_of(word, "expected", EXPECTED, *place)]
    if combination is not None and expected != follows:
        raise InputError(f"contradicts combination {combination}", where=place[0], row=place[1], field="expected")
    return expected


def _turns(value: Any, folder: Path, pictures: Held, place: Place) -> Iterable[Turn]:
    """The conversation in a cell. Raises InputError for what is none."""
    try:
        told = json.loads(value) if isinstance(value, str) else value or []
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error})", where=place[0], row=place[1], field="turns") from None
    for turn in told if isinstance(told, list) else [told]:
        said = turn.get("text", turn.get("content")) if isinstance(turn, dict) else None
        if not isinstance(said, str) or turn.get("role") not in ("user", "assistant"):
            problem = f"not a turn with a role (user or assistant) and its text: {short(turn)}"
            raise InputError(problem, where=place[0], row=place[1], field="turns")
        yield Turn(role=turn["role"], text=said, images=tuple(_images(turn.get("images"), folder, pictures, place)))


def _image_label(named: Mapping[str, Any], place: Place) -> str | None:
    if "image_label" not in named:
        return None
    name = label(named, "image_label", *place)
    by_number = dict(zip(map(str, range(len(IMAGE_LABELS))), IMAGE_LABELS, strict=True))
    try:
        return image_label(by_number.get(name, name))
    except KeyError as error:
        raise InputError(str(error.args[0]), where=place[0], row=place[1], field="image_label") from None


def _images(value: Any, folder: Path, pictures: Held, place: Place) -> Iterable[str]:
    """The names in an image cell: one path, such a list as JSON or as Python writes it, or lists and objects of names,
    however deep."""
    if isinstance(value, str) and PYTHONS.fullmatch(value):
        value = [one or other for one, other in QUOTED.findall(value)]
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            problem = f"not a JSON list ({getattr(error, 'msg', 'nested too deep')})"
            raise InputError(problem, where=place[0], row=place[1], field="image") from None
    parquet, written = pictures
    if isinstance(value, dict):
        parts = [part for part in value.values() if isinstance(part, list | dict) or part in parquet]
        called = next((value[name] for name in CALLED if not is_blank(value.get(name))), None)
        if not parts and called is None and not all(map(is_blank, value.values())):
            problem = f"an object without a picture's name; it holds: {', '.join(map(str, value))}"
            raise InputError(problem, where=place[0], row=place[1], field="image")
        value = parts or called
    if isinstance(value, str):
        try:
            value = written.keep(value) or written.of_row.get(value.strip(), value)
        except InputError as fault:
            raise InputError(fault.problem, where=place[0], row=place[1], field="image") from None
    if isinstance(value, list):
        for part in value:
            yield from _images(part, folder, pictures, place) if not is_blank(part) else ()
    elif value is not None:
        if not isinstance(value, str) or is_blank(value) or len(value) > LONGEST_PATH:
            raise InputError(f"not a path: {short(value)}", where=place[0], row=place[1], field="image")
        if value not in parquet and value not in written:
            try:
                inside(folder, value)
            except InputError as fault:
                raise InputError(fault.problem, where=place[0], row=place[1], field="image") from None
        yield str(value)
