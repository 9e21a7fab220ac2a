"""Interactions of users with items, and where they come from.

All feedback is implicit: an interaction says that a user chose an item, stars are ignored.
"""

import csv
import gzip
import itertools
import os
import re
import tomllib
import zlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from mixlib import downloads, prepared
from mixlib.names import as_text, choose
from mixlib.parsers import Table
from mixlib.reading import csv_titles, dat_titles, fault
from mixlib.sources import SOURCES, published

LONGEST = 10_000  # items in a window
RESERVED = ("all", "runs")  # names of the book's own folders
FACTS: dict[str, type] = {"title": str, "ordered": bool, "max_length": int, "min_length": int, "licence": str, "citation": str}


@dataclass(frozen=True, eq=False)
class Interactions:
    """Who chose what, in file order.

    users: (n,) ids 0..n_users-1; items: (n,) ids 1..n_items, 0 is padding and never occurs; timestamps: (n,) any increasing
    unit, or None: then the order of the rows is the order in time, if `ordered`. titles: (n_items + 1,) text, or None.
    user_ids: (n_users,), item_ids: (n_items,), the first of item 1: their ids in the files, rising; None where there are no files.
    max_length, min_length: of the windows that a sequence study cuts. Counts that are not given are taken from the ids. notes: what
    was left out of the files, or is not as published, in sentences; hashes: sha256 of the files, where they are a known data set's.
    Raises ValueError on arrays of different lengths and on ids outside their range.
    """

    users: np.ndarray
    items: np.ndarray
    timestamps: np.ndarray | None = None
    n_users: int = None  # type: ignore[assignment]  # counted from the ids
    n_items: int = None  # type: ignore[assignment]
    name: str = ""
    titles: np.ndarray | None = None
    title: str = ""
    ordered: bool = True
    max_length: int = 100
    min_length: int = 20
    licence: str = ""
    citation: str = ""
    notes: tuple[str, ...] = ()
    hashes: dict[str, str] = field(default_factory=dict)
    user_ids: np.ndarray | None = None
    item_ids: np.ndarray | None = None

    def __post_init__(self):
        for column in ("users", "items"):
            values = np.asarray(getattr(self, column))
            if values.ndim != 1 or (len(values) and values.dtype.kind not in "iu"):
                raise ValueError(f"{column} must be a 1-D array of whole numbers, not {values.dtype} of shape {values.shape}.")
            object.__setattr__(self, column, values.astype(np.int64, copy=False))
        if self.timestamps is not None:
            object.__setattr__(self, "timestamps", np.asarray(self.timestamps))
            if self.timestamps.dtype.kind == "f" and not np.isfinite(self.timestamps).all():
                raise ValueError("timestamps must be finite numbers.")
        columns = (self.users, self.items) if self.timestamps is None else (self.users, self.items, self.timestamps)
        if len({len(column) for column in columns}) > 1:
            raise ValueError(f"users, items and timestamps differ in length: {', '.join(str(len(c)) for c in columns)}.")
        for name, values, lowest in (("users", self.users, 0), ("items", self.items, 1)):
            highest = int(values.max()) if len(values) else lowest - 1
            if len(values) and values.min() < lowest:
                raise ValueError(f"{name} must be numbered from {lowest} on, but {values.min()} occurs.")
            count = getattr(self, f"n_{name}")
            if count is None:
                object.__setattr__(self, f"n_{name}", highest + 1 - lowest)
            elif highest - lowest >= count:
                raise ValueError(f"n_{name} is {count}, but {name} has the id {highest}.")

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: np.ndarray) -> "Interactions":
        """The given rows, with the same users, items and description."""
        timestamps = None if self.timestamps is None else self.timestamps[rows]
        return replace(self, users=self.users[rows], items=self.items[rows], timestamps=timestamps)

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change whenever an id, the order of rows, a timestamp or a count does."""
        digest = sha256(f"{self.n_users} {self.n_items} {self.ordered}".encode())
        for column in (self.users, self.items, self.timestamps):
            digest.update(b"-" if column is None else np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()[:16]

    @property
    def density(self) -> float:
        """Share of the (user, item) pairs that occur."""
        pairs = np.unique(self.users * (self.n_items + 1) + self.items)
        return len(pairs) / (self.n_users * self.n_items)

    @property
    def popularity(self) -> np.ndarray:
        """(n_items,) interactions of every item."""
        return np.bincount(self.items, minlength=self.n_items + 1)[1:]

    @property
    def popularity_ratio(self) -> float:
        """95th percentile of item popularity over its median: the paper's measure of popularity bias."""
        return float(np.percentile(self.popularity, 95) / max(np.median(self.popularity), 1))

    def titles_of(self, items: np.ndarray) -> list[str]:
        """The titles of the given items, harmless to show; `item 17`, with the id of the files, where a data set has none.

        Raises ValueError on what is no item, such as padding.
        """
        wanted = np.asarray(items)
        if len(wanted) and not 1 <= wanted.min() <= wanted.max() <= self.n_items:
            raise ValueError(f"items are numbered from 1 to {self.n_items}, and {wanted.min()} to {wanted.max()} are asked for.")
        if self.titles is not None:
            return [as_text(str(self.titles[i])) for i in wanted]
        return [f"item {i}" for i in (wanted if self.item_ids is None else self.item_ids[wanted - 1])]


