-- The time of the server, in milliseconds: read once, so that a step has one.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
