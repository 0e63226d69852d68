#include "server/engine/engine_options.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace fmaserver::engine {
namespace {

absl::Status AtLeast(absl::string_view name, int32_t value, int32_t least) {
  if (value >= least) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", value, "; allowed: ", least, " or more"));
}

}  // namespace

absl::Status Validate(const EngineOptions& options) {
  absl::Status status = AtLeast("num_slots", options.num_slots, 1);
  status.Update(AtLeast("max_queue", options.max_queue, 0));
  status.Update(AtLeast("step_tokens", options.step_tokens, 1));
  if (options.prefix_cache_bytes < 0 || !(options.max_stall_seconds > 0)) {
    status.Update(absl::InvalidArgumentError(absl::StrCat(
        "prefix_cache_bytes is ", options.prefix_cache_bytes, " and max_stall_seconds ",
        options.max_stall_seconds, "; allowed: 0 or more, and above 0")));
  }
  return status;
}

}  // namespace fmaserver::engine
