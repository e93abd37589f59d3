-- The log's tables. Statements end with a semicolon at the end of a line; each runs by itself, all in one transaction.

-- One row: which life of the log this is and how far it has come. `head` is also the source of new positions, so that
-- none is ever given twice, whatever retention has removed. `floor` is the mark of every channel that has no row.
CREATE TABLE log (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch TEXT NOT NULL,
    head INTEGER NOT NULL,
    time INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    floor INTEGER NOT NULL
);

-- Names become small integers in `event`. `events` and `bytes` count what is retained; `mark` is the newest position
-- that retention has removed from the channel.
CREATE TABLE channel (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    events INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    mark INTEGER NOT NULL,
    last INTEGER NOT NULL,
    last_time INTEGER NOT NULL
);

CREATE INDEX channel_empty ON channel (mark) WHERE events = 0;

-- `size`, the bytes of `data`, stands before it so that retention never reads a large event's overflow pages.
-- A `type` of NULL is "message"; `permissions` are separated by spaces, NULL for none.
CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    channel INTEGER NOT NULL,
    time INTEGER NOT NULL,
    size INTEGER NOT NULL,
    text INTEGER NOT NULL,
    type TEXT,
    permissions TEXT,
    data TEXT NOT NULL
);

-- An index entry ends with the row's id, so this is (channel, seq).
CREATE INDEX event_by_channel ON event (channel);

-- Idempotency keys, by the position that their first draft got.
CREATE TABLE key (
    seq INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    key TEXT NOT NULL UNIQUE
);
