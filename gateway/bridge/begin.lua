-- ④ Begins a life of the logs in Redis after a position, unless one of this epoch is there; returns {life, position}.
-- KEYS: meta. ARGV: epoch, new life, position, seconds to live, a life that is to end even so (or nothing).
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'life', 'position')
if meta[1] == ARGV[1] and meta[2] ~= ARGV[5] then return {meta[2], meta[3]} end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'life', ARGV[2], 'position', ARGV[3], 'floor', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {ARGV[2], ARGV[3]}
