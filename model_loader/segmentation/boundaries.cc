#include "model_loader/segmentation/boundaries.h"

namespace fmaserver::model {

void Boundaries::Join(std::string_view piece) {
  for (size_t i = 1; i < piece.size(); ++i) joined_.set(Index(piece[i - 1], piece[i]));
}

void Boundaries::JoinEverywhere(char byte) {
  for (int other = 0; other < 256; ++other) {
    joined_.set(Index(byte, static_cast<char>(other)));
    joined_.set(Index(static_cast<char>(other), byte));
  }
}

size_t Boundaries::FirstStretch(std::string_view text) const {
  for (size_t i = 1; i < text.size(); ++i) {
    const bool between_units = unit_ == Unit::kByte || BeginsCharacter(text[i]);
    if (between_units && !joined_.test(Index(text[i - 1], text[i]))) return i;
  }
  return text.size();
}

size_t Boundaries::Index(char last, char first) {
  return size_t{static_cast<unsigned char>(last)} << 8 | static_cast<unsigned char>(first);
}

}  // namespace fmaserver::model
