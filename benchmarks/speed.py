"""Seconds per epoch, and users or windows ranked per second, of the five models at the size of Movielens 1M. Run it by `make bench`."""

import os
import platform
import time
from pathlib import Path

import pandas as pd
import torch

from mixlib import evaluation, models, splits, synthetic, training

EPOCHS = 2


def main() -> None:
    """Fit and rank each model on generated interactions; print one table and write it beside this file with the machine named."""
    data = synthetic.generate(users=6040, items=3416, length=165, skew=1.0, clusters=40)
    rows = []
    for kind in models.KINDS:
        sequential = kind in models.SEQUENTIAL
        split = splits.sequence_split(data, 100, 20) if sequential else splits.random_split(data)
        torch.manual_seed(0)
        model = models.build(kind, data.n_items, data.n_users, dim=64 if sequential else 32)
        settings = training.Settings(batch_size=64 if sequential else 4096, epochs=EPOCHS, validate_every=EPOCHS)
        start = time.perf_counter()
        training.fit(model, split, settings)
        fitted = time.perf_counter()
        test = split.test
        ranks = (
            evaluation.sequence_ranks(model, test)
            if isinstance(test, splits.Sequences)
            else evaluation.interaction_ranks(model, split).ranks
        )
        ranking = time.perf_counter() - fitted
        epoch = (fitted - start - ranking) / EPOCHS  # a fit ends with one validation, as long as one ranking of test
        rows.append({"model": kind, "train": len(split.train), "s / epoch": epoch, "train / s": len(split.train) / epoch,
                     "ranked / s": len(ranks) / ranking})  # fmt: skip
    table = pd.DataFrame(rows).round({"s / epoch": 2, "train / s": 0, "ranked / s": 0}).to_string(index=False)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, {data.title}"
    print(f"{machine}\n{table}")
    (Path(__file__).parent / "speed.txt").write_text(f"{machine}\n{table}\n")


if __name__ == "__main__":
    main()
