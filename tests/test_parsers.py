import csv
import gzip
import io
import os
import re
import time
import tomllib
import tracemalloc
import zlib
from collections import Counter
from datetime import date

import formats
import numpy as np
import pytest
from formats import BOOKS, MOVIES, discontinued, product
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixlib import datasets, parsers, prepared, reading
from mixlib.parsers import Table

DAY = date(2000, 7, 28)
NEWLINE = b"\n"
EXAMPLES = int(os.environ.get("MIXLIB_FUZZ", "60"))  # for every reader; more of them on demand


def put(folder, **files):
    """Write files, given by their names with _ for the dot, into a new folder."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", "-").replace("_", ".")).write_bytes(content)
    return folder


def ids(values):
    """Oracle for the numbering: the place among the sorted ids."""
    return [sorted(set(values)).index(value) for value in values]


def packed(*products, total=None, end="\r\n"):
    return gzip.compress(b"".join(formats.snap(products, len(products) if total is None else total, end)))


# --- Movielens


@pytest.mark.parametrize(("name", "encoding"), [("movielens-1m", "latin-1"), ("movielens-10m", "utf-8")])
def test_movielens_dat_files_are_read_with_their_titles(name, encoding, data_root):
    who, what, when = [3, 1, 3, 7], [122, 1, 185, 122], [978_000_760, 5, 5, 1_231_131_736]
    put(data_root / name, ratings_dat=formats.ratings_dat(who, what, when), movies_dat=formats.movies_dat(MOVIES, encoding))
    read = datasets.load(name)
    assert read.users.tolist() == [1, 0, 1, 2] and read.items.tolist() == [2, 1, 3, 2] and read.timestamps.tolist() == when
    assert read.titles.tolist() == ["", *(title for title, _ in MOVIES.values())]
    assert read.ordered and (read.name, read.max_length, read.min_length) == (name, 100, 20)


def test_a_file_of_many_blocks_is_read_like_one(data_root, monkeypatch):
    who, what, when = formats.draw(rows=500)
    folder = put(data_root / "x", ratings_dat=formats.ratings_dat(who, what, when), movies_dat=formats.movies_dat(MOVIES, "utf-8"))
    whole = parsers.movielens_10m(folder)
    monkeypatch.setattr(reading, "BLOCK", 100)
    pieces = parsers.movielens_10m(folder)
    for column, wanted in (("users", who), ("items", what), ("timestamps", when)):
        assert getattr(whole, column).tolist() == getattr(pieces, column).tolist() == wanted.tolist()


def test_a_movielens_1m_folder_of_ones_own_form_is_read_as_that(data_root):
    folder = put(data_root / "movielens-1m", interactions_csv=b"user_id,item_id,timestamp\n1,1,0\n1,122,1\n")
    (folder / "dataset.toml").write_text('title = "Prepared elsewhere"\n')
    alone = datasets.load("movielens-1m")
    put(folder, ratings_dat=formats.ratings_dat([1], [1], [1]), movies_dat=formats.movies_dat(MOVIES, "latin-1"))
    both = datasets.load("movielens-1m")
    assert alone.title == both.title == "Prepared elsewhere" and alone.fingerprint == both.fingerprint and len(both) == 2
    (folder / "interactions.csv").unlink()
    assert datasets.load("movielens-1m").title == "Movielens 1M (original)"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"1::122::5", r"ratings\.dat, line 2: 4 fields with '::' between them are needed"),
        (b"1:122:5:800000046::", "line 2: 4 fields"),
        (b"1::122::5::800000046::x", "line 2: 4 fields"),
        (b"1::-122::5::800000046", "line 2: item_id must be a whole number of at most 18 digits, not '-122'"),
        (b"1::1.5::5::800000046", "line 2: item_id must be a whole number of at most 18 digits, not '1.5'"),
        (b"::122::5::800000046", "line 2: user_id must be a whole number of at most 18 digits, not ''"),
        (b"1::122::5::99999999999999999999", "line 2: timestamp must be a whole number of at most 18 digits"),
        (b"1::122::5::NaN", "line 2: timestamp must be a whole number .* not 'NaN'"),
        (b"", "line 2: 4 fields"),
    ],
)
def test_a_wrong_line_of_ratings_is_named(line, message, data_root):
    good = b"1::122::5::800000046\n"
    put(data_root / "movielens-10m", ratings_dat=good + line + b"\n" + good, movies_dat=formats.movies_dat(MOVIES, "utf-8"))
    with pytest.raises(ValueError, match=message):
        datasets.load("movielens-10m")


def test_ratings_that_break_off_in_mid_line_are_an_error(data_root):
    put(data_root / "movielens-10m", ratings_dat=b"1::122::5::800000046\n1::122::5::8000", movies_dat=formats.movies_dat(MOVIES, "utf-8"))
    with pytest.raises(ValueError, match=r"ratings\.dat, line 2: the file breaks off in mid-line"):
        datasets.load("movielens-10m")


@pytest.mark.parametrize(("movies", "missing"), [(b"", 3), (b"122::Up::Drama\n", 2)])
def test_published_items_without_a_title_are_counted(movies, missing, data_root):
    put(data_root / "movielens-10m", ratings_dat=formats.ratings_dat([3, 1, 3], [122, 1, 185], [1, 2, 3]), movies_dat=movies)
    for _ in ("parsed", "prepared"):
        notes = datasets.load("movielens-10m").notes
        assert notes[0] == f"{missing} of 3 items have no title: they are shown by their ids." and len(notes) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1::Caf\xe9::Drama\n".encode("latin-1"), "movies.dat, line 1: the text is not UTF-8"),
        (b"1::Up::Drama\n1::Down::Drama\n", "movies.dat, line 2: a new id, a title and more"),
        (b"1::Up\n", "movies.dat, line 1: a new id, a title and more"),
        (b"x::Up::Drama\n", "movies.dat, line 1: a new id, a title and more"),
    ],
)
def test_wrong_titles_are_an_error(content, message, data_root):
    put(data_root / "movielens-10m", ratings_dat=b"1::1::5::800000046\n", movies_dat=content)
    with pytest.raises(ValueError, match=message):
        datasets.load("movielens-10m")


# --- Goodbooks


@pytest.mark.parametrize("books", [True, False])
def test_goodbooks_are_read_in_the_order_of_the_file(books, data_root):
    folder = put(data_root / "goodbooks-10k", ratings_csv=formats.ratings_csv([2, 1, 2], [15, 8, 1]))
    if books:
        put(folder, books_csv=BOOKS)
    read = datasets.load("goodbooks-10k")
    assert read.users.tolist() == [1, 0, 1] and read.items.tolist() == [3, 2, 1] and read.timestamps is None and read.ordered
    titles = ["The Paper Lanterns (The Paper Lanterns, #1)", 'He said "no", twice', "Two lines"]
    assert read.titles_of([1, 2, 3]) == (titles if books else ["item 1", "item 8", "item 15"])
    again = datasets.load("goodbooks-10k")  # from the prepared columns
    assert (folder / prepared.NAME).is_file() and again.titles_of([3]) == read.titles_of([3])
    for ids, wanted in ((again.user_ids, [1, 2]), (again.item_ids, [1, 8, 15])):
        assert ids is not None and ids.tolist() == wanted


def test_goodbooks_columns_are_found_by_their_names(data_root):
    put(data_root / "goodbooks-10k", ratings_csv=b"book_id,user_id,rating\n10,2,5\n20,1,5\n")
    assert datasets.load("goodbooks-10k").users.tolist() == [1, 0]
    put(data_root / "goodbooks-10k", ratings_csv=b"book_id;user_id;rating\n10;2;5\n")
    with pytest.raises(ValueError, match=r"ratings\.csv, line 1: the columns must be user_id,book_id,rating"):
        datasets.load("goodbooks-10k")


# --- Amazon


def oracle(reviews, least=10):
    """Users, items and days that should be left, and how many users and items there should be."""
    users, items = Counter(c for c, _, _ in reviews), Counter(i for _, i, _ in reviews)
    appear = [c for c in dict.fromkeys(c for c, _, _ in reviews) if users[c] >= least]
    there = sorted(i for i in items if items[i] >= least)
    kept = [(appear.index(c), there.index(i) + 1, (day - date(1970, 1, 1)).days) for c, i, day in reviews if c in appear and i in there]
    return kept, len(appear), len(there)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_amazon_is_pruned_once_and_numbered(seed, end, data_root):
    content, reviews = formats.amazon_meta(seed=seed, end=end)
    put(data_root / "amazon", **{"amazon__meta_txt_gz": content})
    read = datasets.load("amazon")
    kept, n_users, n_items = oracle(reviews)
    assert list(zip(read.users.tolist(), read.items.tolist(), read.timestamps.tolist(), strict=True)) == kept
    assert (read.n_users, read.n_items, read.max_length, read.min_length) == (n_users, n_items, 50, 5)
    assert 0 < n_users < len({c for c, _, _ in reviews}) and 0 < n_items < 14  # something is pruned
    assert read.titles[1].startswith("Título ") and len(read.titles) == n_items + 1


def test_an_item_stays_an_item_when_only_its_users_are_pruned(tmp_path):
    loyal = [(DAY, "ALOYAL")] * 10
    passing = [(DAY, f"A{n}") for n in range(10)]
    put(tmp_path, **{"amazon__meta_txt_gz": packed(product(1, loyal), product(2, passing))})
    read = parsers.amazon(tmp_path).numbered()
    assert (read["n_users"], read["n_items"], read["items"].tolist()) == (1, 2, [1] * 10)


def test_odd_records_of_amazon_are_read(tmp_path):
    ten = [(DAY, "A1")] * 10
    texts = [
        discontinued(0), product(3, ten, title="First line\nof two"), product(5, head=False), product(5 + 1, ten, title=None, group=None),
        product(7, ten, categories=0, total=593), product(17, [(DAY, "A1"), (DAY, None)]), product(18, (), title="None yet"),
        product(19, ten, title="  group: not a group").replace("  cutomer:             A1", ""),
    ]  # fmt: skip
    put(tmp_path, **{"amazon__meta_txt_gz": packed(*texts)})
    read = parsers.amazon(tmp_path)
    assert np.unique(read.items, return_counts=True)[1].tolist() == [10, 10, 10]
    assert list(read.titles.values()) == ["First line of two", "A title: with colon", "group: not a group"]
    assert read.notes == (
        "11 reviews name no customer and are left out.", "1 of 8 products have no line on their reviews, and count as without.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("Id:   2", "Id:   1"), "line 25: the ids of products must be whole numbers that grow, not '1'"),
        (lambda text: text.replace("2000-7-28", "2000-13-28", 1), "line 14: there is no day '2000-13-28'"),
        (
            lambda text: text.replace("rating: 5  votes", "votes", 1),
            "line 14: of the .* for product 1, 10 are missing or malformed",
        ),
        (lambda text: text.replace("downloaded: 10", "downloaded: 9", 1), "line 23: .* does not belong here"),
        (lambda text: text.replace("downloaded: 10", "downloaded: 11", 1), "line 24: of the reviews .* 1 are missing or malformed"),
        (lambda text: text.replace("Total items: 2", "Total items: 3"), "the file breaks off: it has 2 products .* its head says 3"),
        (lambda text: text.replace("  reviews:", "  revoews:", 1), "line 13: .* does not belong here"),
        (lambda text: "<!DOCTYPE html>\n<p>Not found</p>\n", "line 1: '<!DOCTYPE html>' does not belong here"),
    ],
)
def test_a_wrong_record_of_amazon_is_named(change, message, tmp_path):
    text = b"".join(formats.snap([product(n, [(DAY, "A1")] * 10) for n in (1, 2)], 2, "\n")).decode()
    put(tmp_path, **{"amazon__meta_txt_gz": gzip.compress(change(text).encode())})
    with pytest.raises(ValueError, match=r"amazon-meta\.txt\.gz, " + ("" if message.startswith("line") else ".*") + message):
        parsers.amazon(tmp_path)


def test_a_line_without_end_does_not_fill_the_memory(tmp_path):
    put(tmp_path, **{"amazon__meta_txt_gz": gzip.compress(b"Total items: 1\n" + b"x" * 50_000_000)})
    with pytest.raises(ValueError, match=r"amazon-meta\.txt\.gz, line 2: the line does not end"):
        parsers.amazon(tmp_path)


def test_a_gz_that_breaks_off_is_named_by_the_line_where_it_does(tmp_path):
    whole = b"".join(formats.snap([product(n, [(DAY, f"A{m * m}") for m in range(20)]) for n in range(99)], 99))
    packed = gzip.compress(whole)
    unpacker = zlib.decompressobj(wbits=31)
    there = unpacker.decompress(packed[: len(packed) * 2 // 3])
    put(tmp_path, **{"amazon__meta_txt_gz": packed[: len(packed) * 2 // 3]})
    assert 0.3 < len(there) / len(whole) < 1
    line = there.count(NEWLINE) + 1
    with pytest.raises(ValueError, match=rf"amazon-meta\.txt\.gz, line {line}: from about here on the file cannot be read"):
        parsers.amazon(tmp_path)


REFUSED = "{} is refused: it unpacks to far more than a file of data of its size does."


def test_a_bomb_of_gz_is_refused_before_it_fills_the_memory(tmp_path):
    text = b"Total items: 1\nId:   1\nASIN: 1\n" + (b"   |" + b"x" * 9_000 + b"\n") * 25_000  # 225 MB, all as published
    put(tmp_path, **{"amazon__meta_txt_gz": gzip.compress(text, 9)})
    tracemalloc.start()
    with pytest.raises(ValueError) as error:
        parsers.amazon(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(error.value) == REFUSED.format("amazon-meta.txt.gz") and peak < 20_000_000


def test_a_bomb_of_ones_own_is_refused(data_root):
    folder = put(data_root / "mine", interactions_csv=CSV, dataset_toml=b'titles = "t.csv.gz"')
    for name, head in (("t.csv.gz", b"item_id,title\n"), ("interactions.csv.gz", b"user_id,item_id\n")):
        (folder / name).write_bytes(gzip.compress(head + b"1," + b" " * 220_000_000 + b"2\n", 9))
        with pytest.raises(ValueError) as error:
            datasets.load(folder / "interactions.csv.gz" if name.startswith("i") else "mine")
        assert str(error.value) == REFUSED.format(name)
        (folder / name).unlink()


def test_a_file_that_packs_well_is_read(data_root, monkeypatch):
    put(data_root / "mine", interactions_csv_gz=gzip.compress(b"user_id,item_id\n" + b"1,2\n" * 100_000, 9))
    assert len(datasets.load("mine")) == 100_000  # it grows a thousand times
    monkeypatch.setattr(reading, "LARGEST", 100)
    with pytest.raises(ValueError, match="is refused"):
        datasets.load("mine")


def test_amazon_from_which_nothing_is_left_is_an_error(tmp_path):
    put(tmp_path, **{"amazon__meta_txt_gz": packed(product(1, [(DAY, "A1")] * 3))})
    with pytest.raises(ValueError, match=r"line \d+: no review is left once users and items with fewer than 10 of the 3 are taken out"):
        parsers.amazon(tmp_path)


def test_memory_of_amazon_does_not_grow_with_text_that_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK", 1 << 14)  # else a block is most of the memory
    peaks = []
    for categories in (40, 80):  # lines of text in every product, 1 and 2 MB in all
        texts = [product(n, [(DAY, f"A{n % 7}")] * 10, categories=categories) for n in range(300)]
        put(tmp_path, **{"amazon__meta_txt_gz": packed(*texts)})
        tracemalloc.start()
        read = parsers.amazon(tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(read.users) == 3000
    assert peaks[1] < 1.1 * peaks[0]


# --- counts beside the published ones, and what is prepared


def test_counts_unlike_the_published_ones_are_noted(data_root, monkeypatch):
    put(data_root / "goodbooks-10k", ratings_csv=formats.ratings_csv([2, 1, 2], [15, 8, 1]))
    said = "goodbooks-10k holds 3 interactions, 2 users and 3 items; published are 5,976,479 interactions, 53,424 users and 10,000 items."
    assert datasets.load("goodbooks-10k").notes == (said,) == datasets.load("goodbooks-10k").notes  # parsed, then prepared
    monkeypatch.setattr(datasets, "published", lambda name: (3, 2, 3))  # what was prepared before does not hold on to it
    assert datasets.load("goodbooks-10k").notes == ()


FOLDERS = {
    "movielens-100k": lambda who, what, when: {"u_data": formats.u_data(who, what, when), "u_item": formats.u_item({1: "Émile", 8: "B"})},
    "movielens-1m": lambda *rows: {"ratings_dat": formats.ratings_dat(*rows), "movies_dat": formats.movies_dat(MOVIES, "latin-1")},
    "movielens-10m": lambda *rows: {"ratings_dat": formats.ratings_dat(*rows), "movies_dat": formats.movies_dat(MOVIES, "utf-8")},
    "goodbooks-10k": lambda who, what, when: {"ratings_csv": formats.ratings_csv(who, what), "books_csv": BOOKS},
    "amazon": lambda who, what, when: {"amazon__meta_txt_gz": formats.amazon_meta(seed=int(when[0]) % 97)[0]},
}


@pytest.mark.parametrize("name", FOLDERS)
def test_prepared_columns_are_the_parsed_ones(name, data_root, monkeypatch):
    folder = put(data_root / name, **FOLDERS[name](*formats.draw()))
    first = datasets.load(name)
    assert (folder / "prepared.npz").is_file() and not list(folder.glob(".*"))
    monkeypatch.setattr(reading, "opened", None)  # nothing is parsed again
    monkeypatch.setattr(parsers, "opened", None)
    again = datasets.load(name)
    assert again.fingerprint == first.fingerprint and again.hashes == first.hashes and again.notes == first.notes
    for column in ("users", "items", "timestamps", "titles"):
        one, two = getattr(first, column), getattr(again, column)
        assert (one is None and two is None) or (one.dtype == two.dtype and one.tolist() == two.tolist())


def test_what_a_killed_process_left_of_prepared_columns_goes_after_an_hour(data_root):
    old, new = (data_root / f".{prepared.NAME}.{name}" for name in ("old", "new"))
    for left in (old, new):
        left.write_bytes(b"PK")
    os.utime(old, (time.time() - 3700,) * 2)
    prepared.write(data_root, {}, Table(np.array([1]), np.array([1])).numbered())
    assert new.is_file() and not old.exists() and (data_root / prepared.NAME).is_file()


def test_prepared_columns_are_made_again_when_the_files_or_the_code_change(data_root, monkeypatch):
    folder = put(data_root / "goodbooks-10k", ratings_csv=formats.ratings_csv([1, 2], [1, 8]))
    assert len(datasets.load("goodbooks-10k")) == 2
    put(folder, ratings_csv=formats.ratings_csv([1, 2, 3], [1, 8, 8]))
    assert len(datasets.load("goodbooks-10k")) == 3
    put(folder, books_csv=BOOKS)
    assert datasets.load("goodbooks-10k").titles_of([2]) == ['He said "no", twice']
    before = (folder / "prepared.npz").stat().st_ino
    datasets.load("goodbooks-10k")
    assert (folder / "prepared.npz").stat().st_ino == before
    changed = folder / "parsers.py"
    changed.write_text("another")
    monkeypatch.setattr(datasets.prepared, "CODE", [changed])
    datasets.load("goodbooks-10k")
    assert (folder / "prepared.npz").stat().st_ino != before


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_prepared_columns_are_never_used(data, data_root):
    folder = put(data_root / "goodbooks-10k", ratings_csv=formats.ratings_csv(*formats.draw()[:2]))
    whole = datasets.load("goodbooks-10k")
    kept = bytearray((folder / "prepared.npz").read_bytes())
    at = data.draw(st.integers(0, len(kept) - 1))
    cut = data.draw(st.booleans())
    kept[at] ^= 1 << data.draw(st.integers(0, 7))
    (folder / "prepared.npz").write_bytes(kept[:at] if cut else kept)
    assert datasets.load("goodbooks-10k").fingerprint == whole.fingerprint
    (folder / "prepared.npz").unlink()


LOADED = """
folder = root / "goodbooks-10k"
folder.mkdir()
(folder / "ratings.csv").write_bytes({ratings})
{change}
print(len(datasets.load("goodbooks-10k")), *sorted(path.name for path in folder.iterdir()))
"""


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("", "prepared.npz ratings.csv"),
        ('mount("-o", "remount,ro")', "ratings.csv"),
        ('with suppress(OSError): (root / "rest").write_bytes(bytes(1 << 20))', "ratings.csv"),
    ],
    ids=["roomy", "read-only", "full"],
)
def test_a_folder_that_takes_nothing_more_is_read_and_left_alone(change, left, on_a_disk):
    assert on_a_disk(LOADED.format(ratings=formats.ratings_csv([1, 2], [1, 8]), change=change)) == [f"2 {left}"]


# --- fuzz: right interactions, or a ValueError that names file and line


def lenient(name, files):
    """Oracle: users, items, times as the rows of the damaged files say, read one by one; None where a row is not as published."""
    if name == "amazon":
        return None  # its own oracle is in `test_amazon_is_pruned_once_and_numbered`
    file, separator, places = {
        "movielens-100k": ("u_data", "\t", (0, 1, 3)),
        "movielens-1m": ("ratings_dat", "::", (0, 1, 3)),
        "movielens-10m": ("ratings_dat", "::", (0, 1, 3)),
        "goodbooks-10k": ("ratings_csv", ",", (0, 1)),
    }[name]
    text = files[file].removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    if not text.endswith("\n"):
        return None
    rows = [row.removesuffix("\r") for row in text.split("\n")[:-1]]
    if name == "goodbooks-10k":
        head = rows.pop(0).rstrip("\r").split(",")  # of ratings, which are not read, the end is not looked at
        if sorted(head) != ["book_id", "rating", "user_id"]:
            return None
        places = (head.index("user_id"), head.index("book_id"))
    found = []
    for row in rows:
        fields = row.split(separator)
        if len(fields) != (3 if name == "goodbooks-10k" else 4) or not all(re.fullmatch("[0-9]{1,18}", fields[place]) for place in places):
            return None
        found.append([int(fields[place]) for place in places])
    return found or None


ODD = [b"NaN", b"-1", b"", b"0", b"1e5", b"1.0", b"9" * 18, b"9" * 19, b"9" * 30, b"inf", b" 7", b"+7", b"0x1", b"True", "٣".encode()]


@st.composite
def damage(draw, content):
    """Bytes with one to three of: a cut, a flipped byte, a byte-order mark, other line ends, another delimiter, an odd or huge number, a
    line twice or elsewhere, some lines less.

    Drawn from a generator of its own, which Hypothesis only seeds: what it draws itself depends on the modules that are loaded, and was
    seen to be hardly more than cuts to nothing.
    """
    random = draw(st.randoms(use_true_random=True))
    for _ in range(random.randint(1, 3)):
        lines = content.split(b"\n")
        at, row, byte = random.randint(0, max(len(content) - 1, 0)), random.randrange(len(lines)), random.randrange(256)
        number = random.choice(list(re.finditer(rb"\d+", content)) or [re.match(b"", content)])
        odd = random.choice(ODD)
        content = random.choice([
            content[:at], content[:at] + bytes([byte]) + content[at + 1 :], content[:at] + bytes([byte]) + content[at:],
            b"\xef\xbb\xbf" + content, content.replace(b"\n", b"\r\n"), content.replace(b"\n", b"\r"), content.replace(b"::", b";"),
            content.replace(b"\t", b","), content.replace(b",", b";"), content[: number.start()] + odd + content[number.end() :],
            b"\n".join([*lines[:row], *lines[row + random.randint(1, 25) :]]), b"\n".join([*lines[:row], lines[row], *lines[row:]]),
            b"\n".join([*lines[:row], *lines[row + 1 :], lines[row]]), b"\n".join(sorted(lines)),
            b"\0" * 4 + content, content + b"\n", content * 2, b"",
        ])  # fmt: skip
    return content


FUZZ = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))


def same(read, rows):
    assert read.users.tolist() == ids([row[0] for row in rows])
    assert read.items.tolist() == [i + 1 for i in ids([row[1] for row in rows])]
    assert (read.timestamps is None) == (len(rows[0]) == 2)
    if read.timestamps is not None:
        assert read.timestamps.tolist() == [row[2] for row in rows]


@pytest.mark.parametrize("name", [name for name in FOLDERS if name != "amazon"])
@FUZZ
@given(data=st.data())
def test_a_damaged_official_file_is_read_as_its_rows_say_or_named(name, data, data_root):
    files = FOLDERS[name](*formats.draw(rows=12))
    which = data.draw(st.sampled_from(sorted(files)))
    files[which] = data.draw(damage(files[which]))
    folder = put(data_root / name, **files)
    (folder / "prepared.npz").unlink(missing_ok=True)
    wanted = lenient(name, files)
    try:
        read = datasets.load(name)
    except ValueError as error:
        assert re.search(rf"{re.escape(which.replace('_', '.'))}, line \d+: ", str(error)) and "\n" not in str(error)
        assert wanted is None or ("ratings" not in which and which != "u_data")  # a file of ratings that is whole is read
        return
    assert wanted is not None
    same(read, wanted)
    assert read.titles is None or len(read.titles) == read.n_items + 1


AMAZON = gzip.decompress(formats.amazon_meta(users=20, items=5)[0])
NAMED = re.compile(rb"\n    (\d+)-(\d+)-(\d+) +cutomer: +([^\s:]+) ")


@FUZZ
@given(data=st.data())
def test_a_damaged_amazon_text_is_read_as_its_reviews_say_or_named(data, tmp_path):
    text = data.draw(damage(AMAZON))
    put(tmp_path, **{"amazon__meta_txt_gz": gzip.compress(text)})
    try:
        read = parsers.amazon(tmp_path, least=1)
    except ValueError as error:
        assert re.search(r"amazon-meta\.txt\.gz, line \d+: ", str(error)) and "\n" not in str(error)
        return
    reviews = [(m[4], (date(int(m[1]), int(m[2]), int(m[3])) - date(1970, 1, 1)).days) for m in NAMED.finditer(text)]
    order = {customer: n for n, customer in enumerate(dict.fromkeys(customer for customer, _ in reviews))}
    assert read.users.tolist() == [order[customer] for customer, _ in reviews]  # not one is lost
    assert read.timestamps.tolist() == [day for _, day in reviews]
    assert any("name no customer" in note for note in read.notes) == (len(re.findall(rb"\n    \d+-", text)) > len(reviews))


@pytest.mark.parametrize("first", range(4))
def test_an_amazon_text_without_some_of_its_lines_is_named_or_said_to_lack_them(first, tmp_path):
    text = AMAZON.splitlines(keepends=True)
    parts = [text[:i] + text[i + n :] for i in range(first, len(text), 4) for n in (1, 2, 4, 7, 12, 25)]
    read, said = 0, set()
    for part in [*parts, *(text[:i] for i in range(first, len(text), 4))]:
        left = b"".join(part)
        put(tmp_path, **{"amazon__meta_txt_gz": gzip.compress(left, 1)})
        try:
            found = parsers.amazon(tmp_path, least=1)
        except ValueError as error:
            assert re.search(r"amazon-meta\.txt\.gz, line \d+: ", str(error))
            continue
        read += 1
        assert len(found.users) == len(NAMED.findall(left))
        assert found.notes or len(found.users) == len(NAMED.findall(AMAZON))
        said |= set(found.notes)
    assert read > 20 and any("products have no line on their reviews" in note for note in said)


def test_an_amazon_item_without_a_title_is_shown_by_its_id(data_root):
    ten = [(DAY, "A1")] * 10
    put(data_root / "amazon", **{"amazon__meta_txt_gz": packed(product(1, ten, title=None), product(7, ten, title=None))})
    read = datasets.load("amazon")
    assert read.item_ids.tolist() == [1, 7] and read.titles_of([1, 2]) == ["item 1", "item 7"]
    assert "2 of 2 items have no title: they are shown by their ids." in read.notes


def test_a_line_of_many_spaces_is_refused_at_once(tmp_path):
    text = product(1, [(DAY, "A1")]).replace("cutomer:             A1", f"cutomer:{' ' * 60_000}x:")
    put(tmp_path, **{"amazon__meta_txt_gz": packed(text)})
    began = time.perf_counter()
    with pytest.raises(ValueError, match=r"line \d+: of the reviews .* 1 are missing or malformed"):
        parsers.amazon(tmp_path)
    assert time.perf_counter() - began < 5  # it took 18 s to look for its parts


@FUZZ
@given(data=st.data())
def test_a_damaged_gz_is_read_whole_or_named(data, tmp_path):
    whole = gzip.compress(AMAZON, mtime=0)
    put(tmp_path, **{"amazon__meta_txt_gz": data.draw(damage(whole))})
    try:
        read = parsers.amazon(tmp_path, least=1)
    except ValueError as error:
        assert re.search(r"amazon-meta\.txt\.gz, line \d+: ", str(error)) and "\n" not in str(error)
        return
    put(tmp_path, **{"amazon__meta_txt_gz": whole})
    assert read.users.tolist() == parsers.amazon(tmp_path, least=1).users.tolist()


ROWS = zip(*(column.tolist() for column in formats.draw(rows=9)), strict=True)
CSV = b"user_id,item_id,timestamp,rating\n" + b"".join(b"%d,%d,%d,5\n" % row for row in ROWS)


def plain(text):
    """Oracle: rows of the three columns, by Python's own csv and int; None where anything is odd."""
    rows = [row for row in csv.reader(io.StringIO(text.decode("utf-8-sig"), newline="")) if row]
    places = [rows[0].index(name) for name in ("user_id", "item_id", "timestamp")]
    return [[int(row[place]) for place in places] for row in rows[1:]]


