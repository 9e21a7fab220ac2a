"""Interactions trained in a second by other libraries. `make peers` builds an environment for them, where cost.py calls this.

`python benchmarks/peers.py NAME FILE THREADS`, FILE an npz with users (n,), items (n,), n_users, n_items, prints JSON. All have 32 factors.
"""

import contextlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


def lightfm_warp(users: np.ndarray, items: np.ndarray, n_users: int, n_items: int, threads: int, folder: Path) -> Callable[[int], object]:
    """LightFM's WARP: Kula (2015)."""
    from lightfm import LightFM
    from scipy.sparse import coo_matrix

    matrix = coo_matrix((np.ones(len(users), np.float32), (users, items)), (n_users, n_items + 1))
    model = LightFM(no_components=32, loss="warp", random_state=0)
    return lambda epochs: model.fit_partial(matrix, epochs=epochs, num_threads=threads)


def recbole_bpr(users: np.ndarray, items: np.ndarray, n_users: int, n_items: int, threads: int, folder: Path) -> Callable[[int], object]:
    """RecBole's BPR, in PyTorch, in batches of 4096 with Adam: Zhao et al. (2021)."""
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.model.general_recommender import BPR
    from recbole.trainer import Trainer
    from recbole.utils import init_seed

    torch.set_num_threads(threads)
    (folder / "made").mkdir()
    with (folder / "made" / "made.inter").open("w") as file:
        file.write("user_id:token\titem_id:token\n")
        file.writelines(f"{user}\t{item}\n" for user, item in zip(users.tolist(), items.tolist(), strict=True))
    settings = {"data_path": str(folder), "embedding_size": 32, "train_batch_size": 4096, "use_gpu": False, "show_progress": False,
                "state": "ERROR", "checkpoint_dir": str(folder), "load_col": {"inter": ["user_id", "item_id"]},
                "eval_args": {"split": {"RS": [0.998, 0.001, 0.001]}, "group_by": None, "order": "RO", "mode": "full"}}  # fmt: skip
    sys.argv = sys.argv[:1]  # it reads the command line
    config = Config(model="BPR", dataset="made", config_dict=settings)
    init_seed(0, reproducibility=True)
    train, *_ = data_preparation(config, create_dataset(config))
    trainer = Trainer(config, BPR(config, train.dataset))

    def fit(epochs: int) -> None:
        trainer.epochs = epochs
        trainer.fit(train, saved=False, show_progress=False)

    return fit


PEERS = {"LightFM WARP": lightfm_warp, "RecBole BPR": recbole_bpr}


def main(name: str, path: str, threads: int) -> None:
    """Measure one library: the seconds of three epochs beyond the first, and the peak memory of this process."""
    with np.load(path) as file:
        users, items, n_users, n_items = file["users"], file["items"], int(file["n_users"]), int(file["n_items"])
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # RecBole leaves logs where it runs
        fit = PEERS[name](users, items, n_users, n_items, threads, Path(folder))

        def timed(epochs: int) -> float:
            start = time.perf_counter()
            fit(epochs)
            return time.perf_counter() - start

        timed(1)
        epoch = (timed(4) - timed(1)) / 3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"epoch": epoch, "per_second": len(users) / epoch, "peak_memory_bytes": peak}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
