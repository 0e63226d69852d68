#include <algorithm>
#include <limits>
#include <vector>

#include "base/utf8.h"
#include "model_loader/segmentation/boundaries.h"
#include "model_loader/sentencepiece/segmenter.h"

namespace fmaserver::model {
namespace {

using PieceType = SentencePieceModel::PieceType;

/// How much worse an unknown character is than the worst piece.
constexpr float kUnknownPenalty = 10.0F;

/// The best way to cut the text that ends at a byte.
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
    std::vector<PrefixTable::Entry> spelled;
    for (size_t id = 0; id < model.pieces.size(); ++id) {
      const SentencePieceModel::Piece& piece = model.pieces[id];
      if (piece.IsSpelled()) {
        spelled.emplace_back(piece.text, static_cast<int32_t>(id));
        boundaries_.Join(piece.text);
      }
      if (piece.type != PieceType::kNormal) continue;
      worst = std::min(worst, piece.score);
      best_score_ = std::max(best_score_, piece.score);
    }
    unknown_score_ = worst - kUnknownPenalty;
    pieces_ = PrefixTable(std::move(spelled));
  }

  void Cut(std::string_view text, Emit emit) const override {
    std::vector<BestEnd> ends;
    float so_far = 0;
    while (!text.empty()) {
      const std::string_view stretch = text.substr(0, boundaries_.FirstStretch(text));
      text.remove_prefix(stretch.size());
      so_far = FindBest(stretch, so_far, ends);
      Walk(stretch, ends, emit);
    }
  }

 private:
  /// As double, like the products with a length: between nearly equal cuts the last bit decides.
  double ScoreOf(int32_t id, size_t length) const {
    const SentencePieceModel::Piece& piece = model_.pieces[id];
    if (piece.type != PieceType::kUserDefined) return piece.score;
    // Better than any piece of this length, so that user symbols are always chosen.
    return static_cast<float>(length) * best_score_ - 0.1;
  }

  /// Fills `ends` for `stretch`. The score before it is `so_far`; returns the score after it.
  /// Scores continue from stretch to stretch because rounding depends on them.
  float FindBest(std::string_view stretch, float so_far, std::vector<BestEnd>& ends) const {
    ends.assign(stretch.size() + 1, BestEnd());
    ends[0].score = so_far;
    for (size_t start = 0; start < stretch.size();) {
      const std::string_view rest = stretch.substr(start);
      const size_t character = NextUtf8(rest).length;
      OfferPieces(rest, character, static_cast<int32_t>(start), ends);
      start += character;
    }
    return ends.back().score;
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

  /// Emits the best way through `stretch`. Its links point back to where each segment begins; they
  /// are reversed so that they can be followed from the start.
  static void Walk(std::string_view stretch, std::vector<BestEnd>& ends, const Emit& emit) {
    int32_t next = 0;
    for (auto end = static_cast<int32_t>(stretch.size()); end >= 0;) {
      const int32_t begin = ends[end].start;
      ends[end].start = next;
      next = end;
      end = begin;
    }
    for (size_t begin = 0; begin < stretch.size();) {
      const auto end = static_cast<size_t>(ends[begin].start);
      emit({stretch.substr(begin, end - begin), ends[end].id});
      begin = end;
    }
  }

  const SentencePieceModel& model_;
  Boundaries boundaries_{Unit::kCharacter};
  PrefixTable pieces_;
  // The best score of the normal pieces, but above 0 even when all are below 0, as they usually
  // are. The original does the same, and the value decides by how much a long user symbol wins.
  float best_score_ = std::numeric_limits<float>::min();
  float unknown_score_ = 0;
};

}  // namespace

std::unique_ptr<Segmenter> MakeUnigramSegmenter(const SentencePieceModel& model) {
  return std::make_unique<UnigramSegmenter>(model);
}

}  // namespace fmaserver::model