@FUZZ
@given(data=st.data())
def test_a_damaged_csv_of_ones_own_is_read_as_its_rows_say_or_named(data, data_root):
    text = data.draw(damage(CSV))
    put(data_root / "mine", interactions_csv=text)
    try:
        read = datasets.load("mine")
    except ValueError as error:
        said = re.match(r"interactions\.csv, line (\d+): ", str(error))
        assert said and "\n" not in str(error)
        assert 1 <= int(said[1]) <= len(re.split(rb"\r\n|\r|\n", text))
        return
    try:
        wanted = plain(text)
    except (ValueError, IndexError, csv.Error):
        wanted = None  # more is read than plain whole numbers: 1e5, spaces, no timestamps
    if wanted is not None and all(abs(value) < 2**53 for row in wanted for value in row):
        same(read, wanted)
    assert len(read) == len([row for row in re.split(rb"\r\n|\r|\n", text) if row.strip()]) - 1 or b'"' in text  # not one is lost


def test_damage_is_of_many_kinds():
    seen = []

    @FUZZ
    @given(damage(CSV))
    def see(text):
        seen.append(text)

    see()
    lost = [text for text in seen if len(text) < len(CSV) / 2]
    assert len(set(seen)) > 30 and len(lost) < len(seen) / 2


@FUZZ
@given(data=st.data())
def test_a_damaged_csv_gz_of_ones_own_is_read_whole_or_named(data, data_root):
    path = put(data_root / "mine", interactions_csv_gz=data.draw(damage(gzip.compress(CSV, mtime=0)))) / "interactions.csv.gz"
    try:
        read = datasets.load("mine")
    except ValueError as error:
        assert re.match(rf"{re.escape(path.name)}, line \d+: ", str(error))
        assert "\n" not in str(error)
        return
    same(read, plain(CSV))


