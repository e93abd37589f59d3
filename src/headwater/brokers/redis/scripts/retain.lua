-- A step of a sweep: apply their rules to some channels, removing at most asked.limit events.
--
-- asked.channels  {name, count = , bytes = , age = }, ...; their streams are KEYS[FIXED + 1], ...
-- asked.now       milliseconds of Unix time, 0 for Redis' own clock
--
-- Returns the log's state, how many events went, and how many channels are done with.

local log = open_log(false)
local now = asked.now > 0 and asked.now or clock()
local removed, done = 0, 0
local channels = load_channels(log, names_of(asked.channels), FIXED)
check_sets()
save(log)
keep_measured(log, channels)

-- Also brings in line what the channel has and what is written about it, which part ways when a key was evicted, or deleted
-- by hand.
local function keep(channel, rule, limit)
  local first = redis.call('XRANGE', channel.stream, '-', '+', 'COUNT', 1)[1]
  if not first then
    log.bytes = log.bytes - channel.bytes
    become_empty(log, channel)
    return 0
  end
  local seq, time = parse_id(first[1])
  redis.call('ZADD', OLDEST, text(seq), channel.name)
  redis.call('ZADD', NAMES, 0, channel.name)
  local is_old = rule.age >= 0 and time < now - rule.age
  return (is_old or is_over(rule, channel.events, channel.bytes)) and trim_by(rule, log, channel, limit, now) or 0
end

for i, rule in ipairs(asked.channels) do
  if channels[i].last then
    removed = removed + keep(channels[i], rule, asked.limit - removed)
  end
  if removed >= asked.limit then
    break
  end
  done = i
end
save(log)
return {state(log), removed, done}
