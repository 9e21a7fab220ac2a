"""Tables from ledger records: what an arm reached, with intervals, beside what was published."""

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from mixlib import experiments
from mixlib.datasets import Interactions
from mixlib.evaluation import Comparison, compare, interval
from mixlib.ledger import Ledger, code_version
from mixlib.names import choose
from mixlib.studies import PROFILES, STUDIES, Selection, Study, Subject, records_of, select, study_for

LABELS = {
    "lstm": "LSTM",
    "mixture_lstm": "Mixture-LSTM",
    "factorization": "Factorization",
    "projection_mixture": "Projection mixture",
    "embedding_mixture": "Embedding mixture",
}
REFERENCE_LABELS = {"popularity": "Popularity", "markov": "Item-to-item Markov", "item_knn": "ItemKNN", "ease": "EASE",
                    "als": "Implicit ALS"}  # fmt: skip
TITLES = {"movielens-10m": "Movielens 10M", "amazon": "Amazon", "goodbooks-10k": "Goodbooks-10K",
          "movielens-100k": "Movielens 100K", "movielens-1m": "Movielens 1M", "amazon-beauty": "Amazon beauty", "amazon-cds": "Amazon CDs",
          "amazon-apps": "Amazon apps", "goodbooks-v1": "Goodbooks, first release"}  # fmt: skip
