#include "server/memory_budget.h"

#include "absl/strings/str_format.h"
#include "base/refusal.h"

namespace fmaserver {
namespace {

std::string Size(int64_t bytes) {
  constexpr double kMebibyte = 1 << 20;
  return absl::StrFormat("%.1f MiB", static_cast<double>(bytes) / kMebibyte);
}

std::string Parts(const ModelMemory& memory) {
  return Concat("weights ", Size(memory.weights), ", slots ", Size(memory.slots), ", activations ",
                Size(memory.step));
}

/// Adds `memory` to `sum`, or takes it away (sign -1).
void Add(const ModelMemory& memory, int sign, ModelMemory& sum) {
  sum.weights += sign * memory.weights;
  sum.slots += sign * memory.slots;
  sum.step += sign * memory.step;
  sum.prefixes += sign * memory.prefixes;
  sum.sessions += sign * memory.sessions;
  sum.archives += sign * memory.archives;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const void>> MemoryBudget::Reserve(const std::string& model,
                                                                  const ModelMemory& memory) {
  const std::lock_guard lock(mutex_);
  const int64_t others = taken_.Needed();
  if (limit_ && memory.Needed() > *limit_ - others) {
    return Refusal(
        Concat("memory of model \"", model, "\""),
        Words{Concat(Size(memory.Needed()), " (", Parts(memory), ")")},
        Concat(
            "up to ", Size(*limit_ - others), " of the ", Size(*limit_),
            " that the control group of this process may use; fewer --slots, or for an encoder a "
            "smaller --encoder-memory, take less"),
        absl::StatusCode::kResourceExhausted);
  }
  Add(memory, +1, taken_);
  // Any pointer will do: what counts is that its last copy gives the room back.
  return std::shared_ptr<const void>(this, [this, memory](const void* /*budget*/) {
    const std::lock_guard give_back(mutex_);
    Add(memory, -1, taken_);
  });
}

std::string MemoryBudget::Excess() const {
  const std::lock_guard lock(mutex_);
  const int64_t most = taken_.Most() + requests_;
  if (!limit_ || most <= *limit_) return {};
  return Concat("up to ", Size(most), " may be used (", Parts(taken_), ", --prefix-cache-memory ",
                Size(taken_.prefixes), ", --session-memory ", Size(taken_.sessions),
                taken_.archives > 0 ? Concat(", --archive-bytes ", Size(taken_.archives)) : "",
                ", requests ", Size(requests_), "), and the control group of this process allows ",
                Size(*limit_), ": the kernel may end the server when it is used");
}

}  // namespace fmaserver
