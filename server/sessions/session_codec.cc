#include "server/sessions/session_codec.h"

#include <cstring>
#include <utility>

#include "base/id.h"
#include "base/names.h"
#include "base/text.h"

namespace fmaserver::sessions {
namespace {

// Of counts of tokens in files: far above any session, far below an overflow.
constexpr uint64_t kMaxTokens = uint64_t{1} << 60;
constexpr size_t kTokenBytes = sizeof(int32_t);

absl::Status Damaged(std::string_view what) {
  return absl::InvalidArgumentError(Concat("damaged: ", what));
}

absl::Status CheckInterruption(const internal::SessionRecord& record) {
  const internal::InterruptionRecord& interruption = record.interruption();
  if (interruption.token().empty() || interruption.generated() > record.log_tokens() ||
      interruption.first_token() > record.tokens() ||
      interruption.request_bytes() > kMaxInterruptedRequestBytes) {
    return Damaged("the interrupted turn does not fit the session");
  }
  return absl::OkStatus();
}

absl::Status CheckSession(const internal::RecordHeader& header) {
  if (!header.has_session()) return Damaged("a state where a session belongs");
  const internal::SessionRecord& record = header.session();
  if (record.tokens() > kMaxTokens || record.log_tokens() > record.tokens()) {
    return Damaged(Concat("a log of ", record.log_tokens(), " of ", record.tokens(), " tokens"));
  }
  // In this order the product cannot overflow.
  const uint64_t request = record.interruption().request_bytes();
  if (header.payload_bytes() < request ||
      record.log_tokens() != (header.payload_bytes() - request) / kTokenBytes ||
      (header.payload_bytes() - request) % kTokenBytes != 0) {
    return Damaged(
        Concat(header.payload_bytes(), " bytes for a log of ", record.log_tokens(), " tokens"));
  }
  if (!(record.ttl_seconds() >= 0 && record.ttl_seconds() <= kMaxTtlSeconds)) {
    return Damaged(Concat("a time to live of ", record.ttl_seconds(), " s"));
  }
  return record.has_interruption() ? CheckInterruption(record) : absl::OkStatus();
}

absl::Status CheckPoints(const internal::SessionRecord& record) {
  if (record.points_size() > kMaxRewindPoints + 1) {
    return Damaged(Concat(record.points_size(), " states, allowed: up to ", kMaxRewindPoints + 1));
  }
  uint64_t last = 0;
  for (const internal::PointRecord& point : record.points()) {
    if (point.id().size() != kRandomIdChars || !IsName(point.id())) {
      return Damaged("the id of a state");
    }
    if (!(point.tokens() > last && point.tokens() <= record.tokens())) {
      return Damaged(Concat("a state after ", point.tokens(), " tokens, behind one after ", last,
                            " of ", record.tokens()));
    }
    last = point.tokens();
  }
  if (record.tokens() - record.log_tokens() > last) {
    return Damaged(Concat("the log begins at token ", record.tokens() - record.log_tokens(),
                          ", behind the last state at ", last));
  }
  return absl::OkStatus();
}

}  // namespace

internal::RecordHeader SessionHeader(const SessionContents& contents, const SessionModel& model) {
  internal::RecordHeader header;
  header.set_model(model.fingerprint);
  internal::SessionRecord& record = *header.mutable_session();
  record.set_tokens(contents.tokens);
  record.set_log_tokens(contents.tokens - contents.log_begin);
  for (const PointPtr& point : contents.points) {
    internal::PointRecord& added = *record.add_points();
    added.set_id(point->id);
    added.set_tokens(point->tokens);
    added.set_turn_end(point->turn_end);
  }
  record.set_ttl_seconds(contents.ttl_seconds);
  record.set_pinned(contents.pinned);
  if (contents.interruption.has_value()) {
    internal::InterruptionRecord& interruption = *record.mutable_interruption();
    interruption.set_token(contents.interruption->token);
    interruption.set_seed(contents.interruption->seed);
    interruption.set_generated(contents.interruption->generated);
    interruption.set_first_token(contents.interruption->first_token);
    interruption.set_request_bytes(contents.tail->request.size());
  }
  return header;
}

std::string SessionPayload(const Tail& tail) {
  std::string payload;
  payload.reserve(tail.log.size() * kTokenBytes + tail.request.size());
  payload.append(reinterpret_cast<const char*>(tail.log.data()), tail.log.size() * kTokenBytes);
  payload += tail.request;
  return payload;
}

absl::StatusOr<SessionContents> ContentsFromHeader(const internal::RecordHeader& header) {
  if (absl::Status status = CheckSession(header); !status.ok()) return status;
  const internal::SessionRecord& record = header.session();
  if (absl::Status status = CheckPoints(record); !status.ok()) return status;
  SessionContents contents;
  contents.tokens = static_cast<int64_t>(record.tokens());
  contents.log_begin = static_cast<int64_t>(record.tokens() - record.log_tokens());
  for (const internal::PointRecord& point : record.points()) {
    contents.points.push_back(std::make_shared<Point>(Point{
        .id = point.id(),
        .tokens = static_cast<int64_t>(point.tokens()),
        .turn_end = point.turn_end(),
    }));
  }
  contents.ttl_seconds = record.ttl_seconds();
  contents.pinned = record.pinned();
  if (record.has_interruption()) {
    contents.interruption = Interruption{
        .token = record.interruption().token(),
        .seed = record.interruption().seed(),
        .generated = static_cast<int64_t>(record.interruption().generated()),
        .first_token = static_cast<int64_t>(record.interruption().first_token()),
    };
  }
  return contents;
}

absl::StatusOr<std::shared_ptr<Tail>> TailFromPayload(const internal::RecordHeader& header,
                                                      std::string_view payload,
                                                      const SessionModel& model) {
  auto tail = std::make_shared<Tail>();
  const size_t log_bytes = header.session().log_tokens() * kTokenBytes;
  tail->log.resize(header.session().log_tokens());
  if (log_bytes > 0) std::memcpy(tail->log.data(), payload.data(), log_bytes);
  tail->request = payload.substr(log_bytes);
  for (const int32_t token : tail->log) {
    if (token >= 0 && token < model.vocab_size) continue;
    return Damaged(Concat("token ", token, " in the log, allowed: 0 to ", model.vocab_size - 1));
  }
  return tail;
}

internal::RecordHeader StateHeader(const Point& point, const SessionModel& model) {
  internal::RecordHeader header;
  header.set_model(model.fingerprint);
  header.mutable_state()->set_id(point.id);
  header.mutable_state()->set_tokens(point.tokens);
  return header;
}

absl::Status CheckStateHeader(const internal::RecordHeader& header, const Point& point,
                              const SessionModel& model) {
  if (!header.has_state() || header.state().id() != point.id ||
      header.state().tokens() != static_cast<uint64_t>(point.tokens)) {
    return Damaged(Concat("not the state after ", point.tokens, " tokens that belongs here"));
  }
  if (header.payload_bytes() != static_cast<uint64_t>(model.slot_bytes)) {
    return Damaged(Concat("a state of ", header.payload_bytes(), " bytes, allowed: the model's ",
                          model.slot_bytes));
  }
  return absl::OkStatus();
}

}  // namespace fmaserver::sessions
