-- What there is of asked.channels.
--
-- Returns the log's state, and for each channel {events, bytes, id of its newest entry}; no events if it is not known.

local log = load_log()
if not log then
  return {}  -- `enter` makes it
end
local last, size = get_all(LAST, asked.channels), get_all(SIZE, asked.channels)
local found = {}
for i in ipairs(asked.channels) do
  local events = last[i] and redis.call('XLEN', KEYS[FIXED + i]) or 0
  found[i] = {events, tonumber(size[i] or 0), last[i] or ''}
end
return {state(log), found}
