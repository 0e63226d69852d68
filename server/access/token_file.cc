#include "server/access/token_file.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/byte_order_mark.h"
#include "base/names.h"
#include "base/refusal.h"
#include "base/sha256.h"
#include "base/text.h"

namespace fmaserver::access {
namespace {

constexpr int64_t kMaxLimit = int64_t{1} << 50;

absl::StatusOr<TokenDigest> ParseDigest(std::string_view text) {
  const bool hex =
      text.size() == 64 && std::ranges::all_of(text, [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
      });
  if (!hex) {
    return Refusal("digest", Words{Concat(text.size(), " characters")},
                   "the SHA-256 of a token, as 64 hexadecimal digits");
  }
  const std::string bytes = absl::HexStringToBytes(ToAbsl(text));
  TokenDigest digest;
  std::ranges::copy(bytes, digest.begin());
  return digest;
}

absl::Status ParseLimit(std::string_view word, TenantLimits& limits) {
  const std::pair<std::string_view, int64_t*> known[] = {
      {"concurrent=", &limits.concurrent},
      {"tokens-per-minute=", &limits.tokens_per_minute},
      {"sessions=", &limits.sessions},
      {"archive-bytes=", &limits.archive_bytes}};
  for (const auto& [name, value] : known) {
    if (!word.starts_with(name)) continue;
    if (absl::SimpleAtoi(ToAbsl(word.substr(name.size())), value) && *value >= 1 &&
        *value <= kMaxLimit) {
      return absl::OkStatus();
    }
    return Refusal(name.substr(0, name.size() - 1), word.substr(name.size()),
                   FromTo<int64_t>(1, kMaxLimit));
  }
  return Refusal("limit", word, "concurrent=N, tokens-per-minute=N, sessions=N, archive-bytes=N");
}

absl::StatusOr<TokenEntry> ParseEntry(const std::vector<std::string>& words) {
  if (!IsName(words[0])) {
    return Refusal("tenant", Words{"not a name"}, "1 to 64 of A-Z a-z 0-9 _ and -");
  }
  if (words.size() < 2) return Refusal("digest", Words{"missing"}, "TENANT SHA256 [LIMITS]");
  auto digest = ParseDigest(words[1]);
  if (!digest.ok()) return digest.status();
  TokenEntry entry{.tenant = words[0], .digest = *digest, .limits = {}};
  for (size_t i = 2; i < words.size(); ++i) {
    if (absl::Status status = ParseLimit(words[i], entry.limits); !status.ok()) return status;
  }
  return entry;
}

absl::Status CheckAgainst(const std::vector<TokenEntry>& before, const TokenEntry& entry) {
  for (const TokenEntry& other : before) {
    if (other.digest == entry.digest) {
      return Refusal("digest", Words{"that of an earlier line"}, "each token once");
    }
    if (other.tenant == entry.tenant && other.limits != entry.limits) {
      return Refusal(Concat("limits of ", Quoted(entry.tenant)), Words{"other than before"},
                     "the same in every line of a tenant");
    }
  }
  return absl::OkStatus();
}

}  // namespace

TokenDigest DigestOf(std::string_view token) {
  TokenDigest digest{};
  std::memcpy(digest.data(), Sha256Of(token).data(), digest.size());
  return digest;
}

absl::StatusOr<std::vector<TokenEntry>> ParseTokenFile(std::string_view text,
                                                       const std::string& origin) {
  const auto plain = WithoutByteOrderMark(text, origin);
  if (!plain.ok()) return plain.status();
  std::vector<TokenEntry> entries;
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(ToAbsl(*plain), '\n')) {
    ++number;
    const absl::string_view content = line.substr(0, line.find('#'));
    const std::vector<std::string> words =
        absl::StrSplit(content, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.empty()) continue;
    auto entry = ParseEntry(words);
    absl::Status status = entry.status();
    if (entry.ok()) status = CheckAgainst(entries, *entry);
    if (!status.ok()) {
      return At(Concat(origin, ", line ", number), status);
    }
    entries.push_back(*std::move(entry));
  }
  if (entries.empty()) {
    return Refusal(At(origin, "number of tokens"), 0, "1 or more");
  }
  return entries;
}

}  // namespace fmaserver::access
