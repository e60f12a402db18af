import statistics
from itertools import pairwise

import pytest

from tokwatt.simulate.fleet import CHAT_DAY
from tokwatt.simulate.load import ClosedLoop, Constant, Day, Load, Mix, Request, over_day


def until(load: Load, end_seconds: float) -> list[Request]:
    requests = []
    while load.peek() <= end_seconds:
        requests.append(load.take())
    return requests


def day(seed: int = 1) -> Day:
    return Day(CHAT_DAY, start_seconds=100.0, seed=seed)


def test_constant_load_keeps_its_rate():
    load = Constant(Mix(100, 50), start_seconds=50.0, per_second=20.0, seed=1)
    arrivals = [request.arrives_at_seconds for request in until(load, 150.0)]
    assert len(arrivals) == pytest.approx(2000, rel=0.1)
    assert arrivals == sorted(arrivals)
    gaps = [b - a for a, b in pairwise(arrivals)]
    assert statistics.stdev(gaps) == pytest.approx(statistics.mean(gaps), rel=0.15)  # Poisson


def test_bursts_leave_silence_between():
    load = Constant(Mix(100, 50), start_seconds=10.0, per_second=50.0, seed=1, on_seconds=2.0, off_seconds=8.0)
    into_cycle = [(request.arrives_at_seconds - 10.0) % 10.0 for request in until(load, 60.0)]
    assert len(into_cycle) == pytest.approx(500, rel=0.2)
    assert max(into_cycle) <= 2.0


def test_same_seed_same_requests():
    assert until(day(1), 300.0) == until(day(1), 300.0)
    assert until(day(1), 300.0) != until(day(2), 300.0)


def test_day_has_night_and_rush_and_its_requests_change():
    load = day()
    by_hour: dict[int, list[Request]] = {}
    for request in until(load, 100.0 + 600.0):
        by_hour.setdefault(int(load.hour_at(request.arrives_at_seconds)), []).append(request)
    night = by_hour[2] + by_hour[3] + by_hour[4]
    evening = by_hour[19] + by_hour[20] + by_hour[21]
    assert len(evening) > 5 * len(night)

    def prompt(requests: list[Request]) -> float:
        return statistics.median(request.prompt_tokens for request in requests)

    assert prompt(night) > 2 * prompt(evening)


def test_a_request_always_computes_at_least_one_token():
    load = Constant(Mix(20, 5, cached_ratio=1.0, spread=1.5), start_seconds=0.0, per_second=100.0, seed=1)
    for request in until(load, 30.0):
        assert 0 <= request.cached_tokens < request.prompt_tokens
        assert request.cached_tokens % 16 == 0
        assert request.output_tokens >= 1


def test_closed_loop_keeps_its_users():
    load = ClosedLoop(Mix(10, 10), start_seconds=5.0, users=3, seed=1, pause_seconds=2.0)
    assert len(until(load, 1000.0)) == 3
    load.ended(20.0)
    assert load.peek() == 22.0
    assert len(until(load, 1000.0)) == 1


def test_levels_of_a_day_are_joined_round_midnight():
    points = ((6.0, 0.0), (18.0, 12.0))
    assert over_day(points, 6.0) == 0.0
    assert over_day(points, 12.0) == 6.0
    assert over_day(points, 0.0) == 6.0
    assert over_day(points, 23.0) == pytest.approx(7.0)
