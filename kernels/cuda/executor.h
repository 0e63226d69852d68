// Puts recorded operations into a stream.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/dense/products.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/runtime/runtime.h"

namespace fmaserver::kernels::cuda {

class Executor {
 public:
  static absl::StatusOr<std::unique_ptr<Executor>> Create(Stream& stream);

  /// Called before `operations` run, captured or not: allocates for their intermediates. Returns
  /// whether addresses changed, which makes graphs captured with the old addresses invalid. Nothing
  /// that uses the old addresses may still be running.
  absl::StatusOr<bool> Prepare(std::span<const Operation> operations);

  /// Enqueues; may be captured into a graph.
  absl::Status Run(Stream& stream, std::span<const Operation> operations);

  /// Waits. INTERNAL when, since the last call, inputs of a product did not fit into its weights'
  /// element type, so that results cannot be trusted.
  absl::Status Finish(Stream& stream);

 private:
  Executor(std::unique_ptr<Products> products, Memory overflow, Memory overflow_on_host);

  absl::Status RunOne(Stream& stream, const EmbedOperation& operation);
  absl::Status RunOne(Stream& stream, const NormOperation& operation);
  absl::Status RunOne(Stream& stream, const LinearOperation& operation);
  absl::Status RunOne(Stream& stream, const AttendOperation& operation);
  absl::Status RunOne(Stream& stream, const EncoderOperation& operation);
  absl::Status RunOne(Stream& stream, const CopyOperation& operation);
  absl::Status RunOne(Stream& stream, const ActivateOperation& operation);
  absl::Status RunOne(Stream& stream, const GatherOperation& operation);
  absl::Status RunOne(Stream& stream, const SampleOperation& operation);

  absl::Status MultiplyManyRows(Stream& stream, const LinearOperation& operation);

  std::unique_ptr<Products> products_;
  Memory rounded_;           // inputs of one product, as its weights need them
  Memory overflow_;          // int32: some input did not fit
  Memory overflow_on_host_;  // pinned
  bool rounds_ = false;      // whether operations since Finish() may raise overflow_
};

}  // namespace fmaserver::kernels::cuda
