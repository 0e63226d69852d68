#include "model_loader/sentencepiece/boundaries.h"

namespace fmaserver::model {
Boundaries::Boundaries(const SentencePieceModel& model) {
  for (const SentencePieceModel::Piece& piece : model.pieces) {
    if (!piece.IsSpelled()) continue;
    for (size_t i = 1; i < piece.text.size(); ++i) {
      joined_.set(Index(piece.text[i - 1], piece.text[i]));
    }
  }
}

size_t Boundaries::FirstStretch(std::string_view text) const {
  for (size_t i = 1; i < text.size(); ++i) {
    if (BeginsCharacter(text[i]) && !joined_.test(Index(text[i - 1], text[i]))) return i;
  }
  return text.size();
}

size_t Boundaries::Index(char last, char first) {
  return size_t{static_cast<unsigned char>(last)} << 8 | static_cast<unsigned char>(first);
}

}  // namespace fmaserver::model
