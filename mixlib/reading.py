"""Strict reading of text: columns of whole numbers, titles, lines. What is not of the form is an error that names file and line."""

import contextlib
import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

BLOCK = 1 << 20  # bytes that are looked at together
LARGEST = 4_000_000_000  # bytes that a packed file may unpack to
RATIO = 200  # times that it may grow
LONGEST = 1 << 16  # bytes of a line: a file without line ends must not fill the memory
BOM = b"\xef\xbb\xbf"
DIGITS = 18  # of a number that is safe in 64 bits
DAMAGE = (OSError, EOFError, zlib.error)  # what is raised by a .gz that is cut or altered


class Refused(ValueError):
    """What another try cannot mend."""


def numbers(path: Path, separator: bytes, fields: tuple[str, ...], head: int = 0) -> dict[str, np.ndarray]:
    """(n,) whole numbers of every field that has a name, from lines of fields; `head` lines are passed over.

    Many lines at once, without a loop over them: 10 million in a few seconds. Raises ValueError on a line that is not of that form.
    """
    parts: list[list[np.ndarray]] = []
    with opened(path) as file:
        for first, text in _blocks(path, file):
            skipped = 0
            if first == 1:
                text = text.removeprefix(BOM)
                skipped = head
                for _ in range(head):
                    text = text[text.index(b"\n") + 1 :]
            if text:
                parts.append(_fields(path, first + skipped, np.frombuffer(text, np.uint8), separator, fields))
    if not parts:
        raise ValueError(f"{path.name}, line {head + 1}: the file holds no interactions.")
    return {name: np.concatenate(column) for name, column in zip(filter(None, fields), zip(*parts, strict=True), strict=True)}


def _fields(path: Path, first: int, data: np.ndarray, separator: bytes, fields: tuple[str, ...]) -> list[np.ndarray]:
    ends = np.flatnonzero(data == ord("\n"))
    starts = np.r_[0, ends[:-1] + 1]
    ends = ends - (data[ends - 1] == ord("\r")) * (ends > starts)
    marks = np.flatnonzero(data == separator[0])
    wide = len(separator)
    each = (len(fields) - 1) * wide  # marks in a line
    counts = np.diff(np.searchsorted(marks, np.r_[starts, len(data)]))
    rule = f"{len(fields)} fields with {separator.decode()!r} between them are needed"
    _refuse(path, first, counts != each, rule)
    grid = marks.reshape(len(starts), each)
    _refuse(path, first, (grid[:, wide - 1 :: wide] - grid[:, ::wide] != wide - 1).any(1), rule)  # marks of a separator stand together
    begins, stops = np.c_[starts, grid[:, wide - 1 :: wide] + 1], np.c_[grid[:, ::wide], ends]
    found = []
    for column, name in enumerate(fields):
        if not name:
            continue
        begin, width = begins[:, column], stops[:, column] - begins[:, column]
        bad = (width < 1) | (width > DIGITS)
        value = np.zeros(len(begin), np.int64)
        for place in range(min(int(width.max()), DIGITS)):
            digit = data[np.minimum(begin + place, len(data) - 1)] - np.uint8(ord("0"))  # wraps round below "0"
            inside = place < width
            bad |= inside & (digit > 9)
            value = np.where(inside, value * 10 + digit, value)
        _refuse(path, first, bad, f"{name} must be a whole number of at most {DIGITS} digits", begin, width, data)
        found.append(value)
    return found


def _refuse(path: Path, first: int, bad: np.ndarray, rule: str, begin: np.ndarray | None = None, width=None, data=None) -> None:
    if not bad.any():
        return
    line = int(bad.argmax())
    found = "" if begin is None else f", not {shown(data[begin[line] : begin[line] + width[line]].tobytes())}"
    raise fault(path, first + line, f"{rule}{found}" + (f" ({bad.sum()} such lines nearby)" if bad.sum() > 1 else ""))


def dat_titles(path: Path, encoding: str, separator: str = "::") -> dict[int, str]:
    """Titles by id from lines of id, title and more, with the separator between them; between `::` a title may hold `::` itself."""
    found: dict[int, str] = {}
    for line, text in lines(path):
        number, _, rest = decoded(path, line, text, encoding).partition(separator)
        title, mark, _ = rest.rpartition(separator) if separator == "::" else rest.partition(separator)
        if not mark or not _is_id(number) or int(number) in found:
            raise fault(path, line, f"a new id, a title and more must be divided by {separator!r}, not {shown(text)}")
        found[int(number)] = title
    return {number: title for number, title in found.items() if title.strip()}


