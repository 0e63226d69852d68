#include "server/access/token_file.h"

#include <openssl/evp.h>

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/byte_order_mark.h"
#include "base/names.h"
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
    return absl::InvalidArgumentError(
        absl::StrCat("the second word has ", text.size(),
                     " characters; allowed: the SHA-256 of a token as 64 hexadecimal digits"));
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
      {"sessions=", &limits.sessions}};
  for (const auto& [name, value] : known) {
    if (!word.starts_with(name)) continue;
    if (absl::SimpleAtoi(ToAbsl(word.substr(name.size())), value) && *value >= 1 &&
        *value <= kMaxLimit) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(
        absl::StrCat("\"", ToAbsl(word), "\" is out of range; allowed: 1 to ", kMaxLimit));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", ToAbsl(word),
                   "\" is no limit; allowed: concurrent=N, tokens-per-minute=N, sessions=N"));
}

absl::StatusOr<TokenEntry> ParseEntry(const std::vector<std::string>& words) {
  if (words.size() < 2 || !IsName(words[0])) {
    return absl::InvalidArgumentError(
        "a line is TENANT SHA256 [LIMITS]; allowed in TENANT: A-Z a-z 0-9 _ and -");
  }
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
      return absl::InvalidArgumentError("the token stands in a line before; allowed: once");
    }
    if (other.tenant == entry.tenant && other.limits != entry.limits) {
      return absl::InvalidArgumentError(
          absl::StrCat("the limits of \"", entry.tenant,
                       "\" differ from those of a line before; allowed: the same"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

TokenDigest DigestOf(std::string_view token) {
  TokenDigest digest{};
  EVP_Digest(token.data(), token.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
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
      return absl::InvalidArgumentError(
          absl::StrCat(origin, ", line ", number, ": ", status.message()));
    }
    entries.push_back(*std::move(entry));
  }
  if (entries.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(origin, " holds no token; allowed: 1 or more"));
  }
  return entries;
}

}  // namespace fmaserver::access
