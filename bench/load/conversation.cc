#include "bench/load/conversation.h"

#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/id.h"
#include "clients/cpp/status.h"

namespace fmaserver::bench {
namespace {

constexpr double kPauseSeconds = 0.05;
constexpr double kSessionSeconds = 3600;  // the life of a session that nobody deletes

/// What a call ends with when its server, or the way to it, is gone or full, or while another call
/// uses the session.
bool MayPass(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
      return true;
    default:
      return false;
  }
}

}  // namespace

Conversation::Conversation(const ConversationPlan& plan, int64_t number,
                           const RequestSource& source, Servers servers, const Answers* expected,
                           CallGroup& group, LiveCounts& live)
    : plan_(plan),
      source_(source),
      servers_(servers),
      expected_(expected),
      group_(group),
      live_(live),
      session_(absl::StrCat("bench-", RandomId())),
      random_(plan.seed + static_cast<uint64_t>(number)),
      server_(number) {
  record_.number = number;
}

ConversationRecord Conversation::Run() {
  ++live_.running;
  record_.status = Converse();
  record_.end = NowSeconds();
  --live_.running;
  ++(record_.status.ok() ? live_.done : live_.failed);
  return std::move(record_);
}

absl::Status Conversation::Converse() {
  last_news_ = NowSeconds();
  absl::Status status = Create();
  for (int64_t turn = 0; status.ok() && turn < plan_.turns; ++turn) {
    if (plan_.think_seconds > 0) {
      std::exponential_distribution<double> think(1 / plan_.think_seconds);
      group_.SleepUntil(NowSeconds() + think(random_));
    }
    status = Turn(source_.Make(record_.number * plan_.turns + turn));
  }
  Delete().IgnoreError();
  return status;
}

absl::Status Conversation::Turn(const v1::GenerateRequest& request) {
  last_news_ = NowSeconds();
  record_.answers.emplace_back();
  record_.turns.push_back({.begin = last_news_});
  absl::Status status = Attempt(request);
  while (!status.ok()) {
    status = MoveOn(status);
    // Whether the turn was kept before its end was lost or not: the session is as it was before.
    if (status.ok()) status = Rewind();
    if (!status.ok()) break;
    status = Attempt(request);
  }
  if (!status.ok()) return status;
  held_ = holds_;
  record_.turns.back().end = NowSeconds();
  if (came_ != request.max_tokens()) {
    Differ(absl::StrCat(came_, " tokens instead of ", request.max_tokens()));
  }
  return absl::OkStatus();
}

absl::Status Conversation::Attempt(v1::GenerateRequest request) {
  came_ = 0;
  request.set_session_id(session_);
  if (servers_.prefill != nullptr) {
    const auto most = request.max_tokens();
    request.set_max_tokens(0);
    absl::Status status = Generate(*servers_.prefill, request);
    if (!status.ok()) return status;
    request.clear_prompt();
    request.set_max_tokens(most);
  }
  absl::Status status = Generate(server(), request);
  while (!status.ok() && !resume_token_.empty()) {
    v1::GenerateRequest rest;
    rest.set_model(plan_.model);
    rest.set_resume_token(resume_token_);
    if (absl::Status end = MoveOn(status, /*by_token=*/true); !end.ok()) return end;
    status = Generate(server(), rest);
  }
  return status;
}

absl::Status Conversation::Generate(client::Client& client, const v1::GenerateRequest& request) {
  resume_token_.clear();
  GroupedCall call(group_, plan_.call_seconds);
  Describe(call.context());
  return client.Generate(call.context(), request,
                         [this](const v1::GenerateResponse& response) { Receive(response); });
}

void Conversation::Receive(const v1::GenerateResponse& response) {
  if (response.has_interrupted()) resume_token_ = response.interrupted().resume_token();
  if (response.has_finished()) holds_ = response.finished().session().tokens();
  if (!response.has_delta() || response.delta().token_ids().empty()) return;
  const double now = NowSeconds();
  const size_t known = record_.answers.back().size();
  for (const uint32_t token : response.delta().token_ids()) Compare(token);
  live_.generated_tokens += static_cast<uint64_t>(response.delta().token_ids_size());
  record_.turns.back().arrivals.push_back(now);
  if (record_.answers.back().size() == known) return;
  record_.turns.back().news.push_back(now);
  last_news_ = now;
}

void Conversation::Compare(uint32_t token) {
  std::vector<uint32_t>& answer = record_.answers.back();
  const size_t at = came_++;
  if (at == answer.size()) answer.push_back(token);
  const auto& wanted = expected_ != nullptr ? (*expected_)[record_.answers.size() - 1] : answer;
  if (at >= wanted.size()) return Differ(absl::StrCat("more than ", wanted.size(), " tokens"));
  if (wanted[at] == token) return;
  Differ(absl::StrCat("token ", at, ": ", token, " instead of ", wanted[at]));
}

void Conversation::Differ(std::string what) {
  if (record_.difference) return;
  record_.difference = {.time = NowSeconds(),
                        .what = absl::StrCat("turn ", record_.answers.size() - 1, ", ", what)};
}

absl::Status Conversation::Again(const UnaryCall& call, absl::StatusCode done) {
  for (bool first = true;; first = false) {
    absl::Status status;
    {
      GroupedCall grouped(group_, plan_.call_seconds);
      Describe(grouped.context());
      status = call(server(), grouped.context());
    }
    if (status.ok() || (!first && status.code() == done)) return absl::OkStatus();
    status = MoveOn(status);
    if (!status.ok()) return status;
  }
}

absl::Status Conversation::Create() {
  v1::CreateSessionRequest request;
  request.set_session_id(session_);
  request.set_model(plan_.model);
  request.set_ttl_seconds(kSessionSeconds);
  return Again(
      [&](client::Client& client, grpc::ClientContext& context) {
        return client.CreateSession(context, request).status();
      },
      absl::StatusCode::kAlreadyExists);
}

absl::Status Conversation::Rewind() {
  v1::RewindSessionRequest request;
  request.set_session_id(session_);
  request.set_model(plan_.model);
  request.set_tokens(held_);
  return Again([&](client::Client& client, grpc::ClientContext& context) -> absl::Status {
    const auto session = client.RewindSession(context, request);
    if (!session.ok()) return session.status();
    if (session->tokens() == held_) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat("the session went back to ",
                                                      session->tokens(), " tokens instead of ",
                                                      held_, ": its log is too short"));
  });
}

absl::Status Conversation::Delete() {
  v1::DeleteSessionRequest request;
  request.set_session_id(session_);
  request.set_model(plan_.model);
  return Again([&](client::Client& client,
                   grpc::ClientContext& context) { return client.DeleteSession(context, request); },
               absl::StatusCode::kNotFound);
}

absl::Status Conversation::MoveOn(const absl::Status& failure, bool by_token) {
  const double now = NowSeconds();
  if (!MayPass(failure)) return failure;
  if (now - last_news_ > plan_.patience_seconds) return failure;
  record_.repeats.push_back({.time = now, .by_token = by_token, .why = failure});
  ++server_;
  const bool full = absl::IsResourceExhausted(failure);
  const double pause = full ? client::RetryAfterSeconds(failure).value_or(1) : kPauseSeconds;
  if (group_.SleepUntil(now + pause)) return absl::OkStatus();
  return absl::CancelledError("interrupted");
}

void Conversation::Describe(grpc::ClientContext& context) const {
  context.AddMetadata("x-session-id", session_);
}

}  // namespace fmaserver::bench
