"""A connection to the database that is made anew when it breaks, and what goes wrong with it in our words.

Knows psycopg and its errors, and neither events nor what the statements mean. One task at a time uses a link. A statement
that is not answered in time ends with the connection: the socket is shut down under it, because a server that has
stalled would not answer a request to cancel either.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.adapt import Dumper
from psycopg.rows import TupleRow

from headwater.brokers.postgres.address import Address
from headwater.brokers.postgres.sql import statements
from headwater.errors import BrokerUnavailable, ConfigurationError, HeadwaterError

GRACE = 0.5  # seconds that the server has beyond `timeout` to say itself that a statement takes too long

Failure = (psycopg.Error, OSError, HeadwaterError)
"""What a link may raise."""


class ArrayDumper(Dumper):
    """Lists of texts and integers to arrays, as one text: an append has thousands of values, and psycopg's own way takes
    longer over each of them than everything else that is done with it. The type is the server's to find out."""

    def dump(self, obj: list[str | int | None]) -> bytes:
        text = f"{{{_elements(obj)}}}"
        if "\0" in text:
            raise psycopg.DataError("PostgreSQL text cannot contain NUL")
        return text.encode()


def _elements(values: list[str | int | None]) -> str:
    kinds = set(map(type, values))
    if kinds == {int}:
        return str(values)[1:-1]
    if kinds == {type(None)}:
        return "NULL," * (len(values) - 1) + "NULL"
    return ",".join(map(_element, values))


def _element(value: str | int | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


class Link:
    """One connection.

    Args:
        address: of the database.

    Attributes:
        is_pooled: the last connection did not lead to the server itself.
    """

    def __init__(self, address: Address) -> None:
        self.is_pooled = False
        self._address = address
        self._statements = statements(address.options.schema)
        self._connection: AsyncConnection[TupleRow] | None = None

    async def use(self) -> AsyncConnection[TupleRow]:
        """The connection; made if there is none, or if the last one has ended while nobody used it.

        Raises:
            psycopg.Error, OSError: the server cannot be reached.
        """
        if self._connection is not None and not _lives(self._connection):
            await self.close()
        if self._connection is None:
            await self._connect()
        assert self._connection is not None
        return self._connection

    async def _connect(self) -> None:
        parameters = self._address.parameters
        try:
            self._connection = await AsyncConnection.connect(autocommit=True, **parameters)
        except psycopg.OperationalError as error:
            if "startup parameter" not in str(error):
                raise
            # A pooler that passes on no settings.
            plain = {name: value for name, value in parameters.items() if name != "options"}
            self._connection = await AsyncConnection.connect(autocommit=True, **plain)
        self._connection.adapters.register_dumper(list, ArrayDumper)
        # A pooler tells its clients a process id that is none.
        ((process,),) = await self._run(self._connection, "SELECT pg_backend_pid()", {})
        self.is_pooled = process != self._connection.info.backend_pid
        if self.is_pooled:
            self._connection.prepare_threshold = None  # sessions are lent out, and nothing may be left in them

    async def row(self, name: str, /, **parameters: Any) -> TupleRow:
        """Run a statement of `statements.sql` that answers with one row.

        Raises:
            psycopg.Error, OSError: it failed, or was not answered in time.
        """
        found = await self.rows(name, **parameters)
        if len(found) != 1:
            raise psycopg.DataError(f"{name} was answered with {len(found)} rows")
        return found[0]

    async def rows(self, name: str, /, **parameters: Any) -> list[TupleRow]:
        """The same for any number of rows."""
        return await self._run(await self.use(), self._statements[name], parameters)

    async def execute(self, statement: str) -> None:
        """Run SQL that answers nothing."""
        await self._run(await self.use(), statement, {})

    async def _run(
        self, connection: AsyncConnection[TupleRow], statement: str, parameters: dict[str, Any]
    ) -> list[TupleRow]:
        timer = asyncio.get_running_loop().call_later(self._address.options.timeout + GRACE, self.cut)
        try:
            cursor = await connection.execute(statement.encode(), parameters)
            return [] if cursor.description is None else await cursor.fetchall()
        finally:
            timer.cancel()

    def cut(self) -> None:
        """End the connection at once, whatever it is waiting for: that fails then."""
        if self._connection is not None and not self._connection.closed:
            with socket.socket(fileno=os.dup(self._connection.fileno())) as twin:
                twin.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """Close the connection, if there is one; the next use makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _lives(connection: AsyncConnection[TupleRow]) -> bool:
    """Whether the server has not ended the session meanwhile. Takes a microsecond or two: nothing is sent."""
    with suppress(psycopg.OperationalError):
        connection.pgconn.consume_input()  # why it has
        connection.pgconn.consume_input()  # that it has
    return not connection.closed


def is_missing(error: Exception) -> bool:
    """Whether an error says that the schema is not there, or not all of it."""
    return isinstance(
        error,
        psycopg.errors.UndefinedTable
        | psycopg.errors.UndefinedFunction
        | psycopg.errors.InvalidSchemaName
        | psycopg.errors.NoDataFound,
    )


_FOR_OPERATORS = (
    (r"password authentication failed|no password supplied", "check the password in the URL"),
    (r"no pg_hba\.conf entry|authentication failed", "let this role connect from here, in pg_hba.conf"),
    (r'role "[^"]*" does not exist', "create the role, or name another in the URL"),
    (r'database "[^"]*" does not exist', "create the database, or name another in the URL"),
    (r"is not permitted to log in", "let the role log in: ALTER ROLE ... LOGIN"),
)


def explain(error: Exception, address: Address, *, opening: bool = False) -> ConfigurationError | BrokerUnavailable:
    """What went wrong with the database, in our words.

    Args:
        error: what psycopg or the operating system raised.
        address: of the database.
        opening: nothing has worked yet, so waiting will not help where the operator must.
    """
    if isinstance(error, BrokerUnavailable):
        return error
    if isinstance(error, ConfigurationError):
        return error if opening else BrokerUnavailable(error.what, expected=error.expected, fix=error.fix)
    why = " ".join(str(error).split()) or type(error).__name__
    what = f"the log in {address} cannot be used: {why}"
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        fix = "grant this role what it needs: see docs/howto/row-changes.md"
        return ConfigurationError(what, fix=fix) if opening else BrokerUnavailable(what, fix=fix, retry_after=5)
    for pattern, fix in _FOR_OPERATORS:
        if re.search(pattern, why):
            return ConfigurationError(what, fix=fix) if opening else BrokerUnavailable(what, fix=fix, retry_after=5)
    return BrokerUnavailable(what, fix="look at the server and the way to it", retry_after=1)
