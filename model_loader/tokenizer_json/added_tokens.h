// Tokens that are found in a text before it is cut into words: the key "added_tokens".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model_loader/segmentation/prefix_table.h"
#include "model_loader/tokenizer.h"
#include "model_loader/tokenizer_json/normalizer.h"
#include "nlohmann/json.hpp"

namespace fmaserver::model {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  std::string spelling;      ///< what is looked for: `content`, normalized if the text is
  bool single_word = false;  ///< not beside a letter, mark, digit or underscore
  bool lstrip = false;       ///< takes the white space before it
  bool rstrip = false;       ///< takes the white space behind it
  bool normalized = false;   ///< found in the normalized text
  bool special = false;      ///< a control token
};

/// The list of `file` ("added_tokens"). `tokens` are the model's, which get the new ones too.
/// INVALID_ARGUMENT names `origin`, the key, what was found and what is allowed.
absl::StatusOr<std::vector<AddedToken>> ReadAddedTokens(const nlohmann::json& file,
                                                        std::string_view origin, int64_t vocab_size,
                                                        const Normalizer& normalizer,
                                                        std::vector<std::string>& tokens);

/// Finds tokens of one kind, normalized or not. Thread-safe. `tokens` must outlive it.
class AddedTokenFinder {
 public:
  AddedTokenFinder(const std::vector<AddedToken>& tokens, bool normalized);

  /// Takes a token's id, or without an id the text up to the next token, which is not empty.
  using Emit = absl::FunctionRef<absl::Status(std::optional<int32_t> id, std::string_view text)>;

  /// Of tokens that begin at one place the longest is found, and none inside of another one. Stops
  /// at the first failure of `emit`.
  absl::Status Split(std::string_view text, const ControlPlaces& control, Emit emit) const;

 private:
  struct Found {
    const AddedToken* token = nullptr;
    size_t length = 1;  ///< how far the search may go on
  };

  /// The longest token that `text` has at byte `begin`.
  Found FindAt(std::string_view text, size_t begin, const ControlPlaces& control) const;
  static bool IsWanted(const AddedToken& token, const ControlPlaces& control, std::string_view text,
                       size_t begin, size_t end);

  const std::vector<AddedToken>& tokens_;
  PrefixTable table_;  // of indices of tokens_
};

}  // namespace fmaserver::model
