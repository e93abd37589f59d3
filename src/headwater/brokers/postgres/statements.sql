-- Every statement of the broker, by name. Written for a schema named headwater; `sql.py` puts another name in its place.

-- name: enter
SELECT epoch, pos FROM headwater.enter(%(epoch)s, %(pos)s)
