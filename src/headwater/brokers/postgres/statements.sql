-- Every statement of the broker, by name. Written for a schema named headwater; `sql.py` puts another name in its place.
--
-- Lists of events come out as JSON, in one row: they are decoded faster than rows, and the row is one look at one state of
-- the log. A range of one channel is written as a comparison of pairs, (channel, pos): with `channel =` the planner might
-- take the index on pos and walk the whole log for a channel that is rare.

-- name: enter
SELECT epoch, pos FROM headwater.enter(%(epoch)s, %(pos)s)

-- name: append
SELECT epoch, base, at, positions FROM headwater.append(
    %(known_epoch)s, %(known_pos)s, %(key_age)s, %(operation)s, %(leader)s, %(done)s,
    %(batch)s, %(channel)s, %(kind)s, %(type)s, %(permissions)s, %(key)s, %(print)s, %(source)s, %(data)s
)

-- name: look
-- How far the log has come, and how many milliseconds ago.
SELECT h.epoch, n.pos, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint - n.at
FROM headwater.head AS h, headwater.newest AS n

-- name: fence
-- Waits until whoever is writing the log has finished.
SELECT id FROM headwater.head FOR KEY SHARE

-- name: head
SELECT h.epoch, n.pos FROM headwater.head AS h, headwater.newest AS n

-- name: since
-- With the channels of which something was removed, if events are missing.
WITH batch AS (
    SELECT l.* FROM (SELECT * FROM headwater.log WHERE pos > %(after)s ORDER BY pos LIMIT %(limit)s) AS l
    WHERE l.log_bytes - l.size < %(bytes)s + (
        SELECT f.log_bytes - f.size FROM headwater.log AS f WHERE f.pos > %(after)s ORDER BY f.pos LIMIT 1
    )
), span AS (
    SELECT coalesce(max(pos), (SELECT n.pos FROM headwater.newest AS n)) AS upto, count(*) AS number FROM batch
)
SELECT h.epoch, n.pos, s.upto,
    (SELECT json_agg(json_build_array(b.pos, b.at, b.channel, b.kind, b.type, b.permissions, b.data) ORDER BY b.pos)::text
        FROM batch AS b),
    s.number < s.upto - %(after)s,
    CASE WHEN s.number < s.upto - %(after)s THEN r.floor > %(after)s ELSE false END,
    CASE WHEN s.number < s.upto - %(after)s
        THEN (SELECT json_agg(c.name)::text FROM headwater.channel AS c WHERE c.mark > %(after)s) END
FROM headwater.head AS h, headwater.newest AS n, span AS s, headwater.retained AS r

-- name: page
-- Takes at most limit positions of each channel from the index, then the first limit of all, then those rows.
SELECT h.epoch, n.pos, r.floor,
    (SELECT json_agg(json_build_array(c.name, c.mark))::text FROM headwater.channel AS c
        WHERE c.name = ANY (%(names)s::text[])),
    (SELECT json_agg(json_build_array(l.pos, l.at, l.channel, l.kind, l.type, l.permissions, l.data) ORDER BY l.pos)::text
        FROM (
            SELECT s.pos FROM unnest(%(names)s::text[]) AS w (name)
            LEFT JOIN headwater.channel AS c ON c.name = w.name COLLATE "C"
            CROSS JOIN LATERAL (
                SELECT l.pos FROM headwater.log AS l
                WHERE (l.channel, l.pos) > (w.name COLLATE "C", greatest(%(after)s, c.mark))
                    AND (l.channel, l.pos) <= (w.name COLLATE "C", %(until)s)
                ORDER BY l.channel, l.pos LIMIT %(limit)s
            ) AS s
            ORDER BY s.pos LIMIT %(limit)s
        ) AS p JOIN headwater.log AS l ON l.pos = p.pos)
FROM headwater.head AS h, headwater.newest AS n, headwater.retained AS r

-- name: page_back
SELECT h.epoch,
    (SELECT json_agg(json_build_array(l.pos, l.at, l.channel, l.kind, l.type, l.permissions, l.data) ORDER BY l.pos)::text
        FROM (
            SELECT s.pos FROM unnest(%(names)s::text[]) AS w (name)
            LEFT JOIN headwater.channel AS c ON c.name = w.name COLLATE "C"
            CROSS JOIN LATERAL (
                SELECT l.pos FROM headwater.log AS l
                WHERE (l.channel, l.pos) > (w.name COLLATE "C", coalesce(c.mark, 0))
                    AND (l.channel, l.pos) <= (w.name COLLATE "C", %(before)s)
                ORDER BY l.channel DESC, l.pos DESC LIMIT %(limit)s
            ) AS s
            ORDER BY s.pos DESC LIMIT %(limit)s
        ) AS p JOIN headwater.log AS l ON l.pos = p.pos)
