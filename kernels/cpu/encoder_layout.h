// Where the attention of encoders keeps what it makes, in one piece of memory.
#pragma once

#include <cstdint>

#include "kernels/fma/spec.h"
#include "kernels/host/encoder_plan.h"

namespace fmaserver::kernels::cpu {

/// Where everything lies in the memory that an encoder's attention works in. Numbers are float32;
/// D is the head dimension, rounded up to SlotLayout::kLane.
struct EncoderLayout {
  EncoderLayout(const AttentionSpec& spec, const EncoderPlan& plan, int threads);

  int64_t dim = 0;        ///< D
  int64_t rows = 0;       ///< queries of a block at the same time, at most
  int64_t columns = 0;    ///< of a list of keys, at most
  int64_t near = 0;       ///< of those that are tokens
  int64_t rotations = 0;  ///< [longest, d], with rotary positions
  int64_t keys = 0;       ///< [K, places, D]
  int64_t values = 0;     ///< [K, places, D]
  int64_t queries = 0;    ///< [H, places, D], with query_downsampling
  int64_t masses = 0;     ///< [H, places], likewise
  int64_t scratch = 0;    ///< [threads, scratch_floats]
  int64_t scratch_floats = 0;
  int64_t floats = 0;  ///< of all
};

/// Working memory of one thread, in the last part of it.
struct EncoderScratch {
  EncoderScratch(const EncoderLayout& layout, float* memory);
  static int64_t Floats(const EncoderLayout& layout);

  float* vector;        ///< [D]
  float* rotation;      ///< [D]
  float* keys;          ///< [D, columns]; transposed, so that the lanes of a score are columns
  float* values;        ///< [near, D], of tokens
  float* near_queries;  ///< [rows, d], scaled by QueryScale(), rotated
  float* far_queries;   ///< [rows, d], not rotated
  float* scores;        ///< [rows, columns]
  float* outputs;       ///< [kRowTile, D]
};

}  // namespace fmaserver::kernels::cpu
