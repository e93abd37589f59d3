-- The outbox: where transactions of the application leave what they have to say, and what the leader takes from there.
--
-- A row is there if and only if its transaction was committed. The leader takes the rows that it can see in the order of
-- their numbers, gives them to the log (or to another broker) and deletes them. That keeps what belongs together in
-- order: if one transaction was committed before another could write, because of a row's lock or because a person
-- waited for the first, then its rows have the lower numbers and are seen whenever the other's are. Unrelated
-- transactions come in the order in which they end, and none waits for another.

CREATE TABLE headwater.outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind "char" NOT NULL DEFAULT 'p', -- p: published; c: a row of a table has changed
    channel text, type text, data text, is_text boolean, permissions text, key text, -- p: as in a draft
    source text, op text, new jsonb, old jsonb -- c: which rule or table, what was done, and the row after and before
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- One row, which the leader keeps up to date: whether anybody takes from the outbox.
CREATE TABLE headwater.state (
    id smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    publish_until timestamptz NOT NULL DEFAULT now() + interval '7 days', -- then `publish` refuses
    capture_until timestamptz NOT NULL DEFAULT now() + interval '1 day', -- then changes of rows go unnoticed
    awake_until timestamptz NOT NULL DEFAULT '-infinity', -- until then the leader looks by itself, and need not be told
    told_until timestamptz NOT NULL DEFAULT '-infinity', -- from then on there is nobody who could be told
    lapsed boolean NOT NULL DEFAULT false -- changes of rows have gone unnoticed, and it is not over (see `lapse.py`)
);

-- One row: until when somebody leads. The leader says every few seconds that it still does.
CREATE TABLE headwater.lease (
    id smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    has_lock boolean NOT NULL DEFAULT true, -- of the advisory lock, which goes when its session does
    until timestamptz NOT NULL DEFAULT '-infinity'
);

INSERT INTO headwater.state DEFAULT VALUES;
INSERT INTO headwater.lease DEFAULT VALUES;

-- Whether this session knows that the leader looks by itself, and need not be told; null or false: it has to ask. The leader
-- does not take back what it said in `awake_until`, so a session may remember it, and most transactions ask nothing.
CREATE FUNCTION headwater.is_awake() RETURNS boolean LANGUAGE sql AS
$body$
SELECT to_timestamp(nullif(current_setting('headwater.awake_' || md5('headwater'), true), '')::double precision)
    > clock_timestamp()
$body$;

-- Tell the leader, unless it is awake, or gone: the next one looks before it sleeps. Telling has its price: transactions
-- that notify are committed one after the other, in the whole cluster, so they must not do it for nobody. (A transaction
-- that is to be prepared may not notify: it says SET headwater.notify = off, and the leader finds its rows within a second.)
--
-- To be called after the row was inserted, as `is_awake` is, because from then on the leader sees that a transaction is
-- under way that may have found it awake.
CREATE FUNCTION headwater.wake(state headwater.state) RETURNS void LANGUAGE plpgsql AS
$body$
BEGIN
    IF state.awake_until > clock_timestamp() THEN
        PERFORM set_config('headwater.awake_' || md5('headwater'), extract(epoch FROM state.awake_until)::text, false);
    ELSIF (state.told_until < clock_timestamp() OR current_setting('headwater.notify', true) = 'off') IS NOT TRUE THEN
        PERFORM pg_notify('headwater', 'outbox');
    END IF;
END
$body$;

-- For who publishes and does not know whether the leader is awake: refuse it if nobody takes anything from the outbox, or see
-- to it that somebody does. Answers the time.
CREATE FUNCTION headwater.look_after() RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$body$
DECLARE
    state headwater.state;
BEGIN
    SELECT * INTO state FROM headwater.state;
    IF state.publish_until < clock_timestamp() THEN
        RAISE 'no hub has taken anything from the outbox since %, so nothing more is put there', state.publish_until
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Start a hub on this database, or stop publishing.';
    END IF;
    PERFORM headwater.wake(state);
    RETURN clock_timestamp();
END
$body$;

