"""The inner loops, compiled: what `models.score`, the losses and the ranking compute, up to rounding, without their large intermediates.

torch.compile needs a C++ compiler and some seconds for the first call; where there is none, or little to do, callers use the plain path.
Sums that many rows share (the gradients of tables) stay outside, in torch's own deterministic order.
"""

import os
import shutil
import subprocess
import sysconfig
import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

WORTH = 4 * 10**9  # multiplications, about two minutes of the plain path: compiling takes longer than it saves below


def pays(multiplications: int, device: torch.device) -> bool:
    """Whether to compile for that much work: on a CPU that has a compiler. MIXLIB_COMPILE=0 says never, MIXLIB_COMPILE=1 always.

    A function of size and machine alone, so that the same run always takes the same path.
    """
    wish = os.environ.get("MIXLIB_COMPILE", "")
    if device.type != "cpu" or wish == "0" or not has_compiler():
        return False
    return wish == "1" or multiplications >= WORTH


def compiler() -> str | None:
    """The C++ compiler that torch.compile will find."""
    names = (os.environ.get("CXX", ""), "g++", "c++", "clang++")
    return next(filter(None, map(shutil.which, names)), None)


@cache
def has_compiler() -> bool:
    """Whether there is a C++ compiler, and one that finds the headers of Python."""
    found = compiler()
    if not found:
        return False
    probe = [found, "-fsyntax-only", f"-I{sysconfig.get_path('include')}", "-x", "c++", "-"]
    return subprocess.run(probe, input=b"#include <Python.h>\n", capture_output=True, check=False).returncode == 0


def candidate_scores(tastes: Tensor, attention: Tensor | None, vectors: Tensor, biases: Tensor) -> Tensor:
    """Scores (c, b) of own candidates, as `models.score`: tastes, attention (b, m, d), vectors (c, b, d), biases (c, b)."""
    liking = (tastes * vectors.unsqueeze(2)).sum(3)  # (c, b, m)
    if attention is not None:
        liking = liking * (attention * vectors.unsqueeze(2)).sum(3).softmax(2)
    return liking.sum(2) + biases


@cache
def chosen(pick: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """A function from tastes, attention, item vectors, item biases and candidates (1 + k, b), the positive first, to the negative (1, b)
    that `pick` takes. No gradients.
    """

    def function(tastes, attention, item_vectors, item_biases, candidates):
        scores = candidate_scores(tastes, attention, item_vectors[candidates], item_biases[candidates])
        return candidates[1:].gather(0, pick(scores[0], scores[1:]))

    return torch.no_grad()(_compiled(function))


@cache
def mean_loss(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """A function from the arguments of `candidate_scores`, the positive first, to the mean loss, with gradients."""

    def function(tastes, attention, vectors, biases):
        scores = candidate_scores(tastes, attention, vectors, biases)
        return loss(scores[0], scores[1:]).mean()

    return _compiled(function)


@cache
def mix() -> Callable[..., None]:
    """A function that writes scores (n, b), its last argument: from what each taste thinks of each item and how competent it is
    (n, m, b), and biases (n, 1).
    """

    def function(liking, competence, biases, scores):
        scores.copy_((liking * competence.softmax(1)).sum(1) + biases)

    return _compiled(function)


@cache
def counted() -> Callable[..., tuple[Tensor, Tensor]]:
    """A function from scores (b, n) and values (b, k) to how many scores of the row are higher, plus how many are not lower: (b, k),
    and whether any score is NaN.
    """

    def function(scores, values):
        each, values = scores.unsqueeze(1), values.unsqueeze(2)
        return ((each > values).to(torch.int32) + (each >= values).to(torch.int32)).sum(2, dtype=torch.int32), scores.isnan().any()

    return _compiled(function)


def _compiled(function: Callable) -> Callable:
    with warnings.catch_warnings(action="ignore"):  # the compiler warns of torch's own ways, here and below
        import torch._dynamo.config  # takes a second: only who compiles pays
        import torch.utils.mkldnn

    torch._dynamo.config.recompile_limit = 64  # one for each kind of model, loss and dtype
    compiled = torch.compile(function, dynamic=True)

    def quiet(*arguments):
        with warnings.catch_warnings(action="ignore"):
            return compiled(*arguments)

    return quiet
