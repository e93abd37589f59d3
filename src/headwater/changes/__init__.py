"""Row changes: what happens in tables of Postgres, as events.

grammar    the filter language
templates  texts and data with columns in them
change     one changed row
rules      what the application declares
table      what the database has
compile    rules and columns to conditions in SQL
"""

from collections.abc import Callable, Iterable

from headwater.changes.change import Change, Operation
from headwater.changes.rules import Rule
from headwater.errors import ConfigurationError

__all__ = ["Change", "Operation", "Rule", "install_rules"]


async def install_rules(
    database: str, rules: Iterable[Rule], *, say: Callable[[str], object] = lambda line: None
) -> int:
    """What `headwater pg install` does, for an application that prepares its own database: make the schema and the triggers
    that are missing or differ, and take away those of rules that are gone. May be called at every start, by several
    processes at the same time, too.

    Args:
        database: a postgresql:// URL, of a role that may do it.
        rules: all that there should be.
        say: gets a line for each thing that is done.

    Returns:
        how many triggers were made or taken away.

    Raises:
        InvalidInput: a rule does not fit its table. Nothing was done.
        ConfigurationError: the URL is malformed, the role may not do it, the server is too old, or psycopg is missing.
        BrokerUnavailable: the database does not answer, or a table is locked for too long.
    """
    try:
        from headwater.brokers.postgres.address import parse
        from headwater.changes.install import connected, install
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"row changes need {error.name}, which is not installed",
            fix="install it with: pip install 'headwater[postgres]'",
        ) from error
    address = parse(database)
    async with connected(address) as connection:
        return await install(connection, rules, home=address.options.schema, say=say)
