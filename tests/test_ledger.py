import json
import os
import shutil
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from mixlib import ledger
from mixlib.ledger import Ledger, Snapshot, key_of

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
    assert kept.damaged("books", "sequences") == {}
    assert list(kept.read("books", "sequences")) == sorted(made["key"] for made in records)


@pytest.mark.parametrize(("kind", "counts"), [("lstm", False), ("mixture_lstm", False), ("factorization", True), ("markov", True)])
def test_versions_whose_lstms_drew_otherwise_count_but_for_these(kept, kind, counts):
    (code, *_) = ledger.SAME_WITHOUT_LSTMS - ledger.SAME
    for seed, wrote in enumerate((code, ledger.code_version(), *ledger.SAME)):
        kept.write(record(model={"kind": kind}, seed=seed) | {"code": wrote})
    assert len(kept.read("books", "sequences")) == 1 + len(ledger.SAME) + counts
    named = list(kept.damaged("books", "sequences").values())
    assert named == ([] if counts else [f"other code wrote it ({code}), which versions.toml does not name for LSTMs"])


def test_a_seed_that_is_done_does_not_count_without_its_arrays(kept):
    for seed, (stage, status) in enumerate((("seeds", "done"), ("seeds", "failed"), ("search", "done"))):
        kept.write(record(seed=seed) | {"stage": stage, "status": status})
    assert sorted((one["stage"], one["status"]) for one in kept.read("books", "sequences").values()) == [
        ("search", "done"),
        ("seeds", "failed"),
    ]
    (why,) = kept.damaged("books", "sequences").values()
    assert why == f"its arrays {record(seed=0)['key']}.npz are missing"


def test_no_version_is_listed_twice():
    assert not ledger.SAME & ledger.SAME_WITHOUT_LSTMS and ledger.code_version() not in ledger.SAME | ledger.SAME_WITHOUT_LSTMS


@pytest.mark.parametrize("definition", ["lstm", ["lstm"], {"model": "lstm"}, {"model": {"kind": ["lstm"]}}])
def test_a_definition_of_another_form_is_read_as_it_is(kept, definition):
    kept.write({"key": key_of(definition), "dataset": "books", "study": "sequences", "definition": definition})
    assert len(kept.read("books", "sequences")) == 1


def test_nothing_written_is_nothing_read(kept):
    assert kept.read("books", "sequences") == {} and kept.datasets() == []


def test_what_is_kept_beside_the_records_is_no_record_and_comes_back(kept):
    assert kept.noted("counts") == {}
    kept.note("counts", lambda before: before | {"shop": {"title": "Amélie"}, "books": {"users": 3}})
    assert kept.noted("counts") == {"books": {"users": 3}, "shop": {"title": "Amélie"}} and list(kept.noted("counts")) == ["books", "shop"]
    assert files(kept) == ["counts.json"] and kept.datasets() == [] and kept.noted("twins") == {}


@pytest.mark.parametrize("damage", ['{"books": ', "<<<<<<< HEAD", "[1, 2]", "3", '{"books": 3}', "[" * 9999, "\udcff"])
def test_what_is_damaged_beside_the_records_is_named_and_stays(kept, damage):
    kept.note("counts", lambda before: {})
    (kept.root / "counts.json").write_bytes(damage.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"counts\.json is damaged \(.*\): take it from git again"):
        kept.noted("counts")
    assert files(kept) == ["counts.json"]


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


@pytest.mark.parametrize(("error", "message"), [(OSError("disk full"), "finished trials are kept"), (KeyboardInterrupt(), None)])
def test_a_write_that_is_cut_short_leaves_nothing_and_the_old_records_alone(kept, monkeypatch, error, message):
    path = kept.write(record(seed=1))
    before = path.read_bytes()

    def cut_short(path, text, **options):
        path.write_bytes(text[:10].encode())
        raise error

    monkeypatch.setattr(Path, "write_text", cut_short)
    with pytest.raises(type(error), match=message):
        kept.write(record(seed=2))
    assert path.read_bytes() == before and len(files(kept)) == 1


def test_the_first_sound_record_stays_and_a_damaged_one_is_replaced(kept):
    path = kept.write(record(seed=1), ARRAYS)
    before = path.read_bytes()
    kept.write(record(seed=1) | {"test": {"mrr": 0.2}}, {"users": np.arange(3)})
    assert path.read_bytes() == before and set(kept.arrays(record(seed=1))) == set(ARRAYS)
    path.write_bytes(before[:-9])
    kept.write(record(seed=1), ARRAYS)
    assert path.read_bytes() == before


