#include "server/engine/engine_options.h"

#include <string_view>

#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::engine {
namespace {

absl::Status AtLeast(std::string_view name, int64_t value, int64_t least) {
  if (value >= least) return absl::OkStatus();
  return Refusal(name, value, Concat(least, " or more"));
}

}  // namespace

absl::Status Validate(const EngineOptions& options) {
  absl::Status status = AtLeast("num_slots", options.num_slots, 1);
  status.Update(AtLeast("max_queue", options.max_queue, 0));
  status.Update(AtLeast("step_tokens", options.step_tokens, 1));
  status.Update(AtLeast("prefix_cache_bytes", options.prefix_cache_bytes, 0));
  status.Update(AtLeast("archive bytes", options.archive.bytes, 0));
  status.Update(AtLeast("unit cache bytes", options.archive.unit_cache_bytes, 0));
  status.Update(AtLeast("encoder_bytes", options.encoder_bytes, 0));
  if (!(options.max_stall_seconds > 0)) {
    status.Update(Refusal("max_stall_seconds", options.max_stall_seconds, "above 0"));
  }
  return status;
}

}  // namespace fmaserver::engine
