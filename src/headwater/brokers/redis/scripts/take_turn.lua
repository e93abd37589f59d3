-- Whose turn is it to sweep? The first one's who asks after asked.interval milliseconds without a sweep.
--
-- Returns the log's state, and 1 if it is the caller's.

local log = open_log({})
local now = clock()
local swept = tonumber(redis.call('HGET', LOG, 'swept') or 0)
if swept <= now and now - swept < asked.interval then
  return {state(log), 0}
end
redis.call('HSET', LOG, 'swept', text(now))
return {state(log), 1}
