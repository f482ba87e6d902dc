-- The steps: the same rules as in rules.py, which says why.
local function answer(outcome, held, ends)
  return {outcome, digits(now), digits(ends or 0), is_nothing(held) and '' or cjson.encode(held)}
end

local function changed(held)
  tell_change(held)
  put(held)
  return answer('told', held)
end

local function kept(outcome, held, ends)
  put(held)
  return answer(outcome, held, ends)
end

local function entered(state)
  local held = nothing()
  held.state, held.ends, held.owner = state, now, asked.owner
  return held
end

local function opened(term)
  local held = entered('open')
  held.ends, held.length = term[1], term[2]
  held.failed_recoveries, held.failure = asked.failed_recoveries, asked.failure
  return held
end

local function unless_void(held)
  if not is_later(asked.view, held.epoch) then return held end
  local left = nothing()
  left.votes, left.counts = held.votes, held.counts
  return left
end

local function leased(held)
  local term = term_of(asked.length)
  held.leases[asked.token] = term
  return kept('leased', held, term[1])
end

local steps = {}

function steps.opening()
  local held, term = unless_void(get()), term_of(asked.length)
  local is_own = held.owner == asked.owner and is_later(held.epoch, asked.view)
  local told_before = is_own and term[2] == held.length
  if held.state == 'open' and asked.hinted and not told_before then
    if term[1] <= held.ends then return answer('told', held) end
    held.ends, held.length, held.owner = term[1], term[2], asked.owner
    return changed(held)
  end
  if held.state ~= 'closed' or is_later(held.epoch, asked.view) then return answer('told', held) end
  held.votes[asked.owner] = term
  if count(held.votes) < asked.quorum then return kept('alone', held) end
  return changed(opened(term))
end

function steps.counting()
  local held, failures = unless_void(get()), 0
  if held.state ~= 'closed' or is_later(held.epoch, asked.view) then return answer('told', held) end
  held.counts[asked.owner] = nil
  if asked.failures > 0 then
    held.counts[asked.owner] = {now + asked.within, asked.within, asked.failures}
  end
  for _, told in pairs(held.counts) do failures = failures + told[3] end
  if failures < asked.threshold or count(held.counts) < asked.quorum then
    return kept('alone', held)
  end
  return changed(opened(term_of(asked.length)))
end

function steps.asking()
  local held = unless_void(get())
  local may_be_probed = held.state == 'open' and now + asked.early >= held.ends
  if held.state == 'closed' then
    if is_later(held.epoch, asked.view) then return answer('told', held) end
    if asked.quorum > 1 then return kept('alone', held) end
  elseif not may_be_probed and held.state ~= 'half_open' then return answer('told', held) end
  if held.state ~= 'half_open' then
    local of = may_be_probed and held or asked
    held = entered('half_open')
    held.failed_recoveries, held.failure = of.failed_recoveries, of.failure
    tell_change(held)
  end
  local places = math.max(1, math.min(asked.at_once, asked.needed - held.won))
  if not held.leases[asked.token] and count(held.leases) >= places then
    local first = math.huge
    for _, term in pairs(held.leases) do first = math.min(first, term[1]) end
    return kept('busy', held, first)
  end
  return leased(held)
end

function steps.settling()
  local held = get()
  if is_later(asked.epoch, held.epoch) then return answer('alone', held) end
  if held.epoch ~= asked.epoch or not held.leases[asked.token] then return answer('fenced', held) end
  if asked.verdict == 'failed' then return changed(opened(term_of(asked.length))) end
  if asked.verdict == 'succeeded' then
    held.won = held.won + 1
    if held.won >= asked.needed then return changed(entered('closed')) end
  end
  held.leases[asked.token] = nil
  tell_place()
  return kept('told', held)
end

function steps.renewing()
  local held = get()
  if held.epoch ~= asked.epoch or not held.leases[asked.token] then return answer('fenced', held) end
  return leased(held)
end

function steps.forcing()
  local held = unless_void(get())
  if held.state == asked.state and held.epoch ~= NEVER then return answer('told', held) end
  return changed(entered(asked.state))
end
