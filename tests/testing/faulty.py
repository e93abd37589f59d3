"""Brokers that break one promise each. What they get wrong stands in their names."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from threading import Thread

import msgspec

from headwater.brokers.base import ChannelInfo, Feed, Page
from headwater.brokers.memory import MemoryBroker
from headwater.brokers.sqlite import SqliteBroker
from headwater.errors import ConfigurationError, PositionLost
from headwater.event import Draft, Event, Position, ResetReason


class LosesTheLastOfEachBatch(MemoryBroker):
    def _deliver(self, events: Sequence[Event]) -> None:
        super()._deliver(events[:-1])


class DeliversTwice(MemoryBroker):
    def _deliver(self, events: Sequence[Event]) -> None:
        super()._deliver(events)
        super()._deliver(events)


class DeliversEverything(MemoryBroker):
    def _deliver(self, events: Sequence[Event]) -> None:
        self._followed.update(event.channel for event in events)
        super()._deliver(events)


class DeliversInAnotherThread(MemoryBroker):
    def _deliver(self, events: Sequence[Event]) -> None:
        thread = Thread(target=super()._deliver, args=(events,))
        thread.start()
        thread.join()


class DeliversBeyondUpto(MemoryBroker):
    def _deliver(self, events: Sequence[Event]) -> None:
        if self._feed is not None and events:
            self._feed.receive(events, self._position(events[-1].position.seq - 1))


class TurnsUptoBack(MemoryBroker):
    def _deliver(self, events: Sequence[Event]) -> None:
        super()._deliver(events)
        if self._feed is not None:
            self._feed.receive((), self._position(0))


class DeliversAfterClosing(MemoryBroker):
    async def aclose(self) -> None:
        feed, head = self._feed, self._position(self._head)
        await super().aclose()
        if feed is not None:
            asyncio.get_running_loop().call_soon(feed.receive, (), head)


class PromisesTooMuch(MemoryBroker):
    async def follow(self, channels: Collection[str]) -> Position:
        position = await super().follow(channels)
        return self._position(max(0, position.seq - 1))


class NeverUnfollows(MemoryBroker):
    async def unfollow(self, channels: Collection[str]) -> None:
        pass


class UnfollowsAtOnceAndFollowsLater(MemoryBroker):
    async def follow(self, channels: Collection[str]) -> Position:
        await asyncio.sleep(0)
        return await super().follow(channels)


class TearsBatches(MemoryBroker):
    async def append(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        return tuple([position for draft in drafts for position in await super(TearsBatches, self).append([draft])])


class TearsBatchesWhenCancelled(MemoryBroker):
    async def append(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        positions: list[Position] = []
        for draft in drafts:
            await asyncio.sleep(0)
            positions += await super().append([draft])
        return tuple(positions)


class MixesBatchesUp(MemoryBroker):
    async def append(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        return (await super().append(drafts[::-1]))[::-1]


class ForgetsKeys(MemoryBroker):
    async def append(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        return await super().append([msgspec.structs.replace(draft, idempotency_key=None) for draft in drafts])


class SeesNoConflicts(MemoryBroker):
    async def append(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        known = [draft for draft in drafts if draft.idempotency_key in self._keys]
        if known:
            return tuple(self._position(self._keys[draft.idempotency_key or ""][2]) for draft in known)
        return await super().append(drafts)


class KeepsKeysForever(MemoryBroker):
    def _forget_keys(self, now: int) -> None:
        pass


class KeepsKeysWhileTheirEventsLast(MemoryBroker):
    def _forget_keys(self, now: int) -> None:
        for key, (_, _, seq) in list(self._keys.items()):
            if seq not in self._log:
                del self._keys[key]


class ReadsPastTheEnd(MemoryBroker):
    async def read(self, channels: Collection[str], after: int, until: int, limit: int = 500) -> Page:
        return await super().read(channels, after, 1 << 60, limit)


class ReadsTooMuch(MemoryBroker):
    async def read(self, channels: Collection[str], after: int, until: int, limit: int = 500) -> Page:
        return await super().read(channels, after, until, limit + 1)


class HidesWhatIsLost(MemoryBroker):
    async def read(self, channels: Collection[str], after: int, until: int, limit: int = 500) -> Page:
        return await super().read(channels, max(after, (await self.horizon(channels)).seq), until, limit)


class CriesWolf(MemoryBroker):
    async def read(self, channels: Collection[str], after: int, until: int, limit: int = 500) -> Page:
        if 0 < after <= (await self.horizon(channels)).seq:
            raise PositionLost(ResetReason.EXPIRED, "nothing, really")
        return await super().read(channels, after, until, limit)


class ReadsBackForwards(MemoryBroker):
    async def read_back(self, channels: Collection[str], before: int, limit: int = 500) -> Page:
        page = await super().read_back(channels, before, limit)
        return Page(page.events[::-1], page.end)


class ForgetsPermissions(MemoryBroker):
    def _add(self, draft: Draft, seq: int, now: int) -> Event:
        return super()._add(msgspec.structs.replace(draft, permissions=frozenset()), seq, now)


class StripsText(MemoryBroker):
    def _add(self, draft: Draft, seq: int, now: int) -> Event:
        return super()._add(msgspec.structs.replace(draft, data=draft.data.strip()), seq, now)


class HasNoClock(MemoryBroker):
    def _add(self, draft: Draft, seq: int, now: int) -> Event:
        return super()._add(draft, seq, 0)


class CountsCharacters(MemoryBroker):
    async def channels(self, prefix: str = "", limit: int = 1000) -> tuple[ChannelInfo, ...]:
        infos = await super().channels(prefix, limit)
        return tuple(msgspec.structs.replace(info, bytes=info.bytes - 1) for info in infos)


class KnowsNoHorizon(MemoryBroker):
    async def horizon(self, channels: Collection[str]) -> Position:
        return self._position(0)


class TellsTimeFromTheHead(MemoryBroker):
    async def position_at(self, time: int) -> Position:
        return self._position(self._head)


class SaysThatNothingWasPruned(MemoryBroker):
    async def prune(self, now: int) -> int:
        await super().prune(now)
        return 0


class StartsAgainWhenEmpty(MemoryBroker):
    async def prune(self, now: int) -> int:
        removed = await super().prune(now)
        self._head = max(self._log, default=0)
        return removed


class KeepsItsEpoch(MemoryBroker):
    def wipe(self) -> None:
        epoch = self._epoch
        super().wipe()
        self._epoch = epoch


class TellsNobodyOfTheNewEpoch(MemoryBroker):
    def wipe(self) -> None:
        self._begin()


class StaysOpen(MemoryBroker):
    async def aclose(self) -> None:
        pass


class ClosedAlready(Exception):
    pass


class ClosesOnce(MemoryBroker):
    async def aclose(self) -> None:
        if not self._is_open:
            raise ClosedAlready
        await super().aclose()


class DropsWhatIsPending(MemoryBroker):
    async def append(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return await super().append(drafts)


class NeedsAFeed(MemoryBroker):
    async def open(self, feed: Feed | None = None) -> Position:
        if feed is None:
            raise ConfigurationError("where is the feed?")
        return await super().open(feed)


class IsDeafToOthers(SqliteBroker):
    async def open(self, feed: Feed | None = None) -> Position:
        position = await super().open(feed)
        self._watcher.stop()
        return position


class ForgetsItsLog(SqliteBroker):
    async def open(self, feed: Feed | None = None) -> Position:
        self._path = self._path.with_name(f"{time.monotonic_ns()}.db")
        return await super().open(feed)


FAULTS: dict[str, tuple[type[MemoryBroker | SqliteBroker], ...]] = {
    "test_a_batch_has_increasing_positions_in_its_order": (MixesBatchesUp,),
    "test_a_cancelled_append_is_whole_or_nothing": (TearsBatchesWhenCancelled,),
    "test_a_closed_broker_does_nothing": (StaysOpen,),
    "test_a_key_is_forgotten_in_the_end": (KeepsKeysForever,),
    "test_a_key_is_remembered_after_its_event_is_gone": (KeepsKeysWhileTheirEventsLast,),
    "test_a_key_repeats_the_first_answer": (ForgetsKeys,),
    "test_a_key_with_any_other_content_is_a_conflict": (SeesNoConflicts, ForgetsKeys),
    "test_a_position_is_never_given_twice": (StartsAgainWhenEmpty,),
    "test_a_publisher_needs_no_feed": (NeedsAFeed,),
    "test_a_read_from_before_what_is_gone_says_so": (HidesWhatIsLost, CriesWolf),
    "test_a_refused_batch_leaves_nothing": (TearsBatches,),
    "test_an_event_is_what_its_draft_was": (ForgetsPermissions, StripsText),
    "test_channels_tells_what_there_is": (CountsCharacters,),
    "test_closing_lets_pending_appends_finish": (DropsWhatIsPending,),
    "test_closing_twice_is_closing_once": (ClosesOnce,),
    "test_events_carry_the_time_at_which_they_were_accepted": (HasNoClock,),
    "test_follow_adds": (LosesTheLastOfEachBatch, DeliversTwice, TurnsUptoBack, DeliversBeyondUpto),
    "test_follow_and_unfollow_keep_their_order": (UnfollowsAtOnceAndFollowsLater,),
    "test_follow_takes_effect_at_its_position": (PromisesTooMuch,),
    "test_position_at_is_before_the_first_event_of_that_time_or_later": (TellsTimeFromTheHead,),
    "test_prune_tells_how_many_went": (SaysThatNothingWasPruned,),
    "test_read_back_gives_the_newest_first": (ReadsBackForwards,),
    "test_read_goes_on_where_a_page_ended": (ReadsTooMuch,),
    "test_read_keeps_to_its_range_and_channels": (ReadsPastTheEnd,),
    "test_t25_the_hand_off_has_no_gap_and_no_double": (LosesTheLastOfEachBatch,),
    "test_t26_a_new_log_is_a_new_epoch": (KeepsItsEpoch, TellsNobodyOfTheNewEpoch),
    "test_t26_a_new_log_is_noticed_without_appending": (TellsNobodyOfTheNewEpoch,),
    "test_the_feed_has_an_event_before_append_returns": (
        LosesTheLastOfEachBatch,
        DeliversInAnotherThread,
        DeliversAfterClosing,
    ),
    "test_the_feed_has_only_what_is_followed": (DeliversEverything,),
    "test_the_horizon_is_where_complete_reads_begin": (KnowsNoHorizon,),
    "test_unfollow_ends_it": (NeverUnfollows,),
    "test_what_other_nodes_append_reaches_the_feed": (IsDeafToOthers,),
    "test_what_was_appended_outlives_the_broker": (ForgetsItsLog,),
}
"""Which tests of the contract must fail for which brokers."""
