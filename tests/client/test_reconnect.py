"""When a client comes back, renews its token or gives up: decisions as values."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.client.reconnect import (
    DEFAULT_SILENCE,
    MAX_WAIT,
    Budget,
    Ending,
    Fail,
    Policy,
    Refresh,
    Silence,
    Step,
    Stop,
    Wait,
    Why,
    decide,
    parse_date,
    parse_retry_after,
)
from headwater.errors import ConfigurationError

LOST = Ending(why=Why.LOST, lasted=1.0)
STABLE = Ending(why=Why.LOST, lasted=60.0)
UNREACHABLE = Ending(why=Why.UNREACHABLE)


def refused(status: int, **kwargs: Any) -> Ending:
    """The end of an attempt that was refused."""
    return Ending(why=Why.REFUSED, status=status, **kwargs)


def after(*endings: Ending, policy: Policy = Policy(), chance: float = 1.0, **kwargs: Any) -> Step:  # noqa: B008
    """What is decided after the last of these ends."""
    budget, step = Budget(), None
    for ending in endings:
        budget, step = decide(budget, ending, policy, random=lambda: chance, **kwargs)
    assert step is not None
    return step


# Waiting


def test_the_wait_doubles_up_to_the_cap() -> None:
    """Each failure in a row doubles the most that the next wait can be, until the cap."""
    waits = [after(*[UNREACHABLE] * count) for count in range(1, 8)]
    assert waits == [Wait(seconds) for seconds in (1, 2, 4, 8, 16, 30, 30)]


@pytest.mark.parametrize("chance", [0.0, 0.25, 1.0])
def test_the_wait_is_any_part_of_its_bound(chance: float) -> None:
    """The jitter is full: clients that failed together come back spread over the whole time."""
    assert after(*[UNREACHABLE] * 4, chance=chance) == Wait(8 * chance)


def test_the_first_loss_of_a_stable_connection_is_free() -> None:
    """Losing a connection that had lasted is bad luck: the client comes back at once, and only once."""
    assert after(UNREACHABLE, UNREACHABLE, UNREACHABLE, STABLE) == Wait(0)
    assert after(STABLE, UNREACHABLE) == Wait(2)
    assert after(STABLE, STABLE) == Wait(0)


def test_a_short_connection_is_a_failure() -> None:
    """A hub that accepts and drops is not hammered: the waits grow as if it had not answered."""
    assert after(LOST, LOST, LOST) == Wait(4)


def test_silence_spends_the_budget_of_errors() -> None:
    """A connection that went silent, however long it had lasted, is a failure and not bad luck."""
    assert after(Ending(why=Why.SILENT, lasted=60.0)) == Wait(1)
    assert after(*[Ending(why=Why.SILENT, lasted=1.0)] * 3) == Wait(4)


def test_the_streams_retry_replaces_the_base() -> None:
    """The hub's `retry:` is what doubling starts from, and lifts the cap where it is larger."""
    assert after(UNREACHABLE, base=3.0) == Wait(3)
    assert after(UNREACHABLE, UNREACHABLE, base=60.0) == Wait(60)
    assert after(UNREACHABLE, base=0.0) == Wait(1)


def test_a_closing_frame_names_the_time() -> None:
    """The hub gives each client its own turn to come back: it is kept exactly, whether the connection had lasted or not."""
    for lasted in (0.1, 60.0):
        assert after(Ending(why=Why.CLOSING, lasted=lasted, retry=7.25)) == Wait(7.25)
    assert after(Ending(why=Why.CLOSING, lasted=60.0, retry=0.0)) == Wait(0)


def test_a_closing_frame_without_a_time_is_an_end() -> None:
    """Without a `retry:` of its own it is like any other end of a connection."""
    assert after(Ending(why=Why.CLOSING, lasted=60.0)) == Wait(0)
    assert after(Ending(why=Why.CLOSING, lasted=0.1)) == Wait(1)


