-- What retention does in the database: small steps, each whole, none of which an append waits for. The rules for channels
-- stand in the hub's configuration, so the hub says for each channel what to keep.
--
-- Events of a channel go oldest first, without exception; that is why its running numbers tell how many are left.

-- Note that `bytes` of events are gone, of which `newest` was the newest.
CREATE FUNCTION headwater.note_removed(newest headwater.log, bytes bigint) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS
$body$
UPDATE headwater.retained AS r SET removed_bytes = r.removed_bytes + bytes, pos = greatest(r.pos, newest.pos),
    at = greatest(r.at, newest.at), log_bytes = greatest(r.log_bytes, newest.log_bytes)
$body$;

-- Remove up to `most` of a channel's oldest events, as far as they are more than `keep_events`, or more than `keep_bytes`,
-- or older than `oldest`. Those between `young` and `ahead` stay, so that a node that was busy for a moment still sees
-- them; later ones than `ahead` are of a clock that was put back since, and not young. Answers how many went.
CREATE FUNCTION headwater.trim(
    channel text, keep_events bigint, keep_bytes bigint, oldest bigint, young bigint, ahead bigint, most integer
) RETURNS bigint LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS
$body$
DECLARE
    kept headwater.channel;
    last headwater.log;
    cut headwater.log;
    number bigint;
    bytes bigint;
BEGIN
    PERFORM FROM headwater.retained FOR UPDATE; -- one step at a time, whoever makes it
    SELECT * INTO kept FROM headwater.channel AS c WHERE c.name = trim.channel;
    SELECT * INTO last FROM headwater.log AS l
    WHERE (l.channel, l.pos) > (kept.name, kept.mark) AND (l.channel, l.pos) <= (kept.name, 9223372036854775807)
    ORDER BY l.channel DESC, l.pos DESC LIMIT 1;

    SELECT max(c.pos), count(*), sum(c.size) INTO cut.pos, number, bytes FROM (
        SELECT l.pos, l.size, bool_and(
            (
                l.at < oldest
                OR last.nth - l.nth + 1 > keep_events
                OR last.channel_bytes - l.channel_bytes + l.size > keep_bytes
            ) IS TRUE AND NOT (l.at > young AND l.at <= ahead)
        ) OVER (ORDER BY l.pos) AS goes
        FROM (
            SELECT * FROM headwater.log AS l
            WHERE (l.channel, l.pos) > (kept.name, kept.mark) AND (l.channel, l.pos) <= (kept.name, last.pos)
            ORDER BY l.channel, l.pos LIMIT most
        ) AS l
    ) AS c WHERE c.goes;
    IF number = 0 THEN
        RETURN 0;
    END IF;

    SELECT * INTO cut FROM headwater.log AS l WHERE l.pos = cut.pos;
    DELETE FROM headwater.log AS l
    WHERE (l.channel, l.pos) > (kept.name, kept.mark) AND (l.channel, l.pos) <= (kept.name, cut.pos);
    UPDATE headwater.channel AS c SET mark = cut.pos, emptied = cut.pos = last.pos WHERE c.name = kept.name;
    PERFORM headwater.note_removed(cut, bytes);
    RETURN number;
END
$body$;

-- Remove up to `most` of the log's oldest events while it has more than `keep_bytes`, but none that are young.
CREATE FUNCTION headwater.trim_log(keep_bytes bigint, young bigint, ahead bigint, most integer) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS
$body$
DECLARE
    surplus bigint;
    cut headwater.log;
    number bigint;
    bytes bigint;
BEGIN
    SELECT n.log_bytes - r.removed_bytes - keep_bytes INTO surplus
    FROM (SELECT * FROM headwater.retained FOR UPDATE) AS r, headwater.newest AS n;
    WITH oldest AS (
        SELECT l.pos, l.size, l.channel,
            bool_and(NOT (l.at > young AND l.at <= ahead)) OVER (ORDER BY l.pos)
            AND sum(l.size) OVER (ORDER BY l.pos) - l.size < surplus AS goes
        FROM (SELECT * FROM headwater.log AS l ORDER BY l.pos LIMIT most) AS l
    ), removed AS (
        DELETE FROM headwater.log AS l USING oldest AS o WHERE l.pos = o.pos AND o.goes RETURNING l.*
    ), marked AS (
        UPDATE headwater.channel AS c SET mark = r.mark, emptied = NOT EXISTS (
            SELECT FROM headwater.log AS l
            WHERE (l.channel, l.pos) > (c.name, r.mark) AND (l.channel, l.pos) <= (c.name, 9223372036854775807)
        )
        FROM (SELECT r.channel, max(r.pos) AS mark FROM removed AS r GROUP BY r.channel) AS r WHERE c.name = r.channel
    )
    SELECT count(*), sum(r.size), max(r.pos), max(r.at), max(r.log_bytes)
    INTO number, bytes, cut.pos, cut.at, cut.log_bytes FROM removed AS r; -- all three rise together
    IF number > 0 THEN
        PERFORM headwater.note_removed(cut, bytes);
    END IF;
    RETURN number;
END
$body$;

-- Forget up to `most` of the channels that have been empty longest, beyond the `keep` last ones. Their marks, the lowest,
-- become the floor of all channels without a row: a little too careful for the others, and bounded. Appends wait, because
-- one of these channels might begin anew. Answers whether there may be more.
CREATE FUNCTION headwater.fold(keep bigint, most integer) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS
$body$
DECLARE
    surplus bigint := (SELECT count(*) FROM headwater.channel AS c WHERE c.emptied) - keep;
    cut bigint;
BEGIN
    IF surplus <= 0 THEN
        RETURN false;
    END IF;
    PERFORM FROM headwater.head FOR UPDATE;
    PERFORM FROM headwater.retained FOR UPDATE;
    WITH chosen AS (
        SELECT c.name, c.mark, EXISTS (
            SELECT FROM headwater.log AS l
            WHERE (l.channel, l.pos) > (c.name, c.mark) AND (l.channel, l.pos) <= (c.name, 9223372036854775807)
        ) AS lives
        FROM headwater.channel AS c WHERE c.emptied ORDER BY c.mark LIMIT least(surplus, most)
    ), revived AS (
        UPDATE headwater.channel AS c SET emptied = false FROM chosen AS o WHERE c.name = o.name AND o.lives
    ), forgotten AS (
        DELETE FROM headwater.channel AS c USING chosen AS o WHERE c.name = o.name AND NOT o.lives RETURNING c.mark
    )
    SELECT max(f.mark) INTO cut FROM forgotten AS f;
    UPDATE headwater.retained AS r SET floor = greatest(r.floor, cut);
    RETURN true;
END
$body$;

REVOKE ALL ON FUNCTION headwater.note_removed, headwater.trim, headwater.trim_log, headwater.fold FROM PUBLIC;
