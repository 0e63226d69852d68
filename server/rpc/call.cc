#include "server/rpc/call.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace fmaserver {

Call::Call(const CallPolicy& policy, std::string method, CallMetadata metadata)
    : policy_(policy), start_(absl::Now()) {
  report_.method = std::move(method);
  report_.request_id = std::move(metadata.request_id);
  report_.traceparent = std::move(metadata.traceparent);
  report_.peer = std::move(metadata.peer);
  report_.status = absl::CancelledError("the client went away");
  const auto tenant = policy_.access->Resolve(metadata.authorization);
  admission_ = tenant.status();
  if (!tenant.ok()) return;
  report_.tenant = (*tenant)->name();
  auto lease = (*tenant)->Admit(start_);
  admission_ = lease.status();
  if (lease.ok()) lease_ = *std::move(lease);
}

Call::~Call() {
  report_.seconds = absl::ToDoubleSeconds(absl::Now() - start_);
  policy_.observer->OnCall(report_);
}

absl::Status Call::TakePrompt(int64_t tokens) {
  if (policy_.max_prompt_tokens > 0 && tokens > policy_.max_prompt_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("the prompt has ", tokens, " tokens; allowed: at most ",
                     policy_.max_prompt_tokens, ", which this server is set to"));
  }
  report_.usage.prompt_tokens = tokens;
  lease_->Charge(tokens);
  return absl::OkStatus();
}

void Call::KeepPrompt(const std::string& text) {
  if (policy_.keep_prompts) report_.prompt = text;
}

void Call::AddGenerated(int64_t tokens) {
  report_.usage.generated_tokens += tokens;
  lease_->Charge(tokens);
}

void Call::SetUsage(const Usage& usage) {
  report_.usage.cached_tokens = usage.cached_tokens;
  report_.usage.queue_seconds = usage.queue_seconds;
  report_.usage.prefill_seconds = usage.prefill_seconds;
  report_.usage.decode_seconds = usage.decode_seconds;
}

std::shared_ptr<Call> BeginCall(const CallPolicy& policy, const char* method,
                                grpc::CallbackServerContext& context) {
  CallMetadata metadata = MetadataOf(context);
  context.AddInitialMetadata("x-request-id", metadata.request_id);
  return std::make_shared<Call>(policy, method, std::move(metadata));
}

}  // namespace fmaserver
