"""Interactions of users with items, and where they come from.

All feedback is implicit: an interaction says that a user chose an item, stars are ignored.
"""

import os
import shutil
import tomllib
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from mixlib.names import as_text, choose


@dataclass(frozen=True, eq=False)
class Interactions:
    """Who chose what, in file order.

    users: (n,) ids 0..n_users-1; items: (n,) ids 1..n_items, 0 is padding and never occurs; timestamps: (n,) any increasing
    unit, or None: then the order of the rows is the order in time, if `ordered`. titles: (n_items + 1,) text, or None.
    max_length, min_length: of the windows that a sequence study cuts. Counts that are not given are taken from the ids.
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

    def __post_init__(self):
        for column in ("users", "items"):
            values = np.asarray(getattr(self, column))
            if values.ndim != 1 or (len(values) and values.dtype.kind not in "iu"):
                raise ValueError(f"{column} must be a 1-D array of whole numbers, not {values.dtype} of shape {values.shape}.")
            object.__setattr__(self, column, values.astype(np.int64, copy=False))
        if self.timestamps is not None:
            object.__setattr__(self, "timestamps", np.asarray(self.timestamps))
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
        """The titles of the given items, harmless to show; `item 17` where a data set has none."""
        return [f"item {i}" if self.titles is None else as_text(str(self.titles[i])) for i in np.asarray(items)]


@dataclass(frozen=True)
class Source:
    """An official archive: https address, sha256 and size in bytes, the files that are kept of it, and who reads them."""

    url: str
    sha256: str
    files: tuple[str, ...]
    parse: Callable[[Path], Interactions]


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
    return sorted({"synthetic", *SOURCES, *found})


def load(name: str | Path, root: str | Path | None = None) -> Interactions:
    """Interactions of a registered data set, of the folder `<root>/<name>/`, or of a path to an interactions.csv[.gz].

    `synthetic` is generated; `synthetic:tastes=1,seed=2` with other parameters of `synthetic.generate`. Nothing is downloaded.
    Raises ValueError on an unknown name or a malformed file, FileNotFoundError when a known data set is not there yet.
    """
    text = str(name)
    if text.split(":")[0] == "synthetic":
        from mixlib import synthetic  # the one import that goes down: the embedded data set is generated

        return synthetic.from_name(text)
    if text.endswith((".csv", ".csv.gz")):
        path = Path(text).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"no file {text}: give the path of an interactions.csv or interactions.csv.gz.")
        return read_folder(path.parent, path)
    folder = root_folder(root) / text
    if text in SOURCES and any((folder / file).exists() for file in SOURCES[text].files):
        return replace(SOURCES[text].parse(folder), name=text)
    for file in ("interactions.csv.gz", "interactions.csv"):
        if (folder / file).is_file():
            return read_folder(folder, folder / file)
    choose("data set", text, names(root))
    if text in SOURCES:
        raise FileNotFoundError(
            f"{text} is not in {root_folder(root)}: `mixlib fetch {text}` gets it, or set MIXLIB_DATA to the folder that holds it."
        )
    raise FileNotFoundError(f"the folder {text} of the data root holds no interactions.csv or interactions.csv.gz.")


def read_folder(folder: Path, path: Path) -> Interactions:
    """Read interactions.csv[.gz] (user_id, item_id, optional timestamp) and the dataset.toml beside it, if any."""
    facts = _facts(folder / "dataset.toml")
    table = _read_csv(path)
    timestamps = None if "timestamp" not in table else _numbers(table, "timestamp", path)
    ordered = bool(facts.pop("ordered", timestamps is not None))
    titles = _titles(folder / facts.pop("titles")) if "titles" in facts else None
    name = folder.resolve().name
    return _number(_ids(table, "user_id", path), _ids(table, "item_id", path), timestamps, titles, name=name, ordered=ordered, **facts)


def fetch(name: str, root: str | Path | None = None) -> Path:
    """Download a registered data set, verify it, and give the folder where it now lies. Nothing happens if it is there already.

    Raises ValueError on an unknown name or a download that is not what it should be, OSError when it cannot be had.
    """
    import pooch

    source = SOURCES[choose("downloadable data set", name, SOURCES)]
    folder = root_folder(root) / name
    if all((folder / file).exists() for file in source.files):
        return folder
    partial = folder.with_name(f".{name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        archive = pooch.retrieve(source.url, f"sha256:{source.sha256}", path=partial, progressbar=os.isatty(2))
        with zipfile.ZipFile(archive) as packed:
            for file in source.files:
                member = next(m for m in packed.namelist() if m.endswith("/" + file))
                (partial / file).write_bytes(packed.read(member))
        Path(archive).unlink()
        folder.mkdir(exist_ok=True)
        for file in source.files:
            (partial / file).replace(folder / file)
    except ValueError as error:
        raise ValueError(f"the download of {name} is not the published file ({error}); try again later.") from error
    except OSError as error:
        raise OSError(f"cannot download {source.url} ({type(error).__name__}): check the network and try again.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _movielens_100k(folder: Path) -> Interactions:
    """u.data: user, item, stars, unix seconds, separated by tabs; u.item: id|title|..., latin-1 (Harper and Konstan 2015)."""
    path = folder / "u.data"
    table = _read_csv(path, sep="\t", header=None, names=["user_id", "item_id", "rating", "timestamp"])
    titles = pd.read_csv(folder / "u.item", sep="|", header=None, usecols=[0, 1], encoding="latin-1", index_col=0)[1]
    return _number(
        _ids(table, "user_id", path), _ids(table, "item_id", path), _numbers(table, "timestamp", path), titles,
        title="Movielens 100K", licence="GroupLens: research use, no redistribution", citation="harper2016movielens",
    )  # fmt: skip


SOURCES = {
    "movielens-100k": Source(
        "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        ("u.data", "u.item"),
        _movielens_100k,
    ),
}


def _read_csv(path: Path, **options) -> pd.DataFrame:
    needed = {"user_id", "item_id"}
    try:
        table = pd.read_csv(path, **options)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.name} is missing from the folder {path.parent.name}.") from None
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path.name} is empty: it needs a header line and the columns user_id and item_id.") from None
    except (pd.errors.ParserError, UnicodeDecodeError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path.name} cannot be read ({error}): is it complete?") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas makes an index of fields without a column name
        raise ValueError(f"{path.name} has rows with more fields than there are columns: {', '.join(map(str, table.columns))}.")
    for column in needed - set(table.columns):
        raise ValueError(f"{path.name} has no column {column}: it needs user_id and item_id, and has {', '.join(map(str, table.columns))}.")
    if not len(table):
        raise ValueError(f"{path.name} holds no interactions: only a header line.")
    return table


def _numbers(table: pd.DataFrame, column: str, path: Path, what: str = "a number") -> np.ndarray:
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(copy=True)
    if values.dtype.kind == "f":
        bad = ~np.isfinite(values)
        if bad.any():
            row = int(bad.argmax())
            raw = table[column].iloc[row]
            shown = "nothing" if pd.isna(raw) else repr(raw)
            raise ValueError(f"{path.name}, row {row + 1}: {column} must be {what}, not {shown} ({bad.sum()} such rows).")
    return values


def _ids(table: pd.DataFrame, column: str, path: Path) -> np.ndarray:
    values = _numbers(table, column, path, "a whole number")
    if values.dtype.kind == "f":
        bad = values != np.floor(values)
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(f"{path.name}, row {row + 1}: {column} must be a whole number, not {values[row]} ({bad.sum()} such rows).")
    return values.astype(np.int64)


def _number(users, items, timestamps, known: pd.Series | None = None, **facts) -> Interactions:
    """Number users from 0 and items from 1, in the order of their original ids."""
    user_ids, users = np.unique(users, return_inverse=True)
    item_ids, items = np.unique(items, return_inverse=True)
    titles = None
    if known is not None:
        found = known[~known.index.duplicated()].reindex(item_ids)
        titles = np.array(["", *(f"item {i}" if pd.isna(t) else str(t) for i, t in zip(item_ids, found, strict=True))], dtype=object)
    return Interactions(users, items + 1, timestamps, len(user_ids), len(item_ids), titles=titles, **facts)


def _facts(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is not valid TOML: {error}.") from error
    types: dict[str, type] = FACTS | {"titles": str}
    for key, value in facts.items():
        choose(f"setting in {path.name} called", key, types)
        if type(value) is not types[key]:
            raise ValueError(f"{path.name}: {key} must be {types[key].__name__}, not {value!r}.")
    return facts


FACTS: dict[str, type] = {"title": str, "ordered": bool, "max_length": int, "min_length": int, "licence": str, "citation": str}


def _titles(path: Path) -> pd.Series:
    """Titles by original item id: a CSV with columns item_id (or id) and title, or Movielens' `id::title::genres` in latin-1."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.name}, which dataset.toml names for the titles, is missing.")
    if path.suffix == ".dat":
        rows = [line.split("::") for line in path.read_text(encoding="latin-1").splitlines() if line]
        return pd.Series([row[1] for row in rows], index=[int(row[0]) for row in rows])
    table = pd.read_csv(path, dtype={"title": str}, low_memory=False)
    key = next((c for c in ("item_id", "id") if c in table), None)
    if key is None or "title" not in table:
        raise ValueError(f"{path.name} needs the columns item_id (or id) and title.")
    return table.set_index(key)["title"]
