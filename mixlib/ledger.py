"""One JSON record per finished trial, keyed by a hash of what defines it, with its provenance."""

import fcntl
import io
import itertools
import json
import os
import platform
import re
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from mixlib.files import abandoned, renamed

COMPUTING = (  # the rooms that decide a result
    "reading", "parsers", "own", "datasets", "synthetic", "splits", "models", "losses", "kernels", "evaluation", "codes", "diagnostics",
    "references", "checkpoints", "adam", "training", "experiments",
)  # fmt: skip
LISTED = tomllib.loads(Path(__file__).with_name("versions.toml").read_text(encoding="utf-8"))
SAME, SAME_WITHOUT_LSTMS = frozenset(LISTED["same"]), frozenset(LISTED["same_without_lstms"])
STATE = ".state.safetensors"
FORGOTTEN = 30 * 24 * 3600  # seconds after which nobody goes on from a state


def key_of(definition: dict) -> str:
    """16 hexadecimal digits: the hash of a JSON-like definition, whatever the order of its keys.

    Floats count with 10 significant digits: processors differ in the last bits of exp and log, and so in what a search draws.
    """
    return _hash(_cut(definition))


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _cut(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(part) for part in value]
    return float(f"{value:.10g}") if isinstance(value, float) else value


def _hash(content: dict) -> str:
    return sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


@cache
def code_version(rooms: tuple[str, ...] = COMPUTING) -> str:
    """12 hexadecimal digits that change with the source of the given rooms of mixlib."""
    here = Path(__file__).parent
    return sha256(b"".join((here / f"{room}.py").read_bytes() for room in rooms)).hexdigest()[:12]


def provenance() -> dict:
    """The code and the versions that make a result. No paths, no host names."""
    versions = {"python": platform.python_version()}
    for name in ("torch", "numpy", "pandas", "scipy", "scikit-learn", "implicit"):
        with suppress(metadata.PackageNotFoundError):  # the last one is optional
            versions[name] = metadata.version(name)
    machine = f"{platform.system()} {platform.machine()}, {processor()}, {os.cpu_count()} cores"
    return {"code": code_version(), "versions": versions, "machine": machine}


def processor() -> str:
    """The model of the processor, as far as the system tells."""
    with suppress(OSError):  # no Linux
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        return next(named, "") or "unknown processor"
    return platform.processor() or "unknown processor"


class OtherCode(ValueError):
    """A record that is sound, and does not count here."""


