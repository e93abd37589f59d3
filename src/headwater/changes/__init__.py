"""Row changes: what happens in tables of Postgres, as events.

grammar    the filter language
templates  texts and data with columns in them
change     one changed row
rules      what the application declares
table      what the database has
compile    rules and columns to conditions in SQL
"""

from headwater.changes.change import Change, Operation
from headwater.changes.rules import Rule

__all__ = ["Change", "Operation", "Rule"]
