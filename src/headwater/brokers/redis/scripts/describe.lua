-- What there is of asked.channels.
--
-- Returns the log's state, and for each channel {events, bytes, seq and time of its newest entry}; no events if it is not
-- known.

local log = load_log()
if not log then
  return {}  -- `enter` makes it
end
local rows, found = get_rows(asked.channels), {}
for i, row in ipairs(rows) do
  if row then
    local seq, time, bytes = parse_row(row)
    found[i] = {redis.call('XLEN', KEYS[FIXED + i]), bytes, seq, time}
  else
    found[i] = {0, 0, 0, 0}
  end
end
return {state(log), found}
