"""Files from the network or from the reader's disk: verified by hash, unpacked with suspicion, and only then put in place."""

import errno
import json
import os
import re
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import file_digest, new, sha1
from pathlib import Path, PurePosixPath

from mixlib.files import abandoned
from mixlib.reading import Refused, most
from mixlib.sources import Download

PAUSES = (1.0, 4.0, 16.0)  # seconds before the second, third and fourth try
TIMEOUT = 30.0  # seconds without an answer, or without another byte
SLOWEST = 1_000  # bytes in a second, on average since a try began
LEFT_ALONE = 24 * 3600  # seconds after which an unfinished fetch has lost its process
NOTED = "fetched.json"


def get(downloads: Iterable[Download], folder: Path, file: Path | None = None) -> None:
    """Put the files of all downloads into a folder, and note their hashes there.

    file: what the reader has, in place of the first download; the others are looked for beside it. A download that is not needed and
    cannot be had is left out. Raises ValueError on anything else that is not what was published, OSError when it cannot be had.
    """
    for download in downloads:
        if file is None:
            try:
                got = _download(download, folder)
            except (OSError, ValueError) as error:
                if download.needed or getattr(error, "errno", None):
                    raise
                continue  # the notes of the data set say what is missing
        elif file.name == download.name or download.needed:
            got = file
        else:
            got = file.with_name(download.name)
        if file is not None:
            if not (os.access(got, os.R_OK) and got.is_file()):
                if download.needed:
                    raise FileNotFoundError(f"there is no file {got.name} that can be read: give the path of {download.name}.")
                continue
            verify(got, download)
        if download.name.endswith(".zip"):
            unpack(got, download.files, folder)
            if file is None:
                got.unlink()
        elif file is not None:
            shutil.copyfile(got, folder / download.name)
    noted = {path.name: hash_of(path) for path in sorted(folder.iterdir())}
    (folder / NOTED).write_text(json.dumps(noted, indent=1) + "\n")


def hashes(folder: Path, files: Iterable[str]) -> dict[str, str]:
    """sha256 of the files that are there. Raises ValueError when one is no longer what was fetched, or when that cannot be read."""
    found = {file: hash_of(folder / file) for file in files if (folder / file).exists()}
    try:
        noted = dict(json.loads((folder / NOTED).read_bytes())) if (folder / NOTED).is_file() else {}
    except (ValueError, TypeError, RecursionError):
        raise ValueError(f"{NOTED} is damaged: remove the folder {folder.name} of the data root and fetch it again.") from None
    for file, digest in found.items():
        if noted.get(file, digest) != digest:
            raise ValueError(f"{file} is no longer what was fetched: remove the folder {folder.name} of the data root and fetch it again.")
    return found


def hash_of(path: Path, kind: str = "sha256") -> str:
    """The hash of a file in hexadecimal digits; kind: a name that hashlib knows, or `git` for the id of a git blob."""
    digest = sha1(f"blob {path.stat().st_size}\0".encode()) if kind == "git" else new(kind)
    with path.open("rb") as file:
        return file_digest(file, lambda: digest).hexdigest()


def verify(path: Path, download: Download) -> None:
    """Raise ValueError unless a file is what was published; where no hash is, it has a size and may have a form."""
    if path.stat().st_size > download.limit:
        raise Refused(f"{path.name} is larger than {download.limit:,} bytes, so it is not {download.name} as published.")
    kind, _, wanted = download.proof.partition(":")
    if wanted and (found := hash_of(path, kind)) != wanted:
        raise ValueError(f"{path.name} is not {download.name} as published: its {kind} hash is {found}, not {wanted}.")
    download.read(path)


def _download(download: Download, folder: Path) -> Path:
    """Up to four tries, with growing pauses."""
    import requests

    for pause in (*PAUSES, None):
        try:
            return _try(download, folder)
        except requests.exceptions.InvalidSchema:
            raise ValueError(f"{download.url} sends on to an address without https: refused.") from None
        except Refused:
            raise
        except ValueError as error:
            if pause is None:
                raise ValueError(f"the download of {download.name} is not the published file: {error} Try again later.") from error
        except OSError as error:
            if error.errno and not isinstance(error, requests.RequestException):  # of the disk
                raise
            answer = getattr(error, "response", None)
            if answer is not None and answer.status_code < 500 and answer.status_code not in (408, 429):
                raise OSError(f"{download.url} answers {answer.status_code}: get the file by hand and give it with --from.") from error
            if pause is None or not isinstance(error, requests.RequestException):
                what = f"cannot download {download.url} ({type(error).__name__})"
                raise OSError(f"{what}: check the network and try again, or give the file with --from.") from error
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _try(download: Download, folder: Path) -> Path:
    import logging

    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    path = Path(pooch.retrieve(download.url, None, fname=download.name, path=folder, downloader=_stream(download.limit)))
    try:
        verify(path, download)
    except ValueError:
        path.unlink()
        raise
    return path


