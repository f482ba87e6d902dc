-- What is held of a circuit: the same as `Held` in held.py, as JSON in a field of a hash.
local CIRCUITS, NEWS, MEMBERS = KEYS[1], KEYS[2], KEYS[3]
local asked = cjson.decode(ARGV[1])
local NEVER = '0-0'
local REMEMBERED = {
  closed = asked.remembered_closed, open = asked.remembered_open, half_open = asked.remembered_open,
}
local BY_HAND = {forced_open = true, forced_closed = true, disabled = true, metrics_only = true}

local function digits(number)  -- `..` would keep 14 of them
  return string.format('%.0f', number)
end

local function count(of)
  local all = 0
  for _ in pairs(of) do all = all + 1 end
  return all
end

local function parts(epoch)
  local milliseconds, number = string.match(epoch, '^(%d+)-(%d+)$')
  return tonumber(milliseconds), tonumber(number)
end

local function is_later(epoch, other)
  local milliseconds, number = parts(epoch)
  local others, others_number = parts(other)
  return milliseconds > others or (milliseconds == others and number > others_number)
end

local function is_whole(number)
  return type(number) == 'number' and number >= 0 and number <= 2 ^ 53 and number % 1 == 0
end

local function are_terms(terms, size)
  if type(terms) ~= 'table' then return false end
  for name, term in pairs(terms) do
    if type(name) ~= 'string' or type(term) ~= 'table' then return false end
    for i = 1, size do
      if not is_whole(term[i]) then return false end
    end
  end
  return true
end

local function is_held(held)
  return type(held) == 'table'
    and (REMEMBERED[held.state] or BY_HAND[held.state])
    and type(held.epoch) == 'string' and parts(held.epoch)
    and is_whole(held.ends) and is_whole(held.length)
    and is_whole(held.failed_recoveries) and is_whole(held.won)
    and (held.failure == nil or type(held.failure) == 'string')
    and type(held.owner) == 'string'
    and are_terms(held.leases, 2) and are_terms(held.votes, 2) and are_terms(held.counts, 3)
end

local function nothing()
  return {
    state = 'closed', epoch = NEVER, ends = 0, length = 0, failed_recoveries = 0, owner = '',
    won = 0, leases = {}, votes = {}, counts = {},
  }
end

local function is_nothing(held)
  return held.epoch == NEVER and count(held.votes) == 0 and count(held.counts) == 0
end

local function read(text)  -- what nobody can read is nothing, and is written anew
  local is_json, held = pcall(cjson.decode, text or '')
  return is_json and is_held(held) and held or nil
end

local function living(terms)  -- and whether that is less
  local left, is_less = {}, false
  for name, term in pairs(terms) do
    local ends = math.min(term[1], now + term[2])
    is_less = is_less or term[1] <= now or ends < term[1]
    if term[1] > now then left[name] = {ends, term[2], term[3]} end
  end
  return left, is_less
end

local function as_of_now(held)  -- and whether that is less
  local leases, less_leases = living(held.leases)
  local votes, less_votes = living(held.votes)
  local counts, less_counts = living(held.counts)
  local ends = math.min(held.ends, now + held.length)
  local remembered = REMEMBERED[held.state]
  local is_over = remembered and count(leases) == 0 and ends + remembered <= now
  local is_less = is_over or less_leases or less_votes or less_counts or ends < held.ends
  if is_over then held = nothing() else held.ends, held.leases = ends, leases end
  held.votes, held.counts = votes, counts
  return held, is_less
end

local function put(held)
  if is_nothing(held) then redis.call('HDEL', CIRCUITS, asked.circuit)
  else
    redis.call('HSET', CIRCUITS, asked.circuit, cjson.encode(held))
    redis.call('PEXPIRE', CIRCUITS, asked.keep)
  end
end

local function get()  -- what has ended stays so, whatever the clock says later
  local held, is_less = read(redis.call('HGET', CIRCUITS, asked.circuit) or nil), false
  if not held then return nothing() end
  held, is_less = as_of_now(held)
  if is_less then put(held) end
  return held
end

local function term_of(length)
  return {now + length, length}
end
