"""ROUGE-L: characters by hand and by a longest common subsequence of our own; words."""

import numpy as np
import pytest

pytest.importorskip("rouge_score")

from rouge_score.rouge_scorer import RougeScorer

from tinygen.metrics import rouge_l


def common(a, b):
    """The length of the longest common subsequence, by the definition."""
    if not a or not b:
        return 0
    if a[0] == b[0]:
        return 1 + common(a[1:], b[1:])
    return max(common(a[1:], b), common(a, b[1:]))


def test_characters_by_hand():
    # 猫的眠 in both, 4 and 5 characters
    assert rouge_l(["猫的睡眠"], ["小猫的冬眠"], characters=True)[0] == pytest.approx(2 * 3 / 9)
    assert rouge_l(["AB c"], ["abC"], characters=True).tolist() == [1.0]


def test_characters_by_the_definition():
    rng = np.random.default_rng(0)
    made, wanted = (["".join(rng.choice(list("猫狗鸟"), rng.integers(1, 9))) for _ in range(30)]
                    for _ in range(2))
    expected = [2 * common(a, b) / (len(a) + len(b)) for a, b in zip(made, wanted)]
    np.testing.assert_allclose(rouge_l(made, wanted, characters=True), expected, atol=1e-12)


def test_the_librarys_own_tokenizer_sees_no_chinese():
    scorer = RougeScorer(["rougeL"])
    assert scorer.score("猫的睡眠", "猫的睡眠")["rougeL"].fmeasure == 0
    assert rouge_l(["猫的睡眠"], ["猫的睡眠"]).tolist() == [0]
    assert rouge_l(["猫的睡眠"], ["猫的睡眠"], characters=True).tolist() == [1]
    words = rouge_l(["the cat sat", "no"], ["The cat, today, sat!", "yes"])
    assert words.tolist() == [pytest.approx(2 * 3 / 7), 0]


@pytest.mark.parametrize("made, wanted", [([], []), (["a"], ["a", "b"])])
def test_lists_that_do_not_match_are_refused(made, wanted):
    with pytest.raises(ValueError, match=r"\[rouge_l\] \d summaries and \d references"):
        rouge_l(made, wanted)
