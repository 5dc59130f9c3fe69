"""What passes did, told row by row; which arrays live when; and the page that shows both."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn, optim
from tinygen.jit import capture, passes
from tinygen.jit.group import Group, Step, fused
from tinygen.jit.history import Stage, changes, stages
from tinygen.jit.memory import lives, outside, totals
from tinygen.jit.program import Row
from tinygen.jit.report import costs, total
from tinygen.primitive import Primitive


@pytest.fixture(autouse=True)
def row_by_row(monkeypatch):
    """Only the passes that put nothing together, with kernels or without."""
    monkeypatch.setattr(passes, "FUSING", (), raising=False)


def training_program():
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.BatchNorm1d(5), nn.Linear(5, 3))
    optimizer = optim.Adam(model.parameters())

    @tg.jit
    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().mean() + tg.random.normal((3,)).mean()
        loss.backward()
        optimizer.step()
        return loss.detach()
    x = tg.ones((4, 6)) * tg.arange(4)[:, None]
    step(x)
    return step.program(), x


def put_together(program):
    """A pass as fusion is one: the last two rows become one."""
    *rest, a, b = program.rows
    op = Primitive(lambda xp, x: xp.sum(xp.exp(x)), "exp_sum")
    return program.with_rows([*rest, Row(op, a.inputs, {}, b.outputs, b.line, parts=(a, b))])


def fused_program():
    before = capture(lambda x: tg.exp(x * 2).sum(), tg.ones((3,)))      # </script> & <b>
    after = put_together(before)
    after.before = (("put_together", before),)
    return after


# -- passes ----------------------------------------------------------------------------------------


def test_every_stage_goes_from_one_program_to_the_next():
    program, _ = training_program()
    found = stages(program)
    assert [s.name for s in found][:5] == ["single_assignment", "fold_constants", "fold_views",
                                           "common_subexpressions", "drop_unread"]
    for stage, following in zip(found[:-1], found[1:], strict=True):
        assert stage.after is following.before
    assert found[-1].after is program
    assert stages(capture(lambda x: x + 1, tg.ones((2,)))) == []


def test_changes_account_for_every_row_once():
    program, _ = training_program()
    for stage in stages(program):
        found = changes(stage)
        assert [c.row for c in found if c.kind != "left out"] == stage.after.rows
        gone = {c.row.number for c in found if c.kind == "left out"}
        kept = {c.row.number for c in found if c.kind in ("same", "changed", "moved")}
        assert gone | kept == {row.number for row in stage.before.rows} and not gone & kept
        for change in found:
            if change.kind in ("same", "changed", "moved"):
                (before,) = change.sources
                assert (repr(before) == repr(change.row)) == (change.kind != "changed")


def test_rows_that_were_put_together_are_named():
    after = fused_program()
    *_, gone1, gone2, new = changes(stages(after)[-1])
    assert (gone1.kind, gone2.kind, new.kind) == ("left out", "left out", "added")
    assert [r.op.name for r in new.sources] == ["exp", "sum"] == [
        r.op.name for r in new.row.parts]
    text = after.history()
    assert "put_together: 3 rows to 2\n- %2 = exp(%1)" in text
    assert re.search(r"^\+ %3 = exp_sum\(%1\) +float32 scalar +0\.000", text, re.MULTILINE)


def test_a_row_written_anew_stands_in_for_the_one_that_made_its_slots():
    program = capture(lambda x: (x.T @ x).sum(), tg.ones((3, 2)))
    turn, product, total = program.rows
    new = Row(product.op, [0, 0], {}, product.outputs)
    after = program.with_rows([new, total])
    kinds = [(c.kind, c.row) for c in changes(Stage("fold", program, after))]
    assert kinds == [("left out", turn), ("left out", product), ("added", new), ("same", total)]


def test_rows_in_another_order_are_said_to_be_moved():
    program = capture(lambda x: (tg.exp(x), tg.sin(x), tg.cos(x), tg.tanh(x)), tg.ones((2,)))
    a, b, c, d = program.rows
    found = changes(Stage("move", program, program.with_rows([a, c, d, b])))
    assert [(x.kind, x.row) for x in found] == [("same", a), ("same", c), ("same", d),
                                                ("moved", b)]
    before = program.with_rows([b, a, c, d])
    before.before = (("move", program),)
    assert "move: 4 rows to 4\n> %2 = sin(%0)" in before.history()


def test_a_history_has_times_and_lines_if_it_is_given_arguments():
    program, x = training_program()
    state = {id(r): r.value.data.copy() for row in program.rows for r in row.inputs
             if hasattr(getattr(r, "value", None), "data") and not r.fixed}
    text = program.history(x)
    assert re.search(r"^- .*float32 [\dx]+ +[\d.]+ +[\d.]+ +[\d.]+ +\d+%  test_history.py:\d+: ",
                     text, re.MULTILINE)
    assert len(re.findall(r"^\d+ rows +[\d.]+ +[\d.]+ +[\d.]+ +\d+%$", text, re.MULTILINE)) == 2
    assert len(program.history(x, everything=True).splitlines()) > len(text.splitlines())
    for row in program.rows:
        for r in row.inputs:
            if id(r) in state:
                np.testing.assert_array_equal(r.value.data, state[id(r)])
    with pytest.raises(ValueError, match=r"\[table\] captured for \[\('float32', \(4, 6\)"):
        program.history(tg.ones((3, 6)))


# -- memory ----------------------------------------------------------------------------------------


def test_arrays_live_from_their_making_to_their_last_use():
    program, _ = training_program()
    found = lives(program)
    known = outside(program)
    for i, size in enumerate(totals(program, found)):
        needed = {program.kinds[s][2] for row in program.rows[i:] for s in row.slots()}
        needed |= {program.kinds[y][2] for y in program.outputs if isinstance(y, int)}
        made = {program.kinds[o][2] for row in program.rows[:i + 1] for o in row.outputs
                if o is not None}
        new = {program.kinds[o][2] for o in program.rows[i].outputs if o is not None}
        living = (needed & made | new) - set(known)
        at = [life for life in found if life.first <= i <= life.last]
        assert {program.kinds[life.slots[0]][2] for life in at} == living
        assert size == sum(life.bytes for life in at)


def test_arrays_that_live_together_lie_apart():
    found = lives(training_program()[0])
    assert len(found) > 8
    for k, a in enumerate(found):
        for b in found[k + 1:]:
            together = a.first <= b.last and b.first <= a.last
            apart = a.place + a.bytes <= b.place or b.place + b.bytes <= a.place
            assert apart or not together


def test_views_are_no_arrays_of_their_own():
    program = capture(lambda x: tg.exp(x).reshape(2, 2).T.sum(), tg.ones((4,)))
    assert [(life.slots, life.bytes) for life in lives(program)] == [((1, 2, 3), 16), ((4,), 4)]


# -- the page --------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Whether tags close in order, and which ids and attributes there are."""

    VOID = ("meta", "input", "br")

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.seen = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        self.ids += [v for k, v in attrs if k == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def data_of(text):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found[1])


