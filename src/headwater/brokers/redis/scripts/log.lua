-- What every script begins with: the names of the keys, who is calling, and the log as it is.
--
-- Redis runs a script whole, with nobody in between. But it does not take back what a script has written before it fails,
-- so every script reads all the keys that it will write to first (a key of another type fails there), and its first write
-- is a command that Redis refuses when it may not write at all: for lack of memory, as a replica, with a full disk.
--
-- All of this runs with each call, functions are made anew, too. So what is needed rarely is in functions that make others
-- only when they are called: `notice` in opening.lua, `trimming` in trimming.lua.
--
-- ARGV[1] says what the caller knows (see known.py), ARGV[2] what it asks for. The streams of channels, and what else only
-- one script needs, come after the fixed KEYS.

local FIXED = 9  -- how many names of keys are the same for every script
local LOG, LIVES, CHANNELS, OLDEST, NAMES, EMPTY, TIMES, KEY_MEMORY, KEY_ORDER = unpack(KEYS, 1, FIXED)
local CHUNK = 1000  -- values that unpack() gives at once; Lua's stack holds some thousands

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

-- How far the log has come: what appending and removing change.
local function save(log)
  redis.call(
    'HSET', LOG, 'head', text(log.head), 'time', text(log.time), 'bytes', text(log.bytes), 'floor', text(log.floor)
  )
end

-- What is written about channels: `<seq>-<time> <bytes>`, the id of the newest entry that there ever was and the size of the
-- data that is left; false for those that are not known. And whether anything is written: there always is a field without a
-- name. If even that is missing, the hash was evicted, or deleted by hand, and nothing through the head can be promised.
local function get_rows(names)
  local rows, first, mark = {}, 1, nil
  repeat
    local part = redis.call('HMGET', CHANNELS, '', unpack(names, first, math.min(first + CHUNK - 1, #names)))
    mark = part[1]
    for i = 2, #part do
      rows[first + i - 2] = part[i]
    end
    first = first + CHUNK
  until first > #names
  return rows, mark
end

local function parse_row(row)
  local seq, time, bytes = row:match('^(%d+)-(%d+) (%d+)$')
  return tonumber(seq), tonumber(time), tonumber(bytes)
end

-- For scripts that only read: the rows, and the seq through which channels without one may be gone.
local function look_up(log, names)
  local rows, mark = get_rows(names)
  return rows, mark and log.floor or log.head
end

local function state(log)
  return {log.epoch, log.begun, log.born, log.head, log.life, log.version}
end
