"""Trains again the shortest training of every version of the code that the ledger names, and says whether the record comes out the same.

`MIXLIB_DATA=... python benchmarks/versions.py`: on one thread, as those records were made; only data sets that are at hand. Half an hour.
With codes behind it, only these versions; what `versions.csv` has of the others stays, as far as they are on record.
"""

import json
import sys
from pathlib import Path

import pandas as pd

from mixlib import datasets, experiments
from mixlib.ledger import code_version
from mixlib.names import UnknownName
from mixlib.plans import Trial

RESULTS = Path(__file__).parent.parent / "results"
TABLE = Path(__file__).parent / "versions.csv"


def shortest() -> dict[str, dict]:
    """By version of the code, the record of the training that took least; of those on one thread of a processor that went through."""
    found: dict[str, dict] = {}
    for path in sorted(RESULTS.glob("*/*/*.json")):
        record = json.loads(path.read_text())
        trained = record["status"] == "done" and record["device"] == "cpu, 1 threads" and record["losses"]
        best = found.get(record["code"])
        if trained and (best is None or record["seconds"]["fit"] < best["seconds"]["fit"]):
            found[record["code"]] = record
    return found


def main() -> None:
    """Train, print rows and keep the table beside this file."""
    experiments.set_threads(1)
    records, only = shortest(), sys.argv[1:]
    kept = pd.read_csv(TABLE, dtype=str) if only else pd.DataFrame({"code": []})
    rows = kept[kept["code"].isin(records.keys() - only)].to_dict("records")
    for code, record in sorted(records.items(), key=lambda one: one[1]["seconds"]["fit"]):
        if only and code not in only:
            continue
        try:
            data = datasets.load(record["dataset"])
        except (FileNotFoundError, UnknownName):
            continue
        trial = Trial(**{name: record[name] for name in ("study", "arm", "stage", "index", "definition")})
        again, _ = experiments.run_trial(trial, data)
        same = all(again[name] == record[name] for name in ("losses", "validation_mrr", "test"))
        apart = abs(again["test"]["mrr"] / record["test"]["mrr"] - 1)
        rows.append({"code": code, "tried with": code_version(), "data set": record["dataset"], "study": record["study"],
                     "arm": record["arm"], "MRR recorded": record["test"]["mrr"], "MRR again": again["test"]["mrr"],
                     "apart": f"{apart:.0e}", "to the last bit": same})  # fmt: skip
        print(rows[-1], flush=True)
    pd.DataFrame(rows).sort_values("code").to_csv(TABLE, index=False)


if __name__ == "__main__":
    main()
