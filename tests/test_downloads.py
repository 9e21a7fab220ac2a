import gzip
import hashlib
import io
import logging
import os
import resource
import shutil
import ssl
import stat
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import formats
import pooch
import pytest
from formats import BOOKS, MOVIES

from mixlib import datasets, downloads
from mixlib.sources import SOURCES, Download

pytest.importorskip("pooch")


class Player(BaseHTTPRequestHandler):
    """Answers every request with the next scene of the play; the last one stays on."""

    def do_GET(self):
        scenes, asked = self.server.scenes, self.server.asked
        scene = scenes[min(len(asked), len(scenes) - 1)]
        asked.append(self.path)
        scene(self)

    def send(self, content, status=200, length=None, **headers):
        self.send_response(status)
        if length != "none":
            self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):  # a client that hangs up is part of the play
        pass


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A key and a certificate for 127.0.0.1, made now."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is needed to play an https server")
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path, "-out", f"{path}.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    return path


@pytest.fixture
def server(certificate, monkeypatch):
    """An https server on this machine that plays scenes; requests trusts its certificate."""
    made = Quiet(("127.0.0.1", 0), Player)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{certificate}.crt", certificate)
    made.socket = context.wrap_socket(made.socket, server_side=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", f"{certificate}.crt")
    made.asked, made.done = [], threading.Event()
    made.address = f"https://127.0.0.1:{made.server_port}/"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.done.set()
    made.shutdown()
    made.server_close()
    thread.join()


def zipped(**files):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(f"ml-10M100K/{name.replace('_', '.')}", content)
    return made.getvalue()


ARCHIVE = zipped(README_html=b"<html>", ratings_dat=formats.ratings_dat(*formats.draw()), movies_dat=formats.movies_dat(MOVIES, "utf-8"))


@pytest.fixture
def films(server, monkeypatch, data_root):
    """movielens-10m as published by the local server; no pause is really waited for: gives the list of those that would be."""
    proof = f"sha256:{hashlib.sha256(ARCHIVE).hexdigest()}"
    download = Download(server.address + "ml-10m.zip", ("ratings.dat", "movies.dat"), proof, len(ARCHIVE))
    monkeypatch.setitem(SOURCES, "movielens-10m", replace(SOURCES["movielens-10m"], downloads=(download,)))
    monkeypatch.setattr(downloads, "TIMEOUT", 0.4)
    pauses = []
    monkeypatch.setattr(downloads.time, "sleep", pauses.append)
    return pauses


def fine(player):
    player.send(ARCHIVE)


def cut_off(player):
    player.send(ARCHIVE[: len(ARCHIVE) // 2], length=len(ARCHIVE))


def cut_off_without_a_word(player):
    player.send(ARCHIVE[: len(ARCHIVE) // 2], length="none")


def wrong_content(player):
    player.send(ARCHIVE[:-9] + b"x" + ARCHIVE[-8:])


def too_short(player):
    player.send(ARCHIVE[:-1])


def too_long(player):
    player.send(ARCHIVE + b"\0")


def page(player):
    player.send(b"<!DOCTYPE html><title>We are down</title>", **{"Content-Type": "text/html"})


def hanging(player):
    player.server.done.wait(5)


def hanging_half_way(player):
    player.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ARCHIVE) + ARCHIVE[:100])
    player.server.done.wait(5)


def dripping(player):
    player.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ARCHIVE))
    for byte in ARCHIVE[:200]:
        player.wfile.write(bytes([byte]))
        player.server.done.wait(0.02)  # never long enough for a timeout


def broken(player):
    player.send(b"", status=500)


def missing(player):
    player.send(b"gone", status=404)


def to_http(player):
    player.send(b"", status=302, Location=f"http://127.0.0.1:{player.server.server_port}/ml-10m.zip")


def to_https(player):
    player.send(b"", status=302, Location="/moved.zip")


REFUSED = "cannot write to the data root {root} ({why}): see to the disk, or set MIXLIB_DATA to another folder."


def left_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


FAULTS = {  # scene: error, what it says, how often the server is asked
    cut_off: (OSError, r"cannot download https://.*ml-10m\.zip \(ConnectionError\): check the network and try again", 4),
    cut_off_without_a_word: (ValueError, r"is not the published file: .*ml-10m\.zip is not ml-10m\.zip as published: its sha256", 4),
    wrong_content: (ValueError, r"the download of ml-10m\.zip is not the published file: .*sha256", 4),
    too_short: (ValueError, r"the download of ml-10m\.zip is not the published file: .*\. Try again later\.", 4),
    too_long: (ValueError, r"sends more than [\d,]+ bytes: refused", 1),
    page: (ValueError, r"the download of ml-10m\.zip is not the published file", 4),
    hanging: (OSError, r"cannot download .* \(ReadTimeout\)", 4),
    hanging_half_way: (OSError, r"cannot download .* \(ConnectionError\)", 4),
    dripping: (OSError, r"cannot download .* \(Timeout\)", 4),
    broken: (OSError, r"cannot download .* \(HTTPError\)", 4),
    missing: (OSError, r"answers 404: get the file by hand and give it with --from", 1),
    to_http: (ValueError, r"sends on to an address without https: refused", 1),
}


@pytest.mark.parametrize("scene", FAULTS, ids=lambda scene: scene.__name__)
def test_a_download_that_fails_for_good_is_one_error_and_leaves_nothing(scene, server, films, data_root):
    kind, message, tries = FAULTS[scene]
    server.scenes = [scene]
    with pytest.raises(kind, match=message) as error:
        datasets.fetch("movielens-10m")
    assert "\n" not in str(error.value) and len(server.asked) == tries
    assert films == list(downloads.PAUSES[: tries - 1]) == sorted(films)
    assert left_in(data_root) == []


@pytest.mark.parametrize("scene", [scene for scene, fault in FAULTS.items() if fault[2] > 1], ids=lambda scene: scene.__name__)
def test_a_download_that_fails_twice_is_tried_a_third_time(scene, server, films, data_root, capfd, caplog):
    server.scenes = [scene, scene, to_https, fine]
    folder = datasets.fetch("movielens-10m")
    assert server.asked == ["/ml-10m.zip"] * 3 + ["/moved.zip"] and films == [1.0, 4.0]
    assert left_in(folder) == ["fetched.json", "movies.dat", "prepared.npz", "ratings.dat"]
    assert list(data_root.iterdir()) == [folder]
    assert len(datasets.load("movielens-10m")) == 200
    assert capfd.readouterr() == ("", "") and not [record for record in caplog.records if record.levelno > logging.DEBUG]


@pytest.mark.parametrize(("room", "asked"), [(100, ["/ratings.csv"]), (4096, ["/ratings.csv", "/books.csv"])])
def test_a_disk_that_is_full_is_said_and_not_the_network(room, asked, ratings, server, data_root):
    server.scenes = [lambda player: player.send(ratings), lambda player: player.send(BOOKS + bytes(9999))]
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limit[1]))  # bytes of a file
    try:
        with pytest.raises(OSError) as error:
            datasets.fetch("goodbooks-10k")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert str(error.value) == REFUSED.format(root=data_root, why="File too large")
    assert server.asked == asked and left_in(data_root) == []


