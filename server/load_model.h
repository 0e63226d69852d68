// From a checkpoint folder to a served model, with the options of the command line.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/machine.h"
#include "kernels/device.h"
#include "model_loader/checkpoint.h"
#include "server/access/access.h"
#include "server/flags.h"
#include "server/memory_budget.h"
#include "server/metrics/exposition.h"
#include "server/models/model_name.h"
#include "server/models/served_model.h"
#include "server/service/service.h"

namespace fmaserver {

/// Thread-safe.
class ModelLoader {
 public:
  /// `first` is the name of the first model of the command line, and `tenants` have limits. `flags`
  /// and `exposition` outlive this object.
  ModelLoader(const Flags& flags, std::string first, std::shared_ptr<const access::Access> tenants,
              metrics::Exposition& exposition)
      : flags_(flags),
        first_(std::move(first)),
        tenants_(std::move(tenants)),
        exposition_(exposition),
        devices_(flags.threads),
        budget_(ReadMachineShare().memory_bytes, BufferBytes(flags)) {}

  /// Errors of reading the checkpoint, of the memory of the device and of this process
  /// (MemoryBudget), and of the session directory.
  absl::StatusOr<std::unique_ptr<models::ServedModel>> Load(const models::ModelSource& source);

  /// Whether Load() runs on some thread.
  bool IsLoading() const { return loading_ > 0; }

 private:
  /// What the doors hold of requests and answers, at most.
  static int64_t BufferBytes(const Flags& flags);
  absl::StatusOr<std::unique_ptr<models::ServedModel>> LoadNow(const models::ModelSource& source);
  /// These two of an opened checkpoint, which has `room` in memory as long as it is served.
  absl::StatusOr<std::unique_ptr<models::ServedModel>> LoadDecoder(
      const models::ModelSource& source, const model::Checkpoint& checkpoint,
      const std::shared_ptr<kernels::Backend>& backend, std::shared_ptr<const void> room);
  absl::StatusOr<std::unique_ptr<models::ServedModel>> LoadEncoder(
      const models::ModelSource& source, const model::Checkpoint& checkpoint,
      const std::shared_ptr<kernels::Backend>& backend, std::shared_ptr<const void> room);
  absl::StatusOr<std::shared_ptr<kernels::Backend>> MakeBackend();
  ModelMemory MemoryOf(const model::Checkpoint& checkpoint, const kernels::Backend& backend) const;
  engine::EngineOptions OptionsForEngine() const;
  sessions::SessionModel SessionModelOf(const model::Checkpoint& checkpoint,
                                        const engine::Engine& engine) const;
  std::filesystem::path SessionFolder(const std::string& name) const;

  const Flags& flags_;
  const engine::WeightType weights_ = *engine::WeightTypeNamed(flags_.weights);  // CLI11 checked it
  const std::string first_;
  const std::shared_ptr<const access::Access> tenants_;
  metrics::Exposition& exposition_;
  kernels::Devices devices_;
  MemoryBudget budget_;
  std::atomic<int> loading_ = 0;
};

}  // namespace fmaserver
