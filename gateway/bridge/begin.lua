-- ④ Begins a life of the logs in Redis after a position, unless one of this epoch is there; returns {life, position}.
-- Whoever reads a server's log that another server of its cluster has left behind, being promoted, is told so: {'', timeline}. For as
-- long as the other one's bridge lives: a restored backup may be of an older timeline, and then nobody is there to be disturbed.
-- KEYS: meta. ARGV: epoch, new life, position, seconds to live, a life that is to end even so (or nothing), cluster, timeline,
-- seconds of silence after which nobody is there, the end of the log.
-- A life in which Redis has evicted anything is over: what it lacks nobody can say. The next begins at the end, for memory is short.
local stats = redis.pcall('INFO', 'stats')
local evicted = type(stats) == 'string' and string.match(stats, 'evicted_keys:(%d+)') or ''
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'life', 'position', 'cluster', 'timeline', 'evicted')
if meta[4] == ARGV[6] and meta[5] > ARGV[7] and tonumber(ARGV[4]) - redis.call('TTL', KEYS[1]) < tonumber(ARGV[8]) then
    return {'', meta[5]}
end
local whole = not meta[6] or meta[6] == evicted
if meta[1] == ARGV[1] and meta[2] ~= ARGV[5] and whole then return {meta[2], meta[3]} end
local position = whole and ARGV[3] or ARGV[9]
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'life', ARGV[2], 'position', position, 'floor', position, 'cluster', ARGV[6],
    'timeline', ARGV[7], 'evicted', evicted)
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {ARGV[2], position}
