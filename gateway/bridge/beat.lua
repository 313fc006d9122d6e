-- ④ Says how far the log is, keeps meta alive, raises the floor. Silent if the log is another: an old leader has no say.
-- Silent too if Redis has gone back behind the bridge: a promoted replica has not what the beat would claim; or if it has evicted
-- anything: then another life must begin.
-- KEYS: meta. ARGV: epoch, life, seconds between marks, seconds to live, channel, message, position.
local stats = redis.pcall('INFO', 'stats')
local evicted = type(stats) == 'string' and string.match(stats, 'evicted_keys:(%d+)') or ''
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'life', 'position', 'mark', 'marked_at', 'evicted')
if meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] or tonumber(meta[3]) < tonumber(ARGV[7]) then return 0 end
if meta[6] and meta[6] ~= evicted then return 0 end
local now = tonumber(redis.call('TIME')[1])
-- A mark of the future is one from before the clock was set back: waiting for it, the floor would fall behind what expires.
if not meta[5] or now < tonumber(meta[5]) then
    redis.call('HSET', KEYS[1], 'mark', meta[3], 'marked_at', now)
elseif now - tonumber(meta[5]) >= tonumber(ARGV[3]) then
    redis.call('HSET', KEYS[1], 'floor', meta[4], 'mark', meta[3], 'marked_at', now)
end
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1