def test_a_hub_that_always_closes_is_not_hammered() -> None:
    """Closing frames that say 0 every time do not make a busy loop."""
    assert after(*[Ending(why=Why.CLOSING, lasted=0.0, retry=0.0)] * 4) == Wait(8)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_statuses_that_may_pass_are_tried_again(status: int) -> None:
    """Server errors and limits are retried; `Retry-After` is kept, and the jitter comes on top so that clients which were
    told the same do not come back together."""
    assert after(refused(status)) == Wait(1)
    assert after(refused(status, retry_after=20.0), chance=0.5) == Wait(20.5)


def test_a_stable_poll_that_is_refused_still_waits_as_told() -> None:
    """`Retry-After` counts whatever went before."""
    assert after(refused(503, retry_after=20.0, lasted=60.0)) == Wait(21)


def test_no_server_sends_a_client_away_for_good() -> None:
    """However long the hub asks for, an hour is the most."""
    assert after(Ending(why=Why.CLOSING, lasted=60.0, retry=1e9)) == Wait(MAX_WAIT)
    assert after(refused(503, retry_after=1e9)) == Wait(MAX_WAIT)
    assert after(UNREACHABLE, base=1e9) == Wait(MAX_WAIT)


endings = st.builds(
    Ending,
    why=st.sampled_from(Why),
    lasted=st.none() | st.floats(0, 1e6),
    status=st.sampled_from([0, 200, 204, 301, 400, 401, 404, 429, 500, 503]),
    retry_after=st.none() | st.floats(0, 1e6),
    retry=st.none() | st.floats(0, 1e6),
)


@given(st.lists(endings, min_size=1, max_size=60), st.floats(0, 1), st.none() | st.floats(0, 1e9))
def test_waits_are_finite(seen: list[Ending], chance: float, base: float | None) -> None:
    """Whatever happens in whatever order, a wait is a number from 0 to an hour."""
    step = after(*seen, chance=chance, base=base)
    if isinstance(step, Wait):
        assert math.isfinite(step.seconds)
        assert 0 <= step.seconds <= MAX_WAIT


def test_a_thousand_failures_overflow_nothing() -> None:
    """A client that has failed for a year still computes its next wait."""
    assert after(*[UNREACHABLE] * 5000) == Wait(30)


# Stopping


def test_no_content_means_no_more() -> None:
    """204 ends the subscription without an error, as the standard has it."""
    assert after(refused(204)) == Stop()


@pytest.mark.parametrize("status", [201, 205, 301, 400, 403, 404, 406, 409, 410, 413, 422, 451])
def test_other_statuses_are_final(status: int) -> None:
    """What would be refused again is not asked again."""
    assert after(refused(status)) == Fail()


def test_attempts_are_counted_in_a_row() -> None:
    """With a limit, so many failures in a row are the last; a connection that lasted begins the count anew."""
    policy = Policy(attempts=3)
    assert after(UNREACHABLE, UNREACHABLE, policy=policy) == Wait(2)
    assert after(UNREACHABLE, refused(503), UNREACHABLE, policy=policy) == Fail()
    assert after(UNREACHABLE, UNREACHABLE, STABLE, UNREACHABLE, policy=policy) == Wait(2)
    assert after(UNREACHABLE, policy=Policy(attempts=1)) == Fail()


@pytest.mark.parametrize(
    "kwargs", [{"base": 0}, {"base": -1}, {"base": 31}, {"cap": 0.5}, {"stable": -1}, {"attempts": 0}]
)
def test_a_senseless_policy_cannot_exist(kwargs: dict[str, Any]) -> None:
    """Numbers that would make a busy loop or no attempt at all are a mistake."""
    with pytest.raises(ConfigurationError, match="makes no sense"):
        Policy(**kwargs)


# Tokens


def test_a_refused_token_is_renewed_once() -> None:
    """The first 401 asks for a new token at once; a second in a row is final."""
    assert after(refused(401), can_refresh=True) == Refresh()
    assert after(refused(401), refused(401), can_refresh=True) == Fail()
    assert after(refused(401), UNREACHABLE, refused(401), can_refresh=True) == Fail()