TITLES = b'item_id,title\n8,"Up, and down"\n15,"Two\nlines"\n8,Again\n22,Caf\xc3\xa9\n36,\n99,Never\n'


@pytest.mark.parametrize("file", ["t.csv", "t.csv.gz"])
@FUZZ
@given(data=st.data())
def test_damaged_titles_of_ones_own_are_read_as_their_rows_say_or_named(file, data, data_root):
    folder = put(data_root / "mine", interactions_csv=CSV, dataset_toml=f"titles = {file!r}".encode())
    (folder / file).write_bytes(content := data.draw(damage(gzip.compress(TITLES, mtime=0) if file.endswith(".gz") else TITLES)))
    try:
        read = datasets.load("mine")
    except ValueError as error:
        assert re.match(rf"{re.escape(file)}, line \d+: ", str(error)) and "\n" not in str(error)
        return
    text = (TITLES if file.endswith(".gz") else content).decode("utf-8-sig")
    wanted = {}
    for row in csv.DictReader(io.StringIO(text, newline="")):
        if row["title"]:
            wanted.setdefault(int(row["item_id"]), row["title"])
    assert read.titles.tolist()[1:] == [wanted.get(number, f"item {number}") for number in sorted({row[1] for row in plain(CSV)})]


FACTS = b'title = "Mine"\nordered = false\nmax_length = 30\nmin_length = 3\ntitles = "t.csv"\nlicence = "CC0"\ncitation = "me, 2024"\n'


@FUZZ
@given(data=st.data())
def test_a_damaged_dataset_toml_is_read_as_it_says_or_named(data, data_root):
    folder = put(data_root / "mine", interactions_csv=CSV, t_csv=TITLES, dataset_toml=data.draw(damage(FACTS)))
    try:
        read = datasets.load("mine")
    except (ValueError, FileNotFoundError) as error:
        assert "dataset.toml" in str(error) and "\n" not in str(error)
        return
    for key, value in tomllib.loads((folder / "dataset.toml").read_text(encoding="utf-8-sig")).items():
        found = getattr(read, key)
        assert (found is not None) if key == "titles" else (type(found), found) == (type(value), value)
