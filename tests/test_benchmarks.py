"""The scripts in benchmarks/, without their measurements: they keep what was measured."""

import json
import runpy
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import benchmark

from mixlib import datasets, outcomes, winners
from mixlib.ledger import Ledger

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["late", "near_zero", "quality"])
def test_without_data_sets_a_benchmark_says_its_usage_and_keeps_its_record(name, tmp_path, monkeypatch):
    for suffix in (".py", ".json"):
        shutil.copy(ROOT / "benchmarks" / f"{name}{suffix}", tmp_path)
    record = (tmp_path / f"{name}.json").read_text()
    monkeypatch.setattr("sys.argv", [f"{name}.py"])
    with pytest.raises(SystemExit, match=rf"usage: python benchmarks/{name}\.py NAME"):
        runpy.run_path(str(tmp_path / f"{name}.py"), run_name="__main__")
    assert (tmp_path / f"{name}.json").read_text() == record


def test_versions_of_data_that_are_gone_are_left_out(tmp_path, data_root, monkeypatch):
    versions = benchmark("versions")
    monkeypatch.setattr(versions, "TABLE", tmp_path / "versions.csv")
    versions.TABLE.write_text("code,data set\nkept,shop\n")
    gone = {"dataset": "my-old-shop", "seconds": {"fit": 1}}
    monkeypatch.setattr(versions, "shortest", lambda: {"gone": gone, "kept": gone})
    monkeypatch.setattr("sys.argv", ["versions.py", "gone"])
    versions.main()
    assert versions.TABLE.read_text() == "code,data set\nkept,shop\n"


def test_speeds_of_a_data_set_are_kept_before_the_next_is_measured(tmp_path, monkeypatch):
    codes, ledger = benchmark("codes"), Ledger(tmp_path / "results")
    ledger.note("speeds", lambda kept: {"films": {"lstm": {"real": 1}, "mixture_lstm": {"real": 2}}})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(outcomes, "collected", lambda *_: {("films", "sequences"): None, ("shop", "sequences"): None})
    monkeypatch.setattr(datasets, "load", lambda name: name)

    def measure(_, name):
        if name == "shop":
            raise MemoryError
        return {(name, "lstm"): {"real": 3.0, "binary": 4.0}}

    monkeypatch.setattr(winners, "measure_speeds", measure)
    with pytest.raises(MemoryError):
        codes.main(["films", "shop"])
    kept = ledger.noted("speeds")["films"]
    assert (kept["lstm"]["real"], kept["mixture_lstm"]) == (3, {"real": 2}) and list(kept) == ["lstm", "mixture_lstm"]


def test_costs_are_drawn_from_their_record_without_cells_that_left_the_plan(tmp_path, monkeypatch):
    cost = benchmark("cost")
    found = json.loads(cost.RECORD.read_text())
    monkeypatch.setattr(cost, "RECORD", tmp_path / "cost.json")
    monkeypatch.setattr(cost, "BOOK", tmp_path / "book")
    (cost.BOOK / "tables").mkdir(parents=True)
    cost.keep(found | {"cells": [{"cell": {"vary": "model", "kind": "a model of once"}, "found": {}}, *found["cells"]]})
    cost.draw()
    for name in ("cost", "cost-shapes", "cost-memory", "cost-curves"):
        assert (cost.BOOK / "tables" / f"{name}.csv").read_text() == (ROOT / "book" / "tables" / f"{name}.csv").read_text()
    assert pd.read_csv(cost.BOOK / "tables" / "cost.csv")["model"].is_unique
    with pytest.raises(TypeError):
        cost.keep({"cells": object()})
    assert len(json.loads(cost.RECORD.read_text())["cells"]) == len(found["cells"]) + 1  # the record is whole or what it was
