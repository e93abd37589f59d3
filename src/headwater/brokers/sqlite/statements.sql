-- Every other statement, by name.
--
-- Lists go in and come out as JSON, in one parameter or one row. Python's sqlite3 gives up the interpreter lock for each
-- row it steps over, and behind a busy event loop it waits up to 5 ms to get it back: 500 rows would take seconds.

-- name: log
SELECT epoch, head, time, bytes, floor FROM log

-- name: begin_epoch
UPDATE log SET epoch = :epoch

-- name: advance
UPDATE log SET head = :head, time = :time, bytes = bytes + :bytes

-- name: known_keys
SELECT json_group_array(json_array(key, fingerprint, seq)) FROM key
WHERE key IN (SELECT value FROM json_each(:keys)) AND time >= :oldest

-- name: count_in
INSERT INTO channel (name, events, bytes, mark, last, last_time)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), :floor,
    json_extract(value, '$[3]'), :time
FROM json_each(:channels) WHERE true
ON CONFLICT (name) DO UPDATE SET
    events = events + excluded.events, bytes = bytes + excluded.bytes, last = excluded.last, last_time = :time

-- name: counts
SELECT json_group_array(json_array(id, name, events, bytes)) FROM channel
WHERE name IN (SELECT value FROM json_each(:names))

-- name: insert_event
INSERT INTO event (seq, channel, time, size, text, type, permissions, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: insert_key
INSERT OR REPLACE INTO key (seq, time, fingerprint, key) VALUES (?, ?, ?, ?)

-- name: since
SELECT log.epoch, log.head, (
    SELECT json_group_array(json_array(seq, time, name, type, data, text, permissions)) FROM (
        SELECT e.*, c.name FROM (
            SELECT seq, size, sum(size) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) AS total FROM (
                SELECT seq, size FROM event WHERE seq > :after ORDER BY seq LIMIT :limit
            )
        ) AS w
        CROSS JOIN event AS e ON e.seq = w.seq
        CROSS JOIN channel AS c ON c.id = e.channel
        WHERE w.total - w.size < :bytes
        ORDER BY w.seq
    )
) FROM log

-- name: page
-- Takes at most :limit positions of each channel from the index, then the first :limit of all, then those rows.
SELECT log.epoch, log.head, log.floor,
    (SELECT json_group_array(json_array(name, mark)) FROM channel
        WHERE name IN (SELECT value FROM json_each(:names))),
    (SELECT json_group_array(json_array(seq, time, name, type, data, text, permissions)) FROM (
        SELECT e.*, w.name FROM (
            SELECT c.name, s.value AS seq FROM channel AS c CROSS JOIN json_each((
                SELECT json_group_array(seq) FROM (
                    SELECT seq FROM event
                    WHERE channel = c.id AND seq > :after AND seq <= :until ORDER BY seq LIMIT :limit
                )
            )) AS s
            WHERE c.name IN (SELECT value FROM json_each(:names)) ORDER BY s.value LIMIT :limit
        ) AS w CROSS JOIN event AS e ON e.seq = w.seq
    ))
FROM log

-- name: page_back
SELECT log.epoch, (
    SELECT json_group_array(json_array(seq, time, name, type, data, text, permissions)) FROM (
        SELECT e.*, w.name FROM (
            SELECT c.name, s.value AS seq FROM channel AS c CROSS JOIN json_each((
                SELECT json_group_array(seq) FROM (
                    SELECT seq FROM event WHERE channel = c.id AND seq <= :before ORDER BY seq DESC LIMIT :limit
                )
            )) AS s
            WHERE c.name IN (SELECT value FROM json_each(:names)) ORDER BY s.value DESC LIMIT :limit
        ) AS w CROSS JOIN event AS e ON e.seq = w.seq
    )
) FROM log

-- name: horizon
SELECT log.epoch, CASE WHEN known.number < :count THEN max(known.mark, log.floor) ELSE known.mark END
FROM log, (
    SELECT count(*) AS number, coalesce(max(mark), 0) AS mark FROM channel
    WHERE name IN (SELECT value FROM json_each(:names))
) AS known

-- name: next_time
SELECT seq, time FROM event WHERE seq >= ? ORDER BY seq LIMIT 1

-- name: lost
SELECT floor, (SELECT json_group_array(name) FROM channel WHERE mark > :after) FROM log

-- name: list_channels
SELECT log.epoch, (
    SELECT json_group_array(json_array(name, events, bytes, last, last_time)) FROM (
        SELECT name, events, bytes, last, last_time FROM channel
        WHERE name >= :prefix AND name < :prefix || char(0x10FFFF) AND events > 0 ORDER BY name LIMIT :limit
    )
) FROM log

-- name: oldest_time
SELECT time FROM event ORDER BY seq LIMIT 1

-- name: survey
-- The next channels to look at, with the time of each one's oldest event.
SELECT json_group_array(json_array(
    id, name, events, bytes, (SELECT time FROM event WHERE channel = c.id ORDER BY seq LIMIT 1)
)) FROM (SELECT id, name, events, bytes FROM channel WHERE id > :after ORDER BY id LIMIT :limit) AS c

-- name: oldest_of_channel
-- With the channel's counts; zeros if another process has just forgotten it. If even the first is too young to go (later
-- than :young and not of a clock far :ahead), the others are not looked at.
SELECT coalesce(max(events), 0), coalesce(max(bytes), 0), (
    SELECT json_group_array(json_array(seq, size, time)) FROM (
        SELECT seq, size, time FROM event
        WHERE channel = :channel AND NOT (
            SELECT time > :young AND time <= :ahead FROM event WHERE channel = :channel ORDER BY seq LIMIT 1
        )
        ORDER BY seq LIMIT :limit
    )
) FROM channel WHERE id = :channel

-- name: oldest_of_all
SELECT json_group_array(json_array(seq, size, time, channel)) FROM (
    SELECT seq, size, time, channel FROM event ORDER BY seq LIMIT :limit
)

-- name: remove
DELETE FROM event WHERE channel = :channel AND seq <= :cut

-- name: count_out
UPDATE channel SET events = events - :events, bytes = bytes - :bytes, mark = max(mark, :cut) WHERE id = :channel

-- name: shrink
UPDATE log SET bytes = bytes - :bytes

-- name: span_of_keys
SELECT head, (SELECT min(seq) FROM key) FROM log

-- name: count_keys
SELECT count(*), min(seq) FROM (SELECT seq FROM key WHERE seq < :before ORDER BY seq DESC LIMIT :limit)

-- name: last_old_key
SELECT max(seq) FROM (SELECT seq, time FROM key ORDER BY seq LIMIT :limit) WHERE time < :oldest OR seq < :surplus

-- name: remove_keys
DELETE FROM key WHERE seq <= :cut

-- name: count_empty
SELECT count(*) FROM channel WHERE events = 0

-- name: last_mark_to_fold
SELECT coalesce(max(mark), 0) FROM (SELECT mark FROM channel WHERE events = 0 ORDER BY mark LIMIT :limit)

-- name: raise_floor
UPDATE log SET floor = max(floor, :cut)

-- name: fold
DELETE FROM channel WHERE events = 0 AND mark <= :cut
