"""Ratings: MovieLens as its README describes it, splits that share nothing, errors."""

import numpy as np
import pytest

from tinygen.data import (
    DataError,
    DataLoader,
    MissingDataError,
    MovieLens,
    Ratings,
    draw_ratings,
    fold_in,
    user_folds,
)

RATINGS = b"userId,movieId,rating,timestamp\n7,30,4.0,1\n7,10,2.5,2\n9,30,5.0,3\n"
MOVIES = (b'movieId,title,genres\n10,"Film, The (1999)",Drama\n20,Unrated,Drama\n'
          b"30,Caf\xc3\xa9,War\n")


def place(data, known_file, ratings=RATINGS, movies=MOVIES):
    (data / "ml-latest-small").mkdir()
    for name, content in (("ratings", ratings), ("movies", movies)):
        path = f"ml-latest-small/{name}.csv"
        known_file(path, content)
        (data / path).write_bytes(content)


def test_numbers_and_titles_of_a_small_file(folders, known_file):
    place(folders[0], known_file)
    films = MovieLens()
    assert films.pairs.tolist() == [[0, 1], [0, 0], [1, 1]]
    assert films.values.tolist() == [4.0, 2.5, 5.0]
    assert films.titles == ["Film, The (1999)", "Café"], "nobody rated the third"
    assert films.clicks(4.0).tolist() == [[0, 1], [0, 1]]
    assert films.clicks(2.5).tolist() == [[1, 1], [0, 1]]


def test_another_header_is_refused(folders, known_file):
    place(folders[0], known_file, ratings=RATINGS.replace(b"rating,", b"stars,"))
    with pytest.raises(DataError, match="userId, movieId, rating are expected"):
        MovieLens()


def test_missing_files_are_named_with_their_source(folders):
    with pytest.raises(MissingDataError, match=r"ml-latest-small/ratings\.csv was not found(?s:.*)"
                                               r"grouplens\.org"):
        MovieLens()


def test_movielens_is_what_its_readme_says(real_data):
    films = MovieLens()
    assert (len(films), films.num_users, films.num_items) == (100836, 610, 9724)
    assert films.titles[0] == "Toy Story (1995)"
    assert set(np.unique(films.values)) == set(np.arange(0.5, 5.5, 0.5))
    assert np.bincount(films.pairs[:, 0]).min() == 20, "everyone rated at least 20 films"


def test_a_split_shares_no_rating_and_loses_none():
    ratings = draw_ratings(20, 30, each=10)
    train, held = ratings.split(0.1, seed=3)
    assert len(train) == 180 and len(held) == 20
    both = {tuple(p) for p in train.pairs} | {tuple(p) for p in held.pairs}
    assert both == {tuple(p) for p in ratings.pairs} and len(both) == 200
    assert np.array_equal(ratings.split(0.1, seed=3)[1].pairs, held.pairs)
    assert not np.array_equal(ratings.split(0.1, seed=4)[1].pairs, held.pairs)
    assert (train.num_users, train.num_items) == (20, 30)


def test_a_loader_gives_pairs_and_ratings():
    ratings = draw_ratings(20, 30, each=10)
    pairs, stars = next(iter(DataLoader(ratings, 16)))
    assert pairs.shape == (16, 2) and stars.shape == (16,)
    assert np.array_equal(stars.numpy(), ratings.values[:16])


def test_drawn_users_prefer_their_own_group():
    ratings = draw_ratings(seed=1)
    assert len(ratings) == 200 * 24 and 0.5 <= ratings.values.min() <= ratings.values.max() <= 5
    assert len(np.unique(ratings.pairs, axis=0)) == len(ratings), "nobody rates an item twice"
    assert 0.5 < ratings.clicks(3.5).sum() / len(ratings) < 0.9


def test_every_user_is_in_one_fold():
    folds = user_folds(23, 5, seed=1)
    assert sorted(np.concatenate(folds)) == list(range(23))
    assert {len(f) for f in folds} == {4, 5}


def test_fold_in_hides_a_fifth_of_each_users_items():
    rows = np.zeros((4, 30), np.float32)
    rows[0, :10] = rows[1, 5:30] = 1
    rows[2, :2] = rows[3, 7] = 1
    shown, held = fold_in(rows, 0.2, seed=0)
    assert np.array_equal(shown + held, rows)
    assert held.sum(axis=1).tolist() == [2, 5, 1, 0], "one item cannot be divided"
    assert shown.sum(axis=1).min() == 1


@pytest.mark.parametrize(("call", "words"), [
    (lambda: Ratings([[0, 1, 2]], [1.0]), r"pairs: \(1, 3\)"),
    (lambda: Ratings(np.zeros((0, 2)), []), "N at least 1"),
    (lambda: Ratings([[0, 1]], [1.0, 2.0]), r"values: \(2,\)"),
    (lambda: Ratings([[0, -1]], [1.0]), r"must be in \[0, 1\) for users"),
    (lambda: Ratings([[3, 0]], [1.0], num_users=3), r"in \[0, 3\) for users"),
    (lambda: Ratings([[0, 1]], [1.0], titles=["a"]), "1 for 2 items"),
    (lambda: Ratings([[0, 1]], [1.0]).split(0.5), "one part empty"),
    (lambda: user_folds(3, 4), "from 2 to 3, got 4"),
    (lambda: fold_in(np.ones((2, 2)), 1.5), "between 0 and 1"),
    (lambda: draw_ratings(10, 20, each=15), "at most 10 each"),
])
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
