-- ⑨ Counts open streams by user and by address, over all web processes, and lets newcomers in or not.
-- KEYS: for each request a hash for the user and one for the address: process → open streams.
-- ARGV: this process, what the keys begin with that say which processes live, seconds to live of a count,
--       limit for a user, limit for an address (0 is none), then for each request 1 to come, -1 to leave.
-- Returns for each: 0 done, 1 too many of the user, 2 too many of the address.
local process, alive, ttl = ARGV[1], ARGV[2], ARGV[3]
local limits = {tonumber(ARGV[4]), tonumber(ARGV[5])}
local lives = {[process] = 1}

local function open(key)
    local sum, found = 0, redis.call('HGETALL', key)
    for i = 1, #found, 2 do
        local name = found[i]
        if lives[name] == nil then lives[name] = redis.call('EXISTS', alive .. name) end
        if lives[name] == 1 then sum = sum + tonumber(found[i + 1]) else redis.call('HDEL', key, name) end
    end
    return sum
end

local answers = {}
for i = 6, #ARGV do
    local number, change, answer = i - 5, tonumber(ARGV[i]), 0
    if change > 0 then
        for j = 1, 2 do
            if answer == 0 and limits[j] > 0 and open(KEYS[2 * number - 2 + j]) >= limits[j] then answer = j end
        end
    end
    if answer == 0 then
        for j = 1, 2 do
            local key = KEYS[2 * number - 2 + j]
            if limits[j] > 0 then
                if redis.call('HINCRBY', key, process, change) <= 0 then redis.call('HDEL', key, process) end
                redis.call('EXPIRE', key, ttl)
            end
        end
    end
    answers[number] = answer
end
return answers
