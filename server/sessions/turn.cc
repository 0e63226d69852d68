#include "server/sessions/turn.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/memory/memory.h"
#include "base/id.h"
#include "base/names.h"
#include "base/refusal.h"
#include "base/text.h"
#include "server/sessions/new_session.h"
#include "server/sessions/store_core.h"

namespace fmaserver::sessions {
namespace {

constexpr char kTokenSeparator = '.';  // in no session's id

/// Index of the newest point with at least `min_pending` tokens behind it, or -1 for the start of
/// the text. FAILED_PRECONDITION when the log does not reach back to it.
absl::StatusOr<int64_t> StartOf(const SessionContents& contents, int64_t min_pending) {
  int64_t index = std::ssize(contents.points) - 1;
  while (index >= 0 && contents.tokens - contents.points[index].tokens() < min_pending) --index;
  const int64_t start = index < 0 ? 0 : contents.points[index].tokens();
  if (start >= contents.log_begin && contents.tokens - start >= min_pending) return index;
  return Refusal("prompt", Words{"missing"},
                 "one token or more, because the session holds no token that can be read again",
                 absl::StatusCode::kFailedPrecondition);
}

absl::Status UnknownToken() {
  return Refusal("resume_token", Words{"unknown"},
                 "the token of an interrupted generation that was not taken up yet",
                 absl::StatusCode::kNotFound);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Turn>> Turn::Begin(StoreCore& core, const SessionName& name,
                                                  int64_t min_pending, bool with_archive) {
  absl::StatusOr<ChangeClaim> found = core.reader.FindToChange(name);
  if (!found.ok()) return found.status();
  return Start(core, *std::move(found), min_pending, with_archive, /*resume=*/false);
}

absl::StatusOr<ResumedTurn> Turn::Resume(StoreCore& core, const std::string& tenant,
                                         const std::string& resume_token) {
  const SessionName name{tenant, resume_token.substr(0, resume_token.find(kTokenSeparator))};
  if (!IsName(name.id)) return UnknownToken();
  absl::StatusOr<SessionTable::AnyClaim> found = core.reader.Find(name);
  if (absl::IsNotFound(found.status())) return UnknownToken();
  if (!found.ok()) return found.status();
  // The claim comes first: what it covers is what the turn starts from.
  const std::optional<Interruption> interruption =
      std::visit([&core](const Claim& claim) { return core.table.HoldingOf(claim); }, *found)
          .contents.interruption;
  if (!interruption.has_value() || interruption->token != resume_token) return UnknownToken();
  auto* change = std::get_if<ChangeClaim>(&*found);
  if (change == nullptr) return InUse(name);
  auto turn = Start(core, std::move(*change), /*min_pending=*/1, /*with_archive=*/true,
                    /*resume=*/true);
  if (!turn.ok()) return turn.status();
  const Tail& tail = *(*turn)->before_.tail;
  ResumedTurn resumed{.record = {.request = tail.request,
                                 .seed = interruption->seed,
                                 .generated = interruption->generated,
                                 .format = interruption->format}};
  resumed.generated.assign(tail.log.end() - interruption->generated, tail.log.end());
  resumed.turn = *std::move(turn);
  return resumed;
}

absl::StatusOr<std::unique_ptr<Turn>> Turn::Start(StoreCore& core, ChangeClaim found,
                                                  int64_t min_pending, bool with_archive,
                                                  bool resume) {
  TurnClaim claim = core.table.ToTurn(std::move(found));
  auto beginning = Load(core, claim, min_pending, with_archive);
  if (!beginning.ok()) return beginning.status();
  const SessionContents& contents = beginning->contents;
  const int64_t first_token = resume ? contents.interruption->first_token : contents.tokens;
  return absl::WrapUnique(new Turn(core, std::move(claim), *std::move(beginning), first_token));
}

absl::StatusOr<std::unique_ptr<Turn>> Turn::Branch(StoreCore& core, const SessionName& child,
                                                   const std::string& parent, bool with_archive) {
  std::optional<TurnClaim> claim;
  if (!child.id.empty()) {
    absl::StatusOr<ChangeClaim> made = core.reader.ClaimNew(child);
    if (!made.ok()) return made.status();
    if (absl::Status status = CheckCapacity(core, 1); !status.ok()) return status;
    claim = core.table.ToTurn(*std::move(made));
  }
  absl::StatusOr<Beginning> beginning =
      Beginning{.contents = EmptyContents({}, core.options), .state = {}};
  if (!parent.empty()) {
    // For the moment: others may use the parent during the turn, and end its life.
    const absl::StatusOr<ReadClaim> read = core.reader.FindToRead({child.tenant, parent});
    if (!read.ok()) return read.status();
    beginning = Load(core, *read, /*min_pending=*/0, with_archive);
    if (!beginning.ok()) return beginning.status();
    beginning->contents.pinned = false;
  }
  const int64_t first_token = beginning->contents.tokens;
  auto turn =
      absl::WrapUnique(new Turn(core, std::move(claim), *std::move(beginning), first_token));
  turn->parent_ = SessionName{child.tenant, parent};
  return turn;
}

absl::StatusOr<Turn::Beginning> Turn::Load(StoreCore& core, const Claim& claim, int64_t min_pending,
                                           bool with_archive) {
  absl::StatusOr<SessionContents> contents = core.reader.Load(claim);
  if (!contents.ok()) return contents.status();
  const absl::StatusOr<int64_t> start = StartOf(*contents, min_pending);
  if (!start.ok()) return start.status();
  absl::StatusOr<LoadedState> loaded = LoadedState();
  if (*start >= 0) {
    loaded = core.reader.LoadState(claim, *contents, contents->points[*start], with_archive);
    if (!loaded.ok()) return loaded.status();
  }
  return Beginning{.contents = *std::move(contents), .state = *std::move(loaded)};
}

Turn::Turn(StoreCore& core, std::optional<TurnClaim> claim, Beginning beginning,
           int64_t first_token)
    : core_(core),
      claim_(std::move(claim)),
      before_(std::move(beginning.contents)),
      first_token_(first_token),
      from_shelf_(beginning.state.from_shelf),
      state_(std::move(beginning.state.state)),
      points_(before_.points),
      chunks_(*before_.chunks) {
  const int64_t start = state_.tokens();
  const int64_t from = std::min(start, std::max(before_.log_begin, first_token_ - kHistoryTokens));
  const auto at = [this](int64_t token) {
    return before_.tail->log.begin() + (token - before_.log_begin);
  };
  pending_.assign(at(start), at(before_.tokens));
  history_.assign(at(from), at(start));
}

std::vector<int32_t> Turn::Log() const {
  const std::vector<int32_t>& log = before_.tail->log;
  return {log.begin(), log.begin() + (state_.tokens() - before_.log_begin)};
}

absl::Status Turn::CheckState(const engine::State& state) const {
  const auto bytes = std::ssize(state.slot->bytes());
  const absl::StatusOr<int64_t> allowed = core_.model.BytesOf(state.slot->type());
  if (!allowed.ok()) return allowed.status();
  if (bytes != *allowed) {
    return Refusal("state", Words{Concat(bytes, " bytes")}, Concat(*allowed, " bytes"));
  }
  for (const engine::ArchiveChunkPtr& chunk : state.archive) {
    if (chunk == nullptr) return Refusal("chunk", Words{"missing"}, "one with bytes");
  }
  return absl::OkStatus();
}

void Turn::Push(engine::State state, bool turn_end) {
  if (state.slot == nullptr || !status_.ok()) return;
  status_ = CheckState(state);
  if (!status_.ok()) return;
  // A turn that read nothing, or read the same tokens again, brings no new state.
  if (state.slot->tokens() <= (points_.empty() ? 0 : points_.back().tokens())) return;
  points_.push_back(MakePoint(std::move(state), turn_end, chunks_));
}

void Turn::AddPoint(engine::State state) {
  if (parent_.has_value()) return;
  Push(std::move(state), /*turn_end=*/false);
  ThinPoints(points_, core_.options.rewind_points + 1);  // the last is not the head yet
}

absl::StatusOr<SessionContents> Turn::After(const std::vector<int32_t>& appended,
                                            engine::State head, Left left) {
  Push(std::move(head), /*turn_end=*/true);
  ThinPoints(points_, parent_.has_value() ? 0 : core_.options.rewind_points);
  if (!status_.ok()) return status_;
  SessionContents next = before_;
  next.tokens += std::ssize(appended);
  if (std::ssize(chunks_) > std::ssize(*before_.chunks))
    next.chunks = ChunkList(std::move(chunks_));
  next.points = std::move(points_);
  if (absl::Status status = CheckChunks(*next.chunks, next.points); !status.ok()) return status;
  TrimChunks(next);
  if (next.head_tokens() > next.tokens) {
    return Refusal("state", Words{Concat("after ", next.head_tokens(), " tokens")},
                   Concat("up to the session's ", next.tokens));
  }
  if (left.note.size() > kMaxNoteBytes) {
    return Refusal("note", Words{Concat(left.note.size(), " bytes")},
                   Concat("up to ", kMaxNoteBytes));
  }
  next.tail = std::make_shared<Tail>(Tail{
      .log = before_.tail->log, .request = std::move(left.request), .note = std::move(left.note)});
  next.tail->log.insert(next.tail->log.end(), appended.begin(), appended.end());
  next.interruption = std::move(left.interruption);
  int64_t log_begin = next.tokens - core_.options.log_tokens;
  if (next.interruption.has_value()) {
    // Resuming as if nothing had happened needs the whole turn and the history that it could see.
    log_begin = std::min({log_begin, first_token_ - kHistoryTokens, before_.head_tokens(),
                          next.tokens - next.interruption->generated});
  }
  TrimLog(next, log_begin);
  return next;
}

absl::StatusOr<SessionInfo> Turn::Finish(const std::vector<int32_t>& appended, engine::State head,
                                         Left left) {
  // Whatever happens now, the turn is over.
  TurnClaim turn = *std::exchange(claim_, std::nullopt);
  absl::StatusOr<SessionContents> next = After(appended, std::move(head), std::move(left));
  if (!next.ok()) return next.status();
  ChangeClaim claim = core_.table.ToChange(std::move(turn));
  if (parent_.has_value()) return Make(std::move(claim), *next);
  absl::Status status = core_.writer.Replace(claim, *std::move(next));
  if (!status.ok()) return status;
  return core_.table.End(std::move(claim));
}

void Turn::AttachState(const Claim& child, const SessionContents& contents) {
  for (const Point& point : contents.points) {
    if (point.tokens() == state_.tokens()) core_.table.Attach(child, point.slot, state_.slot);
  }
  const size_t chunks = std::min(state_.archive.size(), contents.chunks->size());
  for (size_t i = 0; i < chunks; ++i) {
    core_.table.Attach(child, (*contents.chunks)[i], state_.archive[i]);
  }
}

// What the parent has is shared. When it is gone, what the turn began with is written again.
absl::StatusOr<SessionInfo> Turn::Make(ChangeClaim child, const SessionContents& contents) {
  constexpr int kAttempts = 3;
  std::vector<ChangeClaim> names;
  names.push_back(std::move(child));
  absl::Status status;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    absl::StatusOr<ReadClaim> parent = absl::NotFoundError("the branch has none");
    if (!parent_->id.empty()) parent = core_.reader.FindToRead(*parent_);
    if (!parent.ok() && !absl::IsNotFound(parent.status())) return parent.status();
    if (!parent.ok()) AttachState(names.front(), contents);
    const Claim& source = parent.ok() ? static_cast<const Claim&>(*parent) : names.front();
    status = core_.writer.Add(names, contents, source);
    // ABORTED: another server changed or removed the parent meanwhile.
    if (!absl::IsAborted(status)) break;
  }
  if (!status.ok()) return status;
  return core_.table.End(std::move(names.front()));
}

absl::StatusOr<SessionInfo> Turn::Commit(const std::vector<int32_t>& appended, engine::State head,
                                         std::string note) {
  return Finish(appended, std::move(head), {.note = std::move(note)});
}

absl::StatusOr<std::string> Turn::Interrupt(const std::vector<int32_t>& appended,
                                            engine::State head, InterruptedTurn record) {
  const int64_t held = std::ssize(before_.tail->log) + std::ssize(appended);
  if (!(record.generated >= 0 && record.generated <= held) ||
      record.request.size() > kMaxInterruptedRequestBytes) {
    return Refusal("interrupted turn",
                   Words{Concat(record.request.size(), " bytes and ", record.generated, " tokens")},
                   Concat("up to ", kMaxInterruptedRequestBytes, " bytes and ", held, " tokens"));
  }
  Interruption interruption{
      .token = Concat(claim_->name().id, std::string(1, kTokenSeparator), RandomId()),
      .seed = record.seed,
      .generated = record.generated,
      .first_token = first_token_,
      .format = record.format};
  std::string token = interruption.token;
  const auto info =
      Finish(appended, std::move(head),
             {.interruption = std::move(interruption), .request = std::move(record.request)});
  if (!info.ok()) return info.status();
  return token;
}

}  // namespace fmaserver::sessions
