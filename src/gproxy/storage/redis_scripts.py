"""What runs inside Redis. Each script is one round trip and, there, one moment.

Windows are hashes of sixty slots (see `redis_limits`), an allowance is one hash per user (see `allowances`):

    id     names its row in `quota_holds`
    free   nano-USD that it still has to give
    ends   until when it may be given from, by the clock of whoever set it aside (us); the asker compares its own
    until  the same by Redis's clock: both must agree that there is time
    quota  the budget it was set aside under; another one asks for a new allowance
    beyond what else was free of the budget when it was set aside
    run    the Redis process that was told. One that was restored from an older state, or promoted, is another, and
           what it remembers of `free` may be too much
"""

from __future__ import annotations

from typing import Final

_RUN: Final = """
local function this_run()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
end
"""

# KEYS: the epoch, the instances that are there, the allowance, then one hash per claim. ARGV: per claim length (us),
# limit, cost, least; then who asks, how many instances there should be, what is drawn from the allowance (nothing: -1),
# the budget, and the asker's time (us).
# Answers: {-1} no epoch · {-2} the asker is not there · {-3, id, free} the allowance does not cover it, or there is
# none; what it had left was taken out · {0, worst, wait, used…, reset…} · {1, slot…, granted…, used…, reset…, and when
# something was drawn id, free, beyond}; times in us.
COUNT: Final = (
    _RUN
    + """
local slots = tonumber(60)
local n = #KEYS - 3
local tail = #ARGV - 5
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local members, missing = tonumber(ARGV[tail + 2]), 0
if n > 0 then
  if redis.call('EXISTS', KEYS[1]) == 0 then return {-1} end
  local until_then = redis.call('ZSCORE', KEYS[2], ARGV[tail + 1])
  if not until_then or tonumber(until_then) < now then return {-2} end
  missing = math.max(0, members - redis.call('ZCOUNT', KEYS[2], now, '+inf'))
end
local drawn = tonumber(ARGV[tail + 3])
local purse
if drawn >= 0 then
  purse = redis.call('HMGET', KEYS[3], 'id', 'free', 'ends', 'until', 'quota', 'beyond', 'run')
  if not purse[1] then return {-3, '', 0} end
  if purse[7] ~= this_run() then
    redis.call('DEL', KEYS[3])
    return {-3, '', 0}
  end
  local over = tonumber(purse[3]) <= tonumber(ARGV[tail + 5]) or tonumber(purse[4]) <= now
  if over or purse[5] ~= ARGV[tail + 4] or tonumber(purse[2]) < drawn then
    redis.call('DEL', KEYS[3])
    return {-3, purse[1], purse[2]}
  end
end
local used, newest, granted = {}, {}, {}
local worst, longest = 0, -1
for i = 1, n do
  local length, limit = tonumber(ARGV[i * 4 - 3]), tonumber(ARGV[i * 4 - 2])
  if missing > 0 then limit = limit - missing * math.ceil(limit / members) end
  local cost, least = tonumber(ARGV[i * 4 - 1]), tonumber(ARGV[i * 4])
  local width = length / slots
  local oldest = math.floor(now / width) - slots
  local flat = redis.call('HGETALL', KEYS[i + 3])
  local total, last, held = 0, oldest - 1, {}
  for f = 1, #flat, 2 do
    local slot, count = tonumber(flat[f]), tonumber(flat[f + 1])
    if slot < oldest then
      redis.call('HDEL', KEYS[i + 3], flat[f])
    else
      total = total + count
      if slot > last then last = slot end
      held[#held + 1] = {slot, count}
    end
  end
  used[i] = total
  newest[i] = last
  local left = limit - total
  if cost <= left then granted[i] = cost elseif least <= left then granted[i] = left else
    granted[i] = -1
    table.sort(held, function(a, b) return a[1] < b[1] end)
    local excess, wait = total + least - limit, length
    for _, pair in ipairs(held) do
      excess = excess - pair[2]
      if excess <= 0 then wait = math.max(0, (pair[1] + 1 + slots) * width - now) break end
    end
    if wait > longest then longest = wait worst = i end
  end
end
local function reset(i)
  local width = tonumber(ARGV[i * 4 - 3]) / slots
  return math.max(0, math.floor((newest[i] + 1 + slots) * width - now))
end
local answer
if worst > 0 then
  answer = {0, worst, math.ceil(longest)}
else
  answer = {1}
  for i = 1, n do
    local width = tonumber(ARGV[i * 4 - 3]) / slots
    newest[i] = math.floor(now / width)
    used[i] = used[i] + granted[i]
    redis.call('HINCRBY', KEYS[i + 3], newest[i], granted[i])
    redis.call('PEXPIRE', KEYS[i + 3], math.ceil((slots + 2) * width / 1000))
    answer[#answer + 1] = newest[i]
  end
  for i = 1, n do answer[#answer + 1] = granted[i] end
end
for i = 1, n do answer[#answer + 1] = used[i] end
for i = 1, n do answer[#answer + 1] = reset(i) end
if worst == 0 and purse then
  answer[#answer + 1] = purse[1]
  answer[#answer + 1] = redis.call('HINCRBY', KEYS[3], 'free', '-' .. ARGV[tail + 3])
  answer[#answer + 1] = purse[6]
end
return answer
"""
)

