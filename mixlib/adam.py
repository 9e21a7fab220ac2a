"""Adam that is late with large tables: the steps a row has missed are made up for when a batch names it.

A batch names few users and items, yet Adam changes every row of a table in every step: its moments decay, and weight decay pulls. Without a
gradient such a step needs nothing but the row. So those missed are made at once, while the row lies in the cache, where otherwise the
whole table passes through memory in every step. Most rows soon lie still, as what is left of their moments is too small to change them:
then only the moments are brought up, without roots and quotients.

On one thread every bit is that of torch's own Adam. On several, inside `fit`, torch's other threads keep numbers nearer to 0 than 1e-38
in the rows that fall to them; here they count as 0 in all rows, whatever the number of threads.
"""

import ctypes
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from mixlib.kernels import compiler

BLOCK = 32  # numbers of a row that are brought up together: widths are multiples of it
STEPS = 2**16  # after which the corrections of Adam's moments are 1 in 64 bits
# BLOCK and STEPS are given to the compiler. The decays are those that torch's Adam has where none are given, as here.
SOURCE = r"""
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { CHUNK = 16 }; /* steps that one bound is for */
static const float DECAY = 1 - 0.9, KEEP = 0.999, RENEW = 1 - 0.999, EPSILON = 1e-8;

typedef struct { float p[BLOCK], m[BLOCK], v[BLOCK]; } Block; /* parameters and their two moments */

static inline void step(Block *b, const float *gradient, float l2, float size, float root) {
    for (int i = 0; i < BLOCK; i++) { /* rounded where torch's kernel rounds */
        float g = fmaf(b->p[i], l2, gradient[i]);
        b->m[i] = fmaf(DECAY, g - b->m[i], b->m[i]);
        b->v[i] = fmaf(RENEW * g, g, b->v[i] * KEEP);
        float spread = root == 1 ? sqrtf(b->v[i]) : sqrtf(b->v[i]) / root; /* a quotient less for most steps */
        b->p[i] += size * b->m[i] / (spread + EPSILON);
    }
}

/* Whether the next CHUNK steps without a gradient leave p as it is: a change below |p| 2^-25 is rounded away, and so is one that comes out
   as 0. |m| stays below the larger of |m| and |g|, as g = l2 p pulls it there, v keeps at least 0.984 of itself, and size falls and root
   grows with the steps: the first and the last of them bound all. */
static inline int lies_still(const Block *b, float l2, float size, float root) {
    int moves = 0;
    for (int i = 0; i < BLOCK; i++) {
        float p = fabsf(b->p[i]), m = fabsf(b->m[i]), g = p * l2;
        float most = -1.01f * size * (g > m ? g : m);
        moves |= !(most == 0 || most < p * 0x1p-25f * (0.99f * sqrtf(b->v[i]) / root + EPSILON));
    }
    return !moves;
}

static inline void decay(Block *b, float l2, int64_t steps) {
    float g[BLOCK];
    for (int i = 0; i < BLOCK; i++) g[i] = fmaf(b->p[i], l2, 0.0f);
    while (steps--)
        for (int i = 0; i < BLOCK; i++) {
            b->m[i] = fmaf(DECAY, g[i] - b->m[i], b->m[i]);
            b->v[i] = fmaf(RENEW * g[i], g[i], b->v[i] * KEEP);
        }
}

static inline int64_t capped(int64_t t) { return t < STEPS ? t : STEPS - 1; }

/* Bring n rows of a table p (., width) and of its moments m and v up to step `now`, from those that `seen` says. g: gradients (., width) of
   the last step, set to 0 once used, or NULL. size, root: -lr / (1 - 0.9^t) and sqrt(1 - 0.999^t) of the steps t = 0..STEPS - 1. */
void bring_up(float *p, float *m, float *v, float *g, int64_t *seen, const int64_t *rows, int64_t n, int64_t width, int64_t now,
              const float *size, const float *root, float l2) {
    static const float none[BLOCK];
    Block b;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t at = rows[i] * width; at < (rows[i] + 1) * width; at += BLOCK) {
            memcpy(b.p, p + at, sizeof b.p);
            memcpy(b.m, m + at, sizeof b.m);
            memcpy(b.v, v + at, sizeof b.v);
            for (int64_t t = seen[rows[i]] + 1, last = g ? now - 1 : now, end; t <= last; t = end + 1) {
                end = t + CHUNK - 1 < last ? t + CHUNK - 1 : last;
                if (lies_still(&b, l2, size[capped(t)], root[capped(end)]))
                    decay(&b, l2, end - t + 1);
                else
                    for (int64_t s = t; s <= end; s++) step(&b, none, l2, size[capped(s)], root[capped(s)]);
            }
            if (g) {
                step(&b, g + at, l2, size[capped(now)], root[capped(now)]);
                memset(g + at, 0, sizeof b.p);
            }
            memcpy(p + at, b.p, sizeof b.p);
            memcpy(m + at, b.m, sizeof b.m);
            memcpy(v + at, b.v, sizeof b.v);
        }
        seen[rows[i]] = now;
    }
}
"""


