#include "server/sessions/session_codec.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <span>
#include <utility>

#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::sessions {
namespace {

// A limit for token counts in files: far above any session, far below an overflow.
constexpr uint64_t kMaxTokens = uint64_t{1} << 60;
constexpr size_t kTokenBytes = sizeof(int32_t);

template <typename T>
absl::Status Damaged(std::string_view what, const T& found, std::string_view allowed) {
  return At("damaged", Refusal(what, found, allowed));
}

absl::Status CheckInterruption(const internal::SessionRecord& record) {
  const internal::InterruptionRecord& interruption = record.interruption();
  if (interruption.token().empty() || interruption.generated() > record.log_tokens() ||
      interruption.first_token() > record.tokens() ||
      interruption.request_bytes() > kMaxInterruptedRequestBytes ||
      interruption.request_format() > static_cast<uint32_t>(RequestFormat::kServiceRecord)) {
    return Damaged("interrupted turn", Words{"inconsistent"}, "one that fits the session");
  }
  return absl::OkStatus();
}

absl::Status CheckSession(const internal::RecordHeader& header) {
  if (!header.has_session()) return Damaged("record", Words{"a state"}, "a session");
  const internal::SessionRecord& record = header.session();
  if (record.tokens() > kMaxTokens || record.log_tokens() > record.tokens()) {
    return Damaged("log", Words{Concat(record.log_tokens(), " of ", record.tokens(), " tokens")},
                   Concat("at most all, of up to ", kMaxTokens));
  }
  // Dividing, instead of multiplying log_tokens, cannot overflow.
  const uint64_t request = record.interruption().request_bytes();
  if (header.payload_bytes() < request ||
      record.log_tokens() != (header.payload_bytes() - request) / kTokenBytes ||
      (header.payload_bytes() - request) % kTokenBytes != 0) {
    return Damaged("payload", Words{Concat(header.payload_bytes(), " bytes")},
                   Concat("4 for each of ", record.log_tokens(), " tokens, and ", request,
                          " for the interrupted turn"));
  }
  if (!(record.ttl_seconds() >= 0 && record.ttl_seconds() <= kMaxTtlSeconds)) {
    return Damaged("time to live", record.ttl_seconds(),
                   FromTo<int64_t>(0, static_cast<int64_t>(kMaxTtlSeconds)));
  }
  return record.has_interruption() ? CheckInterruption(record) : absl::OkStatus();
}

absl::Status CheckPoints(const internal::SessionRecord& record) {
  if (record.points_size() > kMaxRewindPoints + 1) {
    return Damaged("number of states", record.points_size(),
                   Concat("up to ", kMaxRewindPoints + 1));
  }
  uint64_t last = 0;
  for (const internal::PointRecord& point : record.points()) {
    absl::Status status = CheckPartId("id of a state", point.id());
    if (!status.ok()) return At("damaged", status);
    if (!(point.tokens() > last && point.tokens() <= record.tokens())) {
      return Damaged("state", Words{Concat("after ", point.tokens(), " tokens")},
                     Concat("more than ", last, " and up to ", record.tokens()));
    }
    last = point.tokens();
  }
  if (record.tokens() - record.log_tokens() > last) {
    return Damaged("first token of the log", record.tokens() - record.log_tokens(),
                   Concat("up to ", last, ", where the last state is"));
  }
  return absl::OkStatus();
}

internal::ChunkRecord RecordOf(const Part& chunk) {
  internal::ChunkRecord record;
  record.set_id(chunk.id);
  record.set_begin(static_cast<uint64_t>(chunk.begin));
  record.set_end(static_cast<uint64_t>(chunk.tokens));
  record.set_bytes(static_cast<uint64_t>(chunk.bytes));
  return record;
}

void AddPoint(const Point& point, const std::vector<PartPtr>& archive_before,
              internal::SessionRecord& record) {
  internal::PointRecord& added = *record.add_points();
  added.set_id(point.slot->id);
  added.set_tokens(static_cast<uint64_t>(point.tokens()));
  added.set_turn_end(point.turn_end);
  const int64_t shared = SharedChunks(point.archive, archive_before);
  added.set_shared_chunks(static_cast<uint32_t>(shared));
  for (const PartPtr& chunk : std::span(point.archive).subspan(shared)) {
    *added.add_chunks() = RecordOf(*chunk);
  }
}

// Makes the points of a record whose counts have been checked.
class PointMaker {
 public:
  explicit PointMaker(int64_t slot_bytes) : slot_bytes_(slot_bytes) {}