FETCHED = """
(root.parent / "mine.gz").write_bytes(bytes(1 << 16))
{change}
try:
    datasets.fetch("amazon", file="mine.gz")
except OSError as error:
    print(error)
print(*root.iterdir())
"""


@pytest.mark.parametrize(("change", "why"), [("", "No space left on device"), ('mount("-o", "remount,ro")', "Read-only file system")])
def test_a_data_root_that_cannot_be_written_to_is_named(change, why, on_a_disk, data_root):
    assert on_a_disk(FETCHED.format(change=change)) == [REFUSED.format(root=data_root, why=why), ""]


def test_a_file_in_place_of_a_folder_is_named(data_root, monkeypatch):
    (data_root / "amazon").touch()
    wanted = "{place} is a file, not a folder: move it away, or set MIXLIB_DATA to another folder."
    for root, said in (
        (data_root, wanted.format(place=data_root / "amazon")),
        (data_root / "amazon", wanted.format(place=data_root / "amazon")),
        (data_root / "amazon" / "deep", REFUSED.format(root=data_root / "amazon" / "deep", why="Not a directory")),
    ):
        with pytest.raises(OSError) as error:
            datasets.fetch("amazon", root)
        assert str(error.value) == said


def test_a_bar_is_shown_to_those_who_watch(server, films, monkeypatch, data_root):
    shown = {}
    for watched in (False, True):
        server.scenes, stream = [fine], io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda watched=watched: watched)
        monkeypatch.setattr(sys, "stderr", stream)
        shutil.rmtree(datasets.fetch("movielens-10m"))
        shown[watched] = stream.getvalue()
    assert shown[False] == "" and "ml-10m.zip: " in shown[True] and "B/s" in shown[True]


