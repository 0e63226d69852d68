// Volumes: files of chunks. A volume is a row of records of equal size, the chunk of number n at n
// times this size. It only grows, at its end, and only by a session whose last chunk lies there and
// whose record names this very file, so that a number never gets other bytes: sessions that share a
// volume, or had it copied, read what was there when they came to it. What a crash leaves behind
// the last chunk that a record lists belongs to nobody, and nothing is written behind it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/text.h"
#include "server/sessions/point.h"
#include "server/sessions/session_types.h"
#include "server/sessions/shelf/directory/files.h"
#include "server/sessions/state_shelf.h"

namespace fmaserver::sessions {

/// Where in its volume a chunk lies.
RecordPlace PlaceOf(const Part& chunk, const SessionModel& model);

/// Adds chunks to a volume. Until Keep() they are not there for good: the destructor makes the file
/// as long as it was. One thread at a time.
class VolumeWriter {
 public:
  /// Begins a volume in `file`, which must not exist. `model` outlives the writer.
  static absl::StatusOr<std::unique_ptr<VolumeWriter>> Begin(const std::filesystem::path& file,
                                                             std::string id,
                                                             const SessionModel& model);

  /// Goes on behind the chunk `last` of the volume in `file`; null when the volume does not end
  /// there, or another server is adding to it.
  static absl::StatusOr<std::unique_ptr<VolumeWriter>> GoOn(const std::filesystem::path& file,
                                                            const Part& last,
                                                            const SessionModel& model);
  ~VolumeWriter();
  VolumeWriter(const VolumeWriter&) = delete;
  VolumeWriter& operator=(const VolumeWriter&) = delete;

  const std::string& id() const { return id_; }
  /// SessionContents::volume of who may go on in it: of all copies of a volume it means one.
  std::string key() const { return Concat(id_, ".", inode_); }
  int64_t bytes() const { return bytes_; }

  /// Writes a chunk, whose bytes must be in memory, and returns it as a part of this volume.
  absl::StatusOr<PartPtr> Add(const PartToSave& chunk);

  /// Makes what was added safe on disk.
  absl::Status Sync() const { return sessions::Sync(file_); }

  void Keep() { kept_bytes_ = bytes_; }

 private:
  VolumeWriter(OpenFile file, std::string id, int64_t number, const FileStamp& stamp,
               const SessionModel& model)
      : file_(std::move(file)),
        id_(std::move(id)),
        inode_(stamp.inode),
        number_(number),
        bytes_(stamp.size),
        kept_bytes_(stamp.size),
        model_(model) {}

  const OpenFile file_;  // locked (flock) when others know it
  const std::string id_;
  const uint64_t inode_;
  int64_t number_;      // of the next chunk
  int64_t bytes_;       // how long the file is
  int64_t kept_bytes_;  // and how long it will be if nothing else is kept
  const SessionModel& model_;
};

}  // namespace fmaserver::sessions
