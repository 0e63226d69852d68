#include "server/sessions/session_codec.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "base/refusal.h"
#include "base/text.h"
#include "kernels/fma/parked_type.h"

namespace fmaserver::sessions {
namespace {

// A limit for token counts in files: far above any session, far below an overflow.
constexpr uint64_t kMaxTokens = uint64_t{1} << 60;
constexpr size_t kTokenBytes = sizeof(int32_t);
// A chunk's place in bytes does not overflow.
constexpr uint64_t kMaxVolumeChunks = uint64_t{1} << 24;

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
  // Subtracting and dividing, instead of adding and multiplying, cannot overflow.
  const uint64_t request = record.interruption().request_bytes();
  const uint64_t note = record.note_bytes();
  const uint64_t payload = header.payload_bytes();
  if (note > kMaxNoteBytes || payload < note || payload - note < request ||
      record.log_tokens() != (payload - note - request) / kTokenBytes ||
      (payload - note - request) % kTokenBytes != 0) {
    return Damaged("payload", Words{Concat(payload, " bytes")},
                   Concat("4 for each of ", record.log_tokens(), " tokens, ", request,
                          " for the interrupted turn, and ", note, ", of up to ", kMaxNoteBytes,
                          ", for the note"));
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

absl::Status CheckChunkNumbers(const internal::SessionRecord& record) {
  const int64_t count = CountChunks(record);
  if (count > kMaxChunks) {
    return Damaged("number of chunks", Words{"larger"}, Concat("up to ", kMaxChunks));
  }
  if (count == 0) return absl::OkStatus();
  // The rest is checked by CheckChunks, which these numbers could make overflow.
  if (record.chunk_tokens() > kMaxTokens / static_cast<uint64_t>(count) ||
      record.chunk_bytes() > static_cast<uint64_t>(kMaxChunkBytes)) {
    return Damaged(
        "chunk",
        Words{Concat(record.chunk_bytes(), " bytes for ", record.chunk_tokens(), " tokens")},
        Concat("up to ", kMaxChunkBytes, " for as many as the session has"));
  }
  return absl::OkStatus();
}

/// Makes the chunks of a record whose numbers have been checked. A volume's runs must ascend, so
/// that no two chunks are one.
absl::StatusOr<std::vector<PartPtr>> MakeChunks(const internal::SessionRecord& record) {
  std::vector<PartPtr> chunks;
  std::map<std::string_view, uint64_t> ends;
  for (const internal::ChunkRun& run : record.chunks()) {
    absl::Status status = CheckPartId("id of a volume", run.volume());
    if (!status.ok()) return At("damaged", status);
    uint64_t& end = ends[run.volume()];
    if (!(run.first() >= end && run.first() <= kMaxVolumeChunks)) {
      return Damaged("first chunk of a run", run.first(), FromTo(end, kMaxVolumeChunks));
    }
    end = run.first() + run.count();
    for (uint64_t number = run.first(); number < end; ++number) {
      const auto begin = std::ssize(chunks) * static_cast<int64_t>(record.chunk_tokens());
      chunks.push_back(
          std::make_shared<Part>(Part{.kind = Part::Kind::kChunk,
                                      .id = run.volume(),
                                      .number = static_cast<int64_t>(number),
                                      .begin = begin,
                                      .tokens = begin + static_cast<int64_t>(record.chunk_tokens()),
                                      .bytes = static_cast<int64_t>(record.chunk_bytes())}));
    }
  }
  return chunks;
}

void AddChunks(const std::vector<PartPtr>& chunks, internal::SessionRecord& record) {
  if (chunks.empty()) return;
  record.set_chunk_tokens(static_cast<uint64_t>(chunks.front()->tokens));
  record.set_chunk_bytes(static_cast<uint64_t>(chunks.front()->bytes));
  internal::ChunkRun* run = nullptr;
  for (const PartPtr& chunk : chunks) {
    const auto number = static_cast<uint64_t>(chunk->number);
    if (run == nullptr || run->volume() != chunk->id || run->first() + run->count() != number) {
      run = record.add_chunks();
      run->set_volume(chunk->id);
      run->set_first(number);
    }
    run->set_count(run->count() + 1);
  }
}

/// Names the type of a slot in its `record`, of a point or of a state, unless it is the server's.
template <typename Record>
void SetType(const Part& slot, const SessionModel& model, Record& record) {
  if (slot.type != model.type) record.set_cache_type(static_cast<uint32_t>(slot.type));
}

/// The type that such a record names, or else that of the slots of the server that wrote it.
template <typename Record>
absl::StatusOr<kernels::CacheType> TypeOf(const Record& record, std::string_view fingerprint,
                                          const SessionModel& model) {
  if (!record.has_cache_type()) return model.TypeOf(fingerprint);
  const auto type = static_cast<kernels::CacheType>(std::min(record.cache_type(), 255U));
  if (!NameOf(type).empty()) return type;
  return Refusal("type of a state", record.cache_type(), kernels::NamesOfFitting(model.type),
                 absl::StatusCode::kFailedPrecondition);
}

absl::StatusOr<std::vector<Point>> MakePoints(const internal::RecordHeader& header,
                                              const SessionModel& model) {
  std::vector<Point> points;
  std::set<std::string_view> ids;
  for (const internal::PointRecord& point : header.session().points()) {
    if (!ids.insert(point.id()).second) {
      return Damaged("id of a state", point.id(), "one that no other state has");
    }
    const auto type = TypeOf(point, header.model(), model);
    if (!type.ok()) return type.status();
    const absl::StatusOr<int64_t> bytes = model.BytesOf(*type);
    if (!bytes.ok()) return bytes.status();
    points.push_back(
        {.slot = std::make_shared<Part>(Part{.id = point.id(),
                                             .tokens = static_cast<int64_t>(point.tokens()),
                                             .bytes = *bytes,
                                             .type = *type}),
         .turn_end = point.turn_end(),
         .chunks = static_cast<int64_t>(
             std::min(point.chunks(), static_cast<uint64_t>(kMaxChunks + 1)))});
  }
  return points;
}

}  // namespace

internal::RecordHeader SessionHeader(const SessionContents& contents, const SessionModel& model) {
  internal::RecordHeader header;
  header.set_model(model.fingerprint);
  internal::SessionRecord& record = *header.mutable_session();
  record.set_tokens(contents.tokens);
  record.set_log_tokens(contents.tokens - contents.log_begin);
  for (const Point& point : contents.points) {
    internal::PointRecord& added = *record.add_points();
    added.set_id(point.slot->id);
    added.set_tokens(static_cast<uint64_t>(point.tokens()));
    added.set_turn_end(point.turn_end);
    added.set_chunks(static_cast<uint64_t>(point.chunks));
    SetType(*point.slot, model, added);
  }
  AddChunks(*contents.chunks, record);
  record.set_volume(contents.volume);
  record.set_ttl_seconds(contents.ttl_seconds);
  record.set_pinned(contents.pinned);
  record.set_note_bytes(contents.tail->note.size());
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

int64_t CountChunks(const internal::SessionRecord& record) {
  uint64_t count = 0;
  for (const internal::ChunkRun& run : record.chunks()) {
    count += std::min(run.count(), static_cast<uint64_t>(kMaxChunks + 1));
  }
  return static_cast<int64_t>(count);
}

std::string SessionPayload(const Tail& tail) {
  std::string payload;
  payload.reserve(tail.log.size() * kTokenBytes + tail.request.size() + tail.note.size());
  payload.append(reinterpret_cast<const char*>(tail.log.data()), tail.log.size() * kTokenBytes);
  payload += tail.request;
  payload += tail.note;
  return payload;
}

absl::StatusOr<SessionContents> ContentsFromHeader(const internal::RecordHeader& header,
                                                   const SessionModel& model) {
  if (absl::Status status = CheckSession(header); !status.ok()) return status;
  const internal::SessionRecord& record = header.session();
  for (const absl::Status& status : {CheckPoints(record), CheckChunkNumbers(record)}) {
    if (!status.ok()) return status;
  }
  SessionContents contents;
  contents.tokens = static_cast<int64_t>(record.tokens());
  contents.log_begin = static_cast<int64_t>(record.tokens() - record.log_tokens());
  absl::StatusOr<std::vector<Point>> points = MakePoints(header, model);
  if (!points.ok()) return points.status();
  contents.points = *std::move(points);
  absl::StatusOr<std::vector<PartPtr>> chunks = MakeChunks(record);
  if (!chunks.ok()) return chunks.status();
  absl::Status status = CheckChunks(*chunks, contents.points);
  if (!status.ok()) return At("damaged", status);
  contents.chunks = ChunkList(*std::move(chunks));
  contents.volume = record.volume();
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
  const size_t request_bytes = header.session().interruption().request_bytes();
  tail->request = payload.substr(log_bytes, request_bytes);
  tail->note = payload.substr(log_bytes + request_bytes);
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
    internal::ChunkRecord& chunk = *header.mutable_chunk();
    chunk.set_volume(part.id);
    chunk.set_number(static_cast<uint64_t>(part.number));
    chunk.set_end(static_cast<uint64_t>(part.tokens));
  } else {
    header.mutable_state()->set_id(part.id);
    header.mutable_state()->set_tokens(static_cast<uint64_t>(part.tokens));
    SetType(part, model, *header.mutable_state());
  }
  return header;
}

absl::Status CheckPartHeader(const internal::RecordHeader& header, const Part& part,
                             const SessionModel& model) {
  const bool is_chunk = part.kind == Part::Kind::kChunk;
  const auto tokens = static_cast<uint64_t>(part.tokens);
  const bool fits = is_chunk ? header.chunk().volume() == part.id &&
                                   header.chunk().number() == static_cast<uint64_t>(part.number) &&
                                   header.chunk().end() == tokens
                             : header.state().id() == part.id && header.state().tokens() == tokens;
  if (!fits) {
    return Damaged(
        "record", Words{"another part"},
        Concat(is_chunk ? "the chunk up to token " : "the state after token ", part.tokens));
  }
  const auto type = TypeOf(header.state(), header.model(), model);
  if (!type.ok()) return type.status();
  if (!is_chunk && *type != part.type) {
    return Damaged("type of the state", Words{std::string(NameOf(*type))}, NameOf(part.type));
  }
  if (header.payload_bytes() != static_cast<uint64_t>(part.bytes)) {
    return Damaged(is_chunk ? "chunk" : "state", Words{Concat(header.payload_bytes(), " bytes")},
                   Concat(part.bytes, " bytes"));
  }
  return absl::OkStatus();
}

}  // namespace fmaserver::sessions
