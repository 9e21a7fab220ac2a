"""Names that nobody knows, and text that nobody vouches for: handled the same in every room."""

import os
import re
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

LONGEST = 120  # characters of a title that are shown
BLANK = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols that show nothing: fillers of Hangul, and Braille without a dot
LONGEST_FILE = 255  # bytes that file systems allow for a name


class UnknownName(ValueError):
    """A name that is not among those that are known. what: of what kind of thing."""

    def __init__(self, what: str, name: str, message: str):
        super().__init__(what, name, message)  # all of them, so that it comes back from another process
        self.what, self.name = what, name

    def __str__(self) -> str:
        return self.args[2]


def choose(what: str, name: str, known: Iterable[str]) -> str:
    """Give `name` back if it is among `known`.

    Raises UnknownName, a ValueError, that suggests the nearest name and lists those that exist: `no loss 'bprr': did you mean 'bpr'? ...`.
    """
    names = sorted(known)
    if name in names:
        return name
    near = get_close_matches(str(name), names, n=1)
    several = len(parts := re.split(r"[,\s]+", str(name))) > 1 and set(parts) <= set(names)
    hint = ": give one at a time." if several else f": did you mean {near[0]!r}?" if near else "."
    raise UnknownName(what, name, f"no {what} {name!r}{hint} There are {', '.join(names)}.")


def absolute(name: str) -> str:
    """The name of a data set; of a path of an interactions.csv[.gz], or of its folder, the one that can be followed from anywhere.

    Raises ValueError where the folder holds both.
    """
    file, copies, share = name.partition(":copies=")
    path = Path(os.path.expanduser(file))  # noqa: PTH111  # what is no user's stays as it is: it is no file
    plain, packed = path / "interactions.csv", path / "interactions.csv.gz"
    if re.fullmatch(r"[\w-]+/", file) and not plain.is_file() and not packed.is_file():
        return f"{file[:-1]}{copies}{share}"  # a name, with the slash that a shell adds
    if "/" in file and path.is_dir() and path.name != "..":
        if plain.is_file() and packed.is_file():
            raise ValueError(f"{path} holds interactions.csv and interactions.csv.gz: keep one of them.")
        path = packed if packed.is_file() else plain
    return f"{path.absolute()}{copies}{share}" if path.name.endswith((".csv", ".csv.gz")) else name


def in_markdown(title: str) -> str:
    """`as_text`, for a page or a table in Markdown: what would be markup there, or at the start of a line, is escaped."""
    line = re.sub(r"([`*_{}\[\]<>#|~^&])", r"\\\1", as_text(title))
    return re.sub(r"^(\d*)([-+%:.()=])", r"\1\\\2", line)


def as_text(title: str) -> str:
    """A title as one line that stays text wherever it is shown: no control characters, no marks that turn the direction, no mathematics;
    nothing if there is nothing to be seen.

    Dollars and backslashes, which start mathematics in notebooks, figures and pages, become look-alikes; pandas escapes HTML itself.
    """
    unseen = ("Cc", "Cf", "Cs", "Zl", "Zp")
    line = " ".join("".join(" " if unicodedata.category(c) in unseen or c in BLANK else c for c in title).split())
    line = line.translate({ord("$"): "\N{FULLWIDTH DOLLAR SIGN}", ord("\\"): "\N{REVERSE SOLIDUS OPERATOR}"})
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
