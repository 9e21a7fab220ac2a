"""One sentence for a name that nobody knows, the same in every room."""

from collections.abc import Iterable
from difflib import get_close_matches


def choose(what: str, name: str, known: Iterable[str]) -> str:
    """Give `name` back if it is among `known`.

    Raises ValueError that suggests the nearest name and lists those that exist: `no loss 'bprr': did you mean 'bpr'? ...`.
    """
    names = sorted(known)
    if name in names:
        return name
    near = get_close_matches(str(name), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"no {what} {name!r}: {hint}There are {', '.join(names)}.")