UNORDERED = ("goodbooks-v1",)  # no times, and no order in the file: nothing for a sequence model
LOSS_LABELS = {"bpr": "BPR as printed", "log_bpr": "log-BPR", "adaptive_hinge": "adaptive hinge", "hardest": "hardest of 5"}
METRIC_LABELS = {"mrr_over_users": "MRR over users", "first_hit_mrr": "first-hit MRR", "recall_at_10": "Recall@10", "ndcg_at_10": "NDCG@10"}
MAIN = ("sequences", "factorization")  # the studies of Table 1
PUBLISHED = tomllib.loads((Path(__file__).parent / "published.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an arm reached on test, averaged over seeds: values (n,) per user or window, whose they are (n,), and the records used.

    Where every seed has a split of its own, the values of all seeds follow each other instead: a user may be in several test parts.
    """

    arm: str
    values: np.ndarray
    users: np.ndarray
    by_seed: np.ndarray
    records: list[dict]
    search: dict

    @property
    def mrr(self) -> float:
        """The paper's MRR: mean over windows, or over users."""
        return float(self.values.mean())

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """95 % bootstrap interval of the MRR, resampling users."""
        return interval(self.values, self.users)

    def metric(self, name: str) -> float:
        """Mean over seeds of another test metric of the records."""
        return float(np.mean([record["test"][name] for record in self.records]))


@dataclass(frozen=True, eq=False)
class Results:
    """A study's selection and the outcome of every arm; no outcomes while seeds are missing. left_out: what was not used, and why."""

    selection: Selection
    outcomes: dict[str, Outcome]
    left_out: tuple[str, ...] = ()

    @property
    def budget(self) -> str:
        """One sentence: what was done of what was planned."""
        planned, seeds = self.selection.planned, min((len(o.records) for o in self.outcomes.values()), default=0)
        done = f"{self.selection.trials} of {planned.trials} search trials for each arm, {seeds} of {planned.seeds} seeds for each winner."
        return done + (f" Not begun: {'; '.join(map(label, ahead))}." if (ahead := self.selection.ahead) else "")

    def against(self, arm: str, baseline: str) -> Comparison:
        """Paired comparison of two arms over the same users."""
        return paired(self.outcomes[arm], self.outcomes[baseline])


@lru_cache(maxsize=4096)  # several tables and figures show the same difference
def paired(ours: Outcome, theirs: Outcome) -> Comparison:
    """Paired comparison of two outcomes. Raises ValueError when they are not of the same users or windows."""
    if not np.array_equal(ours.users, theirs.users):
        raise ValueError(f"{ours.arm} and {theirs.arm} were tested on different users, so that they cannot be compared in pairs.")
    return compare(ours.values, theirs.values, ours.users)


def study(
    name: str, interactions: Interactions, profile: str = "paper", ledger: str | Path | Ledger = "results", arms: Iterable[str] = (),
    **budget,
) -> Results:  # fmt: skip
    """Results of a study on a data set: computed in place (`demo`), or what the ledger holds (`paper`).

    arms: only these, all if none is named. budget: fields of the profile's Budget to replace, such as trials=1.
    Raises ValueError on unknown names.
    """
    plan = study_for(name, interactions).only(arms)
    planned = replace(PROFILES[choose("profile", profile, PROFILES)].of(plan), **budget)
    if profile == "demo":
        selection, arrays = experiments.compute(name, interactions, planned, arms)
        return _results(selection, lambda record: arrays[record["key"]])
    ledger = ledger if isinstance(ledger, Ledger) else Ledger(ledger)
    subject, records = Subject.of(interactions), records_of(plan, ledger, interactions.name)
    ours = subject if plan.family == "sequences" else replace(subject, max_length=0, min_length=0)
    found = _results(select(plan, records, subject, planned), ledger.arrays)
    return replace(found, left_out=_left_out(ledger, interactions.name, name, ours))


def recorded(ledger: Ledger, dataset: str, name: str) -> Results | None:
    """Results of a study from its records alone, without the data; None if there are none.

    Where records of several versions of the data lie together, the version with the most of them counts, the same one for all studies.
    """
    every = [Subject.of_record(record) for study in STUDIES for record in ledger.read(dataset, study).values()]
    version = max(sorted({s.fingerprint for s in every}), key=[s.fingerprint for s in every].count, default=None)
    records = ledger.read(dataset, name)
    counted = Counter(subject for subject in map(Subject.of_record, records.values()) if subject.fingerprint == version)
    if not counted:
        return None
    ours, study = max(sorted(counted, key=str), key=counted.__getitem__), STUDIES[name]
    found = _results(select(study, records_of(study, ledger, dataset), ours, PROFILES["paper"].of(study)), ledger.arrays)
    return replace(found, left_out=_left_out(ledger, dataset, name, ours))


def _left_out(ledger: Ledger, dataset: str, name: str, ours: Subject) -> tuple[str, ...]:
    """One clause for each damaged record of a study, and for each version of the data other than ours that it has records of."""
    others = Counter(str(Subject.of_record(record)) for record in ledger.read(dataset, name).values() if Subject.of_record(record) != ours)
    return (
        *(f"the record {path.name} is damaged, {why}" for path, why in ledger.damaged(dataset, name).items()),
        *(f"{number} records are of another version of the data, {version}" for version, number in sorted(others.items())),
    )


def _results(selection: Selection, arrays: Callable[[dict], dict[str, np.ndarray]]) -> Results:
    outcomes = {}
    for arm, finalists in selection.finalists.items() if selection.seeds else ():
        if arm not in selection.winners:  # all its trials failed
            continue
        seeds = [arrays(record) for record in finalists]
        values = [seed["reciprocal_ranks"] for seed in seeds]
        users, by_seed = [seed["users"] for seed in seeds], np.array([some.mean() for some in values])
        apart = selection.study.winners_of is not None  # every seed has a test part of its own
        reached, whose = (np.concatenate(values), np.concatenate(users)) if apart else (np.mean(values, axis=0), users[0])
        outcomes[arm] = Outcome(arm, reached, whose, by_seed, finalists, selection.winners[arm])
    return Results(selection, outcomes)


def applies(dataset: str, study: str) -> bool:
    """Whether a study makes sense for a data set: sequences need an order in time."""
    return STUDIES[study].family == "factorization" or dataset not in UNORDERED


def label(arm: str) -> str:
    """An arm's name as a reader says it: `mixture_lstm/4` is `Mixture-LSTM, 4`."""
    kind, _, rest = arm.partition("/")
    return (LABELS | REFERENCE_LABELS)[kind] + (f", {LOSS_LABELS.get(rest, rest)}" if rest else "")


def title(dataset: str) -> str:
    """A data set's name as a reader says it."""
    return TITLES.get(dataset, dataset.replace("-", " ").capitalize())


def with_interval(mean: float, bounds: tuple[float, float], sign: bool = False) -> str:
    """`0.071 [0.058, 0.085]`: a mean with its 95 % interval, with signs if it is a difference."""
    form = "+.3f" if sign else ".3f"
    return f"{mean:{form}} [{bounds[0]:{form}}, {bounds[1]:{form}}]"


def _p_value(gap: Comparison) -> str:
    return f"{gap.p_value:.3f}" if gap.p_value >= 0.001 else "< 0.001"


def arms(results: Results, baseline: str | None = None) -> pd.DataFrame:
    """One row for each arm: test MRR with its interval, spread over seeds, and the paired difference to the baseline arm, if named."""
    rows = []
    for arm, outcome in results.outcomes.items():
        row = {"model": label(arm), "test MRR [95 %]": with_interval(outcome.mrr, outcome.bounds)}
        row["sd over seeds"] = f"{outcome.by_seed.std(ddof=1):.3f}" if len(outcome.by_seed) > 1 else ""
        row["validation MRR"] = f"{outcome.search['validation']['mrr']:.3f}"
        if baseline:
            gap = None if arm == baseline else results.against(arm, baseline)
            row["difference [95 %]"] = with_interval(gap.difference, (gap.low, gap.high), sign=True) if gap else ""
            row["Wilcoxon p"] = _p_value(gap) if gap else ""
        rows.append(row | {"best epoch": outcome.search["best_epoch"], "parameters": f"{outcome.search['parameters']:,}"})
    return pd.DataFrame(rows)


def other_metrics(results: Results) -> pd.DataFrame:
    """The other ranking metrics of every arm, means over seeds, under their own names."""
    rows = []
    for arm, outcome in results.outcomes.items():
        others = {METRIC_LABELS.get(name, name): f"{outcome.metric(name):.3f}" for name in outcome.records[0]["test"] if name != "mrr"}
        rows.append({"model": label(arm), "MRR": f"{outcome.mrr:.3f}"} | others)
    return pd.DataFrame(rows)


def winners(results: Results) -> pd.DataFrame:
    """The settings that won every arm's search."""
    rows = []
    for arm, record in results.selection.winners.items():
        model, fitted = record["definition"]["model"], record["definition"]["training"]
        rows.append({"model": label(arm), "batch size": fitted["batch_size"], "learning rate": f"{fitted['learning_rate']:.5f}",
                     "L2": f"{fitted['l2']:.1e}", "tastes": model.get("components", 1), "record": record["key"]})  # fmt: skip
    return pd.DataFrame(rows)


def gaps(results: Results, dataset: str) -> str:
    """The budget in a sentence, what is missing with the command that runs it, and what was left out."""
    selection, left_out = results.selection, "".join(f" Left out: {what}." for what in results.left_out)
    if not selection.trials:
        return f"Nothing is recorded yet: `mixlib run --dataset {dataset} --study {selection.study.name}` runs it.{left_out}"
    said = f"Budget: {results.budget}"
    if selection.missing:
        command = f"mixlib run --dataset {dataset} --study {selection.study.name}"
        said += f" {len(selection.missing)} or more planned trials are missing: `{command}` goes on."
    return said + left_out


def losses(results: Results) -> pd.DataFrame:
    """One row for each model and loss: test MRR, and what the adaptive hinge loss gains over that loss with the same model."""
    rows = []
    for arm, outcome in results.outcomes.items():
        kind, _, loss = arm.partition("/")
        reference = f"{kind}/adaptive_hinge"
        gap = None if arm == reference else results.against(reference, arm)
        gain = with_interval(gap.difference, (gap.low, gap.high), sign=True) if gap else ""
        spread = f"{outcome.by_seed.std(ddof=1):.3f}" if len(outcome.by_seed) > 1 else ""
        rows.append({"model": LABELS[kind], "loss": LOSS_LABELS.get(loss, loss), "sd over seeds": spread,
                     "test MRR [95 %]": with_interval(outcome.mrr, outcome.bounds), "adaptive hinge minus this [95 %]": gain})  # fmt: skip
    return pd.DataFrame(rows)


def loss_verdicts(results: Results) -> list[str]:
    """For each model and each form of BPR, whether the adaptive hinge loss beats it."""
    pairs = [(kind, form) for kind in dict.fromkeys(arm.partition("/")[0] for arm in results.outcomes) for form in ("bpr", "log_bpr")]
    return [_sentence(f"{LABELS[kind]}: the adaptive hinge loss", results.against(f"{kind}/adaptive_hinge", f"{kind}/{form}"),
                      LOSS_LABELS[form]) for kind, form in pairs]  # fmt: skip


def verdicts(results: Results, where: str = "") -> list[str]:
    """What each mixture gains over the single vector of its family, one sentence each; says so when there are no records."""
    if not results.outcomes:
        return ["No records yet: nothing can be said."]
    baseline, *mixtures = results.outcomes
    return [_sentence(f"{label(arm)}{f' {where}' if where else ''}", results.against(arm, baseline), label(baseline)) for arm in mixtures]


def _sentence(who: str, gap: Comparison, other: str) -> str:
    what = (
        "better beyond the interval"
        if gap.low > 0
        else "worse beyond the interval"
        if gap.high < 0
        else "the interval holds 0, so undecided"
    )
    return f"{who} against {other}: {with_interval(gap.difference, (gap.low, gap.high), sign=True)} in test MRR, {what}."


def largest_variant(found: Iterable[Results]) -> str:
    """The variant whose MRR lies farthest from the first arm with the same model, in one sentence."""
    moves = []
    for results in found:
        for arm, outcome in results.outcomes.items():
            base = next(o for name, o in results.outcomes.items() if name.partition("/")[0] == arm.partition("/")[0])
            moves.append((abs(outcome.mrr - base.mrr), outcome, base))
    if not moves:
        return "No variant is recorded here yet."
    _, outcome, base = max(moves, key=lambda move: move[0])
    reached = f"{label(outcome.arm)} reaches {with_interval(outcome.mrr, outcome.bounds)}"
    return f"{reached}, {label(base.arm)} {with_interval(base.mrr, base.bounds)} test MRR."


def stacked(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables below each other, without gaps."""
    return pd.concat(tables, ignore_index=True).astype(object).fillna("") if tables else pd.DataFrame({"": ["nothing is recorded yet"]})


def numbers(results: dict[tuple[str, str], Results]) -> dict[str, str | int]:
    """The numbers that stand in the book's text, by the names under which they are glued."""
    found: dict[str, str | int] = {}
    for dataset in ("movielens-100k", "movielens-1m"):
        for name, short in (("sequences", "sequence_gain"), ("factorization", "factorization_gain")):
            result = results.get((dataset, name))
            gap = None
            if result and result.outcomes:
                baseline, *mixtures = result.outcomes
                gap = result.against(max(mixtures, key=lambda arm: result.outcomes[arm].search["validation"]["mrr"]), baseline)
            said = with_interval(gap.difference, (gap.low, gap.high), sign=True) if gap else "(not run yet)"
            found[f"{short}_{dataset.replace('-', '_')}"] = said
    done = {dataset for dataset, _ in results if all((dataset, name) in results and results[dataset, name].outcomes for name in MAIN)}
    return found | {"data_sets_done": len(done)}


def all_results(ledger: Ledger) -> dict[tuple[str, str], Results]:
    """Results of the two main studies on every data set that has records of them, by (data set, study); not the cells of the factorial."""
    names = [dataset for dataset in ledger.datasets() if not dataset.startswith("synthetic_")]
    found = {(dataset, name): recorded(ledger, dataset, name) for dataset in names for name in MAIN}
    return {key: results for key, results in found.items() if results}


def table1(results: dict[tuple[str, str], Results]) -> pd.DataFrame:
    """Table 1: models as rows, ours and published; data sets as columns, those with records first. Bold: better than all others of its
    family beyond the 95 % interval of the paired difference.
    """
    columns = list(dict.fromkeys([*(dataset for dataset, _ in results), *PUBLISHED["paper"]["mrr"]]))
    rows = []
    for name in MAIN:
        for arm in STUDIES[name].arms:
            ours = {title(d): _cell(results.get((d, name)), arm) if applies(d, name) else "no order" for d in columns}
            printed = {title(d): _published(d, arm) for d in columns}
            rows += [{"model": label(arm), "source": "this book"} | ours, {"model": "", "source": "2018"} | printed]
        spent = {title(d): _spent(results.get((d, name))) for d in columns}
        rows.append({"model": f"budget, {name}", "source": "trials, seeds"} | spent)
    return pd.DataFrame(rows)


def _spent(results: Results | None) -> str:
    if results is None or not results.outcomes:
        return "none"
    seeds, planned = min(len(outcome.records) for outcome in results.outcomes.values()), results.selection.planned
    return f"{results.selection.trials} of {planned.trials}, {seeds} of {planned.seeds}"


def _cell(results: Results | None, arm: str) -> str:
    if results is None or not results.outcomes:
        return "not run yet"
    outcome = results.outcomes[arm]
    said = with_interval(outcome.mrr, outcome.bounds)
    others = [results.against(arm, other) for other in results.outcomes if other != arm]
    return f"**{said}**" if all(gap.low > 0 for gap in others) else said


def _published(dataset: str, arm: str) -> str:
    for source, mark in (("paper", ""), ("archive", " (archive)")):
        value = PUBLISHED[source]["mrr"].get(dataset, {}).get(arm)
        if value is not None:
            return f"{value:.4f}{mark}"
    return "none"


def gains(results: dict[tuple[str, str], Results]) -> pd.DataFrame:
    """What each mixture gains over the single vector of its family: paired differences of test MRR, with the budget behind them."""
    rows = []
    for (dataset, name), found in results.items():
        baseline, *mixtures = STUDIES[name].arms
        for arm in mixtures if found.outcomes else ():
            gap = found.against(arm, baseline)
            rows.append({"data set": title(dataset), "mixture": label(arm), "against": label(baseline),
                         "gain in test MRR [95 %]": with_interval(gap.difference, (gap.low, gap.high), sign=True),
                         "relative": f"{gap.difference / found.outcomes[baseline].mrr:+.0%}", "Wilcoxon p": _p_value(gap),
                         "trials": f"{found.selection.trials} of {found.selection.planned.trials}",
                         "seeds": f"{len(found.outcomes[arm].records)} of {found.selection.planned.seeds}"})  # fmt: skip
    return pd.DataFrame(rows)


def sources(results: dict[tuple[str, str], Results]) -> pd.DataFrame:
    """Where every cell of Table 1 comes from: the winner's record and its retrained ones, as file names below results/."""
    rows = []
    for (dataset, name), found in results.items():
        for arm, outcome in found.outcomes.items():
            rows.append({"data set": title(dataset), "model": label(arm), "folder": f"results/{dataset}/{name}/",
                         "winner of the search": f"{outcome.search['key']}.json",
                         "seeds": " ".join(f"{record['key']}.json" for record in outcome.records),
                         "device": outcome.records[0]["device"], "code": outcome.records[0]["code"]})  # fmt: skip
    return pd.DataFrame(rows)


def status(ledger: Ledger, datasets: list[str] | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Planned against done for every study of the given data sets (default: those with records and those that the book names).

    The column `other code` counts records that another version of mixlib's computing rooms wrote. Beside the table, sentences that
    name what is left out of it.
    """
    rows, said = [], []
    for dataset in datasets or sorted({*ledger.datasets(), *TITLES}):
        for name, study in STUDIES.items():
            found, records, plan = recorded(ledger, dataset, name), ledger.read(dataset, name), PROFILES["paper"].of(study)
            if found is None and (study.only_for not in (None, dataset) or not applies(dataset, name)):
                continue
            left_out = found.left_out if found else _left_out(ledger, dataset, name, Subject(dataset, "", 0, 0))
            said += [f"{dataset}, {name}: {what}." for what in left_out]
            if found is None and dataset.startswith("synthetic_"):
                continue
            done, seeds = (found.selection.trials, found.selection.seeds) if found else (0, 0)
            begun = len(study.arms) - len(found.selection.ahead) if found else 0
            rows.append({"dataset": dataset, "study": name, "arms": f"{begun} of {len(study.arms)}", "search": f"{done} of {plan.trials}",
                         "seeds": f"{seeds} of {plan.seeds}", "missing": _count_missing(found, study),
                         "other code": sum(record["code"] != code_version() for record in records.values())})  # fmt: skip
    return pd.DataFrame(rows), said


def _count_missing(found: Results | None, study: Study) -> int:
    plan = PROFILES["paper"].of(study)
    each = plan.seeds + (0 if study.winners_of else plan.trials)
    return len(study.arms) * each if found is None else len(found.selection.missing)
