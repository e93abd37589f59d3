-- How far each of asked.channels is gone: 0 where nothing is.
--
-- Returns the log's state, and the seqs.

local log = load_log()
if not log then
  return {}  -- `enter` makes it
end
local rows, floor = look_up(log, asked.channels)
local gone = {}
for i, row in ipairs(rows) do
  local first = row and redis.call('XRANGE', KEYS[FIXED + i], '-', '+', 'COUNT', 1)[1]
  if first then
    gone[i] = tonumber(first[2][2])
  else
    gone[i] = row and parse_row(row) or floor
  end
end
return {state(log), gone}
