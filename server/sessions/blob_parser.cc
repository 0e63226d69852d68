#include "server/sessions/blob_parser.h"

#include <utility>

#include "base/id.h"
#include "base/refusal.h"
#include "base/text.h"
#include "server/sessions/session_codec.h"

namespace fmaserver::sessions {

BlobParser::BlobParser(const SessionModel& model, std::string tenant, Reserve reserve)
    : model_(model), tenant_(std::move(tenant)), reserve_(std::move(reserve)) {
  reader_.emplace(model_);
}

bool BlobParser::complete() const {
  return has_session_ && parts_read_ == parts_.size() && reader_->at_start();
}

absl::Status BlobParser::Explain(const absl::Status& status) const {
  if (absl::IsResourceExhausted(status)) return status;
  const std::string where = has_session_ ? Concat("state ", parts_read_ + 1, " of ", parts_.size())
                                         : std::string("session");
  return absl::InvalidArgumentError(At("data", At(where, std::string(status.message()))));
}

absl::Status BlobParser::Write(std::string_view bytes) {
  while (status_.ok() && !bytes.empty()) {
    if (complete()) {
      status_ = Refusal("data", Words{"longer than its session"}, "nothing after the last state");
    } else if (absl::Status status = Advance(bytes); !status.ok()) {
      status_ = Explain(status);
    }
  }
  return status_;
}

absl::Status BlobParser::Advance(std::string_view& bytes) {
  absl::StatusOr<RecordReader::Event> event = reader_->Read(bytes);
  if (!event.ok()) return event.status();
  if (*event == RecordReader::Event::kHeader) {
    if (absl::Status status = has_session_ ? BeginPart() : BeginSession(); !status.ok()) {
      return status;
    }
    // An empty payload may be complete without another byte.
    event = reader_->Read(bytes);
    if (!event.ok()) return event.status();
  }
  return *event == RecordReader::Event::kDone ? EndRecord() : absl::OkStatus();
}

absl::Status BlobParser::BeginSession() {
  const internal::RecordHeader& header = reader_->header();
  // First of all, because the number of chunks decides how much is allocated.
  if (absl::Status status = MakeRoom(header.session()); !status.ok()) return status;
  absl::StatusOr<SessionContents> contents = ContentsFromHeader(header, model_);
  if (!contents.ok()) return contents.status();
  if (header.session().log_tokens() > static_cast<uint64_t>(kMaxLogTokens)) {
    return Refusal("log", Words{Concat(header.session().log_tokens(), " tokens")},
                   Concat("up to ", kMaxLogTokens));
  }
  if (header.session().has_interruption()) {
    return Refusal("interrupted turn", Words{"present"}, "none in a blob");
  }
  if (header.session().note_bytes() > 0) return Refusal("note", Words{"present"}, "none in a blob");
  contents_ = *std::move(contents);
  contents_.volume.clear();
  parts_ = PartsOf(contents_);
  auto bytes = static_cast<int64_t>(header.payload_bytes());
  for (const PartPtr& part : parts_) bytes += part->memory_bytes();
  if (absl::Status status = reserve_(bytes); !status.ok()) return status;
  session_payload_.resize(header.payload_bytes());
  reader_->SetPayload(std::as_writable_bytes(std::span(session_payload_)));
  return absl::OkStatus();
}

absl::Status BlobParser::MakeRoom(const internal::SessionRecord& record) {
  const int64_t chunks = CountChunks(record);
  if (chunks == 0 || chunks > kMaxChunks) return absl::OkStatus();  // refused with the contents
  if (model_.archives == nullptr) {
    return Refusal("archive", Words{"present"}, "none: this server keeps no archives of its model");
  }
  absl::Status status = model_.archives->CheckChunk(record.chunk_tokens(), record.chunk_bytes());
  if (!status.ok()) return status;
  auto room = model_.archives->MakeRoom(tenant_, chunks);
  if (!room.ok()) return room.status();
  room_ = *std::move(room);
  return absl::OkStatus();
}

absl::Status BlobParser::BeginPart() {
  const Part& part = *parts_[parts_read_];
  absl::Status status = CheckPartHeader(reader_->header(), part, model_);
  if (!status.ok()) return status;
  bytes_ = std::make_shared<engine::Snapshot>(part.tokens, part.bytes, part.type);
  reader_->SetPayload(bytes_->mutable_bytes());
  return absl::OkStatus();
}

absl::Status BlobParser::EndRecord() {
  if (has_session_) {
    if (absl::Status status = EndPart(); !status.ok()) return status;
    ++parts_read_;
  } else {
    auto tail = TailFromPayload(reader_->header(), std::exchange(session_payload_, {}), model_);
    if (!tail.ok()) return tail.status();
    contents_.tail = *std::move(tail);
    has_session_ = true;
  }
  reader_.emplace(model_);
  return absl::OkStatus();
}

absl::Status BlobParser::EndPart() {
  Part& part = *parts_[parts_read_];
  // The id was the sender's choice; here it names a file.
  if (part.kind == Part::Kind::kSlot) {
    part.id = RandomId();
    part.memory = engine::SnapshotPtr(std::exchange(bytes_, {}));
    return absl::OkStatus();
  }
  part.id = volume_;
  part.number = static_cast<int64_t>(parts_read_ - contents_.points.size());
  absl::StatusOr<engine::ArchiveChunkPtr> chunk = room_->Restore(part.begin, *bytes_);
  if (!chunk.ok()) return chunk.status();
  part.memory = *std::move(chunk);
  bytes_.reset();
  return absl::OkStatus();
}

absl::StatusOr<SessionContents> BlobParser::Finish() {
  if (!status_.ok()) return status_;
  if (!complete()) {
    return Explain(absl::InvalidArgumentError("the blob ends too early"));
  }
  return std::move(contents_);
}

}  // namespace fmaserver::sessions