FROM headwater.head AS h

-- name: horizon
SELECT h.epoch, (
    SELECT coalesce(max(coalesce(c.mark, r.floor)), 0) FROM unnest(%(names)s::text[]) AS w (name)
    LEFT JOIN headwater.channel AS c ON c.name = w.name COLLATE "C" CROSS JOIN headwater.retained AS r
) FROM headwater.head AS h

-- name: position_at
SELECT h.epoch, headwater.position_at(%(time)s) FROM headwater.head AS h

-- name: list_channels
SELECT h.epoch, (
    SELECT json_agg(json_build_array(t.name, t.events, t.bytes, t.last, t.last_time) ORDER BY t.name)::text FROM (
        SELECT c.name, l.nth - f.nth + 1 AS events, l.channel_bytes - f.channel_bytes + f.size AS bytes,
            l.pos AS last, l.at AS last_time
        FROM headwater.channel AS c
        CROSS JOIN LATERAL (
            SELECT * FROM headwater.log AS l
            WHERE (l.channel, l.pos) > (c.name, c.mark) AND (l.channel, l.pos) <= (c.name, 9223372036854775807)
            ORDER BY l.channel, l.pos LIMIT 1
        ) AS f
        CROSS JOIN LATERAL (
            SELECT * FROM headwater.log AS l
            WHERE (l.channel, l.pos) > (c.name, c.mark) AND (l.channel, l.pos) <= (c.name, 9223372036854775807)
            ORDER BY l.channel DESC, l.pos DESC LIMIT 1
        ) AS l
        WHERE c.name >= %(prefix)s AND c.name < %(prefix)s || chr(1114111) ORDER BY c.name LIMIT %(limit)s
    ) AS t
) FROM headwater.head AS h

-- name: try_lock
SELECT pg_try_advisory_lock(%(key)s)

-- name: unlock
SELECT pg_advisory_unlock(%(key)s)

-- name: lead
SELECT headwater.lead(%(name)s, %(has_lock)s, %(seconds)s)

-- name: renew
SELECT headwater.renew(%(leader)s, %(seconds)s, %(publish)s, %(capture)s, %(awake)s, %(told)s)

-- name: lapse
-- Whether changes of rows have gone unnoticed because nobody took them for too long, and not everybody knows.
SELECT coalesce((SELECT s.lapsed FROM headwater.state AS s), false)

-- name: transactions
-- All that are under way in the cluster, prepared ones too.
SELECT coalesce(array_agg(DISTINCT l.virtualtransaction), '{}') FROM pg_locks AS l
WHERE (l.locktype = 'virtualxid' OR left(l.virtualtransaction, 3) = '-1/') AND l.pid IS DISTINCT FROM pg_backend_pid()

-- name: settle
UPDATE headwater.state SET lapsed = false FROM headwater.head AS h WHERE h.fence = %(leader)s RETURNING lapsed

-- name: begin_epoch
SELECT headwater.begin_epoch(%(leader)s)

-- name: forget
SELECT headwater.forget(%(leader)s, %(done)s)

-- name: outbox
-- The first rows after low, up to a number and a size.
SELECT o.seq, floor(extract(epoch FROM o.at) * 1000)::bigint, o.kind::text, o.channel, o.type, o.data, o.is_text,
    o.permissions, o.key, o.source, o.op, o.new::text, o.old::text
FROM (
    SELECT s.seq, s.size, sum(s.size) OVER (ORDER BY s.seq ROWS UNBOUNDED PRECEDING) AS total FROM (
        SELECT o.seq, coalesce(octet_length(o.data), 0) + coalesce(pg_column_size(o.new), 0)
            + coalesce(pg_column_size(o.old), 0) AS size
        FROM headwater.outbox AS o WHERE o.seq > %(low)s AND o.kind = ANY (%(kinds)s::"char"[])
        ORDER BY o.seq LIMIT %(limit)s
    ) AS s
) AS w JOIN headwater.outbox AS o ON o.seq = w.seq
WHERE w.total - w.size < %(bytes)s ORDER BY o.seq

