"""What is made ahead of its use comes in order, not too far ahead, and stops when its user does."""

import threading

import pytest

from dosecalc.photon.ahead import ahead


@pytest.mark.parametrize("workers", [1, 3])
def test_everything_comes_in_order(workers):
    assert list(ahead(range(50), lambda i: i * i, workers)) == [i * i for i in range(50)]
    assert list(ahead([], str, workers)) == []


def test_several_are_made_at_the_same_time():
    together = threading.Barrier(3, timeout=30)

    def make(i):
        together.wait()
        return i

    assert list(ahead(range(9), make, 3)) == list(range(9))


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_is_made_than_a_little_ahead(workers):
    made = []
    results = ahead(range(1000), lambda i: made.append(i) or i, workers)
    assert next(results) == 0
    results.close()
    assert len(made) <= 2 * workers + 1


@pytest.mark.parametrize("workers", [1, 3])
def test_what_cannot_be_made_is_raised_where_it_is_used(workers):
    def make(i):
        if i == 5:
            raise ValueError("five")
        return i

    results = ahead(range(100), make, workers)
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(ValueError, match="five"):
        next(results)
