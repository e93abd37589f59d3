-- Entries of channels with asked.after < seq <= asked.upto, at most asked.count of each, in one look.
--
-- Returns the log's state, and for each channel {0 if something after asked.after is gone, entries, seq of its newest}.

local log = load_log()
if not log then
  return {}  -- `enter` makes it
end
local rows, floor = look_up(log, asked.channels)

-- The first entry after a position names the one before it. If that is later than the position, it is gone.
local function is_whole(stream, entries, newest)
  local follower = entries[1] or redis.call('XRANGE', stream, text(asked.after + 1), '+', 'COUNT', 1)[1]
  if follower then
    return tonumber(follower[2][2]) <= asked.after
  end
  return newest <= asked.after
end

local found = {}
for i, row in ipairs(rows) do
  if row then
    local stream, newest = KEYS[FIXED + i], parse_row(row)
    local entries = redis.call('XRANGE', stream, text(asked.after + 1), text(asked.upto), 'COUNT', asked.count)
    found[i] = {is_whole(stream, entries, newest) and 1 or 0, entries, newest}
  else  -- nothing is left of it; if there is a stream, then from another log
    found[i] = {floor <= asked.after and 1 or 0, {}, 0}
  end
end
return {state(log), found}