  absl::Status Add(const internal::PointRecord& record) {
    const std::vector<PartPtr> before =
        points_.empty() ? std::vector<PartPtr>() : points_.back().archive;
    mentions_ += int64_t{record.shared_chunks()} + record.chunks_size();
    if (record.shared_chunks() > before.size() || mentions_ > kMaxChunkMentions) {
      return Damaged("number of shared chunks", record.shared_chunks(),
                     Concat("up to ", before.size(), " of the state before, and ",
                            kMaxChunkMentions, " in all"));
    }
    Point point{.slot = std::make_shared<Part>(Part{.id = record.id(),
                                                    .tokens = static_cast<int64_t>(record.tokens()),
                                                    .bytes = slot_bytes_}),
                .turn_end = record.turn_end(),
                .archive = {before.begin(), before.begin() + record.shared_chunks()}};
    if (!parts_.emplace(point.slot->id, point.slot).second) return IdIsTaken(record.id());
    for (const internal::ChunkRecord& chunk : record.chunks()) {
      absl::StatusOr<PartPtr> part = PartOf(chunk);
      if (!part.ok()) return part.status();
      point.archive.push_back(*std::move(part));
    }
    points_.push_back(std::move(point));
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<Point>> Take() {
    absl::Status status = CheckArchives(points_);
    if (!status.ok()) return At("damaged", status);
    return std::move(points_);
  }

 private:
  static absl::Status IdIsTaken(std::string_view id) {
    return Damaged("id of a part", id, "one that no other part has");
  }

  // Numbers that do not fit int64 stay too large for CheckArchives, which refuses them.
  static int64_t Bounded(uint64_t number) {
    return static_cast<int64_t>(std::min(number, kMaxTokens + 1));
  }

  absl::StatusOr<PartPtr> PartOf(const internal::ChunkRecord& record) {
    auto part = std::make_shared<Part>(Part{.kind = Part::Kind::kChunk,
                                            .id = record.id(),
                                            .begin = Bounded(record.begin()),
                                            .tokens = Bounded(record.end()),
                                            .bytes = Bounded(record.bytes())});
    const PartPtr& known = parts_.emplace(part->id, part).first->second;
    if (known->kind != part->kind || known->begin != part->begin || known->tokens != part->tokens ||
        known->bytes != part->bytes) {
      return IdIsTaken(record.id());
    }
    return known;
  }

  const int64_t slot_bytes_;
  int64_t mentions_ = 0;
  std::vector<Point> points_;
  std::map<std::string, PartPtr> parts_;  // by id
};

}  // namespace

internal::RecordHeader SessionHeader(const SessionContents& contents, const SessionModel& model) {
  internal::RecordHeader header;
  header.set_model(model.fingerprint);
  internal::SessionRecord& record = *header.mutable_session();
  record.set_tokens(contents.tokens);
  record.set_log_tokens(contents.tokens - contents.log_begin);
  std::vector<PartPtr> archive_before;
  for (const Point& point : contents.points) {
    AddPoint(point, archive_before, record);
    archive_before = point.archive;
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
    interruption.set_request_format(static_cast<uint32_t>(contents.interruption->format));
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

absl::StatusOr<SessionContents> ContentsFromHeader(const internal::RecordHeader& header,
                                                   const SessionModel& model) {
  if (absl::Status status = CheckSession(header); !status.ok()) return status;
  const internal::SessionRecord& record = header.session();
  if (absl::Status status = CheckPoints(record); !status.ok()) return status;
  SessionContents contents;
  contents.tokens = static_cast<int64_t>(record.tokens());
  contents.log_begin = static_cast<int64_t>(record.tokens() - record.log_tokens());
  PointMaker maker(model.slot_bytes);
  for (const internal::PointRecord& point : record.points()) {
    if (absl::Status status = maker.Add(point); !status.ok()) return status;
  }
  absl::StatusOr<std::vector<Point>> points = maker.Take();
  if (!points.ok()) return points.status();
  contents.points = *std::move(points);
  contents.ttl_seconds = record.ttl_seconds();
  contents.pinned = record.pinned();
  if (record.has_interruption()) {
    contents.interruption = Interruption{
        .token = record.interruption().token(),
        .seed = record.interruption().seed(),
        .generated = static_cast<int64_t>(record.interruption().generated()),
        .first_token = static_cast<int64_t>(record.interruption().first_token()),
        .format = static_cast<RequestFormat>(record.interruption().request_format()),
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
    return Damaged("token in the log", token, FromTo<int64_t>(0, model.vocab_size - 1));
  }
  return tail;
}

internal::RecordHeader PartHeader(const Part& part, const SessionModel& model) {
  internal::RecordHeader header;
  header.set_model(model.fingerprint);
  if (part.kind == Part::Kind::kChunk) {
    *header.mutable_chunk() = RecordOf(part);
  } else {
    header.mutable_state()->set_id(part.id);
    header.mutable_state()->set_tokens(static_cast<uint64_t>(part.tokens));
  }
  return header;
}

absl::Status CheckPartHeader(const internal::RecordHeader& header, const Part& part) {
  const bool is_chunk = part.kind == Part::Kind::kChunk;
  const bool fits = is_chunk ? header.chunk().id() == part.id &&
                                   header.chunk().begin() == static_cast<uint64_t>(part.begin) &&
                                   header.chunk().end() == static_cast<uint64_t>(part.tokens)
                             : header.state().id() == part.id &&
                                   header.state().tokens() == static_cast<uint64_t>(part.tokens);
  if (!fits) {
    return Damaged(
        "record", Words{"another part"},
        Concat(is_chunk ? "the chunk up to token " : "the state after token ", part.tokens));
  }
  if (header.payload_bytes() != static_cast<uint64_t>(part.bytes)) {
    return Damaged(is_chunk ? "chunk" : "state", Words{Concat(header.payload_bytes(), " bytes")},
                   Concat(part.bytes, " bytes"));
  }
  return absl::OkStatus();
}

}  // namespace fmaserver::sessions
