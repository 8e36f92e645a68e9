from __future__ import annotations

from gateway.media.effort import BUSY, COMPLEXITY, EASE, PATIENCE, Effort

PERIOD = 0.5


class Worker:
    """A worker of which is known how busy it is."""

    def __init__(self) -> None:
        self.effort = Effort(PERIOD)
        self.now = self.spent = 100.0
        self.effort.observe(self.now, self.spent)

    def works(self, share: float, seconds: float, period: float = PERIOD) -> list[int]:
        """The complexities that come of it, one for each period."""
        came = []
        for _ in range(round(seconds / period)):
            self.now += period
            self.spent += share * period
            came.append(self.effort.observe(self.now, self.spent))
        return came


def test_a_worker_at_ease_tries_as_hard_as_it_is_meant_to() -> None:
    assert set(Worker().works(EASE - 0.1, 60)) == {COMPLEXITY}


def test_a_busy_worker_gives_up_complexity_before_its_calls_suffer() -> None:
    worker = Worker()
    assert worker.works(BUSY + 0.05, 2) == [3, 1, 0, 0]
    assert worker.effort.share > BUSY


def test_it_comes_back_step_by_step_and_only_when_there_is_room() -> None:
    worker = Worker()
    worker.works(BUSY + 0.05, 2)
    assert set(worker.works((BUSY + EASE) / 2, 60)) == {0}
    came = worker.works(EASE - 0.1, 6 * PATIENCE)
    assert came == sorted(came)
    assert [came.count(step) for step in (1, 2, 3, 4)] == [PATIENCE / PERIOD] * 4
    assert came[-1] == COMPLEXITY


def test_a_moment_at_ease_is_no_reason_to_come_back() -> None:
    worker = Worker()
    worker.works(BUSY + 0.05, 1)
    for _ in range(10):
        worker.works(EASE - 0.1, PATIENCE - PERIOD)
        worker.works(EASE + 0.1, PERIOD)
    assert worker.effort.complexity == 1


def test_a_worker_that_does_not_get_round_is_busy_however_little_it_was_let_work() -> None:
    assert Worker().works(0.2, 3, period=PERIOD * 2)[-1] == 0


def test_a_clock_that_stands_still_changes_nothing() -> None:
    worker = Worker()
    assert worker.effort.observe(worker.now, worker.spent + 1) == COMPLEXITY
