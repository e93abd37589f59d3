-- Where the log is, and each of `asked.channels`, in one look; and a marker to the asking node. As nothing can be published
-- in between, the marker arrives after every event through the head, and before every later one.
--
-- Returns the log's state, its floor, and for each channel the id of its newest entry, or nil if it is not known.

local log = open_log(true)
local last = get_all(LAST, asked.channels)
redis.call('PUBLISH', asked.inbox, asked.token .. ' ' .. log.epoch .. ' ' .. text(log.head))
return {state(log), log.floor, last}