class Ledger:
    """Records below a folder, as <dataset>/<study>/<key>.json; arrays of the same trial lie beside it as <key>.npz.

    Raises ValueError on an empty name of the folder.
    """

    def __init__(self, root: str | Path = "results"):
        if not str(root):
            raise ValueError("the folder of the ledger is empty: name one, or leave the option out.")
        self.root = Path(root).expanduser()
        self._prepared: set[Path] = set()

    def path(self, dataset: str, study: str, key: str) -> Path:
        """Where the record of a trial lies, or would."""
        return self.folder(dataset, study) / f"{key}.json"

    def state(self, dataset: str, study: str, key: str, mark: str) -> Path:
        """Where the state of a trial that is being trained lies, until its record is written. mark: of the code and machine."""
        return self.folder(dataset, study) / f".{key}.{mark}{STATE}"

    def folder(self, dataset: str, study: str) -> Path:
        """Where the records of a study lie. A data set given by a path has the name of the folder of that file, one given by parameters
        a name made of its letters.
        """
        return self.root / _name_of_folder(dataset) / study

    def read(self, dataset: str, study: str) -> dict[str, dict]:
        """All sound records of a study by key, in the order of the keys. One that does not count is not among them: `damaged` names it."""
        return {path.stem: found for path, found in self._examined(dataset, study) if isinstance(found, dict)}

    def holds(self, dataset: str, study: str, key: str) -> bool:
        """Whether a sound record of a trial is there."""
        with suppress(FileNotFoundError, ValueError):
            return bool(_sound(self.path(dataset, study, key)))
        return False

    def damaged(self, dataset: str, study: str) -> dict[Path, str]:
        """Where the records of a study lie that do not count, and why: unreadable, altered, without the arrays they name, of other code."""
        return {path: found for path, found in self._examined(dataset, study) if isinstance(found, str)}

    def _examined(self, dataset: str, study: str) -> Iterator[tuple[Path, dict | str]]:
        try:
            paths = sorted(path for path in self.folder(dataset, study).iterdir() if path.suffix == ".json")
        except (FileNotFoundError, NotADirectoryError):  # the latter is said before anything is written
            paths = []
        for path in paths:
            try:
                yield path, _sound(path)
            except ValueError as error:
                yield path, str(error)
            except FileNotFoundError:  # another process has just set it aside
                continue

    def arrays(self, record: dict) -> dict[str, np.ndarray]:
        """The arrays that were written with a record. Raises FileNotFoundError when they are gone."""
        path = self.path(record["dataset"], record["study"], record["key"]).with_suffix(".npz")
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: remove {path.stem}.json beside it and run the study again.")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    def write(self, record: dict, arrays: dict[str, np.ndarray] | None = None) -> Path:
        """Write a record, its arrays first, and give its path. A sound record that is there already stays: the first writer wins.

        The file also holds a digest of the arrays and one of the whole, so that a part that is altered later is noticed. Raises
        OSError when the folder is full, closed or gone; no half of the record is left then.
        """
        path = self.path(record["dataset"], record["study"], record["key"])
        packed = io.BytesIO()
        if arrays:
            np.savez_compressed(packed, allow_pickle=False, **arrays)
        whole = record | {"arrays": _digest(packed.getvalue()) if arrays else None}
        text = json.dumps(whole | {"digest": _hash(whole)}, indent=1, sort_keys=True, allow_nan=False) + "\n"
        self.prepare(record["dataset"], record["study"])
        try:
            with _alone(path.parent):  # two writers of one trial must not leave the arrays of one beside the record of the other
                if not self.holds(record["dataset"], record["study"], record["key"]):
                    if path.is_file():  # what does not count here may count for other code
                        _put_aside(path)
                    if arrays:
                        with renamed(path.with_suffix(".npz")) as partial:
                            partial.write_bytes(packed.getvalue())
                    with renamed(path) as partial:
                        partial.write_text(text, encoding="utf-8")
                for state in path.parent.glob(f".{path.stem}.*{STATE}"):
                    state.unlink(missing_ok=True)
        except OSError as error:
            raise _cannot_write(path.parent, error) from error
        return path

    def prepare(self, dataset: str, study: str) -> None:
        """Make the folder of a study, once. One that vanishes later is not made again: it may be a disk that is no longer there.

        Raises OSError when the folder cannot be written to, so that this is known before anything is computed.
        """
        folder = self.folder(dataset, study)
        if folder in self._prepared:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                self._prepared.add(folder)
        except OSError as error:
            raise _cannot_write(folder, error) from error

    def set_aside(self, dataset: str, study: str) -> list[str]:
        """Rename records of a study that are damaged, so that their trials run again, and remove what killed writers left, and states
        of trainings that are on record or forgotten.

        What was set aside before stays. Gives a sentence for each.
        """
        said = []
        for path in self.damaged(dataset, study):
            with _alone(path.parent):  # it may have been made again meanwhile
                try:
                    _sound(path)
                except FileNotFoundError:
                    pass  # another process was faster
                except OtherCode as error:  # for that code it counts: `write` puts it aside once the trial has been run again
                    said.append(f"the record {path} does not count ({error}): it stays until its trial has run again.")
                except ValueError as error:
                    aside = f"set aside as {path.name}{_put_aside(path)}"
                    said.append(f"the record {path} does not count ({error}): {aside}, its trial runs again.")
        folder = self.folder(dataset, study)
        done = [state for state in folder.glob(f".*{STATE}") if self.holds(dataset, study, state.name.split(".")[1])]
        for left in (*abandoned(folder, ".*.tmp"), *abandoned(folder, f".*{STATE}", FORGOTTEN), *done):
            left.unlink(missing_ok=True)
        return said

    def datasets(self) -> list[str]:
        """Names of the data sets that have records."""
        folders = [one for one in self.root.iterdir() if one.is_dir()] if self.root.is_dir() else []
        studies = {one: [study for study in one.iterdir() if study.is_dir()] for one in folders}
        return sorted(one.name for one in folders if any(path.suffix == ".json" for study in studies[one] for path in study.iterdir()))

    def noted(self, name: str) -> dict[str, dict]:
        """What is kept beside the records under a name, such as `counts`, by data set; empty before anything is.

        Raises ValueError when the file is damaged.
        """
        path = self.root / f"{name}.json"
        try:
            found = dict(json.loads(path.read_text(encoding="utf-8")))
            if not all(isinstance(one, dict) for one in found.values()):
                raise ValueError("it holds more than tables")
            return found
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{path} is damaged ({error}): take it from git again, or remove it and build the book where the data lie."
            ) from error

    def note(self, name: str, change: Callable[[dict[str, dict]], dict[str, dict]]) -> None:
        """Change what is kept, by data set, beside the records under a name; change: makes the new content of the old."""
        self.root.mkdir(parents=True, exist_ok=True)
        with _alone(self.root), renamed(self.root / f"{name}.json") as partial:
            content = dict(sorted(change(self.noted(name)).items()))
            partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def digest(self, dataset: str) -> str:
        """12 hexadecimal digits that change with the records of a data set."""
        folder = self.folder(dataset, "x").parent
        files = sorted(folder.glob("*/*.json"))
        return sha256(b"".join(f"{p.parent.name}/{p.name}".encode() + p.read_bytes() for p in files)).hexdigest()[:12]