def csv_titles(path: Path, keys: tuple[str, ...]) -> dict[int, str]:
    """Titles by id from a CSV[.gz] in UTF-8 with a column `title`, and one of `keys` for the ids. Of equal ids the first counts."""
    with opened(path) as file:
        try:
            raw = file.read().removeprefix(BOM)
        except DAMAGE as error:
            raise unreadable(path, None, error) from error
    bad = next((i for i, row in enumerate(raw.split(b"\n")) if b"\0" in row), None)
    if bad is not None:
        raise fault(path, bad + 1, "there is a zero byte")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise fault(path, raw.count(b"\n", 0, error.start) + 1, "the text is not UTF-8") from None
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    found: dict[int, str] = {}
    try:
        head = next(rows, [])
        key = next((k for k in keys if k in head), None)
        if key is None or "title" not in head:
            commas = ", with commas between them" if any(mark in "".join(head) for mark in ";\t") else ""
            raise fault(path, 1, f"the columns {' or '.join(keys)} and title are needed{commas}")
        for row in filter(None, rows):
            if len(row) != len(head) or not _is_id(row[head.index(key)]):
                raise fault(
                    path,
                    rows.line_num,
                    f"{len(head)} fields with a whole number as {key} are needed, not {shown(','.join(row))}",
                )
            if row[head.index("title")].strip():
                found.setdefault(int(row[head.index(key)]), row[head.index("title")])
    except csv.Error as error:
        raise fault(path, rows.line_num, f"this is no CSV ({error})") from None
    return found


def fault(path: Path, line: int, what: str) -> ValueError:
    """The error that names file and line."""
    return ValueError(f"{path.name}, line {line}: {what}.")


def _is_id(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= DIGITS + 1 and abs(int(text)) < 2**63


def shown(text: bytes | str) -> str:
    """The beginning of a text, as it can stand in an error of one line."""
    return repr(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)[:80]


def decoded(path: Path, line: int, text: bytes, encoding: str = "utf-8") -> str:
    """The text of a line. Raises ValueError when it is not of that encoding."""
    try:
        return text.decode(encoding)
    except UnicodeDecodeError:
        raise fault(path, line, f"the text is not {encoding.upper()}") from None


def most(packed: int) -> int:
    """Bytes that a packed file of so many bytes may unpack to: more is no data, but a bomb."""
    return min(LARGEST, RATIO * max(packed, 1 << 20))


class _Unpacked(io.RawIOBase):
    """The text of a .gz. Raises Refused once it is more than `most`."""

    def __init__(self, path: Path):
        self._file = gzip.open(path)  # noqa: SIM115  # `close` does
        self._name, self._left = path.name, most(path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        text = self._file.read1(len(buffer))
        self._left -= len(text)
        if self._left < 0:
            raise Refused(f"{self._name} is refused: it unpacks to far more than a file of data of its size does.")
        buffer[: len(text)] = text
        return len(text)

    def close(self) -> None:
        self._file.close()
        super().close()


def opened(path: Path) -> IO[bytes]:
    """A file to read, unpacked if it ends in .gz. Raises FileNotFoundError that names file and folder."""
    try:
        return io.BufferedReader(_Unpacked(path), BLOCK) if path.suffix == ".gz" else path.open("rb")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.name} is missing from the folder {path.parent.name}.") from None


def unreadable(path: Path, line: int | None, error: Exception) -> ValueError:
    """The error of a file that cannot be read from a line on; None: from which one is found out."""
    if line is None:
        line = 1
        with opened(path) as file, contextlib.suppress(*DAMAGE):
            while text := file.read1(BLOCK):  # type: ignore[attr-defined]
                line += text.count(b"\n")
    return fault(path, line, f"from about here on the file cannot be read ({error}), it may be incomplete")


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number and text of every line, without its end and without a mark of the byte order."""
    with opened(path) as file:
        for first, text in _blocks(path, file):
            for line, row in enumerate(text.split(b"\n")[:-1], first):
                yield line, (row.removeprefix(BOM) if line == 1 else row).removesuffix(b"\r")


def _blocks(path: Path, file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Whole lines, many together, and the number of the first."""
    line, rest = 1, b""
    while True:
        try:
            text = file.read1(BLOCK)  # type: ignore[attr-defined]  # what comes before the damage is not lost
        except DAMAGE as error:
            raise unreadable(path, line, error) from error
        if not text:
            break
        text = rest + text
        cut = text.rfind(b"\n") + 1
        rest = text[cut:]
        if len(rest) > LONGEST:
            raise fault(path, line + text.count(b"\n"), "the line does not end")
        if cut:
            yield line, text[:cut]
            line += text.count(b"\n", 0, cut)
    if rest:
        raise fault(path, line, "the file breaks off in mid-line; get it again")
