#include "kernels/cuda/dense/weights.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/host/host_element.h"
#include "kernels/host/linear.h"

namespace fmaserver::kernels::cuda {
namespace {

constexpr int64_t kBlockBytes = int64_t{8} << 20;
constexpr int64_t kRowAlignment = 16;  // bytes, for loads of that size

/// Writes row `row` of `from`, converted to `format`, to `to`.
void ConvertRow(const HostMatrix& from, int64_t row, WeightFormat format, std::byte* to) {
  if (format == from.format) {
    const int64_t bytes = from.cols * SizeOf(format);
    std::memcpy(to, from.data + row * bytes, static_cast<size_t>(bytes));
    return;
  }
  auto* values = reinterpret_cast<float*>(to);
  for (int64_t i = 0; i < from.cols; ++i) values[i] = ElementAsFloat(from, row * from.cols + i);
}

HostMatrix AsRow(const std::vector<float>& values) {
  return {reinterpret_cast<const std::byte*>(values.data()), WeightFormat::kF32, 1,
          static_cast<int64_t>(values.size())};
}

absl::Status RefuseBlocks(WeightFormat format) {
  return absl::UnimplementedError(
      absl::StrCat("a weight is in ", std::string(NameOf(format)),
                   ", integers in blocks; allowed on a GPU: F32, F16, BF16"));
}

}  // namespace

absl::Status Uploader::Rows(const HostMatrix& from, WeightFormat format, int64_t pitch,
                            std::byte* to) {
  const int64_t row_bytes = pitch * SizeOf(format);
  if (block_.bytes() < std::max(kBlockBytes, row_bytes)) {
    auto block = Memory::Allocate(Memory::Kind::kPinned, std::max(kBlockBytes, row_bytes));
    if (!block.ok()) return block.status();
    block_ = *std::move(block);
  }
  const int64_t rows_at_once = block_.bytes() / row_bytes;
  for (int64_t first = 0; first < from.rows; first += rows_at_once) {
    const int64_t rows = std::min(rows_at_once, from.rows - first);
    std::memset(block_.data(), 0, static_cast<size_t>(rows * row_bytes));
    for (int64_t r = 0; r < rows; ++r) {
      ConvertRow(from, first + r, format, block_.data() + r * row_bytes);
    }
    absl::Status status =
        stream_.CopyToDevice(to + first * row_bytes, block_.data(), rows * row_bytes);
    if (status.ok()) status = stream_.Synchronize();
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<Memory> Uploader::Floats(const HostMatrix& from) {
  auto memory = Memory::Allocate(Memory::Kind::kDevice,
                                 from.rows * from.cols * static_cast<int64_t>(sizeof(float)));
  if (!memory.ok()) return memory;
  absl::Status status = Rows(from, WeightFormat::kF32, from.cols, memory->data());
  if (!status.ok()) return status;
  return memory;
}

absl::StatusOr<std::unique_ptr<PackedLinear>> PackedLinear::Pack(
    std::span<const HostLinear> stacked, Uploader& uploader) {
  const absl::StatusOr<StackedShape> shape = ShapeOf(stacked);
  if (!shape.ok()) return shape.status();
  for (const HostLinear& part : stacked) {
    if (InBlocks(part.weight.format)) return RefuseBlocks(part.weight.format);
  }
  auto packed = std::make_unique<PackedLinear>();
  DeviceWeight& view = packed->view;
  packed->out = view.out = shape->out;
  packed->in = view.in = shape->in;
  view.format = shape->format;
  view.pitch = SlotLayout::RoundUp(view.in, kRowAlignment / SizeOf(view.format));
  const int64_t row_bytes = view.pitch * SizeOf(view.format);
  auto data = Memory::Allocate(Memory::Kind::kDevice, view.out * row_bytes);
  if (!data.ok()) return data.status();
  packed->data_ = *std::move(data);
  std::byte* to = packed->data_.data();
  view.data = to;
  for (const HostLinear& part : stacked) {
    absl::Status status = uploader.Rows(part.weight, view.format, view.pitch, to);
    if (!status.ok()) return status;
    to += part.weight.rows * row_bytes;
  }
  const std::vector<float> bias = StackedBias(stacked);
  if (bias.empty()) return packed;
  auto on_device = uploader.Floats(AsRow(bias));
  if (!on_device.ok()) return on_device.status();
  packed->bias_ = *std::move(on_device);
  view.bias = packed->bias_.As<float>();
  return packed;
}

absl::StatusOr<std::unique_ptr<PackedNorm>> PackedNorm::Pack(const HostNorm& norm,
                                                             Uploader& uploader) {
  auto packed = std::make_unique<PackedNorm>();
  auto weight = uploader.Floats(norm.weight);
  if (!weight.ok()) return weight.status();
  packed->weight_ = *std::move(weight);
  packed->view = {packed->weight_.As<float>(), nullptr, norm.eps, norm.kind};
  if (norm.bias.data == nullptr) return packed;
  auto bias = uploader.Floats(norm.bias);
  if (!bias.ok()) return bias.status();
  packed->bias_ = *std::move(bias);
  packed->view.bias = packed->bias_.As<float>();
  return packed;
}

}  // namespace fmaserver::kernels::cuda
