// Brings a decoded token's row of the QKV product into shared memory for the block that attends:
// key, value and queries, rotated by the position. All threads of a block call these functions; the
// caller needs a barrier before it reads the results.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/attention/head_cache.h"
#include "kernels/cuda/attention/query.h"
#include "kernels/cuda/attention/rotation.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// Places the key and value of `kv_head`, padded with zeros to D. `qkv` is the token's row.
FMA_DEVICE void PlaceToken(const DeviceAttention& attention, const SlotLayout& layout,
                           const float* qkv, int64_t position, int kv_head,
                           const TokenVectors& token) {
  const AttentionSpec& spec = attention.spec;
  const int dim = spec.head_dim;
  const float* key = qkv + int64_t{spec.num_heads + kv_head} * dim;
  const float* value = key + int64_t{spec.num_kv_heads} * dim;
  const int half = dim / 2;
  FMA_NO_UNROLL
  for (int c = ThreadIndex(); c < layout.padded_dim; c += ThreadCount()) {
    const float own = c < dim ? LoadConstant(key + c) : 0.0F;
    token.key.Set(c, own);
    token.value.Set(c, c < dim ? LoadConstant(value + c) : 0.0F);
    if (spec.positions != PositionEmbedding::kRope) {
      token.placed_key.Set(c, own);
    } else if (c < half) {
      const Rotation rotation =
          RotationAt(static_cast<double>(position), LoadConstant(attention.frequencies + c));
      const ChannelPair placed = Rotate(rotation, {own, LoadConstant(key + half + c)});
      token.placed_key.Set(c, placed.low);
      token.placed_key.Set(half + c, placed.high);
    } else if (c >= dim) {
      token.placed_key.Set(c, 0.0F);
    }
  }
}

/// Query heads [first, first + count).
struct QueryHeads {
  int first;
  int count;
};

/// Places the queries [kHeads, D], scaled, in the forms kPlaced and kFar. Queries past the last are
/// zeros: their scores are not used, but are computed.
template <int kHeads>
FMA_DEVICE void PlaceQueries(const DeviceAttention& attention, const SlotLayout& layout,
                             const float* qkv, int64_t position, const QueryHeads& heads,
                             const Shared<float>& placed_query, const Shared<float>& far_query) {
  const int dim = attention.spec.head_dim;
  const int stride = static_cast<int>(layout.padded_dim);
  const int pairs = (dim + 1) / 2;
  const int half = dim / 2;
  const float scale = attention.query_scale;
  const QueryTurn near = TurnOf(attention.spec, QueryForm::kPlaced, position);
  const QueryTurn far = TurnOf(attention.spec, QueryForm::kFar, position);
  FMA_NO_UNROLL
  for (int i = ThreadIndex(); i < kHeads * pairs; i += ThreadCount()) {
    const int head = i / pairs;
    const int low = i % pairs;
    const int high = low < half ? low + half : dim;  // an odd dimension's last has no partner
    const int at = head * stride;
    const bool real = head < heads.count;
    const float* query = qkv + int64_t{heads.first + head} * dim;
    const int own_channel = low < half ? low : dim - 1;
    const float own = real ? LoadConstant(query + own_channel) * scale : 0.0F;
    const float other = real && high < dim ? LoadConstant(query + high) * scale : 0.0F;
    const auto place = [&](const QueryTurn& turn, const Shared<float>& to) {
      ChannelPair pair = {own, other};
      if (turn.turns) {
        const double frequency = LoadConstant(attention.frequencies + low);
        pair = Rotate(RotationAt(static_cast<double>(turn.position), frequency), pair);
      }
      to.Set(at + own_channel, pair.low);
      if (high < dim) to.Set(at + high, pair.high);
    };
    place(near, placed_query);
    place(far, far_query);
  }
}

}  // namespace fmaserver::kernels::cuda
