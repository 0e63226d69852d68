#include "model_loader/sentencepiece/model.h"

#include <bit>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "base/refusal.h"
#include "base/text.h"
#include "base/utf8.h"
#include "model_loader/sentencepiece/protobuf_reader.h"

namespace fmaserver::model {
namespace {

using Type = ProtobufField::Type;
using Piece = SentencePieceModel::Piece;
using PieceType = SentencePieceModel::PieceType;
using Algorithm = SentencePieceModel::Algorithm;

/// "<0x41>" -> 0x41. Digits are upper-case.
std::optional<uint8_t> ByteOf(std::string_view text) {
  constexpr size_t kDigits = 3;
  if (text.size() != 6) return std::nullopt;
  uint8_t byte = 0;
  std::from_chars(text.data() + kDigits, text.data() + kDigits + 2, byte, 16);
  if (text != absl::StrFormat("<0x%02X>", byte)) return std::nullopt;
  return byte;
}

/// Fills a model from the messages of the file. Repeated fields are merged, as in every protocol
/// buffer; unknown ones are skipped.
class Parser {
 public:
  Parser(std::string_view origin, int64_t max_pieces) : origin_(origin), max_pieces_(max_pieces) {}

  absl::StatusOr<SentencePieceModel> Parse(std::string_view bytes) {
    absl::Status status = ReadModel(bytes);
    if (status.ok()) status = CheckWhole();
    if (!status.ok()) return status;
    return std::move(model_);
  }

 private:
  template <typename T>
  absl::Status Refuse(std::string_view what, const T& found, std::string_view allowed) {
    return Refusal(At(origin_, what), found, allowed);
  }

  absl::Status Finished(const ProtobufReader& reader, std::string_view message) {
    if (!reader.malformed()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        Concat(origin_, ": not a SentencePiece model: malformed ", message));
  }

  absl::Status ReadModel(std::string_view bytes) {
    ProtobufReader reader(bytes);
    while (const std::optional<ProtobufField> field = reader.Next()) {
      absl::Status status;
      if (field->Is(1, Type::kBytes)) status = ReadPiece(field->bytes);
      if (field->Is(2, Type::kBytes)) status = ReadTrainerSpec(field->bytes);
      if (field->Is(3, Type::kBytes)) status = ReadNormalizerSpec(field->bytes);
      if (field->Is(5, Type::kBytes)) status = CheckDenormalizerSpec(field->bytes);
      if (!status.ok()) return status;
    }
    return Finished(reader, "ModelProto");
  }

  absl::Status ReadPiece(std::string_view bytes) {
    if (static_cast<int64_t>(model_.pieces.size()) == max_pieces_) {
      return Refuse("number of pieces", Words{Concat("more than ", max_pieces_)},
                    Concat("at most \"vocab_size\" of config.json (", max_pieces_, ")"));
    }
    Piece piece;
    uint64_t type = static_cast<uint64_t>(PieceType::kNormal);
    ProtobufReader reader(bytes);
    while (const std::optional<ProtobufField> field = reader.Next()) {
      if (field->Is(1, Type::kBytes)) piece.text = field->bytes;
      if (field->Is(2, Type::kFixed32)) {
        piece.score = std::bit_cast<float>(static_cast<uint32_t>(field->value));
      }
      if (field->Is(3, Type::kVarint)) type = field->value;
    }
    absl::Status status = Finished(reader, "SentencePiece");
    if (status.ok()) status = CheckPiece(piece, type);
    if (!status.ok()) return status;
    model_.pieces.push_back(std::move(piece));
    return absl::OkStatus();
  }

  absl::Status CheckPiece(Piece& piece, uint64_t type) {
    const std::string what = Concat("piece ", model_.pieces.size(), " (", Quoted(piece.text), ")");
    if (piece.text.empty()) return Refuse(what, Words{"empty"}, "at least one character");
    if (!ValidateUtf8(piece.text).ok())
      return Refuse(what, Words{"not valid UTF-8"}, "valid UTF-8");
    if (!std::isfinite(piece.score)) {
      return Refuse(Concat("score of ", what), piece.score, "a finite number");
    }
    const bool is_allowed = type >= 1 && type <= 6 && type != 5;
    if (!is_allowed) {
      return Refuse(Concat("type of ", what), type,
                    "1 (normal), 2 (unknown), 3 (control), 4 (user defined), 6 (byte)");
    }
    piece.type = static_cast<PieceType>(type);
    return absl::OkStatus();
  }

