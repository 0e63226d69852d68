#include "server/service/service.h"

#include <algorithm>
#include <utility>

#include "base/refusal.h"

namespace fmaserver::service {
namespace {

// A request of this size is encoded in about a millisecond.
constexpr size_t kQuickBytes = size_t{4} << 10;
// Encoding takes a small multiple of the longest text's size, once for each of these threads.
constexpr int kReaders = 2;
constexpr int64_t kMaxWaitingBytes = int64_t{64} << 20;  // for the readers and for the disk
constexpr int kDiskThreads = 4;

CallPolicy Complete(CallPolicy policy) {
  if (policy.observer == nullptr) policy.observer = std::make_shared<CallObserver>();
  if (policy.access == nullptr) policy.access = access::Access::ForEverybody();
  return policy;
}

absl::Status CheckKind(const models::ServedModel& model, ForModels wanted) {
  const bool is_encoder = model.is_encoder();
  if (wanted == ForModels::kAll || is_encoder == (wanted == ForModels::kEncoders)) {
    return absl::OkStatus();
  }
  const char* kind = is_encoder ? "an encoder, which generates nothing" : "a decoder";
  const char* allowed = is_encoder ? "a decoder (FmaForCausalLM); Embed and FillMask read encoders"
                                   : "an encoder (FmaForMaskedLM)";
  return Refusal(Concat("model \"", model.name(), "\""), Words{kind}, allowed,
                 absl::StatusCode::kFailedPrecondition);
}

}  // namespace

Service::Service(models::ModelRegistry& models, CallPolicy policy)
    : models_(models),
      policy_(Complete(std::move(policy))),
      readers_(kReaders, kMaxWaitingBytes),
      disk_(kDiskThreads, kMaxWaitingBytes) {}

Service::~Service() { AwaitCalls(); }

std::shared_ptr<Call> Service::Begin(const CallKind& kind, CallMetadata metadata) {
  return std::make_shared<Call>(policy_, kind, std::move(metadata));
}

absl::StatusOr<models::ModelPtr> Service::Find(const std::string& model, Call& call) const {
  auto found = models_.Find(model);
  if (!found.ok()) return found;
  call.SetModel((*found)->name());
  if (absl::Status status = CheckKind(**found, call.kind().models); !status.ok()) return status;
  return found;
}

absl::Status Service::Read(size_t bytes, std::function<void()> task) {
  if (bytes > kQuickBytes) return readers_.Start(std::move(task), static_cast<int64_t>(bytes));
  task();
  return absl::OkStatus();
}

absl::Status Service::Submit(const engine::Engine& engine, size_t tokens,
                             std::function<void()> submit) {
  if (engine.SubmitMayWait()) {
    const auto bytes = static_cast<int64_t>(tokens * sizeof(int32_t));
    return disk_.Start(std::move(submit), Workers::kSmallBytes + bytes);
  }
  submit();
  return absl::OkStatus();
}

int64_t Service::BufferBytes(int64_t max_request_bytes) {
  // A reader has the request and, if it came compressed, what it was inflated to.
  return 2 * std::max(kMaxWaitingBytes, max_request_bytes) + 2 * kReaders * max_request_bytes;
}

}  // namespace fmaserver::service
