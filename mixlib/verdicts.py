"""The claims of the 2018 text, one by one: what it said, what the records say, and a verdict that follows from their intervals."""

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from mixlib import gains, pooling, reports, tables
from mixlib.evidence import AHEAD, BEHIND, ONE_SEED, Evidence
from mixlib.labels import LABELS, LOSS_LABELS, PUBLISHED, label, title
from mixlib.outcomes import FEW, MAIN, Found, best
from mixlib.studies import STUDIES

HERE = "found here, test MRR [95%]"
AGAIN = {"sequence-splits": "other splits", "factorization-splits": "other splits", "sequence-seeds": "more seeds alone",
         "sequence-patience": "no early stopping"}  # fmt: skip
SOMEWHERE, ALWAYS, CONTROL = "a claim", "a claim of every case", "a control"  # what a row weighs
Gaps = dict[str, Evidence | str]  # what is compared, in words -> what was found, or that there is nothing to compare


def verdict(sides: Iterable[str], kind: str = SOMEWHERE) -> str:
    """One clause from what paired differences decide, `Evidence.side` each; those of one seed are counted apart.

    kind: a single loss contradicts what is claimed ALWAYS; a CONTROL was claimed by nobody, so that there is nothing to reproduce, and
    sides are counted alone.
    """
    sides = list(sides)
    judged = [side for side in sides if side != ONE_SEED]
    better, worse, n, others = judged.count(AHEAD), judged.count(BEHIND), len(judged), len(sides) - len(judged)
    counts = f"better in {better} of {n}, worse in {worse}, undecided in {n - better - worse}"
    if not sides:
        return reports.NOT_RUN
    if not judged:
        return "not judged, one seed each"
    if kind == CONTROL:
        said = f"ahead in {better} of {n}, behind in {worse}, undecided in {n - better - worse}"
    elif n in (better, worse):
        said = f"{'reproduced here' if better else 'the opposite holds here'}, in {n} of {n}"
    elif not better and not worse:
        said = f"undecided here, {n} of {n} intervals contain 0"
    elif worse and kind == ALWAYS:
        said = f"contradicted, {counts}"
    else:
        said = f"{'mixed' if better and worse else 'in part' if better else 'not reproduced here'}, {counts}"
    return said + (f" ({others} of one seed, not judged)" if others else "")


def weighed(gaps: Iterable[Evidence], kind: str = SOMEWHERE) -> str:
    """The verdict, apart for what had its whole budget; `provisional` where nothing had. What rests on few trials is counted."""
    gaps = list(gaps)
    hint = _on_few(one for one in gaps if one.side != ONE_SEED)
    whole = [evidence.side for evidence in gaps if not evidence.budget]
    every = verdict([evidence.side for evidence in gaps], kind)
    if len(whole) == len(gaps):
        return every
    if not whole:
        return f"Provisional: {every}{hint}."
    finished = verdict(whole, kind)
    return f"At full budget: {finished}. With unfinished studies: {'the same' if finished == every else every}{hint}."


def _on_few(gaps: Iterable[Evidence]) -> str:
    """How many of some differences rest on few trials, in brackets; empty where none does."""
    few = sum(one.few for one in gaps)
    return f" ({few} on fewer than {FEW} trials)" if few else ""


def correlation_verdict(found: pd.DataFrame) -> str:
    """One clause on the claim that gains fall as popularity is more skewed, from `gains.skew_correlations`, at the level 0.05 (Holm)."""
    if found.empty:
        return reports.NOT_RUN
    counted = found[found["datasets"] >= gains.ENOUGH]
    if counted.empty:
        return f"undecided: fewer than {gains.ENOUGH} data sets"
    sure = counted[reports.holm(counted["p"]) < 0.05]
    if sure.empty:
        return "undecided here"
    if len(sure) == len(counted) and (sure["rho"] < 0).all():
        return "reproduced here"
    return "the opposite holds here" if (sure["rho"] > 0).all() and len(sure) == len(counted) else "only in part"


