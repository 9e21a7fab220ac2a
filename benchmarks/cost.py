"""What training and ranking cost, beside the floors that the hardware sets and beside other libraries. Run it by `make bench`.

Every cell is measured in a process of its own, so that its peak memory is its own, and is written to benchmarks/cost.json at once.
`python benchmarks/cost.py draw` makes the tables and the figure of the book's page from that file alone.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch.nn.functional import embedding

from mixlib import evaluation, experiments, figures, labels, losses, models, splits, synthetic, training
from mixlib.datasets import Interactions
from mixlib.files import renamed
from mixlib.ledger import processor

HERE = Path(__file__).parent
RECORD = HERE / "cost.json"
BOOK = HERE.parent / "book"
BASE: dict[str, Any] = {
    "users": 6040,
    "items": 3416,
    "windows": 10_100,
    "interactions": 800_000,
    "m": 4,
    "length": 100,
    "sample": 40,
    "ranked": 2000,
}
PAIRS = ("factorization", "embedding_mixture", "lstm", "mixture_lstm")
GUESTS = ("LightFM WARP", "RecBole BPR")  # peers with an environment of their own, which `make peers` builds
GUEST_PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"
EPOCHS = {"sequences": 40, "factorization": 100}  # a training takes about so many until early stopping ends it, by the records of results/
TRAININGS = 25  # what a cell of Table 1 takes: 20 trials and 5 seeds


def plan() -> list[dict]:
    """Every cell: what is varied, and the settings of the model and its data."""
    cells: list[dict[str, Any]] = [BASE | {"vary": "model", "kind": kind} for kind in models.KINDS] + [
        {"vary": "peer", "kind": peer} for peer in ("BPR", "ALS", *GUESTS)
    ]
    for kind in PAIRS:
        sequential, mixture = kind in models.SEQUENTIAL, "mixture" in kind
        cells += [BASE | {"vary": "items", "kind": kind, "items": n, "sample": 10, "ranked": 300} for n in (10**3, 10**4, 10**5, 10**6)]
        if sequential:
            cells += [BASE | {"vary": "length", "kind": kind, "length": n, "sample": 20} for n in (10, 25, 50, 100, 200)]
        else:
            cells += [BASE | {"vary": "users", "kind": kind, "users": n, "sample": 6, "ranked": 500} for n in (10**3, 10**4, 10**5, 10**6)]
        if mixture:
            cells += [BASE | {"vary": "m", "kind": kind, "m": m, "sample": 20} for m in (1, 2, 4, 8, 16)]
    shapes: dict[str, dict[str, Any]] = synthetic.SHAPES
    for name, shape in shapes.items():
        users, n = int(shape["users"]), int(shape["users"] * shape["length"])
        facts = {
            "users": users,
            "items": int(shape["items"]),
            "interactions": int(0.8 * n),
            "skew": shape["skew"],
            "sample": 8,
            "ranked": 300,
        }
        facts |= {"length": 50 if name == "amazon" else 100, "windows": int(0.8 * n / (50 if name == "amazon" else 100)), "dataset": name}
        cells += [BASE | facts | {"vary": "shape", "kind": kind} for kind in models.KINDS]
    wide: dict[str, Any] = {"vary": "memory", "kind": "embedding_mixture", "m": 8, "batch": 16384, "whole": True, "ranked": 300}
    cells += [BASE | wide | {"users": 69_878, "items": 10_677, "interactions": 8_000_000, "dataset": "movielens-10m"}]
    cells += [BASE | wide | {"users": 100_084, "items": 113_996, "interactions": 3_200_000, "dataset": "amazon"}]
    return sorted(cells, key=lambda cell: ("model", "peer", "memory", "m", "length", "users", "shape", "items").index(cell["vary"]))


def measure(cell: dict) -> dict:
    """Seconds per batch and per ranked user or window, the floors, and peak memory of one cell."""
    if cell["vary"] == "peer":
        return measure_peer(cell["kind"])
    torch.manual_seed(0)
    random, kind = np.random.default_rng(0), cell["kind"]
    sequential = kind in models.SEQUENTIAL
    dim, batch = (64, 64) if sequential else (32, cell.get("batch", 4096))
    n = cell["interactions"] if cell.get("whole") else batch * cell["sample"]
    split = (windows if sequential else pairs)(random, cell, n)
    model = models.build(kind, cell["items"], cell["users"], dim=dim, components=cell["m"])

    def fit(epochs: int) -> float:
        settings = training.Settings(batch_size=batch, epochs=epochs, validate_every=epochs, learning_rate=1e-3)
        return timed(lambda: training.fit(model, split, settings))

    if not cell.get("whole"):
        fit(1)  # compiles
    one = fit(1)
    batches = -(-n // batch)
    # two fits differ by two epochs, and by nothing that happens once
    step = one / batches if cell.get("whole") else max(min(fit(3) - one, fit(3) - fit(1)) / (2 * batches), 1e-9)

    def rank() -> None:
        if isinstance(split.test, splits.Sequences):
            evaluation.sequence_ranks(model, split.test)
        else:
            evaluation.interaction_ranks(model, split)

    ranked = best(rank, 10 if cell["vary"] == "model" else 3) / cell["ranked"]  # as often as the floor that it stands beside
    total = cell["windows"] if sequential else cell["interactions"]
    found: dict[str, Any] = {"step": step, "epoch": step * total / batch, "per_second": batch / step, "ranked_per_second": 1 / ranked,
             "peak_memory_bytes": experiments.peak_memory("cpu")}  # fmt: skip
    if cell["vary"] == "model":
        if sequential:  # the ranking alone
            with torch.inference_mode():
                tastes, attention = model.represent(torch.as_tensor(split.test.items[:, :-1]))
            given = lambda some: (tastes[: len(some)], None if attention is None else attention[: len(some)])  # noqa: E731
            with patch.object(model, "represent", given):
                found["scored_per_second"] = cell["ranked"] / best(rank)
        found |= floors(model, split, dim, batch, cell) | published_way(model, split, batch)
    return found


def pairs(random: np.random.Generator, cell: dict, n: int) -> splits.Split:
    """Interactions at random, items by Zipf's law, in the shape of a split with one test item for each ranked user."""
    weight = np.arange(1, cell["items"] + 1) ** -cell.get("skew", 1.0)
    edges = weight.cumsum() / weight.sum()

    def some(users: np.ndarray) -> Interactions:
        items = np.minimum(np.searchsorted(edges, random.random(len(users))) + 1, cell["items"])
        return Interactions(users, items, n_users=cell["users"], n_items=cell["items"])

    held = np.arange(cell["ranked"]) % cell["users"]
    return splits.Split(some(random.integers(0, cell["users"], n)), some(held[:5]), some(held))


