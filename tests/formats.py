"""Writers of the published formats, byte for byte as their owners lay them out; what is written is drawn or given."""

import gzip
from collections.abc import Iterable, Iterator
from datetime import date, timedelta

import numpy as np

MOVIES = {
    1: ("Paper Lanterns (1995)", "Animation|Comedy"),
    122: ("Forêt des horloges égarées, La (1995)", "Adventure"),
    185: ("A::B (1996)", "Drama"),
}
STARS = ["0.5", "1", "3.5", "5"]


def draw(users=30, items=20, rows=200, seed=0, first=1):
    """Users, items and unix seconds: ids with gaps, times not sorted."""
    random = np.random.default_rng(seed)
    who, what = random.integers(0, users, rows) * 3 + first, random.integers(0, items, rows) * 7 + first
    return who, what, random.integers(789_652_009, 1_231_131_736, rows)


def u_data(who, what, when):
    """Movielens 100K: user, item, stars, seconds, tabs between them."""
    return "".join(f"{u}\t{i}\t3\t{t}\n" for u, i, t in zip(who, what, when, strict=True)).encode()


def u_item(titles):
    """Movielens 100K: id|title|date||address|19 genres, latin-1."""
    return "".join(f"{i}|{title}|01-Jan-1995||http://us.imdb.com/{i}|{'|'.join('0' * 19)}\n" for i, title in titles.items()).encode(
        "latin-1"
    )


def ratings_dat(who, what, when):
    """Movielens 1M and 10M: user::item::stars::seconds; 10M has half stars."""
    rows = zip(who, what, when, strict=True)
    return "".join(f"{u}::{i}::{STARS[n % 4]}::{t}\n" for n, (u, i, t) in enumerate(rows)).encode()


def movies_dat(movies, encoding):
    """Movielens 1M (latin-1) and 10M (UTF-8): id::title::genres."""
    return "".join(f"{i}::{title}::{genres}\n" for i, (title, genres) in movies.items()).encode(encoding)


def ratings_csv(who, what):
    """Goodbooks-10K: user_id,book_id,rating in order of time."""
    return ("user_id,book_id,rating\n" + "".join(f"{u},{i},{1 + n % 5}\n" for n, (u, i) in enumerate(zip(who, what, strict=True)))).encode()


BOOKS = b"""book_id,goodreads_book_id,authors,original_title,title,average_rating
1,9000001,Ada Nobody,The Paper Lanterns,"The Paper Lanterns (The Paper Lanterns, #1)",4.11
8,7,"N.N. Nobody, Zo\xc3\xa9 Invented",,"He said ""no"", twice",4.22
15,90015,Ada Nobody,Halflight,"Two
lines",3.33
"""


def snap(products: Iterable[str], total: int, end: str = "\r\n") -> Iterator[bytes]:
    """The text of amazon-meta.txt: a head, then products with an empty line after each."""
    yield f"# Full information about Amazon Share the Love products{end}Total items: {total}{end}{end}".encode()
    for text in products:
        yield (text + "\n").replace("\n", end).encode()


def product(
    number,
    reviews=(),
    asin=None,
    title="A title: with colon",
    group="Book",
    categories=2,
    head=True,
    total=None,
    similar="0000000715  000000074X",
):
    """One record. reviews: (day, customer); a customer of None is missing. title, group: None leaves the line out; so does head=False
    with the line of reviews.
    """
    lines = [f"Id:   {number}", f"ASIN: {asin or f'{number:010d}'}"]
    lines += [f"  title: {title}"] * (title is not None) + [f"  group: {group}"] * (group is not None)
    lines += ["  salesrank: 300005", f"  similar: {len(similar.split())}  {similar}", f"  categories: {categories}"]
    lines += ["   |Books[200055]|Subjects[1000]|Nobody, Ada        [guitar][60004]|[100052]"] * categories
    if head:
        mean = 4.5 if reviews else 0
        lines.append(f"  reviews: total: {len(reviews) if total is None else total}  downloaded: {len(reviews)}  avg rating: {mean}")
    for day, customer in reviews:
        named = "cutomer:" if customer is None else f"cutomer: {customer:>14}"
        lines.append(f"    {day.year}-{day.month}-{day.day}  {named}  rating: 5  votes:  10  helpful:   9")
    return "\n".join(lines) + "\n"


def discontinued(number):
    """A product of which nothing is known."""
    return f"Id:   {number}\nASIN: 0000044445\n  discontinued product\n"


def customer(number):
    """Customer ids as Amazon makes them: letters and digits, some with leading zeros removed, some not."""
    return f"A{number * 2654435761 % 2**40:012X}" if number % 7 else f"000{number:09d}"


def amazon_meta(users=60, items=14, seed=0, end="\r\n"):
    """(packed text, reviews): products of several groups; the reviews are (customer, id of the product, date), in order of the file."""
    random = np.random.default_rng(seed)
    texts, kept = [discontinued(0)], []
    for number in range(1, items + 1):
        count = int(random.integers(0, users))
        days = [date(1995, 1, 5) + timedelta(int(d)) for d in random.integers(0, 3800, count)]
        reviews = [(day, customer(int(c))) for day, c in zip(days, random.integers(0, users, count) ** 2 // users, strict=True)]
        kept += [(c, number, day) for day, c in reviews]
        texts.append(product(number, reviews, group=["Book", "Music", "DVD", "Video", "Toy"][number % 5], title=f"Título {number}"))
    return gzip.compress(b"".join(snap(texts, len(texts), end)), mtime=0), kept
