"""The scripts that Redis runs whole: each looks at the place that is kept beside a key, and writes both or neither.

They compare places as texts. Redis compares by the collation of its locale (strcoll), by which digits stand in their
order everywhere; places have nothing else. What may need memory comes first: a script that has written cannot be
refused any more where `maxmemory` is reached.
"""

from __future__ import annotations

WRITE = """
local mark = redis.call('GET', KEYS[2])
local place, mode, form, lives = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local last = mark and string.gsub(mark, '^-', '') or ''
if mode == 'placed' and last > place then return 0 end
if mode == 'known' and (not mark or last > place) then return 0 end
if mode == 'bootstrap' and mark and
   (string.sub(mark, 1, 1) == '-' or redis.call('EXISTS', KEYS[1]) == 1) then return 0 end
if mode == 'bootstrap' or mode == 'unplaced' then place = last end
if form == 'gone' then place = '-' .. place end
local function fill()
  for i = 6, #ARGV, 1000 do
    redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
  end
end
if form == 'kept' then
  local former, names = redis.pcall('HGETALL', KEYS[1]), {}
  if former.err then redis.call('DEL', KEYS[1]) end
  fill()
  for i = 6, #ARGV, 2 do names[ARGV[i]] = true end
  for i = 1, #former, 2 do
    if not names[former[i]] then redis.call('HDEL', KEYS[1], former[i]) end
  end
  if ARGV[6] and lives == '0' then redis.call('PERSIST', KEYS[1]) end
end
if ARGV[5] == '0' then redis.call('SET', KEYS[2], place) else redis.call('SET', KEYS[2], place, 'PX', ARGV[5]) end
if form == 'string' and ARGV[6] then
  redis.call('SET', KEYS[1], ARGV[6])
elseif form ~= 'kept' then
  redis.call('DEL', KEYS[1])
  if form == 'hash' then fill() end
end
if ARGV[6] and lives ~= '0' then redis.call('PEXPIRE', KEYS[1], lives) end
return 1
"""
"""KEYS: the key, its mark. ARGV: place, mode, form, milliseconds that the key lives and that the mark lives (0: for
ever), content. What came before a later change, by the mark, returns 0.

Modes: `placed`; `known`, where only keys with a mark are ours; `bootstrap`, which fills what is missing and was not
deleted; `unplaced`, which is written always.

Forms: `gone`, `string`, `hash`; and `kept`, a hash in a cluster, where a key of a slot that is on its way to another
node must not be removed before it is written: it could not be made again there."""

CHANGE = """
local last = redis.call('GET', KEYS[2]) or ''
if ARGV[1] ~= '' and last >= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3))
else
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', unpack(ARGV, 3))
end
if ARGV[1] ~= '' then redis.call('SET', KEYS[2], ARGV[1]) end
return 1
"""
"""KEYS: the stream, its mark. ARGV: place ('' for one that is added wherever the mark is), limit, fields and values.

The mark comes last: where the key is no stream, nothing is written, and what was refused can be tried again."""

TAKE_OVER = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return false end
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
return {epoch, redis.call('HGET', KEYS[1], 'commits') or '', redis.call('HGET', KEYS[1], 'state') or ''}
"""

COMMIT = """
local found = redis.call('HMGET', KEYS[1], 'epoch', 'commits', 'by')
local epoch, commits = tonumber(found[1] or '0'), found[2] or ''
local owner = redis.call('GET', KEYS[2])
if epoch > tonumber(ARGV[2]) or (owner and owner ~= ARGV[1]) then return 'conflict' end
if epoch < tonumber(ARGV[2]) then return 'back' end
if ARGV[7] ~= '' and string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') ~= ARGV[7] then return 'back' end
if commits == ARGV[4] and found[3] == ARGV[1] then return 'again' end
if commits ~= ARGV[3] then return 'back' end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[6])
redis.call('HSET', KEYS[1], 'commits', ARGV[4], 'state', ARGV[5], 'by', ARGV[1])
for i = 8, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
if #ARGV > 8 then redis.call('HINCRBY', KEYS[1], 'parked_now', (#ARGV - 7) / 2) end
return 'done'
"""
"""KEYS: state, lock, parked. ARGV: owner, epoch, commits as they were and as they will be, state, milliseconds of the
lock, the life of the server in which the rows were written ('' in a cluster), ids and parked changes."""

KEEP_ALIVE = """
local found = redis.call('HMGET', KEYS[1], 'epoch', 'commits')
local owner = redis.call('GET', KEYS[2])
if tonumber(found[1] or '0') > tonumber(ARGV[2]) or (owner and owner ~= ARGV[1]) then return 'conflict' end
if tonumber(found[1] or '0') < tonumber(ARGV[2]) or (found[2] or '') ~= ARGV[3] and ARGV[3] ~= '' then
  return 'back'
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[4])
return 'done'
"""
"""KEYS: state, lock. ARGV: owner, epoch, commits, milliseconds of the lock."""

AMEND = """
local before = redis.call('HGET', KEYS[2], ARGV[1])
local change = tonumber(ARGV[3])
if before and cjson.decode(before)['status'] == 'parked' then change = change - 1 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
if change ~= 0 and redis.call('HGET', KEYS[1], 'parked_now') then
  redis.call('HINCRBY', KEYS[1], 'parked_now', change)
end
return 1
"""
"""KEYS: state, parked. ARGV: the id of a parked change, what became of it, 1 where it is parked and 0 where it is not
any more."""

COUNT = """
if (redis.call('HGET', KEYS[1], 'parked_now') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'parked_now', ARGV[2])
return 1
"""
"""KEYS: state. ARGV: how many are parked as it stood there ('' where it did not), and as it was counted."""

RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""
