-- A step of a sweep: apply their rules to some channels, removing at most asked.limit events.
--
-- asked.channels  {name, count = , bytes = , age = }, ...; their streams are KEYS[FIXED + 1], ...
-- asked.now       milliseconds of Unix time, 0 for Redis' own clock
--
-- Returns the log's state, how many events went, and how many channels are done with.

local now = asked.now > 0 and asked.now or clock()
local removed, done = 0, 0
local names = names_of(asked.channels)
local log, rows = open_log(names)
local channels = load_channels(names, rows, FIXED)
local trimming = trimming(log, now)
check_sets()
save(log)

-- Also brings in line what the channel has and what is written about it, which part ways when a key was evicted, or deleted
-- by hand.
local function keep(channel, rule, limit)
  local first = redis.call('XRANGE', channel.stream, '-', '+', 'COUNT', 1)[1]
  if not first then
    trimming.become_empty(channel)
    return 0
  end
  local seq, time = parse_id(first[1])
  redis.call('ZADD', OLDEST, text(seq), channel.name)
  redis.call('ZADD', NAMES, 0, channel.name)
  local is_old = rule.age >= 0 and time < now - rule.age
  return (is_old or is_over(rule, channel.events, channel.bytes)) and trimming.trim_by(rule, channel, limit) or 0
end

for i, rule in ipairs(asked.channels) do
  if channels[i].seq then
    removed = removed + keep(channels[i], rule, asked.limit - removed)
  end
  if removed >= asked.limit then
    break
  end
  done = i
end
save(log)
return {state(log), removed, done}
