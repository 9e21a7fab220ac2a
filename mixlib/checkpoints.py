"""The state of a fit on the disk, so that one that was cut off goes on from there."""

import json
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mixlib.ledger import renamed

EVERY = 600.0  # seconds between two states; that of a large model is a gigabyte, which takes seconds


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds the last state of a fit."""

    path: Path

    def read(self) -> tuple[dict[str, Tensor], dict] | None:
        """The tensors of the state by name, and the rest of it; None where there is no whole state."""
        with suppress(OSError, SafetensorError, LookupError, ValueError), safe_open(self.path, "pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            if facts["digest"] == _digest(tensors, facts["rest"]):
                return tensors, json.loads(facts["rest"])
        return None

    def write(self, tensors: dict[str, Tensor], rest: dict) -> None:
        """Put a state in the place of the one before. One that cannot be written is left out: the fit goes on without."""
        apart: dict[int, Tensor] = {}  # tensors may share their memory, and must not in the file
        named = {}
        for name, values in tensors.items():
            values = values.detach().cpu().contiguous()
            named[name] = values.clone() if values.data_ptr() in apart else values
            apart[values.data_ptr()] = values
        text = json.dumps(rest)
        with suppress(OSError, SafetensorError, RuntimeError, ValueError, LookupError), renamed(self.path) as partial:
            save_file(named, partial, {"rest": text, "digest": _digest(named, text)})


def _digest(tensors: dict[str, Tensor], rest: str) -> str:
    digest = sha256(rest.encode())
    for name, values in sorted(tensors.items()):
        digest.update(f"{name} {values.dtype} {[*values.shape]}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
