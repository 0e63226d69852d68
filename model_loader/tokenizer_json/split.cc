#include "model_loader/tokenizer_json/split.h"

namespace fmaserver::model {
namespace {

/// Whether a part of the text belongs to the piece of the part before it.
bool Joins(SplitBehavior behavior, bool previous_is_match, bool is_match) {
  switch (behavior) {
    case SplitBehavior::kRemoved:
    case SplitBehavior::kIsolated:
      return false;
    case SplitBehavior::kMergedWithPrevious:
      return is_match && !previous_is_match;
    case SplitBehavior::kMergedWithNext:
      return previous_is_match && !is_match;
    case SplitBehavior::kContiguous:
      return is_match == previous_is_match;
  }
  return false;
}

/// Takes the parts of a text, matches and what lies between them, and makes pieces of them.
class PieceBuilder {
 public:
  PieceBuilder(const SplitRule& rule, std::string_view text, EmitPiece emit)
      : rule_(rule), text_(text), emit_(emit) {}

  absl::Status Add(size_t end, bool matched) {
    if (end == end_) return absl::OkStatus();
    const bool is_match = matched != rule_.invert;
    absl::Status status;
    if (end_ > begin_ && !Joins(rule_.behavior, last_is_match_, is_match)) status = Flush();
    last_is_match_ = is_match;
    end_ = end;
    return status;
  }

  absl::Status Flush() {
    const std::string_view piece = text_.substr(begin_, end_ - begin_);
    begin_ = end_;
    const bool removed = rule_.behavior == SplitBehavior::kRemoved && last_is_match_;
    return removed || piece.empty() ? absl::OkStatus() : emit_(piece);
  }

 private:
  const SplitRule& rule_;
  const std::string_view text_;
  const EmitPiece emit_;
  size_t begin_ = 0;  ///< the pending piece is [begin_, end_)
  size_t end_ = 0;
  bool last_is_match_ = false;
};

}  // namespace

absl::Status Cut(const SplitRule& rule, std::string_view text, const MatchMemory& memory,
                 EmitPiece emit) {
  PieceBuilder pieces(rule, text, emit);
  for (size_t from = 0; from < text.size();) {
    const absl::StatusOr<std::optional<MatchRange>> match = rule.pattern.Find(text, from, memory);
    if (!match.ok()) return match.status();
    if (!match->has_value()) break;
    absl::Status status = pieces.Add((*match)->begin, /*matched=*/false);
    if (status.ok()) status = pieces.Add((*match)->end, /*matched=*/true);
    if (!status.ok()) return status;
    from = (*match)->end;
  }
  absl::Status status = pieces.Add(text.size(), /*matched=*/false);
  if (status.ok()) status = pieces.Flush();
  return status;
}

}  // namespace fmaserver::model
