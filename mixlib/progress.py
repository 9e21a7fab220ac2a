"""What is done of what is planned: for the command line, which reads a whole ledger, and for the book's table."""

from collections.abc import Collection, Iterable

import pandas as pd

from mixlib import reports
from mixlib.labels import TITLES, UNORDERED, applies, title
from mixlib.ledger import Ledger
from mixlib.outcomes import PROFILES, Found, apart, left_out_of, lies_here, recorded, unordered, version_of
from mixlib.plans import Subject, size
from mixlib.studies import STUDIES


def table(found: Found, datasets: Iterable[str], without_order: Collection[str] = UNORDERED) -> pd.DataFrame:
    """Done of planned for every study and data set: search trials of each arm, seeds of each winner, and arms where some have not begun."""
    rows = []
    for name, study in STUDIES.items():
        row = {"study": name}
        for dataset in datasets:
            results = found.get((dataset, name))
            ahead = len(results.selection.ahead) if results else 0
            arms = f"; {len(study.arms) - ahead} of {len(study.arms)} models" if ahead else ""
            planned = applies(dataset, name, without_order) and (results or study.planned_for(dataset))
            row[title(dataset)] = reports.spent(results) + arms if planned else "not planned"
        rows.append(row)
    return pd.DataFrame(rows)


def status(ledger: Ledger, datasets: list[str] | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Planned against done for every study of the given data sets. Where none is given, of those with records and those that the book
    names, in short: studies that have not begun are named in sentences, and generated populations are counted together.

    The column `missing` counts all seeds while the search goes on, since another trial may win. Arms that a study shares with the one
    that it stands beside are counted there. Beside the table, sentences that name what is left out of it; where nobody asked for a data
    set, those that have no records are.
    """
    rows: list[dict] = []
    said, none, later = [], [], dict[str, list[str]]()
    datasets = datasets and list(dict.fromkeys(datasets))
    planned = {name: size(study, PROFILES["paper"].of(study)) for name, study in STUDIES.items()}
    every = datasets or sorted({*ledger.datasets(), *TITLES})
    without = unordered(ledger, every)
    for dataset in every:
        version = version_of(ledger, dataset)
        here = lies_here(dataset) if version and datasets and not apart(dataset) else None
        if version and here and here.fingerprint != version.fingerprint:
            said.append(f"{dataset}: the records counted here are of another version of the data, {version.fingerprint}, than lies here, "
                        f"{here.fingerprint}.")  # fmt: skip
        folders = ledger.folder(dataset, "any").parent.glob("*/")
        own = sorted({path.name for path in folders} - {*STUDIES})
        said += [f"{dataset}: records of {', '.join(own)}, which the plan does not have."] if own else []
        if version is None and not datasets and not any(ledger.damaged(dataset, name) for name in STUDIES):
            none += [] if own else [dataset]
            continue
        for name, study in STUDIES.items():
            records, plan = ledger.read(dataset, name), PROFILES["paper"].of(study)
            found = recorded(ledger, dataset, name, version=version) if records else None
            if found is None and not (study.planned_for(dataset) and applies(dataset, name, without)):
                continue
            left_out = found.left_out if found else left_out_of(ledger, dataset, name, version or Subject(dataset, "", 0, 0))
            said += [f"{dataset}, {name}: {what}." for what in left_out]
            if found is None and apart(dataset):
                continue
            if not (found or datasets or records or left_out):
                later.setdefault(dataset, []).append(name)
                continue
            done, seeds = (found.selection.trials, found.selection.seeds) if found else (0, 0)
            missing = found.missing if found else planned[name]
            ahead = [arm for arm in study.own if found is None or arm in found.selection.ahead]
            rows.append({"dataset": dataset, "study": name, "arms": len(study.own) - len(ahead), "of": len(study.own), "search": done,
                         "trials": plan.trials, "done": seeds, "seeds": plan.seeds, "missing": missing})  # fmt: skip
    alike: dict[tuple[str, ...], list[str]] = {}
    for dataset, names in later.items():
        alike.setdefault(tuple(names), []).append(dataset)
    for studies, some in alike.items():
        number = f"{sum(planned[name] for name in studies):,} trainings{' each' * (len(some) > 1)}"
        said.append(f"Not begun of {', '.join(some)}: {', '.join(studies)}; {number}.")
    if none:
        said.append(f"Nothing that is planned is recorded of {', '.join(none)}.")
    together = not datasets and len({row["dataset"] for row in rows if _generated(row["dataset"])}) > 1
    if together:
        said.append(f"Generated populations are counted together; each has a folder {ledger.root}/synthetic_... with its name.")
    if none or alike or together:
        said.append(f"`mixlib status --dataset NAME{reports.in_ledger(str(ledger.root))}` shows what is planned of one.")
    return _as_read(rows, together), said


def _generated(dataset: str) -> bool:
    """Whether a data set is one of the generated populations, which have names made of their parameters."""
    return dataset.startswith("synthetic_") and "copies=" not in dataset


def _as_read(rows: list[dict], together: bool) -> pd.DataFrame:
    """Rows of numbers as a reader sees them; together: generated populations in one row for each study."""
    if not rows:
        return pd.DataFrame()
    every = pd.DataFrame(rows)
    where = every["dataset"].where(~(together & every["dataset"].map(_generated)), "generated populations")
    parts = every.groupby([where, "study"], sort=False)

    def done(column: str, of: str) -> pd.Series:
        few, most, planned = parts[column].min(), parts[column].max(), parts[of].first()
        counts = few.astype(str).where(few == most, few.astype(str) + " to " + most.astype(str))
        return counts + " of " + planned.astype(str)

    shown = {"number": parts.size(), "arms": done("arms", "of"), "search": done("search", "trials"), "seeds": done("done", "seeds")}
    counted = pd.DataFrame(shown | {"missing": parts["missing"].sum()}).reset_index()
    number = counted.pop("number").astype(str) + " "
    return counted.assign(dataset=number.where(counted["dataset"] == "generated populations", "") + counted["dataset"])
