-- ④ Says how far the log is, keeps meta alive, raises the floor. Silent if the log is another: an old leader has no say.
-- Silent too if Redis has gone back behind the bridge: a promoted replica has not what the beat would claim.
-- KEYS: meta. ARGV: epoch, life, seconds between marks, seconds to live, channel, message, position.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'life', 'position', 'mark', 'marked_at')
if meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] or tonumber(meta[3]) < tonumber(ARGV[7]) then return 0 end
local now = tonumber(redis.call('TIME')[1])
if not meta[5] then
    redis.call('HSET', KEYS[1], 'mark', meta[3], 'marked_at', now)
elseif now - tonumber(meta[5]) >= tonumber(ARGV[3]) then
    redis.call('HSET', KEYS[1], 'floor', meta[4], 'mark', meta[3], 'marked_at', now)
end
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1
