"""Tables and sentences from the outcomes of a study, beside what was published."""

import shlex
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mixlib.evidence import AHEAD, BEHIND, ONE_SEED, UNDECIDED, Evidence, Share, share_of
from mixlib.labels import LOSS_LABELS, METRIC_LABELS, PUBLISHED, applies, label, title, with_interval
from mixlib.outcomes import FEW, MAIN, SHORT, Found, Outcome, Results
from mixlib.studies import STUDIES

NOTHING = "No records yet: nothing can be said."
FAILED, NOT_RUN = "failed in all trials", "not run yet"
OVER_SEEDS = "users and seeds"
SCALE = "initial scale"  # Xavier's gain, which this book does not call gain: that is what a mixture adds to the MRR
SIZE, MIXTURE = "factorization-size", "embedding_mixture"  # the study of size, and the mixture that it is about
FORMS = ("bpr", "log_bpr", "bpr of 5", "log_bpr of 5")  # of BPR: as they are used, and with as many negatives as the adaptive hinge
WIDE, HALF = "factorization/as large as the mixture", "factorization/half as large"  # its single vectors
SIDES = {AHEAD: "ahead, decided", BEHIND: "behind, decided", UNDECIDED: "undecided", ONE_SEED: ONE_SEED}


def holm(p_values: Iterable[float]) -> np.ndarray:
    """p-values (n,) adjusted for a family of n tests, in the given order. Source: Holm (1979)."""
    given = np.asarray(list(p_values), float)
    order = given.argsort()
    adjusted = np.empty_like(given)
    adjusted[order] = np.maximum.accumulate(given[order] * (len(given) - np.arange(len(given)))).clip(max=1)
    return adjusted


def p_value(p: float) -> str:
    """A p-value with three decimals, or that it is smaller."""
    return f"{p:.3f}" if p >= 0.001 else "<\u00a00.001"  # one word, so that no line breaks in it


def arms(results: Results, baseline: str | None = None) -> pd.DataFrame:
    """One row for each arm: test MRR with its interval, spread over seeds, and the paired difference to the baseline arm, if named."""
    rows = []
    for arm, outcome in results.outcomes.items():
        row = {"model": label(arm), "test MRR [95%]": with_interval(outcome.mrr, outcome.bounds)}
        row["sd over seeds"] = outcome.spread
        row["validation MRR"] = f"{outcome.search['validation']['mrr']:.3f}"
        if baseline:
            found = Evidence.of(results, arm, baseline) if arm != baseline and baseline in results.outcomes else None
            row |= difference("difference [95%]", found)
            row["Wilcoxon p"] = p_value(found.gap.p_value) if found else ""
        rows.append(row | {"best epoch": outcome.search["best_epoch"], "parameters": f"{outcome.search['parameters']:,}"})
    return pd.DataFrame(rows)


def difference(head: str, found: Evidence | None, absent: str = "") -> dict[str, str]:
    """The two cells of a difference, below `head` with its interval over users and that for other seeds, too; absent: without evidence."""
    return {head: found.over_users if found else absent, OVER_SEEDS: found.over_seeds if found else ""}


def points(results: Results) -> pd.DataFrame:
    """Test MRR of every arm with its interval over users, in numbers: what `figures.outcomes` and `figures.components` draw."""
    rows = [(label(arm), outcome.mrr, *outcome.bounds) for arm, outcome in results.outcomes.items()]
    return pd.DataFrame(rows, columns=["model", "test MRR", "low", "high"])


def other_metrics(results: Results) -> pd.DataFrame:
    """The other ranking metrics of every arm, means over seeds, under their own names."""
    rows = []
    for arm, outcome in results.outcomes.items():
        there = outcome.records[0]["test"]
        others = {said: f"{outcome.metric(name):.3f}" for name, said in METRIC_LABELS.items() if name in there}
        rows.append({"model": label(arm), "MRR": f"{outcome.mrr:.3f}"} | others)
    return pd.DataFrame(rows)


def winners(results: Results) -> pd.DataFrame:
    """The settings that won every arm's search; a column for the initial scale of the projections where a model has any."""
    return with_scale(winner_rows(results))


def with_scale(rows: list[dict]) -> pd.DataFrame:
    """Rows of settings as a table, with a column for the initial scale where any has one."""
    table = listed(rows)
    return table if any(row[SCALE] for row in rows) else table.drop(columns=SCALE, errors="ignore")