def test_what_is_there_is_not_fetched_again(server, films, data_root):
    server.scenes = [fine]
    assert datasets.fetch("movielens-10m") == datasets.fetch("movielens-10m") == data_root / "movielens-10m"
    assert len(server.asked) == 1
    (data_root / "movielens-10m" / "movies.dat").unlink()
    datasets.fetch("movielens-10m")
    assert len(server.asked) == 2 and len(datasets.load("movielens-10m")) == 200


def test_a_fetched_file_that_changed_is_found_out_before_it_is_read(server, films, data_root):
    server.scenes = [fine]
    path = datasets.fetch("movielens-10m") / "ratings.dat"
    path.write_bytes(path.read_bytes().replace(b"::", b"::1", 1))  # still of the right form
    with pytest.raises(ValueError, match=r"ratings\.dat is no longer what was fetched: remove the folder movielens-10m .* fetch it again"):
        datasets.load("movielens-10m")


def test_an_unproven_download_that_does_not_read_well_leaves_nothing(server, monkeypatch, data_root):
    whole, _ = formats.amazon_meta()
    download = Download(server.address + "amazon-meta.txt.gz", ("amazon-meta.txt.gz",), "", 10_000_000)
    monkeypatch.setitem(SOURCES, "amazon", replace(SOURCES["amazon"], downloads=(download,)))
    for content in (whole[:-500], b"<!DOCTYPE html>", gzip.compress(b"<!DOCTYPE html>\n"), b""):
        server.scenes = [lambda player, content=content: player.send(content)]
        with pytest.raises(ValueError, match=r"amazon-meta\.txt\.gz, line \d+: "):
            datasets.fetch("amazon")
        assert left_in(data_root) == []
    server.scenes = [lambda player: player.send(whole)]
    datasets.fetch("amazon")
    assert datasets.load("amazon").hashes == {"amazon-meta.txt.gz": hashlib.sha256(whole).hexdigest()}


@pytest.fixture
def ratings(server, films, monkeypatch):
    """goodbooks-10k as published by the local server; gives its ratings.csv."""
    made = formats.ratings_csv(*formats.draw()[:2])
    blob = hashlib.sha1(b"blob %d\0" % len(made) + made).hexdigest()
    first, second = SOURCES["goodbooks-10k"].downloads
    served = (replace(first, url=server.address + first.name, proof=f"git:{blob}"), replace(second, url=server.address + second.name))
    monkeypatch.setitem(SOURCES, "goodbooks-10k", replace(SOURCES["goodbooks-10k"], downloads=served))
    return made


def test_goodbooks_come_as_two_files_proven_by_the_id_of_a_git_blob(ratings, server, data_root):
    server.scenes = [lambda player: player.send(ratings), lambda player: player.send(BOOKS)]
    datasets.fetch("goodbooks-10k")
    assert server.asked == ["/ratings.csv", "/books.csv"] and datasets.load("goodbooks-10k").titles is not None
    shutil.rmtree(data_root / "goodbooks-10k")
    server.scenes = [lambda player: player.send(ratings.replace(b"\n", b"\r\n"))]
    with pytest.raises(ValueError, match="its git hash is"):
        datasets.fetch("goodbooks-10k")


