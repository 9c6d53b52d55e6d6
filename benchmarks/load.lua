-- What each connection of wrk does: the steps of a cycle, one request each, over and over.
--
-- wrk.py writes in front of this: headers; steps = {{kind, method, path, body}, ...}, of which
-- one of the kind "delete" gets the ids that the last claim gave; `period`, in seconds, if
-- each connection is to set out at its own pace and not at once after an answer; `queues`, if
-- "{queue}" in a path stands for the number of one of so many queues; `timed`, if latencies
-- are to be told by kind of request.
--
-- With a period, a latency counts from when the request was due, so that one that had to wait
-- for the answer before it is not made to look quick.
--
-- Latencies are counted in buckets, each 1 % wider than the one before. Each count is a global
-- number, as wrk can fetch nothing but that from its threads.

local ffi = require("ffi")
ffi.cdef [[
    typedef struct { long seconds; long nanoseconds; } timespec_t;
    int clock_gettime(int clock, timespec_t *time);
]]
local time = ffi.new("timespec_t")

local function now()
    ffi.C.clock_gettime(1, time)
    return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

local place, ids, queue, sent_at, due = 0, nil, "", 0, nil

local LEAST, WIDER, BUCKETS = 1e-5, 1.01, 1400

local function bucket(seconds)
    local place = math.ceil(math.log(seconds / LEAST) / math.log(WIDER))
    return math.max(0, math.min(BUCKETS, place))
end

local function count_name(kind, bucket) return "count_" .. kind .. "_" .. bucket end

local function listens()
    if period or timed then return true end
    for _, step in ipairs(steps) do
        if step.kind == "delete" then return true end
    end
end

function request()
    place = place % #steps + 1
    if steps[place].kind == "delete" and not ids then place = place % #steps + 1 end
    if place == 1 and queues then queue = tostring(math.random(queues)) end
    local step = steps[place]
    local path = step.path
    if queues then path = path:gsub("{queue}", queue) end
    if step.kind == "delete" then path, ids = path .. ids, nil end
    sent_at = due or now()
    return wrk.format(step.method, path, headers, step.body)
end

if period then
    function delay()
        if not due then
            math.randomseed(tonumber(tostring({}):match("0x(%x+)"), 16) % 2 ^ 31)
            due = now() + period * math.random()
        else
            due = due + period * (0.5 + math.random())
        end
        return math.max(0, (due - now()) * 1000)
    end
end

if listens() then
    function response(status, _, body)
        local kind = steps[place].kind
        local name = count_name(kind, bucket(now() - sent_at))
        _G[name] = (_G[name] or 0) + 1
        if kind == "claim" and status == 201 then
            local found = {}
            for id in body:gmatch("/messages/([%w%-]+)%?claim_id") do found[#found + 1] = id end
            ids = table.concat(found, ",")
        end
    end
end

local threads = {}

function setup(thread) threads[#threads + 1] = thread end

-- The answers of one kind that all threads had, by the bucket of their latency.
local function counted(kind)
    local counts, sum = {}, 0
    for bucket = 0, BUCKETS do
        counts[bucket] = 0
        for _, thread in ipairs(threads) do
            counts[bucket] = counts[bucket] + (thread:get(count_name(kind, bucket)) or 0)
        end
        sum = sum + counts[bucket]
    end
    return counts, sum
end

local function percentile(counts, sum, share)
    local seen = 0
    for bucket = 0, BUCKETS do
        seen = seen + counts[bucket]
        if seen >= sum * share then return LEAST * WIDER ^ bucket end
    end
end

function done(summary, latency)
    local kinds = {}
    if listens() then
        for _, step in ipairs(steps) do
            local counts, sum = counted(step.kind)
            table.insert(kinds, string.format(
                '"%s": {"count": %d, "p50": %f, "p95": %f, "p99": %f}',
                step.kind, sum, percentile(counts, sum, 0.5), percentile(counts, sum, 0.95),
                percentile(counts, sum, 0.99)))
        end
    else
        table.insert(kinds, string.format(
            '"%s": {"count": %d, "p50": %f, "p95": %f, "p99": %f}',
            steps[1].kind, summary.requests, latency:percentile(50) / 1e6,
            latency:percentile(95) / 1e6, latency:percentile(99) / 1e6))
    end
    local failed = summary.errors
    io.write(string.format('RESULT {"seconds": %f, "refused": %d, "broken": %d, "kinds": {%s}}\n',
        summary.duration / 1e6, failed.status,
        failed.connect + failed.read + failed.write + failed.timeout, table.concat(kinds, ", ")))
end
