// From a checkpoint folder to a served model, with the options of the command line.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "server/flags.h"
#include "server/metrics/exposition.h"
#include "server/models/model_name.h"
#include "server/models/served_model.h"

namespace fmaserver {

/// Thread-safe.
class ModelLoader {
 public:
  /// `first` is the name of the first model of the command line. Both outlive this object.
  ModelLoader(const Flags& flags, std::string first, metrics::Exposition& exposition)
      : flags_(flags), first_(std::move(first)), exposition_(exposition), devices_(flags.threads) {}

  /// Errors of reading the checkpoint, of the device's memory and of the session directory.
  absl::StatusOr<std::unique_ptr<models::ServedModel>> Load(const models::ModelSource& source);

 private:
  absl::StatusOr<std::shared_ptr<kernels::Backend>> MakeBackend();
  std::filesystem::path SessionFolder(const std::string& name) const;

  const Flags& flags_;
  const std::string first_;
  metrics::Exposition& exposition_;
  kernels::Devices devices_;
};

}  // namespace fmaserver
