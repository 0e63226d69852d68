#include "server/sessions/turn.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/memory/memory.h"
#include "base/id.h"
#include "base/names.h"
#include "base/text.h"
#include "server/sessions/session_store.h"

namespace fmaserver::sessions {
namespace {

constexpr char kTokenSeparator = '.';  // in no session's id

/// Index of the newest point with at least `min_pending` tokens behind it, or -1 for the start of
/// the text. FAILED_PRECONDITION when the log does not reach back to it.
absl::StatusOr<int64_t> StartOf(const SessionContents& contents, int64_t min_pending) {
  int64_t index = std::ssize(contents.points) - 1;
  while (index >= 0 && contents.tokens - contents.points[index]->tokens < min_pending) --index;
  const int64_t start = index < 0 ? 0 : contents.points[index]->tokens;
  if (start >= contents.log_begin && contents.tokens - start >= min_pending) return index;
  return absl::FailedPreconditionError(
      "prompt: found none, and the session holds no token that could be read again; allowed: one "
      "token or more");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Turn>> SessionStore::MakeTurn(const SessionPtr& session,
                                                             int64_t min_pending, bool resume) {
  if (absl::Status status = LoadTail(session); !status.ok()) return status;
  Lock lock(mutex_);
  SessionContents contents = session->contents;
  lock.unlock();
  const absl::StatusOr<int64_t> start = StartOf(contents, min_pending);
  if (!start.ok()) return start.status();
  engine::SnapshotPtr state;
  if (*start >= 0) {
    absl::StatusOr<engine::SnapshotPtr> loaded = LoadState(session, contents.points[*start]);
    if (!loaded.ok()) return loaded.status();
    state = *std::move(loaded);
  }
  const int64_t first_token = resume ? contents.interruption->first_token : contents.tokens;
  return absl::WrapUnique(
      new Turn(*this, session, std::move(contents), std::move(state), first_token));
}

absl::StatusOr<std::unique_ptr<Turn>> SessionStore::BeginTurn(const SessionName& name,
                                                              int64_t min_pending) {
  Lock lock(mutex_);
  const absl::StatusOr<SessionPtr> session = Claim(lock, name, Session::Use::kTurn);
  if (!session.ok()) return session.status();
  lock.unlock();
  auto unclaim = absl::MakeCleanup([&] { Unclaim(*session); });
  auto turn = MakeTurn(*session, min_pending, /*resume=*/false);
  if (turn.ok()) std::move(unclaim).Cancel();
  return turn;
}

absl::StatusOr<ResumedTurn> SessionStore::BeginResume(const std::string& tenant,
                                                      const std::string& resume_token) {
  const absl::Status unknown = absl::NotFoundError(
      "resume_token: there is no such interrupted generation, or it was taken up already");
  const SessionName name{tenant, resume_token.substr(0, resume_token.find(kTokenSeparator))};
  if (!IsName(name.id)) return unknown;
  Lock lock(mutex_);
  const absl::StatusOr<SessionPtr> found = Find(lock, name);
  if (absl::IsNotFound(found.status())) return unknown;
  if (!found.ok()) return found.status();
  const std::optional<Interruption>& interruption = (*found)->contents.interruption;
  if (!interruption.has_value() || interruption->token != resume_token) return unknown;
  const absl::StatusOr<SessionPtr> session = Claim(lock, name, Session::Use::kTurn);
  if (!session.ok()) return session.status();
  lock.unlock();
  auto unclaim = absl::MakeCleanup([&] { Unclaim(*session); });
  auto turn = MakeTurn(*session, /*min_pending=*/1, /*resume=*/true);
  if (!turn.ok()) return turn.status();
  std::move(unclaim).Cancel();
  const SessionContents& contents = (*turn)->before_;
  ResumedTurn resumed{.record = {.request = contents.tail->request,
                                 .seed = contents.interruption->seed,
                                 .generated = contents.interruption->generated}};
  resumed.generated.assign(contents.tail->log.end() - resumed.record.generated,
                           contents.tail->log.end());
  resumed.turn = *std::move(turn);
  return resumed;
}

Turn::Turn(SessionStore& store, std::shared_ptr<Session> session, SessionContents before,
           engine::SnapshotPtr state, int64_t first_token)
    : store_(store),
      session_(std::move(session)),
      before_(std::move(before)),
      first_token_(first_token),
      state_(std::move(state)),
      points_(before_.points) {
  const int64_t start = state_ == nullptr ? 0 : state_->tokens();
  const int64_t from = std::min(start, std::max(before_.log_begin, first_token_ - kHistoryTokens));
  const auto at = [this](int64_t token) {
    return before_.tail->log.begin() + (token - before_.log_begin);
  };
  pending_.assign(at(start), at(before_.tokens));
  history_.assign(at(from), at(start));
}

Turn::~Turn() {
  if (session_ != nullptr) store_.Unclaim(session_);
}

void Turn::Push(engine::SnapshotPtr state, bool turn_end) {
  const auto bytes = std::ssize(state->bytes());
  const int64_t tokens = state->tokens();
  if (bytes != store_.model().slot_bytes) {
    status_ = absl::InvalidArgumentError(
        Concat("a state of ", bytes, " bytes, allowed: ", store_.model().slot_bytes));
  }
  // A turn that read nothing, or the same tokens again, has no states that were not there.
  if (!status_.ok() || tokens <= (points_.empty() ? 0 : points_.back()->tokens)) return;
  points_.push_back(std::make_shared<Point>(Point{
      .id = RandomId(), .tokens = tokens, .turn_end = turn_end, .snapshot = std::move(state)}));
}

void Turn::AddPoint(engine::SnapshotPtr state) {
  Push(std::move(state), /*turn_end=*/false);
  ThinPoints(points_, store_.options().rewind_points + 1);  // the last is not the head yet
}

absl::StatusOr<SessionInfo> Turn::Finish(std::vector<int32_t> appended, engine::SnapshotPtr head,
                                         std::optional<Interruption> interruption,
                                         std::string request) {
  const std::shared_ptr<Session> session = std::exchange(session_, nullptr);
  auto unclaim = absl::MakeCleanup([&] { store_.Unclaim(session); });
  SessionContents next = before_;
  next.tokens += std::ssize(appended);
  if (head != nullptr) Push(std::move(head), /*turn_end=*/true);
  ThinPoints(points_, store_.options().rewind_points);
  next.points = std::move(points_);
  if (!status_.ok()) return status_;
  if (next.head_tokens() > next.tokens) {
    return absl::InvalidArgumentError(Concat("a state after ", next.head_tokens(),
                                             " tokens, allowed: up to the session's ",
                                             next.tokens));
  }
  next.tail = std::make_shared<Tail>(Tail{.log = before_.tail->log, .request = std::move(request)});
  next.tail->log.insert(next.tail->log.end(), appended.begin(), appended.end());
  next.interruption = std::move(interruption);
  int64_t log_begin = next.tokens - store_.options().log_tokens;
  if (next.interruption.has_value()) {
    // To go on as if nothing had happened takes the whole turn, and what the turn could see.
    log_begin = std::min({log_begin, first_token_ - kHistoryTokens, before_.head_tokens(),
                          next.tokens - next.interruption->generated});
  }
  TrimLog(next, log_begin);
  if (absl::Status status = store_.Replace(session, std::move(next)); !status.ok()) return status;
  std::move(unclaim).Invoke();
  return store_.Info(session);
}

absl::StatusOr<SessionInfo> Turn::Commit(std::vector<int32_t> appended, engine::SnapshotPtr head) {
  return Finish(std::move(appended), std::move(head), std::nullopt, {});
}

absl::StatusOr<std::string> Turn::Interrupt(std::vector<int32_t> appended, engine::SnapshotPtr head,
                                            InterruptedTurn record) {
  const int64_t held = std::ssize(before_.tail->log) + std::ssize(appended);
  if (!(record.generated >= 0 && record.generated <= held) ||
      record.request.size() > kMaxInterruptedRequestBytes) {
    return absl::InvalidArgumentError(
        Concat("an interrupted turn of ", record.request.size(), " bytes that generated ",
               record.generated, " tokens, allowed: up to ", kMaxInterruptedRequestBytes,
               " bytes and ", held, " tokens"));
  }
  Interruption interruption{
      .token = Concat(session_->name.id, std::string(1, kTokenSeparator), RandomId()),
      .seed = record.seed,
      .generated = record.generated,
      .first_token = first_token_};
  std::string token = interruption.token;
  const auto info = Finish(std::move(appended), std::move(head), std::move(interruption),
                           std::move(record.request));
  if (!info.ok()) return info.status();
  return token;
}

}  // namespace fmaserver::sessions
