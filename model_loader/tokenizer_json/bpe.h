// Words to ids by byte-pair encoding.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "model_loader/segmentation/boundaries.h"
#include "model_loader/segmentation/pair_merger.h"
#include "model_loader/tokenizer_json/bpe_model.h"

namespace fmaserver::model {

/// Which tokens merge into which.
class MergeTable {
 public:
  using Part = int32_t;  // a token's id; kUnknown merges with nothing
  using Rank = int32_t;
  static constexpr Rank kNoMerge = std::numeric_limits<Rank>::max();
  static constexpr Part kUnknown = -1;

  explicit MergeTable(const std::vector<BpeModel::Merge>& merges);

  Rank RankOf(Part left, Part right) const {
    const auto rank = ranks_.find(KeyOf(left, right));
    return rank == ranks_.end() ? kNoMerge : rank->second;
  }
  Part Merged(Part, Part, Rank rank) const { return products_[rank]; }

 private:
  static uint64_t KeyOf(Part left, Part right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }

  absl::flat_hash_map<uint64_t, Rank> ranks_;
  std::vector<Part> products_;  // by rank
};

/// Thread-safe.
class Bpe {
 public:
  /// `unit`: what the words will be cut from; with kByte, the model's tokens are spelled in the
  /// byte alphabet. INVALID_ARGUMENT names `origin` and what this cannot do.
  static absl::StatusOr<Bpe> Create(const BpeModel& model, Unit unit, std::string_view origin);

  /// Encodes words one after the other; keeps its memory between them. One per thread at a time.
  class Encoder {
   public:
    explicit Encoder(const Bpe& bpe) : bpe_(bpe), merger_(bpe.merges_) {}

    /// Appends the ids of `word`, which is valid UTF-8, not empty and shorter than 2^31 bytes.
    /// Memory grows with the longest stretch of it that has no boundary, some 32 bytes for each of
    /// its units.
    void Append(std::string_view word, std::vector<int32_t>& ids);

   private:
    friend class Bpe;

    /// By merging alone, though the word may be a token.
    void AppendMerged(std::string_view word, std::vector<int32_t>& ids);
    void AppendUnits(std::string_view stretch);

    const Bpe& bpe_;
    PairMerger<MergeTable> merger_;
  };

 private:
  Bpe(const BpeModel& model, Unit unit);

  void AddSpellings(const BpeModel& model);
  void FindBoundaries(const BpeModel& model);
  void FindWholeTokens();
  absl::Status FindByteTokens(const BpeModel& model, std::string_view origin);

  std::optional<int32_t> IdOf(std::string_view text) const;

  Unit unit_;
  MergeTable merges_;
  std::optional<int32_t> unknown_id_;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
  std::optional<std::array<int32_t, 256>> byte_ids_;  // with byte fallback
  absl::flat_hash_map<std::string, int32_t> ids_;     // by spelling in text
  std::array<int32_t, 256> id_of_byte_{};             // those of one byte, or kUnknown
  std::vector<bool> is_whole_;  // by id: merging the characters of the token gives the token
  size_t longest_ = 0;
  Boundaries boundaries_;
};

}  // namespace fmaserver::model
