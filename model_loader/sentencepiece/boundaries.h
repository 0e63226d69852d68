// Where a text can be cut before it is cut into pieces.
#pragma once

#include <bitset>
#include <cstddef>
#include <string_view>

#include "model_loader/sentencepiece/model.h"

namespace fmaserver::model {

/// Every byte that does not continue a character begins one, in damaged text too.
constexpr bool BeginsCharacter(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
}

/// Knows the neighbours that stand side by side inside some piece. Between two characters that do
/// so in no piece, every segmentation has a border, so what lies on either side can be segmented by
/// itself, with the same result and with memory for the longest stretch only: a word or two of
/// ordinary text.
class Boundaries {
 public:
  explicit Boundaries(const SentencePieceModel& model);

  /// Bytes up to the first place in `text` that no piece lies across; at least 1, unless `text` is
  /// empty.
  size_t FirstStretch(std::string_view text) const;

 private:
  /// Characters are told apart by the byte that touches the border. So there may be fewer places
  /// than could be, and never a wrong one.
  static size_t Index(char last, char first);

  std::bitset<256 * 256> joined_;
};

}  // namespace fmaserver::model
