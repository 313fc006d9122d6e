-- ⑧ Reads what channels had after a position, at most so many entries each, in one look.
-- KEYS: meta, then the channels' logs. ARGV: epoch, life, position, entries at most.
-- Returns {epoch, life, position of the log, floor, entries of each key, newest id of each key or ''}; the last two only if the life is the reader's.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'life', 'position', 'floor')
if not meta[1] then return {} end
local result = {meta[1], meta[2], meta[3], meta[4]}
if meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] then return result end
local entries, newest = {}, {}
for i = 2, #KEYS do
    entries[i - 1] = redis.call('XRANGE', KEYS[i], '(' .. ARGV[3] .. '-0', '+', 'COUNT', ARGV[4])
    local last = redis.call('XREVRANGE', KEYS[i], '+', '-', 'COUNT', 1)[1]
    newest[i - 1] = last and last[1] or ''
end
result[5], result[6] = entries, newest
return result
