// The file of bearer tokens: who may call, as which tenant.
//
// UTF-8, a line for each token, "#" begins a comment:
//
//   tenant  sha256-of-the-token  [concurrent=N] [tokens-per-minute=N] [sessions=N]
//       [archive-bytes=N]
//
// No file of the server has the token itself. All lines of one tenant must have the same limits.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace fmaserver::access {

/// 0: no limit.
struct TenantLimits {
  int64_t concurrent = 0;         ///< calls that run at once
  int64_t tokens_per_minute = 0;  ///< read and generated
  int64_t sessions = 0;
  int64_t archive_bytes = 0;  ///< of each model

  bool operator==(const TenantLimits&) const = default;
};

using TokenDigest = std::array<uint8_t, 32>;

/// SHA-256.
TokenDigest DigestOf(std::string_view token);

struct TokenEntry {
  std::string tenant;
  TokenDigest digest{};
  TenantLimits limits;
};

/// `origin` names the text in messages. INVALID_ARGUMENT gives the line, what was found and what is
/// allowed, but never shows a digest.
absl::StatusOr<std::vector<TokenEntry>> ParseTokenFile(std::string_view text,
                                                       const std::string& origin);

}  // namespace fmaserver::access