def root_folder(root: str | Path | None = None) -> Path:
    """Where data sets lie: `root`, else $MIXLIB_DATA, else the user's cache folder."""
    if root or os.environ.get("MIXLIB_DATA"):
        return Path(root or os.environ["MIXLIB_DATA"]).expanduser()
    import pooch  # only where nobody said where the data are: running trials must not need it

    return Path(pooch.os_cache("mixlib"))


def names(root: str | Path | None = None) -> list[str]:
    """Names that `load` knows: the embedded one, the registered ones, and the folders of the data root."""
    folder = root_folder(root)
    found = {p.parent.name for pattern in ("interactions.csv", "interactions.csv.gz") for p in folder.glob(f"*/{pattern}")}
    return sorted({"synthetic", *SOURCES, *filter(_can_be_named, found)})


def _can_be_named(folder: str) -> bool:
    own = folder not in RESERVED and not folder.startswith("synthetic") and "copies=" not in folder and folder == folder.strip("_")
    return own and re.fullmatch(r"[\w.=-]+", folder) is not None


def load(name: str | Path, root: str | Path | None = None) -> Interactions:
    """Interactions of a registered data set, of the folder `<root>/<name>/`, or of a path to an interactions.csv[.gz].

    `synthetic` is generated; `synthetic:tastes=1,seed=2` with other parameters of `synthetic.generate`. `<name>:copies=0.25` is a data
    set of which a quarter of the items has a second edition, by `synthetic.with_copies`. Nothing is downloaded.
    Raises ValueError on an unknown name or a malformed file, FileNotFoundError when a known data set is not there yet.
    """
    text = str(name)
    base, _, share = text.rpartition(":copies=")
    if base or text.split(":")[0] == "synthetic":
        from mixlib import synthetic  # the one import that goes down: the embedded data set is generated

        return synthetic.with_copies(load(base, root), _share(share)) if base else synthetic.from_name(text)
    if text.endswith((".csv", ".csv.gz")):
        path = Path(text).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"no file {text}: give the path of an interactions.csv or interactions.csv.gz.")
        return read_folder(path.parent, path)
    folder = root_folder(root) / text
    by_hand = [folder / file for file in ("interactions.csv.gz", "interactions.csv") if (folder / file).is_file()]
    if len(by_hand) > 1:
        raise ValueError(f"the folder {text} holds interactions.csv and interactions.csv.gz: take out the one that does not count.")
    if by_hand:
        return read_folder(folder, by_hand[0])
    if text in SOURCES and any((folder / file).exists() for file in SOURCES[text].files):
        return read_source(text, folder)
    if not root and os.environ.get("MIXLIB_DATA") and not root_folder().is_dir():
        raise FileNotFoundError(f"no data set {text!r}: {root_folder()}, where MIXLIB_DATA says that data sets lie, is not there.")
    choose("data set", text, names(root))
    if text in SOURCES:
        raise FileNotFoundError(
            f"{text} is not in {root_folder(root)}: `mixlib fetch {text}` gets it, or set MIXLIB_DATA to the folder that holds it."
        )
    raise FileNotFoundError(f"the folder {text} of the data root holds no interactions.csv or interactions.csv.gz.")


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"copies must be a number, the share of the items that have a second edition, not {text!r}.") from None