def winner_rows(results: Results) -> list[dict]:
    """The settings that won every arm's search, a row for each."""
    return [{"model": label(arm)} | drawn(record["definition"]) | {"record": record["key"]}
            for arm, record in results.selection.winners.items()]  # fmt: skip


def drawn(definition: dict) -> dict:
    """The settings of a trial that a search draws, as a reader sees them, by their names; one taste, and no scale, where none is drawn."""
    model, fitted = definition["model"], definition["training"]
    return {"batch size": fitted["batch_size"], "learning rate": f"{fitted['learning_rate']:.5f}", "L2": f"{fitted['l2']:.1e}",
            "tastes": model.get("components", 1), SCALE: f"{model['gain']:.3g}" if "gain" in model else ""}  # fmt: skip


def in_ledger(folder: str) -> str:
    """What a command adds to work on the ledger in a folder; nothing for the project's own."""
    return "" if folder == "results" else f" --results {shlex.quote(folder)}"


def budgets(ours: Results, theirs: Results) -> str:
    """What is done of two studies that are compared; nothing where all that was planned is."""
    both = (ours, theirs)
    return "" if all(one.done for one in both) else " against ".join(f"{one.trials_done} trials, {one.seeds_done} seeds" for one in both)


def gaps(results: Results, dataset: str, folder: str = "results") -> str:
    """The budget in a sentence, what is missing with the command that runs it, and what was left out. folder: of the ledger."""
    selection, left_out = results.selection, "".join(f" Left out: {what}." for what in results.left_out)
    ledger = in_ledger(folder.removeprefix("../"))  # a notebook's folder is one below that of the commands
    command = f"mixlib run --dataset {shlex.quote(dataset)} --study {selection.study.name}{ledger}"
    if not selection.trials:
        return f"Nothing is recorded yet: `{command}` runs it.{left_out}"
    missing = f" {results.missing} planned trials are missing: `{command}` goes on." if results.missing else ""
    return f"Budget: {results.budget}{missing}{left_out}"


def losses(results: Results) -> pd.DataFrame:
    """One row for each model and loss: test MRR, and what the adaptive hinge loss gains over that loss with the same model."""
    rows = []
    for arm, outcome in results.outcomes.items():
        kind, _, loss = arm.partition("/")
        reference = f"{kind}/adaptive_hinge"
        found = Evidence.of(results, reference, arm) if arm != reference and reference in results.outcomes else None
        gain = difference("adaptive hinge minus this [95%]", found)
        rows.append({"model": label(kind), "loss": LOSS_LABELS.get(loss, loss), "sd over seeds": outcome.spread,
                     "test MRR [95%]": with_interval(outcome.mrr, outcome.bounds)} | gain)  # fmt: skip
    return pd.DataFrame(rows)


def loss_verdicts(results: Results) -> list[str]:
    """For each model and each form of BPR, with one negative and with five, whether the adaptive hinge loss beats it."""
    kinds, said = dict.fromkeys(arm.partition("/")[0] for arm in results.outcomes), []
    for kind, form in ((kind, form) for kind in kinds for form in FORMS):
        ours, theirs = f"{kind}/adaptive_hinge", f"{kind}/{form}"
        if results.has(ours, theirs):
            said.append(sentence(f"{label(kind)}: the adaptive hinge loss", Evidence.of(results, ours, theirs), LOSS_LABELS[form]))
    return said or [NOTHING]


def verdicts(results: Results, where: str = "") -> list[str]:
    """What each mixture gains over the single vector of its family, one sentence each; says so when there are no records."""
    said = [sentence(f"{label(arm)}{f' {where}' if where else ''}", Evidence.of(results, arm, baseline), label(baseline))
            for arm, baseline in results.mixtures]  # fmt: skip
    return said or [NOTHING]


def short_verdicts(results: Results, where: str = "") -> list[str]:
    """Whose seeds reach less than SHORT of what the search's own training with the same settings reached, a sentence for each model; none
    where every seed has a split of its own, which is another test.
    """
    return [] if results.selection.study.splits else [
        f"{label(arm)}{f' {where}' if where else ''}: {short} of {len(one.records)} seeds reach less than {SHORT:.0%} of what the search's "
        f"training with the same settings reached, {one.search['test']['mrr']:.3f} in test MRR: training is not sure to succeed."
        for arm, one in results.outcomes.items() if (short := one.short_of_search)
    ]  # fmt: skip


