// How a SentencePiece model cuts prepared text into pieces.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "model_loader/prefix_table.h"
#include "model_loader/sentencepiece_model.h"

namespace fmaserver::model {

struct TextPiece {
  std::string_view text;
  int32_t id = 0;  ///< the model's unknown_id when no piece is spelled like this
};

/// Thread-safe.
class Segmenter {
 public:
  virtual ~Segmenter() = default;

  /// The segments in order; together they are `text`, of which they are views. `text` must be
  /// shorter than 2^31 bytes.
  virtual std::vector<TextPiece> Cut(std::string_view text) const = 0;
};

/// Merges the best-scored pair of neighbours until none is a piece (Sennrich et al.,
/// arXiv 1508.07909). User symbols are never merged. `model` and `user_symbols` must outlive it.
std::unique_ptr<Segmenter> MakeBpeSegmenter(const SentencePieceModel& model,
                                            const PrefixTable& user_symbols);

/// The segments with the highest sum of scores (Kudo, arXiv 1804.10959), by Viterbi's algorithm.
/// `model` must outlive it.
std::unique_ptr<Segmenter> MakeUnigramSegmenter(const SentencePieceModel& model);

}  // namespace fmaserver::model
