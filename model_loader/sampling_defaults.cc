#include "model_loader/sampling_defaults.h"

#include <limits>

#include "base/json.h"
#include "model_loader/config_reader.h"

namespace fmaserver::model {
namespace {

constexpr NumberRange kTemperature = {0, std::numeric_limits<float>::max()};
constexpr NumberRange kTopP = {std::numeric_limits<float>::min(), 1};
constexpr NumberRange kMinP = {0, 1};
constexpr NumberRange kRepetitionPenalty = {0.01, 100};
constexpr IntegerRange kTopK = {0, std::numeric_limits<int32_t>::max()};

}  // namespace

absl::StatusOr<SamplingDefaults> ParseSamplingDefaults(std::string_view json,
                                                       std::string_view origin) {
  const absl::StatusOr<nlohmann::json> file = ParseJsonObject(json, origin);
  if (!file.ok()) return file.status();
  ConfigReader reader(*file, origin, "");
  SamplingDefaults defaults;
  if (reader.Boolean("do_sample", false)) {
    defaults.temperature = reader.Float("temperature", kTemperature, defaults.temperature);
    defaults.top_k = reader.Integer32("top_k", kTopK, defaults.top_k);
    defaults.top_p = reader.Float("top_p", kTopP, defaults.top_p);
    defaults.min_p = reader.Float("min_p", kMinP, defaults.min_p);
    defaults.repetition_penalty =
        reader.Float("repetition_penalty", kRepetitionPenalty, defaults.repetition_penalty);
  }
  if (!reader.status().ok()) return reader.status();
  return defaults;
}

}  // namespace fmaserver::model