DAMAGE = {
    "": "Expecting value",
    "{": "Expecting property name",
    "[]": "no key, definition, digest, data set or study",
    "{}": "no key, definition, digest, data set or study",
    "null": "no key, definition, digest, data set or study",
    "[" * 100_000: "nested too deeply",
    json.dumps(record(seed=1) | {"definition": json.loads("[" * 900 + "]" * 900), "digest": ""}): "nested too deeply",
    '{"key": "x", "definition": {}}': "no key, definition, digest, data set or study",
    '{"key": "x", "definition": {}, "digest": "", "dataset": "", "study": ""}': "does not belong to its definition",
    json.dumps(record(seed=2) | {"digest": ""}): "does not belong to its definition",
    json.dumps(record(seed=1) | {"dataset": 7, "digest": ""}): "its data set or its study is no text",
    json.dumps(record(seed=1) | {"study": None, "digest": ""}): "its data set or its study is no text",
    "\ufeff{}": "no key, definition, digest, data set or study",
}


@pytest.fixture
def usual_depth():
    """Python's own limit of nested calls, which compilers raise for the rest of a process."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.parametrize("text", DAMAGE, ids=range(len(DAMAGE)))
@pytest.mark.usefixtures("usual_depth")
def test_a_damaged_record_is_named_and_never_read(kept, text):
    path, other = kept.write(record(seed=1)), kept.write(record(seed=3))
    path.write_text(text, encoding="utf-8")
    assert list(kept.read("books", "sequences")) == [other.stem]
    ((found, why),) = kept.damaged("books", "sequences").items()
    assert found == path and DAMAGE[text] in why


@pytest.mark.parametrize(
    ("old", "new", "why"), [('"seed": 1', '"seed": 2', "its key does not belong"), ('"mrr": 0.1', '"mrr": 0.9', "it was altered")]
)
def test_a_record_that_was_edited_is_damaged(kept, old, new, why):
    path = kept.write(record(seed=1))
    path.write_text(path.read_text().replace(old, new))
    assert kept.read("books", "sequences") == {} and why in kept.damaged("books", "sequences")[path]


def test_no_flipped_byte_is_read_as_something_else(kept):
    path = kept.write(record(seed=1), ARRAYS)
    written, packed = kept.read("books", "sequences"), path.with_suffix(".npz")
    for file in (path, packed):
        whole, noticed = file.read_bytes(), 0
        for position in range(len(whole)):
            for flip in (1, 32, 128):
                file.write_bytes(whole[:position] + bytes([whole[position] ^ flip]) + whole[position + 1 :])
                found = kept.read("books", "sequences")
                assert found in ({}, written)  # a flipped bit of white space may give another white space
                noticed += not found
        assert noticed > 2.7 * len(whole)
        file.write_bytes(whole)


def test_a_truncated_pair_is_damaged_wherever_it_ends(kept):
    path = kept.write(record(seed=1), ARRAYS)
    for file in (path, path.with_suffix(".npz")):
        whole = file.read_bytes()
        for end in range(len(whole) - 1):  # the last byte of the record is a line feed
            file.write_bytes(whole[:end])
            assert kept.read("books", "sequences") == {}
        file.write_bytes(whole)
    assert kept.read("books", "sequences")


def test_arrays_of_another_record_are_damage(kept):
    one, other = kept.write(record(seed=1), ARRAYS), kept.write(record(seed=2), {"users": np.arange(3)})
    one.with_suffix(".npz").write_bytes(other.with_suffix(".npz").read_bytes())
    assert list(kept.read("books", "sequences")) == [other.stem]
    assert "are not those that it was written with" in kept.damaged("books", "sequences")[one]


@pytest.mark.parametrize("lost", [["digest"], ["digest", "arrays"]])
def test_a_record_without_its_digest_is_not_trusted(kept, lost):
    path = kept.write(record(seed=1) | {"stage": "seeds", "status": "done"}, ARRAYS)
    written = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in written.items() if name not in lost} | {"test": {"mrr": 0.9}}))
    assert kept.damaged("books", "sequences") == {path: "it has no key, definition, digest, data set or study"}
    assert kept.read("books", "sequences") == {}


@pytest.mark.parametrize("place", ["shop/sequences", "books/factorization"])
def test_a_record_in_the_folder_of_another_study_or_data_set_does_not_count(kept, place):
    path = kept.write(record(seed=1), ARRAYS)
    shutil.copytree(path.parent, kept.root / place)
    copy = kept.root / place / path.name
    assert kept.damaged(*place.split("/")) == {copy: "it belongs to books, sequences, and not to the folder where it lies"}
    assert kept.read(*place.split("/")) == {} and len(kept.read("books", "sequences")) == 1


def test_a_code_that_is_no_text_does_not_count(kept):
    kept.write(record(seed=1) | {"code": ["x"]})
    assert list(kept.damaged("books", "sequences").values()) == ["other code wrote it (['x']), which versions.toml does not name"]


def test_a_folder_in_place_of_a_record_is_named_and_set_aside(kept):
    path = kept.write(record(seed=1))
    path.unlink()
    path.mkdir()
    assert kept.damaged("books", "sequences") == {path: "it is a folder"} and "it is a folder" in kept.set_aside("books", "sequences")[0]
    assert kept.damaged("books", "sequences") == {} and path.with_name(f"{path.name}.damaged").is_dir()


def test_what_is_damaged_is_set_aside_and_nothing_else_is_moved(kept):
    path, other = kept.write(record(seed=1), ARRAYS), kept.write(record(seed=2))
    path.write_text("{")
    (said,) = kept.set_aside("books", "sequences")
    assert path.name in said and "its trial runs again" in said and kept.set_aside("books", "sequences") == []
    assert kept.damaged("books", "sequences") == {} and list(kept.read("books", "sequences")) == [other.stem]
    assert files(kept) == sorted(f"books/sequences/{name}" for name in (
        f"{path.name}.damaged", f"{path.stem}.npz.damaged", other.name))  # fmt: skip


def test_what_was_set_aside_before_stays(kept):
    for text in ("first", "second", "third"):
        path = kept.write(record(seed=1), ARRAYS)
        path.write_text(text)
        kept.set_aside("books", "sequences")
    aside = {name: path.with_name(f"{path.name}{name}").read_text() for name in (".damaged", ".2.damaged", ".3.damaged")}
    assert aside == {".damaged": "first", ".2.damaged": "second", ".3.damaged": "third"} and len(files(kept)) == 6


def test_a_record_of_other_code_is_not_overwritten_by_a_process_that_does_not_know_it(kept):
    path = kept.write(record(seed=1) | {"code": (newer := "0" * 12)}, ARRAYS)  # finished meanwhile, by code that came later
    assert not kept.holds("books", "sequences", path.stem)
    kept.write(record(seed=1) | {"code": ledger.code_version()}, ARRAYS)
    aside = path.with_name(f"{path.name}.damaged")
    assert json.loads(aside.read_text())["code"] == newer and kept.read("books", "sequences")[path.stem]["code"] == ledger.code_version()
    assert path.with_name(f"{path.stem}.npz.damaged").is_file() and list(kept.arrays(record(seed=1))) == list(ARRAYS)


def test_the_folder_of_data_with_copies_is_that_of_their_name(kept):
    assert kept.folder("shop:copies=0.50", "sequences") == kept.folder("shop:copies=0.5", "sequences")
    assert kept.folder("shop:copies=half", "sequences").parent.name == "shop_copies=half"


def test_two_notes_at_once_are_both_kept(kept):
    kept.note("counts", lambda before: before)

    def slow(before):
        other = threading.Thread(target=Ledger(kept.root).note, args=("counts", lambda now: now | {"films": {"users": 2}}))
        other.start()
        other.join(0.5)  # it has to wait
        waiting.append(other)
        return before | {"books": {"users": 1}}

    waiting = []
    kept.note("counts", slow)
    waiting[0].join(10)
    assert list(kept.noted("counts")) == ["books", "films"]


def test_what_another_share_made_again_meanwhile_is_not_set_aside(kept, monkeypatch):
    path, seen = kept.write(record(seed=1), ARRAYS), kept.damaged
    path.write_text("{")

    def slow(*folder):
        found = seen(*folder)
        Ledger(kept.root).write(record(seed=1), ARRAYS)  # between the look and the deed
        return found

    monkeypatch.setattr(kept, "damaged", slow)
    assert kept.set_aside("books", "sequences") == [] and list(kept.read("books", "sequences")) == [path.stem]


def test_what_a_killed_writer_left_is_never_read_and_goes_after_an_hour(kept):
    path = kept.write(record(seed=1))
    old, new = (path.with_name(f".{path.name}.{name}.tmp") for name in ("old", "new"))
    for left in (old, new):
        left.write_text("{")
    os.utime(old, (time.time() - 3700,) * 2)
    assert list(kept.read("books", "sequences")) == [path.stem] and kept.damaged("books", "sequences") == {}
    kept.set_aside("books", "sequences")
    assert new.is_file() and not old.exists()  # the new one may belong to a writer at work


def test_the_key_depends_on_values_and_not_on_their_order():
    assert key_of({"a": 1, "b": {"c": 2, "d": 3}}) == key_of({"b": {"d": 3, "c": 2}, "a": 1})
    assert len({key_of(d) for d in ({}, {"a": 1}, {"a": 2}, {"a": "1"}, {"a": [1]}, {"b": 1})}) == 6


def test_the_key_is_the_same_on_processors_that_round_differently():
    rate = 0.014579250922831457
    drawn = [
        {"training": {"learning_rate": value}}
        for value in (rate, np.nextafter(rate, 1).item(), np.nextafter(rate, 0).item(), rate * (1 + 1e-8))
    ]
    assert key_of(drawn[0]) == key_of(drawn[1]) == key_of(drawn[2]) != key_of(drawn[3])


def test_names_from_paths_and_parameters_become_folders(kept):
    for name in ("synthetic:tastes=1,skew=0.5", "../../etc/passwd", "a b/c"):
        folder = kept.folder(name, "sequences")
        assert folder.parent.parent == kept.root and folder.parent.name not in ("", ".", "..")
    assert kept.folder("synthetic:tastes=1", "s") != kept.folder("synthetic:tastes=2", "s")
    assert kept.folder("../data/films/../books/interactions.csv.gz", "s") == kept.folder("books", "s")
    assert kept.folder("../data/books/interactions.csv:copies=0.25", "s") == kept.folder("books:copies=0.25", "s")
    kept.write(record("synthetic:tastes=1", seed=1))
    assert list(kept.read("synthetic:tastes=1", "sequences")) == [record(seed=1)["key"]]


@pytest.mark.parametrize("closed", ["books", "books/sequences"])
def test_a_folder_that_may_not_be_read_is_an_error_and_not_empty(closed, kept, monkeypatch):
    kept.write(record("books", seed=1))
    look = Path.iterdir

    def refused(path):
        if path == kept.root / closed:
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(Path, "iterdir", refused)
    for read in (kept.datasets, *([lambda: kept.read("books", "sequences")] if "/" in closed else [])):
        with pytest.raises(PermissionError, match=closed):
            read()


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


@pytest.mark.parametrize("installed", [{"torch": "2", "implicit": "0.7.2"}, {"torch": "2"}])
def test_provenance_names_implicit_where_it_is_installed(installed, monkeypatch):
    def version(name):
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr("mixlib.ledger.metadata.version", version)
    versions = ledger.provenance()["versions"]
    assert versions.pop("python") and versions == installed


def test_the_code_version_is_of_the_rooms_that_compute():
    assert ledger.code_version() == ledger.code_version() != ledger.code_version(("datasets",))
    assert len(ledger.code_version()) == 12


def test_a_snapshot_reads_no_record_twice_and_stays_as_it_was(kept):
    made, seen = record(seed=1), Snapshot(kept.root)
    path = kept.write(made)
    assert seen.read("books", "sequences") == {made["key"]: made}
    path.write_text("{}")
    assert seen.read("books", "sequences") == {made["key"]: made} and seen.damaged("books", "sequences") == {}
    assert kept.read("books", "sequences") == {} and list(kept.damaged("books", "sequences")) == [path]
    with pytest.raises(TypeError, match="is only read"):
        seen.write(record(seed=2))


def test_interactions_without_a_name_are_one_clear_error(tmp_path):
    with pytest.raises(ValueError, match=r"the interactions have no name, which their records need: give them one"):
        Ledger(tmp_path).read("", "factorization")