def _stream(limit: int) -> Callable:
    """A downloader for pooch: nothing but https, even after a redirect; no more bytes than the limit; not for ever; a bar on terminals."""

    def download(url: str, output_file: str, pooch: object) -> None:
        import requests
        import urllib3
        from tqdm import tqdm

        with requests.Session() as session:
            session.adapters.pop("http://")
            with session.get(url, stream=True, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"}) as answer:
                answer.raise_for_status()
                length = int(answer.headers.get("Content-Length", 0))
                name = url.rpartition("/")[2]
                bar = tqdm(total=length or None, desc=name, unit="B", unit_scale=True, disable=None, leave=False)
                start = time.monotonic()
                with bar, Path(output_file).open("wb") as file:
                    try:
                        while block := answer.raw.read1(1 << 16):  # what has come, be it a byte
                            if file.tell() + len(block) > limit:
                                raise Refused(f"{url} sends more than {limit:,} bytes: refused.")
                            file.write(block)
                            bar.update(len(block))
                            if (taken := time.monotonic() - start) > TIMEOUT and file.tell() < SLOWEST * taken:
                                raise requests.Timeout(f"{url} sends {file.tell():,} bytes in {taken:.0f} seconds")
                    except urllib3.exceptions.HTTPError as error:
                        raise requests.ConnectionError(error) from error

    return download


def unpack(archive: Path, files: Iterable[str], folder: Path) -> None:
    """Write the members that are called `files`, wherever they lie in a zip, into a folder.

    Raises ValueError on an archive that lacks one, is damaged, or holds anything that a plain archive of data does not: names that are
    absolute or lead upwards, links, encrypted members, more bytes than are sensible.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            members = packed.infolist()
            for member in members:
                path = PurePosixPath(member.filename.replace("\\", "/"))
                if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", member.filename):
                    raise Refused(f"{archive.name} is refused: the name {member.filename!r} in it leads out of its folder.")
                kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
                if stat.S_ISLNK(member.external_attr >> 16) or member.flag_bits & 1 or member.compress_type not in kinds:
                    raise Refused(f"{archive.name} is refused: {member.filename!r} in it is a link, encrypted, or packed in a rare way.")
            size = sum(member.file_size for member in members)
            if size > most(archive.stat().st_size):
                raise Refused(f"{archive.name} is refused: it would unpack to {size:,} bytes.")
            for file in files:
                named = [m for m in members if not m.is_dir() and PurePosixPath(m.filename).name == file]
                if len(named) != 1:
                    raise Refused(f"{archive.name} is refused: it has {len(named)} files called {file}, not one.")
                with packed.open(named[0]) as source, (folder / file).open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # that one: a damaged directory points to nowhere
            raise
        raise ValueError(f"{archive.name} cannot be unpacked ({error}): get it again.") from error


@contextmanager
def arriving(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`; what lies in it once the block ends without an error is moved there, else it is gone.

    A process that is killed cannot remove its own: the next one does, a day later. Raises OSError when the data root, in which both lie,
    cannot be written to.
    """
    root = folder.parent
    try:
        for place in (root, folder):
            if place.is_file():
                raise FileExistsError(f"{place} is a file, not a folder: move it away, or set MIXLIB_DATA to another folder.")
        root.mkdir(parents=True, exist_ok=True)
        for left in abandoned(root, f".{folder.name}.*.partial", LEFT_ALONE):
            shutil.rmtree(left, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=root))
        try:
            yield partial
            partial.chmod(0o755)
            try:
                partial.rename(folder)  # all at once
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                for path in sorted(partial.iterdir()):  # it was there, or another process was faster
                    path.replace(folder / path.name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if not error.errno:  # it says what is wrong
            raise
        raise OSError(
            f"cannot write to the data root {root} ({error.strerror}): see to the disk, or set MIXLIB_DATA to another folder."
        ) from error
