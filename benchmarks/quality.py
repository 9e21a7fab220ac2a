"""Is a model as good through the compiled kernels as through the plain path? The same seeds both ways, ranked on the same test users.

`python benchmarks/quality.py movielens-1m [MODEL ...]` measures what benchmarks/quality.json lacks (ten seeds of all models take about
an hour on one core), and writes book/tables/cost-quality.csv from it.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from mixlib import datasets, evaluation, labels, models, searching, splits, training
from mixlib.files import renamed

SEEDS, FRESH_SEEDS = range(1, 11), range(11, 21)
DOUBTED = ("mixture_lstm",)  # ten seeds left a doubt, which fresh ones were to settle
MEASURED = Path(__file__).with_suffix(".json")
TABLE = Path(__file__).parent.parent / "book" / "tables" / "cost-quality.csv"
WAYS = {"plain": "0", "compiled": "1"}  # and the value of MIXLIB_COMPILE
SETTINGS: dict[bool, dict[str, Any]] = {  # of the size that the page's other tables have; few epochs, the same for both
    True: {"batch_size": 64, "learning_rate": 0.005, "epochs": 6},
    False: {"batch_size": 4096, "learning_rate": 0.005, "epochs": 15, "validate_every": 5},
}


def mrr(kind: str, split: splits.Split, seed: int, way: str) -> dict[str, float]:
    """Validation and test MRR of one training."""
    os.environ["MIXLIB_COMPILE"] = WAYS[way]
    torch.manual_seed(seed)
    sequential = kind in models.SEQUENTIAL
    model = models.build(kind, split.train.n_items, split.train.n_users, dim=64 if sequential else 32)
    history = training.fit(model, split, training.Settings(seed=seed, **SETTINGS[sequential]))
    if isinstance(split.test, splits.Sequences):
        found = evaluation.sequence_reciprocal_ranks(model, split.test)
    else:
        found = evaluation.interaction_reciprocal_ranks(model, split)
    return {"validation": history.best, "test": float(found.mean())}


def measure(dataset: str, kinds: list[str]) -> None:
    """Fill what is missing, one training at a time."""
    data = datasets.load(dataset)
    for kind in kinds:
        split = splits.sequence_split(data, data.max_length, data.min_length) if kind in models.SEQUENTIAL else splits.random_split(data)
        for seed in tqdm([*SEEDS, *(FRESH_SEEDS if kind in DOUBTED else ())], desc=kind, disable=None):
            for way in WAYS:
                found = measured()
                values = found.setdefault(kind, {}).setdefault(way, {})
                if str(seed) not in values:
                    values[str(seed)] = mrr(kind, split, seed, way)
                    with renamed(MEASURED) as partial:
                        partial.write_text(json.dumps(found, indent=1) + "\n")


def measured() -> dict[str, Any]:
    """MRR by model, way, seed and part."""
    return json.loads(MEASURED.read_text()) if MEASURED.is_file() else {}


def table(found: dict[str, Any]) -> pd.DataFrame:
    """A row for each model and ten seeds: mean MRR both ways, and mean differences with Student's 95% interval over the seeds."""
    rows = []
    for kind, seeds in ((kind, some) for kind in models.KINDS if kind in found for some in (SEEDS, FRESH_SEEDS)):
        both = [seed for seed in map(str, seeds) if all(seed in found[kind].get(way, {}) for way in WAYS)]
        if len(both) < 2:
            continue
        row = {"model": labels.LABELS[kind]}
        for part in ("validation", "test"):
            plain, compiled = (np.array([found[kind][way][seed][part] for seed in both]) for way in WAYS)
            row |= {f"{part}, plain": f"{plain.mean():.4f}", f"{part}, compiled": f"{compiled.mean():.4f}"}
            row[f"{part}, difference [95%]"] = _difference(compiled - plain)
        rows.append(row | {"seeds": f"{both[0]} to {both[-1]}"})
    return pd.DataFrame(rows)


def _difference(gaps: np.ndarray) -> str:
    return labels.with_interval(*searching.student(gaps), sign=True, digits=4)


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("usage: python benchmarks/quality.py NAME [MODEL ...]")
    measure(sys.argv[1], sys.argv[2:] or list(models.KINDS))
    table(measured()).to_csv(TABLE, index=False)