-- Permissions of an event as the outbox has them: separated by spaces; null for none.
CREATE FUNCTION headwater.joined(permissions text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$body$
BEGIN
    IF cardinality(permissions) > 32 THEN
        RAISE '% permissions on one event, expected at most 32', cardinality(permissions)
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF EXISTS (
        SELECT FROM unnest(permissions) AS p
        WHERE (length(p) BETWEEN 1 AND 200 AND p COLLATE "C" !~ '[^\x21-\x7e]') IS NOT TRUE
    ) THEN
        RAISE 'a permission is malformed: 1 to 200 visible ASCII characters without spaces'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN nullif(array_to_string(permissions, ' '), '');
END
$body$;

-- The rules for a draft, as `headwater.event` has them. (Lengths are no part of the patterns: counting makes those ten times
-- as dear.) Answers true, or fails and says why.
CREATE FUNCTION headwater.check_draft(
    channel text, type text, data text, permissions text, idempotency_key text
) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$body$
DECLARE
    wrong text;
BEGIN
    IF (length(channel) BETWEEN 1 AND 200 AND channel COLLATE "C" !~ '[^A-Za-z0-9_.:/@=-]') IS NOT TRUE THEN
        wrong := format('channel %L is not a channel name: 1 to 200 characters from letters, digits and _ - . : / @ =',
            left(channel, 80));
    ELSIF (length(type) BETWEEN 1 AND 200 AND type COLLATE "C" !~ '[\x01-\x1f\x7f]') IS NOT TRUE THEN
        wrong := format('event type %L is malformed: 1 to 200 characters, none of them a control character',
            left(type, 80));
    ELSIF type IN ('connected', 'heartbeat', 'reset', 'token_expiring', 'closing') THEN
        wrong := format('event type %L is one that only the hub sends', type);
    ELSIF (length(idempotency_key) BETWEEN 1 AND 200 AND idempotency_key COLLATE "C" !~ '[\x01-\x1f\x7f]') IS FALSE THEN
        wrong := format('idempotency key %L is malformed: 1 to 200 characters, none of them a control character',
            left(idempotency_key, 80));
    ELSIF data IS NULL THEN
        wrong := 'an event without data; JSON has null for nothing';
    ELSIF octet_length(data) > 16777216 THEN
        wrong := format('the data has %s bytes, and an event at most 16 MiB', octet_length(data));
    END IF;
    IF wrong IS NOT NULL THEN
        RAISE '%', wrong USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM headwater.joined(string_to_array(permissions, ' '));
    RETURN true;
END
$body$;

-- Publish within this transaction: insert here, and the event exists if and only if the transaction is committed. `data` is
-- JSON unless it `is_text`; that it is well-formed is left to the hub, which reads it anyway.
--
-- A view, because nothing costs a transaction less. A function for the same costs it twice as much, and so does a constraint
-- or a trigger on the table: each has to be prepared anew in every transaction. So what is as usual is told by two
-- expressions, and functions are called only if something is not. That of `at` is evaluated when the table is locked already,
-- so the leader sees that a transaction is under way that may have found it awake.
CREATE VIEW headwater.event AS
SELECT at, channel, type, data, is_text, permissions, key FROM headwater.outbox
WHERE CASE
    WHEN octet_length(data) <= 16777216 AND length(channel || type) < 200
        AND channel COLLATE "C" ~ '^[A-Za-z0-9_.:/@=-]+$' AND type COLLATE "C" ~ '^[A-Za-z0-9_.-]+$'
        AND type <> ALL ('{connected,heartbeat,reset,token_expiring,closing}')
        AND (permissions IS NULL
            OR octet_length(permissions) < 64 AND permissions COLLATE "C" ~ '^[!-~]+( [!-~]+)*$') -- so there are at most 32
        AND (key IS NULL OR octet_length(key) <= 200 AND key COLLATE "C" ~ '^[ -~]+$')
    THEN true
    ELSE headwater.check_draft(channel, type, data, permissions, key)
END WITH CHECK OPTION;

ALTER VIEW headwater.event
    ALTER at SET DEFAULT CASE
        WHEN to_timestamp(
            nullif(current_setting('headwater.awake_' || md5('headwater'), true), '')::double precision
        ) > clock_timestamp() THEN clock_timestamp()
        ELSE headwater.look_after()
    END,
    ALTER type SET DEFAULT 'message', ALTER data SET DEFAULT 'null', ALTER is_text SET DEFAULT false;

GRANT INSERT (channel, type, data, is_text, permissions, key) ON headwater.event TO PUBLIC;

-- The same as functions.
CREATE FUNCTION headwater.publish(
    channel text, type text DEFAULT 'message', data jsonb DEFAULT 'null', permissions text[] DEFAULT '{}',
    idempotency_key text DEFAULT NULL
) RETURNS void LANGUAGE plpgsql AS
$body$
BEGIN
    INSERT INTO headwater.event (channel, type, data, permissions, key) VALUES (
        channel, type, coalesce(data, 'null')::text,
        CASE
            WHEN cardinality(permissions) = 1 AND strpos(permissions[1], ' ') = 0 THEN permissions[1]
            WHEN cardinality(permissions) > 0 THEN headwater.joined(permissions)
        END, idempotency_key
    );
END
$body$;

CREATE FUNCTION headwater.publish_text(
    channel text, type text, data text, permissions text[] DEFAULT '{}', idempotency_key text DEFAULT NULL
) RETURNS void LANGUAGE plpgsql AS
$body$
BEGIN
    INSERT INTO headwater.event (channel, type, data, is_text, permissions, key) VALUES (
        channel, type, coalesce(data, ''), true, headwater.joined(permissions), idempotency_key
    );
END
$body$;

-- The position of the log as this transaction sees it, and the numbers of the events that are committed and have none
-- yet. See `snapshot.py`.
CREATE FUNCTION headwater.here(OUT isolation text, OUT epoch text, OUT pos bigint, OUT pending text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$body$
SELECT current_setting('transaction_isolation'), h.epoch, n.pos, (
    SELECT coalesce(string_agg(o.seq::text, ' ' ORDER BY o.seq), '') FROM headwater.outbox AS o
) FROM headwater.head AS h, headwater.newest AS n
$body$;

-- Become the leader, whose number is the answer; null if there is another. Who has the advisory lock of leaders knows that
-- the last one who had it is gone, and takes its place at once. Without it, because another session holds on to it and does
-- nothing, or behind a pooler that lends sessions out, one has to wait until the lease is over. Either way the number
-- makes sure that a leader who was only believed to be gone changes nothing any more.
CREATE FUNCTION headwater.lead(name text, has_lock boolean, seconds double precision) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$body$
DECLARE
    head headwater.head;
    lease headwater.lease;
BEGIN
    SELECT * INTO STRICT head FROM headwater.head FOR UPDATE;
    SELECT * INTO STRICT lease FROM headwater.lease;
    IF lease.until > clock_timestamp() AND NOT (has_lock AND lease.has_lock) THEN
        RETURN NULL;
    END IF;
    UPDATE headwater.head AS h SET fence = h.fence + 1, leader = name;
    UPDATE headwater.lease AS l SET has_lock = lead.has_lock,
        until = clock_timestamp() + seconds * interval '1 second';
    RETURN head.fence + 1;
END
$body$;

-- The leader says that it goes on for so many seconds; and, unless these are null, that publishers and triggers may count
-- on it for so long, that it need not be told for so long, and that there is somebody to tell for so long. If triggers
-- have given up counting on it, that is remembered: from the commit of this on they note changes again, and those before are
-- lost. Answers false to one who leads no more.
CREATE FUNCTION headwater.renew(
    leader bigint, seconds double precision,
    publish double precision, capture double precision, awake double precision, told double precision
) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$body$
DECLARE
    head headwater.head;
    now timestamptz := clock_timestamp();
BEGIN
    SELECT * INTO STRICT head FROM headwater.head FOR UPDATE;
    IF head.fence <> leader THEN
        RETURN false;
    END IF;
    UPDATE headwater.lease AS l SET until = now + seconds * interval '1 second';
    IF coalesce(publish, capture, awake, told) IS NOT NULL THEN
        INSERT INTO headwater.state AS s (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET
            publish_until = coalesce(now + publish * interval '1 second', s.publish_until),
            lapsed = s.lapsed OR capture IS NOT NULL AND s.capture_until < now,
            capture_until = coalesce(now + capture * interval '1 second', s.capture_until),
            awake_until = coalesce(now + awake * interval '1 second', s.awake_until),
            told_until = coalesce(now + told * interval '1 second', s.told_until);
    END IF;
    RETURN true;
END
$body$;

-- Changes of rows went unnoticed, so nobody's position means what it meant: a new epoch. Answers false to one who leads no
-- more.
CREATE FUNCTION headwater.begin_epoch(leader bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$body$
DECLARE
    head headwater.head;
BEGIN
    SELECT * INTO STRICT head FROM headwater.head FOR UPDATE;
    IF head.fence <> leader THEN
        RETURN false;
    END IF;
    UPDATE headwater.head AS h SET epoch = headwater.new_epoch();
    RETURN true;
END
$body$;

-- Rows of the outbox that another broker has. Answers false to one who leads no more.
CREATE FUNCTION headwater.forget(leader bigint, done bigint[]) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$body$
DECLARE
    head headwater.head;
BEGIN
    SELECT * INTO STRICT head FROM headwater.head FOR UPDATE;
    IF head.fence <> leader THEN
        RETURN false;
    END IF;
    DELETE FROM headwater.outbox AS o WHERE o.seq = ANY (done);
    RETURN true;
END
$body$;

REVOKE ALL ON FUNCTION headwater.lead, headwater.renew, headwater.begin_epoch, headwater.forget FROM PUBLIC;
