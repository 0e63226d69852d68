// Launches the norms of the heads of queries and keys.
#pragma once

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/attention/norm_heads_kernel.h"
#include "kernels/cuda/runtime/launch.h"

namespace fmaserver::kernels::cuda {

/// Of all rows of qkv [n, QkvColumns()], in place, when the layer has such norms.
inline absl::Status LaunchNormHeads(Stream& stream, const DeviceAttention& attention,
                                    const Matrix& qkv) {
  if (attention.query_norm == nullptr) return absl::OkStatus();
  const AttentionSpec& spec = attention.spec;
  NormHeadsKernel kernel;
  kernel.x = qkv.data;
  kernel.query_weight = attention.query_norm;
  kernel.key_weight = attention.key_norm;
  kernel.rows = qkv.rows;
  kernel.cols = qkv.cols;
  kernel.query_heads = spec.num_heads;
  kernel.heads = spec.num_heads + spec.num_kv_heads;
  kernel.dim = spec.head_dim;
  kernel.eps = attention.norm_eps;
  return Launch(stream, {.blocks_x = kernel.Blocks()}, kernel);
}

}  // namespace fmaserver::kernels::cuda
