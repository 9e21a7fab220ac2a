"""Interactions of users with items, and where they come from.

All feedback is implicit: an interaction says that a user chose an item, stars are ignored.
"""

import os
import re
import sys
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np

from mixlib import downloads, own, prepared
from mixlib.names import LONGEST_FILE, as_text, choose
from mixlib.parsers import Table
from mixlib.reading import shown
from mixlib.sources import SOURCES, published

RESERVED = ("all", "runs")  # names of the book's own folders


@dataclass(frozen=True, eq=False)
class Interactions:
    """Who chose what, in file order.

    users: (n,) ids 0..n_users-1; items: (n,) ids 1..n_items, 0 is padding and never occurs; timestamps: (n,) any increasing
    unit, numbers or dates, or None: then the order of the rows is the order in time, if `ordered`. titles: (n_items + 1,) text, or None.
    user_ids: (n_users,), item_ids: (n_items,), the first of item 1: their ids in the files, rising, or for customers of Amazon, whose ids
    are text, numbers as they appear; None where there are no files.
    max_length, min_length: of the windows that a sequence study cuts. Counts that are not given are taken from the ids. notes: what
    was left out of the files, or is not as published, in sentences; hashes: sha256 of the files, where they are a known data set's.
    originals: items before `synthetic.with_copies` added second editions, which have the ids above; None where it did not.
    Raises ValueError on arrays of different lengths, on ids outside their range, and on times without an order.
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
    originals: int | None = None

    def __post_init__(self):
        for column in ("users", "items"):
            values = np.asarray(getattr(self, column))
            if values.ndim != 1 or (len(values) and values.dtype.kind not in "iu"):
                raise ValueError(f"{column} must be a 1-D array of whole numbers, not {values.dtype} of shape {values.shape}.")
            object.__setattr__(self, column, values.astype(np.int64, copy=False))
        if self.timestamps is not None:
            times = np.asarray(self.timestamps)
            object.__setattr__(self, "timestamps", times)
            if times.ndim != 1 or (len(times) and times.dtype.kind not in "iufM"):
                raise ValueError(f"timestamps must be a 1-D array of numbers or dates, not {times.dtype} of shape {times.shape}.")
            if times.dtype.kind in "fM" and not np.isfinite(times).all():
                raise ValueError("timestamps must be finite: one is no number or no date.")
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
        for name, length in (("titles", self.n_items + 1), ("user_ids", self.n_users), ("item_ids", self.n_items)):
            if (given := getattr(self, name)) is not None and len(given) != length:
                raise ValueError(
                    f"{name} must have {length:,} entries, not {len(given):,}: {self.n_users:,} users, {self.n_items:,} items."
                )

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
    def pairs(self) -> np.ndarray:
        """(n,) one number for each pair of a user and an item."""
        return self.users * (self.n_items + 1) + self.items

    @property
    def times(self) -> np.ndarray:
        """(n,) the timestamps, or the positions of the rows where there are none."""
        return np.arange(len(self)) if self.timestamps is None else self.timestamps

    @property
    def density(self) -> float:
        """Share of the (user, item) pairs that occur; NaN without users or items."""
        every = self.n_users * self.n_items
        return len(np.unique(self.pairs)) / every if every else float("nan")

    @property
    def popularity(self) -> np.ndarray:
        """(n_items,) interactions of every item."""
        return np.bincount(self.items, minlength=self.n_items + 1)[1:]

    @property
    def popularity_ratio(self) -> float:
        """95th percentile of item popularity over its median: the paper's measure of popularity bias; NaN without items."""
        if not self.n_items:
            return float("nan")
        return float(np.percentile(self.popularity, 95) / max(np.median(self.popularity), 1))

    def titles_of(self, items: np.ndarray) -> list[str]:
        """The titles of the given items, harmless to show; `item 17`, with the id of the files, where there is none to be seen.

        Raises ValueError on what is no item, such as padding.
        """
        wanted = np.asarray(items)
        if len(wanted) and not 1 <= wanted.min() <= wanted.max() <= self.n_items:
            raise ValueError(f"items are numbered from 1 to {self.n_items}, and {wanted.min()} to {wanted.max()} are asked for.")
        ids = wanted if self.item_ids is None else self.item_ids[wanted - 1]
        given = [""] * len(wanted) if self.titles is None else [as_text(str(self.titles[i])) for i in wanted]
        return [title or f"item {i}" for title, i in zip(given, ids, strict=True)]


