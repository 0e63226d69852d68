// How tokenizer.json cuts a text into words, which are then encoded one by one: the key
// "pre_tokenizer".
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model_loader/config_reader.h"
#include "model_loader/segmentation/boundaries.h"
#include "model_loader/tokenizer_json/split.h"
#include "nlohmann/json.hpp"

namespace fmaserver::model {

/// Thread-safe. ByteLevel, Digits, Metaspace, Punctuation, Split, Whitespace, WhitespaceSplit, and
/// sequences of them. ByteLevel must be the last: words are then bytes of text, not the characters
/// that stand for them.
class PreTokenizer {
 public:
  /// INVALID_ARGUMENT names `origin`, the key, what was found and what is allowed.
  static absl::StatusOr<PreTokenizer> Read(const nlohmann::json& file, std::string_view origin);

  /// What the vocabulary's tokens are made of.
  Unit unit() const { return unit_; }

  /// Emits the words of `text`, none of them empty. A word is valid until emit() returns.
  /// `at_start`: whether the text that was asked for begins here.
  absl::Status Split(std::string_view text, bool at_start, const MatchMemory& memory,
                     EmitPiece emit) const {
    return RunFrom(0, {text, at_start}, memory, emit);
  }

 private:
  enum class PutFirst : uint8_t { kAlways, kAtStart, kNever };

  /// Changes a piece: spaces become `space`, which is put before the piece if it is not there.
  struct SpaceRule {
    std::string space;
    PutFirst put_first = PutFirst::kAlways;
  };

  struct Piece {
    std::string_view text;
    bool at_start = false;
  };

  absl::Status ReadStep(std::string_view type, ConfigReader& reader);
  absl::Status ReadByteLevel(ConfigReader& reader);
  absl::Status ReadMetaspace(ConfigReader& reader);
  absl::Status ReadSplit(ConfigReader& reader);
  absl::Status AddSplit(std::string_view expression, SplitBehavior behavior, bool invert = false);

  absl::Status RunFrom(size_t index, Piece piece, const MatchMemory& memory, EmitPiece emit) const;
  absl::Status RunSpaces(size_t index, Piece piece, const MatchMemory& memory,
                         EmitPiece emit) const;

  std::vector<std::variant<SplitRule, SpaceRule>> steps_;
  Unit unit_ = Unit::kCharacter;
};

}  // namespace fmaserver::model
