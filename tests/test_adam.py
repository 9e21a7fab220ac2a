import contextlib
import json
import platform
from pathlib import Path

import pytest
import torch
from conftest import benchmark
from torch import nn

from mixlib import adam, kernels, models, splits, training
from mixlib.adam import Adam, Late
from mixlib.training import Settings, fit

pytestmark = pytest.mark.skipif(not kernels.has_compiler(), reason="there is no C++ compiler here")


@pytest.fixture(autouse=True)
def kernel():
    if not adam.compiled():
        assert platform.machine() != "x86_64"  # where it was written
        pytest.skip("the kernel is not used on this machine")


def table_of(n, width, seed=0):
    """Numbers of all sizes, some of them 0."""
    draw = torch.Generator().manual_seed(seed)
    values = torch.randn(n, width, generator=draw) * 10 ** (8 * torch.rand(n, width, generator=draw) - 7)
    return nn.Parameter(values * (torch.rand(n, width, generator=draw) > 0.01))


def pair(lr, l2, widths=(64,), n=200, state=None):
    """Two optimisers with equal tables, ours late with them and torch's, and their tables."""
    tables = [[table_of(n, width) for width in widths] for _ in range(2)]
    both = [Adam(tables[0], lr, l2, [Late(tables[0])]), torch.optim.Adam(tables[1], lr=lr, weight_decay=l2, fused=True)]
    for optimizer, some in zip(both, tables, strict=True):
        for table in some if state else []:
            optimizer.state[table] = {name: torch.full_like(table, value) for name, value in state.items()}
            optimizer.state[table]["step"] = torch.tensor(float(state["step"]))
    return both, tables


