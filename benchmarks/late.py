"""What it saves that Adam is late with large tables: the second epoch of three models, with all rows in time and late, on one thread.

`MIXLIB_DATA=... python benchmarks/late.py amazon-apps amazon-beauty` measures, twenty minutes, keeps what it found in benchmarks/late.json,
and writes book/tables/cost-late.csv from that. Nothing is ranked meanwhile. Whether both end with the same parameters is asked, too.
"""

import json
import math
import os
import sys
import time
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch

from mixlib import datasets, labels, models, splits, training
from mixlib.datasets import Interactions
from mixlib.ledger import provenance

MIDDLE = math.exp(-17)  # of the L2 that a search draws, on its logarithmic scale
CASES = {"factorization": (MIDDLE,), "projection_mixture": (MIDDLE,), "embedding_mixture": (1e-10, MIDDLE, 1e-6)}  # L2 by model
TASTES, BATCH = 6, 512
RECORD = Path(__file__).with_suffix(".json")
TABLE = Path(__file__).parent.parent / "book" / "tables" / "cost-late.csv"


def epochs(kind: str, l2: float, data: Interactions, late: bool) -> tuple[float, list[torch.Tensor]]:
    """Milliseconds of a step in the second epoch, and the parameters after it."""
    split, stamps = splits.random_split(data), list[float]()

    def watched(model: models.TasteModel, split: splits.Split) -> float:
        stamps.append(time.perf_counter())
        return 0.0

    torch.manual_seed(0)
    model = models.build(kind, data.n_items, data.n_users, components=TASTES)
    settings = training.Settings(batch_size=BATCH, learning_rate=1e-3, l2=l2, epochs=2)
    found = training._late if late else lambda model, settings: ([], [])
    with patch.object(training, "validation_mrr", watched), patch.object(training, "_late", found):
        training.fit(model, split, settings)
    return 1000 * (stamps[1] - stamps[0]) / -(-len(split.train) // BATCH), [p.detach() for p in model.parameters()]


def measure(data: Interactions) -> list[dict]:
    """A row for each model and L2."""
    rows = []
    for kind, l2 in ((kind, l2) for kind, some in CASES.items() for l2 in some):
        (in_time, theirs), (late, ours) = (epochs(kind, l2, data, late) for late in (False, True))
        row = {"data set": labels.title(data.name), "users": data.n_users, "items": data.n_items, "model": labels.LABELS[kind], "l2": l2}
        rows.append(row | {"in time": in_time, "late": late, "same": all(map(torch.equal, ours, theirs))})
        print(rows[-1], flush=True)
    return rows


def draw() -> None:
    """Write the table of the book's page from the record."""
    table = pd.DataFrame(json.loads(RECORD.read_text())["rows"])
    shown = table[["data set"]].assign(
        **{
            "users": table["users"].map("{:,}".format),
            "items": table["items"].map("{:,}".format),
            "model": table["model"],
            "L2": table["l2"].map("{:.0e}".format).str.replace("-", "\N{NON-BREAKING HYPHEN}"),
            "step, rows in time (ms)": table["in time"].map("{:.1f}".format),
            "rows late (ms)": table["late"].map("{:.1f}".format),
            "times faster": (table["in time"] / table["late"]).map("{:.1f}".format),
            "same parameters": table["same"].map({True: "to the last bit", False: "no"}),
        }
    )
    shown.to_csv(TABLE, index=False)


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("usage: python benchmarks/late.py NAME ..., or draw")
    if sys.argv[1:] != ["draw"]:
        torch.set_num_threads(1)
        os.environ["MIXLIB_COMPILE"] = "1"
        made_with = provenance()
        rows = [row for name in sys.argv[1:] for row in measure(datasets.load(name))]
        RECORD.write_text(json.dumps(made_with | {"rows": rows}, indent=1) + "\n")
    draw()
