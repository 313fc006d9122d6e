-- ⑧ Reads what channels had after a position, within bounds (but one entry at least), in one look.
-- KEYS: meta, then the channels' logs. ARGV: epoch, life, then for each log: position, entries and bytes at most.
-- Returns {epoch, life, position of the log, floor, entries of each key, newest id of each key or '',
-- for each key 0, 1 if it may have more, 2 if it is no log of ours}; the last three only if the life is the reader's.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'life', 'position', 'floor', 'evicted')
if not meta[1] then return {} end
-- A log that was evicted looks like one in which nothing has happened.
local stats = redis.pcall('INFO', 'stats')
local evicted = type(stats) == 'string' and string.match(stats, 'evicted_keys:(%d+)') or ''
if meta[5] and meta[5] ~= evicted then return {} end
local result = {meta[1], meta[2], meta[3], meta[4]}
if meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] then return result end

-- In steps: rows may be wide, and what lies beyond the bytes is not to be read.
local function read(key, after, limit, bytes)
    local taken, size, from = {}, 0, '(' .. after .. '-0'
    while #taken < limit do
        local found = redis.pcall('XRANGE', key, from, '+', 'COUNT', math.min(limit - #taken, 16))
        if found.err then return {}, 2 end
        for _, entry in ipairs(found) do
            if #entry[2] ~= 4 then return {}, 2 end
            size = size + #entry[2][4]
            if #taken > 0 and size > bytes then return taken, 1 end
            taken[#taken + 1] = entry
            from = '(' .. entry[1]
        end
        if #found < 16 and #taken < limit then return taken, 0 end
    end
    return taken, 1
end

local entries, newest, more = {}, {}, {}
for i = 2, #KEYS do
    entries[i - 1], more[i - 1] = read(KEYS[i], ARGV[3 * i - 3], tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]))
    local last = #entries[i - 1] == 0 and more[i - 1] == 0 and redis.call('XREVRANGE', KEYS[i], '+', '-', 'COUNT', 1)[1]
    newest[i - 1] = last and last[1] or ''
end
result[5], result[6], result[7] = entries, newest, more
return result
