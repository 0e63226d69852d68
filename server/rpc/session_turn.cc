#include "server/rpc/session_turn.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"

namespace fmaserver::rpc {
namespace {

/// What a resumed call needs of the request: the prompt is in the session by then.
std::string WithoutPrompt(v1::GenerateRequest message) {
  message.clear_prompt();
  message.clear_marks();
  message.clear_echo();
  message.clear_prompt_logprobs();
  return message.SerializeAsString();
}

absl::Status CheckOnlyToken(v1::GenerateRequest message) {
  message.clear_resume_token();
  if (message.ByteSizeLong() == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "resume_token: found beside other fields; it brings the whole request, so none may be set");
}

}  // namespace

absl::StatusOr<std::unique_ptr<SessionTurn>> SessionTurn::Begin(sessions::SessionStore& sessions,
                                                                const v1::GenerateRequest& message,
                                                                const std::string& tenant,
                                                                const Vocabulary& vocabulary) {
  return message.resume_token().empty() ? New(sessions, message, tenant, vocabulary)
                                        : Resume(sessions, message, tenant, vocabulary);
}

absl::StatusOr<std::unique_ptr<SessionTurn>> SessionTurn::New(sessions::SessionStore& sessions,
                                                              const v1::GenerateRequest& message,
                                                              const std::string& tenant,
                                                              const Vocabulary& vocabulary) {
  auto request = FromWire(message, tenant, vocabulary);
  if (!request.ok()) return request.status();
  auto turn = sessions.BeginTurn({.tenant = tenant, .id = message.session_id()},
                                 /*min_pending=*/request->prompt.empty() ? 1 : 0);
  if (!turn.ok()) return turn.status();
  auto result = absl::WrapUnique(new SessionTurn);
  result->turn_ = *std::move(turn);
  result->request_ = *std::move(request);
  result->wire_request_ = WithoutPrompt(message);
  result->prompt_ = std::move(result->request_.prompt);
  result->Join();
  return result;
}

absl::StatusOr<std::unique_ptr<SessionTurn>> SessionTurn::Resume(sessions::SessionStore& sessions,
                                                                 const v1::GenerateRequest& message,
                                                                 const std::string& tenant,
                                                                 const Vocabulary& vocabulary) {
  if (absl::Status status = CheckOnlyToken(message); !status.ok()) return status;
  auto resumed = sessions.BeginResume(tenant, message.resume_token());
  if (!resumed.ok()) return resumed.status();
  v1::GenerateRequest original;
  if (!original.ParseFromString(resumed->record.request)) {
    return absl::DataLossError("the session's interrupted request cannot be read");
  }
  auto request = FromWire(original, tenant, vocabulary);
  if (!request.ok()) return request.status();
  auto result = absl::WrapUnique(new SessionTurn);
  result->turn_ = std::move(resumed->turn);
  result->request_ = *std::move(request);
  result->request_.sampling.seed = resumed->record.seed;
  result->wire_request_ = std::move(resumed->record.request);
  result->resumed_ = resumed->generated.size();
  result->request_.generated = std::move(resumed->generated);
  result->Join();
  return result;
}

/// Makes the session's tokens part of the request; prompt_ and resumed_ are set.
void SessionTurn::Join() {
  request_.keep_state = true;
  request_.state = turn_->state();
  request_.prompt = turn_->pending();
  request_.pending = std::ssize(request_.prompt);
  request_.prompt.insert(request_.prompt.end(), prompt_.begin(), prompt_.end());
  std::vector<int32_t> context = turn_->history();
  context.insert(context.end(), request_.prompt.begin(), request_.prompt.end());
  context.resize(context.size() - std::min(context.size(), resumed_));
  // The same last tokens whether the turn was interrupted or not.
  const auto excess = std::max<int64_t>(0, std::ssize(context) - sessions::Turn::kHistoryTokens);
  context.erase(context.begin(), context.begin() + excess);
  request_.penalty_context = std::move(context);
}

std::vector<int32_t> SessionTurn::Appended(const std::vector<int32_t>& generated) const {
  std::vector<int32_t> appended = prompt_;
  appended.insert(appended.end(), generated.begin() + static_cast<int64_t>(resumed_),
                  generated.end());
  return appended;
}

absl::StatusOr<v1::SessionTurn> SessionTurn::Commit(engine::Kept kept) {
  auto info = turn_->Commit(Appended(kept.generated), std::move(kept.state));
  if (!info.ok()) return info.status();
  v1::SessionTurn message;
  message.set_session_id(info->id);
  message.set_tokens(info->tokens);
  message.set_durable(info->durable);
  return message;
}

absl::StatusOr<std::string> SessionTurn::Interrupt(engine::Kept kept, uint64_t seed) {
  return turn_->Interrupt(
      Appended(kept.generated), std::move(kept.state),
      {.request = wire_request_, .seed = seed, .generated = std::ssize(kept.generated)});
}

}  // namespace fmaserver::rpc