def sentence(who: str, found: Evidence, other: str) -> str:
    """A paired difference in one sentence: who against which other, by how much, and what that decides."""
    return f"{who} against {other}: {found} in test MRR, {SIDES[found.side]}."


def by_side(found: Iterable[tuple[str, str, str, Evidence]]) -> list[str]:
    """Comparisons, each of a data set, an arm, another and the evidence: a list for each side, ahead first; says so when there are none."""
    sides: dict[str, dict[str, list[str]]] = {side: {} for side in SIDES}
    for dataset, ours, theirs, one in found:
        sides[one.side].setdefault(f"{label(ours)} against {label(theirs)}", []).append(title(dataset))
    said = {side: "; ".join(f"{pair}, on {', '.join(where)}" for pair, where in some.items()) for side, some in sides.items() if some}
    return [f"{SIDES[side].capitalize()}: {pairs}." for side, pairs in said.items()] or [NOTHING]


def largest_variant(found: Iterable[Results]) -> str:
    """The variant whose MRR lies farthest from the first arm with the same model, on the same split, in one sentence. Arms of which most
    seeds fall short of the search are named and left out: that is a failure of training, not an effect of the variant.
    """
    moves, failed = [], []
    for results in found:
        arms, first = results.selection.study.arms, dict[tuple[str, str], Outcome]()  # by model and split
        for arm, outcome in results.outcomes.items():
            if 2 * outcome.short_of_search > len(outcome.by_seed):
                failed.append(f"{label(arm)} ({outcome.short_of_search} of {len(outcome.by_seed)})")
                continue
            base = first.setdefault((arms[arm].kind, str(arms[arm].split)), outcome)
            moves += [(abs(outcome.mrr - base.mrr), arm, base.arm, results)] if base is not outcome else []
    said = f" Left out, since most seeds reach less than {SHORT:.0%} of what the search reached: {', '.join(failed)}."
    if not moves:
        return f"No variant is left to compare.{said}" if failed else "No variant is recorded here yet."
    _, arm, other, results = max(moves, key=lambda move: move[0])
    return sentence(label(arm), Evidence.of(results, arm, other), label(other)) + (said if failed else "")


def variant(results: Results, arm: str) -> str:
    """What an arm of the variants moves, against the first arm with the same model: `from 0.079 to 0.056, a difference of ...`, and what
    that decides; or that it is not recorded, or has test users of its own.
    """
    first = next(name for name in results.arms if name.partition("/")[0] == arm.partition("/")[0])
    if not results.has(arm, first):
        return "not recorded"
    ours, theirs = results.outcomes[arm], results.outcomes[first]
    if not np.array_equal(ours.users, theirs.users):
        return "tested on other users, so that it cannot be compared in pairs"
    found = Evidence.of(results, arm, first)
    return f"from {theirs.mrr:.3f} to {ours.mrr:.3f}, a difference of {found}: {SIDES[found.side]}"