-- name: last_given
-- The newest number that was given to a row of the outbox, whatever has become of it.
SELECT coalesce((SELECT s.last_value FROM pg_sequences AS s
    WHERE s.schemaname = 'headwater' AND s.sequencename = 'outbox_seq_seq'), 0)

-- name: writers
-- The transactions that have put something into the outbox and are not over yet: they hold this lock till their end.
SELECT coalesce(array_agg(l.virtualtransaction), '{}') FROM pg_locks AS l
WHERE l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' AND l.pid IS DISTINCT FROM pg_backend_pid()
    AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
    AND l.relation = (
        SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = 'headwater' AND c.relname = 'outbox'
    )

-- name: incarnation
SELECT incarnation::text, epoch FROM headwater.head

-- name: examine
-- Rows of the outbox are counted up to a thousand.
SELECT current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit'), h.leader,
    l.until > clock_timestamp(),
    (SELECT count(*) FROM (SELECT FROM headwater.outbox AS o ORDER BY o.seq LIMIT 1000) AS counted)
FROM headwater.head AS h, headwater.lease AS l

-- name: tell
SELECT pg_notify('headwater', %(payload)s)

-- name: survey
-- The next channels to look at: how many events each has, of how many bytes, and the time of its oldest.
SELECT c.name, l.nth - f.nth + 1, l.channel_bytes - f.channel_bytes + f.size, f.at
FROM (SELECT * FROM headwater.channel AS c WHERE c.name > %(after)s ORDER BY c.name LIMIT %(limit)s) AS c
LEFT JOIN LATERAL (
    SELECT * FROM headwater.log AS l
    WHERE (l.channel, l.pos) > (c.name, c.mark) AND (l.channel, l.pos) <= (c.name, 9223372036854775807)
    ORDER BY l.channel, l.pos LIMIT 1
) AS f ON true
LEFT JOIN LATERAL (
    SELECT * FROM headwater.log AS l
    WHERE (l.channel, l.pos) > (c.name, c.mark) AND (l.channel, l.pos) <= (c.name, 9223372036854775807)
    ORDER BY l.channel DESC, l.pos DESC LIMIT 1
) AS l ON true
ORDER BY c.name

-- name: trim
SELECT headwater.trim(
    %(channel)s, %(keep_events)s, %(keep_bytes)s, %(oldest)s, %(young)s, %(ahead)s, %(most)s
)

-- name: trim_log
SELECT headwater.trim_log(%(keep_bytes)s, %(young)s, %(ahead)s, %(most)s)

-- name: log_bytes
SELECT n.log_bytes - r.removed_bytes FROM headwater.newest AS n, headwater.retained AS r

-- name: oldest
-- When the oldest event was accepted (null if there is none), and when the newest that there has been.
SELECT (SELECT l.at FROM headwater.log AS l ORDER BY l.pos LIMIT 1), n.at FROM headwater.newest AS n

-- name: span_of_keys
SELECT n.pos, (SELECT min(k.pos) FROM headwater.key AS k) FROM headwater.newest AS n

-- name: count_keys
SELECT count(*), min(k.pos) FROM (
    SELECT k.pos FROM headwater.key AS k WHERE k.pos < %(before)s ORDER BY k.pos DESC LIMIT %(limit)s
) AS k

-- name: remove_keys
WITH gone AS (
    DELETE FROM headwater.key AS k USING (
        SELECT k.pos, k.at FROM headwater.key AS k ORDER BY k.pos LIMIT %(limit)s
    ) AS o WHERE k.pos = o.pos AND (o.at < %(oldest)s OR o.pos < %(surplus)s) RETURNING k.pos
)
SELECT count(*) FROM gone

-- name: remove_operations
WITH gone AS (
    DELETE FROM headwater.operation AS o WHERE o.id IN (
        SELECT p.id FROM headwater.operation AS p WHERE p.at < %(oldest)s LIMIT %(limit)s
    ) RETURNING o.id
)
SELECT count(*) FROM gone

-- name: fold
SELECT headwater.fold(%(keep)s, %(most)s)

-- name: repeated
-- The positions of events from the outbox after a position, and whether some of them are still there.
SELECT EXISTS (SELECT FROM headwater.outbox AS o WHERE o.seq = ANY (%(pending)s)),
    (SELECT coalesce(array_agg(l.pos ORDER BY l.pos), '{}') FROM headwater.log AS l
        WHERE l.pos > %(after)s AND l.source = ANY (%(pending)s))
