-- Counts the hits of one request, or none of them: the same as ratelimit.Memory does, in one step of the server.
--
-- KEYS[i] is a counter: "last:hits,last:hits,...", oldest first, in microseconds of the server's clock, which is one for
-- all who ask. ARGV has the number of slices of a window and what to add to the clock (0, but in tests), then five values
-- for each key: limit, length of the window in microseconds, cost, force, shadow.
-- Returns three for each: 1 if over the limit, what is used, microseconds until reset.
local SLICES, AHEAD, FIRST = tonumber(ARGV[1]), tonumber(ARGV[2]), 3
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2]) + AHEAD

local function load(key, length)
  local window, used = {}, 0
  local packed = redis.call('GET', key)
  if packed then
    for last, hits in string.gmatch(packed, '(%d+):(%d+)') do
      last, hits = tonumber(last), tonumber(hits)
      if last + length > now then
        window[#window + 1] = {last, hits}
        used = used + hits
      end
    end
  end
  return window, used
end

local function save(key, window, length)
  if #window == 0 then
    redis.call('DEL', key)
    return
  end
  local parts = {}
  for i, slice in ipairs(window) do
    parts[i] = string.format('%.0f:%.0f', slice[1], slice[2])
  end
  redis.call('SET', key, table.concat(parts, ','), 'PX', string.format('%.0f', math.ceil(length / 1000)))
end

local function add(window, length, hits)
  local width = math.max(math.floor(length / SLICES), 1)
  local newest = window[#window]
  -- A server whose clock went back would age what is counted.
  local at = newest and math.max(now, newest[1]) or now
  if newest and math.floor(newest[1] / width) == math.floor(at / width) then
    newest[1], newest[2] = at, newest[2] + hits
  else
    window[#window + 1] = {at, hits}
  end
end

local function give_back(window, hits)
  local left = hits
  while left > 0 and #window > 0 do
    local newest = window[#window]
    local take = math.min(left, newest[2])
    newest[2], left = newest[2] - take, left - take
    if newest[2] == 0 then
      window[#window] = nil
    end
  end
  return hits - left
end

local function wait(window, length, used, room)
  for _, slice in ipairs(window) do
    if used <= room then
      break
    end
    used = used - slice[2]
    if used <= room then
      return slice[1] + length - now
    end
  end
  return used > room and length or 0
end

local hits, refused = {}, false
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 5 + FIRST
  local h = {key = key, limit = tonumber(ARGV[at]), length = tonumber(ARGV[at + 1]), cost = tonumber(ARGV[at + 2])}
  local force, shadow = ARGV[at + 3] == '1', ARGV[at + 4] == '1'
  h.window, h.used = load(key, h.length)
  if force or h.cost < 0 then
    h.over = false
  else
    h.over = h.used >= h.limit or h.used + h.cost > h.limit
  end
  refused = refused or h.over and not shadow
  hits[i] = h
end

local out = {}
for _, h in ipairs(hits) do
  if not refused and not h.over and h.cost ~= 0 then
    if h.cost > 0 then
      add(h.window, h.length, h.cost)
      h.used = h.used + h.cost
    else
      h.used = h.used - give_back(h.window, -h.cost)
    end
    save(h.key, h.window, h.length)
  end
  local reset = 0
  if h.over and (h.cost > h.limit or h.limit == 0) then
    reset = h.length
  elseif h.over then
    reset = wait(h.window, h.length, h.used, h.limit - math.max(h.cost, 1))
  elseif h.used > 0 then
    reset = wait(h.window, h.length, h.used, h.used - 1)
  end
  out[#out + 1] = h.over and 1 or 0
  out[#out + 1] = h.used
  out[#out + 1] = reset
end
return out
