// Prepares text for a SentencePiece model: rewriting rules, white space, the dummy prefix.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "model_loader/segmentation/prefix_table.h"
#include "model_loader/sentencepiece/chars_map.h"
#include "model_loader/sentencepiece/model.h"

namespace fmaserver::model {

/// U+2581, how pieces spell a space.
inline constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";

class SentencePieceNormalizer {
 public:
  /// `user_symbols` are left as they are; it and `model` must outlive the normalizer.
  static absl::StatusOr<SentencePieceNormalizer> Create(const SentencePieceModel& model,
                                                        const PrefixTable& user_symbols,
                                                        std::string_view origin);

  /// `text` must be valid UTF-8.
  std::string Normalize(std::string_view text) const;

 private:
  SentencePieceNormalizer(const SentencePieceModel& model, const PrefixTable& user_symbols,
                          CharsMap rules)
      : model_(&model), user_symbols_(&user_symbols), rules_(std::move(rules)) {}

  /// What the first character (or symbol, or rule) of `text` becomes.
  CharsMap::Match NormalizeFirst(std::string_view text) const;
  std::string_view Space() const { return model_->escape_whitespaces ? kSpaceSymbol : " "; }
  void Append(std::string_view normalized, std::string& out) const;

  const SentencePieceModel* model_;
  const PrefixTable* user_symbols_;
  CharsMap rules_;
};

}  // namespace fmaserver::model
