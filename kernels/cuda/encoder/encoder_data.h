// The input of the encoders' kernels: a layer's weights, the groups of whole sequences and where
// what is made of them lies, as plain data in device memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/host/encoder_plan.h"

namespace fmaserver::kernels::cuda {

/// Where everything lies in the memory that the attention works in, in float32 numbers.
struct EncoderMemoryLayout {
  int64_t places = 0;   ///< summaries of a head
  int64_t values = 0;   ///< [K, places, d]; keys [K, places, d] are before
  int64_t queries = 0;  ///< [H, places, d], with query_downsampling
  int64_t masses = 0;   ///< [H, places], likewise
  int64_t floats = 0;   ///< of all

  constexpr EncoderMemoryLayout() = default;
  constexpr EncoderMemoryLayout(const AttentionSpec& spec, int64_t all_places)
      : places(all_places),
        values(spec.num_kv_heads * places * spec.head_dim),
        queries(2 * values),
        masses(queries + (spec.query_downsampling ? spec.num_heads * places * spec.head_dim : 0)),
        floats(masses + (spec.query_downsampling ? spec.num_heads * places : 0)) {}

  constexpr bool operator==(const EncoderMemoryLayout&) const = default;
};

/// The parameters of every kernel of encoders; a launch does tasks of EncoderTasks.
struct EncoderParameters {
  DeviceAttention attention;
  EncoderNumbers at;
  const int64_t* numbers = nullptr;  ///< of EncoderPlan, in device memory
  EncoderMemoryLayout layout;
  float* memory = nullptr;
  int64_t rows = 0;      ///< of all sequences
  float* qkv = nullptr;  ///< [rows, QkvColumns()]
  float* out = nullptr;  ///< [rows, H*d]
  /// How many scores against summaries were computed is added here; null: nobody counts them.
  unsigned long long* far_scores = nullptr;
  int32_t level = 0;
  int64_t first = 0;
  int64_t count = 0;

  bool operator==(const EncoderParameters&) const = default;
};

}  // namespace fmaserver::kernels::cuda
