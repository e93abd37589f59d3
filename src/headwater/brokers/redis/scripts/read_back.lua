-- The newest entries of channels with seq <= asked.before, newest first, at most asked.count of each.
--
-- Returns the log's state, and the entries of each channel.

local log = load_log()
if not log then
  return {}  -- `enter` makes it
end
local rows, found = get_rows(asked.channels), {}
for i, row in ipairs(rows) do
  -- A stream of a channel that is not known is left from another log.
  found[i] = row
      and redis.call('XREVRANGE', KEYS[FIXED + i], text(asked.before), '-', 'COUNT', asked.count)
    or {}
end
return {state(log), found}
