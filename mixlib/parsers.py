"""The published files of the known data sets, read strictly: what is not as published is an error that names file and line."""

import re
from array import array
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from mixlib.reading import BOM, DIGITS, LONGEST, csv_titles, dat_titles, decoded, fault, lines, numbers, opened, shown

REVIEW = re.compile(rb"    (\d{4}-\d{1,2}-\d{1,2}) +(?:cutomer: *([^\s:]*) +)?rating: +\d+ +votes: +\d+ +helpful: +\d+ *")
WIDEST = 500  # bytes of such a line: looking for its parts in one of many spaces takes long
REVIEWS = re.compile(rb"  reviews: total: \d+ +downloaded: (\d{1,9}) +avg rating: [\d.]+ *")
FIELDS = (b"  group:", b"  salesrank:", b"  similar:", b"  categories:", b"   |")  # of a product, not used


@dataclass(frozen=True)
class Table:
    """Columns of a file, under its own ids.

    users, items: (n,); timestamps: (n,), or None; titles: by item id. user_ids, item_ids: all that count, sorted, though no row of
    some may be left; None: those that occur. notes: sentences on what was left out.
    """

    users: np.ndarray
    items: np.ndarray
    timestamps: np.ndarray | None = None
    titles: dict[int, str] | None = None
    user_ids: np.ndarray | None = None
    item_ids: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def numbered(self) -> dict:
        """Columns for `Interactions`: users numbered from 0 and items from 1, in the order of their ids."""
        user_ids, users = _numbered(self.users, self.user_ids)
        item_ids, items = _numbered(self.items, self.item_ids)
        named = self.titles
        titles = None if named is None else np.array(["", *(named.get(i, f"item {i}") for i in item_ids.tolist())], dtype=object)
        unnamed = 0 if named is None else sum(i not in named for i in item_ids.tolist())
        said = (f"{unnamed:,} of {len(item_ids):,} items have no title: they are shown by their ids.",) if unnamed else ()
        return {"users": users, "items": items + 1, "timestamps": self.timestamps, "n_users": len(user_ids), "n_items": len(item_ids),
                "titles": titles, "notes": self.notes + said, "user_ids": user_ids, "item_ids": item_ids}  # fmt: skip


