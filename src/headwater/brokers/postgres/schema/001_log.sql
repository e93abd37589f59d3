-- The log of the Postgres broker: its tables, and the functions that write it.
--
-- Written for a schema named headwater; `migrate.py` puts another name in its place.
--
-- Nothing here is counted in rows that change with each event. A row that changes leaves a dead version behind, and while
-- any transaction of the database stays open, however little it has to do with us, none of them can be cleared away:
-- whoever looks for the live one walks past them all. So an event carries its running numbers itself, and only
-- retention, which comes by every few seconds, changes rows.

-- One row: which life of the log this is. To write the log is to hold this row's lock until the commit, so the order of
-- positions is the order of commits, positions have no gaps, and whoever sees one event sees every earlier one.
CREATE TABLE headwater.head (
    id smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    epoch text NOT NULL,
    identity text, -- of the database this life is in (see `identity`); null until the first node came
    incarnation uuid NOT NULL DEFAULT gen_random_uuid(), -- begins the idempotency keys of what goes to another broker
    fence bigint NOT NULL DEFAULT 0, -- the number of the leader; each new one raises it
    leader text -- who that is or was, for people to read
);

CREATE TABLE headwater.log (
    pos bigint PRIMARY KEY,
    at bigint NOT NULL, -- milliseconds of Unix time by the database's clock; never less than before
    channel text COLLATE "C" NOT NULL,
    nth bigint NOT NULL, -- in the channel, without gaps: the last one's less the first one's, plus 1, is how many there are
    size integer NOT NULL, -- bytes of data
    channel_bytes bigint NOT NULL, -- the sum of sizes in the channel, through this one
    log_bytes bigint NOT NULL, -- the same in the whole log
    kind "char" NOT NULL, -- j: JSON; t: text; e: text with a NUL, which Postgres cannot hold, as a JSON string
    type text, -- null for message, which almost all are
    permissions text, -- separated by spaces; null for none
    source bigint, -- the number that the event had in the outbox, if it came from there
    data text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.2);

CREATE INDEX log_by_channel ON headwater.log (channel, pos);

-- Each channel that has events, and of those that have none any more the ones that were emptied last. `mark` is the newest
-- position that retention has removed. `emptied` may be out of date: an event that comes later does not change the row.
CREATE TABLE headwater.channel (
    name text COLLATE "C" PRIMARY KEY,
    mark bigint NOT NULL,
    emptied boolean NOT NULL DEFAULT false
);

CREATE INDEX channel_emptied ON headwater.channel (mark) WHERE emptied;

-- One row: what retention has removed from the log as a whole. `pos`, `at` and `log_bytes` are those of the newest event
-- that it has removed; `floor` is the mark of each channel that has no row.
CREATE TABLE headwater.retained (
    id smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    pos bigint NOT NULL DEFAULT 0,
    at bigint NOT NULL DEFAULT 0,
    log_bytes bigint NOT NULL DEFAULT 0,
    removed_bytes bigint NOT NULL DEFAULT 0,
    floor bigint NOT NULL DEFAULT 0
);

-- Idempotency keys, and the position that the first draft with each has got.
CREATE TABLE headwater.key (
    key text COLLATE "C" PRIMARY KEY,
    pos bigint NOT NULL,
    at bigint NOT NULL,
    print text NOT NULL -- fingerprint of the draft
);

CREATE INDEX key_by_pos ON headwater.key (pos);

-- What was answered to recent appends. A node whose connection broke before the answer came asks again under the same
-- id, and nothing is appended twice.
CREATE TABLE headwater.operation (
    id uuid PRIMARY KEY,
    at bigint NOT NULL,
    answer bigint[] NOT NULL
);

-- The newest event that there has been, whether it is still there or not. Everything after the newest removed event is
-- live, so the search passes no dead rows.
CREATE VIEW headwater.newest AS
SELECT coalesce(l.pos, r.pos) AS pos, coalesce(l.at, r.at) AS at, coalesce(l.log_bytes, r.log_bytes) AS log_bytes
FROM headwater.retained AS r
LEFT JOIN LATERAL (
    SELECT pos, at, log_bytes FROM headwater.log WHERE pos > r.pos ORDER BY pos DESC LIMIT 1
) AS l ON true;

CREATE FUNCTION headwater.new_epoch() RETURNS text LANGUAGE sql VOLATILE AS
$body$ SELECT substr(replace(gen_random_uuid()::text, '-', ''), 1, 10) $body$;