def windows(random: np.random.Generator, cell: dict, n: int) -> splits.Split:
    """Full windows of random items."""

    def some(number: int) -> splits.Sequences:
        items = random.integers(1, cell["items"] + 1, (number, cell["length"]))
        return splits.Sequences(items, np.arange(number), cell["items"], number)

    return splits.Split(some(n), some(5), some(cell["ranked"]))


def floors(model: models.TasteModel, split: splits.Split, dim: int, batch: int, cell: dict) -> dict:
    """What cannot be avoided: the bare LSTM forward and backward, or three gathers and scatters of the batch; the bare matrix product."""
    found = {}
    if model.sequential:
        bare, x = torch.nn.LSTM(dim, dim, batch_first=True), torch.randn(batch, cell["length"], dim, requires_grad=True)
        found["floor_step"] = best(lambda: bare(x)[0].sum().backward())
    else:
        rows = torch.as_tensor(split.train.items[:batch])
        found["floor_step"] = best(lambda: sum(model.items(rows).sum() for _ in range(3)).backward())
    with torch.inference_mode():
        m = model.components
        vectors = torch.randn(500 * (m if m == 1 else 2 * m), dim)
        found["floor_ranked_per_second"] = 500 / best(lambda: vectors @ model.item_vectors.T)
    return found


def published_way(model: models.TasteModel, split: splits.Split, batch: int) -> dict:
    """The same work as the code of 2018 (the library Spotlight) does it: users repeated for each of five negatives, all with gradients,
    the tastes averaged by their weights before they meet the item, and one user ranked at a time.
    """
    models.rows = lambda table, ids: embedding(ids, table)  # this process ends here
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, foreach=False)
    users, items = (torch.as_tensor(x[:batch]) for x in (split.train.users, split.train.items))

    def scores(represented: models.Represented, candidates: torch.Tensor) -> torch.Tensor:
        (tastes, attention), vectors = represented, model.items(candidates).unsqueeze(1)  # (p, 1, d)
        if attention is not None:
            weight = (attention * vectors.expand_as(attention)).sum(2).softmax(1).unsqueeze(2).expand_as(tastes)
            tastes = (weight * tastes).sum(1, keepdim=True)
        return (tastes * vectors).sum((1, 2)) + model.biases_of(candidates)

    def step() -> None:
        if isinstance(model, models.SequenceModel):
            represented, targets, _ = model.represent_positions(items)
        else:
            represented, targets = model.represent(users), items
        tastes, attention = represented
        repeated = tastes.repeat(5, 1, 1), None if attention is None else attention.repeat(5, 1, 1)
        negatives = scores(repeated, torch.randint(1, model.n_items + 1, (5 * len(targets),))).view(5, -1)
        optimizer.zero_grad()
        losses.adaptive_hinge(scores(represented, targets), negatives, hardest=True).mean().backward()
        optimizer.step()

    some = torch.as_tensor(split.test.items[:100] if model.sequential else split.test.users[:100])

    def rank() -> None:
        with torch.inference_mode():
            for one in some.split(1):
                stats.rankdata(-model.scores(one).squeeze(0).numpy())

    return {"published_step": best(step, 5), "published_ranked_per_second": len(some) / best(rank, 3)}


