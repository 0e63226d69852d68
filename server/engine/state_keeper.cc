#include "server/engine/state_keeper.h"

#include <iterator>
#include <utility>
#include <vector>

namespace fmaserver::engine {
namespace {

/// A token that opened units has other keys in later layers than one that did not, so the two kinds
/// of states never meet.
std::optional<std::string> ScopeOf(const GenerateRequest& request, bool archived) {
  if (!request.cache_scope.has_value()) return std::nullopt;
  return PrefixCache::TenantScope(request.tenant) + (archived ? 'a' : '-') + *request.cache_scope;
}

}  // namespace

StateKeeper::StateKeeper(const GenerateRequest& request, bool archived, GenerateSink& sink,
                         PrefixCache* cache, EngineObserver& observer)
    : request_(request),
      scope_(ScopeOf(request, archived)),
      sink_(sink),
      cache_(cache),
      observer_(observer) {}

State StateKeeper::Begin() {
  const int64_t start = request_.state.tokens();
  if (request_.n > 1) points_.SetFork(start + std::ssize(request_.prompt) - 1);
  for (const int64_t mark : request_.marks) points_.AddMark(start + request_.pending + mark);
  if (request_.keep_state) points_.KeepRegularly();
  miss_ = WhyNotAsked();
  return miss_ == CacheMiss::kNone ? FindCached() : request_.state;
}

CacheMiss StateKeeper::WhyNotAsked() const {
  if (request_.state.slot != nullptr) return CacheMiss::kSession;
  if (!scope_.has_value() || request_.prompt_logprobs) return CacheMiss::kSkipped;
  return cache_ == nullptr ? CacheMiss::kOff : CacheMiss::kNone;
}

/// Looks for a state of the prompt's beginning, and plans which states of the prompt to keep.
State StateKeeper::FindCached() {
  PrefixCache::Lookup found = cache_->Find(*scope_, request_.prompt);
  for (const int64_t point : found.points) points_.AddCache(point);
  if (!request_.keep_state) {
    for (const int64_t mark : request_.marks) points_.AddCache(request_.pending + mark);
  }
  cached_ = found.state.tokens();
  miss_ = found.miss;
  observer_.OnCacheLookup(std::ssize(request_.prompt), cached_);
  return found.state;
}

absl::Status StateKeeper::Keep(int64_t position, Save save) {
  const bool cached = points_.IsCache(position);
  const bool kept = request_.keep_state && points_.IsAny(position);
  if (!cached && !kept) return absl::OkStatus();
  absl::StatusOr<State> state = save();
  if (!state.ok()) return state.status();
  if (cached) cache_->Insert(*scope_, request_.prompt, *state);
  if (kept) sink_.OnState(*std::move(state));
  return absl::OkStatus();
}

void StateKeeper::KeepAnswer(std::span<const int32_t> chosen, Save save) {
  if (!MayCache() || request_.state.slot != nullptr || request_.keep_state) return;
  absl::StatusOr<State> state = save();
  // A failed copy costs the next prompt some time, and this request nothing.
  if (!state.ok()) return;
  std::vector<int32_t> all = request_.prompt;
  all.insert(all.end(), chosen.begin(), chosen.end());
  cache_->Insert(*scope_, all, *std::move(state));
}

}  // namespace fmaserver::engine
