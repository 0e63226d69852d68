// The names of everything that a store keeps for the sessions of one model:
//
//   PREFIX:store                hash: `epoch`, random, made with the store; `generation`, which
//                               every save counts up
//   PREFIX:ids:TENANT           sorted set: ids of its sessions, by when they expire
//   PREFIX:session:TENANT:ID    hash: `version`; `record`, as in a file; `items`, the names of what
//                               it holds; `ttl` in ms, 0 for never; `until`, when it expires,
//                               +inf for never
//   PREFIX:state:TENANT:ID      string: the record of a slot
//   PREFIX:chunks:TENANT:ID     string: a volume, records of chunks in a row; written once
//   <either of these>:owners    sorted set: ids of the sessions that hold it, by when they expire
//
// Times are the store's own, in ms since 1970. Everything expires with the last session that needs
// it. The prefix is in braces, so that a cluster would keep all of it in one place.
#pragma once

#include <string>
#include <string_view>

#include "absl/strings/escaping.h"
#include "base/text.h"
#include "server/sessions/point.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

class StoreKeys {
 public:
  /// `fingerprint` is that of the model.
  explicit StoreKeys(std::string_view fingerprint)
      : prefix_(Concat("{fma:", absl::BytesToHexString(ToAbsl(fingerprint.substr(0, 8))), "}:")) {}

  std::string Store() const { return Concat(prefix_, "store"); }
  std::string Index(const std::string& tenant) const { return Concat(prefix_, "ids:", tenant); }
  /// With a session's id behind it, Session().
  std::string Sessions(const std::string& tenant) const {
    return Concat(prefix_, "session:", tenant, ":");
  }
  std::string Session(const SessionName& name) const {
    return Concat(Sessions(name.tenant), name.id);
  }
  std::string Item(const std::string& tenant, const ShelfItem& item) const {
    const std::string_view kind = item.kind == Part::Kind::kSlot ? "state:" : "chunks:";
    return Concat(prefix_, kind, tenant, ":", item.id);
  }

 private:
  const std::string prefix_;
};

}  // namespace fmaserver::sessions
