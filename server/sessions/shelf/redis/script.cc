#include "server/sessions/shelf/redis/script.h"

#include <openssl/sha.h>

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

#include "absl/strings/escaping.h"
#include "base/text.h"

namespace fmaserver::sessions {
namespace {

std::string DigestOf(const std::string& text) {
  std::string digest(SHA_DIGEST_LENGTH, '\0');
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(),
       reinterpret_cast<unsigned char*>(digest.data()));
  return absl::BytesToHexString(digest);
}

}  // namespace

Script::Script(std::string text) : text_(std::move(text)), digest_(DigestOf(text_)) {}

ScriptCall::ScriptCall(const Script& script, const std::vector<std::string>& keys,
                       std::vector<std::string> arguments)
    : script_(script), words_({Concat(keys.size())}) {
  words_.insert(words_.end(), keys.begin(), keys.end());
  std::ranges::move(arguments, std::back_inserter(words_));
}

Command ScriptCall::With(std::string_view name, std::string_view script) const {
  Command command = {name, script};
  command.insert(command.end(), words_.begin(), words_.end());
  return command;
}

bool IsUnknownScript(const Reply& reply) {
  return reply.kind == Reply::Kind::kError && reply.text.starts_with("NOSCRIPT");
}

}  // namespace fmaserver::sessions
