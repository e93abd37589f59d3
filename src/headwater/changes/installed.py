"""What is installed: the triggers of rules that a database has, as it says itself.

The functions in our schema carry in their comments whose they are, what they were made of, and what Postgres made of that.
So nothing has to be kept anywhere else, and a dump and its restore take it along.
"""

from __future__ import annotations

from typing import Final

import msgspec

from headwater.changes.table import Connection
from headwater.changes.triggers import Trigger


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """A function of ours, and the trigger that calls it, if there still is one.

    Attributes:
        name: of both.
        rule, operation: for which they were made.
        schema, table: on which the trigger was made.
        made: fingerprint of the statements that made them.
        found: fingerprint of what the catalog said of them then.
        now: the same now; None if there is no such trigger any more.
        place: schema and table where the trigger is now; None if there is none.
        enabled: `O` for yes, `A` for always, `R` for replicas only, `D` for no.
    """

    name: str
    rule: str
    operation: str
    schema: str
    table: str
    made: str
    found: str | None = None
    now: str | None = None
    place: tuple[str, str] | None = None
    enabled: str = "O"

    @property
    def is_intact(self) -> bool:
        """Whether it is as it was made, and fires."""
        return self.now is not None and self.now == self.found and self.enabled in "OA" and not self.has_moved

    @property
    def has_moved(self) -> bool:
        """Whether the table has another name by now."""
        return self.place is not None and self.place != (self.schema, self.table)

    def is_made_for(self, trigger: Trigger) -> bool:
        """Whether nothing has to be done to have this trigger."""
        return self.is_intact and self.made == trigger.fingerprint


async def read_installed(connection: Connection, home: str) -> dict[str, Installed]:
    """Everything that is installed, by name.

    Args:
        connection: whose search path is `pg_catalog` alone, because how the catalog writes a definition depends on it.
        home: the schema that is Headwater's own.
    """
    rows = await (await connection.execute(_INSTALLED, {"home": home})).fetchall()
    found = [
        msgspec.convert({**known, "name": name, "now": now, "place": place, "enabled": enabled}, Installed)
        for name, known, now, place, enabled in rows
    ]
    return {each.name: each for each in found}


_INSTALLED: Final = """
SELECT p.proname, d.description::jsonb, md5(pg_get_triggerdef(t.oid) || pg_get_functiondef(p.oid)),
    CASE WHEN t.oid IS NOT NULL THEN array[n.nspname, c.relname] END, coalesce(t.tgenabled, 'O')::text
FROM pg_proc AS p
JOIN pg_description AS d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass
LEFT JOIN pg_trigger AS t ON t.tgfoid = p.oid AND t.tgparentid = 0
LEFT JOIN pg_class AS c ON c.oid = t.tgrelid
LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = %(home)s)
    AND p.prorettype = 'trigger'::regtype AND d.description LIKE '{"made": %%'
ORDER BY p.proname
"""
