"""The splits without a fit, and which split a server gets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokwatt.economics.phases.choose import Offers, choose
from tokwatt.economics.phases.split import IDLE, UNSPLIT, Shares, Splitter, Tick


def ticks(count: int, **given: Any) -> list[Tick]:
    return [Tick(float(at), at + 1.0, joules=100.0, **given) for at in range(count)]


def settle(splitter: Splitter, taken: list[Tick]) -> list[Shares]:
    for tick in taken:
        splitter.take(tick)
    return [shares for _, shares in splitter.settled()]


def test_a_prefill_server_gives_its_busy_energy_to_prefill() -> None:
    splitter = choose(role="prefill", offers=Offers(tokens=False))
    assert splitter.method == "role"
    assert settle(splitter, [*ticks(1), *ticks(1, idle=True), *ticks(1, read=False)]) == [
        Shares(prefill=1.0),
        IDLE,
        UNSPLIT,
    ]
    assert (splitter.reason, splitter.estimate) == ("", None)


def test_a_decode_server_gives_its_busy_energy_to_decode() -> None:
    assert settle(choose(role="decode", method="fit", offers=Offers(tokens=True)), ticks(1)) == [Shares(decode=1.0)]


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"role": "support"}, "support"),
        ({"method": "none"}, "configuration"),
        ({"offers": Offers(tokens=False)}, "does not count"),
        ({"method": "counters"}, "seconds of each phase"),
    ],
)
def test_without_a_method_energy_is_unsplit_for_a_reason(asked: dict[str, Any], word: str) -> None:
    splitter = choose(**{"offers": Offers(tokens=True), **asked})
    assert splitter.method == "none"
    assert settle(splitter, [*ticks(1), *ticks(1, idle=True)]) == [UNSPLIT, IDLE]
    assert word in splitter.reason


@pytest.mark.parametrize(
    ("asked", "method"),
    [
        ({}, "fit"),
        ({"method": "fit", "offers": Offers(tokens=True, phase_seconds=True)}, "fit"),
        ({"offers": Offers(tokens=True, phase_seconds=True)}, "counters"),
        ({"method": "weights", "decode_per_prefill": 8.0}, "weights"),
    ],
)
def test_the_best_method_that_a_server_offers(asked: dict[str, Any], method: str) -> None:
    assert choose(**{"offers": Offers(tokens=True), **asked}).method == method


@pytest.mark.parametrize(
    "asked", [{"method": "weights"}, {"method": "guess"}, {"method": "weights", "decode_per_prefill": 0}]
)
def test_a_wrong_wish_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"ratio|known are|positive"):
        choose(offers=Offers(tokens=True), **asked)


def test_weights_split_by_the_users_ratio_over_the_last_ten_seconds() -> None:
    splitter = choose(method="weights", decode_per_prefill=5.0, offers=Offers(tokens=True))
    assert "starting" in splitter.reason
    taken = [Tick(float(at), at + 1.0, prompt_tokens=100.0 if at == 9 else 0.0, decode_tokens=20.0) for at in range(30)]
    shares = [one.prefill for one in settle(splitter, taken)]
    assert shares[:9] == [0.0] * 9
    assert shares[9:19] == [pytest.approx(100 / 1100)] * 10  # a prompt counts for as long as it is looked back
    assert shares[19:] == [0.0] * 11
    assert splitter.reason == ""


def test_weights_leave_ticks_without_tokens_unsplit() -> None:
    splitter = choose(method="weights", decode_per_prefill=5.0, offers=Offers(tokens=True))
    assert settle(splitter, ticks(10, prompt_tokens=0.0, decode_tokens=0.0)) == [UNSPLIT] * 10


@given(
    st.lists(
        st.tuples(st.none() | st.floats(0, 1e5), st.none() | st.floats(0, 1e5), st.booleans(), st.booleans()),
        max_size=40,
    ),
    st.floats(0.01, 100),
)
def test_weights_shares_sum_to_one_in_order(
    rows: list[tuple[float | None, float | None, bool, bool]], ratio: float
) -> None:
    splitter = choose(method="weights", decode_per_prefill=ratio, offers=Offers(tokens=True))
    taken = [
        Tick(float(at), at + 1.0, read=read, idle=idle, prompt_tokens=prompt, decode_tokens=decode)
        for at, (prompt, decode, read, idle) in enumerate(rows)
    ]
    settled = []
    for tick in taken:
        splitter.take(tick)
        settled += splitter.settled()
    assert [tick for tick, _ in settled] == taken
    for _, shares in settled:
        assert shares.prefill + shares.decode + shares.idle + shares.unsplit == pytest.approx(1.0)
