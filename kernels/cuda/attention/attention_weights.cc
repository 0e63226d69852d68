#include "kernels/cuda/attention/attention_weights.h"

#include <algorithm>
#include <cstring>
#include <numbers>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/cuda/attention/open_scratch.h"
#include "kernels/cuda/attention/selection_scratch.h"
#include "kernels/host/attention.h"
#include "kernels/host/host_element.h"

namespace fmaserver::kernels::cuda {
namespace {

/// Device memory with `values`; no memory when there are no values.
template <typename T>
absl::StatusOr<Memory> Upload(std::span<const T> values, Stream& stream) {
  if (values.empty()) return Memory();
  const auto bytes = static_cast<int64_t>(values.size_bytes());
  auto device = Memory::Allocate(Memory::Kind::kDevice, bytes);
  if (!device.ok()) return device.status();
  absl::Status status = stream.CopyToDevice(device->data(), values.data(), bytes);
  status.Update(stream.Synchronize());
  if (!status.ok()) return status;
  return device;
}

absl::StatusOr<Memory> UploadNorm(const HostNorm& norm, Stream& stream) {
  std::vector<float> weight;
  for (int64_t i = 0; i < norm.weight.cols; ++i) weight.push_back(ElementAsFloat(norm.weight, i));
  return Upload(std::span<const float>(weight), stream);
}

/// INVALID_ARGUMENT for lists of keys that the kernels have no room for.
absl::Status CheckEntries(const AttentionSpec& spec) {
  if (!spec.Selects()) return absl::OkStatus();
  const int64_t entries = MaxEntries(SlotLayout(spec, 1, CacheType::kF32));
  if (entries <= kMaxSelectedEntries) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "\"fma.downsampling\" is \"select\" and a query sees 2 * group_size + 2 * num_levels * rank "
      "+ sink_tokens = ",
      entries, " keys; allowed: up to ", kMaxSelectedEntries,
      " on a CUDA device; the cpu device computes it"));
}

/// INVALID_ARGUMENT for units that the kernels have no room for.
absl::Status CheckUnits(const AttentionSpec& spec) {
  if (spec.open_units > kMaxOpenUnits) {
    return absl::InvalidArgumentError(absl::StrCat("\"fma.open_units\" is ", spec.open_units,
                                                   "; allowed: up to ", kMaxOpenUnits,
                                                   " on a CUDA device; the cpu device opens more"));
  }
  if (!spec.Opens() || OpenSharedBytes(spec) <= kMaxOpenSharedBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "\"fma.open_size\" is ", spec.open_size, ", with ", spec.QueriesPerKvHead(),
      " query heads of ", spec.head_dim, " channels for a KV head; a block of threads needs ",
      OpenSharedBytes(spec), " bytes for that; allowed: up to ", kMaxOpenSharedBytes,
      " on a CUDA device; the cpu device opens larger units"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<PackedAttention>> PackedAttention::Pack(const AttentionSpec& spec,
                                                                       const HostAttention& weights,
                                                                       Stream& stream) {
  if (absl::Status fits = CheckEntries(spec); !fits.ok()) return fits;
  if (absl::Status fits = CheckUnits(spec); !fits.ok()) return fits;
  const DownsamplingLayout at(spec);
  const int64_t packed_floats = (spec.query_downsampling ? 3 : 2) * at.floats;
  auto staging = Memory::Allocate(Memory::Kind::kPinned,
                                  std::max<int64_t>(1, packed_floats) * int64_t{sizeof(float)});
  if (!staging.ok()) return staging.status();
  std::memset(staging->data(), 0, static_cast<size_t>(staging->bytes()));
  auto* floats = staging->As<float>();
  PackDownsampling(spec, weights, at, floats);
  std::vector<double> frequencies = RotaryFrequencies(spec, weights.rope_factors);
  for (double& frequency : frequencies) frequency /= 2 * std::numbers::pi;
  const std::vector<float> biases = FarBiases(spec, weights.level_bias);

  auto packed = std::make_unique<PackedAttention>();
  auto downsampling =
      Upload(std::span<const float>(floats, static_cast<size_t>(packed_floats)), stream);
  auto far_bias = Upload(std::span<const float>(biases), stream);
  auto turns = Upload(std::span<const double>(frequencies), stream);
  auto query_norm = UploadNorm(weights.query_norm, stream);
  auto key_norm = UploadNorm(weights.key_norm, stream);
  for (const absl::Status& status : {downsampling.status(), far_bias.status(), turns.status(),
                                     query_norm.status(), key_norm.status()}) {
    if (!status.ok()) return status;
  }
  packed->downsampling_ = *std::move(downsampling);
  packed->far_bias_ = *std::move(far_bias);
  packed->frequencies_ = *std::move(turns);
  packed->query_norm_ = *std::move(query_norm);
  packed->key_norm_ = *std::move(key_norm);
  packed->view = {.spec = spec,
                  .downsampling_layout = at,
                  .downsampling = packed->downsampling_.As<float>(),
                  .far_bias = packed->far_bias_.As<float>(),
                  .frequencies = packed->frequencies_.As<double>(),
                  .query_norm = packed->query_norm_.As<float>(),
                  .key_norm = packed->key_norm_.As<float>(),
                  .norm_eps = weights.query_norm.eps,
                  .query_scale = QueryScale(spec)};
  return packed;
}

}  // namespace fmaserver::kernels::cuda
