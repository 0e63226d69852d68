#include "server/service/turn_runner.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "base/refusal.h"
#include "server/service/session_calls.h"
#include "server/service/turn_record.h"

namespace fmaserver::service {
namespace {

void Append(const std::vector<int32_t>& tokens, std::vector<int32_t>& to) {
  to.insert(to.end(), tokens.begin(), tokens.end());
}

absl::Status StoredBefore() {
  return Refusal("resume_token", Words{"that of a turn stored by an earlier version of the server"},
                 "session_id and no prompt, to go on after all that was generated",
                 absl::StatusCode::kFailedPrecondition);
}

}  // namespace

absl::StatusOr<std::unique_ptr<TurnRunner>> TurnRunner::Begin(
    const models::ModelPtr& model, const sessions::SessionName& session,
    engine::GenerateRequest request, std::string record, bool brings_tokens, SessionEnds ends) {
  auto turn = model->sessions().BeginTurn(session, /*min_pending=*/brings_tokens ? 0 : 1,
                                          /*with_archive=*/!request.no_archive);
  if (!turn.ok()) return turn.status();
  auto runner = absl::WrapUnique(
      new TurnRunner(model, *std::move(turn), std::move(request), std::move(record)));
  runner->session_ = session;
  runner->remove_ = ends.first;
  runner->remove_last_ = ends.last;
  return runner;
}

TurnRunner::~TurnRunner() {
  turn_.reset();  // a session can be removed when it has no turn
  if (remove_) model_->sessions().Delete(session_).IgnoreError();
}

absl::StatusOr<std::unique_ptr<TurnRunner>> TurnRunner::Branch(const models::ModelPtr& model,
                                                               const Call& call,
                                                               const service::Branch& branch,
                                                               engine::GenerateRequest request) {
  auto turn = SessionCalls(model->sessions(), call)
                  .BeginBranch(branch.child, branch.parent, /*with_archive=*/!request.no_archive);
  if (!turn.ok()) return turn.status();
  if (!branch.parent.empty() && (*turn)->note().empty()) {
    return absl::NotFoundError(Concat("session ", Quoted(branch.parent), ": it has no note"));
  }
  auto runner = absl::WrapUnique(new TurnRunner(model, *std::move(turn), std::move(request), {}));
  runner->request_.keep_state = !branch.child.empty();
  return runner;
}

absl::StatusOr<std::unique_ptr<TurnRunner>> TurnRunner::Resume(const models::ModelPtr& model,
                                                               const std::string& tenant,
                                                               const std::string& resume_token,
                                                               const Vocabulary& vocabulary,
                                                               const RequestLimits& limits) {
  auto resumed = model->sessions().BeginResume(tenant, resume_token);
  if (!resumed.ok()) return resumed.status();
  if (resumed->record.format != sessions::RequestFormat::kServiceRecord) return StoredBefore();
  auto original = DecodeTurn(resumed->record.request);
  if (!original.ok()) return original.status();
  original->resume_token = resume_token;
  auto request = ForEngine(*std::move(original), tenant, vocabulary, limits);
  if (!request.ok()) return request.status();
  request->sampling.seed = resumed->record.seed;
  request->generated = std::move(resumed->generated);
  return absl::WrapUnique(new TurnRunner(model, std::move(resumed->turn), *std::move(request),
                                         std::move(resumed->record.request)));
}

TurnRunner::TurnRunner(models::ModelPtr model, std::unique_ptr<sessions::Turn> turn,
                       engine::GenerateRequest request, std::string record)
    : model_(std::move(model)),
      turn_(std::move(turn)),
      request_(std::move(request)),
      record_(std::move(record)),
      resumed_(request_.generated.size()) {
  const std::vector<int32_t> prompt = std::exchange(request_.prompt, turn_->pending());
  request_.keep_state = true;
  request_.state = turn_->state();
  request_.pending = std::ssize(request_.prompt);
  if (request_.sources > 0) request_.earlier = turn_->Log();
  std::vector<int32_t> context = turn_->history();
  Append(request_.prompt, context);
  context.resize(context.size() - std::min(context.size(), resumed_));
  request_.penalty_context = std::move(context);
  AddPrompt(prompt);
}

Before TurnRunner::before() const {
  Before before{.empty = turn_->tokens() == 0};
  for (const auto* tokens : {&turn_->history(), &turn_->pending()}) {
    if (!tokens->empty()) before.last_token = tokens->back();
  }
  return before;
}

void TurnRunner::AddPrompt(const std::vector<int32_t>& tokens) {
  Append(tokens, prompt_);
  Append(tokens, request_.prompt);
  std::vector<int32_t>& context = *request_.penalty_context;
  Append(tokens, context);
  // The same last tokens whether the turn was interrupted or not.
  const auto excess = std::max<int64_t>(0, std::ssize(context) - sessions::Turn::kHistoryTokens);
  context.erase(context.begin(), context.begin() + excess);
}

std::vector<int32_t> TurnRunner::Appended(const std::vector<int32_t>& generated) const {
  std::vector<int32_t> appended = prompt_;
  appended.insert(appended.end(), generated.begin() + static_cast<int64_t>(resumed_),
                  generated.end());
  return appended;
}

int64_t TurnRunner::input_tokens() const { return turn_->tokens() + std::ssize(prompt_); }

int64_t TurnRunner::cached_tokens(const engine::Usage& usage) const {
  return turn_->state().tokens() + usage.cached_tokens;
}

absl::StatusOr<SessionAfter> TurnRunner::Commit(engine::Kept kept, std::string note) {
  auto info =
      turn_->Commit(Appended(kept.generated), Parked(std::move(kept.state)), std::move(note));
  if (!info.ok()) return info.status();
  remove_ = remove_last_;
  return SessionAfter{.id = info->id, .tokens = info->tokens, .durable = info->durable};
}

engine::State TurnRunner::Parked(engine::State state) const {
  state.slot = model_->engine().parking().Park(std::move(state.slot));
  return state;
}

// The state stays as it is in the slot, so that the turn goes on as if nothing had happened.
absl::StatusOr<std::string> TurnRunner::Interrupt(engine::Kept kept, uint64_t seed) {
  auto token = turn_->Interrupt(Appended(kept.generated), std::move(kept.state),
                                {.request = record_,
                                 .seed = seed,
                                 .generated = std::ssize(kept.generated),
                                 .format = sessions::RequestFormat::kServiceRecord});
  if (token.ok()) remove_ = false;
  return token;
}

}  // namespace fmaserver::service
