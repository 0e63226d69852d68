#include "server/service/limits.h"

#include <iterator>
#include <string_view>

#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::service {
namespace {

absl::Status CheckAtMost(std::string_view what, int64_t found, int64_t limit) {
  if (found <= limit) return absl::OkStatus();
  return Refusal(what, found, Concat("up to ", limit, ", the limit of this server"));
}

}  // namespace

absl::Status CheckText(size_t bytes, const RequestLimits& limits) {
  if (limits.text_bytes == 0) return absl::OkStatus();
  return CheckAtMost("number of bytes in text", static_cast<int64_t>(bytes), limits.text_bytes);
}

absl::Status CheckPrompt(int64_t tokens, const RequestLimits& limits) {
  if (limits.prompt_tokens == 0) return absl::OkStatus();
  return CheckAtMost("number of prompt tokens", tokens, limits.prompt_tokens);
}

absl::Status CheckOptions(const engine::GenerateRequest& request, const RequestLimits& limits) {
  absl::Status status = CheckAtMost("n", request.n, limits.samples);
  status.Update(
      CheckAtMost("number of stop strings", std::ssize(request.stop), limits.stop_strings));
  return status;
}

absl::Status CheckShare(const engine::GenerateRequest& request, const RequestLimits& limits) {
  return CheckShare(limits.share, {.read = std::ssize(request.prompt),
                                   .generate = int64_t{request.n} * request.max_tokens});
}

}  // namespace fmaserver::service
