-- Removing the oldest events of channels. Everything that goes, goes through here.

local function names_of(rules)
  local names = {}
  for i, rule in ipairs(rules) do
    names[i] = rule.name
  end
  return names
end

-- What is known of channels, before anything is changed. Their streams are the KEYS after `before`. `seq` and `time` are of
-- the newest entry there ever was, nil if the channel is not known.
local function load_channels(names, rows, before)
  local channels = {}
  for i, name in ipairs(names) do
    local stream = KEYS[before + i]
    local channel = {name = name, stream = stream, events = redis.call('XLEN', stream), bytes = 0}
    if rows[i] then
      channel.seq, channel.time, channel.bytes = parse_row(rows[i])
    end
    channels[i] = channel
  end
  return channels
end

local function save_channel(channel)
  redis.call('HSET', CHANNELS, channel.name, string.format('%.0f-%.0f %.0f', channel.seq, channel.time, channel.bytes))
end

-- Fail now and not later if a key is of another type than it should be: so long as nothing is written.
local function check_sets()
  redis.call('ZCARD', OLDEST)
  redis.call('ZCARD', NAMES)
  redis.call('ZCARD', EMPTY)
end

-- Whether a rule says that a channel has too much. Bounds are -1 where there is none.
local function is_over(rule, events, bytes)
  return (rule.count >= 0 and events > rule.count) or (rule.bytes >= 0 and bytes > rule.bytes)
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

-- What removes events, as functions in a table. Whoever uses them saves the log afterwards, and has written before: by
-- themselves they can go wrong half-way, when memory is short.
local function trimming(log, now)
  local BATCH = 16  -- entries looked at together: with their data, so not many
  local AHEAD = 60000  -- milliseconds: events from later than that are of a clock that was put back since, and not young
  local MAX_EMPTY = 10000  -- channels without events whose last seqs are kept one by one

  -- Younger events than asked.spared milliseconds stay, so that a node that lost its connection still finds them.
  local function is_young(time)
    return now - asked.spared < time and time <= now + AHEAD
  end

  -- Remember how far an empty channel had come, and forget what has been empty longest: its last seq becomes the floor of
  -- all channels that are not known. A little too careful for the others, and bounded.
  local function become_empty(channel)
    log.bytes, channel.bytes = log.bytes - channel.bytes, 0
    redis.call('UNLINK', channel.stream)
    redis.call('ZREM', OLDEST, channel.name)
    redis.call('ZREM', NAMES, channel.name)
    if not channel.seq then
      return
    end
    save_channel(channel)
    redis.call('ZADD', EMPTY, text(channel.seq), channel.name)
    local surplus = redis.call('ZCARD', EMPTY) - MAX_EMPTY
    if surplus > 0 then
      local first = redis.call('ZRANGE', EMPTY, 0, surplus - 1, 'WITHSCORES')
      for i = 1, #first, 2 do
        redis.call('ZREM', EMPTY, first[i])
        redis.call('HDEL', CHANNELS, first[i])
        log.floor = math.max(log.floor, tonumber(first[i + 1]))
      end
    end
  end

  local function settle(channel, removed, bytes)
    log.bytes, channel.bytes, channel.events = log.bytes - bytes, channel.bytes - bytes, channel.events - removed
    local first = redis.call('XRANGE', channel.stream, '-', '+', 'COUNT', 1)[1]
    if first then
      redis.call('ZADD', OLDEST, text(parse_id(first[1])), channel.name)
      save_channel(channel)
    else
      become_empty(channel)
    end
  end

  -- Remove up to `limit` of a channel's oldest events while `goes(seq, time, events left, bytes left)`. Returns how many.
  local function trim(channel, limit, goes)
    local removed, bytes, cut, after = 0, 0, nil, '-'
    while removed < limit do
      local entries = redis.call('XRANGE', channel.stream, after, '+', 'COUNT', math.min(BATCH, limit - removed))
      local stays = #entries == 0
      for _, entry in ipairs(entries) do
        local seq, time = parse_id(entry[1])
        if is_young(time) or not goes(seq, time, channel.events - removed, channel.bytes - bytes) then
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
      settle(channel, removed, bytes)
    end
    return removed
  end

  -- Remove what a rule does not keep. `age` is in milliseconds.
  local function trim_by(rule, channel, limit)
    return trim(channel, limit, function(_, time, events, bytes)
      return is_over(rule, events, bytes) or (rule.age >= 0 and time < now - rule.age)
    end)
  end

  return {trim = trim, trim_by = trim_by, become_empty = become_empty}
end