# KEYS: one hash. ARGV: slot, difference. A slot that has left the window is past correcting.
CORRECT: Final = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2]) end
return 0
"""

# KEYS: one hash. ARGV: length (us), 'most' or 'add', then ago (us), count, ago, count, …
RAISE: Final = """
local slots = tonumber(60)
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local width = tonumber(ARGV[1]) / slots
local sums = {}
for i = 3, #ARGV, 2 do
  local slot = math.floor((now - tonumber(ARGV[i])) / width)
  sums[slot] = (sums[slot] or 0) + tonumber(ARGV[i + 1])
end
for slot, count in pairs(sums) do
  if ARGV[2] == 'add' then
    redis.call('HINCRBY', KEYS[1], slot, count)
  elseif count > tonumber(redis.call('HGET', KEYS[1], slot) or '0') then
    redis.call('HSET', KEYS[1], slot, count)
  end
end
redis.call('PEXPIRE', KEYS[1], math.ceil((slots + 2) * width / 1000))
return 0
"""

# KEYS: the instances that are there. ARGV: which one, and until when (us of Redis's clock: a command that arrives late
# says nothing new). Answers with the time.
BE_THERE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now)
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], 60000)
return now
"""

# KEYS: the allowance. ARGV: id, free, ends (us), quota, beyond, for how long (us).
# Answers with what it stands in place of: {id, free}. One that ends later stays.
GIVE: Final = (
    _RUN
    + """
local run = this_run()
if run == '' then return {ARGV[1], ARGV[2]} end
local time = redis.call('TIME')
local old = redis.call('HMGET', KEYS[1], 'id', 'free', 'ends', 'run')
if old[1] and old[4] == run and tonumber(old[3]) > tonumber(ARGV[3]) then return {ARGV[1], ARGV[2]} end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'free', ARGV[2], 'ends', ARGV[3], 'quota', ARGV[4], 'beyond', ARGV[5],
  'run', run, 'until', string.format('%.0f', time[1] * 1000000 + time[2] + ARGV[6]))
redis.call('PEXPIRE', KEYS[1], 60000)
if old[1] and old[4] == run then return {old[1], old[2]} end
return {'', 0}
"""
)

# KEYS: the allowance. ARGV: id, or nothing for whichever there is. Answers {id, free}, and {'', 0} when it is not there.
TAKE: Final = (
    _RUN
    + """
local old = redis.call('HMGET', KEYS[1], 'id', 'free', 'run')
if not old[1] or (ARGV[1] ~= '' and old[1] ~= ARGV[1]) then return {'', 0} end
redis.call('DEL', KEYS[1])
if old[3] ~= this_run() then return {'', 0} end
return {old[1], old[2]}
"""
)

# KEYS: the allowance. ARGV: id, amount. Answers 1, or 0 when that allowance is not there any more.
GIVE_BACK: Final = (
    _RUN
    + """
local old = redis.call('HMGET', KEYS[1], 'id', 'run')
if old[1] ~= ARGV[1] or old[2] ~= this_run() then return 0 end
redis.call('HINCRBY', KEYS[1], 'free', ARGV[2])
return 1
"""
)
