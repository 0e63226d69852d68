// How the kernels of encoders find sequences, groups, and what is made of them.
#pragma once

#include <cstdint>

#include "kernels/cuda/encoder/encoder_data.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// A group of a sequence, with what kernels need to know of the sequence.
struct EncoderGroup {
  int64_t sequence;
  int64_t index;
  int64_t first_row;  ///< of the sequence
  int64_t length;     ///< of the sequence
};

/// What every kernel of encoders is.
struct EncoderKernel : EncoderParameters {
  FMA_DEVICE int64_t Number(int64_t index) const { return LoadConstant(numbers + index); }

  /// The sequence in whose part of a list of numbers of all sequences, which begins at `list`,
  /// `number` is.
  FMA_DEVICE int64_t SequenceOf(int64_t list, int64_t number) const {
    int64_t first_one = 0;
    int64_t end = at.sequences;
    while (end - first_one > 1) {
      const int64_t middle = (first_one + end) / 2;
      (Number(list + middle) <= number ? first_one : end) = middle;
    }
    // Sequences that have no part are before the one that has it.
    return first_one;
  }
  FMA_DEVICE EncoderGroup GroupAt(int of_level, int64_t number) const {
    const int64_t list = at.Count(of_level, 0);
    const int64_t sequence = SequenceOf(list, number);
    const int64_t row = Number(at.FirstRow(sequence));
    return {sequence, number - Number(list + sequence), row,
            Number(at.FirstRow(sequence + 1)) - row};
  }
  /// See EncoderPlan::Place.
  FMA_DEVICE int64_t Place(int of_level, int64_t sequence, int64_t group) const {
    return Number(at.FirstPlace(of_level)) +
           (Number(at.Count(of_level, sequence)) + group) * attention.spec.hierarchy.rank;
  }

  /// Vector `column` of d channels of a token: of queries, then keys, then values.
  FMA_DEVICE float* Token(int64_t row, int64_t column) const {
    return qkv + row * attention.spec.QkvColumns() + column * attention.spec.head_dim;
  }
  /// The summary of such a vector, which only queries that are down-sampled have.
  FMA_DEVICE float* Summary(int64_t column, int64_t place) const {
    const AttentionSpec& spec = attention.spec;
    const bool of_queries = column < spec.num_heads;
    const int64_t head = of_queries ? column : column - spec.num_heads;  // values follow keys
    return memory + (of_queries ? layout.queries : 0) +
           (head * layout.places + place) * spec.head_dim;
  }
  /// The logarithm of the sum of exponentials of the scores that a share's query met.
  FMA_DEVICE float* Mass(int64_t head, int64_t place) const {
    return memory + layout.masses + head * layout.places + place;
  }

  FMA_DEVICE int64_t FirstSummaryColumn() const {
    return attention.spec.query_downsampling ? 0 : attention.spec.num_heads;
  }
  FMA_DEVICE int64_t SummaryColumns() const {
    return attention.spec.num_heads + 2 * int64_t{attention.spec.num_kv_heads} -
           FirstSummaryColumn();
  }
};

}  // namespace fmaserver::kernels::cuda
