"""The scripts that count in Redis or Valkey: each runs there as one step, by that server's clock.

A window is a hash: the amount of each part under its number, `total`, and `first`, the number of
the oldest part that may be there. The running requests are a sorted set of leases by their end.
"""

_COMMON = """
local function open_window(key, now, width, slices)
  local window = {key = key, number = math.floor(now / width), total = 0, first = nil}
  local known = redis.call('HMGET', key, 'total', 'first')
  if known[1] then
    window.total = tonumber(known[1])
    window.first = tonumber(known[2])
    window.number = math.max(window.number, window.first)  -- clocks are set back at times
    local oldest, start = window.number - slices, window.first
    while window.first < oldest and window.total ~= 0 do
      local field = tostring(window.first)
      local amount = redis.call('HGET', key, field)
      if amount then
        redis.call('HDEL', key, field)
        window.total = window.total - tonumber(amount)
      end
      window.first = window.first + 1
    end
    if window.first < oldest then
      redis.call('DEL', key)
      window.first = nil
    elseif window.first > start then
      redis.call('HSET', key, 'total', window.total, 'first', window.first)
    end
  end
  return window
end

local function wait_for(window, amount, limit, now, width, slices)
  local over = window.total + amount - limit
  if over <= 0 then
    return 0
  end
  for number = window.first or window.number, window.number do
    over = over - tonumber(redis.call('HGET', window.key, tostring(number)) or 0)
    if over <= 0 then
      return (number + slices + 1) * width - now
    end
  end
  return (slices + 1) * width
end

local function keep(key, lasting)
  redis.call('PEXPIRE', key, math.max(math.ceil(lasting / 1000), redis.call('PTTL', key)))
end

local function count(window, amount, number, width, slices)
  if not window.first then
    window.first = window.number
    redis.call('HSET', window.key, 'first', window.first)
  end
  redis.call('HINCRBY', window.key, tostring(number), amount)
  redis.call('HINCRBY', window.key, 'total', amount)
  keep(window.key, (slices + 2) * width)
end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
"""

TAKE = (
    _COMMON
    + """
local width, slices = tonumber(ARGV[1]), tonumber(ARGV[2])
local requests, tokens, concurrent = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local reserved, lease, lasting = tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
if concurrent > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
  if redis.call('ZCARD', KEYS[3]) >= concurrent then
    return {3, 0}
  end
end
local asked, spent
if requests > 0 then
  asked = open_window(KEYS[1], now, width, slices)
  local wait = wait_for(asked, 1, requests, now, width, slices)
  if wait > 0 then
    return {1, wait}
  end
end
if tokens > 0 then
  spent = open_window(KEYS[2], now, width, slices)
  local wait = wait_for(spent, math.max(1, reserved), tokens, now, width, slices)
  if wait > 0 then
    return {2, wait}
  end
end
if concurrent > 0 then
  redis.call('ZADD', KEYS[3], now + lasting, lease)
  keep(KEYS[3], lasting)
end
if asked then
  count(asked, 1, asked.number, width, slices)
end
if spent then
  count(spent, reserved, spent.number, width, slices)
  return {0, spent.number}
end
return {0, 0}
"""
)
"""KEYS: requests, tokens, leases. Gives 0 and the part that tokens count in, or the number of the
limit that is used up (requests, tokens, concurrent) and the microseconds to wait."""

SETTLE = (
    _COMMON
    + """
local width, slices = tonumber(ARGV[1]), tonumber(ARGV[2])
local lease, used = ARGV[3], tonumber(ARGV[4])
local reserved, number = tonumber(ARGV[5]), tonumber(ARGV[6])
if lease ~= '' then
  redis.call('ZREM', KEYS[2], lease)
end
if used >= 0 then
  local spent = open_window(KEYS[1], now, width, slices)
  if spent.first and number >= spent.first then
    count(spent, -reserved, number, width, slices)
  end
  count(spent, used, spent.number, width, slices)
end
return 1
"""
)
"""KEYS: tokens, leases. `used` is -1 where what was reserved stays."""

RENEW = (
    _COMMON
    + """
local lasting = tonumber(ARGV[1])
for index = 2, #ARGV do
  redis.call('ZADD', KEYS[1], 'XX', now + lasting, ARGV[index])
end
keep(KEYS[1], lasting)
return 1
"""
)
"""KEYS: leases. The leases named last anew, those of them that are still there."""