def read_folder(folder: Path, path: Path) -> Interactions:
    """Read interactions.csv[.gz] (user_id, item_id, optional timestamp) and the dataset.toml beside it, if any."""
    facts = _facts(folder / "dataset.toml")
    table = _read_csv(path)
    timestamps = None if "timestamp" not in table else _numbers(table, "timestamp", path)
    ordered = bool(facts.pop("ordered", timestamps is not None))
    titles = _titles(folder, facts.pop("titles")) if "titles" in facts else None
    name = Path(os.path.normpath(folder.absolute())).name  # of a link, not of what it points to
    if not _can_be_named(name):
        raise ValueError(f"the folder {name!r} cannot name a data set: take letters, digits, '.', '-' and '_'; not "
                         f"{' or '.join(map(repr, RESERVED))}, no name that begins with 'synthetic' or that '_' begins or ends, none with "
                         "'copies='.")  # fmt: skip
    read = Table(_numbers(table, "user_id", path, whole=True), _numbers(table, "item_id", path, whole=True), timestamps, titles)
    return Interactions(**read.numbered(), name=name, ordered=ordered, **facts)


def read_source(name: str, folder: Path) -> Interactions:
    """Read the published files of a known data set, or the columns that were prepared from them before."""
    source = SOURCES[name]
    stamp = prepared.stamp(folder, source.all_files)
    columns = prepared.read(folder, stamp)
    if columns is None:
        hashes = downloads.hashes(folder, source.all_files)
        columns = source.parse(folder).numbered() | {"hashes": hashes}
        prepared.write(folder, stamp, columns)
    found = (len(columns["users"]), columns["n_users"], columns["n_items"])
    if found != published(name):
        said = [f"{i:,} interactions, {u:,} users and {n:,} items" for i, u, n in (found, published(name))]
        columns["notes"] += (f"{name} holds {said[0]}; published are {said[1]}.",)
    for each in source.downloads if (folder / downloads.NOTED).is_file() else ():  # who put the files there by hand knows it
        if not each.needed and not (folder / each.name).exists():
            columns["notes"] += (f"{each.name}, which has the titles, is missing: get it from {each.url} and put it into the folder "
                                 f"{name} of the data root, or do without.",)  # fmt: skip
    longest, shortest = source.windows
    return Interactions(**columns, name=name, title=source.title, max_length=longest, min_length=shortest,
                        licence=source.licence, citation=source.citation)  # fmt: skip


def fetch(name: str, root: str | Path | None = None, file: str | Path | None = None) -> Path:
    """Get a known data set, verify and prepare it, and give the folder where it now lies. Nothing happens if it is there already.

    file: the published file, if the reader has it; without it, it is downloaded. Files that are not needed may stay away: the `notes` of
    the data set say so. Raises ValueError on a name that cannot be fetched or on a file that is not what was published, OSError when it
    cannot be had.
    """
    if name not in SOURCES and name in names(root):
        raise ValueError(f"{name} is {'generated' if name == 'synthetic' else 'a folder of the data root'}: there is nothing to fetch.")
    source = SOURCES[choose("downloadable data set", name, SOURCES)]
    folder = root_folder(root) / name
    if own := next(folder.glob("interactions.csv*"), None):
        raise FileExistsError(f"{name} is here in another form, {own.name}: move the folder away to fetch the published one.")
    if all((folder / each).exists() for each in source.files):
        return folder
    with downloads.arriving(folder) as partial:
        downloads.get(source.downloads, partial, None if file is None else Path(file).expanduser())
        read_source(name, partial)
    return folder


def _read_csv(path: Path) -> pd.DataFrame:
    needed = {"user_id", "item_id"}
    try:
        head = ",".join(map(str, pd.read_csv(path, nrows=0).columns)).replace('"', "")
        other = next((name for name, mark in (("semicolons", ";"), ("tabs", "\t")) if needed <= set(head.split(mark))), None)
        table = pd.read_csv(path, low_memory=False, nrows=0 if other else None)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.name} is missing from the folder {path.parent.name}.") from None
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path.name} is empty: it needs a header line and the columns user_id and item_id.") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is no text in UTF-8: save it again as CSV in UTF-8.") from None
    except (ValueError, EOFError, OSError, zlib.error) as error:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        if path.suffix == ".gz" and not packed:
            raise ValueError(f"{path.name} is not packed by gzip, as its name says: pack it, or name it interactions.csv.") from None
        raise ValueError(f"{path.name} cannot be read ({' '.join(str(error).split())}): is it complete?") from error
    if other:
        raise ValueError(f"{path.name} has {other} between its columns: separate the fields by commas.")
    if not isinstance(table.index, pd.RangeIndex):  # pandas makes an index of fields without a column name
        raise ValueError(f"{path.name} has rows with more fields than there are columns: {', '.join(map(str, table.columns))}.")
    for column in needed - set(table.columns):
        found = ", ".join(repr(str(name)) for name in table.columns)
        raise ValueError(f"{path.name} has no column {column}: it needs user_id and item_id, and has {found}.")
    for column in sorted({*needed, "timestamp"}):
        if f"{column}.1" in table.columns:  # so pandas calls the second of two
            raise ValueError(f"{path.name} has two columns {column}: leave one of them.")
    if not len(table):
        raise ValueError(f"{path.name} holds no interactions: only a header line.")
    return table


