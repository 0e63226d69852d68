#include "server/service/call.h"

#include <utility>

namespace fmaserver::service {

void LiveCalls::Add() {
  const std::lock_guard lock(mutex_);
  ++count_;
}

void LiveCalls::Remove() {
  const std::lock_guard lock(mutex_);
  // Under the lock, because AwaitNone's caller may destroy what the calls use as soon as the count
  // is 0.
  if (--count_ == 0) none_.notify_all();
}

void LiveCalls::AwaitNone() {
  std::unique_lock lock(mutex_);
  none_.wait(lock, [this] { return count_ == 0; });
}

Call::Call(const CallPolicy& policy, const CallKind& kind, CallMetadata metadata)
    : policy_(policy), kind_(kind), start_(Clock::now()) {
  policy_.live->Add();
  metadata = Checked(std::move(metadata));
  report_.trace = policy_.observer->Trace(metadata);
  if (report_.trace != nullptr) report_.trace->start = start_;
  report_.method = kind.method;
  report_.request_id = std::move(metadata.request_id);
  report_.traceparent = std::move(metadata.traceparent);
  report_.peer = std::move(metadata.peer);
  report_.status = absl::CancelledError("the client went away");
  admission_ = Admit(kind, metadata.authorization);
}

absl::Status Call::Admit(const CallKind& kind, const std::string& authorization) {
  const access::Access* access = kind.admin ? policy_.admins.get() : policy_.access.get();
  if (access == nullptr) return absl::PermissionDeniedError("this server has no administrators");
  const auto tenant = access->Resolve(authorization);
  if (!tenant.ok()) return tenant.status();
  report_.tenant = (*tenant)->name();
  auto lease = (*tenant)->Admit(start_, kind.takes_tokens);
  if (!lease.ok()) return lease.status();
  lease_ = *std::move(lease);
  return absl::OkStatus();
}

Call::~Call() {
  report_.seconds = SecondsSince(start_);
  policy_.observer->OnCall(report_);
  lease_.reset();
  const std::shared_ptr<LiveCalls> live = policy_.live;
  live->Remove();
}

void Call::ChargePrompt(int64_t tokens) {
  report_.usage.prompt_tokens = tokens;
  lease_->Charge(tokens);
}

void Call::ChargeGenerated(int64_t tokens) {
  report_.usage.generated_tokens += tokens;
  lease_->Charge(tokens);
}

void Call::KeepPrompt(const std::string& text) {
  if (policy_.keep_prompts) report_.prompt = text;
}

void Call::SetUsage(const engine::Usage& usage) {
  report_.usage.cached_tokens = usage.cached_tokens;
  report_.usage.cache_miss = usage.cache_miss;
  report_.usage.arrival = usage.arrival;
  report_.usage.queue_seconds = usage.queue_seconds;
  report_.usage.prefill_seconds = usage.prefill_seconds;
  report_.usage.decode_seconds = usage.decode_seconds;
}

}  // namespace fmaserver::service
