"""Seconds and peak memory of the first load and of later ones, of full-size files that are drawn, in a temporary folder.

`python benchmarks/parsers.py [NAME ...]`: movielens-10m (10 million ratings), goodbooks-10k (6 million), amazon (about 200 MB packed).
"""

import gzip
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import formats

LOAD = """
import json, re, sys, time
from pathlib import Path
from mixlib import datasets
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before, start, work = peak(), time.perf_counter(), time.process_time()
made = datasets.load(sys.argv[1], sys.argv[2])
print(json.dumps({"s": time.perf_counter() - start, "CPU s": time.process_time() - work, "MB before": before, "peak MB": peak(),
                  "interactions": len(made), "fingerprint": made.fingerprint}))
"""


def movielens_10m(folder: Path) -> None:
    """10,000,054 ratings of 69,878 users for 10,677 films, sorted by user and film as in the original."""
    random = np.random.default_rng(0)
    users = np.sort(random.integers(1, 71_568, 10_000_054))
    items = (random.random(len(users)) ** 3 * 65_133).astype(np.int64) // 6 * 6 + 1
    seconds = random.integers(789_652_009, 1_231_131_736, len(users))
    with (folder / "ratings.dat").open("wb") as file:
        for rows in np.array_split(np.arange(len(users)), 100):
            file.write(formats.ratings_dat(users[rows].tolist(), items[rows].tolist(), seconds[rows].tolist()))
    movies = {i: (f"Film {i} (1995)", "Drama|Thriller") for i in range(1, 65_134, 6)}
    (folder / "movies.dat").write_bytes(formats.movies_dat(movies, "utf-8"))


def goodbooks_10k(folder: Path) -> None:
    """5,976,479 ratings of 53,424 users for 10,000 books."""
    random = np.random.default_rng(0)
    users, items = random.integers(1, 53_425, 5_976_479), random.integers(1, 10_001, 5_976_479)
    (folder / "ratings.csv").write_bytes(formats.ratings_csv(users.tolist(), items.tolist()))


def amazon(folder: Path) -> None:
    """548,552 products with about 7.6 million reviews: about 1 GB of text."""
    with gzip.open(folder / "amazon-meta.txt.gz", "wb", compresslevel=3) as file:
        file.writelines(formats.snap(_products(548_552), 548_552))


def _products(number: int) -> Iterator[str]:
    random = np.random.default_rng(0)
    counts = np.minimum(random.pareto(1.0, number) * 1.8, 5000).astype(int)
    days = [date(1995, 1, 5) + timedelta(days) for days in range(3_800)]
    for product in range(number):
        if product % 94 == 0:
            yield formats.discontinued(product)
            continue
        count = counts[product]
        who = (random.random(count) ** 2.5 * 1_555_170).astype(int).tolist()
        when = random.integers(0, len(days), count).tolist()
        votes = random.integers(0, 100, count).tolist()
        reviews = [(days[day], formats.customer(user)) for user, day in zip(who, when, strict=True)]
        text = formats.product(product, reviews, title=f"{random.integers(10**12)}: {random.integers(10**12)}", categories=product % 10)
        yield text.replace("54  ", f"{votes[0] if votes else 0}  ")


def main(names: list[str]) -> None:
    """Write, load six times in processes of their own, print a table and keep it beside this file."""
    rows = []
    for name in names or ["movielens-10m", "goodbooks-10k", "amazon"]:
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root) / name
            folder.mkdir()
            globals()[name.replace("-", "_")](folder)
            size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
            for load in ("first", *["later"] * 5):
                ran = subprocess.run([sys.executable, "-c", LOAD, name, root], capture_output=True, text=True, check=True)
                rows.append({"data set": name, "MB on disk": round(size), "load": load} | json.loads(ran.stdout))
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows).round(2).to_string(index=False)
    (Path(__file__).parent / "parsers.txt").write_text(f"{platform.machine()}, Python {platform.python_version()}\n{table}\n")
    print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