def measure_peer(name: str) -> dict:
    """Interactions trained in a second by the library implicit, with as many factors, on interactions of the same shape."""
    from implicit.als import AlternatingLeastSquares
    from implicit.bpr import BayesianPersonalizedRanking
    from scipy.sparse import csr_matrix

    train = pairs(np.random.default_rng(0), BASE, BASE["interactions"]).train
    matrix = csr_matrix((np.ones(len(train), np.float32), (train.users, train.items)), (BASE["users"], BASE["items"] + 1))
    kind = {"BPR": BayesianPersonalizedRanking, "ALS": AlternatingLeastSquares}[name]

    def fit(iterations: int) -> float:
        model = kind(factors=32, iterations=iterations, num_threads=torch.get_num_threads(), random_state=0)
        return timed(lambda: model.fit(matrix, show_progress=False))

    fit(1)
    step = (fit(6) - fit(1)) / 5
    return {"epoch": step, "per_second": matrix.nnz / step, "peak_memory_bytes": experiments.peak_memory("cpu")}


def guest(name: str, threads: int, folder: Path) -> list[str]:
    """The command that measures a peer in its own environment, on the same interactions as the other peers."""
    train = pairs(np.random.default_rng(0), BASE, BASE["interactions"]).train
    np.savez(folder / "train.npz", users=train.users, items=train.items, n_users=BASE["users"], n_items=BASE["items"])
    return [str(GUEST_PYTHON), "-W", "ignore", str(HERE / "peers.py"), name, str(folder / "train.npz"), str(threads)]


def timed(action: Callable[[], object]) -> float:
    """Seconds that it took."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def best(action: Callable[[], object], times: int = 10) -> float:
    """Seconds of the fastest of several."""
    action()
    return min(timed(action) for _ in range(times))


def run() -> None:
    """Measure what the record lacks, one process a cell, then draw."""
    threads = torch.get_num_threads()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {threads} threads, torch {torch.__version__.partition('+')[0]}"
    found = json.loads(RECORD.read_text()) if RECORD.is_file() else {}
    if found.get("machine") != machine:
        found = {"machine": machine, "cells": []}
    done = [entry["cell"] for entry in found["cells"]]
    missing = [cell for cell in plan() if cell not in done]
    if not GUEST_PYTHON.is_file():
        print(f"{' and '.join(GUESTS)} are left out: `make peers` installs them.", flush=True)
        missing = [cell for cell in missing if cell["kind"] not in GUESTS]
    for cell in missing:
        with tempfile.TemporaryDirectory() as folder:
            command = guest(cell["kind"], threads, Path(folder)) if cell["kind"] in GUESTS else [sys.executable, __file__, json.dumps(cell)]
            made = subprocess.run(command, env=os.environ | {"MIXLIB_COMPILE": "1"}, capture_output=True, text=True, check=False)
        if made.returncode:
            sys.exit(f"the cell {cell} failed:\n{made.stderr[-2000:]}")
        found["cells"].append({"cell": cell, "found": json.loads(made.stdout.splitlines()[-1])})
        keep(found)
        print(cell["vary"], cell["kind"], made.stdout.strip(), flush=True)
    start = min(
        timed(lambda: subprocess.run([sys.executable, "-m", "mixlib", "--help"], capture_output=True, check=True)) for _ in range(3)
    )
    keep(found | {"help": round(start, 3)})
    draw()


def keep(found: dict) -> None:
    """Write the record, whole or not at all."""
    with renamed(RECORD) as partial:
        partial.write_text(json.dumps(found, indent=1) + "\n")


def draw() -> None:
    """Write the tables and the figure of the book's page from the record, and print the first table."""
    found = json.loads(RECORD.read_text())
    cells = [cell | entry["found"] for cell in plan() for entry in found["cells"] if entry["cell"] == cell]

    def write(name: str, vary: tuple[str, ...], row: Callable[[dict], dict]) -> pd.DataFrame:
        table = pd.DataFrame([row(cell) for cell in cells if cell["vary"] in vary] or [{"": "not measured yet"}])
        table.to_csv(BOOK / "tables" / f"{name}.csv", index=False)
        return table

    table = write("cost", ("model", "peer"), model_row)
    write("cost-shapes", ("shape",), shape_row)
    write("cost-memory", ("memory",), memory_row)
    write("cost-curves", ("items", "users", "m", "length"), curve_row)
    machine = f"{found['machine']}; `mixlib --help` starts in {found['help']:.2f} s" if "help" in found else found["machine"]
    (BOOK / "tables" / "cost-machine.md").write_text(f"Measured on: {machine}.\n")
    curves(pd.DataFrame(cells))
    print(f"{machine}\n{table.to_string(index=False)}")


