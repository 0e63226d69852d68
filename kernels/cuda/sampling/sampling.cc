#include "kernels/cuda/sampling/sampling.h"

#include <algorithm>
#include <utility>

namespace fmaserver::kernels::cuda {
namespace {

int64_t ResultBytes(const SampleOperation& operation) {
  return operation.logits.rows * (1 + operation.top_stride) *
         static_cast<int64_t>(sizeof(TokenValue));
}

/// Appends each of `tokens` once, as no two threads may write one logit; returns how many.
int32_t AppendOnce(std::span<const int32_t> tokens, std::vector<TokenValue>& edits) {
  std::vector<int32_t> sorted(tokens.begin(), tokens.end());
  std::ranges::sort(sorted);
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  for (const int32_t token : sorted) edits.push_back({token, 0});
  return static_cast<int32_t>(sorted.size());
}

}  // namespace

SamplingLists::SamplingLists(std::span<const RowSampling> wanted) {
  for (const RowSampling& row : wanted) {
    DeviceRowSampling& on_device = rows.emplace_back();
    on_device.uniform = row.uniform;
    on_device.temperature = row.temperature;
    on_device.top_p = row.top_p;
    on_device.min_p = row.min_p;
    on_device.repetition_penalty = row.repetition_penalty;
    on_device.frequency_penalty = row.frequency_penalty;
    on_device.presence_penalty = row.presence_penalty;
    on_device.top_k = row.top_k;
    on_device.logprob = row.logprob ? 1 : 0;
    on_device.top_logprobs = row.top_logprobs;
    on_device.first = static_cast<int32_t>(edits.size());
    on_device.allowed = AppendOnce(row.allowed, edits);
    on_device.banned = AppendOnce(row.banned, edits);
    on_device.bias = static_cast<int32_t>(row.bias.size());
    on_device.counts = static_cast<int32_t>(row.counts.size());
    edits.insert(edits.end(), row.bias.begin(), row.bias.end());
    edits.insert(edits.end(), row.counts.begin(), row.counts.end());
    top_stride = std::max(top_stride, row.top_logprobs);
  }
}

absl::StatusOr<bool> SamplingMemory::Reserve(SampleOperation& operation, bool filters) {
  const int64_t bytes = ResultBytes(operation);
  absl::StatusOr<bool> moved = GrowMemory(results_, Memory::Kind::kDevice, bytes);
  if (!moved.ok()) return moved;
  if (auto host = GrowMemory(results_on_host_, Memory::Kind::kPinned, bytes); !host.ok())
    return host;
  operation.chosen = results_.As<TokenValue>();
  if (!filters) return moved;
  const int64_t logits = operation.logits.rows * operation.logits.cols;
  absl::StatusOr<bool> also =
      GrowMemory(filtered_, Memory::Kind::kDevice, logits * static_cast<int64_t>(sizeof(float)));
  if (!also.ok()) return also;
  operation.filtered = filtered_.As<float>();
  return *moved || *also;
}

absl::Status SamplingMemory::Fetch(Stream& stream, const SampleOperation& operation) {
  return stream.CopyToHost(results_on_host_.data(), results_.data(), ResultBytes(operation));
}

void SamplingMemory::Read(const SampleOperation& operation, std::span<const RowSampling> rows,
                          std::span<SampledRow> out) const {
  const auto* chosen = results_on_host_.As<TokenValue>();
  const TokenValue* top = chosen + operation.logits.rows;
  for (size_t i = 0; i < rows.size(); ++i, top += operation.top_stride) {
    out[i] = {};
    if (chosen[i].token == kNoToken) continue;
    const int64_t alternatives = std::min<int64_t>(rows[i].top_logprobs, operation.logits.cols);
    out[i] = {chosen[i].token, chosen[i].value, {top, top + alternatives}};
  }
}

}  // namespace fmaserver::kernels::cuda
