-- What is not of one circuit: signs of life, and the records of all.
local function drop_some()  -- so that names of the past do not add up
  local some = redis.call('HRANDFIELD', CIRCUITS, asked.looks, 'WITHVALUES')
  for i = 1, #some, 2 do
    local held = read(some[i + 1])
    if held and is_nothing(as_of_now(held)) then redis.call('HDEL', CIRCUITS, some[i]) end
  end
end

function steps.beat()
  if asked.length > 0 then  -- what needs memory is first: after any write, its lack is not noticed
    redis.call('ZADD', MEMBERS, digits(now), asked.owner)
    redis.call('ZREMRANGEBYSCORE', MEMBERS, '-inf', digits(now - asked.length))
    redis.call('ZREMRANGEBYSCORE', MEMBERS, '(' .. digits(now), '+inf')
  else redis.call('ZREM', MEMBERS, asked.owner) end
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, asked.keep) end
  drop_some()
  return {digits(now), latest(), redis.call('ZCARD', MEMBERS)}
end

function steps.members()  -- for who looks on
  return {digits(now), latest(), redis.call('ZRANGE', MEMBERS, 0, -1, 'WITHSCORES')}
end

function steps.snapshot()  -- a part of it; who reads it drops what is over
  local found = redis.call('HSCAN', CIRCUITS, asked.cursor, 'COUNT', asked.slice)
  return {digits(now), found[1], found[2]}
end

if asked.circuit and #asked.circuit > asked.longest_name then return answer('alone', nothing()) end
return steps[asked.step]()