def _numbers(table: pd.DataFrame, column: str, path: Path, whole: bool = False) -> np.ndarray:
    """(n,) numbers of a column; whole ones as int64, and only those that a float would hold exactly if pandas read any as floats."""
    raw = table[column]
    given = pd.to_numeric(raw, errors="coerce") if raw.dtype.kind != "b" else pd.Series(np.nan, raw.index)  # True is no number
    values = given.to_numpy(copy=True)
    if values.dtype.kind == "O":
        values = np.array([value if isinstance(value, int) and abs(value) < 2**63 else np.nan for value in values])
    bad = ~np.isfinite(values) if values.dtype.kind == "f" else values > np.int64(2**63 - 1)
    if whole and values.dtype.kind == "f":
        bad |= (np.where(bad, 0, values) % 1 != 0) | (np.abs(values) >= 2**53)
    if bad.any():
        row = int(bad.argmax())
        shown = (
            "nothing" if pd.isna(raw.iloc[row]) else repr(raw.iloc[row].item() if hasattr(raw.iloc[row], "item") else raw.iloc[row])[:80]
        )
        what = "a whole number" if whole else "a number"
        more = f" ({bad.sum()} such rows)" if bad.sum() > 1 else ""
        hint = ": give seconds since 1970, or any number that grows with time" if column == "timestamp" else ""
        hint = ": number them first, as the page Run it yourself shows" if whole and raw.dtype.kind not in "biuf" else hint
        hint = ": separate the fields by commas" if any(mark in shown for mark in (";", "\\t")) else hint
        raise fault(path, _line(path, row), f"{column} must be {what}, not {shown}{more}{hint}")
    return values.astype(np.int64) if whole or values.dtype.kind == "u" else values


def _line(path: Path, row: int) -> int:
    """The line of the file where a row of it ends, rows counted from 0."""
    csv.field_size_limit(2**31 - 1)  # pandas, which read the file before, has no limit
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.reader(file)
        filled = (rows.line_num for fields in rows if fields)
        return next(itertools.islice(filled, row + 1, None), rows.line_num)


def _facts(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
        shown = {key: repr(value)[:80] for key, value in facts.items()}
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply: it needs no more than keys and values.") from None
    except ValueError as error:  # no TOML, no UTF-8, or a number of thousands of digits
        raise ValueError(f"{path.name} is not valid TOML: {error}.") from error
    types: dict[str, type] = FACTS | {"titles": str}
    for key, value in facts.items():
        choose(f"setting in {path.name} called", key, types)
        if type(value) is not types[key]:
            raise ValueError(f"{path.name}: {key} must be {types[key].__name__}, not {shown[key]}.")
    if not 2 <= facts.get("max_length", 2) <= LONGEST:
        raise ValueError(f"{path.name}: max_length must be between 2 and {LONGEST:,}, not {shown['max_length']}.")
    shortest, longest = facts.get("min_length", Interactions.min_length), facts.get("max_length", Interactions.max_length)
    if not 1 <= shortest <= longest:
        raise ValueError(f"{path.name}: min_length must be between 1 and max_length, which is {longest}, not {shortest}.")
    return facts


def _titles(folder: Path, name: str) -> dict[int, str]:
    """Titles by original item id: a CSV with columns item_id (or id) and title, or Movielens' `id::title::genres` in latin-1."""
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {name!r}, which dataset.toml names for the titles.")
    return dat_titles(path, "latin-1") if path.suffix == ".dat" else csv_titles(path, ("item_id", "id"))
