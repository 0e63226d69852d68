// What the store does in one step: scripts that it runs, in Lua. A script that refuses has changed
// nothing.
#pragma once

#include "server/sessions/shelf/redis/script.h"

namespace fmaserver::sessions {

/// KEYS: store, session, index. ARGV: the version that is known or empty, stamps of our own saves
/// whose end is not known, the session's id, and by how many ms its expiry must be late to be set
/// anew. Returns {version, record}; {version} when it is the known one or of one of these saves;
/// {"", epoch of the store or ""} when there is no such session.
const Script& ReadScript();

/// KEYS: store, source, index. ARGV: a random stamp, the expected version, stamps as above, the
/// source's id, ids of the targets, the key of a session without its id, keys of the items, the
/// record, and the time to live in ms or 0. Returns {"saved", version}, {"changed"}, or {"missing",
/// keys of items that are not there...}.
const Script& SaveScript();

/// KEYS: store, session, index. ARGV: the expected version, stamps as above, the session's id.
/// Returns {"removed"} or {"changed"}.
const Script& RemoveScript();

/// KEYS: index. Returns ids of sessions that have not expired.
const Script& IdsScript();

}  // namespace fmaserver::sessions
