"""`Relay`: takes what triggers and publishing transactions leave in a database's outbox to the log of a hub.

Where the log is in that database, its broker does that anyway, and only has to know what changes become. Otherwise a session
of our own leads, and hands the events to the other broker. Knows brokers, and nothing of hubs and HTTP.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from headwater.brokers.base import Broker, Grade
from headwater.brokers.postgres.address import Address, parse
from headwater.brokers.postgres.broker import PostgresBroker
from headwater.brokers.postgres.leader import Leader
from headwater.brokers.postgres.link import Link
from headwater.brokers.postgres.migrate import migrate
from headwater.brokers.postgres.sequencer import OtherBroker
from headwater.brokers.postgres.session import Session
from headwater.changes.doctor import look_at_triggers
from headwater.changes.install import connected, is_ours
from headwater.changes.mapping import Mapper
from headwater.changes.rules import Rule
from headwater.errors import BrokerUnavailable, ConfigurationError

log = logging.getLogger("headwater.changes")


class Relay:
    """Events of a database, for as long as it runs.

    Args:
        broker: the log. To be opened before `start`, and closed after `stop`.
        database: URL of the database; None for the one that the log is in.
        rules: what changes of rows become. Without any, only what transactions publish is taken.

    Attributes:
        mapper: with its counts.

    Raises:
        InvalidInput: two rules have the same name.
        ConfigurationError: no database is named, and the log is in none; or the URL is malformed; or the log is in that
            database, and open.
    """

    def __init__(self, broker: Broker, database: str | None = None, rules: Iterable[Rule] = ()) -> None:
        self._rules = tuple(rules)
        self.mapper = Mapper(self._rules)
        self._broker = broker
        self._session: Session | None = None
        self._leader: Leader | None = None
        own = broker.address if isinstance(broker, PostgresBroker) else None
        if own is None and database is None:
            raise ConfigurationError(
                "there are rules for row changes, and no database", expected="HEADWATER_DATABASE, a postgresql:// URL"
            )
        self._address = parse(database) if database is not None else own
        assert self._address is not None
        self._is_own = own is not None and _place(own) == _place(self._address)
        if isinstance(broker, PostgresBroker) and self._is_own and self._rules:
            broker.map_changes(self.mapper)

    @property
    def is_leader(self) -> bool:
        """Whether this process takes from the outbox now."""
        if isinstance(self._broker, PostgresBroker) and self._is_own:
            return self._broker.is_leader
        return self._leader is not None and self._leader.is_leading

    def counters(self) -> Mapping[str, int]:
        """What became of changes that are not simply delivered, as `headwater.brokers.base.Counting` has it."""
        mapper = self.mapper
        return {
            "changes_dead": mapper.dead,
            "changes_unknown": mapper.unknown,
            "changes_unaddressed": mapper.unaddressed,
        }

    async def start(self) -> None:
        """Begin. A database that does not answer now is waited for; what is wrong with its triggers is logged.

        Raises:
            ConfigurationError: the schema is missing, and this role may not make it.
        """
        assert self._address is not None
        try:
            await self._look(self._address)
        except BrokerUnavailable as error:
            log.warning("%s", error)
        if not self._is_own:
            link = Link(self._address)
            self._leader = Leader(
                link,
                self._address.options,
                OtherBroker(link, self._broker),
                mapping=self.mapper if self._rules else None,
            )
            self._session = Session(link, self._address, [self._leader], lost=lambda: None)
            self._session.start()

    async def stop(self) -> None:
        """Let what is being handed over arrive, and end. Idempotent."""
        session, self._session, self._leader = self._session, None, None
        if session is not None:
            await session.stop()

    async def _look(self, address: Address) -> None:
        home = address.options.schema
        async with connected(address) as connection:
            if not await is_ours(connection, home):
                await migrate(connection, home)
            async for finding in look_at_triggers(connection, self._rules, home):
                if finding.grade is not Grade.GOOD:
                    log.warning("%s", finding.text)


def _place(address: Address) -> tuple[object, ...]:
    """What two addresses of the same schema in the same database have in common."""
    return (*(address.parameters.get(name) for name in ("host", "port", "dbname")), address.options.schema)
