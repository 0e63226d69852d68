#include "bench/weights_in_blocks.h"

#include <cstring>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "kernels/host/rounding.h"
#include "model_loader/checkpoint.h"
#include "model_loader/expected_tensors.h"
#include "model_loader/tensor_names.h"
#include "tests/support/safetensors_writer.h"

namespace fmaserver::bench {
namespace {

using kernels::WeightFormat;
using testing::StoredTensor;

std::string BytesOf(const model::TensorView& view) {
  return {reinterpret_cast<const char*>(view.data),
          static_cast<size_t>(view.NumElements() * kernels::SizeOf(view.dtype))};
}

/// Codes, scales and perhaps minima of a weight, as docs/model.md lays them out.
absl::Status AddInBlocks(const std::string& name, const model::TensorView& view,
                         WeightFormat format, std::vector<StoredTensor>& tensors) {
  const kernels::HostMatrix weight{view.data, view.dtype, view.shape[0], view.shape[1]};
  const kernels::BlockKind kind = kernels::KindFor(weight, format);
  const int64_t row_bytes = kernels::RowBytes(format, weight.cols);
  const int64_t row_blocks = kernels::BlocksOfRow(weight.cols);
  StoredTensor codes{name, format, {weight.rows, row_bytes}, {}};
  StoredTensor scales{model::ScalesOf(name), WeightFormat::kF16, {weight.rows, row_blocks}, {}};
  StoredTensor minima{model::MinimaOf(name), WeightFormat::kF16, {weight.rows, row_blocks}, {}};
  const auto add = [](const auto& number, std::string& bytes) {
    bytes.append(reinterpret_cast<const char*>(&number), sizeof(number));
  };
  std::vector<kernels::WeightBlock> blocks(row_blocks);
  for (int64_t row = 0; row < weight.rows; ++row) {
    absl::Status status = kernels::BlocksOf(weight, row, kind, blocks);
    if (!status.ok()) return status;
    for (const kernels::WeightBlock& block : blocks) {
      add(block.scale, scales.bytes);
      if (kind.has_minima) add(block.minimum, minima.bytes);
      constexpr size_t kHalf = kernels::kWeightBlock / 2;
      const bool is_int8 = format == WeightFormat::kInt8;
      for (size_t i = 0; i < (is_int8 ? 2 * kHalf : kHalf); ++i) {
        const int upper = is_int8 ? 0 : block.codes[kHalf + i] << 4;
        codes.bytes.push_back(static_cast<char>(block.codes[i] | upper));
      }
    }
  }
  tensors.push_back(std::move(codes));
  tensors.push_back(std::move(scales));
  if (kind.has_minima) tensors.push_back(std::move(minima));
  return absl::OkStatus();
}

}  // namespace

absl::Status RoundToInt4(const std::filesystem::path& folder) {
  const auto checkpoint = model::Checkpoint::Open(folder);
  if (!checkpoint.ok()) return checkpoint.status();
  std::vector<StoredTensor> tensors;
  for (const model::ExpectedTensor& expected : model::ExpectedTensors(checkpoint->config())) {
    const model::TensorView* view = checkpoint->TensorIfPresent(expected.name);
    if (view == nullptr) continue;
    if (!expected.may_be_in_blocks) {
      tensors.push_back({expected.name, view->dtype, view->shape, BytesOf(*view)});
      continue;
    }
    const bool has_8 = expected.name == model::WeightOf(model::kEmbedTokens) ||
                       expected.name == model::WeightOf(model::kLmHead);
    absl::Status status = AddInBlocks(expected.name, *view,
                                      has_8 ? WeightFormat::kInt8 : WeightFormat::kInt4, tensors);
    if (!status.ok()) return status;
  }
  const std::filesystem::path rounded = folder / "model.safetensors.new";
  std::ofstream(rounded, std::ios::binary) << testing::SafetensorsImage(tensors);
  std::error_code error;
  std::filesystem::rename(rounded, folder / "model.safetensors", error);
  return error ? absl::UnavailableError(error.message()) : absl::OkStatus();
}

}  // namespace fmaserver::bench
