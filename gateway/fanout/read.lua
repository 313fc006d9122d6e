-- ⑧ Reads what channels had after a position, within bounds (but one entry at least), in one look.
-- KEYS: meta, then the channels' logs. ARGV: epoch, life, then for each log: position, entries and bytes at most.
-- Returns {epoch, life, position of the log, floor, entries of each key, newest id of each
-- key or ''; whether a key may have more}; the last three only if the life is the reader's.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'life', 'position', 'floor')
if not meta[1] then return {} end
local result = {meta[1], meta[2], meta[3], meta[4]}
if meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] then return result end
local entries, newest, more = {}, {}, {}
for i = 2, #KEYS do
    local after, limit, bytes = ARGV[3 * i - 3], tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
    local found, size, taken = redis.call('XRANGE', KEYS[i], '(' .. after .. '-0', '+', 'COUNT', limit), 0, {}
    for _, entry in ipairs(found) do
        size = size + #entry[2][4]
        if #taken > 0 and size > bytes then break end
        taken[#taken + 1] = entry
    end
    entries[i - 1] = taken
    more[i - 1] = (#taken < #found or #found == limit) and 1 or 0
    local last = #found == 0 and redis.call('XREVRANGE', KEYS[i], '+', '-', 'COUNT', 1)[1]
    newest[i - 1] = last and last[1] or ''
end
result[5], result[6], result[7] = entries, newest, more
return result
