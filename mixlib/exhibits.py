"""What the pages of the book show of the ledger: every table, figure and list of sentences, by the name of its file."""

from typing import TYPE_CHECKING

import pandas as pd

from mixlib import (
    describe,
    figures,
    gains,
    outcomes,
    pooling,
    populations,
    progress,
    ranks,
    reports,
    retrained,
    searching,
    tables,
    twins,
    verdicts,
    winners,
)
from mixlib.ledger import Ledger

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Exhibits:
    """All results of a ledger, and what several exhibits are made of, computed once."""

    def __init__(self, ledger: Ledger, counts: dict[str, dict]):
        """counts: `describe.counted` by data set, for those that still have records or notebooks."""
        self.ledger, self.counts, self.every = ledger, counts, outcomes.collected(ledger)
        self.main = {key: results for key, results in self.every.items() if key[1] in outcomes.MAIN}
        self.names = list(dict.fromkeys(dataset for dataset, _ in self.main))
        self.unordered = outcomes.unordered(ledger, self.names)
        self.ratios = {name: one["ratio"] for name, one in counts.items()}
        self.by_skew, self.by_tastes = gains.gain_by_skew(self.main, self.ratios), gains.factorial(ledger)
        self.by_size, self.by_components, self.pooled = gains.by_size(self.every), gains.by_components(ledger), pooling.means(self.every)
        self.each = pooling.each(self.every)
        self.short, self.curves = retrained.short_seeds(self.every), searching.curves(self.every, ledger)

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables, some of which are the numbers behind a figure."""
        every, ledger, names, unordered = self.every, self.ledger, self.names, self.unordered
        return {
            "table1": reports.table1(self.main, unordered),
            "gains": reports.gains(self.main),
            "together": pooling.table(every),
            "pooled": self.pooled.round(5),
            "glance": self.each.round(5),
            "sources": reports.sources(self.main),
            "references": tables.reference_points(every, names, unordered),
            "components": tables.components(every, names),
            "metrics": tables.metrics(every),
            "ranks": ranks.table(every),
            "ranks-generated": ranks.generated(ledger),
            "losses": tables.losses(every),
            "gains-by-loss": tables.gains_by_loss(every),
            "winners": winners.settings(self.main),
            **{f"draws-{name}": winners.draws(self.main, name) for name in outcomes.MAIN},
            "reference-settings": winners.reference_settings(every),
            "capacity": tables.capacity(every, names),
            "dims": tables.dims(every, names),
            "splits": retrained.splits(every),
            "across": retrained.across(every),
            "more-seeds": retrained.more_seeds(every),
            "patience": retrained.patience(every),
            "waits": retrained.waits(self.main),
            "binary": winners.binary(every, ledger, names, unordered),
            "tastes": winners.tastes(every, names, unordered),
            "who": winners.who(every, ledger),
            "progress": progress.table(every, names, unordered),
            "hours": tables.hours(ledger),
            "verdict": verdicts.claims(every, self.ratios),
            "datasets": describe.data_sets(self.counts),
            "search": searching.curve_table(self.curves),
            "skew": self.by_skew.round(5),
            "size": self.by_size.round(5),
            "factorial": self.by_tastes.round(5),
            "true-tastes": tables.true_tastes(self.by_components),
            "by-components": self.by_components.round(5),
            "populations": populations.table(ledger),
            "size-by-tastes": tables.size_by_tastes(ledger),
            "cells": tables.cells(self.by_tastes),
            "effects": tables.effects(self.by_tastes),
            "luck": searching.luck(every, ledger),
            "same": searching.same_settings(every, ledger),
            "repeated": searching.repeated(every),
            "union": searching.union(every),
            "short-seeds": retrained.short_table(self.short),
            "twins": twins.shares(every, self.counts, unordered),
            "targets": populations.by_target(ledger),
            "twin-gains": twins.table(twins.generated(ledger)),
            "copies": twins.real(ledger),
        }

    def figures(self) -> dict[str, "Figure"]:
        """The figures; the caller closes them."""
        references = tables.references_of(self.every)
        return {
            "glance": figures.glance(self.each, self.pooled),
            "table1": figures.table1(self.main, references),
            "search": figures.searches(self.curves, references),
            "gains": figures.gains(self.by_skew, self.by_tastes, self.pooled),
            "size": figures.size(self.by_size),
            "true-tastes": figures.true_tastes(self.by_components),
        }

    def sentences(self) -> dict[str, list[str]]:
        """The lists of sentences below tables and in the text."""
        every, ledger = self.every, self.ledger
        return {
            "metrics": tables.metric_verdicts(every),
            "ranks": ranks.verdicts(every),
            "skew": gains.skew_verdicts(self.by_skew),
            "references": tables.reference_verdicts(every),
            "als": tables.reference_verdicts(every, "als"),
            "repeated": searching.repeated_verdicts(every),
            "draws": searching.draw_verdicts(every, ledger),
            "binary": winners.binary_verdicts(every, ledger),
            "dims": winners.width_verdicts(every, ledger),
            "other-splits": retrained.again_verdicts(every, splits=True),
            "more-seeds": retrained.again_verdicts(every, splits=False),
            "patience": retrained.patience_verdicts(every, ledger),
            "short-seeds": retrained.short_verdicts(self.short),
            "border": searching.border_verdicts(every),
            "plateau": searching.plateau_verdicts(every, ledger),
            "same": searching.same_verdicts(every, ledger),
            "capacity": tables.capacity_verdicts(every),
            "size-of-main": tables.size_of_main_verdicts(every),
            "true-tastes": tables.true_tastes_verdicts(self.by_components),
            "effects": tables.effect_verdicts(self.by_tastes),
            "size-by-tastes": tables.size_by_tastes_verdicts(ledger),
            "generated": tables.factorial_progress(self.by_tastes),
            "copies": twins.copy_verdicts(ledger),
        }
