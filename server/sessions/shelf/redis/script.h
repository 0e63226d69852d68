// Scripts that a store runs, and calls of them.
#pragma once

#include <string>
#include <vector>

#include "server/sessions/shelf/redis/connection.h"

namespace fmaserver::sessions {

class Script {
 public:
  explicit Script(std::string text);

  const std::string& text() const { return text_; }
  /// How a store that has run it knows it: its SHA-1, as 40 hexadecimal digits.
  const std::string& digest() const { return digest_; }

 private:
  const std::string text_;
  const std::string digest_;
};

/// A script with its keys and arguments.
class ScriptCall {
 public:
  /// `script` outlives the call.
  ScriptCall(const Script& script, const std::vector<std::string>& keys,
             std::vector<std::string> arguments);

  /// For a store that knows the script, else its reply is IsUnknownScript(). Valid as long as this.
  Command ByDigest() const { return With("EVALSHA", script_.digest()); }
  /// For any store, which knows the script from then on.
  Command Whole() const { return With("EVAL", script_.text()); }

 private:
  Command With(std::string_view name, std::string_view script) const;

  const Script& script_;
  std::vector<std::string> words_;  // the number of keys, the keys, the arguments
};

/// Whether the store did nothing because it does not know the script, or no longer.
bool IsUnknownScript(const Reply& reply);

}  // namespace fmaserver::sessions