@pytest.mark.parametrize("scene", [missing, broken, cut_off, page, to_http], ids=lambda scene: scene.__name__)
def test_goodbooks_come_without_titles_when_only_these_cannot_be_had(scene, ratings, server, data_root):
    server.scenes = [lambda player: player.send(ratings), scene]
    folder = datasets.fetch("goodbooks-10k")
    assert left_in(folder) == ["fetched.json", "prepared.npz", "ratings.csv"]
    read = datasets.load("goodbooks-10k")
    assert len(read) == 200 and read.titles is None
    said = f"books.csv, which has the titles, is missing: get it from {server.address}books.csv and put it into the folder goodbooks-10k"
    assert [said in note for note in read.notes] == [False, True]
    (folder / "books.csv").write_bytes(BOOKS)
    read = datasets.load("goodbooks-10k")
    assert read.titles is not None and not [note for note in read.notes if "books.csv" in note]


@pytest.mark.parametrize("content", [b"{", b"[1]", b"3", b"\xff", b"[" * 9999], ids=["cut", "list", "number", "bytes", "deep"])
def test_damaged_notes_of_a_fetch_are_an_error(content, ratings, server, data_root):
    server.scenes = [lambda player: player.send(ratings), lambda player: player.send(BOOKS)]
    folder = datasets.fetch("goodbooks-10k")
    (folder / "prepared.npz").unlink()
    (folder / "fetched.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"fetched\.json is damaged: remove the folder goodbooks-10k .* fetch it again"):
        datasets.load("goodbooks-10k")


# --- a file that the reader has


def test_a_file_of_the_readers_is_verified_and_taken_without_network(films, server, data_root, tmp_path):
    server.scenes = [broken]
    mine = tmp_path / "download (1).zip"
    mine.write_bytes(ARCHIVE)
    assert len(datasets.load("movielens-10m", root=datasets.fetch("movielens-10m", file=mine).parent)) == 200
    assert server.asked == [] and mine.read_bytes() == ARCHIVE


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (ARCHIVE[:-1], ValueError, r"mine is not ml-10m\.zip as published: its sha256 hash is \w+, not \w+\."),
        (ARCHIVE + b"\0", ValueError, r"mine is larger than [\d,]+ bytes, so it is not ml-10m\.zip as published"),
        (None, FileNotFoundError, r"there is no file mine that can be read: give the path of ml-10m\.zip"),
    ],
)
def test_a_wrong_file_of_the_readers_is_an_error_and_leaves_nothing(content, kind, message, films, server, data_root, tmp_path):
    if content is not None:
        (tmp_path / "mine").write_bytes(content)
    with pytest.raises(kind, match=message):
        datasets.fetch("movielens-10m", file=tmp_path / "mine")
    assert left_in(data_root) == []


@pytest.mark.parametrize("books", [True, False])
def test_goodbooks_of_the_readers_may_come_without_titles(books, monkeypatch, data_root, tmp_path):
    ratings = formats.ratings_csv(*formats.draw()[:2])
    blob = hashlib.sha1(b"blob %d\0" % len(ratings) + ratings).hexdigest()
    first, second = SOURCES["goodbooks-10k"].downloads
    changed = replace(SOURCES["goodbooks-10k"], downloads=(replace(first, proof=f"git:{blob}"), second))
    monkeypatch.setitem(SOURCES, "goodbooks-10k", changed)
    (tmp_path / "ratings.csv").write_bytes(ratings)
    if books:
        (tmp_path / "books.csv").write_bytes(BOOKS)
    datasets.fetch("goodbooks-10k", file=tmp_path / "ratings.csv")
    read = datasets.load("goodbooks-10k")
    assert (read.titles is not None) == books != any("books.csv, which has the titles, is missing" in note for note in read.notes)


# --- names


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("movielens-100", "no downloadable data set 'movielens-100': did you mean 'movielens-100k'"),
        ("synthetic", "synthetic is generated: there is nothing to fetch"),
        ("shop", "shop is a folder of the data root: there is nothing to fetch"),
        ("movielens-1m", r"movielens-1m is here in another form, interactions\.csv: move the folder away to fetch the published one"),
    ],
)
def test_what_cannot_be_fetched_says_why(name, message, data_root):
    for own in ("shop", "movielens-1m"):
        (data_root / own).mkdir()
        (data_root / own / "interactions.csv").write_text("user_id,item_id\n1,2\n")
    with pytest.raises((ValueError, FileExistsError), match=message):
        datasets.fetch(name)
    assert left_in(data_root) == ["movielens-1m", "movielens-1m/interactions.csv", "shop", "shop/interactions.csv"]