def root_folder(root: str | Path | None = None) -> Path:
    """Where data sets lie: `root`, else $MIXLIB_DATA, else the user's cache folder."""
    if root or os.environ.get("MIXLIB_DATA"):
        return Path(root or os.environ["MIXLIB_DATA"]).expanduser()
    cache = Path.home() / "Library/Caches" if sys.platform == "darwin" else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "mixlib"


def names(root: str | Path | None = None) -> list[str]:
    """Names that `load` knows: the embedded one, the registered ones, and the folders of the data root."""
    folder = root_folder(root)
    found = {p.parent.name for pattern in ("interactions.csv", "interactions.csv.gz") for p in folder.glob(f"*/{pattern}")}
    return sorted({"synthetic", *SOURCES, *filter(_can_be_named, found)})


def _can_be_named(folder: str) -> bool:
    free = folder not in RESERVED and not folder.startswith("synthetic") and "copies=" not in folder and folder == folder.strip("_")
    return free and not folder.endswith((".csv", ".csv.gz")) and re.fullmatch(r"[\w.=-]+", folder) is not None


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
    last = Path(os.path.normpath(text)).name
    if last in ("", "..") or len(os.fsencode(last)) > LONGEST_FILE:
        raise ValueError(f"{shown(text)} cannot name a data set: give a registered name, a folder of the data root, or the path of an "
                         "interactions.csv or interactions.csv.gz.")  # fmt: skip
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
        raise FileNotFoundError(f"no data set {text!r}: {root_folder()}, where MIXLIB_DATA says that data sets lie, is no folder.")
    if Path(text).is_file() and (os.sep in text or Path(text).suffix):
        raise ValueError(f"{text} does not end in .csv or .csv.gz: give the path of an interactions.csv or interactions.csv.gz.")
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
    facts = own.facts(folder / "dataset.toml", Interactions.min_length, Interactions.max_length)
    table = own.read_csv(path)
    users, items = (own.numbers(table, column, path, whole=True) for column in ("user_id", "item_id"))
    timestamps = None if "timestamp" not in table else own.numbers(table, "timestamp", path)
    ordered = bool(facts.pop("ordered", timestamps is not None))
    titles: dict[int, str] | None = None
    if "titles" in facts:
        titles = own.titles(folder, facts.pop("titles"))
    name = Path(os.path.normpath(folder.absolute())).name  # of a link, not of what it points to
    if not _can_be_named(name):
        raise ValueError(f"the folder {name!r} cannot name a data set: take letters, digits, '.', '-' and '_'; not "
                         f"{' or '.join(map(repr, RESERVED))}, no name that begins with 'synthetic' or that '_' begins or ends, none with "
                         "'copies=', none that ends in .csv or .csv.gz.")  # fmt: skip
    return Interactions(**Table(users, items, timestamps, titles).numbered(), name=name, ordered=ordered, **facts)


def read_source(name: str, folder: Path) -> Interactions:
    """Read the published files of a known data set, or the columns that were prepared from them before."""
    source = SOURCES[name]
    _refuse_folders(name, folder)
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
    _refuse_folders(name, folder)
    if all((folder / each).exists() for each in source.files):
        return folder
    with downloads.arriving(folder) as partial:
        downloads.get(source.downloads, partial, None if file is None else Path(file).expanduser())
        read_source(name, partial)
    return folder


def _refuse_folders(name: str, folder: Path) -> None:
    if wrong := next((file for file in SOURCES[name].all_files if (folder / file).is_dir()), None):
        raise IsADirectoryError(f"{wrong} in the folder {name} of the data root is a folder, not a file: move it away.")
