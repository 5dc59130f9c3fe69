"""PyTorch's own samples for its own operators (op_db), run by tinygen too.

The API is PyTorch's private one, so the version is pinned. Every op of op_db is either compared,
forward and VJP in float64, or stands in a table with the reason why not.
"""

import warnings

import pytest

from tests.suites.pinned import pinned_torch

torch = pinned_torch("op_db")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tests.suites.opinfo import harness, table

OPERATORS = harness.operators()
torch.set_num_threads(1)


def test_every_operator_is_compared_or_listed():
    listed = table.not_compared(OPERATORS)
    unknown = set(OPERATORS) - set(table.ADAPTERS) - set(listed)
    assert not unknown, f"neither compared nor listed: {sorted(unknown)}"
    twice = set(table.ADAPTERS) & set(listed)
    assert not twice, f"both compared and listed: {sorted(twice)}"
    gone = (set(table.ADAPTERS) | set(listed)) - set(OPERATORS)
    assert not gone, f"not in op_db: {sorted(gone)}"


def test_more_than_three_hundred_operators_are_compared():
    assert len(table.ADAPTERS) >= 300


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(table.ADAPTERS))
def test_operator(name):
    """All samples agree; those that tinygen refuses are the ones that the table lists."""
    outcome = harness.run(OPERATORS[name], table.ADAPTERS[name],
                          gradients=name not in table.OTHER_GRADIENTS,
                          rtol=table.LESS_EXACT.get(name, harness.RTOL))
    assert outcome.compared, f"no sample was compared; refused: {outcome.refused}"
