-- What an application has: accounts that it changes and tells of in one way or another, rows without a trigger, as many with
-- one whose condition is never true, or always, or is the constant false, and rows that people watch.
CREATE TABLE account (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO account SELECT generate_series(1, 10000);
CREATE TABLE account_alone (LIKE account INCLUDING ALL);
INSERT INTO account_alone SELECT * FROM account;
CREATE TABLE account_plain (LIKE account INCLUDING ALL);
INSERT INTO account_plain SELECT * FROM account;
CREATE TABLE account_publish (LIKE account INCLUDING ALL);
INSERT INTO account_publish SELECT * FROM account;
CREATE TABLE account_call (LIKE account INCLUDING ALL);
INSERT INTO account_call SELECT * FROM account;

-- Where events would go if nobody ever took them.
CREATE TABLE plain (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    channel text, type text, data text
);

CREATE TABLE untouched (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, state int NOT NULL DEFAULT 0, note text);
INSERT INTO untouched SELECT i, 0, 0, repeat('x', 80) FROM generate_series(1, 10000) AS i;
CREATE TABLE guarded (LIKE untouched INCLUDING ALL);
INSERT INTO guarded SELECT * FROM untouched;
CREATE TABLE noted (LIKE untouched INCLUDING ALL);
INSERT INTO noted SELECT * FROM untouched;

CREATE TABLE by_hand (LIKE untouched INCLUDING ALL);
INSERT INTO by_hand SELECT * FROM untouched;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER nothing AFTER UPDATE ON by_hand FOR EACH ROW WHEN (false) EXECUTE FUNCTION nothing();

-- The columns of the payload, so that the load generator knows the events.
CREATE TABLE watched (id int PRIMARY KEY, t text, n text, text text);
INSERT INTO watched SELECT i, '', '', repeat('x', 65) FROM generate_series(1, 10000) AS i;
