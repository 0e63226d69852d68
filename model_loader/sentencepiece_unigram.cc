#include <algorithm>
#include <limits>

#include "base/utf8.h"
#include "model_loader/sentencepiece_segmenter.h"

namespace fmaserver::model {
namespace {

using PieceType = SentencePieceModel::PieceType;

/// How much worse an unknown character is than the worst piece.
constexpr float kUnknownPenalty = 10.0F;

/// The best way to cut the text up to a byte.
struct BestEnd {
  int32_t id = 0;
  int32_t start = -1;  ///< where its last segment begins; -1: no way yet
  float score = 0;

  void Offer(double offered, int32_t offered_start, int32_t offered_id) {
    if (start >= 0 && !(offered > score)) return;
    *this = {offered_id, offered_start, static_cast<float>(offered)};
  }
};

class UnigramSegmenter final : public Segmenter {
 public:
  explicit UnigramSegmenter(const SentencePieceModel& model) : model_(model) {
    float worst = std::numeric_limits<float>::max();
    best_score_ = std::numeric_limits<float>::min();
    std::vector<PrefixTable::Entry> spelled;
    for (size_t id = 0; id < model.pieces.size(); ++id) {
      const SentencePieceModel::Piece& piece = model.pieces[id];
      if (piece.IsSpelled()) spelled.emplace_back(piece.text, static_cast<int32_t>(id));
      if (piece.type != PieceType::kNormal) continue;
      worst = std::min(worst, piece.score);
      best_score_ = std::max(best_score_, piece.score);
    }
    unknown_score_ = worst - kUnknownPenalty;
    pieces_ = PrefixTable(std::move(spelled));
  }

  std::vector<TextPiece> Cut(std::string_view text) const override {
    std::vector<BestEnd> ends(text.size() + 1);
    for (size_t start = 0; start < text.size();) {
      const std::string_view rest = text.substr(start);
      const size_t character = NextUtf8(rest).length;
      OfferPieces(rest, character, static_cast<int32_t>(start), ends);
      start += character;
    }
    return WalkBack(text, ends);
  }

 private:
  /// In double, as the products with a length are: a last bit decides between equal cuts.
  double ScoreOf(int32_t id, size_t length) const {
    const SentencePieceModel::Piece& piece = model_.pieces[id];
    if (piece.type != PieceType::kUserDefined) return piece.score;
    // Better than anything of this length, so that user symbols are always chosen.
    return static_cast<float>(length) * best_score_ - 0.1;
  }

  void OfferPieces(std::string_view rest, size_t character, int32_t start,
                   std::vector<BestEnd>& ends) const {
    const float so_far = ends[start].score;
    bool has_single_character = false;
    pieces_.ForEachPrefix(rest, [&](size_t length, int32_t id) {
      ends[start + length].Offer(ScoreOf(id, length) + so_far, start, id);
      has_single_character |= length == character;
    });
    if (has_single_character) return;
    const float score = unknown_score_ + so_far;
    ends[start + character].Offer(score, start, model_.unknown_id);
  }

  static std::vector<TextPiece> WalkBack(std::string_view text, const std::vector<BestEnd>& ends) {
    std::vector<TextPiece> segments;
    for (size_t end = text.size(); end > 0;) {
      const BestEnd& best = ends[end];
      segments.push_back({text.substr(best.start, end - best.start), best.id});
      end = best.start;
    }
    std::reverse(segments.begin(), segments.end());
    return segments;
  }

  const SentencePieceModel& model_;
  PrefixTable pieces_;
  float best_score_ = 0;
  float unknown_score_ = 0;
};

}  // namespace

std::unique_ptr<Segmenter> MakeUnigramSegmenter(const SentencePieceModel& model) {
  return std::make_unique<UnigramSegmenter>(model);
}

}  // namespace fmaserver::model
