// Where a text can be divided into stretches that are cut into pieces independently.
#pragma once

#include <bitset>
#include <cstddef>
#include <string_view>

#include "model_loader/sentencepiece/model.h"

namespace fmaserver::model {

/// Whether a character begins with `byte`. Every byte that does not continue a character begins
/// one, even in damaged text.
constexpr bool BeginsCharacter(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
}

/// Knows which characters are neighbours inside some piece. Between two characters that are
/// neighbours in no piece, every segmentation has a border. So the text on either side can be
/// segmented by itself, with the same result, and with memory for the longest stretch only: a word
/// or two of ordinary text.
class Boundaries {
 public:
  explicit Boundaries(const SentencePieceModel& model);

  /// The bytes before the first boundary in `text`, which no piece can cross; at least 1, unless
  /// `text` is empty.
  size_t FirstStretch(std::string_view text) const;

 private:
  /// Only the two bytes that touch the border are looked at. So some boundaries may be missed, but
  /// none is wrong.
  static size_t Index(char last, char first);

  std::bitset<256 * 256> joined_;
};

}  // namespace fmaserver::model