def _numbered(values: np.ndarray, ids: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The sorted ids, and the place of every value among them."""
    if len(values) and values.min() >= 0 and values.max() < 4 * len(values) + 1000:  # ten times faster than sorting
        if ids is None:
            ids = np.flatnonzero(np.bincount(values))
        place = np.zeros(max(int(values.max()), int(ids[-1])) + 1, np.int64)
        place[ids] = np.arange(len(ids))
        return ids, place[values]
    return np.unique(values, return_inverse=True) if ids is None else (ids, np.searchsorted(ids, values))


def movielens_100k(folder: Path) -> Table:
    """u.data: user, item, stars, unix seconds, separated by tabs; u.item: id|title|..., latin-1 (Harper and Konstan 2015)."""
    return _movielens(folder / "u.data", b"\t", dat_titles(folder / "u.item", "latin-1", "|"))


def movielens_1m(folder: Path) -> Table:
    """ratings.dat: user::item::stars::unix seconds; movies.dat: id::title::genres, latin-1 (Harper and Konstan 2015)."""
    return _movielens(folder / "ratings.dat", b"::", dat_titles(folder / "movies.dat", "latin-1"))


def movielens_10m(folder: Path) -> Table:
    """As Movielens 1M, but movies.dat is UTF-8 (Harper and Konstan 2015)."""
    return _movielens(folder / "ratings.dat", b"::", dat_titles(folder / "movies.dat", "utf-8"))


def _movielens(ratings: Path, separator: bytes, titles: dict[int, str]) -> Table:
    read = numbers(ratings, separator, ("user_id", "item_id", "", "timestamp"))
    return Table(read["user_id"], read["item_id"], read["timestamp"], titles)


def goodbooks(folder: Path) -> Table:
    """ratings.csv: user_id,book_id,rating in order of time, without times; books.csv, if it is there, has the titles (Zajac 2017)."""
    path = folder / "ratings.csv"
    with opened(path) as file:
        head = file.readline(LONGEST).removeprefix(BOM).rstrip(b"\r\n").decode("utf-8", "replace").split(",")
    if sorted(head) != ["book_id", "rating", "user_id"]:
        raise fault(path, 1, f"the columns must be user_id,book_id,rating, not {','.join(head)[:80]!r}")
    read = numbers(path, b",", tuple(name.replace("rating", "") for name in head), head=1)
    books = folder / "books.csv"
    return Table(read["user_id"], read["book_id"], None, book_titles(books) if books.is_file() else None)


def book_titles(books: Path) -> dict[int, str]:
    """The titles in a books.csv of Goodbooks by book_id (Zajac 2017)."""
    return csv_titles(books, ("book_id",))


def amazon(folder: Path, least: int = 10) -> Table:
    """amazon-meta.txt.gz: a record of lines for every product, with its reviews (Leskovec, Adamic and Huberman 2007).

    Read as a stream; memory grows with reviews and customers, not with the text. All groups of products are kept. Users and items need
    `least` reviews, both counted once, before anything is taken out; an item stays an item if only its users went. Timestamps are days
    since 1970. Users, who have no numbers, get them as they appear. `notes` counts reviews without a customer, which are left out, and
    products without a line on their reviews.
    """
    path = folder / "amazon-meta.txt.gz"
    users, items, days = array("i"), array("i"), array("i")
    customers: dict[bytes, int] = {}
    dates: dict[bytes, int] = {}
    titles: dict[int, str] = {}
    ids = array("q")  # of the products
    total: int | None = None  # how many products there should be
    product, left, nameless, bare, line = -1, 0, 0, 0, 0  # the id in hand; reviews that it still lacks
    part, title, ended = b"", "", True
    inside = (b"id", b"asin", b"title", b"field")
    for line, text in lines(path):
        if left:
            if not (found := _review(text)):
                raise fault(path, line, f"of the reviews that were downloaded for product {product}, {left} are missing or malformed")
            left -= 1
            day, customer = found.groups()
            if day not in dates:
                dates[day] = _days(path, line, day)
            if customer:
                users.append(customers.setdefault(customer, len(customers)))
                items.append(len(ids) - 1)
                days.append(dates[day])
            else:
                nameless += 1
        elif not text:
            part = b""
        elif text.startswith(FIELDS) and part in inside:
            part = b"field"
        elif (number := _after(b"Id:", text)) is not None and part in (b"", b"end"):
            if not number.isdigit() or len(number) > DIGITS or int(number) <= product:
                raise fault(path, line, f"the ids of products must be whole numbers that grow, not {shown(number)}")
            bare += not ended
            product, part, title, ended = int(number), b"id", "", False
            ids.append(product)
        elif _after(b"ASIN:", text) and part == b"id":
            part = b"asin"
        elif (said := _after(b"  title:", text)) is not None and part in (b"id", b"asin"):
            part, title = b"title", decoded(path, line, said)
        elif (found := REVIEWS.fullmatch(text)) and part in inside:
            left, part, ended = int(found[1]), b"end", True
            if left >= least and title:
                titles[product] = title
        elif text.rstrip() == b"  discontinued product" and part in (b"id", b"asin"):
            part, ended = b"end", True
        elif part == b"title" and not _review(text):  # a few titles have line breaks
            title = f"{title} {decoded(path, line, text.strip())}"
        elif (number := _after(b"Total items:", text)) and number.isdigit() and not ids:
            total = int(number)
        elif ids or not text.startswith(b"#"):
            raise fault(path, line, f"{shown(text)} does not belong here")
    if left or (total is not None and len(ids) != total):
        raise fault(
            path, line, f"the file breaks off: it has {len(ids):,} products and lacks {left} reviews; its head says {total} products"
        )
    who, what, when = (np.frombuffer(column, np.int32) for column in (users, items, days))
    counts = np.bincount(who), np.bincount(what)
    user_ids, item_ids = (np.flatnonzero(count >= least) for count in counts)
    products = np.frombuffer(ids, np.int64)
    kept = (counts[0] >= least)[who] & (counts[1] >= least)[what]
    if not kept.any():
        raise fault(path, line, f"no review is left once users and items with fewer than {least} of the {len(who):,} are taken out")
    bare += not ended
    counted = {
        f"{nameless:,} reviews name no customer and are left out.": nameless,
        f"{bare:,} of {len(ids):,} products have no line on their reviews, and count as without.": bare,
        f"the head of {path.name} does not say how many products there are: some may be missing.": total is None,
    }
    notes = tuple(sentence for sentence, holds in counted.items() if holds)
    return Table(who[kept], products[what[kept]], when[kept].astype(np.int64), titles, user_ids, products[item_ids], notes)


def _review(text: bytes) -> re.Match[bytes] | None:
    return REVIEW.fullmatch(text) if len(text) < WIDEST else None


def _after(label: bytes, text: bytes) -> bytes | None:
    """What follows a label, without spaces around it; None without the label."""
    return text[len(label) :].strip() if text.startswith(label) else None


def _days(path: Path, line: int, day: bytes) -> int:
    try:
        return date(*map(int, day.split(b"-"))).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        raise fault(path, line, f"there is no day {shown(day)}") from None
