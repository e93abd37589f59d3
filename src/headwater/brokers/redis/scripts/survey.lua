-- Where the log is, and each of `asked.channels`, in one look; and a marker to the asking node. As nothing can be published
-- in between, the marker arrives after every event through the head, and before every later one.
--
-- Returns the log's state, its floor, and for each channel what is written about it, or nil if it is not known.

local log, rows = open_log(asked.channels, true)
redis.call('PUBLISH', asked.inbox, asked.token .. ' ' .. log.epoch .. ' ' .. text(log.head))
return {state(log), log.floor, rows}
