"""The state of a fit on the disk, so that one that was cut off goes on from there."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mixlib.ledger import renamed

EVERY = 600.0  # seconds between two states; on a large model a state takes seconds to write, and a gigabyte


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds the last state of a fit. mark: of what is fitted and of what fits it; a state of another mark is none."""

    path: Path
    mark: str

    def read(self) -> tuple[dict[str, Tensor], dict] | None:
        """The tensors of the state by name, and the rest of it; None where there is no whole state of this mark."""
        with suppress(OSError, SafetensorError), safe_open(self.path, "pt") as file:
            facts = file.metadata() or {}
            if facts.get("mark") == self.mark:
                return {name: file.get_tensor(name).clone() for name in file.keys()}, json.loads(facts["rest"])  # noqa: SIM118
        return None

    def write(self, tensors: dict[str, Tensor], rest: dict) -> None:
        """Put a state in the place of the one before. One that cannot be written is left out: the fit goes on without."""
        with suppress(OSError, SafetensorError), renamed(self.path) as partial:
            save_file(tensors, partial, {"mark": self.mark, "rest": json.dumps(rest)})
