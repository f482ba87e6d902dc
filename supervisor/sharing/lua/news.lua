-- News of the space: entries of a stream, whose IDs are the epochs.
local function latest()
  local last = redis.call('XREVRANGE', NEWS, '+', '-', 'COUNT', 1)[1]
  return last and last[1] or NEVER
end

local function next_epoch(before)
  local milliseconds, number = parts(is_later(asked.seen, before) and asked.seen or before)
  if now > milliseconds then return digits(now) .. '-0' end
  return digits(milliseconds) .. '-' .. digits(number + 1)
end

local function tell(epoch, before, ...)
  redis.call(
    'XADD', NEWS, 'MAXLEN', '~', asked.kept_news, epoch,
    'circuit', asked.circuit, 'before', before, ...
  )
  redis.call('PEXPIRE', NEWS, asked.keep)
end

local function tell_change(held)
  local before = latest()
  held.epoch = next_epoch(before)
  tell(held.epoch, before, 'held', cjson.encode(held))
end

local function tell_place()
  local before = latest()
  tell(next_epoch(before), before)
end
