#include "server/sessions/shelf/directory/volume.h"

#include <sys/file.h>
#include <unistd.h>

#include "absl/memory/memory.h"
#include "base/text.h"
#include "server/sessions/session_codec.h"

namespace fmaserver::sessions {

RecordPlace PlaceOf(const Part& chunk, const SessionModel& model) {
  const int64_t bytes = RecordBytes(PartHeader(chunk, model), chunk.bytes);
  return {.offset = chunk.number * bytes, .bytes = bytes};
}

absl::StatusOr<std::unique_ptr<VolumeWriter>> VolumeWriter::Begin(const std::filesystem::path& file,
                                                                  std::string id,
                                                                  const SessionModel& model) {
  absl::StatusOr<OpenFile> open = OpenFile::New(file);
  if (!open.ok()) return open.status();
  const absl::StatusOr<FileStamp> stamp = StampOf(*open);
  if (!stamp.ok()) return stamp.status();
  return absl::WrapUnique(
      new VolumeWriter(*std::move(open), std::move(id), /*number=*/0, *stamp, model));
}

absl::StatusOr<std::unique_ptr<VolumeWriter>> VolumeWriter::GoOn(const std::filesystem::path& file,
                                                                 const Part& last,
                                                                 const SessionModel& model) {
  absl::StatusOr<OpenFile> open = OpenFile::ForWriting(file);
  if (absl::IsNotFound(open.status())) return nullptr;
  if (!open.ok()) return open.status();
  // Locked before its size is looked at: another server that was adding has either been faster, and
  // the size tells, or holds the lock.
  if (flock(open->descriptor(), LOCK_EX | LOCK_NB) != 0) return nullptr;
  const absl::StatusOr<FileStamp> stamp = StampOf(*open);
  if (!stamp.ok()) return stamp.status();
  const RecordPlace place = PlaceOf(last, model);
  const int64_t end = place.offset + place.bytes;
  if (stamp->size != end || lseek(open->descriptor(), end, SEEK_SET) != end) return nullptr;
  return absl::WrapUnique(
      new VolumeWriter(*std::move(open), last.id, last.number + 1, *stamp, model));
}

VolumeWriter::~VolumeWriter() {
  // If this fails, the volume has a tail that nobody writes behind.
  if (bytes_ != kept_bytes_) (void)!ftruncate(file_.descriptor(), kept_bytes_);
}

absl::StatusOr<PartPtr> VolumeWriter::Add(const PartToSave& chunk) {
  if (!chunk.bytes) {
    return absl::InternalError(Concat("the chunk up to token ", chunk.part->tokens,
                                      " is neither in memory nor under the session's name"));
  }
  const absl::StatusOr<engine::SnapshotPtr> bytes = chunk.bytes.Read();
  if (!bytes.ok()) return bytes.status();
  auto part = std::make_shared<Part>(Part{.kind = Part::Kind::kChunk,
                                          .id = id_,
                                          .number = number_,
                                          .begin = chunk.part->begin,
                                          .tokens = chunk.part->tokens,
                                          .bytes = chunk.part->bytes,
                                          .memory = chunk.bytes});
  const SealedRecord record = SealRecord(PartHeader(*part, model_), (*bytes)->bytes());
  // Before the write, which may fail half done.
  bytes_ += static_cast<int64_t>(record.size());
  if (absl::Status status = Write(file_, record); !status.ok()) return status;
  ++number_;
  return part;
}

}  // namespace fmaserver::sessions