class Snapshot(Ledger):
    """A ledger as it was when first asked: no record is read twice, and all that is made of it is made of the same ones.

    The records are shared, and not to be altered.
    """

    def __init__(self, root: str | Path = "results"):
        super().__init__(root)
        self._seen: dict[Path, list[tuple[Path, dict | str]]] = {}

    def _examined(self, dataset: str, study: str) -> Iterator[tuple[Path, dict | str]]:
        folder = self.folder(dataset, study)
        if folder not in self._seen:
            self._seen[folder] = list(super()._examined(dataset, study))
        return iter(self._seen[folder])

    def prepare(self, dataset: str, study: str) -> None:
        """Raise TypeError: what would be written here, a snapshot would never see."""
        raise TypeError("a Snapshot is only read: write to a Ledger.")


def _name_of_folder(dataset: str) -> str:
    name, copies, share = str(dataset).partition(":copies=")
    if name.endswith((".csv", ".csv.gz")):
        name = Path(os.path.normpath(Path(name).expanduser().absolute())).parent.name
    with suppress(ValueError):  # what is no number is said when the data are loaded
        share = f"{float(share):g}"  # as in the name of the data set
    folder = re.sub(r"[^\w.=-]+", "_", f"{name}{copies}{share}").strip("_")
    if not folder:
        raise ValueError("the interactions have no name, which their records need: give them one, as in Interactions(..., name='mine').")
    return folder


def _put_aside(path: Path) -> str:
    """Rename a record and its arrays; gives what was put behind their names: `.damaged`, or `.2.damaged` where that is taken."""
    ends = (f"{number}.damaged" for number in itertools.chain([""], (f".{n}" for n in itertools.count(2))))
    files = (path, path.with_suffix(".npz"))
    end = next(end for end in ends if not any(file.with_name(file.name + end).exists() for file in files))
    for file in files:
        with suppress(FileNotFoundError):  # no arrays
            file.replace(file.with_name(file.name + end))
    return end


def _sound(path: Path) -> dict:
    """The record at a path, as it was given to `write`. Raises ValueError that says why it is none, or does not count."""
    try:
        return _checked(path)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except IsADirectoryError:
        raise ValueError("it is a folder") from None


def _checked(path: Path) -> dict:
    record = json.loads(path.read_bytes())
    if not isinstance(record, dict) or not {"key", "definition", "digest", "dataset", "study"} <= record.keys():
        raise ValueError("it has no key, definition, digest, data set or study")
    if not isinstance(record["dataset"], str) or not isinstance(record["study"], str):
        raise ValueError("its data set or its study is no text")
    digest = record.pop("digest")
    if record["key"] != path.stem or key_of(record["definition"]) != path.stem:
        raise ValueError("its key does not belong to its definition")
    if digest != _hash(record):
        raise ValueError("it was altered after it was written")
    packed, arrays = path.with_suffix(".npz"), record.pop("arrays", None)
    finalist = record.get("stage") == "seeds" and record.get("status") == "done"
    if (arrays or finalist) and not packed.is_file():
        raise ValueError(f"its arrays {packed.name} are missing")
    if arrays and arrays != _digest(packed.read_bytes()):
        raise ValueError(f"its arrays {packed.name} are not those that it was written with")
    if (_name_of_folder(record["dataset"]), record["study"]) != (path.parent.parent.name, path.parent.name):
        raise ValueError(f"it belongs to {record['dataset']}, {record['study']}, and not to the folder where it lies")
    lstm = "lstm" in _kind(record["definition"])
    named = SAME if lstm else SAME | SAME_WITHOUT_LSTMS
    if (code := str(record.get("code", code_version()))) not in {code_version(), *named}:
        raise OtherCode(f"other code wrote it ({code}), which versions.toml does not name{' for LSTMs' if lstm else ''}")
    return record


def _kind(definition: Any) -> str:
    """The kind of model that a definition names; nothing if it names none."""
    model = definition.get("model") if isinstance(definition, dict) else None
    return str(model.get("kind")) if isinstance(model, dict) else ""


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]


def _cannot_write(folder: Path, error: OSError) -> OSError:
    return OSError(
        f"cannot write to {folder} ({error.strerror or error}): see to the disk or name another folder of the ledger; "
        "finished trials are kept, and the same command goes on from there."
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder against other writers of this machine; the system lets go when a process dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks: the digest of the arrays still tells when a pair is mixed
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
