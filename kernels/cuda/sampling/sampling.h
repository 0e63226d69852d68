// Sampling as the backend runs it: rows of kernels/sampling.h in, one launch, tokens out.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cuda/runtime/runtime.h"
#include "kernels/sampling.h"

namespace fmaserver::kernels::cuda {

/// RowSampling in device memory. Its tokens are in one list for all rows: from `first` on,
/// `allowed` of them are allowed tokens, then come `banned`, `bias` and `counts` of the other
/// kinds.
struct DeviceRowSampling {
  double uniform = 0;
  float temperature = 0;
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;
  float frequency_penalty = 0;
  float presence_penalty = 0;
  int32_t top_k = 0;
  int32_t logprob = 0;  ///< 1: report it
  int32_t top_logprobs = 0;
  int32_t first = 0;
  int32_t allowed = 0;
  int32_t banned = 0;
  int32_t bias = 0;
  int32_t counts = 0;
};

struct SampleOperation {
  Matrix logits;
  const DeviceRowSampling* rows = nullptr;  // [logits.rows]
  const TokenValue* edits = nullptr;
  float* filtered = nullptr;     // [logits.rows, V]; null: no row changes logits
  TokenValue* chosen = nullptr;  // [logits.rows], then `top` [logits.rows, top_stride]
  int32_t top_stride = 0;
  bool operator==(const SampleOperation&) const = default;
};

absl::Status LaunchSample(Stream& stream, const SampleOperation& operation);

/// What the rows of one step need in device memory.
struct SamplingLists {
  explicit SamplingLists(std::span<const RowSampling> rows);

  std::vector<DeviceRowSampling> rows;
  std::vector<TokenValue> edits;
  int32_t top_stride = 0;  ///< the most alternatives that a row asks for
};

/// Where results and filtered logits go; it grows as needed.
class SamplingMemory {
 public:
  /// Fills in the addresses of `operation`. Returns whether addresses changed; nothing that uses
  /// the old ones may still be running.
  absl::StatusOr<bool> Reserve(SampleOperation& operation, bool filters);

  /// Enqueues the copy of the results of `operation` to the host.
  absl::Status Fetch(Stream& stream, const SampleOperation& operation);
  /// Reads the results, once the stream has been waited for.
  void Read(const SampleOperation& operation, std::span<const RowSampling> rows,
            std::span<SampledRow> out) const;

 private:
  Memory results_;
  Memory results_on_host_;  // pinned
  Memory filtered_;
};

}  // namespace fmaserver::kernels::cuda
