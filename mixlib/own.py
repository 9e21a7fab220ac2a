"""A data set of one's own: interactions.csv, and the dataset.toml and the titles beside it. What is wrong is named by its line."""

import csv
import gzip
import io
import itertools
import os
import re
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from mixlib.names import LONGEST_FILE, choose
from mixlib.reading import DAMAGE, Refused, csv_titles, dat_titles, fault, opened, shown, unreadable

LONGEST = 10_000  # items in a window
EXACT = 2**53  # from which on a float leaves out whole numbers
NEEDED = {"user_id", "item_id"}  # columns of an interactions.csv
SEPARATORS = {"semicolons": ";", "tabs": "\t", "bars": "|", "spaces": " "}  # other than the comma
FACTS: dict[str, type] = {"title": str, "ordered": bool, "max_length": int, "min_length": int, "licence": str, "citation": str}


def read_csv(path: Path) -> pd.DataFrame:
    """The table in an interactions.csv[.gz]. Raises ValueError that names the line on what is no such table."""
    try:
        table = _parsed(path)
        head, fields = next(_rows(path))
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        with path.open("rb") as file:
            if isinstance(error, gzip.BadGzipFile) and file.read(2) != b"\x1f\x8b":
                raise fault(path, 1, "the file is not packed by gzip, as its name says: pack it, or name it interactions.csv") from None
        raise unreadable(path, None, error) from error
    names, written = [str(name) for name in table.columns], [field.removeprefix("\ufeff") for field in fields]
    for column in sorted({*NEEDED, "timestamp"}):
        like = next((name for name in names if name.strip().lower() == column), None)
        if column not in names and (like or column in NEEDED):
            hint = "" if NEEDED & set(names) else "; the first line must name the columns"
            if like:
                hint = "; take the spaces out of the first line" if like.strip() == column else f"; write {column} for {like!r}"
            found = ", ".join(map(shown, names[:10])) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")
            raise fault(path, head, f"there is no column {column}: user_id and item_id are needed, and there are {found}{hint}")
        if written.count(column) > 1:
            raise fault(path, head, f"there are two columns {column}: leave one of them")
    if not len(table):
        raise fault(path, head, "the file holds no interactions: only a header line")
    return table


def _parsed(path: Path) -> pd.DataFrame:
    """A CSV as pandas reads it. Raises ValueError on what it cannot read, or would misread."""
    try:
        with opened(path) as file:
            head = ",".join(map(str, pd.read_csv(file, nrows=0).columns)).replace('"', "")
        other = next((name for name, mark in SEPARATORS.items() if set(head.split(mark)) >= NEEDED), None)
        with opened(path) as file, warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):  # of fields without a column
            table = pd.read_csv(file, low_memory=False, index_col=False, nrows=0 if other else None)
    except pd.errors.EmptyDataError:
        raise fault(path, 1, "the file is empty: it needs a header line and the columns user_id and item_id") from None
    except Refused:
        raise
    except (ValueError, pd.errors.ParserWarning) as error:
        raise _misfit(path, error) from error
    if other:
        raise fault(path, _line(path, -1), f"{other} stand between the columns: separate the fields by commas")
    return table


def _misfit(path: Path, error: Exception) -> ValueError:
    """What pandas stumbled over, and the line where it is."""
    if isinstance(error, UnicodeDecodeError):
        with opened(path) as file:
            for line, text in enumerate(file, 1):
                try:
                    text.decode()
                except UnicodeDecodeError:
                    return fault(path, line, "the text is not UTF-8: save the file again as CSV in UTF-8")
    line = columns = 0
    for line, fields in _rows(path):
        columns = columns or len(fields)
        if len(fields) > columns:
            return fault(
                path,
                line,
                f"there are {len(fields)} fields for {columns} columns: put quotes around a field that holds commas, or name every column",
            )
    if "EOF inside string" in str(error):
        return fault(path, line, "a quote is opened in the row that begins here, and never closed")
    return unreadable(path, line, ValueError(" ".join(str(error).split())))


