#include "server/sessions/shelf/redis/scripts.h"

#include "base/text.h"

namespace fmaserver::sessions {
namespace {

// A full store refuses a script's first write, and no other: each script that adds begins with one
// that it would refuse.
constexpr std::string_view kFunctions = R"(
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
-- Whether a version is the expected one, or was made by one of these saves.
local function seen(version, expected, stamps)
  if version == expected then return true end
  local stamp = string.match(version, '[^.]*$')
  return stamp ~= '' and string.find(' ' .. stamps .. ' ', ' ' .. stamp .. ' ', 1, true) ~= nil
end
-- Whether a session is not there because the store is no longer the one that had this version, or is a
-- replica that has not received the save that made it.
local function lost(expected, epoch, stamps)
  return expected ~= '' and (string.match(expected, '^[^.]*') ~= epoch or seen(expected, '', stamps))
end
local function live_until(key, time)
  if tostring(time) == '+inf' or tostring(time) == 'inf' then redis.call('PERSIST', key)
  else redis.call('PEXPIREAT', key, time) end
end
-- An item lives as long as the last of its owners.
local function settle(item)
  local owners = item .. ':owners'
  local time = redis.call('ZRANGE', owners, -1, -1, 'WITHSCORES')[2]
  if not time then
    redis.call('DEL', item, owners)
  else
    live_until(item, time)
    live_until(owners, time)
  end
end
local function own(item, id, time)
  redis.call('ZADD', item .. ':owners', time, id)
  settle(item)
end
local function disown(item, id, time)
  redis.call('ZREM', item .. ':owners', id)
  redis.call('ZREMRANGEBYSCORE', item .. ':owners', '-inf', time)
  settle(item)
end
local function time_after(start, ttl)
  if tonumber(ttl) == 0 then return '+inf' end
  return string.format('%.0f', start + ttl)
end
)";

constexpr std::string_view kRead = R"(
local session = KEYS[2]
local known, stamps, id, slack = unpack(ARGV)
local found = redis.call('HMGET', session, 'version', 'items', 'ttl', 'until')
if not found[1] then return {'', redis.call('HGET', KEYS[1], 'epoch') or ''} end
local version, items, ttl, till = unpack(found)
-- A store that is full or a replica cannot set the expiry anew, and is read all the same.
pcall(function()
  if till == '+inf' then return end
  local start = now()
  if start + ttl - till <= tonumber(slack) then return end
  local time = time_after(start, ttl)
  redis.call('HSET', session, 'until', time)
  live_until(session, time)
  redis.call('ZADD', KEYS[3], time, id)
  for item in string.gmatch(items, '%S+') do own(item, id, time) end
end)
if seen(version, known, stamps) then return {version} end
return {version, redis.call('HGET', session, 'record')}
)";

constexpr std::string_view kSave = R"(
local stamp, expected, stamps, source, targets, sessions, items, record, ttl = unpack(ARGV)
local version = redis.call('HGET', KEYS[2], 'version') or ''
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not seen(version, expected, stamps) and not (version == '' and lost(expected, epoch, stamps)) then
  return {'changed'}
end
local held = {}
local missing = {'missing'}
for item in string.gmatch(items, '%S+') do
  held[item] = true
  if redis.call('EXISTS', item) == 0 then table.insert(missing, item) end
end
if missing[2] then return missing end
for id in string.gmatch(targets, '%S+') do
  local there = redis.call('HGET', sessions .. id, 'version')
  if id ~= source and there and not seen(there, '', stamps) then return {'changed'} end
end
local generation = redis.call('HINCRBY', KEYS[1], 'generation', 1)
if not epoch then
  epoch = stamp
  redis.call('HSET', KEYS[1], 'epoch', epoch)
end
version = epoch .. '.' .. string.format('%.0f', generation) .. '.' .. stamp
local start = now()
local time = time_after(start, ttl)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', start)
for id in string.gmatch(targets, '%S+') do
  local session = sessions .. id
  local before = redis.call('HGET', session, 'items') or ''
  redis.call('HSET', session, 'version', version, 'record', record, 'items', items, 'ttl', ttl, 'until', time)
  live_until(session, time)
  redis.call('ZADD', KEYS[3], time, id)
  for item in pairs(held) do own(item, id, time) end
  for item in string.gmatch(before, '%S+') do
    if not held[item] then disown(item, id, start) end
  end
end
return {'saved', version}
)";

constexpr std::string_view kRemove = R"(
local expected, stamps, id = unpack(ARGV)
local version = redis.call('HGET', KEYS[2], 'version') or ''
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if version == '' and lost(expected, epoch, stamps) then return {'removed'} end
if not seen(version, expected, stamps) then return {'changed'} end
local start = now()
for item in string.gmatch(redis.call('HGET', KEYS[2], 'items') or '', '%S+') do disown(item, id, start) end
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[3], id)
return {'removed'}
)";

constexpr std::string_view kIds = R"(
return redis.call('ZRANGEBYSCORE', KEYS[1], string.format('%.0f', now()), '+inf')
)";

const Script& Made(std::string_view body) { return *new Script(Concat(kFunctions, body)); }

}  // namespace

// Made once, and never destroyed.
const Script& ReadScript() {
  static const Script& script = Made(kRead);
  return script;
}

const Script& SaveScript() {
  static const Script& script = Made(kSave);
  return script;
}

const Script& RemoveScript() {
  static const Script& script = Made(kRemove);
  return script;
}

const Script& IdsScript() {
  static const Script& script = Made(kIds);
  return script;
}

}  // namespace fmaserver::sessions
