// The parts of tokenizer.json that are one step or a sequence of steps.
#pragma once

#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model_loader/config_reader.h"
#include "model_loader/tokenizer_json/pattern.h"
#include "nlohmann/json.hpp"

namespace fmaserver::model {

/// Where the steps are: the key of tokenizer.json, the key that lists the members of a Sequence,
/// and the file's name for messages.
struct StepsPlace {
  std::string_view key;
  std::string_view list_key;
  std::string_view origin;
};

/// Calls visit(type, reader) for each step of `file`[place.key]: for itself, or for the members of
/// a Sequence, which may hold Sequences. The reader is asked for the step's other keys; what it
/// then has to complain about, keys besides those asked for too, is returned. No step is there when
/// the key is missing or null.
absl::Status ForEachStep(
    const nlohmann::json& file, const StepsPlace& place,
    absl::FunctionRef<absl::Status(std::string_view type, ConfigReader& reader)> visit);

/// The refusal of a step's type.
absl::Status UnknownStep(ConfigReader& reader, std::string_view type, std::string_view allowed);

/// The key "pattern" of a step: {"String": ...} or {"Regex": ...}.
absl::StatusOr<Pattern> ReadPattern(ConfigReader& reader);

}  // namespace fmaserver::model
