-- Removing the oldest events of channels. Everything that goes, goes through here.

local BATCH = 16  -- entries looked at together: with their data, so not many
local AHEAD = 60000  -- milliseconds: events from later than that are of a clock that was put back since, and not young
local MAX_EMPTY = 10000  -- channels without events whose last seqs are kept one by one

-- Younger events than asked.spared milliseconds stay, so that a node that lost its connection still finds them.
local function is_young(time, now)
  return now - asked.spared < time and time <= now + AHEAD
end

-- How many bytes of data a stream has, counted: slow, and only needed after what was written about it has been evicted.
local function measure(stream)
  local bytes, after = 0, '-'
  repeat
    local entries = redis.call('XRANGE', stream, after, '+', 'COUNT', BATCH)
    for _, entry in ipairs(entries) do
      bytes, after = bytes + #entry[2][6], '(' .. entry[1]
    end
  until #entries < BATCH
  return bytes
end

-- What is known of channels, before anything is changed. Their streams are the KEYS after `before`.
--
-- The sizes, too, have a field without a name. Without it all of them are gone, and counting begins anew.
local function load_channels(log, names, before)
  local last, sizes = get_all(LAST, names), get_all(SIZE, names)
  log.has_sizes = redis.call('HEXISTS', SIZE, '') == 1
  log.bytes = log.has_sizes and log.bytes or 0
  local channels = {}
  for i, name in ipairs(names) do
    local stream = KEYS[before + i]
    local events = redis.call('XLEN', stream)
    local channel = {name = name, stream = stream, last = last[i], events = events, bytes = tonumber(sizes[i] or 0)}
    channel.is_measured = channel.last and events > 0 and not sizes[i]
    if channel.is_measured then
      channel.bytes = measure(stream)
      log.bytes = log.bytes + channel.bytes
    end
    channels[i] = channel
  end
  return channels
end

-- Write down what `load_channels` had to count: after the first write.
local function keep_measured(log, channels)
  if not log.has_sizes then
    redis.call('HSET', SIZE, '', '')
  end
  for _, channel in ipairs(channels) do
    if channel.is_measured then
      redis.call('HSET', SIZE, channel.name, text(channel.bytes))
    end
  end
end

local function names_of(rules)
  local names = {}
  for i, rule in ipairs(rules) do
    names[i] = rule.name
  end
  return names
end

-- Fail now and not later if a key is of another type than it should be: so long as nothing is written.
local function check_sets()
  redis.call('ZCARD', OLDEST)
  redis.call('ZCARD', NAMES)
  redis.call('ZCARD', EMPTY)
end

-- Remember how far an empty channel had come, and forget what has been empty longest: its last seq becomes the floor of all
-- channels that are not known. A little too careful for the others, and bounded.
local function become_empty(log, channel)
  redis.call('UNLINK', channel.stream)
  redis.call('HDEL', SIZE, channel.name)
  redis.call('ZREM', OLDEST, channel.name)
  redis.call('ZREM', NAMES, channel.name)
  if not channel.last then
    return
  end
  redis.call('ZADD', EMPTY, text(parse_id(channel.last)), channel.name)
  local surplus = redis.call('ZCARD', EMPTY) - MAX_EMPTY
  if surplus > 0 then
    local first = redis.call('ZRANGE', EMPTY, 0, surplus - 1, 'WITHSCORES')
    for i = 1, #first, 2 do
      redis.call('ZREM', EMPTY, first[i])
      redis.call('HDEL', LAST, first[i])
      log.floor = math.max(log.floor, tonumber(first[i + 1]))
    end
  end
end

local function settle(log, channel, removed, bytes)
  log.bytes = log.bytes - bytes
  channel.events, channel.bytes = channel.events - removed, channel.bytes - bytes
  local first = redis.call('XRANGE', channel.stream, '-', '+', 'COUNT', 1)[1]
  if first then
    redis.call('ZADD', OLDEST, text(parse_id(first[1])), channel.name)
    redis.call('HSET', SIZE, channel.name, text(channel.bytes))
  else
    become_empty(log, channel)
  end
end

-- Remove up to `limit` of a channel's oldest events while `goes(seq, time, events left, bytes left)`. Returns how many.
-- The caller saves the log, and has written before: by itself this can go wrong half-way, when memory is short.
local function trim(log, channel, limit, now, goes)
  local removed, bytes, cut, after = 0, 0, nil, '-'
  while removed < limit do
    local entries = redis.call('XRANGE', channel.stream, after, '+', 'COUNT', math.min(BATCH, limit - removed))
    local stays = #entries == 0
    for _, entry in ipairs(entries) do
      local seq, time = parse_id(entry[1])
      if is_young(time, now) or not goes(seq, time, channel.events - removed, channel.bytes - bytes) then
        stays = true
        break
      end
      removed, bytes, cut = removed + 1, bytes + #entry[2][6], seq
      after = '(' .. entry[1]
    end
    if stays then
      break
    end
  end
  if removed > 0 then
    redis.call('XTRIM', channel.stream, 'MINID', text(cut + 1))
    settle(log, channel, removed, bytes)
  end
  return removed
end

-- Whether a rule says that a channel has too much. Bounds are -1 where there is none.
local function is_over(rule, events, bytes)
  return (rule.count >= 0 and events > rule.count) or (rule.bytes >= 0 and bytes > rule.bytes)
end

-- Remove what a rule does not keep. `age` is in milliseconds.
local function trim_by(rule, log, channel, limit, now)
  return trim(log, channel, limit, now, function(_, time, events, bytes)
    return is_over(rule, events, bytes) or (rule.age >= 0 and time < now - rule.age)
  end)
end

-- Forget idempotency keys that are too old, or too many; up to `limit` of them. Whether there may be more.
local function forget_keys(now, age, most, limit)
  local count = redis.call('LLEN', KEY_ORDER)
  for _ = 1, limit do
    local first = redis.call('LINDEX', KEY_ORDER, 0)
    if not first then
      return false
    end
    local seq, key = first:match('^(%d+) (.*)$')
    local time, known = (redis.call('HGET', KEY_MEMORY, key) or ''):match('^(%d+) (%d+) ')
    local is_ours = known == seq  -- or the key was used again after its time, and stands further on in the list
    if is_ours and tonumber(time) >= now - age and (most < 0 or count <= most) then
      return false
    end
    redis.call('LPOP', KEY_ORDER)
    if is_ours then
      redis.call('HDEL', KEY_MEMORY, key)
    end
    count = count - 1
  end
  return true
end
