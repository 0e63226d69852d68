#include "kernels/cuda/dense/weights.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/status/status.h"
#include "kernels/cuda/dense/integer_weights.h"
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

}  // namespace

absl::Status Uploader::Rows(const HostMatrix& from, WeightFormat format, int64_t pitch,
                            std::byte* to) {
  return Pieces(from.rows, pitch * SizeOf(format), to,
                [&](int64_t first, int64_t rows, std::byte* block) {
                  const int64_t row_bytes = pitch * SizeOf(format);
                  for (int64_t r = 0; r < rows; ++r) {
                    ConvertRow(from, first + r, format, block + r * row_bytes);
                  }
                  return absl::OkStatus();
                });
}

absl::Status Uploader::Pieces(int64_t count, int64_t piece_bytes, std::byte* to, Fill fill) {
  if (block_.bytes() < std::max(kBlockBytes, piece_bytes)) {
    auto block = Memory::Allocate(Memory::Kind::kPinned, std::max(kBlockBytes, piece_bytes));
    if (!block.ok()) return block.status();
    block_ = *std::move(block);
  }
  const int64_t at_once = block_.bytes() / piece_bytes;
  for (int64_t first = 0; first < count; first += at_once) {
    const int64_t pieces = std::min(at_once, count - first);
    std::memset(block_.data(), 0, static_cast<size_t>(pieces * piece_bytes));
    absl::Status status = fill(first, pieces, block_.data());
    if (status.ok()) {
      status = stream_.CopyToDevice(to + first * piece_bytes, block_.data(), pieces * piece_bytes);
    }
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
    std::span<const HostLinear> stacked, std::optional<WeightFormat> integers, Uploader& uploader) {
  const absl::StatusOr<StackedShape> shape = ShapeOf(stacked);
  if (!shape.ok()) return shape.status();
  const auto in_blocks = [](const HostLinear& part) { return InBlocks(part.weight.format); };
  auto packed = std::make_unique<PackedLinear>();
  packed->out = packed->view.out = shape->out;
  packed->in = packed->view.in = shape->in;
  absl::Status status = integers.has_value() || std::ranges::all_of(stacked, in_blocks)
                            ? packed->PackIntegers(stacked, integers, uploader)
                            : packed->PackPlain(stacked, shape->format, uploader);
  if (status.ok()) status = packed->PackBias(stacked, uploader);
  if (!status.ok()) return status;
  return packed;
}

absl::Status PackedLinear::Allocate(int64_t bytes) {
  auto data = Memory::Allocate(Memory::Kind::kDevice, bytes);
  if (!data.ok()) return data.status();
  data_ = *std::move(data);
  view.data = data_.data();
  return absl::OkStatus();
}

absl::Status PackedLinear::PackPlain(std::span<const HostLinear> stacked, WeightFormat format,
                                     Uploader& uploader) {
  view.format = format;
  view.pitch = SlotLayout::RoundUp(view.in, kRowAlignment / SizeOf(format));
  const int64_t row_bytes = view.pitch * SizeOf(format);
  absl::Status status = Allocate(view.out * row_bytes);
  std::byte* to = data_.data();
  for (const HostLinear& part : stacked) {
    if (!status.ok()) return status;
    status = uploader.Rows(part.weight, format, view.pitch, to);
    to += part.weight.rows * row_bytes;
  }
  return status;
}

absl::Status PackedLinear::PackIntegers(std::span<const HostLinear> stacked,
                                        std::optional<WeightFormat> format, Uploader& uploader) {
  const IntegerStrips strips(stacked, format);
  view.format = strips.unit().format;
  view.has_minima = strips.unit().has_minima;
  absl::Status status = Allocate(strips.count() * strips.bytes());
  if (!status.ok()) return status;
  return uploader.Pieces(
      strips.count(), strips.bytes(), data_.data(),
      [&](int64_t first, int64_t count, std::byte* to) { return strips.Fill(first, count, to); });
}

absl::Status PackedLinear::PackBias(std::span<const HostLinear> stacked, Uploader& uploader) {
  const std::vector<float> bias = StackedBias(stacked);
  if (bias.empty()) return absl::OkStatus();
  auto on_device = uploader.Floats(AsRow(bias));
  if (!on_device.ok()) return on_device.status();
  bias_ = *std::move(on_device);
  view.bias = bias_.As<float>();
  return absl::OkStatus();
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
