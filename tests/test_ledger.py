import json
from pathlib import Path

import numpy as np
import pytest

from mixlib import ledger
from mixlib.ledger import Ledger, key_of

ARRAYS = {"reciprocal_ranks": np.array([0.5, 1.0], np.float32), "users": np.array([3, 7], np.int32)}


def record(dataset="books", **definition):
    return {"key": key_of(definition), "dataset": dataset, "study": "sequences", "definition": definition, "test": {"mrr": 0.1}}


@pytest.fixture
def kept(tmp_path):
    return Ledger(tmp_path / "results")


def files(kept):
    return sorted(str(path.relative_to(kept.root)) for path in kept.root.rglob("*") if path.is_file())


def test_what_was_written_is_read(kept):
    records = [record(seed=seed, title="Amélie") for seed in range(3)]
    for made in records:
        path = kept.write(made)
        assert path == kept.path("books", "sequences", made["key"]) == kept.root / "books" / "sequences" / f"{made['key']}.json"
    assert kept.read("books", "sequences") == {made["key"]: made for made in records}
    assert list(kept.read("books", "sequences")) == sorted(made["key"] for made in records)


def test_nothing_written_is_nothing_read(kept):
    assert kept.read("books", "sequences") == {} and kept.datasets() == []


def test_arrays_lie_beside_the_record(kept):
    made = record(seed=1)
    kept.write(made, ARRAYS)
    assert files(kept) == [f"books/sequences/{made['key']}.{ending}" for ending in ("json", "npz")]
    for name, values in kept.arrays(made).items():
        assert values.dtype == ARRAYS[name].dtype and values.tolist() == ARRAYS[name].tolist()


def test_missing_arrays_are_an_error_that_names_them(kept):
    kept.write(record(seed=1))
    with pytest.raises(FileNotFoundError, match=r"\.npz is missing: remove .*\.json"):
        kept.arrays(record(seed=1))


def test_arrays_of_objects_are_refused_both_ways(kept):
    with pytest.raises(ValueError, match="allow_pickle"):
        kept.write(record(seed=1), {"users": np.array([{"a": 1}], dtype=object)})
    assert files(kept) == []
    path = kept.write(record(seed=1)).with_suffix(".npz")
    np.savez(path, users=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        kept.arrays(record(seed=1))


def test_writing_again_changes_no_byte(kept):
    path = kept.write(record(seed=1, b=2), ARRAYS)
    before = path.read_bytes(), path.with_suffix(".npz").read_bytes()
    kept.write(record(b=2, seed=1), ARRAYS)
    assert (path.read_bytes(), path.with_suffix(".npz").read_bytes()) == before


def test_a_record_that_cannot_be_written_leaves_nothing(kept):
    for wrong in (float("nan"), float("inf"), object()):
        with pytest.raises((ValueError, TypeError)):
            kept.write(record(seed=1) | {"test": {"mrr": wrong}})
    assert files(kept) == []


def test_a_record_that_cannot_be_written_leaves_no_arrays_either(kept):
    with pytest.raises(ValueError, match="JSON compliant"):
        kept.write(record(seed=1) | {"test": {"mrr": float("nan")}}, ARRAYS)
    assert files(kept) == []


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_write_that_is_cut_short_leaves_the_old_record_alone(kept, monkeypatch, error):
    path = kept.write(record(seed=1))
    before = path.read_text()

    def cut_short(path, text, **options):
        path.write_bytes(text[:10].encode())
        raise error

    monkeypatch.setattr(Path, "write_text", cut_short)
    with pytest.raises(type(error)):
        kept.write(record(seed=1) | {"test": {"mrr": 0.2}})
    assert path.read_text() == before and len(files(kept)) == 1


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", "null", '{"key": "x", "definition": {}}', json.dumps(record(seed=2))],
)
def test_a_damaged_record_is_an_error_that_names_it(kept, text):
    path = kept.write(record(seed=1))
    path.write_text(text)
    with pytest.raises(ValueError, match=f"the record .*{path.name} is damaged .* move it away and run the study again"):
        kept.read("books", "sequences")


def test_a_record_whose_definition_was_edited_is_damaged(kept):
    path = kept.write(record(seed=1))
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))
    with pytest.raises(ValueError, match="its key does not belong to its definition"):
        kept.read("books", "sequences")


def test_the_key_depends_on_values_and_not_on_their_order():
    assert key_of({"a": 1, "b": {"c": 2, "d": 3}}) == key_of({"b": {"d": 3, "c": 2}, "a": 1})
    assert len({key_of(d) for d in ({}, {"a": 1}, {"a": 2}, {"a": "1"}, {"a": [1]}, {"b": 1})}) == 6


def test_names_from_paths_and_parameters_become_folders(kept):
    for name in ("synthetic:tastes=1,skew=0.5", "../../etc/passwd", "a b/c"):
        folder = kept.folder(name, "sequences")
        assert folder.parent.parent == kept.root and folder.parent.name not in ("", ".", "..")
    assert kept.folder("synthetic:tastes=1", "s") != kept.folder("synthetic:tastes=2", "s")
    kept.write(record("synthetic:tastes=1", seed=1))
    assert list(kept.read("synthetic:tastes=1", "sequences")) == [record(seed=1)["key"]]


def test_the_digest_changes_with_the_records_of_its_data_set(kept):
    seen = [kept.digest("books")]
    kept.write(record(seed=1))
    seen.append(kept.digest("books"))
    kept.write(record("films", seed=1))
    assert kept.digest("books") == seen[-1]
    kept.write(record(seed=2))
    seen.append(kept.digest("books"))
    assert len(set(seen)) == 3 and kept.datasets() == ["books", "films"]


def test_provenance_names_versions_but_neither_paths_nor_hosts():
    import platform

    made = json.dumps(ledger.provenance())
    assert {"torch", "numpy", "python"} <= set(ledger.provenance()["versions"])
    assert str(Path.home()) + "/" not in made and platform.node() not in made


def test_the_code_version_is_of_the_rooms_that_compute():
    assert ledger.code_version() == ledger.code_version() != ledger.code_version(("datasets",))
    assert len(ledger.code_version()) == 12