def test_the_page_is_whole_and_loads_nothing(tmp_path):
    program, x = training_program()
    text = program.html(tmp_path / "page.html", x)
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == text
    tags = Tags()
    tags.feed(text)
    assert not tags.open and len(tags.ids) == len(set(tags.ids))
    assert set(re.findall(r'\$\("([\w-]+)"\)', text)) <= set(tags.ids)
    labels = {a[k] for _, a in tags.seen for k in ("aria-labelledby", "aria-controls") if k in a}
    assert labels <= set(tags.ids)
    assert not [a for _, a in tags.seen if {"src", "href", "srcset", "action"} & set(a)]
    code = text[text.rindex("<script>"):]
    assert not re.search(r"innerHTML|fetch|XMLHttp|import\b|eval|@import|url\(", code)
    data = data_of(text)
    assert [data["rows"][p][1] for p in data["runs"]] == [repr(row) for row in program.rows]
    assert all(len(row[7]) == 4 for row in (data["rows"][p] for p in data["runs"]))
    assert len(data["kernels"]["rows"]) == len(program.rows) == len(data["totals"])


def test_names_cannot_leave_the_data():
    text = fused_program().html()
    assert "</script> &" not in text
    assert "# </script> & <b>" in data_of(text)["lines"][0]


def test_a_row_is_followed_into_what_it_was_put_into():
    data = data_of(fused_program().html())
    kind, place, sources = data["stages"][-1]["rows"][-1]
    recorded = [data["rows"][p] for p in data["recorded"]]
    assert kind == 3 and data["rows"][place][1] == "%3 = exp_sum(%1)"
    assert sources == [row[0] for row in recorded[1:]] == data["rows"][place][6]
    assert data["lines"][recorded[1][5]].startswith("test_history.py:")


def test_two_thousand_rows_are_a_page_of_under_two_megabytes():
    def f(x):
        for _ in range(1000):
            x = tg.tanh(x * 0.5)
        return x
    program = capture(f, tg.zeros((2,))).optimized()
    assert len(program.rows) == 2000
    assert len(program.html()) < 2_000_000


# -- groups ----------------------------------------------------------------------------------------


def grouped_program():
    """Two rows as the group that a pass makes of small ones; kernels or not, it can be shown."""
    program = capture(lambda x: tg.exp(x * 2).sum(), tg.ones((3,)))
    *rest, a, b = program.rows
    kinds = [("float32", (3,)), ("float32", (3,)), ("float32", ())]
    steps = [Step(row.op.name, (i,), row.attrs, (i + 1,)) for i, row in enumerate((a, b))]
    group = Group(steps, kinds, 1, [2], (), {}, form="small")
    row = Row(fused, a.inputs, {"group": group}, b.outputs, b.line, parts=(a, b))
    after = program.with_rows([*rest, row])
    after.before = (("put_together", program),)
    return after


def test_what_was_made_for_a_group_is_shown_with_its_steps():
    program = grouped_program()
    ((name, text),) = program.kernels().items()
    assert re.fullmatch("group_[0-9a-f]{8}", name) and "exp" in text and "sum" in text
    assert program.source().startswith(f"# {name}\n{text}\n\n\ndef replay(v0):")
    titles = [title for title, _ in data_of(program.html())["kernels"]["texts"]]
    assert titles[1] == f"kernel {name}, made for these 2 rows"
    np.testing.assert_allclose(program.replay(tg.Tensor([0.0, 1.0, 2.0])).data,
                               np.exp([0.0, 2.0, 4.0]).sum(), rtol=1e-6)


def test_a_group_costs_what_its_rows_cost_and_moves_less():
    program = grouped_program()
    before, after = (costs(p) for p in (program.before[0][1], program))
    assert total(before).flops == total(after).flops == 9
    assert (total(before).bytes, total(after).bytes) == (4 * (6 + 6 + 4), 4 * (6 + 4))
