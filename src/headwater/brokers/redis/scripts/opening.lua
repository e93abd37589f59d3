-- The log, after everything has been noticed that may have happened to it since the caller last saw it.

-- Wiped, gone on with less than it had, in another process: what to do then. `mark` as from `get_rows`; `is_arriving`: the
-- caller has just connected, or asks for this now and then; only then it is worth asking which server this is.
local function notice(log, mark, is_arriving)
  local MAX_LIVES = 1000  -- lives of Redis that are remembered

  -- Which process this is, and which copy of the data: another one after a restart and after a failover.
  local function identity()
    local run = redis.call('INFO', 'server'):match('run_id:(%w+)')
    local copy = redis.call('INFO', 'replication'):match('master_replid:(%w+)')
    return tostring(run) .. '/' .. tostring(copy)
  end

  local function remember_life()
    redis.call('ZADD', LIVES, text(log.life), text(log.life) .. '-' .. text(log.head))
  end

  -- A life of Redis begins. Named by the clock rather than counted: two copies of a log that went different ways would count
  -- alike, and a caller who knows the one would take the other for it.
  local function begin_life()
    log.life = math.max(clock(), log.life + 1)
    redis.call('HSET', LOG, 'life', text(log.life), 'server', identity())
    remember_life()
    redis.call('ZREMRANGEBYRANK', LIVES, 0, -MAX_LIVES - 1)
  end

  local function save_epoch()
    redis.call('HSET', LOG, 'epoch', log.epoch, 'begun', text(log.begun), 'born', text(log.born))
  end

  -- There is no log (any more). Whatever is left of one is forgotten: its positions will be given again. Streams that are
  -- left are not known here; they go when their channels begin anew.
  local function create()
    log = {
      epoch = caller.fresh, begun = math.max(clock(), caller.begun + 1), born = 0, head = 0,
      time = 0, bytes = 0, floor = 0, life = 0, version = 0,
    }
    save_epoch()
    save(log)
    redis.call('HSET', LOG, 'version', text(log.version))
    for key = 2, FIXED do
      redis.call('UNLINK', KEYS[key])
    end
    begin_life()
    redis.call('HSET', CHANNELS, '', log.epoch)
    redis.call('PUBLISH', caller.control, log.epoch)
  end

  local function forget_channels()
    log.floor, log.bytes = log.head, 0
    save(log)
    redis.call('UNLINK', OLDEST, NAMES, EMPTY)
    redis.call('HSET', CHANNELS, '', log.epoch)
  end

  -- Whether the caller knows of an event in this log that the log has lost. Its head shows that, unless it has grown again
  -- since: so the lives show how far it had come when each of them began. And a log is an older copy if it knows nothing of
  -- an epoch that began later than its own.
  local function has_lost()
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
  local function begin_epoch()
    log.epoch, log.born, log.begun = caller.fresh, log.head, math.max(clock(), log.begun + 1, caller.begun + 1)
    save_epoch()
    redis.call('UNLINK', LIVES)
    remember_life()
    redis.call('PUBLISH', caller.control, log.epoch)
  end

  if not log then
    create()
    return log
  end
  if not mark then
    forget_channels()
  end
  if is_arriving and log.server ~= identity() then
    begin_life()
  end
  if has_lost() then
    begin_epoch()
  end
  return log
end

-- The log, and the rows of these channels.
local function open_log(names, is_arriving)
  local log = load_log()
  local rows, mark = get_rows(names)
  local is_as_known = log and mark and log.epoch == caller.epoch and log.life == caller.life and log.head >= caller.seq
  if is_as_known and not is_arriving then
    return log, rows
  end
  return notice(log, mark, is_arriving), (get_rows(names))
end
