#include "server/sessions/names.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <span>

#include "model_loader/json.h"
#include "model_loader/text.h"

namespace fmaserver {
namespace {

constexpr std::string_view kAlphanumerics =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

bool IsNameChar(char c) {
  return c == '_' || c == '-' || kAlphanumerics.find(c) != std::string_view::npos;
}

absl::Status CheckPart(std::string_view what, std::string_view text) {
  if (IsName(text)) return absl::OkStatus();
  return absl::InvalidArgumentError(Concat(what, ": found ", Quoted(text.substr(0, 80)),
                                           ", allowed: 1 to ", kMaxSessionNameChars,
                                           " of A-Z a-z 0-9 _ and -"));
}

}  // namespace

std::string RandomId() {
  std::array<unsigned char, kRandomIdChars> random{};
  // Up to 256 bytes come whole or, only where the kernel has no random numbers at all, not.
  if (getrandom(random.data(), random.size(), 0) != std::ssize(random)) std::abort();
  std::string id;
  // No '-': an id that begins with one reads as an option on a command line.
  for (const unsigned char byte : random) id += kAlphanumerics[byte % kAlphanumerics.size()];
  return id;
}

bool IsName(std::string_view text) {
  return !text.empty() && text.size() <= kMaxSessionNameChars &&
         std::ranges::all_of(text, IsNameChar);
}

absl::Status CheckName(const SessionName& name) {
  if (absl::Status status = CheckPart("tenant", name.tenant); !status.ok()) return status;
  return CheckPart("session_id", name.id);
}

std::string Describe(const SessionName& name) { return Concat("session ", Quoted(name.id)); }

}  // namespace fmaserver
