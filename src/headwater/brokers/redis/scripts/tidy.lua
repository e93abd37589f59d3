-- A step of the end of a sweep: forget idempotency keys and times that are not needed, at most asked.limit of each.
--
-- Returns the log's state, and 1 if there may be more to do.

local log = open_log({})
local now = asked.now > 0 and asked.now or clock()
redis.call('HEXISTS', KEY_MEMORY, '')
redis.call('LLEN', KEY_ORDER)
redis.call('XLEN', TIMES)
save(log)
local has_more = forget_keys(now, asked.key_age, asked.keys, asked.limit)

-- The time under which the oldest event was accepted is the first that is needed.
local oldest = tonumber(redis.call('ZRANGE', OLDEST, 0, 0, 'WITHSCORES')[2] or log.head + 1)
local needed
local times = redis.call('XRANGE', TIMES, '-', '+', 'COUNT', asked.limit)
for _, mark in ipairs(times) do
  local _, seq = parse_id(mark[1])
  if seq > oldest then
    break
  end
  needed = mark[1]
end
if needed and needed ~= times[1][1] then
  redis.call('XTRIM', TIMES, 'MINID', needed)
  has_more = has_more or needed == times[#times][1]
end
return {state(log), has_more and 1 or 0}
