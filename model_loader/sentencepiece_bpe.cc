#include <queue>

#include "absl/container/flat_hash_map.h"
#include "base/text.h"
#include "base/utf8.h"
#include "model_loader/sentencepiece_segmenter.h"

namespace fmaserver::model {
namespace {

constexpr int32_t kNone = -1;

/// A stretch of text in a doubly linked list; empty once its left neighbour has swallowed it.
struct Symbol {
  std::string_view text;
  int32_t previous = kNone;
  int32_t next = kNone;
  bool frozen = false;
};

/// Two neighbours that make a piece. Stale when one of them has changed since.
struct Pair {
  int32_t left = 0;
  int32_t right = 0;
  float score = 0;
  size_t size = 0;  ///< bytes of both

  /// The best score first, then the leftmost.
  bool operator<(const Pair& other) const {
    return score != other.score ? score < other.score : left > other.left;
  }
};

class BpeSegmenter final : public Segmenter {
 public:
  BpeSegmenter(const SentencePieceModel& model, const PrefixTable& user_symbols)
      : model_(model), user_symbols_(user_symbols) {
    for (size_t id = 0; id < model.pieces.size(); ++id) {
      const SentencePieceModel::Piece& piece = model.pieces[id];
      if (piece.IsSpelled()) ids_.emplace(piece.text, static_cast<int32_t>(id));
    }
  }

  std::vector<TextPiece> Cut(std::string_view text) const override {
    std::vector<Symbol> symbols = Characters(text);
    Merge(symbols);
    std::vector<TextPiece> segments;
    for (const Symbol& symbol : symbols) {
      if (!symbol.text.empty()) segments.push_back({symbol.text, IdOf(symbol.text)});
    }
    return segments;
  }

 private:
  using Agenda = std::priority_queue<Pair>;

  int32_t IdOf(std::string_view text) const {
    const auto id = ids_.find(text);
    return id == ids_.end() ? model_.unknown_id : id->second;
  }

  std::vector<Symbol> Characters(std::string_view text) const {
    std::vector<Symbol> symbols;
    symbols.reserve(text.size());
    for (size_t offset = 0; offset < text.size();) {
      const std::string_view rest = text.substr(offset);
      const size_t user_length = user_symbols_.LongestPrefix(rest);
      const size_t length = user_length > 0 ? user_length : NextUtf8(rest).length;
      const auto index = static_cast<int32_t>(symbols.size());
      symbols.push_back({rest.substr(0, length), index - 1, index + 1, user_length > 0});
      offset += length;
    }
    if (!symbols.empty()) symbols.back().next = kNone;
    return symbols;
  }

  void Offer(const std::vector<Symbol>& symbols, int32_t left, int32_t right,
             Agenda& agenda) const {
    if (left == kNone || right == kNone || symbols[left].frozen || symbols[right].frozen) return;
    const std::string_view both(symbols[left].text.data(),
                                symbols[left].text.size() + symbols[right].text.size());
    const auto id = ids_.find(both);
    if (id == ids_.end()) return;
    agenda.push({left, right, model_.pieces[id->second].score, both.size()});
  }

  void Merge(std::vector<Symbol>& symbols) const {
    Agenda agenda;
    for (size_t i = 1; i < symbols.size(); ++i) {
      const auto right = static_cast<int32_t>(i);
      Offer(symbols, right - 1, right, agenda);
    }
    while (!agenda.empty()) {
      const Pair pair = agenda.top();
      agenda.pop();
      Symbol& left = symbols[pair.left];
      Symbol& right = symbols[pair.right];
      const bool stale = left.text.empty() || right.text.empty() ||
                         left.text.size() + right.text.size() != pair.size;
      if (stale) continue;
      left.text = std::string_view(left.text.data(), pair.size);
      left.next = right.next;
      if (right.next != kNone) symbols[right.next].previous = pair.left;
      right.text = {};
      Offer(symbols, left.previous, pair.left, agenda);
      Offer(symbols, pair.left, left.next, agenda);
    }
  }

  const SentencePieceModel& model_;
  const PrefixTable& user_symbols_;
  absl::flat_hash_map<std::string_view, int32_t> ids_;
};

}  // namespace

std::unique_ptr<Segmenter> MakeBpeSegmenter(const SentencePieceModel& model,
                                            const PrefixTable& user_symbols) {
  return std::make_unique<BpeSegmenter>(model, user_symbols);
}

}  // namespace fmaserver::model
