#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "base/utf8.h"
#include "model_loader/segmentation/boundaries.h"
#include "model_loader/segmentation/pair_merger.h"
#include "model_loader/sentencepiece/segmenter.h"

namespace fmaserver::model {
namespace {

/// A part of the text that is being cut.
struct Span {
  uint32_t begin = 0;
  uint32_t size = 0;
};

/// The spellings of a model's pieces.
class Spellings {
 public:
  explicit Spellings(const SentencePieceModel& model) : model_(model) {
    for (size_t id = 0; id < model.pieces.size(); ++id) {
      const SentencePieceModel::Piece& piece = model.pieces[id];
      if (piece.IsSpelled()) ids_.emplace(piece.text, static_cast<int32_t>(id));
    }
  }

  int32_t IdOf(std::string_view text) const {
    const auto id = ids_.find(text);
    return id == ids_.end() ? model_.unknown_id : id->second;
  }

  /// Nothing when no piece is spelled like this.
  std::optional<float> ScoreOf(std::string_view text) const {
    const auto id = ids_.find(text);
    if (id == ids_.end()) return std::nullopt;
    return model_.pieces[id->second].score;
  }

 private:
  const SentencePieceModel& model_;
  absl::flat_hash_map<std::string_view, int32_t> ids_;
};

/// Neighbours merge when together they are spelled like a piece, those of the best score first.
class SpellingRules {
 public:
  using Part = Span;
  using Rank = float;
  static constexpr float kNoMerge = std::numeric_limits<float>::infinity();  // scores are finite

  SpellingRules(std::string_view text, const Spellings& spellings)
      : text_(text), spellings_(spellings) {}

  float RankOf(Span left, Span right) const {
    const std::optional<float> score =
        spellings_.ScoreOf(text_.substr(left.begin, size_t{left.size} + right.size));
    return score.has_value() ? -*score : kNoMerge;
  }

  Span Merged(Span left, Span right, float) const { return {left.begin, left.size + right.size}; }

  TextPiece PieceOf(Span span) const {
    const std::string_view text = text_.substr(span.begin, span.size);
    return {text, spellings_.IdOf(text)};
  }

 private:
  const std::string_view text_;
  const Spellings& spellings_;
};

class BpeSegmenter final : public Segmenter {
 public:
  BpeSegmenter(const SentencePieceModel& model, const PrefixTable& user_symbols)
      : user_symbols_(user_symbols), spellings_(model) {
    for (const SentencePieceModel::Piece& piece : model.pieces) {
      if (piece.IsSpelled()) boundaries_.Join(piece.text);
    }
  }

  void Cut(std::string_view text, Emit emit) const override {
    const SpellingRules rules(text, spellings_);
    PairMerger<SpellingRules> merger(rules);
    const auto emit_span = [&rules, &emit](Span span) { emit(rules.PieceOf(span)); };
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = begin + boundaries_.FirstStretch(text.substr(begin));
      merger.Reserve(std::count_if(text.begin() + begin, text.begin() + end, BeginsCharacter));
      while (begin < end) {
        const std::string_view rest = text.substr(begin, end - begin);
        const auto start = static_cast<uint32_t>(begin);
        if (const size_t symbol = user_symbols_.LongestPrefix(rest); symbol > 0) {
          // No neighbour of a user symbol merges with it, so a run ends there.
          merger.Finish(emit_span);
          emit_span({start, static_cast<uint32_t>(symbol)});
          begin += symbol;
        } else {
          const size_t character = NextUtf8(rest).length;
          merger.Append({start, static_cast<uint32_t>(character)});
          begin += character;
        }
      }
      merger.Finish(emit_span);
    }
  }

 private:
  const PrefixTable& user_symbols_;
  Boundaries boundaries_{Unit::kCharacter};
  const Spellings spellings_;
};

}  // namespace

std::unique_ptr<Segmenter> MakeBpeSegmenter(const SentencePieceModel& model,
                                            const PrefixTable& user_symbols) {
  return std::make_unique<BpeSegmenter>(model, user_symbols);
}

}  // namespace fmaserver::model
