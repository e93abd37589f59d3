-- How far each of asked.channels is gone: 0 where nothing is.
--
-- Returns the log's state, and the seqs.

local log = load_log()
if not log then
  return {}  -- `enter` makes it
end
local last, floor = newest_of(log, asked.channels)
local gone = {}
for i in ipairs(asked.channels) do
  local first = last[i] and redis.call('XRANGE', KEYS[FIXED + i], '-', '+', 'COUNT', 1)[1]
  if first then
    gone[i] = tonumber(first[2][2])
  else
    gone[i] = last[i] and parse_id(last[i]) or floor
  end
end
return {state(log), gone}