def claims(found: Found, ratios: dict[str, float]) -> pd.DataFrame:
    """One row for each claim of the text of 2018, and one for each control: what it printed, what was found here, the verdict, and the page
    with the evidence.

    ratios: the 95th/50th popularity ratio of data sets by name.
    """
    rows = []
    for study, baseline, mixture in (
        ("sequences", "lstm", "mixture_lstm"),
        ("factorization", "factorization", "projection_mixture"),
        ("factorization", "factorization", "embedding_mixture"),
    ):
        printed = _list(f"{title(dataset)} {mrr[mixture] - mrr[baseline]:+.3f}" for dataset, mrr in PUBLISHED["paper"]["mrr"].items())
        gaps, again = _gaps(found, study, [(mixture, baseline)]), Gaps()
        for other, what in AGAIN.items():
            again |= {f"{who}, {what}": gap for who, gap in _gaps(found, other, [(mixture, baseline)]).items()}
        again |= _together(found, study, mixture, baseline)
        evidence = "{numref}`tab-gains`, {numref}`tab-together`, {numref}`tab-splits`"
        evidence += ", {numref}`tab-more-seeds`, {numref}`tab-patience`, {numref}`tab-copies`" if study == "sequences" else ""
        claim, kind = f"{LABELS[mixture]} gains over {label(baseline)}.", SOMEWHERE
        if mixture == "projection_mixture":  # the text itself says that it does not
            said = "the text: it fails to outperform it on two of three data sets"
            claim, kind = f"A control, not a claim: {LABELS[mixture]} against {label(baseline)} ({said}).", CONTROL
        rows.append(_row(claim, printed, gaps, evidence, kind, again))
    for control, size in ((reports.WIDE, "as large as"), (reports.HALF, "half as large as")):
        gaps = _gaps(found, reports.SIZE, [(reports.MIXTURE, control)])
        claim = f"A control, not a claim: {LABELS[reports.MIXTURE]} against a single vector that is {size} the mixtures of its search."
        again = _together(found, reports.SIZE, reports.MIXTURE, control)
        rows.append(_row(claim, "not compared", gaps, "{numref}`tab-capacity`, {numref}`fig-size`, {numref}`tab-together`", CONTROL, again))
    for form in reports.FORMS:
        gaps = {}
        for study, kinds in (
            ("sequence-losses", ("lstm", "mixture_lstm")),
            ("factorization-losses", ("factorization", "embedding_mixture")),
        ):
            gaps |= _gaps(found, study, [(f"{kind}/adaptive_hinge", f"{kind}/{form}") for kind in kinds], named=True)
        claimed, name = not form.endswith(" of 5"), LOSS_LABELS[form]
        claim = f"The adaptive loss always beats BPR ({name})." if claimed else f"A control, not a claim: the adaptive loss against {name}."
        printed = "no number printed" if claimed else "not compared"
        rows.append(_row(claim, printed, gaps, "{numref}`tab-losses`", ALWAYS if claimed else CONTROL))
    for study, kind, name in (
        ("sequence-components", "mixture_lstm", "mixture_lstm"),
        ("factorization-components", "embedding_mixture", "factorization"),
    ):
        printed = _list(
            f"{title(dataset)} {mrr['8'] - mrr['2']:+.4f}, best at m = {max(mrr, key=mrr.__getitem__)}"
            for dataset, mrr in PUBLISHED["components"][name].items()
        )
        gaps = _gaps(found, study, [(f"{kind}/8", f"{kind}/2")])
        rows.append(_row(f"More tastes are better: {LABELS[kind]}, m = 8 against 2.", printed, gaps, "{numref}`tab-components`"))
    return pd.DataFrame([*rows, _large_row(found), _tuned_row(found), _modest_row(found), _skew_row(found, ratios)])


def _large_row(found: Found) -> dict[str, str]:
    """That the increases are large: a word, so that the shares of the baselines' MRR are given beside the text's, and not judged."""
    printed = ["the text: " + PUBLISHED["paper"]["increases"], "best mixture over its baseline, by the table:"]
    printed += [
        f"{title(dataset)}, {name}: {_best_share(mrr, name):+.0%}" for dataset, mrr in PUBLISHED["paper"]["mrr"].items() for name in MAIN
    ]
    every = reports.family(found)
    lost, ahead = (sum(one.evidence.side == BEHIND for one in every), [one for one in every if one.evidence.side == AHEAD])
    budgets = [f" ({one.evidence.budget})" if one.evidence.budget else "" for one in ahead]
    sure = [f"{title(one.dataset)}, {label(one.mixture)}: {one.share}{budget}" for one, budget in zip(ahead, budgets, strict=True)]
    few = _on_few(one.evidence for one in ahead)
    counts = f"of {len(every)} comparisons {len(sure)} are decided gains{few} and {lost} decided losses"
    judged = f"not judged, what is large is the reader's; {counts}" if every else reports.NOT_RUN
    here = (
        _list(["decided gains as shares of the baseline's MRR, intervals over users and seeds:", *sure]) if sure else "no gain is decided"
    )
    return _cells("The increases are large.", _list(printed), here if every else "", judged, "{numref}`tab-gains`")


def _best_share(mrr: dict[str, float], name: str) -> float:
    """What the best mixture gains over its baseline, as a share of the baseline's MRR, from the printed values of a data set."""
    baseline, *arms = STUDIES[name].arms
    return max(mrr[arm] for arm in arms) / mrr[baseline] - 1