def test_a_fixed_token_is_not_renewed() -> None:
    """Without a function to ask there is nothing to try."""
    assert after(refused(401)) == Fail()


def test_a_token_that_was_good_may_be_renewed_again() -> None:
    """Once a connection has been open, the next 401 is a first one: for streams, and for polls that are refused."""
    assert after(refused(401), LOST, refused(401), can_refresh=True) == Refresh()
    assert after(refused(401), refused(401, lasted=3.0), can_refresh=True) == Refresh()


# Retry-After


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("9" * 400, MAX_WAIT),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 19.0),
        ("Friday, 31-Dec-99 23:59:59 GMT", 19.0),
        ("Fri Dec 31 23:59:59 1999", 19.0),
        ("Fri, 31 Dec 1999 23:00:00 GMT", 0.0),
        ("Fri, 31 Dec 2999 23:59:59 GMT", MAX_WAIT),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("\u0661", None),
        ("\u00b2", None),
        ("Fri, 99 Dec 1999 23:59:59 GMT", None),
        ("Fri, 31 Dec 99999999 23:59:59 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """Seconds or any of the three forms of an HTTP date; a moment that is over is 0, and nonsense is nothing."""
    assert parse_retry_after(value, now=946684780.0) == seconds


@given(st.text(max_size=40))
def test_retry_after_takes_any_text(value: str) -> None:
    """No header makes the client fail."""
    seconds = parse_retry_after(value, now=0.0)
    assert seconds is None or 0 <= seconds <= MAX_WAIT


def test_a_date_that_is_missing() -> None:
    """No header is no date."""
    assert parse_date(None) is None


# Silence


def heartbeats(silence: Silence, *times: str) -> None:
    """Take heartbeats with these timestamps."""
    for time in times:
        silence.heartbeat(f'{{"timestamp":"2026-01-01T00:{time}Z"}}')


def test_silence_is_three_default_heartbeats_at_first() -> None:
    """Before it knows the hub, the client waits for three of the default intervals; one heartbeat tells nothing."""
    silence = Silence()
    assert silence.seconds == DEFAULT_SILENCE == 45
    heartbeats(silence, "00:00.000")
    assert silence.seconds == 45


@pytest.mark.parametrize(("second", "seconds"), [("00:10.000", 30), ("01:00.000", 180), ("00:00.500", 5)])
def test_silence_is_learnt_from_heartbeats(second: str, seconds: float) -> None:
    """Three of the hub's own intervals, longer or shorter than the default, but never less than five seconds."""
    silence = Silence()
    heartbeats(silence, "00:00.000", second)
    assert silence.seconds == seconds


def test_a_new_connection_begins_a_new_rhythm() -> None:
    """The gap between two connections is no interval; what was learnt stays until there is better."""
    silence = Silence()
    heartbeats(silence, "00:00.000", "00:10.000")
    silence.opened()
    heartbeats(silence, "10:00.000")
    assert silence.seconds == 30
    heartbeats(silence, "10:02.000")
    assert silence.seconds == 6


def test_the_same_heartbeat_twice_is_no_interval() -> None:
    """A clock that stands still or runs backwards teaches nothing."""
    silence = Silence()
    heartbeats(silence, "00:10.000", "00:10.000", "00:02.000")
    assert silence.seconds == 45


@pytest.mark.parametrize(
    "data",
    [
        *["", "null", "[]", "{}", '{"timestamp":1}', '{"timestamp":"soon"}', '{"timestamp":null}', "{", '"x"'],
        '{"timestamp":"0001-01-01T00:00:00"}',
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_other_heartbeats_are_ignored(data: str) -> None:
    """A heartbeat of another shape is a sign of life and tells no time."""
    silence = Silence()
    silence.heartbeat(data)
    silence.heartbeat(data)
    assert silence.seconds == 45


def test_silence_may_be_fixed() -> None:
    """The application's own number stands, whatever the heartbeats say; 0 is for ever."""
    silence = Silence(12)
    heartbeats(silence, "00:00.000", "01:00.000")
    assert silence.seconds == 12
    assert Silence(0).seconds is None
