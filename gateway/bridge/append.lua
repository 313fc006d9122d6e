-- ④ Appends a run of positions to their channels' logs and publishes each entry: all of it or nothing, once.
-- KEYS: meta, then the log of each channel that gets something.
-- ARGV: epoch, life, first position, last position, length of a log, its seconds to live,
--       then for each entry: number of its key, position, channel, payload.
-- Returns {'OK'|'DUP'|'GAP'|'EPOCH'|'TORN', position}: DUP is there already, GAP lacks what comes before, EPOCH is another log,
-- TORN is one to which nothing can be appended: a channel's log is ahead of the position, or is no log.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'life', 'position', 'floor')
if meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] then return {'EPOCH', meta[3] or ''} end
local position, floor = tonumber(meta[3]), meta[4]
local first, last = tonumber(ARGV[3]), tonumber(ARGV[4])
if last <= position then return {'DUP', meta[3]} end
if first > position + 1 then return {'GAP', meta[3]} end
-- Nothing of a channel lies between its newest entry and its next one; without a log, nothing above the floor does.
local newest = {}
for i = 2, #KEYS do
    local found = redis.pcall('XREVRANGE', KEYS[i], '+', '-', 'COUNT', 1)
    newest[i - 1] = found[1] and string.match(found[1][1], '^%d+') or floor
    if found.err or found[1] and tonumber(newest[i - 1]) > position then return {'TORN', meta[3]} end
end
for i = 7, #ARGV, 4 do
    if tonumber(ARGV[i + 1]) > position then
        local number = tonumber(ARGV[i])
        redis.call('XADD', KEYS[1 + number], 'MAXLEN', '~', ARGV[5], ARGV[i + 1] .. '-0', 'p', newest[number], 'd', ARGV[i + 3])
        redis.call('PUBLISH', ARGV[i + 2], newest[number] .. ' ' .. ARGV[i + 3])
        newest[number] = ARGV[i + 1]
    end
end
for i = 2, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[6]) end
redis.call('HSET', KEYS[1], 'position', ARGV[4])
return {'OK', ARGV[4]}
