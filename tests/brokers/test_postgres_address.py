"""The URL of a log in PostgreSQL, and the names that its schema may have."""

from __future__ import annotations

import pytest

from headwater.brokers import open_broker
from headwater.brokers.base import Retention, Rule
from headwater.brokers.postgres import Address, Options, PostgresBroker, from_url, parse
from headwater.brokers.postgres.sql import check_schema, localised, migrations, quoted, statements
from headwater.errors import ConfigurationError


def test_a_url_names_the_database_and_how_it_is_used() -> None:
    """Options of ours are taken out of the query; what is left is libpq's, and comes before our defaults."""
    address = parse("postgresql://me:secret@db:5433/app?schema=sse&wait=2.5&sslmode=require&connect_timeout=9")
    assert address.options == Options(schema="sse", wait=2.5)
    expected = {"host": "db", "port": "5433", "user": "me", "password": "secret", "dbname": "app", "sslmode": "require"}
    assert expected.items() <= address.parameters.items()
    assert address.parameters["connect_timeout"] == "9"
    assert address.parameters["target_session_attrs"] == "read-write"
    assert "statement_timeout=5000" in address.parameters["options"]
    assert str(address) == "db:5433/app"
    assert str(parse("postgres://db/app")) == "db/app"


def test_a_broker_is_opened_by_url() -> None:
    """With what the log keeps."""
    retention = Retention(rules=(Rule(count=1),))
    broker = open_broker("postgresql://db/app?schema=a%22b", retention=retention)
    assert isinstance(broker, PostgresBroker)
    assert broker.address.options.schema == 'a"b'
    assert broker.retention == retention


@pytest.mark.parametrize(
    "query",
    [
        "wait=soon",
        "wait=0",
        "timeout=0",
        "timeout=61",
        "schema=",
        "capture_for=1",
        "publish_for=x",
        "nonsense=1",
        "wait",
    ],
)
def test_a_malformed_option_is_refused(query: str) -> None:
    """With the options that there are, and without the password."""
    with pytest.raises(ConfigurationError) as caught:
        from_url(f"postgresql://me:secret@db/app?{query}", Retention())
    assert "secret" not in str(caught.value)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("name", ["", "public", "pg_temp", "pg_x", "a" * 64, "é" * 32, "a\nb", "a\x00b", "a\udc80"])
def test_a_schema_that_cannot_be_is_refused(name: str) -> None:
    """Empty, somebody else's, too long to be told from others, or with what would end a comment."""
    with pytest.raises(ConfigurationError, match="cannot be the schema"):
        check_schema(name)
    with pytest.raises(ConfigurationError, match="cannot be the schema"):
        Address({}, Options(schema=name))


def test_another_schema_stands_in_the_place_of_headwater() -> None:
    """As an identifier, as a text, and nowhere else."""
    text = (
        "CREATE SCHEMA IF NOT EXISTS headwater; headwater.log 'headwater' 'headwater.notify' headwaters.x $body$ $body$"
    )
    assert localised(text, "headwater").count('"headwater"') == 2
    replaced = localised(text, "a\"b'$body$")
    assert replaced == (
        'CREATE SCHEMA IF NOT EXISTS "a""b\'$body$"; "a""b\'$body$".log'
        " E'a\\U00000022b\\U00000027\\U00000024body\\U00000024' 'headwater.notify' headwaters.x $body_$ $body_$"
    )


def test_each_statement_and_each_migration_is_found_by_name() -> None:
    """A percent sign in the schema's name is none of psycopg's; files are applied in the order of their numbers."""
    assert '"100%%"."x"' not in statements("100%")["head"]
    assert '"100%%".head' in statements("100%")["head"]
    assert [number for number, _, _ in migrations()] == list(range(1, len(migrations()) + 1))
    assert quoted('a"b') == '"a""b"'
