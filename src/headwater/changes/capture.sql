-- The function behind a trigger of a rule, in pieces; `triggers` puts them together.
--
-- It must not fail the application's own writes for reasons of ours. Columns are named one by one, so that nothing else is
-- looked at, let alone converted: a large value in another column costs nothing. The price is that a column may have been
-- renamed since; then, and when a value cannot be JSON, each column is taken by itself and what fails is left out, and
-- `headwater pg doctor` says so.
--
-- Whether anybody takes the rows, and has to be told, is asked at the first row of a transaction only, and not even then if
-- the session knows. Until the transaction ends the leader does not fall asleep, because it waits for everybody who has
-- written into the outbox. A setting remembers that this is not the first; a savepoint that is rolled back takes it back,
-- as it takes back the word to the leader.

-- name: function
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET "TimeZone" = 'UTC'
SET "DateStyle" = 'ISO'
SET "IntervalStyle" = 'postgres'
SET extra_float_digits = 1
SET bytea_output = 'hex'
AS {body}

-- name: body
#variable_conflict use_column
DECLARE
    new_row pg_catalog.jsonb;
    old_row pg_catalog.jsonb;
    left_out pg_catalog.text[];
    expired boolean;
    state {schema}.state;
    is_first boolean := coalesce(current_setting({flag}, true), '') = '';
BEGIN
    IF is_first AND {schema}.is_awake() IS NOT TRUE THEN
        SELECT capture_until < clock_timestamp() INTO expired FROM {schema}.state;
        IF expired THEN
            RETURN NULL;
        END IF;
    END IF;
{projection}
    INSERT INTO {schema}.outbox (kind, source, op, new, old, data)
    VALUES ('c', {rule}, {operation}, new_row, old_row, array_to_json(left_out));
    IF is_first THEN
        IF {schema}.is_awake() IS NOT TRUE THEN
            SELECT * INTO state FROM {schema}.state;
            PERFORM {schema}.wake(state);
        END IF;
        PERFORM set_config({flag}, 'on', true);
    END IF;
    RETURN NULL;
{handler}END

-- name: projection
    BEGIN
{assignments}
    EXCEPTION WHEN undefined_column OR data_exception OR program_limit_exceeded THEN
{pieces}
    END;
{limits}
-- name: assignment
        {row} := {columns};

-- name: columns
jsonb_build_object({pairs})

-- name: begin
        {row} := '{{}}';

-- name: piece
        BEGIN
            {row} := {row} || jsonb_build_object({pair});
        EXCEPTION WHEN undefined_column OR data_exception OR program_limit_exceeded THEN
            left_out := left_out || {name}::text;
        END;

-- name: limit
    IF pg_column_size({row}) > {most} THEN
        SELECT
            coalesce(jsonb_object_agg(key, value) FILTER (WHERE total <= {most}), '{{}}'),
            left_out || array_agg(key) FILTER (WHERE total > {most})
        INTO {row}, left_out FROM (
            SELECT key, value, sum(pg_column_size(value)) OVER (ORDER BY pg_column_size(value), key) AS total
            FROM jsonb_each({row})
        ) AS sized;
    END IF;

-- name: warning
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'headwater: a change is lost to rule %: %', {rule}, SQLERRM;
    RETURN NULL;

-- name: replace
CREATE OR REPLACE TRIGGER {trigger} AFTER {event} ON {table} FOR EACH {level}{condition} EXECUTE FUNCTION {function}()

-- name: create
CREATE TRIGGER {trigger} AFTER {event} ON {table} FOR EACH {level}{condition} EXECUTE FUNCTION {function}()

-- name: drop_trigger
DROP TRIGGER IF EXISTS {trigger} ON {table}

-- name: drop_function
DROP FUNCTION IF EXISTS {function}()

-- name: revoke
REVOKE ALL ON FUNCTION {function}() FROM PUBLIC

-- name: path
SET LOCAL search_path = {path}

-- name: seal
DO {body}

-- name: sealing
BEGIN
    EXECUTE pg_catalog.format('COMMENT ON FUNCTION %s() IS %L', {function}, (
        SELECT {known}::pg_catalog.jsonb || pg_catalog.jsonb_build_object(
            'found', pg_catalog.md5(pg_catalog.pg_get_triggerdef(t.oid) || pg_catalog.pg_get_functiondef(t.tgfoid))
        )
        FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid = {table}::pg_catalog.regclass AND t.tgname = {trigger}
    ));
END
