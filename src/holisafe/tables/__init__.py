"""Rows out of CSV, TSV, JSONL, JSON, parquet and xlsx, and CSV written: one reader and one writer for everyone.

    for number, row in rows(path):
        name = identity(row, "id", path, number)

`reading` finds the form and checks every value; `delimited`, `json_rows`, `workbook` and `columnar` are the forms;
`fields` takes a row apart; `writing` writes CSV. How large all of it may be, `limits` says.
"""

from .fields import Row, column_of, identity, is_blank, label, one_of, optional_text, short, text, truth
from .files import read_text
from .reading import FORMS, keyed_rows, rows, text_columns
from .writing import as_text, csv_text, write_csv

__all__ = [
    "FORMS", "Row", "as_text", "column_of", "csv_text", "identity", "is_blank", "keyed_rows", "label", "one_of",
    "optional_text", "read_text", "rows", "short", "text", "text_columns", "truth", "write_csv",
]  # fmt: skip