@dataclass(eq=False)
class Late:
    """Tables (n, width), each of which `suits`, of which a batch names the same few rows."""

    tables: list[Tensor]
    reached: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    seen: list[Tensor] = field(default_factory=list)  # for each table, (n,) the last step that its rows have had
    gradients: list[Tensor] = field(default_factory=list)


class Adam(torch.optim.Adam):
    """torch's fused Adam, which changes the rows of late tables when `reach` or `settle` asks for them.

    Before a batch, `reach` its rows: until the step that follows, only these may be read or get a gradient, by `models.rows`. `settle`
    before a table is read otherwise. lr and l2 stay as they are given. kernel: in place of `compiled()`.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, l2: float, late: Iterable[Late] = (), kernel: Callable | None = None):
        super().__init__(parameters, lr=lr, weight_decay=l2, fused=True)
        self.late, self.l2 = [some for some in late if some.tables], l2
        self.kernel: Any = kernel or compiled() if self.late else None
        self.now = 0  # steps made
        if self.late:
            self.pool = ThreadPoolExecutor(torch.get_num_threads())
            self.sizes = torch.tensor([0.0, *(-(lr / (1 - 0.9**t)) for t in range(1, STEPS))], dtype=torch.float32)
            self.roots = torch.tensor([1 - 0.999**t for t in range(STEPS)], dtype=torch.float64).sqrt().float()

    def reach(self, some: Late, rows: Tensor) -> None:
        """Bring rows (...) of late tables up to the present step; nothing where there are no such tables. IndexError on rows outside."""
        if some.tables:
            some.reached, n = rows.long().unique(), min(map(len, some.tables))  # in order
            if len(some.reached) and not 0 <= some.reached[0] <= some.reached[-1] < n:
                raise IndexError(f"rows {some.reached[0]} to {some.reached[-1]} are asked for, of a table of {n:,}.")
            self._bring_up(some, some.reached)

    def settle(self) -> None:
        """Bring all rows of the late tables, and the state, up to the present step."""
        for some in self.late:
            self._bring_up(some)
            for table in some.tables:
                self.state[table]["step"].fill_(self.now)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As torch's; those of late tables are zeros already, as a step leaves them. With set_to_none, they take no memory meanwhile."""
        for some in self.late:
            for table in some.tables:
                table.grad = None
        super().zero_grad(set_to_none)
        for some in self.late:
            some.gradients = [] if set_to_none else some.gradients or [torch.zeros_like(table) for table in some.tables]
            for table, gradient in zip(some.tables, some.gradients, strict=not set_to_none):
                table.grad = gradient

    def step(self, closure=None):
        """One step of all parameters; of late tables, of the rows that were reached last. No closure where there are such."""
        if closure and self.late:
            raise ValueError("late tables take no closure: give gradients by backward.")
        for some in self.late:
            for table in some.tables:
                table.grad = None
        super().step(closure)
        self.now += 1
        for some in self.late:
            self._bring_up(some, some.reached, some.gradients)

    def _bring_up(self, some: Late, rows: Tensor | None = None, gradients: Iterable[Tensor] | None = None) -> None:
        """Rows of late tables, all if none are given. gradients: of the last of their steps, if it has any."""
        if not some.seen:
            self._begin(some)
        given_all = [None] * len(some.tables) if gradients is None else gradients
        for table, seen, gradient in zip(some.tables, some.seen, given_all, strict=True):
            state, given = self.state[table], None if gradient is None else gradient.data_ptr()
            tables = table.data_ptr(), state["exp_avg"].data_ptr(), state["exp_avg_sq"].data_ptr(), given, seen.data_ptr()
            scales = self.sizes.data_ptr(), self.roots.data_ptr()

            def bring_up(part: Tensor, tables=tables, width=table.shape[1], scales=scales) -> None:
                self.kernel(*tables, part.data_ptr(), len(part), width, self.now, *scales, self.l2)

            parts = (torch.arange(len(table)) if rows is None else rows).chunk(torch.get_num_threads())
            if len(parts) > 1:
                list(self.pool.map(bring_up, parts))
            else:
                bring_up(*parts)

    def _begin(self, some: Late) -> None:
        """Where the state is none yet, make it; else go on from it, as `settle` left it."""
        for table in some.tables:
            state = self.state[table]
            if not state:
                state |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(table), "exp_avg_sq": torch.zeros_like(table)}
            self.now = max(self.now, int(state["step"]))
            some.seen.append(torch.full((len(table),), self.now))


