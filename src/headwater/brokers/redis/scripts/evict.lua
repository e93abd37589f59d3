-- A step against a log that is too large: remove its oldest events while it has more than asked.total bytes.
--
-- asked.channels  names, the ones with the oldest events; their streams are KEYS[FIXED + 1], ...
-- asked.now       milliseconds of Unix time, 0 for Redis' own clock
--
-- Returns the log's state, how many events went, and 'done', 'more' if there may be more to do, or 'young' if what is left
-- to go is too young for that.

local log, rows = open_log(asked.channels)
local now = asked.now > 0 and asked.now or clock()
local loaded, channels = load_channels(asked.channels, rows, FIXED), {}
for _, channel in ipairs(loaded) do
  channels[channel.name] = channel
end
check_sets()
save(log)

local trimming, removed = trimming(log, now), 0
while log.bytes > asked.total and removed < asked.limit do
  local name, _, follower, next_seq = unpack(redis.call('ZRANGE', OLDEST, 0, 1, 'WITHSCORES'))
  local channel = channels[name]
  if not channel then
    break  -- the oldest are others by now: the caller looks again
  end
  if channel.events == 0 or not channel.seq then  -- something was evicted, or deleted by hand
    trimming.become_empty(channel)
  else
    local spare = log.bytes - channel.bytes
    local went = trimming.trim(channel, asked.limit - removed, function(seq, _, _, bytes)
      return spare + bytes > asked.total and (not follower or seq < tonumber(next_seq))
    end)
    removed = removed + went
    if went == 0 then
      save(log)
      return {state(log), removed, 'young'}
    end
  end
end
save(log)
return {state(log), removed, log.bytes > asked.total and redis.call('ZCARD', OLDEST) > 0 and 'more' or 'done'}
