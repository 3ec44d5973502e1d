"""When a clone counts as at rest."""

from drill.running.calm import FIRST_ROUNDS, ROUNDS, Answered, Calm


def calm(*answers: Answered) -> Calm:
    return Calm([answers] * FIRST_ROUNDS)


def test_it_is_at_rest_once_it_was_as_quick_as_before_often_enough_in_a_row() -> None:
    found = calm(Answered(0.2, 200), Answered(0.001, 200))
    assert not found.look([Answered(0.5, 200), Answered(0.001, 200)])
    for _ in range(ROUNDS - 1):
        assert not found.look([Answered(0.39, 200), Answered(0.05, 200)])
    assert not found.look([Answered(0.2, 200), Answered(0.06, 200)])
    answers = [found.look([Answered(0.2, 200), Answered(0.001, 200)]) for _ in range(ROUNDS)]
    assert answers == [False] * (ROUNDS - 1) + [True]


def test_what_fails_or_gives_no_answer_is_not_at_rest() -> None:
    found = calm(Answered(0.2, 200))
    for answer in (Answered(None), Answered(0.001, 503)):
        assert not any(found.look([answer]) for _ in range(2 * ROUNDS))


def test_a_slow_first_answer_of_a_cold_clone_is_not_taken_for_its_pace() -> None:
    found = Calm([[Answered(9.0, 200)], *([[Answered(0.01, 200)]] * (FIRST_ROUNDS - 1))])
    assert not any(found.look([Answered(1.0, 200)]) for _ in range(2 * ROUNDS))


def test_a_request_that_fails_without_load_says_nothing() -> None:
    assert not calm(Answered(None), Answered(0.01, 500)).known
    found = calm(Answered(0.01, 500), Answered(0.01, 404))
    assert found.known
    assert [found.look([Answered(None), Answered(0.01, 404)]) for _ in range(ROUNDS)][-1]


def test_one_that_answers_nothing_while_it_is_waited_for_is_told_by_its_last_failure() -> None:
    found = calm(Answered(0.01, 200))
    found.begin()
    found.answered(Answered(None, failure="closed"))
    assert found.silence == ""  # the connection may have been of before
    found.answered(Answered(None, failure="refused"))
    found.answered(Answered(None))  # nothing was sent
    assert (found.silence, found.back) == ("refused", False)
    found.answered(Answered(0.01, 502))
    assert found.silence == "502"
    found.answered(Answered(9.0, 200))
    assert (found.silence, found.back) == ("", True)
    found.begin()
    assert not found.back
