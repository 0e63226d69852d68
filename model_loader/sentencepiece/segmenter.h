// How a SentencePiece model cuts prepared text into pieces.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "model_loader/segmentation/prefix_table.h"
#include "model_loader/sentencepiece/model.h"

namespace fmaserver::model {

struct TextPiece {
  std::string_view text;
  int32_t id = 0;  ///< the model's unknown_id when no piece is spelled like this
};

/// Thread-safe.
class Segmenter {
 public:
  virtual ~Segmenter() = default;

  using Emit = absl::FunctionRef<void(const TextPiece&)>;

  /// Emits the segments in order. They are views of `text`, and together they are the whole of it.
  /// `text` must be shorter than 2^31 bytes. Memory grows with the longest stretch of `text` that
  /// has no boundary (Boundaries): up to 50 bytes for each of its characters with BPE, 12 for each
  /// byte with unigram.
  virtual void Cut(std::string_view text, Emit emit) const = 0;
};

/// Merges the best-scored pair of neighbours until none is a piece (Sennrich et al.,
/// arXiv 1508.07909). User symbols are never merged. `model` and `user_symbols` must outlive it.
std::unique_ptr<Segmenter> MakeBpeSegmenter(const SentencePieceModel& model,
                                            const PrefixTable& user_symbols);

/// The segments with the highest sum of scores (Kudo, arXiv 1804.10959), by Viterbi's algorithm.
/// `model` must outlive it.
std::unique_ptr<Segmenter> MakeUnigramSegmenter(const SentencePieceModel& model);

}  // namespace fmaserver::model
