#include "server/rpc/call.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"

namespace fmaserver::rpc {
namespace {

absl::Status CheckLimit(const char* what, int64_t found, int64_t limit) {
  if (found <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(what, ": found ", found, "; allowed: at most ",
                                                 limit, ", which this server is set to"));
}

}  // namespace

Call::Call(const CallPolicy& policy, std::string method, CallMetadata metadata)
    : policy_(policy), start_(Clock::now()) {
  policy_.live->Add();
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

void LiveCalls::Add() {
  const std::lock_guard lock(mutex_);
  ++count_;
}

void LiveCalls::Remove() {
  const std::lock_guard lock(mutex_);
  // Under the lock: whoever waits may destroy this object as soon as he can see it.
  if (--count_ == 0) none_.notify_all();
}

void LiveCalls::AwaitNone() {
  std::unique_lock lock(mutex_);
  none_.wait(lock, [this] { return count_ == 0; });
}

Call::~Call() {
  report_.seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  policy_.observer->OnCall(report_);
  lease_.reset();
  const std::shared_ptr<LiveCalls> live = policy_.live;
  live->Remove();
}

absl::Status Call::Take(const engine::GenerateRequest& request) {
  const RequestLimits& limits = policy_.limits;
  absl::Status status = CheckLimit("n", request.n, limits.samples);
  status.Update(CheckLimit("stop strings", std::ssize(request.stop), limits.stop_strings));
  return status.ok() ? TakePrompt(request.prompt) : status;
}

absl::Status Call::Take(const engine::ScoreRequest& request) { return TakePrompt(request.tokens); }

absl::Status Call::TakePrompt(const std::vector<int32_t>& tokens) {
  const int64_t limit = policy_.limits.prompt_tokens;
  if (limit > 0) {
    absl::Status status = CheckLimit("tokens of the prompt", std::ssize(tokens), limit);
    if (!status.ok()) return status;
  }
  report_.usage.prompt_tokens = std::ssize(tokens);
  lease_->Charge(std::ssize(tokens));
  return absl::OkStatus();
}

void Call::KeepPrompt(const std::string& text) {
  if (policy_.keep_prompts) report_.prompt = text;
}

void Call::AddGenerated(int64_t tokens) {
  report_.usage.generated_tokens += tokens;
  lease_->Charge(tokens);
}

void Call::SetUsage(const engine::Usage& usage) {
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

}  // namespace fmaserver::rpc