def steps(both, tables, number, seed=0, often=20, draws=5):
    """The same steps of both, on rows of which the first `often` come up most."""
    draw = torch.Generator().manual_seed(seed)
    (ours, theirs), n = both, len(tables[0][0])
    for _ in range(number):
        rows = torch.cat([torch.randint(n, (draws // 3,), generator=draw), torch.randint(often, (draws,), generator=draw)])
        gradients = [torch.randn(len(rows), t.shape[1], generator=draw) * 10 ** (-6 * torch.rand(1, generator=draw)) for t in tables[0]]
        ours.reach(ours.late[0], rows)
        assert all(torch.equal(*(table[rows].nan_to_num(nan=1e9) for table in some)) for some in zip(*tables, strict=True))
        ours.zero_grad(set_to_none=False)
        for late, usual, gradient in zip(*tables, gradients, strict=True):
            usual.grad = torch.zeros_like(usual).index_add_(0, rows, gradient)
            late.grad.index_add_(0, rows, gradient)
        ours.step()
        theirs.step()


def same(both, tables):
    """Whether tables and moments are the same to the last bit."""
    both[0].settle()
    for ours, theirs in zip(*tables, strict=True):
        states = [optimizer.state[table] for optimizer, table in zip(both, (ours, theirs), strict=True)]
        if not torch.equal(ours, theirs) or any(not torch.equal(states[0][name], states[1][name]) for name in states[1]):
            return False
    return True


@pytest.mark.parametrize(("lr", "l2"), [(1e-3, 0.0), (3e-4, 2e-11), (1e-3, 1e-8), (0.05, 1e-4), (1e-2, 0.1)])
@pytest.mark.parametrize("kept", [True, False], ids=["near-zero-kept", "near-zero-as-0"])
def test_late_steps_are_torchs_to_the_last_bit(lr, l2, kept):
    torch.set_flush_denormal(not kept)
    try:
        both, tables = pair(lr, l2, widths=(64, 32, 32))
        steps(both, tables, 400)
        assert same(both, tables)
        both[0].zero_grad()  # what ranking asks for, in the middle
        assert all(table.grad is None for table in tables[0])
        steps(both, tables, 100, seed=1)
        assert same(both, tables)
    finally:
        torch.set_flush_denormal(False)


def test_rows_that_lie_still_move_again_in_time():
    """A thousand steps in which only few rows come up: with a weight decay that moves rows by itself, and with one that does not."""
    for l2 in (1e-12, 1e-6):
        both, tables = pair(1e-3, l2, n=50)
        steps(both, tables, 1000, often=2, draws=2)
        before = tables[1][0].detach().clone()
        steps(both, tables, 1, often=50, draws=9)
        assert same(both, tables) and not torch.equal(before, tables[1][0])


def test_rows_whose_first_steps_are_large_do_not_count_as_still():
    """Corrections change most in the first steps: a bound from the wrong end of them lets rows lie that move."""
    both, tables = pair(1e-3, 0.0, n=50, state={"step": 0, "exp_avg": 2e-5, "exp_avg_sq": 1e-2})
    for some in tables:
        some[0].data.fill_(1.0)
    steps(both, tables, 16, often=2, draws=2)
    assert same(both, tables) and (tables[1][0][2:] != 1).any()


def test_numbers_that_are_0_lie_still_until_something_moves_them():
    both, tables = pair(1e-3, 1e-3)
    for some in tables:
        some[0].data[:, ::2] = 0.0
    steps(both, tables, 300)
    assert same(both, tables)


@pytest.mark.parametrize("step", [30_000, adam.STEPS - 50, 1_000_000])
def test_late_steps_far_on_are_torchs(step):
    both, tables = pair(1e-3, 1e-7, state={"step": step, "exp_avg": 1e-3, "exp_avg_sq": 1e-5})
    steps(both, tables, 100)
    assert same(both, tables)


def test_corrections_do_not_change_after_their_last():
    assert 1 - 0.9 ** (adam.STEPS - 1) == 1 == 1 - 0.999 ** (adam.STEPS - 1)


def test_what_is_not_finite_spreads_as_in_torch():
    both, tables = pair(1e-3, 1e-8)
    for some in tables:
        some[0].data[100, 3], some[0].data[101, 5] = float("nan"), float("inf")
    steps(both, tables, 50)
    both[0].settle()
    assert all(torch.equal(*pair) for pair in zip(*(some[0].isnan() for some in tables), strict=True))
    assert tables[0][0].isnan().any(dim=1).nonzero().squeeze(1).tolist() == [100, 101]


@pytest.fixture
def on_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_threads_change_nothing_not_even_what_is_near_zero(on_threads):
    found = []
    for threads, zero in ((1, True), (3, True), (3, False)):
        both, tables = pair(1e-3, 1e-2, n=4096)
        tables[0][0].data.copy_(1e-36 * torch.randn(4096, 64, generator=torch.Generator().manual_seed(0)))
        on_threads(threads)
        with training._tiny_as_zero() if zero else contextlib.nullcontext():
            for seed in range(60):
                both[0].reach(both[0].late[0], torch.randint(4096, (40,), generator=torch.Generator().manual_seed(seed)))
                both[0].zero_grad(set_to_none=False)
                both[0].step()
            both[0].settle()
        found.append(tables[0][0])
    assert torch.equal(*found[:2]) and not torch.equal(*found[1:])


def test_several_threads_make_torchs_bits_too_where_nothing_is_near_zero(on_threads):
    on_threads(2)
    both, tables = pair(1e-3, 1e-8, n=2048)
    steps(both, tables, 60)
    assert same(both, tables)


@pytest.mark.parametrize("kind", [kind for kind in models.KINDS if kind not in models.SEQUENTIAL])
def test_a_fit_that_is_late_with_its_tables_ends_at_the_same_bits(kind, tiny, monkeypatch):
    monkeypatch.setenv("MIXLIB_COMPILE", "1")
    data, found, asked, brought_up = splits.random_split(tiny), [], [], []
    bring_up = Adam._bring_up
    monkeypatch.setattr(Adam, "_bring_up", lambda self, *words: brought_up.append(late) or bring_up(self, *words))
    for late in (True, False):
        monkeypatch.setattr(adam, "suits", lambda table, named, late=late: asked.append(table) or late)
        torch.manual_seed(0)
        model = models.build(kind, tiny.n_items, tiny.n_users, dim=32, components=2)
        history = fit(model, data, Settings(batch_size=32, epochs=4, l2=1e-6, learning_rate=0.01))
        found.append((history.losses, history.validation, [p.detach().clone() for p in model.parameters()]))
    assert brought_up and all(brought_up)
    assert len(asked) == 2 * (3 if kind == "embedding_mixture" else 2)  # users' and items'
    assert found[0][:2] == found[1][:2] and all(torch.equal(*both) for both in zip(found[0][2], found[1][2], strict=True))


def test_a_fit_that_is_stopped_within_an_epoch_leaves_no_row_late(tiny, monkeypatch):
    monkeypatch.setenv("MIXLIB_COMPILE", "1")
    found, step, steps = [], Adam.step, iter(range(1000))

    def stopped(self):
        step(self)
        if next(steps) % 10 == 9:  # of more than ten batches in an epoch
            raise KeyboardInterrupt

    monkeypatch.setattr(Adam, "step", stopped)
    for late in (True, False):
        monkeypatch.setattr(adam, "suits", lambda table, named, late=late: late)
        torch.manual_seed(0)
        model = models.build("embedding_mixture", tiny.n_items, tiny.n_users, dim=32, components=2)
        with pytest.raises(KeyboardInterrupt):
            fit(model, splits.random_split(tiny), Settings(batch_size=16, epochs=1, l2=1e-2))
        found.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(*both) for both in zip(*found, strict=True))


def late_of(kind, n_items, n_users=None, dim=32, change=lambda model: None, **settings):
    """How many tables of users and of items are late."""
    model = models.build(kind, n_items, n_users, dim=dim, components=2)
    change(model)
    return tuple(len(tables) for tables in training._late(model, Settings(batch_size=1024, **settings)))


@pytest.mark.parametrize(
    ("kind", "n_items", "n_users", "dim", "expected"),
    [
        ("embedding_mixture", 24_000, 16_384, 32, (2, 0)),  # too few items for the six thousand that a batch names
        ("embedding_mixture", 40_000, 16_383, 32, (0, 1)),
        ("factorization", 40_000, 40_000, 32, (1, 1)),
        ("factorization", 40_000, 40_000, 16, (0, 0)),  # narrower than a block
        ("projection_mixture", 40_000, 40_000, 32, (1, 1)),
        ("lstm", 100_000, None, 32, (0, 0)),  # whose windows name other items, too
    ],
)
def test_large_tables_are_late_where_a_batch_names_few_of_their_rows(kind, n_items, n_users, dim, expected):
    assert late_of(kind, n_items, n_users, dim) == expected


def test_tables_that_something_else_may_read_are_not_late():
    sizes = {"n_items": 40_000, "n_users": 40_000}
    assert late_of("factorization", **sizes, loss="bpr") == (1, 1) and late_of("factorization", **sizes, negatives=10) == (1, 0)

    def tie(model):
        model.encoder.attention = model.encoder.tastes

    def read_items(model):
        model.encoder.items = model.items

    def share(model):
        model.items = models.UserTable(40_001, 32)
        model.encoder.tastes.weight = model.items.weight

    def derive(model):
        model.__class__ = type("Own", (models.TasteModel,), {})

    def transpose(model):
        model.encoder[0].weight.data = model.encoder[0].weight.data.T.contiguous().T

    def freeze(model):
        model.encoder[0].weight.requires_grad_(False)

    assert late_of("embedding_mixture", **sizes, change=tie) == (1, 1)  # once
    assert late_of("embedding_mixture", **sizes, change=read_items) == (2, 0)
    assert late_of("embedding_mixture", **sizes, change=share) == (1, 0)
    assert late_of("factorization", **sizes, change=derive) == (1, 0)  # it may read items in ways of its own
    assert late_of("factorization", **sizes, change=transpose) == (0, 1)
    assert late_of("factorization", **sizes, change=freeze) == (0, 1)


def test_a_step_without_gradients_or_with_a_closure_is_an_error():
    """Not silence: rows would miss it."""
    (ours, _), _ = pair(1e-3, 1e-8)
    ours.reach(ours.late[0], torch.tensor([1]))
    with pytest.raises(ValueError, match="zip"):
        ours.step()
    with pytest.raises(ValueError, match="late tables take no closure"):
        ours.step(lambda: 0.0)


@pytest.mark.parametrize("rows", [[0, 200], [-1, 5]], ids=str)
def test_rows_that_a_table_does_not_have_are_an_error(rows):
    (ours, _), _ = pair(1e-3, 1e-8)
    with pytest.raises(IndexError, match=rf"rows {rows[0]} to {rows[1]} are asked for, of a table of 200\."):
        ours.reach(ours.late[0], torch.tensor(rows))


def test_a_kernel_with_other_bits_or_none_at_all_is_not_used(monkeypatch):
    assert adam.compiled()
    for source in (adam.SOURCE.replace("RENEW * g, g, b->v[i] * KEEP", "RENEW * g, g, b->v[i] * 0.9989999f"), "no C"):
        assert source != adam.SOURCE
        monkeypatch.setattr(adam, "SOURCE", source)
        assert adam.compiled.__wrapped__() is None
    monkeypatch.undo()
    monkeypatch.setattr(adam, "compiler", lambda: None)
    assert adam.compiled.__wrapped__() is None


def test_the_table_of_late_rows_comes_from_its_record(tmp_path, monkeypatch):
    late, table = benchmark("late"), Path(__file__).parent.parent / "book" / "tables" / "cost-late.csv"
    monkeypatch.setattr(late, "TABLE", tmp_path / "table.csv")
    late.draw()
    assert late.TABLE.read_text() == table.read_text()
    assert all(row["same"] for row in json.loads(late.RECORD.read_text())["rows"])
