// The attention of encoders on the CPU: whole sequences, whose queries see both sides.
//
//   1. The summaries of every level are made, level by level, then put in their places: rotated by
//      the centres of their shares. Rows' keys are rotated by their positions.
//   2. With down-sampled queries: from the top level down, every share of a group's queries meets
//      the level's summaries, and hands what it found down to the two shares within it.
//   3. Blocks of the tokens of a fine group meet one list of keys: their near field, and all levels
//      or, with down-sampled queries, what their share found.
//
// What a list gave is kept as two numbers a query: its mass, the logarithm of the sum of
// exponentials of its scores, and the mean of its values by them. It is then like one key with that
// score and value.
//
// Each of these is a phase or a few (kernels/host/encoder_phases.h), so that the work can be done
// in pieces. Every sum has an order that depends on the sequence alone, so neither pieces nor
// threads nor other sequences change a bit.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.h"
#include "kernels/cpu/attention_weights.h"
#include "kernels/cpu/encoder_layout.h"
#include "kernels/cpu/thread_pool.h"

namespace fmaserver::kernels::cpu {

/// A layer's attention over whole sequences.
struct EncoderWork {
  const PackedAttention& weights;
  const EncoderPlan& plan;
  const EncoderLayout& layout;
  float* memory = nullptr;  ///< as `layout` says
  Matrix qkv;
  Matrix out;

  const AttentionSpec& spec() const { return weights.spec; }

  /// Vector `column` of d channels of a token: of queries, then keys, then values.
  float* Vector(int64_t row, int64_t column) const {
    return qkv.Row(row) + column * weights.spec.head_dim;
  }
  int64_t KeyColumn(int64_t kv_head) const { return weights.spec.num_heads + kv_head; }
  int64_t ValueColumn(int64_t kv_head) const {
    return KeyColumn(kv_head) + weights.spec.num_kv_heads;
  }

  float* Rotation(int64_t position) const {
    return memory + layout.rotations + position * weights.spec.head_dim;
  }
  float* KeySummary(int64_t kv_head, int64_t place) const {
    return memory + layout.keys + (kv_head * plan.places() + place) * layout.dim;
  }
  float* ValueSummary(int64_t kv_head, int64_t place) const {
    return memory + layout.values + (kv_head * plan.places() + place) * layout.dim;
  }
  /// Of a share's query; once its list was met, the mean of the values.
  float* QuerySummary(int64_t head, int64_t place) const {
    return memory + layout.queries + (head * plan.places() + place) * layout.dim;
  }
  float& Mass(int64_t head, int64_t place) const {
    return memory[layout.masses + head * plan.places() + place];
  }
  EncoderScratch Scratch(int worker) const {
    return {layout, memory + layout.scratch + worker * layout.scratch_floats};
  }
};

/// What a piece of the work came to.
struct EncoderPiece {
  int64_t rows = 0;    ///< see Backend::AttendBothWays
  int64_t scores = 0;  ///< against summaries
};

/// See Backend::AttendBothWays; the workspace has EncoderLayout::floats numbers for the threads of
/// the pool.
EncoderPiece AttendBothWays(ThreadPool& pool, const PackedAttention& weights, int64_t rows,
                            BothWays& work);

}  // namespace fmaserver::kernels::cpu
