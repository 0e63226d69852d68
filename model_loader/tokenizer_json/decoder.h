// Tokens to text: the key "decoder".
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model_loader/config_reader.h"
#include "nlohmann/json.hpp"

namespace fmaserver::model {

/// Thread-safe. ByteLevel; Metaspace; or a sequence of Replace, ByteFallback, Fuse and then Strip
/// at the start.
class TokenDecoder {
 public:
  /// INVALID_ARGUMENT names `origin`, the key, what was found and what is allowed.
  static absl::StatusOr<TokenDecoder> Read(const nlohmann::json& file, std::string_view origin);

  /// The bytes that `token` adds to a text that is under way.
  std::string BytesOf(std::string_view token) const;

  /// The bytes that `token` begins a text with.
  std::string FirstBytesOf(std::string_view token) const;

  /// The text without what encoding put before it; `text` is that of all tokens.
  std::string_view WithoutPrefix(std::string_view text) const;

 private:
  absl::Status ReadStep(std::string_view type, ConfigReader& reader);
  absl::Status ReadMetaspace(ConfigReader& reader);
  absl::Status ReadReplace(ConfigReader& reader);
  absl::Status ReadStrip(ConfigReader& reader);

  bool byte_level_ = false;
  bool byte_fallback_ = false;
  bool fused_ = false;
  std::vector<std::pair<std::string, std::string>> replacements_;
  std::string first_loses_;  ///< the first token loses all of these
  std::string strip_;
  size_t most_stripped_ = 0;  ///< times `strip_`, at the start of the text
};

}  // namespace fmaserver::model
