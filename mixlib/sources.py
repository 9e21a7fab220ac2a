"""Where the known data sets come from, what is kept of them, who reads them, and what they should hold."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mixlib import parsers

GROUPLENS = "https://files.grouplens.org/datasets/movielens/"
GOODBOOKS = "https://raw.githubusercontent.com/zygmuntz/goodbooks-10k/master/"
COUNTS = tomllib.loads(Path(__file__).with_name("published.toml").read_text(encoding="utf-8"))["counts"]
RESEARCH = "GroupLens: research use, no redistribution"


@dataclass(frozen=True)
class Download:
    """One file at an https address: the files that are kept of it (of a zip: its members, else itself) and what proves it.

    proof: `sha256:...`, `git:...` (the id of a git blob), or nothing where none is published. limit: bytes that it may have at most.
    needed: whether the data set cannot do without it. read: raises ValueError when the file is not of its form.
    """

    url: str
    files: tuple[str, ...]
    proof: str
    limit: int
    needed: bool = True
    read: Callable[[Path], object] = lambda path: None

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Source:
    """A known data set; windows: the longest, and the shortest that is kept."""

    title: str
    downloads: tuple[Download, ...]
    parse: Callable[[Path], parsers.Table]
    licence: str
    citation: str
    windows: tuple[int, int] = (100, 20)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that must be there."""
        return tuple(file for download in self.downloads if download.needed for file in download.files)

    @property
    def all_files(self) -> tuple[str, ...]:
        """Those, and the ones that may be there."""
        return tuple(file for download in self.downloads for file in download.files)


# fmt: off
SOURCES = {
    "movielens-100k": Source(
        "Movielens 100K",
        (Download(GROUPLENS + "ml-100k.zip", ("u.data", "u.item"),
                  "sha256:50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229", 4_924_029),),
        parsers.movielens_100k, RESEARCH, "harper2016movielens",
    ),
    "movielens-1m": Source(
        "Movielens 1M (original)",
        (Download(GROUPLENS + "ml-1m.zip", ("ratings.dat", "movies.dat"),
                  "sha256:a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20", 20_000_000),),
        parsers.movielens_1m, RESEARCH, "harper2016movielens",
    ),
    "movielens-10m": Source(
        "Movielens 10M",
        (Download(GROUPLENS + "ml-10m.zip", ("ratings.dat", "movies.dat"),
                  "sha256:813c411ccb6122564edfe752e7f80c4dcc5aa25fa94c93622f6877a7ba252862", 65_566_137),),
        parsers.movielens_10m, RESEARCH, "harper2016movielens",
    ),
    "goodbooks-10k": Source(
        "Goodbooks-10K",
        (Download(GOODBOOKS + "ratings.csv", ("ratings.csv",), "git:0d245a10acfe3c89b2e4004cdbc805b99771ac5d", 100_000_000),
         Download(GOODBOOKS + "books.csv", ("books.csv",), "", 10_000_000, needed=False, read=parsers.book_titles)),
        parsers.goodbooks, "CC BY-SA 4.0", "goodbooks2017",
    ),
    "amazon": Source(
        "Amazon",
        (Download("https://snap.stanford.edu/data/bigdata/amazon/amazon-meta.txt.gz", ("amazon-meta.txt.gz",), "", 400_000_000),),
        parsers.amazon, "none is stated; cite the paper that published the data", "leskovec2007dynamics",
        (50, 5),
    ),
}
# fmt: on


def published(name: str) -> tuple[int, int, int]:
    """Interactions, users and items that a data set was published to have; without the padding id, which the paper counts."""
    found = COUNTS[name]
    return found["interactions"], found["users"] - found["padding"], found["items"] - found["padding"]
