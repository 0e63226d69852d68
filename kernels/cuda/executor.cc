#include "kernels/cuda/executor.h"

#include <algorithm>
#include <utility>

#include "kernels/cuda/attention/attention.h"
#include "kernels/cuda/dense/dense.h"
#include "kernels/cuda/dense/integer_layout.h"
#include "kernels/cuda/dense/integers.h"

namespace fmaserver::kernels::cuda {
namespace {

/// The bytes of the rounded inputs of `linear`; 0 when it needs none.
int64_t RoundedBytes(const LinearOperation& linear) {
  const DeviceWeight& weights = linear.weights;
  if (InBlocks(weights.format)) return TilesBytes(linear.x.rows, weights.in);
  if (linear.x.rows <= kFewRows || weights.format == WeightFormat::kF32) return 0;
  return linear.x.rows * weights.pitch * SizeOf(weights.format);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Executor>> Executor::Create(Stream& stream) {
  auto products = MakeProducts();
  if (!products.ok()) return products.status();
  auto overflow = Memory::Allocate(Memory::Kind::kDevice, sizeof(int32_t));
  if (!overflow.ok()) return overflow.status();
  absl::Status cleared = stream.Fill(overflow->data(), 0, sizeof(int32_t));
  if (!cleared.ok()) return cleared;
  auto on_host = Memory::Allocate(Memory::Kind::kPinned, sizeof(int32_t));
  if (!on_host.ok()) return on_host.status();
  return std::unique_ptr<Executor>(
      new Executor(*std::move(products), *std::move(overflow), *std::move(on_host)));
}

Executor::Executor(std::unique_ptr<Products> products, Memory overflow, Memory overflow_on_host)
    : products_(std::move(products)),
      overflow_(std::move(overflow)),
      overflow_on_host_(std::move(overflow_on_host)) {}

absl::StatusOr<bool> Executor::Prepare(std::span<const Operation> operations) {
  int64_t bytes = 0;
  for (const Operation& operation : operations) {
    const auto* linear = std::get_if<LinearOperation>(&operation);
    if (linear == nullptr) continue;
    const int64_t rounded = RoundedBytes(*linear);
    bytes = std::max(bytes, rounded);
    rounds_ = rounds_ || (rounded > 0 && !InBlocks(linear->weights.format));
  }
  return GrowMemory(rounded_, Memory::Kind::kDevice, bytes);
}

absl::Status Executor::Run(Stream& stream, std::span<const Operation> operations) {
  for (const Operation& operation : operations) {
    absl::Status status =
        std::visit([&](const auto& one) { return RunOne(stream, one); }, operation);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Executor::Finish(Stream& stream) {
  const bool look = std::exchange(rounds_, false);
  absl::Status status;
  if (look) {
    status = stream.CopyToHost(overflow_on_host_.data(), overflow_.data(), sizeof(int32_t));
    status.Update(stream.Fill(overflow_.data(), 0, sizeof(int32_t)));
  }
  status.Update(stream.Synchronize());
  if (!status.ok() || !look || *overflow_on_host_.As<int32_t>() == 0) return status;
  return absl::InternalError(
      "activations exceed the range of the weights' element type; use bfloat16 or float32 weights");
}

absl::Status Executor::RunOne(Stream& stream, const EmbedOperation& operation) {
  return LaunchEmbed(stream, operation.ids, operation.table, operation.accumulate, operation.x);
}

absl::Status Executor::RunOne(Stream& stream, const NormOperation& operation) {
  return LaunchNorm(stream, operation.x, operation.weights, operation.out);
}

absl::Status Executor::RunOne(Stream& stream, const AttendOperation& operation) {
  const Matrix& out = operation.out;
  if (operation.clears) {
    const int64_t bytes = out.rows * out.cols * static_cast<int64_t>(sizeof(float));
    if (absl::Status status = stream.Fill(out.data, 0, bytes); !status.ok()) return status;
  }
  return LaunchAttention(stream, operation.attention, operation.layout, operation.plan,
                         operation.layer, operation.qkv, out);
}

absl::Status Executor::RunOne(Stream& stream, const EncoderOperation& operation) {
  return LaunchEncoder(stream, operation);
}

absl::Status Executor::RunOne(Stream& stream, const CopyOperation& operation) {
  const Matrix& from = operation.from;
  return stream.CopyOnDevice(operation.to, from.data,
                             from.rows * from.cols * static_cast<int64_t>(sizeof(float)));
}

absl::Status Executor::RunOne(Stream& stream, const ActivateOperation& operation) {
  return LaunchActivate(stream, operation.kind, operation.in, operation.out);
}

absl::Status Executor::RunOne(Stream& stream, const GatherOperation& operation) {
  return LaunchGather(stream, operation.x, operation.rows, operation.out);
}

absl::Status Executor::RunOne(Stream& stream, const SampleOperation& operation) {
  return LaunchSample(stream, operation);
}

absl::Status Executor::RunOne(Stream& stream, const LinearOperation& operation) {
  if (InBlocks(operation.weights.format)) {
    return LaunchIntegerLinear(stream, operation, rounded_.data());
  }
  if (operation.x.rows > kFewRows) {
    absl::Status status = MultiplyManyRows(stream, operation);
    if (!absl::IsUnimplemented(status)) return status;
  }
  for (int64_t first = 0; first < operation.x.rows; first += kFewRows) {
    LinearOperation part = operation;
    part.x.data = operation.x.Row(first);
    part.y.data = operation.y.Row(first);
    part.x.rows = part.y.rows = std::min(kFewRows, operation.x.rows - first);
    if (absl::Status status = LaunchLinear(stream, part); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Executor::MultiplyManyRows(Stream& stream, const LinearOperation& operation) {
  const DeviceWeight& weights = operation.weights;
  Product product{.weight = weights.data,
                  .x = operation.x.data,
                  .bias = weights.bias,
                  .y = operation.y.data,
                  .format = weights.format,
                  .rows = operation.x.rows,
                  .in = weights.in,
                  .out = weights.out,
                  .pitch = weights.pitch,
                  .x_pitch = weights.in,
                  .accumulate = operation.accumulate};
  if (weights.format != WeightFormat::kF32) {
    absl::Status status = LaunchRound(stream, operation.x, weights.format, weights.pitch,
                                      rounded_.data(), overflow_.As<int32_t>());
    if (!status.ok()) return status;
    product.x = rounded_.data();
    product.x_pitch = weights.pitch;
  }
  return products_->Multiply(stream, product);
}

}  // namespace fmaserver::kernels::cuda