def stacked(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables below each other, without gaps."""
    return (
        pd.concat([table.astype(object) for table in tables], ignore_index=True).fillna("")
        if tables
        else pd.DataFrame({"": ["nothing is recorded yet"]})
    )


def listed(rows: list[dict]) -> pd.DataFrame:
    """Rows as a table; one row that says so where nothing is recorded yet."""
    return stacked([pd.DataFrame(rows)] if rows else [])


def table1(results: Found, unordered: Collection[str]) -> pd.DataFrame:
    """Table 1: models as rows, ours and published; data sets as columns, those with records first. Bold: ahead of all others of its family
    beyond the 95% interval of the paired difference for other users and seeds, after at least FEW search trials.

    unordered: data sets without an order in time.
    """
    columns = list(dict.fromkeys([*(dataset for dataset, _ in results), *PUBLISHED["paper"]["mrr"]]))
    rows = []
    for name in MAIN:
        for arm in STUDIES[name].arms:
            ours = {title(one): _cell(results.get((one, name)), arm) if applies(one, name, unordered) else "no order" for one in columns}
            printed = {title(one): _published(one, arm) for one in columns}
            rows += [{"model": label(arm), "source": "this book"} | ours, {"model": label(arm), "source": "2018"} | printed]
        budgets = {title(one): spent(results.get((one, name))) for one in columns}
        rows.append({"model": f"budget, {name}", "source": "trials, seeds"} | budgets)
    return pd.DataFrame(rows)


def spent(results: Results | None) -> str:
    """`3 of 20, 2 of 5`: search trials and seeds, done of planned."""
    return f"{results.trials_done}, {results.seeds_done}" if results and results.selection.trials else "none"


def absent(results: Results | None, arm: str) -> str:
    """Why there is no outcome of an arm."""
    return FAILED if results and arm in results.selection.finalists and arm not in results.selection.winners else NOT_RUN


def _cell(results: Results | None, arm: str) -> str:
    if results is None or arm not in results.outcomes:
        return absent(results, arm)
    outcome = results.outcomes[arm]
    said = with_interval(outcome.mrr, outcome.bounds)
    others = [Evidence.of(results, arm, other) for other in results.outcomes if other != arm]
    ahead = others and all(one.side == AHEAD for one in others)
    return f"**{said}**" if ahead and results.selection.trials >= FEW else said


def _published(dataset: str, arm: str) -> str:
    for source, mark in (("paper", ""), ("archive", " (archive)")):
        value = PUBLISHED[source]["mrr"].get(dataset, {}).get(arm)
        if value is not None:
            return f"{value:.4f}{mark}"
    return "none"


@dataclass(frozen=True, eq=False)
class Gain:
    """What a mixture gains over the single vector of its family on a data set; share: of that one's MRR; holm: Wilcoxon's p-value,
    corrected; sure: that of the evidence, corrected, None where there is one seed.
    """

    dataset: str
    study: str
    mixture: str
    baseline: str
    share: Share
    evidence: Evidence
    holm: float
    sure: float | None = None


def family(found: Found) -> list[Gain]:
    """What every mixture gains in the main studies: one family of tests, whose p-values of each kind are corrected together."""
    compared = [(dataset, name, *pair, share_of(results, *pair), Evidence.of(results, *pair))
                for (dataset, name), results in found.items() if name in MAIN for pair in results.mixtures]  # fmt: skip
    wide = iter(holm(one[-1].p for one in compared if one[-1].p is not None))
    return [Gain(*one, p, None if one[-1].p is None else float(next(wide)))
            for one, p in zip(compared, holm(one[-1].gap.p_value for one in compared), strict=True)]  # fmt: skip


def gains(results: Found) -> pd.DataFrame:
    """What each mixture gains over the single vector of its family: paired differences of test MRR, with the budget behind them.

    users and seeds: `outcomes.estimate`, where there are several. Holm: p-values corrected for all rows together, of that difference and
    of Wilcoxon's test. The sign of the rank-biserial correlation says whether typical users gain.
    """
    rows = []
    for gain in family(results):
        one, budget = gain.evidence, results[gain.dataset, gain.study]
        rows.append({"data set": title(gain.dataset), "mixture": label(gain.mixture), "against": label(gain.baseline),
                     "gain in test MRR [95%]": one.over_users, OVER_SEEDS: one.over_seeds,
                     "p of users and seeds, Holm": "" if gain.sure is None else p_value(gain.sure),
                     "relative, users and seeds": f"{gain.share.gain:+z.0%}" if one.wide is None else str(gain.share),
                     "rank-biserial": f"{one.gap.rank_biserial:+.2f}", "Wilcoxon p, Holm": p_value(gain.holm),
                     "trials": budget.trials_done, "seeds": budget.seeds_done})  # fmt: skip
    return listed(rows)


def sources(results: Found) -> pd.DataFrame:
    """Where every cell of Table 1 comes from: the winner's record and its retrained ones, as file names below results/."""
    rows = []
    for (dataset, name), found in results.items():
        for arm, outcome in found.outcomes.items():
            rows.append({"data set": title(dataset), "model": label(arm), "folder": f"results/{dataset}/{name}/",
                         "winner of the search": f"{outcome.search['key']}.json",
                         "seeds": " ".join(f"{record['key']}.json" for record in outcome.records),
                         **{what: ", ".join(dict.fromkeys(record[what] for record in (outcome.search, *outcome.records)))
                            for what in ("device", "code")}})  # fmt: skip
    return listed(rows)
