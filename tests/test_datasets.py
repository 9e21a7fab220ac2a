import gzip
import os
from dataclasses import replace

import numpy as np
import pytest

from mixlib import datasets, splits
from mixlib.datasets import Interactions

CSV = "user_id,item_id,timestamp,rating\n7,30,200,5\n7,10,100,1\n4,30,50,3\n"


def write(folder, text=CSV, name="interactions.csv", facts=""):
    """A data set in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    if facts:
        (folder / "dataset.toml").write_text(facts)
    return folder / name


def write_movielens(folder):
    """u.data and u.item as GroupLens publishes them: tabs, bars, latin-1."""
    folder.mkdir(exist_ok=True)
    (folder / "u.data").write_text("200\t242\t3\t880000949\n180\t302\t3\t890000742\n200\t302\t5\t880001000\n")
    rows = ["242|Kettle, The (1996)|02-Jan-1997||http://x|0|1\n", "302|Zoé, vraiment (2001)|01-Jan-2001|||0|0\n", "9|Never seen|||||\n"]
    (folder / "u.item").write_bytes("".join(rows).encode("latin-1"))


# --- Interactions


def test_ids_are_counted_unless_the_counts_are_given():
    ids = [0, 2], [1, 5]
    assert (Interactions(*map(np.array, ids)).n_users, Interactions(*map(np.array, ids)).n_items) == (3, 5)
    assert Interactions(*map(np.array, ids), n_users=9, n_items=8).n_items == 8


def test_no_interactions_are_interactions_too():
    none = Interactions(np.array([]), np.array([]))
    assert (len(none), none.n_users, none.n_items) == (0, 0, 0)
    assert np.isnan([none.density, none.popularity_ratio]).all()


@pytest.mark.parametrize(
    ("users", "items", "more", "message"),
    [
        ([0, 1], [1], {}, "differ in length: 2, 1"),
        ([0, 1], [1, 2], {"timestamps": np.arange(3)}, "differ in length: 2, 2, 3"),
        ([0, 1], [1, 2], {"titles": np.array(["", "Up"])}, "titles must have 3 entries, not 2: 2 users, 2 items"),
        ([0, 1], [1, 2], {"item_ids": np.array([7])}, "item_ids must have 2 entries, not 1: 2 users, 2 items"),
        ([0, 1], [0, 1], {}, "items must be numbered from 1 on, but 0 occurs"),
        ([-1, 1], [1, 1], {}, "users must be numbered from 0 on, but -1 occurs"),
        ([0, 3], [1, 1], {"n_users": 3}, "n_users is 3, but users has the id 3"),
        ([0, 1], [1, 4], {"n_items": 3}, "n_items is 3, but items has the id 4"),
        ([0.0, 1.0], [1, 2], {}, "users must be a 1-D array of whole numbers"),
        ([[0, 1]], [1, 2], {}, "users must be a 1-D array of whole numbers"),
    ],
)
def test_impossible_interactions_are_an_error(users, items, more, message):
    with pytest.raises(ValueError, match=message):
        Interactions(np.array(users), np.array(items), **more)


def test_the_fingerprint_changes_when_anything_changes():
    base = Interactions(np.array([0, 1, 1]), np.array([1, 2, 3]), np.array([5, 6, 7]))
    changed = [
        replace(base, users=np.array([0, 0, 1])),
        replace(base, items=np.array([1, 3, 3])),
        replace(base, timestamps=np.array([5, 6, 8])),
        replace(base, timestamps=None),
        replace(base, n_users=3),
        replace(base, n_items=4),
        replace(base, ordered=False),
        base.take(np.array([1, 0, 2])),
        base.take(np.array([0, 1])),
    ]
    assert len({base.fingerprint, *(c.fingerprint for c in changed)}) == 1 + len(changed)


def test_the_fingerprint_is_of_the_data_and_not_of_its_description():
    base = Interactions(np.array([0, 1, 1]), np.array([1, 2, 3]))
    assert replace(base, name="x", title="y", users=base.users.astype(np.int32)).fingerprint == base.fingerprint


def test_popularity_and_density_of_a_hand_made_set():
    made = Interactions(np.array([0, 0, 1, 1]), np.array([1, 1, 1, 3]), n_items=4)  # one pair occurs twice
    assert made.popularity.tolist() == [3, 0, 1, 0]
    assert made.density == 3 / 8
    assert made.popularity_ratio == pytest.approx(np.percentile([3, 0, 1, 0], 95))  # the median 0.5 counts as 1


# --- reading


def test_movielens_100k_is_read_with_its_titles(data_root):
    write_movielens(data_root / "movielens-100k")
    read = datasets.load("movielens-100k")
    assert read.users.tolist() == [1, 0, 1] and read.items.tolist() == [1, 2, 2]
    assert read.timestamps.tolist() == [880000949, 890000742, 880001000]
    assert read.titles_of(np.array([2, 1])) == ["Zoé, vraiment (2001)", "Kettle, The (1996)"]
    assert read.name == "movielens-100k" and read.ordered and (read.max_length, read.min_length) == (100, 20)


@pytest.mark.parametrize("file", ["interactions.csv", "interactions.csv.gz"])
def test_a_csv_is_read_by_name_and_by_path(file, data_root):
    path = write(data_root / "mine", name=file)
    for name in ("mine", str(path), path):
        read = datasets.load(name)
        assert read.name == "mine" and read.ordered
        assert read.users.tolist() == [1, 1, 0] and read.items.tolist() == [2, 1, 2]
        assert read.timestamps.tolist() == [200, 100, 50]
    assert "mine" in datasets.names()


def test_root_goes_before_the_environment(data_root, tmp_path):
    write(tmp_path / "elsewhere")
    assert len(datasets.load("elsewhere", root=tmp_path)) == 3


def test_interactions_without_timestamps_have_no_order_unless_the_toml_says_so(data_root):
    text = "item_id,user_id\n3,1\n2,1\n"
    write(data_root / "plain", text)
    write(data_root / "ordered", text, facts="ordered = true\n")
    assert not datasets.load("plain").ordered and datasets.load("plain").timestamps is None
    assert datasets.load("ordered").ordered
    (data_root / "ordered" / "dataset.toml").write_text("ordered = true\n", encoding="utf-8-sig")
    assert datasets.load("ordered").ordered


def test_dataset_toml_describes_the_data(data_root):
    facts = 'title = "Mine"\nordered = false\nmax_length = 30\nmin_length = 3\ntitles = "t.csv"\nlicence = "CC0"\ncitation = "me2024"\n'
    write(data_root / "mine", facts=facts)
    (data_root / "mine" / "t.csv").write_text("item_id,title\n30,Thirty\n30,Again\n99,Never\n")
    read = datasets.load("mine")
    assert (read.title, read.ordered, read.max_length, read.min_length, read.licence, read.citation) == (
        "Mine",
        False,
        30,
        3,
        "CC0",
        "me2024",
    )
    assert read.titles_of(np.array([1, 2])) == ["item 10", "Thirty"]


def test_titles_may_come_from_movielens_dat_files(data_root):
    write(data_root / "mine", facts='titles = "movies.dat"\n')
    (data_root / "mine" / "movies.dat").write_bytes("10::Café::Drama\n30::Up::Comedy\n".encode("latin-1"))
    assert datasets.load("mine").titles_of(np.array([1, 2])) == ["Café", "Up"]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ("max_lenght = 3\n", "no setting in dataset.toml called 'max_lenght': did you mean 'max_length'"),
        ('max_length = "3"\n', "dataset.toml: max_length must be int, not '3'"),
        ("ordered = 1\n", "dataset.toml: ordered must be bool, not 1"),
        ("max_length =\n", "dataset.toml is not valid TOML"),
        ("max_length = 0x" + "f" * 9999 + "\n", "dataset.toml is not valid TOML: Exceeds the limit"),  # Python does not show it
        ("title = 0x" + "f" * 9999 + "\n", "dataset.toml is not valid TOML: Exceeds the limit"),
        ("max_length = " + "9" * 9999 + "\n", "dataset.toml is not valid TOML: Exceeds the limit"),
        ("title = " + "[" * 9999 + "\n", "dataset.toml is nested too deeply: it needs no more than keys and values"),
        ("title" + ".a" * 2999 + " = 1\n", "dataset.toml(: title must be str| is nested too deeply)"),  # some Pythons can show it
        ('titles = "t.csv"\n', r"there is no file 't\.csv', which dataset\.toml names for the titles"),
        (f'titles = "{"t" * 300}.csv"\n', r"dataset\.toml: titles must be the name of a file beside it, not 'ttt"),
        ('titles = "."\n', r"dataset\.toml: titles must be the name of a file beside it, not '\.'"),
        ('titles = ".."\n', r"there is no file '\.\.', which dataset\.toml names"),
        ('titles = "../../secret.csv"\n', r"dataset\.toml: titles must be the name of a file beside it, not '\.\./\.\./secret\.csv'"),
        ('titles = "/secret.csv"\n', r"dataset\.toml: titles must be the name of a file beside it, not '/secret\.csv'"),
        ('titles = "more/t.csv"\n', r"dataset\.toml: titles must be the name of a file beside it, not 'more/t\.csv'"),
        ('titles = ""\n', r"there is no file '', which dataset\.toml names"),
        ('titles = "t\\u0000.csv"\n', r"there is no file 't\\x00\.csv', which dataset\.toml names"),
    ],
    ids=lambda value: value[:30],
)
def test_a_wrong_dataset_toml_is_an_error(facts, message, data_root):
    write(data_root / "mine", facts=facts)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        datasets.load("mine")


def test_items_without_a_title_are_counted(data_root):
    write(data_root / "mine", "user_id,item_id\n1,10\n1,20\n2,30\n", facts='titles = "t.csv"\n')
    (data_root / "mine" / "t.csv").write_text("item_id,title\n1,One\n30,Thirty\n")
    assert datasets.load("mine").notes == ("2 of 3 items have no title: they are shown by their ids.",)
    (data_root / "mine" / "t.csv").write_text("item_id,title\n10,Ten\n20,Twenty\n30,Thirty\n")
    assert datasets.load("mine").notes == ()


def test_titles_between_semicolons_are_told_from_missing_columns(data_root):
    write(data_root / "mine", facts='titles = "t.csv"\n')
    (data_root / "mine" / "t.csv").write_text("item_id;title\n30;Thirty\n")
    with pytest.raises(ValueError, match=r"t\.csv, line 1: the columns item_id or id and title are needed, with commas between them\."):
        datasets.load("mine")


def test_a_file_of_another_ending_is_told_from_a_name(data_root, tmp_path):
    (tmp_path / "orders.tsv").write_text("user_id\titem_id\n1\t2\n")
    with pytest.raises(ValueError, match=r"orders\.tsv does not end in \.csv or \.csv\.gz: give the path of an interactions\.csv"):
        datasets.load(tmp_path / "orders.tsv")


def test_titles_without_the_needed_columns_are_an_error(data_root):
    write(data_root / "mine", facts='titles = "t.csv"\n')
    (data_root / "mine" / "t.csv").write_text("key,name\n30,Thirty\n")
    with pytest.raises(ValueError, match=r"t\.csv, line 1: the columns item_id or id and title are needed\."):
        datasets.load("mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user_id,item\n1,2\n", "line 1: there is no column item_id: user_id and item_id are needed, and there are 'user_id', 'item'"),
        ("1,2\n1,3\n", "line 1: there is no column item_id: .*, and there are '1', '2'; the first line must name the columns"),
        ("user_id,item_id,item_id\n1,2,3\n", "line 1: there are two columns item_id: leave one of them"),
        ("user_id,item_id, timestamp\n1,2,3\n", "line 1: there is no column timestamp: .*; take the spaces out of the first line"),
        ("user_id,item_id,Timestamp\n1,2,3\n", "there is no column timestamp: .*; write timestamp for 'Timestamp'"),
        ("USER_ID,item_id\n1,2\n", "there is no column user_id: .*; write user_id for 'USER_ID'"),
        (",".join(map(str, range(5000))) + "\n1,2\n", "there are '0', '1', .*'9' and 4,990 more; the first line must name the columns"),
        ("user_id,item_id\n1,2\n1,abc\n1,\n", r"item_id must be a whole number, not 'abc' \(2 such rows\)"),
        ("user_id,item_id\n1;2,\n", r"user_id must be a whole number, not '1;2': separate the fields by commas\.$"),
        ("user_id,item_id\n1,2\n,3\n", r"user_id must be a whole number, not nothing\.$"),
        ("user_id,item_id\n1,2\n1.5,3\n", "user_id must be a whole number, not 1.5"),
        ("user_id,item_id,timestamp\n1,2,3\n1,2,yesterday\n", "timestamp must be a number, not 'yesterday'"),
        (
            "user_id,item_id,timestamp\n1,2,2020-01-31\n1,3,2020-02-01\n",
            r"not '2020-01-31' \(2 such rows\): give seconds since 1970, or any number that grows with time\.$",
        ),
        ('"user_id";"item_id"\n1;2\n', r"csv, line 1: semicolons stand between the columns: separate the fields by commas"),
        ("\n\nuser_id\titem_id\n1\t2\n", "line 3: tabs stand between the columns: separate the fields by commas"),
        ("user_id, item_id\n1,2\n", "there are 'user_id', ' item_id'; take the spaces out of the first line"),
        ("user_id|item_id\n1|2\n", "line 1: bars stand between the columns: separate the fields by commas"),
        ("user_id item_id\n1 2\n", "line 1: spaces stand between the columns: separate the fields by commas"),
        (
            "user_id,item_id\ncust-1,2\n",
            "user_id must be a whole number, not 'cust-1': number them first, as the page Run it yourself shows",
        ),
        ("user_id,item,a;b\n1,2,3;4\n", "line 1: there is no column item_id"),
        ("user_id;item_id;name\n1;2;Up\n1;3;Here, there\n", "line 1: semicolons stand between the columns"),
        ("user_id,item_id,timestamp\n1,2,\n", "timestamp must be a number, not nothing"),
        (
            "user_id,item_id,timestamp\n1,2,1.5\n1,3,1700000000000000003\n",
            "line 3: timestamp must be a number, not 1.7.+18 of 9,007,199,254,740,992 or more in a column that has points or gaps",
        ),
        ("user_id,item_id\n1,2\n1,18446744073709551615\n", r"line 3: item_id must be a whole number, not 18446744073709551615"),
        ("user_id,item_id\n1,2\n1,123456789012345678901234567890\n", r"line 3: item_id must be a whole number, not '?1234567890"),
        ("user_id,item_id\n1,2.0\n1,9007199254740993\n", "line 3: item_id must be a whole number"),  # a float would round it
        ("user_id,item_id\n1,True\n2,False\n", r"line 2: item_id must be a whole number, not True \(2 such rows\)"),
        ("user_id,item_id\n1,2\n\n\n1,x\n", "line 5: item_id must be a whole number, not 'x'"),
        ("user_id,item_id\n1,2\n \t\n1,x\n", "line 4: item_id must be a whole number, not 'x'"),
        ('user_id,note,item_id\n1,"two\nlines",2\n1,a,x\n', "line 4: item_id must be a whole number, not 'x'"),
        ("user_id,item_id\n1,2,3\n", "line 2: there are 3 fields for 2 columns: put quotes around a field that holds commas"),
        ("user_id,item_id\n0,10,5\n1,11,4\n", "line 2: there are 3 fields for 2 columns"),  # must not become an index
        ('user_id,item_id\n"1",2\n\n1,2,Here, there\n', "line 4: there are 4 fields for 2 columns"),
        ("user_id,item_id\r1,2\r1,2,3\r", "line 3: there are 3 fields for 2 columns"),
        ('user_id,item_id,note\n1,2,"two\nlines"\n1,2,"a\n3,4,b\n', "line 4: a quote is opened in the row that begins here, and never"),
        ('user_id,"item_id\n1,2\n', "line 1: a quote is opened in the row that begins here, and never closed"),
        ("", "line 1: the file is empty: it needs a header line"),
        ("\nuser_id,item_id\n", "line 2: the file holds no interactions: only a header line"),
    ],
)
def test_a_malformed_file_is_an_error_of_one_line(text, message, data_root):
    write(data_root / "bad", text)
    with pytest.raises(ValueError, match=message) as error:
        datasets.load("bad")
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_a_column_that_pandas_names_for_a_repeat_is_a_column(data_root):
    rows = "".join(f"{user},{item},7\n" for user in range(30) for item in range(12))
    write(data_root / "written", "user_id,item_id,user_id.1\n" + rows)
    assert datasets.load("written").n_users == 30


def test_ids_that_interactions_may_have_may_have_titles(data_root):
    low, high = -7, 2**63 - 1
    write(data_root / "mine", f"user_id,item_id\n1,{low}\n1,{high}\n2,3\n", facts='titles = "t.csv"\n')
    (data_root / "mine" / "t.csv").write_text(f"item_id,title\n{low},Low\n{high},High\n3,Three\n")
    assert sorted(datasets.load("mine").titles[1:]) == ["High", "Low", "Three"]
    (data_root / "mine" / "t.csv").write_text(f"item_id,title\n{high + 1},Too high\n")
    with pytest.raises(ValueError, match=r"t\.csv, line 2: 2 fields with a whole number as item_id are needed, not '9223372036854775808"):
        datasets.load("mine")


def damaged(how):
    packed = bytearray(gzip.compress("".join(["user_id,item_id\n", *(f"{i * i % 977},{i}\n" for i in range(3000))]).encode()))
    if how == "truncated":
        return packed[: len(packed) // 2]
    if how == "scrambled":
        packed[10:30] = b"\xff" * 20
        return packed
    return b"user_id,item_id\n1,2\n"  # not compressed at all


LAST = {"truncated": 1480, "scrambled": 1}  # the line that is the last to be read, as gunzip shows


@pytest.mark.parametrize("how", ["truncated", "scrambled", "plain"])
def test_a_damaged_gz_is_an_error(how, data_root):
    (data_root / "bad").mkdir()
    (data_root / "bad" / "interactions.csv.gz").write_bytes(damaged(how))
    cut = r"line {}: from about here on the file cannot be read \(.*\), it may be incomplete\."
    said = "line 1: the file is not packed by gzip, as its name says: pack it" if how == "plain" else cut.format(LAST[how])
    with pytest.raises(ValueError, match=rf"interactions\.csv\.gz, {said}"):
        datasets.load("bad")
    folder = write(data_root / "mine", facts='titles = "t.csv.gz"\n').parent
    (folder / "t.csv.gz").write_bytes(damaged(how))
    with pytest.raises(ValueError, match=rf"t\.csv\.gz, {cut.format(LAST.get(how, 1))}"):
        datasets.load("mine")


@pytest.mark.parametrize("file", ["interactions.csv", "interactions.csv.gz"])
@pytest.mark.parametrize(("encoding", "line"), [("utf-16", 1), ("latin-1", 5)])
def test_text_that_is_not_utf_8_is_named_with_its_line(encoding, line, file, data_root):
    path = write(data_root / "bad", name=file)
    text = 'user_id,item_id,name\n1,2,"two\nlines"\n1,3,\n1,4,Café\n'.encode(encoding)
    path.write_bytes(gzip.compress(text) if file.endswith(".gz") else text)
    with pytest.raises(ValueError, match=rf"{file}, line {line}: the text is not UTF-8: save the file again as CSV in UTF-8\."):
        datasets.load("bad")


def test_of_two_files_neither_is_taken_silently(data_root):
    write(data_root / "mine")
    (data_root / "mine" / "interactions.csv.gz").write_bytes(gzip.compress(b"user_id,item_id\n1,2\n"))
    with pytest.raises(ValueError, match=r"the folder mine holds interactions\.csv and interactions\.csv\.gz: take out the one"):
        datasets.load("mine")


@pytest.mark.parametrize("facts, shortest, longest", [("min_length = 30\nmax_length = 10", 30, 10), ("max_length = 10", 20, 10),
                                                      ("min_length = 150", 150, 100), ("min_length = 0", 0, 100)])  # fmt: skip
def test_impossible_windows_are_refused_also_beside_a_default(data_root, facts, shortest, longest):
    write(data_root / "mine", facts=facts)
    which = "min_length" if "min_length" in facts else "min_length, which is not given,"
    wanted = rf"dataset\.toml: {which} must be between 1 and max_length, which is {longest}, not {shortest}\."
    with pytest.raises(ValueError, match=wanted):
        datasets.load("mine")


def test_the_shortest_windows_and_those_of_one_length_are_taken(data_root):
    write(data_root / "mine", facts="min_length = 1\nmax_length = 2")
    assert (datasets.load("mine").min_length, datasets.load("mine").max_length) == (1, 2)
    write(data_root / "mine", facts="min_length = 2\nmax_length = 2")
    assert datasets.load("mine").min_length == 2


def test_a_link_names_the_data_set_and_not_what_it_points_to(data_root):
    write(data_root / "real" / "v2")
    (data_root / "shop").symlink_to(data_root / "real" / "v2")
    assert datasets.load("shop").name == "shop"


def test_times_that_are_no_numbers_and_items_that_are_none_are_refused():
    for times in (np.array([1.0, np.nan]), np.array(["2017-11-21", "NaT"], "datetime64[s]")):
        with pytest.raises(ValueError, match="timestamps must be finite"):
            Interactions(np.array([0, 0]), np.array([1, 2]), times)
    for times in (np.array(["9", "10"]), np.array([[1, 2], [3, 4]]), np.array([1, None])):  # texts would come as 10, 9
        with pytest.raises(ValueError, match="timestamps must be a 1-D array of numbers or dates"):
            Interactions(np.array([0, 0]), np.array([1, 2]), times)
    assert len(Interactions(np.array([0, 0]), np.array([1, 2]), np.array(["2017-11-21", "2017-11-22"], "datetime64[D]"))) == 2
    with pytest.raises(ValueError, match="items are numbered from 1 to 2, and 0 to 2 are asked for"):
        Interactions(np.array([0, 0]), np.array([1, 2])).titles_of(np.array([0, 2]))


def test_ids_of_the_file_are_kept_and_shown(data_root):
    write(data_root / "mine", "user_id,item_id\n900,50\n17,200\n17,99\n900,99\n")
    read = datasets.load("mine")
    assert read.user_ids is not None and read.item_ids is not None
    assert read.user_ids[read.users].tolist() == [900, 17, 17, 900] and read.item_ids[read.items - 1].tolist() == [50, 200, 99, 99]
    assert read.titles_of([1, 2, 3]) == ["item 50", "item 99", "item 200"] and read.take(np.array([0])).titles_of([3]) == ["item 200"]
    assert Interactions(np.array([0]), np.array([2])).titles_of([2]) == ["item 2"]
    assert datasets.load("mine:copies=0.5").titles_of([4]) == ["item 4"]  # a second edition has no id in the file


def test_a_folder_that_cannot_be_a_name_is_not_offered_as_one(data_root):
    write(data_root / "My shop")
    assert "My shop" not in datasets.names() and "synthetic" in datasets.names()


def test_semicolons_within_the_names_of_columns_do_no_harm(data_root):
    write(data_root / "mine", "user_id,item_id,a;b\n1,2,3;4\n")
    assert len(datasets.load("mine")) == 1


def test_an_unknown_data_set_is_an_error_that_suggests_one(data_root):
    write(data_root / "my-books")
    with pytest.raises(ValueError, match=r"no data set 'my-boks': did you mean 'my-books'\? There are amazon, .*, my-books, synthetic"):
        datasets.load("my-boks")


def test_a_known_data_set_that_is_not_there_says_how_to_get_it(data_root):
    with pytest.raises(FileNotFoundError, match="mixlib fetch movielens-100k"):
        datasets.load("movielens-100k")


def test_a_half_missing_data_set_names_what_is_missing(data_root):
    for file in ("u.data", "u.item"):
        write_movielens(data_root / "movielens-100k")
        (data_root / "movielens-100k" / file).unlink()
        with pytest.raises(FileNotFoundError, match=file):
            datasets.load("movielens-100k")


@pytest.mark.parametrize("use", [datasets.load, datasets.fetch])
def test_a_folder_in_place_of_a_published_file_is_named(use, data_root):
    (data_root / "movielens-1m" / "ratings.dat").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"^ratings\.dat in the folder movielens-1m of the data root is a folder, not a file: move"):
        use("movielens-1m")


def test_a_path_without_a_file_is_an_error(data_root):
    with pytest.raises(FileNotFoundError, match=r"no file nowhere/interactions\.csv"):
        datasets.load("nowhere/interactions.csv")


# --- real data


def real(name):
    if not os.environ.get("MIXLIB_DATA"):
        pytest.skip("real data: set MIXLIB_DATA to a folder that holds them")
    if not (datasets.root_folder() / name).is_dir():
        pytest.skip(f"real data: {name} is not in MIXLIB_DATA")
    return datasets.load(name)


def test_movielens_100k_is_the_published_set():
    read = real("movielens-100k")
    assert (len(read), read.n_users, read.n_items) == (100_000, 943, 1_682)
    assert read.density == pytest.approx(100_000 / 943 / 1_682)
    cut = splits.sequence_split(read, read.max_length, read.min_length)
    assert 90 <= len(cut.test) <= 200  # a tenth of the users, some of them several times


def test_movielens_1m_is_the_published_set():
    read = real("movielens-1m")
    assert (len(read), read.n_users, read.n_items) == (999_611, 6_040, 3_416)
    assert read.density == pytest.approx(999_611 / 6_040 / 3_416)


def test_a_data_root_that_is_no_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MIXLIB_DATA", str(tmp_path / "dta"))
    for make in (lambda: None, (tmp_path / "dta").touch):
        make()
        with pytest.raises(FileNotFoundError, match=r"no data set 'shop': .*dta, where MIXLIB_DATA says that data sets lie, is no folder"):
            datasets.load("shop")
