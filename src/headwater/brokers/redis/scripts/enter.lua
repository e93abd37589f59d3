-- The first thing on every connection: make the log if it is missing, and notice whether Redis has another life, or has lost
-- anything that the caller knows of. A node also leaves the retention that it applies, for processes that only publish.
--
-- Returns the log's state, and the retention that was left.

local log = open_log({}, true)
if asked.retention and asked.retention ~= redis.call('HGET', LOG, 'retention') then
  log.version = log.version + 1
  redis.call('HSET', LOG, 'retention', asked.retention, 'version', text(log.version))
end
return {state(log), redis.call('HGET', LOG, 'retention')}