def numbers(table: pd.DataFrame, column: str, path: Path, whole: bool = False) -> np.ndarray:
    """(n,) numbers of a column; whole ones as int64. If pandas read any as floats, only those that keep their digits."""
    raw = table[column]
    given = pd.to_numeric(raw, errors="coerce") if raw.dtype.kind != "b" else pd.Series(np.nan, raw.index)  # True is no number
    values = given.to_numpy(copy=True)
    if values.dtype.kind == "O":
        values = np.array([value if isinstance(value, int) and abs(value) < 2**63 else np.nan for value in values])
    if values.dtype.kind == "f":
        bad = ~np.isfinite(values) | (np.abs(values) >= EXACT)
        bad |= whole & (np.where(bad, 0, values) % 1 != 0)
    else:
        bad = values > np.int64(2**63 - 1)
    if bad.any():
        row = int(bad.argmax())
        shown = (
            "nothing" if pd.isna(raw.iloc[row]) else repr(raw.iloc[row].item() if hasattr(raw.iloc[row], "item") else raw.iloc[row])[:80]
        )
        what = "a whole number" if whole else "a number"
        more = f" ({bad.sum()} such rows)" if bad.sum() > 1 else ""
        large = values.dtype.kind == "f" and abs(values[row]) >= EXACT and np.isfinite(values[row])
        hint = ": give seconds since 1970, or any number that grows with time" if column == "timestamp" else ""
        hint = f" of {EXACT:,} or more in a column that has points or gaps, where such numbers lose digits" if large else hint
        hint = ": number them first, as the page Run it yourself shows" if whole and raw.dtype.kind not in "biuf" else hint
        hint = ": separate the fields by commas" if any(mark in shown for mark in (";", "\\t")) else hint
        raise fault(path, _line(path, row), f"{column} must be {what}, not {shown}{more}{hint}")
    return values.astype(np.int64) if whole or values.dtype.kind == "u" else values


def _line(path: Path, row: int) -> int:
    """The line of the file where a row of it begins, rows counted from 0 after the header, which is -1."""
    return max(line for line, _ in itertools.islice(_rows(path), row + 2))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The line where a row begins, and its fields; what pandas passes over is passed over."""
    csv.field_size_limit(2**31 - 1)  # pandas, which read the file before, has no limit
    with io.TextIOWrapper(opened(path), encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.reader(file)
        line = 1
        for fields in rows:
            if fields and not (len(fields) == 1 and re.fullmatch("[ \t]+", fields[0])):
                yield line, fields
            line = rows.line_num + 1


def facts(path: Path, shortest: int, longest: int) -> dict:
    """The settings in a dataset.toml, none where it is missing; shortest, longest: lengths of windows where it names none.

    Raises ValueError on an unknown key, and on a value of another type or out of range.
    """
    if not path.is_file():
        return {}
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        said = {key: repr(value)[:80] for key, value in given.items()}
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply: it needs no more than keys and values.") from None
    except ValueError as error:  # no TOML, no UTF-8, or a number of thousands of digits
        raise ValueError(f"{path.name} is not valid TOML: {error}.") from error
    types: dict[str, type] = FACTS | {"titles": str}
    for key, value in given.items():
        choose(f"setting in {path.name} called", key, types)
        if type(value) is not types[key]:
            raise ValueError(f"{path.name}: {key} must be {types[key].__name__}, not {said[key]}.")
    if not 2 <= given.get("max_length", 2) <= LONGEST:
        raise ValueError(f"{path.name}: max_length must be between 2 and {LONGEST:,}, not {said['max_length']}.")
    shortest, longest = given.get("min_length", shortest), given.get("max_length", longest)
    if not 1 <= shortest <= longest:
        which = "min_length" if "min_length" in given else "min_length, which is not given,"
        raise ValueError(f"{path.name}: {which} must be between 1 and max_length, which is {longest}, not {shortest}.")
    return given


def titles(folder: Path, name: str) -> dict[int, str]:
    """Titles by original item id: a CSV with columns item_id (or id) and title, or Movielens' `id::title::genres` in latin-1."""
    path = folder / name
    if Path(name).name != name or len(os.fsencode(name)) > LONGEST_FILE:
        raise ValueError(f"dataset.toml: titles must be the name of a file beside it, not {shown(name)}.")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {name!r}, which dataset.toml names for the titles.")
    return dat_titles(path, "latin-1") if path.suffix == ".dat" else csv_titles(path, ("item_id", "id"))
