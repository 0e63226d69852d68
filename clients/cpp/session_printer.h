// What `fma sessions` shows of a session.
#pragma once

#include "fma/v1/sessions.pb.h"

namespace fmaserver::client {

/// A line: id, tokens, size, where it is, and how long it is kept; or with `json` a JSON line of
/// all fields. False when nobody reads standard output any more.
bool PrintSession(const v1::Session& session, bool json);

/// All fields, one on a line; or as above with `json`.
bool PrintSessionDetails(const v1::Session& session, bool json);

}  // namespace fmaserver::client
