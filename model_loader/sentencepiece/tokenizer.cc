#include "model_loader/sentencepiece/tokenizer.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_replace.h"
#include "base/refusal.h"
#include "base/text.h"
#include "base/utf8.h"
#include "model_loader/segmentation/prefix_table.h"
#include "model_loader/sentencepiece/model.h"
#include "model_loader/sentencepiece/normalizer.h"
#include "model_loader/sentencepiece/segmenter.h"

namespace fmaserver::model {
namespace {

using PieceType = SentencePieceModel::PieceType;

PrefixTable PiecesOf(const SentencePieceModel& model, PieceType type) {
  std::vector<PrefixTable::Entry> pieces;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    if (model.pieces[id].type != type) continue;
    pieces.emplace_back(model.pieces[id].text, static_cast<int32_t>(id));
  }
  return PrefixTable(std::move(pieces));
}

std::unique_ptr<Segmenter> MakeSegmenter(const SentencePieceModel& model,
                                         const PrefixTable& user_symbols) {
  if (model.algorithm == SentencePieceModel::Algorithm::kBpe) {
    return MakeBpeSegmenter(model, user_symbols);
  }
  return MakeUnigramSegmenter(model);
}

/// Not movable, because its parts refer to model_ and user_symbols_.
class SentencePieceTokenizer final : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(SentencePieceModel model,
                                                           std::string_view origin,
                                                           int64_t vocab_size) {
    auto tokenizer = std::make_unique<SentencePieceTokenizer>(std::move(model), vocab_size);
    absl::StatusOr<SentencePieceNormalizer> normalizer =
        SentencePieceNormalizer::Create(tokenizer->model_, tokenizer->user_symbols_, origin);
    if (!normalizer.ok()) return normalizer.status();
    tokenizer->normalizer_.emplace(*std::move(normalizer));
    return tokenizer;
  }

  SentencePieceTokenizer(SentencePieceModel model, int64_t vocab_size)
      : model_(std::move(model)),
        vocab_size_(static_cast<int32_t>(vocab_size)),
        user_symbols_(PiecesOf(model_, PieceType::kUserDefined)),
        controls_(PiecesOf(model_, PieceType::kControl)),
        segmenter_(MakeSegmenter(model_, user_symbols_)) {}

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              const ControlPlaces& control) const override {
    absl::Status status = ValidateUtf8(text);
    std::vector<int32_t> ids;
    size_t done = 0;
    for (size_t at = 0; status.ok() && at < text.size();) {
      const auto [length, id] = ControlAt(text, at, control);
      if (length > 0) {
        status = AppendText(text.substr(done, at - done), ids);
        ids.push_back(id);
        done = at + length;
      }
      at += std::max(length, size_t{1});
    }
    if (status.ok()) status = AppendText(text.substr(done), ids);
    if (!status.ok()) return status;
    return ids;
  }

  std::string TokenBytes(int32_t id) const override {
    if (!HasPiece(id)) return {};
    const SentencePieceModel::Piece& piece = model_.pieces[id];
    switch (piece.type) {
      case PieceType::kUnknown:
      case PieceType::kControl:
        return {};
      case PieceType::kByte:
        return std::string(1, static_cast<char>(ByteValue(id)));
      case PieceType::kNormal:
      case PieceType::kUserDefined:
        return absl::StrReplaceAll(piece.text, {{ToAbsl(kSpaceSymbol), " "}});
    }
    return {};
  }

  std::string ControlText(int32_t id) const override {
    const bool is_control = HasPiece(id) && model_.pieces[id].type == PieceType::kControl;
    return is_control ? model_.pieces[id].text : std::string();
  }

  absl::StatusOr<std::string> Decode(std::span<const int32_t> ids) const override {
    std::string text;
    bool at_start = model_.add_dummy_prefix || model_.remove_extra_whitespaces;
    for (const int32_t id : ids) {
      if (id < 0 || id >= vocab_size_) {
        return Refusal("token id", id, FromTo(0, vocab_size_ - 1), absl::StatusCode::kOutOfRange);
      }
      const std::string surface = id == model_.unknown_id ? model_.unknown_surface : TokenBytes(id);
      text += at_start && StartsWithSpace(id) ? surface.substr(1) : surface;
      // Encoding either removed every leading space except the dummy prefix, or left them all.
      at_start = at_start && text.empty() && (surface.empty() || model_.remove_extra_whitespaces);
    }
    return ReplaceInvalidUtf8(text);
  }

  int32_t VocabSize() const override { return vocab_size_; }
  std::string_view Kind() const override { return "sentencepiece"; }

 private:
  static constexpr size_t kMaxTextBytes = std::numeric_limits<int32_t>::max();

  /// Ids from the number of pieces up to the vocabulary's size only pad the model's matrices.
  bool HasPiece(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < model_.pieces.size();
  }

  bool StartsWithSpace(int32_t id) const {
    return HasPiece(id) && model_.pieces[id].IsSpelled() &&
           model_.pieces[id].text.starts_with(kSpaceSymbol);
  }

  size_t ByteValue(int32_t id) const {
    const auto& ids = model_.byte_ids;
    return std::find(ids.begin(), ids.end(), id) - ids.begin();
  }

  /// The longest control piece that `text` has at byte `at`: its length, or 0, and its id.
  std::pair<size_t, int32_t> ControlAt(std::string_view text, size_t at,
                                       const ControlPlaces& control) const {
    std::pair<size_t, int32_t> found;
    if (control.Of(at, at + 1) == ControlPlaces::Where::kOutside) return found;
    controls_.ForEachPrefix(text.substr(at), [&](size_t length, int32_t id) {
      if (control.Of(at, at + length) == ControlPlaces::Where::kInside) found = {length, id};
    });
    return found;
  }

  absl::Status AppendText(std::string_view text, std::vector<int32_t>& ids) const {
    const std::string normalized = normalizer_->Normalize(text);
    if (normalized.size() > kMaxTextBytes) {
      return Refusal("text", Words{Concat(normalized.size(), " bytes")},
                     Concat("at most ", kMaxTextBytes));
    }
    segmenter_->Cut(normalized,
                    [this, &ids](const TextPiece& segment) { AppendIds(segment, ids); });
    return absl::OkStatus();
  }

  void AppendIds(const TextPiece& segment, std::vector<int32_t>& ids) const {
    const bool is_unknown = segment.id == model_.unknown_id;
    if (is_unknown && model_.byte_fallback) {
      for (const char byte : segment.text) {
        ids.push_back(model_.byte_ids[static_cast<unsigned char>(byte)]);
      }
      return;
    }
    // A run of unknown characters is one unknown token.
    if (!is_unknown || ids.empty() || ids.back() != model_.unknown_id) ids.push_back(segment.id);
  }

  const SentencePieceModel model_;
  const int32_t vocab_size_;
  const PrefixTable user_symbols_;
  const PrefixTable controls_;
  const std::unique_ptr<Segmenter> segmenter_;
  std::optional<SentencePieceNormalizer> normalizer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeSentencePieceTokenizer(std::string_view bytes,
                                                                      std::string_view origin,
                                                                      int64_t vocab_size) {
  absl::StatusOr<SentencePieceModel> model = ParseSentencePieceModel(bytes, origin, vocab_size);
  if (!model.ok()) return model.status();
  return SentencePieceTokenizer::Create(*std::move(model), origin, vocab_size);
}

}  // namespace fmaserver::model
