"""Columns that were read once, kept as compact arrays beside their files, so that the next load is at once."""

import json
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np

from mixlib.files import abandoned, renamed

NAME = "prepared.npz"
CODE = [Path(__file__).with_name(f"{room}.py") for room in ("reading", "parsers")]  # what decides the columns


def stamp(folder: Path, files: Iterable[str]) -> dict:
    """What prepared columns belong to: sizes and times of change of the files, and the code that reads them."""
    states = {file: (folder / file).stat() for file in files if (folder / file).exists()}
    code = sha256(b"".join(Path(file).read_bytes() for file in CODE)).hexdigest()[:12]
    return {"code": code, "files": {file: [state.st_size, state.st_mtime_ns] for file, state in states.items()}}


def read(folder: Path, wanted: dict) -> dict | None:
    """The columns that were prepared with this stamp, and what was noted with them; None if there are none, or damaged ones."""
    try:
        with (folder / NAME).open("rb") as file, np.load(file, allow_pickle=False) as kept:  # a zip: its checksums are checked
            noted = json.loads(kept["noted"].tobytes())
            if noted.pop("stamp") != wanted:
                return None
            columns = {name: kept[name].astype(dtype, copy=False) for name, dtype in noted.pop("dtypes").items()}
        titles = noted["titles"] and np.array(noted["titles"], dtype=object)
        return {"timestamps": None} | columns | noted | {"titles": titles, "notes": tuple(noted["notes"])}
    except Exception:  # whatever is wrong with it, it can be made again
        return None


def write(folder: Path, stamped: dict, made: dict) -> None:
    """Keep columns, numbers, titles and notes; a folder that cannot be written to is left as it is."""
    arrays = {name: made[name] for name in ("users", "items", "timestamps", "user_ids", "item_ids") if made[name] is not None}
    noted = {key: value for key, value in made.items() if not isinstance(value, np.ndarray) and key != "timestamps"}
    noted |= {"stamp": stamped, "dtypes": {name: str(column.dtype) for name, column in arrays.items()}}
    noted["titles"] = None if made["titles"] is None else made["titles"].tolist()
    compact = {
        name: column.astype(np.result_type(*map(np.min_scalar_type, (column.min(), column.max())))) for name, column in arrays.items()
    }
    with suppress(OSError):  # read-only, or full
        for left in abandoned(folder, f".{NAME}.*"):
            left.unlink(missing_ok=True)
        with renamed(folder / NAME) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, noted=np.frombuffer(json.dumps(noted).encode(), np.uint8), **compact)
