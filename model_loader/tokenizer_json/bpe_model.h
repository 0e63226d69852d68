// The vocabulary of a tokenizer.json and how its tokens come about: the key "model".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace fmaserver::model {

struct BpeModel {
  struct Merge {
    int32_t left = 0;
    int32_t right = 0;
    int32_t product = 0;
  };

  std::vector<std::string> tokens;  ///< by id, as the file spells them; empty: no such token
  std::vector<Merge> merges;        ///< the first of them comes first; a pair's last place counts
  std::optional<int32_t> unknown_id;
  bool fuse_unknown = false;   ///< neighbouring unknown characters are one token
  bool byte_fallback = false;  ///< unknown characters are spelled in tokens like <0xE2>
  bool ignore_merges = false;  ///< a word that is a token is that token
};

/// `file` is the whole JSON. INVALID_ARGUMENT names `origin`, the key, what was found and what is
/// allowed; ids must be below `vocab_size`.
absl::StatusOr<BpeModel> ReadBpeModel(const nlohmann::json& file, std::string_view origin,
                                      int64_t vocab_size);

}  // namespace fmaserver::model
