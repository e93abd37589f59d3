-- Append a batch of events: all or none, each once, in the order in which everybody will see them.
--
-- KEYS[FIXED + 1]   names this append: asked again, because the answer was lost, it is answered and not done again
-- asked.remembered  milliseconds for which it is
-- asked.drafts      {number of the channel, m, d, idempotency key or '', fingerprint}, ...
-- asked.channels    {name = , count = , bytes = , age = }, ...: with the rule to apply; their streams are KEYS[FIXED + 2], ...
-- asked.key_age     milliseconds; asked.keys: how many, -1 for any number
-- asked.spared      milliseconds: younger events are not removed
-- asked.events      what the pub/sub channels of events begin with
--
-- Returns the log's state, 'done', and the seq of each draft; or its state, 'conflict', and the number of the draft.

local OPERATION = KEYS[FIXED + 1]
local SLACK = 100  -- events over a channel's count that are tolerated here, so that not every append has to remove some
local MORE = 20  -- events and keys that are removed in addition to twice as many as came

local names = names_of(asked.channels)
local log, rows = open_log(names)

-- An answer from before the log was wiped names positions that mean nothing now. One from before some writes were lost is
-- good: it has survived, so the events have, too, and they lie before the place where the new epoch began.
local function earlier_answer()
  local answer = redis.call('GET', OPERATION)
  if answer then
    local epoch, seqs = unpack(cmsgpack.unpack(answer))
    local newest = 0
    for _, seq in ipairs(seqs) do
      newest = math.max(newest, seq)
    end
    return (epoch == log.epoch or newest <= log.born) and seqs
  end
end

-- Everything is looked at before anything is written.

local seqs = earlier_answer()
if seqs then
  return {state(log), 'done', seqs}
end

local now = clock()
local time = math.max(log.time, now)  -- times never run backwards, or a position could not be found by its time

-- Idempotency key -> {seq, fingerprint}, of those keys of the drafts that are remembered; nil if no draft has a key.
local function remembered_keys()
  local known
  for _, draft in ipairs(asked.drafts) do
    local key = draft[4]
    if key ~= '' then
      known = known or {}
      local when, seq, print = (redis.call('HGET', KEY_MEMORY, key) or ''):match('^(%d+) (%d+) (%x+)$')
      if when and tonumber(when) >= now - asked.key_age then
        known[key] = {tonumber(seq), print}
      end
    end
  end
  return known
end

local known, fresh, size = remembered_keys(), {}, 0
seqs = {}
for i, draft in ipairs(asked.drafts) do
  local key, print = draft[4], draft[5]
  local first = known and known[key]
  if first and first[2] ~= print then
    return {state(log), 'conflict', i}
  end
  if first then
    seqs[i] = first[1]
  else
    fresh[#fresh + 1] = draft
    seqs[i] = log.head + #fresh
    size = size + #draft[3]
    if key ~= '' then
      known[key] = {seqs[i], print}
    end
  end
end
if #fresh == 0 then
  return {state(log), 'done', seqs}
end

local channels = load_channels(names, rows, FIXED + 1)
local is_later = time > log.time
if known then
  redis.call('LLEN', KEY_ORDER)
end
if is_later then
  redis.call('XLEN', TIMES)
end

local function tolerated(rule)
  return math.min(math.floor(math.max(rule.count, 0) / 10), SLACK)
end

for i, rule in ipairs(asked.channels) do
  local channel = channels[i]
  local is_new = channel.events == 0 or not channel.seq
  if is_new or is_over(rule, channel.events + #fresh - tolerated(rule), channel.bytes + size) then
    check_sets()
    break
  end
end

-- From here on everything is written. An entry with the id that ours must have, or a later one, is not ours: somebody has
-- put it there by hand, or it is left from a log that was deleted.

-- Add an entry; true if all others had to give way.
local function add(stream, id, ...)
  local reply = redis.pcall('XADD', stream, id, ...)
  if type(reply) == 'table' then
    redis.call('UNLINK', stream)
    redis.call('XADD', stream, id, ...)
    return true
  end
end

-- From here on a channel has nothing but what is appended now.
local function begin_channel(channel, seq)
  log.bytes = log.bytes - channel.bytes
  channel.events, channel.bytes = 0, 0
  redis.call('ZADD', OLDEST, text(seq), channel.name)
  redis.call('ZADD', NAMES, 0, channel.name)
  redis.call('ZREM', EMPTY, channel.name)
end

redis.call('SET', OPERATION, cmsgpack.pack({log.epoch, seqs}), 'PX', text(asked.remembered))
if is_later then
  add(TIMES, string.format('%.0f-%.0f', time, log.head + 1), 's', '')
end
for _, draft in ipairs(fresh) do
  local number, meta, data, key, print = unpack(draft)
  local channel, seq = channels[number], log.head + 1
  local previous, id = channel.seq or log.floor, string.format('%.0f-%.0f', seq, time)
  if not channel.seq then
    redis.call('UNLINK', channel.stream)  -- if there is one, it is of another log
  end
  if add(channel.stream, id, 'v', text(previous), 'm', meta, 'd', data) or channel.events == 0 or not channel.seq then
    begin_channel(channel, seq)
  end
  channel.seq, channel.time, channel.is_touched = seq, time, true
  channel.events, channel.bytes = channel.events + 1, channel.bytes + #data
  log.head, log.bytes = seq, log.bytes + #data
  if key ~= '' then
    redis.call('HSET', KEY_MEMORY, key, string.format('%.0f %.0f %s', time, seq, print))
    redis.call('RPUSH', KEY_ORDER, text(seq) .. ' ' .. key)
  end
  local numbers = string.format('%s %.0f %.0f %.0f %.0f %d', log.epoch, log.life, seq, previous, time, #meta)
  redis.call('PUBLISH', asked.events .. channel.name, numbers .. '\n' .. meta .. data)
end
log.time = time

-- Make room, a little more than was taken.
local left = 2 * #fresh + MORE
for i, rule in ipairs(asked.channels) do
  local channel = channels[i]
  if channel.is_touched then  -- the others' drafts were all known
    save_channel(channel)
    if left > 0 and is_over(rule, channel.events - tolerated(rule), channel.bytes) then
      left = left - trimming(log, now).trim_by(rule, channel, left)
    end
  end
end
if known then
  forget_keys(now, asked.key_age, asked.keys, 2 * #fresh + MORE)
end
save(log)
return {state(log), 'done', seqs, log.bytes}