def model_row(c: dict) -> dict:
    """A row of the first table."""
    ours = "step" in c
    return {
        "model": c["kind"] if c["kind"] in GUESTS else labels.LABELS.get(c["kind"], f"implicit {c['kind']}"),
        "epoch (s)": f"{c['epoch']:.2f}",
        "trained per second": f"{c['per_second']:,.0f}",
        "faster than in 2018": f"{c['published_step'] / c['step']:.1f} x" if ours else "",
        "times the floor": f"{c['step'] / c['floor_step']:.1f}" if ours else "",
        "ranked per second": f"{c['ranked_per_second']:,.0f}" if ours else "",
        "ranked per second, states given": f"{c['scored_per_second']:,.0f}" if "scored_per_second" in c else "",
        "ranked faster than in 2018": f"{c['ranked_per_second'] / c['published_ranked_per_second']:.0f} x" if ours else "",
        "times the bare product": f"{c['floor_ranked_per_second'] / c['ranked_per_second']:.1f}" if ours else "",
        "peak memory (MB)": f"{c['peak_memory_bytes'] / 1e6:,.0f}",
    }


def shape_row(c: dict) -> dict:
    """A row of the table of the paper's data sets."""
    sequential = c["kind"] in models.SEQUENTIAL
    held_out, epochs = (0.1 * c["windows"], EPOCHS["sequences"]) if sequential else (c["users"], EPOCHS["factorization"])
    return {
        "data set": f"{labels.title(c['dataset'])} (shape)",
        "model": labels.LABELS[c["kind"]],
        "epoch (s)": f"{c['epoch']:,.0f}",
        "ranking of the test part (s)": f"{held_out / c['ranked_per_second']:,.0f}",
        "cell of Table 1 (hours)": f"{epochs * TRAININGS * c['epoch'] / 3600:,.1f}",
        "peak memory (MB)": f"{c['peak_memory_bytes'] / 1e6:,.0f}",
    }


def memory_row(c: dict) -> dict:
    """A row of the table of memory."""
    return {"data set": f"{labels.title(c['dataset'])} (size)", "users": f"{c['users']:,}", "items": f"{c['items']:,}", "tastes": c["m"],
            "trained per epoch": f"{c['interactions']:,}", "epoch (s)": f"{c['epoch']:,.0f}",
            "peak memory (GB)": f"{c['peak_memory_bytes'] / 1e9:.2f}"}  # fmt: skip


def curve_row(c: dict) -> dict:
    """A row of the data of the figure."""
    size = {name: c[name] for name in ("items", "users", "m", "length")}
    return {"model": labels.LABELS[c["kind"]], "varied": c["vary"]} | size | {
        "ms a batch": round(1e3 * c["step"], 3), "ms to rank 1000": round(1e6 / c["ranked_per_second"], 2),
    }  # fmt: skip


def curves(cells: pd.DataFrame) -> None:
    """Draw milliseconds per batch and per 1000 ranked against items, users, tastes and window."""
    figure, axes = figures.new(4, 2, width=9.0, height=4.6, sharey="row")
    for column, (vary, name) in enumerate({"items": "items", "users": "users", "m": "tastes m", "length": "longest window"}.items()):
        for kind in PAIRS:
            some = cells[(cells["vary"] == vary) & (cells["kind"] == kind)]
            look = {
                "marker": figures.MARKERS[kind],
                "color": figures.COLOURS[kind],
                "ms": 4,
                "ls": "--" if kind in models.SEQUENTIAL else "-",
            }
            axes[0, column].loglog(some[vary], 1e3 * some["step"], label=labels.LABELS[kind], **look)
            axes[1, column].loglog(some[vary], 1e6 / some["ranked_per_second"], **look)
        axes[1, column].set_xlabel(name)
        for panel in axes[:, column] if vary == "m" else ():
            panel.set_xticks(sorted(set(cells.loc[cells["vary"] == vary, vary])))
            panel.xaxis.set_major_formatter("{x:.0f}")
            panel.xaxis.set_minor_formatter("")
    axes[0, 0].set_ylabel("ms a batch")
    axes[1, 0].set_ylabel("ms to rank 1000")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figures.save(figure, BOOK / "figures" / "cost")


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            run()
        case ["draw"]:
            draw()
        case [cell]:
            experiments.reset_peak_memory()
            print(json.dumps(measure(json.loads(cell))))
