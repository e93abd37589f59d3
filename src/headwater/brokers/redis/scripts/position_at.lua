-- The seq before the first event that was accepted at asked.time or later.
--
-- Each append with a later time than the one before has left that time with its first seq. What was before the first of
-- these, or is gone, counts as accepted before: so no place before the oldest event is an answer.
--
-- Returns the log's state, and the seq.

local log = load_log()
if not log then
  return {}  -- `enter` makes it
end
local oldest = redis.call('ZRANGE', OLDEST, 0, 0, 'WITHSCORES')[2]
local mark = redis.call('XRANGE', TIMES, text(asked.time), '+', 'COUNT', 1)[1]
local first = redis.call('XRANGE', TIMES, '-', '+', 'COUNT', 1)[1]
if not oldest or (first and not mark) then
  return {state(log), log.head}
end
local before = tonumber(oldest) - 1
if mark and mark[1] ~= first[1] then
  local _, seq = parse_id(mark[1])
  before = math.max(before, seq - 1)
end
return {state(log), before}
