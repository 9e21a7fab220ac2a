"""Trains again the shortest training of every version of the code that the ledger names, and says whether the record comes out the same.

`MIXLIB_DATA=... python benchmarks/versions.py`: on one thread, as those records were made; only data sets that are at hand. Takes half an
hour.
"""

import json
from pathlib import Path

import pandas as pd

from mixlib import datasets, experiments
from mixlib.ledger import code_version
from mixlib.plans import Trial

RESULTS = Path(__file__).parent.parent / "results"


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
    """Train, print a table and keep it beside this file."""
    experiments.set_threads(1)
    rows = []
    for code, record in sorted(shortest().items(), key=lambda one: one[1]["seconds"]["fit"]):
        try:
            data = datasets.load(record["dataset"])
        except FileNotFoundError:
            continue
        trial = Trial(**{name: record[name] for name in ("study", "arm", "stage", "index", "definition")})
        again, _ = experiments.run_trial(trial, data)
        same = all(again[name] == record[name] for name in ("losses", "validation_mrr", "test"))
        apart = abs(again["test"]["mrr"] / record["test"]["mrr"] - 1)
        rows.append({"code": code, "data set": record["dataset"], "study": record["study"], "arm": record["arm"],
                     "MRR recorded": record["test"]["mrr"], "MRR again": again["test"]["mrr"], "apart": f"{apart:.0e}",
                     "to the last bit": same})  # fmt: skip
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows).sort_values("code").to_string(index=False)
    (Path(__file__).parent / "versions.txt").write_text(f"Code {code_version()}, against\n{table}\n")
    print(table)


if __name__ == "__main__":
    main()
