#include "server/service/limits.h"

#include <iterator>

#include "absl/strings/str_cat.h"

namespace fmaserver::service {
namespace {

absl::Status CheckAtMost(const char* what, int64_t found, int64_t limit) {
  if (found <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(what, ": found ", found, "; allowed: at most ",
                                                 limit, ", which this server is set to"));
}

}  // namespace

absl::Status CheckText(size_t bytes, const RequestLimits& limits) {
  if (limits.text_bytes == 0) return absl::OkStatus();
  return CheckAtMost("bytes of the text", static_cast<int64_t>(bytes), limits.text_bytes);
}

absl::Status CheckPrompt(int64_t tokens, const RequestLimits& limits) {
  if (limits.prompt_tokens == 0) return absl::OkStatus();
  return CheckAtMost("tokens of the prompt", tokens, limits.prompt_tokens);
}

absl::Status CheckOptions(const engine::GenerateRequest& request, const RequestLimits& limits) {
  absl::Status status = CheckAtMost("n", request.n, limits.samples);
  status.Update(CheckAtMost("stop strings", std::ssize(request.stop), limits.stop_strings));
  return status;
}

}  // namespace fmaserver::service
