// The contents of a SentencePiece model file (sentencepiece_model.proto), validated.
//
// Why not libsentencepiece: Debian's contains its own Protobuf 3.14, whose symbols collide with the
// Protobuf that gRPC brings, so both cannot live in one process; and it trusts the file.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace fmaserver::model {

struct SentencePieceModel {
  enum class Algorithm : uint8_t { kUnigram = 1, kBpe = 2 };
  enum class PieceType : uint8_t {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kByte = 6
  };
  struct Piece {
    std::string text;  ///< not empty, valid UTF-8
    float score = 0;   ///< finite
    PieceType type = PieceType::kNormal;

    /// Whether text that is spelled like this piece can become it.
    bool IsSpelled() const { return type == PieceType::kNormal || type == PieceType::kUserDefined; }
  };

  Algorithm algorithm = Algorithm::kUnigram;
  std::vector<Piece> pieces;  ///< by id; no two with the same text
  int32_t unknown_id = -1;    ///< the one piece of type kUnknown
  bool byte_fallback = false;
  std::array<int32_t, 256> byte_ids{};  ///< by byte value; with byte_fallback
  std::string unknown_surface = " \xE2\x81\x87 ";

  // How text is prepared.
  bool whitespace_as_suffix = false;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  std::string charsmap;  ///< see CharsMap; empty: text stays as it is
};

/// Unigram and BPE models of at most `max_pieces` pieces. INVALID_ARGUMENT names `origin`, what was
/// found and what is allowed.
absl::StatusOr<SentencePieceModel> ParseSentencePieceModel(std::string_view bytes,
                                                           std::string_view origin,
                                                           int64_t max_pieces);

}  // namespace fmaserver::model