  absl::Status ReadTrainerSpec(std::string_view bytes) {
    ProtobufReader reader(bytes);
    while (const std::optional<ProtobufField> field = reader.Next()) {
      if (field->Is(3, Type::kVarint)) {
        if (field->value != 1 && field->value != 2) {
          return Refuse("trainer_spec.model_type", field->value, "1 (unigram), 2 (BPE)");
        }
        model_.algorithm = static_cast<Algorithm>(field->value);
      }
      if (field->Is(24, Type::kVarint)) model_.whitespace_as_suffix = field->value != 0;
      if (field->Is(35, Type::kVarint)) model_.byte_fallback = field->value != 0;
      if (field->Is(44, Type::kBytes)) model_.unknown_surface = field->bytes;
    }
    return Finished(reader, "TrainerSpec");
  }

  absl::Status ReadNormalizerSpec(std::string_view bytes) {
    ProtobufReader reader(bytes);
    while (const std::optional<ProtobufField> field = reader.Next()) {
      if (field->Is(2, Type::kBytes)) model_.charsmap = field->bytes;
      if (field->Is(3, Type::kVarint)) model_.add_dummy_prefix = field->value != 0;
      if (field->Is(4, Type::kVarint)) model_.remove_extra_whitespaces = field->value != 0;
      if (field->Is(5, Type::kVarint)) model_.escape_whitespaces = field->value != 0;
    }
    return Finished(reader, "NormalizerSpec");
  }

  /// Decoded text cannot be rewritten token by token, so it could not be streamed.
  absl::Status CheckDenormalizerSpec(std::string_view bytes) {
    ProtobufReader reader(bytes);
    while (const std::optional<ProtobufField> field = reader.Next()) {
      if (field->Is(2, Type::kBytes) && !field->bytes.empty()) {
        return Refuse("denormalizer_spec.precompiled_charsmap",
                      Words{Concat(field->bytes.size(), " bytes")}, "empty");
      }
    }
    return Finished(reader, "NormalizerSpec");
  }

  absl::Status CheckWhole() {
    absl::flat_hash_set<std::string_view> texts;
    model_.byte_ids.fill(-1);
    for (size_t id = 0; id < model_.pieces.size(); ++id) {
      const Piece& piece = model_.pieces[id];
      if (!texts.insert(piece.text).second) {
        return Refuse(Concat("piece ", id), Words{Concat("a second ", Quoted(piece.text))},
                      "each text once");
      }
      if (absl::Status status = NoteSpecial(piece, static_cast<int32_t>(id)); !status.ok()) {
        return status;
      }
    }
    if (model_.unknown_id < 0) {
      return Refuse("number of pieces of type 2 (unknown)", 0, "1");
    }
    for (int byte = 0; byte < 256 && model_.byte_fallback; ++byte) {
      if (model_.byte_ids[byte] < 0) {
        return Refuse(absl::StrFormat("byte piece \"<0x%02X>\"", byte), Words{"missing"},
                      "all 256 when trainer_spec.byte_fallback is true");
      }
    }
    return absl::OkStatus();
  }

  absl::Status NoteSpecial(const Piece& piece, int32_t id) {
    if (piece.type == PieceType::kUnknown) {
      if (model_.unknown_id >= 0) return Refuse("number of pieces of type 2 (unknown)", 2, "1");
      model_.unknown_id = id;
    }
    if (piece.type == PieceType::kByte) {
      const std::optional<uint8_t> byte = ByteOf(piece.text);
      if (!byte.has_value() || !model_.byte_fallback) {
        return Refuse(Concat("byte piece ", id), piece.text,
                      "\"<0x00>\" to \"<0xFF>\", and only when trainer_spec.byte_fallback is true");
      }
      model_.byte_ids[*byte] = id;
    }
    return absl::OkStatus();
  }

  const std::string_view origin_;
  const int64_t max_pieces_;
  SentencePieceModel model_;
};

}  // namespace

absl::StatusOr<SentencePieceModel> ParseSentencePieceModel(std::string_view bytes,
                                                           std::string_view origin,
                                                           int64_t max_pieces) {
  return Parser(origin, max_pieces).Parse(bytes);
}

}  // namespace fmaserver::model
