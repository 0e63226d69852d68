#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/utf8.h"
#include "model_loader/sentencepiece/boundaries.h"
#include "model_loader/sentencepiece/segmenter.h"

namespace fmaserver::model {
namespace {

constexpr int32_t kNone = -1;
constexpr float kNoPair = std::numeric_limits<float>::quiet_NaN();  // equals no score

/// A part of the text in a doubly linked list. When two neighbours merge, the left one takes over
/// the right one.
struct Symbol {
  uint32_t begin = 0;
  uint32_t size = 0;
  int32_t previous = kNone;
  int32_t next = kNone;
  float pair_score = kNoPair;  ///< of the piece that it makes with its right neighbour
};

/// Two neighbours that made a piece when they were offered. The pair is stale when the left one's
/// pair_score has changed since.
struct Pair {
  float score = 0;
  int32_t left = 0;

  /// The best score first, then the leftmost.
  bool operator<(const Pair& other) const {
    return score != other.score ? score < other.score : left > other.left;
  }
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

  /// kNoPair when no piece is spelled like this.
  float ScoreOf(std::string_view text) const {
    const auto id = ids_.find(text);
    return id == ids_.end() ? kNoPair : model_.pieces[id->second].score;
  }

 private:
  const SentencePieceModel& model_;
  absl::flat_hash_map<std::string_view, int32_t> ids_;
};

/// Merges the symbols of one text, run by run. Its memory is kept from one run to the next.
class Merger {
 public:
  Merger(std::string_view text, const Spellings& spellings) : text_(text), spellings_(spellings) {}

  /// Allocates for a run of this many characters.
  void Reserve(size_t characters) { symbols_.reserve(characters); }

  void Append(size_t begin, size_t size) {
    const auto index = static_cast<int32_t>(symbols_.size());
    if (index > 0) symbols_.back().next = index;
    symbols_.push_back({.begin = static_cast<uint32_t>(begin),
                        .size = static_cast<uint32_t>(size),
                        .previous = index - 1});
  }

  /// Merges what was appended since the last call, and emits it.
  void Finish(const Segmenter::Emit& emit) {
    if (symbols_.empty()) return;
    agenda_.reserve(symbols_.size());
    for (size_t i = 0; i < symbols_.size(); ++i) Offer(static_cast<int32_t>(i));
    while (!agenda_.empty()) {
      std::ranges::pop_heap(agenda_, std::less<>());
      const Pair pair = agenda_.back();
      agenda_.pop_back();
      if (symbols_[pair.left].pair_score == pair.score) Merge(pair.left);
    }
    for (int32_t i = 0; i != kNone; i = symbols_[i].next) {
      const std::string_view text = text_.substr(symbols_[i].begin, symbols_[i].size);
      emit({text, spellings_.IdOf(text)});
    }
    symbols_.clear();
  }

 private:
  /// Looks up the piece that `index` and its right neighbour make.
  void Offer(int32_t index) {
    Symbol& left = symbols_[index];
    left.pair_score = kNoPair;
    if (left.next == kNone) return;
    const size_t size = size_t{left.size} + symbols_[left.next].size;
    left.pair_score = spellings_.ScoreOf(text_.substr(left.begin, size));
    if (std::isnan(left.pair_score)) return;
    agenda_.push_back({left.pair_score, index});
    std::ranges::push_heap(agenda_, std::less<>());
  }

  void Merge(int32_t index) {
    Symbol& left = symbols_[index];
    Symbol& right = symbols_[left.next];
    left.size += right.size;
    left.next = right.next;
    if (right.next != kNone) symbols_[right.next].previous = index;
    right.pair_score = kNoPair;
    if (left.previous != kNone) Offer(left.previous);
    Offer(index);
  }

  const std::string_view text_;
  const Spellings& spellings_;
  std::vector<Symbol> symbols_;
  std::vector<Pair> agenda_;  // a heap
};

class BpeSegmenter final : public Segmenter {
 public:
  BpeSegmenter(const SentencePieceModel& model, const PrefixTable& user_symbols)
      : user_symbols_(user_symbols), boundaries_(model), spellings_(model) {}

  void Cut(std::string_view text, Emit emit) const override {
    Merger merger(text, spellings_);
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = begin + boundaries_.FirstStretch(text.substr(begin));
      merger.Reserve(std::count_if(text.begin() + begin, text.begin() + end, BeginsCharacter));
      for (; begin < end; begin += Append(text, begin, end, merger, emit)) {
      }
      merger.Finish(emit);
    }
  }

 private:
  /// Appends the next character or user symbol of text[begin, end) and returns its size. User
  /// symbols do not merge with their neighbours, so a run ends there.
  size_t Append(std::string_view text, size_t begin, size_t end, Merger& merger,
                const Emit& emit) const {
    const std::string_view rest = text.substr(begin, end - begin);
    if (const size_t size = user_symbols_.LongestPrefix(rest); size > 0) {
      merger.Finish(emit);
      const std::string_view symbol = rest.substr(0, size);
      emit({symbol, spellings_.IdOf(symbol)});
      return size;
    }
    const size_t size = NextUtf8(rest).length;
    merger.Append(begin, size);
    return size;
  }

  const PrefixTable& user_symbols_;
  const Boundaries boundaries_;
  const Spellings spellings_;
};

}  // namespace

std::unique_ptr<Segmenter> MakeBpeSegmenter(const SentencePieceModel& model,
                                            const PrefixTable& user_symbols) {
  return std::make_unique<BpeSegmenter>(model, user_symbols);
}

}  // namespace fmaserver::model
