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

from mixlib.files import renamed
from mixlib.models import TasteModel

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


def state(kept: dict[str, Tensor], model: TasteModel, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> dict[str, Tensor]:
    """All tensors that a fit goes on from, by name; a model of one's own may also draw from torch's generators.

    kept: the parameters of the best epoch, by name. generator: what the fit draws from.
    """
    random = {"ours": generator.get_state(), "torch": torch.get_rng_state()}
    if model.device.type == "cuda":
        random["card"] = torch.cuda.get_rng_state(model.device)
    moments = {
        f"{what}.{name}": values for name, parameter in model.named_parameters() for what, values in optimizer.state[parameter].items()
    }
    parts = {"model": model.state_dict(), "kept": kept, "moments": moments, "random": random}
    return {f"{part}.{name}": values for part, tensors in parts.items() for name, values in tensors.items()}


def restore(
    tensors: dict[str, Tensor], model: TasteModel, optimizer: torch.optim.Optimizer, generator: torch.Generator
) -> dict[str, Tensor]:
    """Put back what `state` gave, for a model of the same `form`; what was kept is returned."""
    parts: dict[str, dict[str, Tensor]] = {"kept": {}}
    for name, values in tensors.items():
        part, _, name = name.partition(".")
        parts.setdefault(part, {})[name] = values
    model.load_state_dict(parts["model"])
    parameters = dict(model.named_parameters())
    for name, values in parts["moments"].items():
        what, _, name = name.partition(".")
        parameter = parameters[name]
        like = parameter.detach() if values.shape == parameter.shape else values.to(parameter.device)
        optimizer.state[parameter][what] = torch.empty_like(like).copy_(values)  # in memory as the parameter lies
    generator.set_state(parts["random"]["ours"])
    torch.set_rng_state(parts["random"]["torch"])
    if "card" in parts["random"]:
        torch.cuda.set_rng_state(parts["random"]["card"], model.device)
    return {name: values.to(model.device) for name, values in parts["kept"].items()}


def form(model: TasteModel) -> list:
    """Names, sizes and types of all that a model holds."""
    return [[name, [*values.shape], str(values.dtype)] for name, values in model.state_dict().items()]


def _digest(tensors: dict[str, Tensor], rest: str) -> str:
    digest = sha256(rest.encode())
    for name, values in sorted(tensors.items()):
        digest.update(f"{name} {values.dtype} {[*values.shape]}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
