-- ⑧ Reads what channels had after a position, at most so many entries each, in one look.
-- KEYS: meta, then the channels' logs. ARGV: epoch, life, position, entries and bytes at most of each (but one entry at least).
-- Returns {epoch, life, position of the log, floor, entries of each key, newest id of each
-- key or ''; whether a key may have more}; the last three only if the life is the reader's.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'life', 'position', 'floor')
if not meta[1] then return {} end
local result = {meta[1], meta[2], meta[3], meta[4]}
if meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] then return result end
local entries, newest, more = {}, {}, {}
for i = 2, #KEYS do
    local found, size, taken = redis.call('XRANGE', KEYS[i], '(' .. ARGV[3] .. '-0', '+', 'COUNT', ARGV[4]), 0, {}
    for _, entry in ipairs(found) do
        size = size + #entry[2][4]
        if #taken > 0 and size > tonumber(ARGV[5]) then break end
        taken[#taken + 1] = entry
    end
    entries[i - 1] = taken
    more[i - 1] = (#taken < #found or #found == tonumber(ARGV[4])) and 1 or 0
    local last = redis.call('XREVRANGE', KEYS[i], '+', '-', 'COUNT', 1)[1]
    newest[i - 1] = last and last[1] or ''
end
result[5], result[6], result[7] = entries, newest, more
return result