def test_every_source_is_at_an_https_address_with_a_limit_and_a_proof_if_one_is_published():
    for name, source in SOURCES.items():
        for download in source.downloads:
            assert download.url.startswith("https://") and 0 < download.limit < 10**9
            kind, _, digits = download.proof.partition(":")
            assert (kind, len(digits)) in {("sha256", 64), ("git", 40)} or download.name in {"books.csv", "amazon-meta.txt.gz"}, name


# --- archives


def archive(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(info, content)
    return path


PLAIN = ("ml/u.data", b"1\t2\t3\t4\n", stat.S_IFREG | 0o644)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("../u.data", b"x", 0)], r"the name '\.\./u\.data' in it leads out of its folder"),
        ([PLAIN, ("ml/../../evil", b"x", 0)], "leads out of its folder"),
        ([PLAIN, ("/etc/passwd", b"x", 0)], "leads out of its folder"),
        ([PLAIN, ("..\\evil", b"x", 0)], "leads out of its folder"),
        ([PLAIN, ("C:\\evil", b"x", 0)], "leads out of its folder"),
        ([("ml/u.data", b"/etc/passwd", stat.S_IFLNK | 0o777)], "'ml/u.data' in it is a link, encrypted, or"),
        ([PLAIN, ("ml/other", b"/etc", stat.S_IFLNK | 0o777)], "'ml/other' in it is a link, encrypted, or"),
        ([PLAIN, ("ml/zeros", bytes(300_000_000), 0)], r"it would unpack to 300,000,008 bytes"),
        ([PLAIN, ("again/u.data", b"x", 0)], r"it has 2 files called u\.data, not one"),
        ([("ml/u.dat", b"x", 0)], r"it has 0 files called u\.data, not one"),
    ],
)
def test_an_archive_that_is_not_plain_is_refused(members, message, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=message):
        downloads.unpack(archive(tmp_path / "a.zip", *members), ("u.data",), tmp_path / "out")
    assert left_in(tmp_path) == ["a.zip", "out"]


def test_a_damaged_archive_is_an_error(tmp_path):
    path = archive(tmp_path / "a.zip", PLAIN, ("ml/more", bytes(range(256)) * 9, 0))
    whole = path.read_bytes()
    downloads.unpack(path, ("u.data",), tmp_path)
    assert (tmp_path / "u.data").read_bytes() == PLAIN[1]
    refused = 0
    for at in range(len(whole)):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]):
            path.write_bytes(damaged)
            (tmp_path / "u.data").unlink(missing_ok=True)
            try:
                downloads.unpack(path, ("u.data",), tmp_path)
                assert (tmp_path / "u.data").read_bytes() == PLAIN[1]
            except ValueError:
                refused += 1
    assert refused > len(whole)


def test_pooch_is_only_imported_to_fetch(monkeypatch):
    monkeypatch.delenv("MIXLIB_DATA", raising=False)
    text = "import sys, mixlib.cli, mixlib.datasets as d; d.load('synthetic:users=20'); print(d.root_folder()); d.names(); "
    text += "assert not {'pooch', 'requests'} & set(sys.modules)"
    ran = subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == str(pooch.os_cache("mixlib"))  # where earlier versions looked


def test_two_fetches_of_one_data_set_both_end_well(tmp_path):
    with downloads.arriving(tmp_path / "shop") as slow:
        (slow / "whole").write_text("whole")
        with downloads.arriving(tmp_path / "shop") as fast:
            (fast / "whole").write_text("whole")
    assert left_in(tmp_path) == ["shop", "shop/whole"] and (tmp_path / "shop" / "whole").read_text() == "whole"


def test_what_a_killed_fetch_left_is_cleared_away_a_day_later(tmp_path):
    old, fresh = tmp_path / ".shop.old.partial", tmp_path / ".shop.fresh.partial"
    for left in (old, fresh):
        left.mkdir()
        (left / "half").write_text("half")
    yesterday = time.time() - 2 * downloads.LEFT_ALONE
    os.utime(old, (yesterday, yesterday))
    with downloads.arriving(tmp_path / "shop") as partial:
        (partial / "whole").write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".shop.fresh.partial", "shop"]  # that one may still be at work