def _tuned_row(found: Found) -> dict[str, str]:
    """A control for the claim that the gains withstand carefully tuned baselines: the best mixture against the best reference, both on
    validation.

    The claim itself, which is of the single vectors of each family, is what the first rows judge.
    """
    gaps: Gaps = {}
    references = tables.references_of(found)
    for key, results in found.items():
        mixtures = [results.outcomes[arm] for arm, _ in results.mixtures] if key[1] in MAIN else []
        others = list(references[key].outcomes.values()) if key in references else []
        ours, theirs = best(mixtures), best(others)
        if ours and theirs:
            budget = reports.budgets(results, references[key])
            few = bool(budget) and min(one.selection.trials for one in (results, references[key])) < FEW
            against = f"{title(key[0])}, {label(ours.arm)} against {label(theirs.arm)}:"
            gaps[against] = replace(Evidence.between(ours, theirs), budget=budget, few=few)
    claim = "A control for the claim that gains withstand careful tuning of baselines: the best mixture against the best reference."
    return _row(claim, "not compared", gaps, "{numref}`tab-references`", CONTROL)


def _modest_row(found: Found) -> dict[str, str]:
    """That sequence models pay a modest price in complexity: parameters of the winners, which are counted and not judged."""
    said = []
    for (dataset, name), results in found.items():
        if name == "sequences" and results.mixtures:
            ours, theirs = (results.outcomes[arm].search["parameters"] for arm in ("mixture_lstm", "lstm"))
            said.append(f"{title(dataset)}: {theirs / 1e6:.2f} to {ours / 1e6:.2f} million, {ours / theirs - 1:+.0%}")
    claim, judged = (
        "The Mixture-LSTM's gain has a modest cost in complexity.",
        "not judged, a count; whether there is a gain to pay for is the first row",
    )
    here = _list(["parameters of the LSTM and of the Mixture-LSTM:", *said])
    return _cells(claim, "no number printed", here if said else "", judged if said else reports.NOT_RUN, "{doc}`cost`")


def _skew_row(found: Found, ratios: dict[str, float]) -> dict[str, str]:
    """The conjecture on popularity, which the paper draws from its three data sets: gains of the best mixtures against the ratio."""
    printed = _list(
        f"{title(dataset)} {_best_share(mrr, 'sequences'):+.0%} (sequences), {_best_share(mrr, 'factorization'):+.0%} (factorization) at "
        f"ratio {PUBLISHED['counts'][dataset]['ratio']:.1f}"
        for dataset, mrr in PUBLISHED["paper"]["mrr"].items()
    )
    table = gains.gain_by_skew(found, ratios)
    judged = correlation_verdict(gains.skew_correlations(table))
    if len(table) and not all(found[key].whole for key in zip(table["dataset"], table["protocol"], strict=True)):
        judged = f"Provisional: {judged}."
    here = _list(gains.skew_verdicts(table)) if len(table) else ""
    return _cells("Popularity-biased data gain less.", printed, here, judged, "{numref}`fig-gains`")


def _gaps(found: Found, study: str, pairs: list[tuple[str, str]], named: bool = False) -> Gaps:
    """Paired differences of the pairs of arms on every data set whose records hold both; where one failed in all trials, that."""
    gaps: Gaps = {}
    for (dataset, name), results in found.items():
        for ours, theirs in pairs if name == study else ():
            who = f"{title(dataset)}, {LABELS[ours.partition('/')[0]]}" if named else title(dataset)
            absent = {reports.absent(results, arm) for arm in (ours, theirs) if arm not in results.outcomes}
            if not absent:
                gaps[who] = Evidence.of(results, ours, theirs)
            elif reports.FAILED in absent:
                gaps[who] = reports.FAILED
    return gaps


def _together(found: Found, study: str, ours: str, theirs: str) -> Gaps:
    """The mean over data sets, where there are enough of them."""
    one = pooling.together(found, study, ours, theirs)
    return {"together": str(one)} if one else {}


def _row(claim: str, printed: str, gaps: Gaps, evidence: str, kind: str = SOMEWHERE, again: Gaps | None = None) -> dict[str, str]:
    """again: shown as well, but counted by the verdict only where gaps are empty, since it is of data that gaps are of already."""
    said = _list(f"{who} {found}" for who, found in (gaps | (again or {})).items())
    gaps = gaps or again or {}
    compared = [found for found in gaps.values() if isinstance(found, Evidence)]
    weight = weighed(compared, kind) if compared or not gaps else f"none, a model {reports.FAILED}"
    return _cells(claim, printed, said, weight, evidence)


def _cells(claim: str, printed: str, here: str, judged: str, evidence: str) -> dict[str, str]:
    """A row of the table; here: empty where nothing was run."""
    return {"claim of 2018": claim, "verdict": judged, "printed in 2018": printed, HERE: here or reports.NOT_RUN, "evidence": evidence}


def _list(parts: Iterable[str]) -> str:
    """A list in Markdown, a line for each part."""
    return "\n".join(f"* {part}" for part in parts)
