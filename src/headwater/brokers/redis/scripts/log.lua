-- What every script begins with: the names of the keys, who is calling, and the log as it is.
--
-- Redis runs a script whole, with nobody in between. But it does not take back what a script has written before it fails,
-- so every script reads all the keys that it will write to first (a key of another type fails there), and its first write
-- is a command that Redis refuses when it may not write at all: for lack of memory, as a replica, with a full disk.
--
-- ARGV[1] says what the caller knows (see known.py), ARGV[2] what it asks for. The streams of channels, and what else only
-- one script needs, come after the fixed KEYS.

local FIXED = 10  -- how many names of keys are the same for every script
local LOG, LIVES, LAST, SIZE, OLDEST, NAMES, EMPTY, TIMES, KEY_MEMORY, KEY_ORDER = unpack(KEYS, 1, FIXED)
local CHUNK = 1000  -- arguments that unpack() gets at once, an even number; Lua's stack holds some thousands
local MAX_LIVES = 1000  -- lives of Redis that are remembered

local caller = cmsgpack.unpack(ARGV[1])
local asked = cmsgpack.unpack(ARGV[2])

-- Lua writes large numbers as 1e+15.
local function text(number)
  return string.format('%.0f', number)
end

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- "<seq>-<time>", an entry's id, as two numbers.
local function parse_id(id)
  local seq, time = id:match('^(%d+)-(%d+)$')
  return tonumber(seq), tonumber(time)
end

-- The values of many fields of a hash; false for those that are not there.
local function get_all(hash, fields)
  local values = {}
  for first = 1, #fields, CHUNK do
    local part = redis.call('HMGET', hash, unpack(fields, first, math.min(first + CHUNK - 1, #fields)))
    for i, value in ipairs(part) do
      values[first + i - 1] = value
    end
  end
  return values
end

local function set_all(hash, fields_and_values)
  for first = 1, #fields_and_values, CHUNK do
    redis.call('HSET', hash, unpack(fields_and_values, first, math.min(first + CHUNK - 1, #fields_and_values)))
  end
end

local function load_log()
  local row = redis.call(
    'HMGET', LOG, 'epoch', 'begun', 'born', 'head', 'time', 'bytes', 'floor', 'life', 'server', 'version'
  )
  return row[1] and {
    epoch = row[1],
    begun = tonumber(row[2]),  -- when the epoch began
    born = tonumber(row[3]),  -- the head then
    head = tonumber(row[4]),
    time = tonumber(row[5]),  -- of the newest event
    bytes = tonumber(row[6]),
    floor = tonumber(row[7]),  -- of channels that are not known (any more), everything through this may be gone
    life = tonumber(row[8]),
    server = row[9],  -- the process and the copy that the life is of
    version = tonumber(row[10]),  -- of the retention that nodes leave for publishers
  }
end

local function save(log)
  redis.call(
    'HSET', LOG, 'epoch', log.epoch, 'begun', text(log.begun), 'born', text(log.born), 'head', text(log.head),
    'time', text(log.time), 'bytes', text(log.bytes), 'floor', text(log.floor), 'life', text(log.life),
    'server', log.server, 'version', text(log.version)
  )
end

-- Which process this is, and which copy of the data: another one after a restart and after a failover.
local function identity()
  local run = redis.call('INFO', 'server'):match('run_id:(%w+)')
  local copy = redis.call('INFO', 'replication'):match('master_replid:(%w+)')
  return tostring(run) .. '/' .. tostring(copy)
end

-- A life of Redis begins. Named by the clock rather than counted: two copies of a log that went different ways would count
-- alike, and a caller who knows the one would take the other for it.
local function begin_life(log)
  log.life = math.max(clock(), log.life + 1)
  log.server = identity()
  save(log)
  redis.call('ZADD', LIVES, text(log.life), text(log.life) .. '-' .. text(log.head))
  redis.call('ZREMRANGEBYRANK', LIVES, 0, -MAX_LIVES - 1)
end

-- Whether the caller knows of an event in this log that the log has lost. Its head shows that, unless it has grown again
-- since: so the lives show how far it had come when each of them began. And a log is an older copy if it knows nothing of
-- an epoch that began later than its own.
local function has_lost(log)
  if caller.epoch ~= log.epoch then
    return caller.begun > log.begun
  end
  if log.head < caller.seq then
    return true
  end
  if log.life == caller.life then
    return false
  end
  local lives = redis.call('ZRANGEBYSCORE', LIVES, text(caller.life), '+inf')
  local first = lives[1] and parse_id(lives[1])
  if first ~= caller.life then
    return true  -- a life that this copy has never had, or one too long ago
  end
  for i = 2, #lives do
    local _, resumed = parse_id(lives[i])
    if resumed < caller.seq then
      return true
    end
  end
  return false
end

-- The positions after its head may have been given before, to other events: the log begins a new epoch there. Its events
-- stay, and belong to the new one.
local function begin_epoch(log)
  log.epoch, log.born, log.begun = caller.fresh, log.head, math.max(clock(), log.begun + 1, caller.begun + 1)
  save(log)
  redis.call('UNLINK', LIVES)
  redis.call('ZADD', LIVES, text(log.life), text(log.life) .. '-' .. text(log.head))
  redis.call('PUBLISH', caller.control, log.epoch)
end

-- There is no log (any more). Whatever is left of one is forgotten: its positions will be given again. Streams that are
-- left are not known here; they go when their channels begin anew.
local function create_log()
  local log = {
    epoch = caller.fresh, begun = math.max(clock(), caller.begun + 1), born = 0, head = 0,
    time = 0, bytes = 0, floor = 0, life = 0, server = '', version = 0,
  }
  save(log)
  for key = 2, FIXED do
    redis.call('UNLINK', KEYS[key])
  end
  begin_life(log)
  redis.call('HSET', LAST, '', log.epoch)
  redis.call('HSET', SIZE, '', '')
  redis.call('PUBLISH', caller.control, log.epoch)
  return log
end

-- What is written about the channels always has a field without a name. If even that is missing, it was evicted, or deleted
-- by hand, and nothing through the head can be promised.
local function has_channels()
  return redis.call('HEXISTS', LAST, '') == 1
end

local function forget_channels(log)
  log.floor, log.bytes = log.head, 0
  save(log)
  for _, key in ipairs({SIZE, OLDEST, NAMES, EMPTY}) do
    redis.call('UNLINK', key)
  end
  redis.call('HSET', LAST, '', log.epoch)
  redis.call('HSET', SIZE, '', '')
end

-- For scripts that only read: the id of the newest entry there ever was in each channel, and the seq through which those that
-- are not known may be gone.
local function newest_of(log, channels)
  return get_all(LAST, channels), has_channels() and log.floor or log.head
end

-- The log, after everything has been noticed that may have happened to it. `is_arriving`: the caller has just connected, or
-- asks for this now and then; only then it is worth asking which server this is.
local function open_log(is_arriving)
  local log = load_log()
  if not log then
    return create_log()
  end
  if not has_channels() then
    forget_channels(log)
  end
  if is_arriving and log.server ~= identity() then
    begin_life(log)
  end
  if has_lost(log) then
    begin_epoch(log)
  end
  return log
end

local function state(log)
  return {log.epoch, log.begun, log.born, log.head, log.life, log.version}
end
