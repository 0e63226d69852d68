// From a checkpoint folder to a served model, with the options of the command line.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/machine.h"
#include "kernels/device.h"
#include "model_loader/checkpoint.h"
#include "server/access/access.h"
#include "server/flags.h"
#include "server/load_progress.h"
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
              metrics::Exposition& exposition);

  /// Errors of reading the checkpoint, of the memory of the device and of this process
  /// (MemoryBudget), and of the session directory.
  absl::StatusOr<std::unique_ptr<models::ServedModel>> Load(const models::ModelSource& source);

  /// Of each Load() that runs on some thread.
  const LoadProgress& progress() const { return progress_; }

 private:
  /// What the doors hold of requests and answers, at most.
  static int64_t BufferBytes(const Flags& flags);
  /// What a model is made of.
  struct Parts {
    const models::ModelSource& source;
    const model::Checkpoint& checkpoint;
    std::shared_ptr<kernels::Backend> backend;
    std::shared_ptr<const void> room;  ///< in memory, as long as it is served
    LoadProgress::Model& progress;
  };
  absl::StatusOr<std::unique_ptr<models::ServedModel>> LoadNow(const models::ModelSource& source,
                                                               LoadProgress::Model& progress);
  absl::StatusOr<std::unique_ptr<models::ServedModel>> LoadDecoder(const Parts& parts);
  absl::StatusOr<std::unique_ptr<models::ServedModel>> LoadEncoder(const Parts& parts);
  absl::StatusOr<std::shared_ptr<kernels::Backend>> MakeBackend();
  ModelMemory MemoryOf(const model::Checkpoint& checkpoint, const kernels::Backend& backend) const;
  engine::EngineOptions OptionsForEngine() const;
  sessions::SessionModel SessionModelOf(const model::Checkpoint& checkpoint,
                                        const std::string& fingerprint,
                                        const engine::Engine& engine) const;
  std::filesystem::path SessionFolder(const std::string& name) const;

  const Flags& flags_;
  const engine::WeightType weights_ = *engine::WeightTypeNamed(flags_.weights);  // CLI11 checked it
  const std::string first_;
  const std::shared_ptr<const access::Access> tenants_;
  metrics::Exposition& exposition_;
  kernels::Devices devices_;
  MemoryBudget budget_;
  LoadProgress progress_;
};

}  // namespace fmaserver