-- What tells this database from a copy of it and from its own past: the cluster, the database in it, and the timeline,
-- which changes when a backup is brought to a point in time and when a replica takes over. A provider that forbids one
-- of the questions gets by without it.
CREATE FUNCTION headwater.identity() RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS
$body$
DECLARE
    cluster text;
    timeline text;
BEGIN
    BEGIN
        cluster := (SELECT system_identifier FROM pg_control_system());
    EXCEPTION WHEN OTHERS THEN
        cluster := '?';
    END;
    BEGIN
        timeline := substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8);
    EXCEPTION WHEN OTHERS THEN
        timeline := '?';
    END;
    RETURN concat_ws('/', cluster, (SELECT oid FROM pg_database WHERE datname = current_database()), timeline);
END
$body$;

-- A node comes (back) to the log. If the database is another than the log knows, or the log ends before what the node
-- has seen of it, positions would be given that were given before: a new epoch begins.
CREATE FUNCTION headwater.enter(known_epoch text, known_pos bigint, OUT epoch text, OUT pos bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$body$
DECLARE
    head headwater.head;
    here text := headwater.identity();
BEGIN
    SELECT * INTO STRICT head FROM headwater.head FOR UPDATE;
    SELECT n.pos INTO STRICT pos FROM headwater.newest AS n;
    epoch := head.epoch;
    IF head.identity IS DISTINCT FROM here THEN
        IF head.identity IS NOT NULL THEN
            epoch := headwater.new_epoch();
        END IF;
        UPDATE headwater.head AS h SET epoch = enter.epoch, identity = here,
            incarnation = CASE WHEN h.identity IS NULL THEN h.incarnation ELSE gen_random_uuid() END;
    ELSIF head.epoch = known_epoch AND pos < known_pos THEN
        epoch := headwater.new_epoch();
        UPDATE headwater.head AS h SET epoch = enter.epoch, incarnation = gen_random_uuid();
    END IF;
END
$body$;

-- Append drafts, all in one go: nobody holds the head's lock while the network has its say.
--
-- Drafts come as arrays, one element for each. Those with the same `batch` are appended together or, if one of them has a
-- key that was used for something else, not at all. No key comes twice in one call.
--
-- Answers the epoch (null: the caller is not the leader any more, and nothing was done), the newest position before, the
-- time, and a position for each draft (null: refused). `base` is null where the answer is one that was given before.
CREATE FUNCTION headwater.append(
    known_epoch text, known_pos bigint, -- as for `enter`
    key_age bigint, -- milliseconds for which keys count
    operation uuid, -- the append's id; null if it needs none
    leader bigint, done bigint[], -- the leader's number, and the rows of the outbox that this deals with
    batch integer[], channel text[], kind text[], type text[], permissions text[], key text[], print text[],
    source bigint[], data text[],
    OUT epoch text, OUT base bigint, OUT at bigint, OUT positions bigint[]
) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off -- a plan that was made while a table was small would be kept when it is large
AS
$body$
DECLARE
    head headwater.head;
    newest headwater.newest;
    refused integer[] := '{}';
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE 'headwater.append needs READ COMMITTED, which sees what was committed while it waited';
    END IF;
    SELECT * INTO STRICT head FROM headwater.head FOR UPDATE;
    IF leader IS NOT NULL AND leader <> head.fence THEN
        RETURN;
    END IF;
    epoch := head.epoch;
    SELECT * INTO STRICT newest FROM headwater.newest;
    at := greatest(newest.at, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint);
    IF head.epoch = known_epoch AND newest.pos < known_pos THEN
        epoch := headwater.new_epoch();
        UPDATE headwater.head AS h SET epoch = append.epoch, incarnation = gen_random_uuid();
    END IF;
    IF operation IS NOT NULL THEN
        SELECT o.answer INTO positions FROM headwater.operation AS o WHERE o.id = operation;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    base := newest.pos;
    IF array_remove(key, NULL) <> '{}' THEN
        SELECT coalesce(array_agg(DISTINCT d.batch), '{}') INTO refused
        FROM unnest(batch, key, print) AS d (batch, key, print)
        JOIN headwater.key AS k ON k.key = d.key AND k.at >= append.at - key_age AND k.print <> d.print;
    END IF;
    DELETE FROM headwater.outbox AS o WHERE o.seq = ANY (done);

    WITH draft AS (
        SELECT d.*, octet_length(d.data) AS size, k.pos AS known, d.batch <> ALL (refused) AND k.pos IS NULL AS fresh
        FROM unnest(batch, channel, kind, type, permissions, key, print, source, data)
            WITH ORDINALITY AS d (batch, channel, kind, type, permissions, key, print, source, data, n)
        LEFT JOIN headwater.key AS k ON k.key = d.key AND k.at >= append.at - key_age
    ), placed AS (
        SELECT d.*, base + row_number() OVER (ORDER BY d.n) AS pos,
            row_number() OVER in_channel AS nth, sum(d.size) OVER in_channel AS channel_bytes,
            sum(d.size) OVER (ORDER BY d.n) AS log_bytes
        FROM draft AS d WHERE d.fresh
        WINDOW in_channel AS (PARTITION BY d.channel ORDER BY d.n)
    ), tail AS (
        SELECT t.channel, c.name IS NULL AS is_new, coalesce(l.nth, 0) AS nth, coalesce(l.channel_bytes, 0) AS bytes
        FROM (SELECT DISTINCT p.channel COLLATE "C" AS channel FROM placed AS p) AS t
        LEFT JOIN headwater.channel AS c ON c.name = t.channel
        LEFT JOIN LATERAL (
            SELECT l.nth, l.channel_bytes FROM headwater.log AS l
            WHERE (l.channel, l.pos) > (t.channel, coalesce(c.mark, 0)) AND (l.channel, l.pos) <= (t.channel, base)
            ORDER BY l.channel DESC, l.pos DESC LIMIT 1 -- pairs, so that it never walks the log by pos instead
        ) AS l ON true
    ), logged AS (
        INSERT INTO headwater.log
            (pos, at, channel, nth, size, channel_bytes, log_bytes, kind, type, permissions, source, data)
        SELECT p.pos, append.at, p.channel, t.nth + p.nth, p.size, t.bytes + p.channel_bytes,
            newest.log_bytes + p.log_bytes, p.kind::"char", p.type, p.permissions, p.source, p.data
        FROM placed AS p JOIN tail AS t ON t.channel = p.channel COLLATE "C" ORDER BY p.pos
    ), born AS (
        INSERT INTO headwater.channel (name, mark)
        SELECT t.channel, r.floor FROM tail AS t, headwater.retained AS r WHERE t.is_new
    ), keyed AS (
        INSERT INTO headwater.key AS k (key, pos, at, print)
        SELECT p.key, p.pos, append.at, p.print FROM placed AS p WHERE p.key IS NOT NULL
        ON CONFLICT ON CONSTRAINT key_pkey DO UPDATE SET pos = excluded.pos, at = excluded.at, print = excluded.print
    )
    SELECT array_agg(CASE WHEN d.batch <> ALL (refused) THEN coalesce(d.known, p.pos) END ORDER BY d.n) INTO positions
    FROM draft AS d LEFT JOIN placed AS p ON p.n = d.n;

    IF operation IS NOT NULL THEN
        INSERT INTO headwater.operation (id, at, answer) VALUES (operation, append.at, positions);
    END IF;
    -- Who reads the log looks again and again for a second after each event, and only then waits to be told.
    IF append.at > newest.at + 400 THEN
        PERFORM pg_notify('headwater', 'log');
    END IF;
END
$body$;

-- The position before the first event that was accepted at a time or later; the newest if there is none. Times rise with
-- positions, so halving the range finds it without an index on them.
CREATE FUNCTION headwater.position_at("time" bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS
$body$
DECLARE
    low bigint := 0;
    newest bigint := (SELECT n.pos FROM headwater.newest AS n);
    high bigint := newest;
    middle bigint;
    found record;
BEGIN
    WHILE low < high LOOP
        middle := low + (high - low) / 2;
        SELECT l.pos, l.at INTO found FROM headwater.log AS l WHERE l.pos > middle ORDER BY l.pos LIMIT 1;
        IF found.pos IS NULL OR found.at >= "time" THEN
            high := middle;
        ELSE
            low := found.pos;
        END IF;
    END LOOP;
    SELECT l.pos INTO found FROM headwater.log AS l WHERE l.pos > low ORDER BY l.pos LIMIT 1;
    RETURN coalesce(found.pos - 1, newest);
END
$body$;

INSERT INTO headwater.head (epoch) VALUES (headwater.new_epoch());
INSERT INTO headwater.retained DEFAULT VALUES;
REVOKE ALL ON FUNCTION headwater.enter, headwater.append FROM PUBLIC;
