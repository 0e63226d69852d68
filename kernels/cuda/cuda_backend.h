// The CUDA backend, over kernels/cuda/runtime/runtime.h: on a GPU in libfma_cuda.so, and in tests
// over the block emulator.
//
// Operations are recorded, and run when somebody waits: in EndStep() or a copy. A decode step
// repeats the operations of the step before, so it runs as one graph (graph_cache.h): the host
// sends one block of step data and one graph. Decode steps are padded to a few batch sizes, so that
// there are few graphs.
//
// Sums are float32. Float32 weights are multiplied by float32 inputs; 16-bit weights by float32
// inputs in steps of up to kFewRows rows, and by inputs rounded to the weights' type in larger
// ones. A row's result does not depend on its neighbours up to kFewRows rows; above, rounding may
// differ with the algorithm that the library chooses for a shape.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace fmaserver::kernels::cuda {

/// INVALID_ARGUMENT when there is no such device, FAILED_PRECONDITION when its architecture is
/// below 8.0, UNAVAILABLE when there is no driver.
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(int device);

}  // namespace fmaserver::kernels::cuda