def suits(table: Tensor, named: int) -> bool:
    """Whether a table is worth being late with where a batch names so many rows, as it is large; and whether the kernel takes it."""
    worth = table.numel() >= 2**20 and len(table) >= 4 * named
    ours = table.is_leaf and table.requires_grad and table.is_contiguous() and table.dtype == torch.float32
    return worth and ours and table.shape[1] % BLOCK == 0


@cache
def compiled() -> Callable[..., None] | None:
    """The kernel; None where no compiler makes it, or where its bits are not those of torch's Adam on this machine."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        source, library = Path(folder, "adam.c"), Path(folder, "adam.so")
        source.write_text(SOURCE, encoding="utf-8")
        flags = ["-x", "c", "-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC"]
        sizes = [f"-DBLOCK={BLOCK}", f"-DSTEPS={STEPS}"]
        try:
            subprocess.run([compiler() or "", *flags, *sizes, source, "-o", library, "-lm"], check=True, capture_output=True)
            bring_up = ctypes.CDLL(str(library)).bring_up
        except (OSError, subprocess.CalledProcessError):
            return None
    bring_up.restype = None
    bring_up.argtypes = [ctypes.c_void_p] * 6 + [ctypes.c_int64] * 3 + [ctypes.c_void_p] * 2 + [ctypes.c_float]
    return bring_up if _as_torchs(bring_up) else None


def _as_torchs(kernel: Callable[..., None]) -> bool:
    """Whether a few hundred steps of a small table, in which rows move and lie still, end at the same bits as torch's."""
    draw = torch.Generator().manual_seed(0)
    late, usual = (nn.Parameter(torch.randn(200, BLOCK, generator=draw.manual_seed(0))) for _ in range(2))
    some = Late([late])
    ours, theirs = Adam([late], 1e-4, 1e-10, [some], kernel), Adam([usual], 1e-4, 1e-10)
    for _ in range(300):
        rows, gradients = torch.randint(200, (2,), generator=draw), torch.randn(2, BLOCK, generator=draw)
        ours.reach(some, rows)
        for optimizer, table in ((ours, late), (theirs, usual)):
            table.grad = table.grad if table.grad is not None else torch.zeros_like(table)
            optimizer.zero_grad(set_to_none=False)
            table.grad.index_add_(0, rows, gradients)
            optimizer.step()
    ours.settle()
    moments = [torch.equal(ours.state[late][name], theirs.state[usual][name]) for name in ("exp_avg", "exp_avg_sq")]
    return torch.equal(late, usual) and all(moments)
